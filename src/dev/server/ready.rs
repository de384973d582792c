//! Asking a server that starts until it answers.
//!
//! Whoever listens at its port need not be the server, so an answer of a process that can be seen to be none of the server's counts
//! for nothing, unless anyone's does, as for a container whose port another process listens at.

use super::port;
use crate::dev::address::Backend;
use crate::dev::family::Family;
use crate::dev::settings::ReadyFrom;
use crate::net::status_line::{Answer, StatusLine};
use crate::process::holder;
use log::{info, warn};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
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
    /// Whose answer is good.
    pub(in crate::dev) from: ReadyFrom,
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
        let (mut pause, mut patience, mut named) = (PAUSE, PATIENCE, BTreeSet::new());
        loop {
            for address in self.addresses().await {
                let asked = tokio::time::timeout(patience, self.ask(address, family)).await;
                if asked.is_err() {
                    patience *= 2;
                }
                match (asked.ok().flatten(), self.from) {
                    (Some(Who::Server), _) => return address,
                    (Some(Who::Stranger(pid)), ReadyFrom::Anyone) => {
                        let who = port::describe(pid);
                        info!("{address} is answered by {who}, which is none of the server's processes");
                        return address;
                    }
                    (Some(Who::Stranger(pid)), ReadyFrom::Server) if named.insert(pid) => {
                        let who = port::describe(pid);
                        warn!(
                            "{address} is answered by {who}, which is not our server: --ready-from anyone takes its answers"
                        );
                    }
                    (Some(Who::Stranger(_)), ReadyFrom::Server) | (None, _) => {}
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
    Stranger(Pid),
}

fn who(address: SocketAddr, family: Family) -> Who {
    let members = family.members();
    if port::listening(address, members.iter().copied()).is_some() {
        return Who::Server;
    }
    match port::listening(address, holder::all().filter(|pid| !members.contains(pid))) {
        // One that lost its parent when we looked was none of them for a moment.
        Some(pid) if !family.members().contains(&pid) => Who::Stranger(pid),
        Some(_) | None => Who::Server,
    }
}
