//! The traffic, in a process of its own: streams that send all they can, connections that ask and are answered again
//! and again, and connections that do nothing.

use crate::common::Result;
use crate::common::machine::{now, raise_open_files};
use crate::stream::{Stream, identity};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What is sent and echoed.
const MESSAGE: [u8; 64] = [b'm'; 64];
/// How much a stream sends at a time.
const CHUNK: usize = 128 * 1024;
/// What has not ended by so many nanoseconds after its time is unfinished.
const TOO_LATE: u64 = 10_000_000_000;

/// What shall be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// So many streams send for so many seconds, shut down for writing, and hear how much has come; by TLS where there is a
    /// folder with its files.
    Bulk { port: u16, streams: usize, seconds: f64, tls: Option<String> },
    /// So many connections send a message and wait for its echo, again and again.
    Requests { port: u16, connections: usize, seconds: f64 },
    /// So many connections send one message, and then nothing until standard input ends.
    Idle { port: u16, connections: usize },
}

/// What became of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Bytes that arrived, or answers.
    pub done: u64,
    pub seconds: f64,
    /// Streams whose count was wrong or never came; connections that broke.
    pub failed: u64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

/// Carries an order out, and prints what became of it.
pub fn run(order: &str) -> Result<()> {
    raise_open_files()?;
    let outcome = match serde_json::from_str(order)? {
        Order::Bulk { port, streams, seconds, tls } => bulk(port, streams, seconds, tls.as_deref())?,
        Order::Requests { port, connections, seconds } => requests(port, connections, seconds)?,
        Order::Idle { port, connections } => return idle(port, connections),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn connect(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
    socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// So many connections, each an event with its index.
fn connected(epoll: &Epoll, port: u16, count: usize, interest: EpollFlags) -> Result<Vec<Option<Socket>>> {
    (0..count)
        .map(|index| {
            let socket = connect(port)?;
            epoll.add(&socket, EpollEvent::new(interest, index as u64))?;
            Ok(Some(socket))
        })
        .collect()
}

fn wait<'a>(epoll: &Epoll, events: &'a mut [EpollEvent]) -> Result<&'a [EpollEvent]> {
    match epoll.wait(events, 50_u8) {
        Ok(count) => Ok(&events[..count]),
        Err(Errno::EINTR) => Ok(&[]),
        Err(errno) => Err(errno.into()),
    }
}

fn bulk(port: u16, streams: usize, seconds: f64, tls: Option<&str>) -> Result<Outcome> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let identity = tls.map(identity).transpose()?;
    let open = |index| {
        let stream = Stream::new(connect(port)?, identity.as_ref())?;
        stream.watch(&epoll, EpollFlags::EPOLLOUT, index)?;
        Ok(Some(stream))
    };
    let mut all = (0..streams).map(open).collect::<Result<Vec<_>>>()?;
    let chunk = vec![b'x'; CHUNK];
    let mut sent = vec![0_u64; streams];
    let (begin, mut closing, mut outcome) = (now(), false, Outcome::default());
    let end = begin + (seconds * 1e9) as u64;
    let mut events = [EpollEvent::empty(); 64];
    while all.iter().any(Option::is_some) && now() < end + TOO_LATE {
        if !closing && now() >= end {
            closing = true;
            for (index, stream) in all.iter_mut().flatten().enumerate() {
                stream.end(&epoll, index)?;
            }
        }
        for event in wait(&epoll, &mut events)? {
            let index = event.data() as usize;
            let Some(stream) = &mut all[index] else {
                continue;
            };
            if !closing {
                sent[index] += stream.write(&chunk)? as u64;
                continue;
            }
            match stream.count() {
                None => continue,
                Some(count) if count == sent[index] => outcome.done += sent[index],
                Some(_) => outcome.failed += 1,
            }
            all[index] = None;
        }
    }
    outcome.seconds = (now() - begin) as f64 / 1e9;
    outcome.failed += all.iter().flatten().count() as u64;
    Ok(outcome)
}

fn requests(port: u16, connections: usize, seconds: f64) -> Result<Outcome> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut sockets = connected(&epoll, port, connections, EpollFlags::EPOLLIN)?;
    let mut asked = Vec::with_capacity(connections);
    for socket in sockets.iter_mut().flatten() {
        asked.push(now());
        socket.write_all(&MESSAGE)?;
    }
    let (begin, mut outcome) = (now(), Outcome::default());
    let end = begin + (seconds * 1e9) as u64;
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut events = [EpollEvent::empty(); 256];
    let mut answer = [0; 4096];
    while now() < end {
        for event in wait(&epoll, &mut events)? {
            let index = event.data() as usize;
            let Some(socket) = &mut sockets[index] else {
                continue;
            };
            match socket.read(&mut answer) {
                Ok(length) if length == MESSAGE.len() && answer[..length] == MESSAGE => {
                    latencies.push(now() - asked[index]);
                    asked[index] = now();
                    if socket.write_all(&MESSAGE).is_ok() {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(_) | Err(_) => {}
            }
            outcome.failed += 1;
            sockets[index] = None;
        }
    }
    outcome.seconds = (now() - begin) as f64 / 1e9;
    outcome.done = latencies.len() as u64;
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * part) as usize;
        latencies.get(index).map_or(0.0, |nanoseconds| *nanoseconds as f64 / 1e3)
    };
    (outcome.p50, outcome.p99) = (at(0.5), at(0.99));
    Ok(outcome)
}

fn idle(port: u16, connections: usize) -> Result<()> {
    let mut outcome = Outcome::default();
    let mut open = Vec::new();
    for _ in 0..connections {
        let answered = || -> Result<Socket> {
            let mut socket = connect(port)?;
            socket.set_nonblocking(false)?;
            socket.write_all(&MESSAGE)?;
            let mut answer = [0; MESSAGE.len()];
            socket.read_exact(&mut answer)?;
            Ok(socket)
        };
        match answered() {
            Ok(socket) => open.push(socket),
            Err(_) => outcome.failed += 1,
        }
    }
    outcome.done = open.len() as u64;
    println!("{}", serde_json::to_string(&outcome)?);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
