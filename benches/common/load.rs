//! The load: clients in a process of their own, each with one request on one connection.
//!
//! A closed loop keeps a number of connections open. A paced load begins connections at fixed times and counts their
//! latency from the time at which they should have begun, so that a stall shows in every connection that it delays.

use super::Result;
use super::machine::{now, raise_open_files};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A connection without an answer after so many nanoseconds counts as late.
const TOO_LATE: u64 = 8_000_000_000;

/// How connections follow each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Pace {
    /// So many at any time.
    Loop(usize),
    /// So many begin each second.
    Rate(f64),
}

/// What a load shall do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub port: u16,
    pub pace: Pace,
    pub seconds: f64,
    /// How many milliseconds each connection is in progress.
    pub hold: u64,
    /// To several addresses in turn, each of which has ephemeral ports of its own; else to 127.0.0.1.
    pub spread: bool,
}

/// What became of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub answered: u64,
    /// Connections that did not get their answer, by the reason.
    pub failed: BTreeMap<String, u64>,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
    pub worst: f64,
    /// The daemons that answered, in the order of their first answers.
    pub daemons: Vec<Seen>,
}

/// A daemon's first answer. All times are of the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub pid: u32,
    pub answered: u64,
    pub started: u64,
    pub ready: u64,
}

impl Outcome {
    /// Connections that did not get their answer, for whatever reason.
    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    fn count_failure(&mut self, reason: impl ToString) {
        *self.failed.entry(reason.to_string()).or_default() += 1;
    }

    /// Counts an answer: the daemon's pid, when it started, when it was ready, OK.
    fn count_answer(&mut self, text: &[u8]) {
        let words = std::str::from_utf8(text).unwrap_or_default().split(' ').collect::<Vec<_>>();
        let [pid, started, ready, "OK\n"] = words[..] else {
            return self.count_failure("closed without the whole answer");
        };
        self.answered += 1;
        let pid = pid.parse().unwrap_or(0);
        if !self.daemons.iter().rev().any(|seen| seen.pid == pid) {
            let (started, ready) = (started.parse().unwrap_or(0), ready.parse().unwrap_or(0));
            self.daemons.push(Seen { pid, answered: now(), started, ready });
        }
    }
}

struct Client {
    socket: Socket,
    since: u64,
    asked: bool,
    answer: [u8; 96],
    length: usize,
}

impl Client {
    /// Goes on as far as it can without waiting; true when the server has closed.
    fn go_on(&mut self, epoll: &Epoll, slot: usize, request: &[u8]) -> io::Result<bool> {
        if !self.asked {
            self.socket.take_error()?.map_or(Ok(()), Err)?;
            self.socket.send(request)?;
            self.asked = true;
            epoll.modify(&self.socket, &mut EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
            return Ok(false);
        }
        match self.socket.read(&mut self.answer[self.length..]) {
            Ok(0) => Ok(true),
            Ok(length) => {
                self.length += length;
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

struct Load {
    order: Order,
    request: Vec<u8>,
    epoll: Epoll,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    begun: u64,
    latencies: Vec<u64>,
    outcome: Outcome,
}

/// Carries an order out, and prints what became of it.
pub fn run(order: &str) -> Result<String> {
    raise_open_files()?;
    let order: Order = serde_json::from_str(order)?;
    let mut load = Load {
        request: format!("{}\n", order.hold).into_bytes(),
        order,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        clients: Vec::new(),
        free: Vec::new(),
        begun: 0,
        latencies: Vec::with_capacity(1 << 20),
        outcome: Outcome::default(),
    };
    load.carry_out()?;
    Ok(serde_json::to_string(&load.finished())?)
}

impl Load {
    fn carry_out(&mut self) -> Result<()> {
        let begin = now();
        let end = begin + (self.order.seconds * 1e9) as u64;
        let mut looked = begin;
        let mut events = [EpollEvent::empty(); 256];
        while now() < end || self.free.len() < self.clients.len() {
            if now() < end {
                self.begin_those_due(begin);
            }
            let count = match self.epoll.wait(&mut events, 1_u8) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            for event in &events[..count] {
                self.go_on(event.data() as usize);
            }
            if now() - looked > 50_000_000 {
                looked = now();
                self.give_up_late_ones();
            }
        }
        Ok(())
    }

    fn begin_those_due(&mut self, begin: u64) {
        match self.order.pace {
            Pace::Loop(count) => {
                for _ in self.clients.len() - self.free.len()..count {
                    self.connect(now());
                }
            }
            Pace::Rate(rate) => loop {
                let due = begin + (self.begun as f64 / rate * 1e9) as u64;
                if due > now() {
                    break;
                }
                self.connect(due);
            },
        }
    }

    fn connect(&mut self, since: u64) {
        self.begun += 1;
        if let Err(error) = self.try_connect(since) {
            self.outcome.count_failure(error);
        }
    }

    fn try_connect(&mut self, since: u64) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        let address = if self.order.spread { 2 + (self.begun % 8) as u8 } else { 1 };
        let address = Ipv4Addr::new(127, 0, 0, address);
        match socket.connect(&SocketAddrV4::new(address, self.order.port).into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLOUT, slot as u64))?;
        self.clients[slot] = Some(Client { socket, since, asked: false, answer: [0; 96], length: 0 });
        Ok(())
    }

    fn go_on(&mut self, slot: usize) {
        let Some(client) = &mut self.clients[slot] else {
            return;
        };
        match client.go_on(&self.epoll, slot, &self.request) {
            Ok(false) => return,
            Ok(true) => {
                self.latencies.push(now() - client.since);
                self.outcome.count_answer(&client.answer[..client.length]);
            }
            Err(error) => self.outcome.count_failure(error),
        }
        self.clients[slot] = None;
        self.free.push(slot);
    }

    fn give_up_late_ones(&mut self) {
        for slot in 0..self.clients.len() {
            if self.clients[slot].as_ref().is_some_and(|client| client.since + TOO_LATE < now()) {
                self.outcome.count_failure("no answer in time");
                self.clients[slot] = None;
                self.free.push(slot);
            }
        }
    }

    fn finished(mut self) -> Outcome {
        self.latencies.sort_unstable();
        let at = |part: f64| {
            let index = (self.latencies.len().saturating_sub(1) as f64 * part) as usize;
            self.latencies.get(index).map_or(0.0, |nanoseconds| *nanoseconds as f64 / 1e3)
        };
        (self.outcome.p50, self.outcome.p99, self.outcome.worst) = (at(0.5), at(0.99), at(1.0));
        self.outcome
    }
}
