//! Asking a server that starts until it answers.
//!
//! It need not be one of its processes that listens: for a container another one does, often without any relation to what was
//! started. Nobody has listened there before the server was started, so whoever does now does so for it, or has come in its way.
//! [`Belief`] tells these apart as far as it can be.

use super::port;
use crate::dev::address::Backend;
use crate::dev::family::{Family, is_younger};
use crate::net::status_line::{Answer, StatusLine};
use crate::process::holder;
use log::info;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// So long one try may take at first; twice as long each time that this was not enough. A server may have taken a connection
/// that it then forgets, and another may be slow with its first answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Debug)]
pub(in crate::dev) struct Question {
    pub(in crate::dev) backend: Backend,
    pub(in crate::dev) port: u16,
    /// The path that must be answered with a status from 200 to 399; without it any answer is good.
    pub(in crate::dev) path: Option<String>,
}

impl Question {
    fn text(&self) -> String {
        let host = self.backend.authority(self.port);
        let line = match &self.path {
            Some(path) => format!("GET {path} HTTP/1.1"),
            None => "HEAD / HTTP/1.1".into(),
        };
        format!("{line}\r\nHost: {host}\r\nUser-Agent: socket-protector\r\nAccept: */*\r\nConnection: close\r\n\r\n")
    }

    fn is_good(&self, status: u16) -> bool {
        self.path.is_none() || (200..400).contains(&status)
    }

    /// Asks until there is a good answer, and gives the address that it came from.
    pub(in crate::dev) async fn until_answered(self, family: Family) -> SocketAddr {
        let (mut pause, mut patience, mut belief) = (PAUSE, PATIENCE, Belief::default());
        loop {
            for address in self.addresses().await {
                let asked = tokio::time::timeout(patience, self.ask(address, family)).await;
                if asked.is_err() {
                    patience *= 2;
                }
                let Some(who) = asked.ok().flatten() else { continue };
                let believed = belief.on(Instant::now(), address, who);
                if let (Who::Stranger { pid, .. }, true) = (who, believed) {
                    let pid = port::describe(pid);
                    info!("{address} is answered by {pid}, which is none of the server's processes: so be it");
                }
                if believed {
                    return address;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn addresses(&self) -> Vec<SocketAddr> {
        let (backend, port) = (self.backend.clone(), self.port);
        let found = tokio::task::spawn_blocking(move || port::addresses(&backend, port)).await;
        found.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Who has given a good answer, if anybody has.
    async fn ask(&self, address: SocketAddr, family: Family) -> Option<Who> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        // A socket may be connected to itself when nobody listens.
        if stream.local_addr().ok()? == address {
            return None;
        }
        stream.write_all(self.text().as_bytes()).await.ok()?;
        let (mut line, mut buffer) = (StatusLine::new(), [0; 1024]);
        let status = loop {
            let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            match line.read(&buffer[..count]) {
                Answer::More => {}
                Answer::Status(status) => break status,
                Answer::Garbage | Answer::Endless => return None,
            }
        };
        if !self.is_good(status) {
            return None;
        }
        tokio::task::spawn_blocking(move || who(address, family)).await.ok()
    }
}

/// Whose answer it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// One of the server's processes, or one that we cannot see, as another user's.
    Server,
    /// None of them.
    Stranger { pid: Pid, is_younger: bool },
}

fn who(address: SocketAddr, family: Family) -> Who {
    let members = family.members();
    if port::listening(address, members.iter().copied()).is_some() {
        return Who::Server;
    }
    match port::listening(address, holder::all().filter(|pid| !members.contains(pid))) {
        Some(pid) => Who::Stranger { pid, is_younger: is_younger(pid, family.root()) },
        None => Who::Server,
    }
}

/// Whether answers are taken for those of the server. One of a stranger that has begun after it is, as `docker-proxy` does for a
/// container. One that is older may be a daemon that listens for it, as that of rootless containers, or may have taken the port by
/// chance, and then the server itself cannot have it and ends: so its answers must go on for a while.
#[derive(Debug, Default)]
struct Belief {
    strangers: BTreeMap<SocketAddr, (Pid, Instant)>,
}

impl Belief {
    /// A server that starts has ended by then if it cannot have its port, or it would be late anyhow.
    const LONG: Duration = Duration::from_secs(1);

    fn on(&mut self, now: Instant, address: SocketAddr, who: Who) -> bool {
        match who {
            Who::Server | Who::Stranger { is_younger: true, .. } => true,
            Who::Stranger { pid, is_younger: false } => {
                let (before, since) = self.strangers.entry(address).or_insert((pid, now));
                if *before != pid {
                    (*before, *since) = (pid, now);
                }
                now >= *since + Belief::LONG
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Belief, Who};
    use nix::unistd::Pid;
    use std::time::{Duration, Instant};

    #[test]
    fn an_answer_is_believed_at_once_or_after_a_while() {
        let (mut belief, start) = (Belief::default(), Instant::now());
        let [v4, v6] = ["127.0.0.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
        let stranger = |pid: i32, is_younger: bool| Who::Stranger { pid: Pid::from_raw(pid), is_younger };
        let at = |part: u32| start + Belief::LONG / 10 * part;
        assert!(belief.on(start, v4, Who::Server) && belief.on(start, v4, stranger(7, true)));
        assert!(!belief.on(at(0), v4, stranger(7, false)));
        assert!(!belief.on(at(5), v6, stranger(9, false)), "each address has its own");
        assert!(!belief.on(at(9), v4, stranger(7, false)));
        assert!(!belief.on(at(10), v4, stranger(8, false)), "it is another one");
        assert!(belief.on(at(15), v6, stranger(9, false)));
        assert!(!belief.on(at(20) - Duration::from_nanos(1), v4, stranger(8, false)));
        assert!(belief.on(at(20), v4, stranger(8, false)));
    }
}
