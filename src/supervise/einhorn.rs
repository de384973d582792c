//! The socket at which children send einhorn's ACK. Who may speak there is the driver's affair; here clients are few,
//! their lines short and their time bounded.

pub mod message;

use super::Source;
use super::state::Number;
use crate::reactor::{READABLE, Reactor, Registered};
use message::{LONGEST, Said};
use mio::net::{UnixListener, UnixStream};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The name of the socket in the children's directory.
pub const EINHORN: &str = "einhorn";
/// With more clients than that one is let go: of the generation that has most, the one that has been silent for the
/// longest time.
const MOST_CLIENTS: usize = 32;
/// A client that has not said its line by then is let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no socket for einhorn's ACK.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the children's socket {}", .path.display())]
pub struct EinhornError {
    path: PathBuf,
    source: io::Error,
}

/// The socket and its clients.
#[derive(Debug)]
pub struct EinhornServer {
    listener: Registered<UnixListener>,
    path: PathBuf,
    /// By an id that counts up, so the first is the oldest.
    clients: BTreeMap<u64, Client>,
    next: u64,
}

/// Who has connected.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    /// The process that did.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

#[derive(Debug)]
struct Client {
    stream: Registered<UnixStream>,
    number: Number,
    line: Vec<u8>,
}

impl EinhornServer {
    /// Listens in the children's directory, which exists; what is found there is left over.
    ///
    /// # Errors
    /// The path and what the system said.
    pub fn open(reactor: &mut Reactor<Source>, directory: &Path) -> Result<Self, EinhornError> {
        let path = directory.join(EINHORN);
        let listener = bind(&path).and_then(|socket| reactor.register(socket, Source::Einhorn, READABLE));
        match listener {
            Ok(listener) => Ok(EinhornServer { listener, path, clients: BTreeMap::new(), next: 0 }),
            Err(source) => Err(EinhornError { path, source }),
        }
    }

    /// The path that children are told.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Who has connected; `None` when nobody waits.
    ///
    /// # Errors
    /// Those of accept(2), such as for want of descriptors.
    pub fn accept(&self) -> io::Result<Option<Peer>> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => match getsockopt(&stream, sockopt::PeerCredentials) {
                    Ok(peer) => return Ok(Some(Peer { stream, pid: peer.pid(), uid: peer.uid() })),
                    Err(_) => continue,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a client in, whose line [`EinhornServer::read`] gives when it is whole.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn admit(&mut self, reactor: &mut Reactor<Source>, peer: Peer, number: Number) -> io::Result<u64> {
        if self.clients.len() >= MOST_CLIENTS
            && let Some(superfluous) = self.superfluous()
        {
            self.forget(reactor, superfluous);
        }
        let id = self.next;
        self.next += 1;
        let key = Source::EinhornClient(id);
        let stream = reactor.register(peer.stream, key, READABLE)?;
        self.clients.insert(id, Client { stream, number, line: Vec::new() });
        reactor.set_deadline(key, Some(Instant::now() + PATIENCE));
        Ok(id)
    }

    fn superfluous(&self) -> Option<u64> {
        let of = |number| self.clients.values().filter(|client| client.number == number).count();
        let most = self.clients.values().map(|client| client.number).max_by_key(|number| of(*number))?;
        self.clients.iter().find(|(_, client)| client.number == most).map(|(id, _)| *id)
    }

    /// What a client has said, and for which generation, once its line is whole; answered, where an answer is due, and
    /// let go.
    pub fn read(&mut self, reactor: &mut Reactor<Source>, id: u64) -> Option<(Number, Said)> {
        let client = self.clients.get_mut(&id)?;
        let line = match client.read() {
            Ok(None) => return None,
            Ok(Some(line)) => line,
            Err(_) => {
                self.forget(reactor, id);
                return None;
            }
        };
        let said = message::parse(&line);
        if let Some(answer) = message::answer(&said) {
            // It fits into a socket that nothing was written to yet.
            let _ = client.stream.write(&answer);
        }
        let number = client.number;
        self.forget(reactor, id);
        Some((number, said))
    }

    /// Lets a client go.
    pub fn forget(&mut self, reactor: &mut Reactor<Source>, id: u64) {
        self.clients.remove(&id);
        reactor.set_deadline(Source::EinhornClient(id), None);
    }
}

impl Client {
    /// The line, once it is whole. It is read as far as it may be long, so a client takes no more time than that.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; LONGEST];
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                self.line.truncate(end);
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            let room = LONGEST.saturating_sub(self.line.len());
            if room == 0 {
                return Ok(Some(Vec::new()));
            }
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.line.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for EinhornServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

#[cfg(test)]
mod tests {
    use super::{EinhornServer, MOST_CLIENTS, Peer};
    use crate::reactor::Reactor;
    use crate::supervise::state::Number;
    use mio::net::UnixStream;

    #[test]
    fn whoever_has_most_connections_makes_room_for_another() {
        let mut reactor = Reactor::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut server = EinhornServer::open(&mut reactor, directory.path()).unwrap();
        let mut others = Vec::new();
        let mut admit = |server: &mut EinhornServer, number| {
            let (stream, other) = UnixStream::pair().unwrap();
            others.push(other);
            server.admit(&mut reactor, Peer { stream, pid: 1, uid: 0 }, Number(number)).unwrap()
        };
        let one = admit(&mut server, 1);
        let silent: Vec<u64> = (0..MOST_CLIENTS).map(|_| admit(&mut server, 2)).collect();
        assert_eq!(server.clients.len(), MOST_CLIENTS);
        assert!(server.clients.contains_key(&one));
        assert!(!server.clients.contains_key(&silent[0]), "the oldest of those that have most");
    }
}
