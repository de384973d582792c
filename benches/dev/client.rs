//! The clients, in a process of their own: connections that ask and are answered again and again, and one that moves much.

use crate::common::Result;
use crate::common::machine::now;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// The content of every small answer has this length.
pub const ANSWER: usize = 41;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const CHUNK: usize = 128 * 1024;

/// What shall be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// So many connections ask for so many seconds, each again as soon as it has its answer.
    Requests { port: u16, connections: usize, seconds: f64 },
    /// So many bytes come down.
    Down { port: u16, bytes: u64 },
    /// So many bytes go up.
    Up { port: u16, bytes: u64 },
}

/// What became of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers, or bytes.
    pub done: u64,
    pub seconds: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

/// Carries an order out, and prints what became of it.
pub fn run(order: &str) -> Result<()> {
    let begin = now();
    let mut outcome = match serde_json::from_str(order)? {
        Order::Requests { port, connections, seconds } => requests(port, connections, seconds)?,
        Order::Down { port, bytes } => Outcome { done: down(port, bytes)?, ..Outcome::default() },
        Order::Up { port, bytes } => Outcome { done: up(port, bytes)?, ..Outcome::default() },
    };
    outcome.seconds = (now() - begin) as f64 / 1e9;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

pub fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One small answer's content, by a connection of its own; none if it has another status than 200.
pub fn get(port: u16) -> Result<Option<String>> {
    let mut client = Client::new(connect(port)?)?;
    while !client.read()? {}
    let text = String::from_utf8_lossy(&client.answer).into_owned();
    let content = text.split_once("\r\n\r\n").map(|(_, content)| content.to_owned());
    Ok(content.filter(|_| text.starts_with("HTTP/1.1 200 ")))
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    since: u64,
}

impl Client {
    fn new(stream: TcpStream) -> Result<Client> {
        let mut client = Client { stream, answer: Vec::new(), since: 0 };
        client.ask()?;
        Ok(client)
    }

    fn ask(&mut self) -> Result<()> {
        self.answer.clear();
        self.since = now();
        Ok(self.stream.write_all(GET)?)
    }

    /// Reads what there is; true when the answer is whole.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        self.answer.extend_from_slice(&buffer[..count]);
        let end = self.answer.windows(4).position(|four| four == b"\r\n\r\n");
        if count == 0 {
            return Err("the connection has ended".into());
        }
        Ok(end.is_some_and(|end| self.answer.len() >= end + 4 + ANSWER))
    }
}

fn requests(port: u16, connections: usize, seconds: f64) -> Result<Outcome> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut clients = Vec::new();
    for index in 0..connections {
        let client = Client::new(connect(port)?)?;
        epoll.add(&client.stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        clients.push(client);
    }
    let end = now() + (seconds * 1e9) as u64;
    let (mut latencies, mut events) = (Vec::with_capacity(1 << 20), [EpollEvent::empty(); 64]);
    while now() < end {
        let count = match epoll.wait(&mut events, 50_u8) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..count] {
            let client = &mut clients[event.data() as usize];
            if client.read()? {
                if !client.answer.starts_with(b"HTTP/1.1 200 ") {
                    return Err(String::from_utf8_lossy(&client.answer).into_owned().into());
                }
                latencies.push(now() - client.since);
                client.ask()?;
            }
        }
    }
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).map_or(0.0, |at| *at as f64 / 1e3);
    Ok(Outcome { done: latencies.len() as u64, seconds: 0.0, p50: at(0.5), p99: at(0.99) })
}

fn down(port: u16, bytes: u64) -> Result<u64> {
    let mut stream = connect(port)?;
    stream
        .write_all(format!("GET /large/{bytes} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let (mut buffer, mut all) = (vec![0; CHUNK], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(all),
            count => all += count as u64,
        }
    }
}

fn up(port: u16, bytes: u64) -> Result<u64> {
    let mut stream = connect(port)?;
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..bytes / CHUNK as u64 {
        stream.write_all(&chunk)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.get(answer.len().saturating_sub(ANSWER)..).unwrap_or_default().parse()?)
}
