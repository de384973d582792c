//! The instance's side: clients that may be slow, silent or hostile, and cost nothing but their own answer.

use super::wire::{LONGEST_LINE, Reply};
use crate::process::limits::Reserve;
use crate::reactor::{BOTH, READABLE, Reactor, Registered};
use log::{debug, warn};
use mio::net::{UnixListener, UnixStream};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Uid;
use serde::de::DeserializeOwned;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// More clients than that at once are turned away.
const MOST_CLIENTS: usize = 64;
/// So many may wait for their answers besides, which may take as long as connections do.
const MOST_WAITING: usize = 512;
/// So many clients may wait for being accepted.
const BACKLOG: i32 = 1024;
/// How much of a request is read before others have their turn.
const BUDGET: usize = 64 * 1024;
/// A client that has not said its whole request, or not read its whole answer, by then is turned away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Identifies a client; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u64);

impl ClientId {
    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be made.
    #[error("cannot make the control socket {}", .path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A control socket and its clients.
#[derive(Debug)]
pub struct Server<K> {
    /// `None` once another process has it.
    listener: Option<Registered<UnixListener>>,
    path: PathBuf,
    /// The socket's file, by device and number.
    file: Option<(u64, u64)>,
    clients: HashMap<ClientId, Client>,
    next: u64,
    key: K,
    client_key: fn(ClientId) -> K,
}

/// A client on its way to another process; `S` is its connection, lent to be sent or owned where it came.
#[derive(Debug)]
pub struct Share<S = OwnedFd> {
    /// Its connection.
    pub socket: S,
    /// It has asked, and waits for an answer.
    pub asked: bool,
    /// The beginning of what it asks.
    pub heard: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: Registered<UnixStream>,
    request: Vec<u8>,
    /// How much of the request has been looked at for its end.
    searched: usize,
    reply: Vec<u8>,
    /// It was left before all was read.
    unread: bool,
    /// It has asked and waits for an answer, which may take its time.
    asked: bool,
}

impl<K: Copy + Eq + Hash> Server<K> {
    /// Listens at `path`, which is the caller's by its lock: what is found there is left over and replaced.
    ///
    /// # Errors
    /// The path and what the system said.
    pub fn open(
        reactor: &mut Reactor<K>,
        path: PathBuf,
        key: K,
        client_key: fn(ClientId) -> K,
    ) -> Result<Self, ControlError> {
        let bound = bind(&path).and_then(|(listener, file)| Ok((reactor.register(listener, key, READABLE)?, file)));
        match bound {
            Ok((listener, file)) => {
                Ok(Server { listener: Some(listener), path, file, clients: HashMap::new(), next: 0, key, client_key })
            }
            Err(source) => Err(ControlError::Bind { path, source }),
        }
    }

    /// Takes in new clients. Only root and whoever runs the instance may talk to it.
    ///
    /// When clients of the role have taken every descriptor, the reserve lends one.
    pub fn accept(&mut self, reactor: &mut Reactor<K>, reserve: &mut Reserve) {
        loop {
            let Some(listener) = &self.listener else {
                return;
            };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) if is_shortage(&error) && reserve.lend_spare() => continue,
                Err(error) => {
                    debug!("cannot accept on the control socket: {error}");
                    reactor.set_deadline(self.key, Some(Instant::now() + Duration::from_millis(100)));
                    return;
                }
            };
            let uid = getsockopt(&stream, sockopt::PeerCredentials).map(|peer| Uid::from_raw(peer.uid()));
            if !uid.is_ok_and(|uid| uid.is_root() || uid == Uid::effective()) {
                warn!("a control client of another user was turned away");
            } else if self.clients.len() - self.waiting() < MOST_CLIENTS || self.make_room(reactor) {
                self.add(reactor, stream);
            } else {
                warn!("a control client was turned away: {MOST_CLIENTS} are being answered already");
            }
        }
    }

    /// How many have asked and wait for an answer.
    fn waiting(&self) -> usize {
        self.clients.values().filter(|client| client.asked).count()
    }

    /// Turns away the client that has said nothing for the longest time, if there is one; whoever asks goes before it.
    fn make_room(&mut self, reactor: &mut Reactor<K>) -> bool {
        let silent = self.clients.iter().filter(|(_, client)| !client.asked && client.reply.is_empty());
        let Some(id) = silent.map(|(id, _)| *id).min() else {
            return false;
        };
        self.forget(reactor, id);
        true
    }

    fn add(&mut self, reactor: &mut Reactor<K>, stream: UnixStream) {
        let id = ClientId(self.next);
        self.next += 1;
        let key = (self.client_key)(id);
        match reactor.register(stream, key, BOTH) {
            Ok(stream) => {
                self.clients.insert(id, Client::new(stream));
                reactor.set_deadline(key, Some(Instant::now() + PATIENCE));
            }
            Err(error) => warn!("cannot watch a control client: {error}"),
        }
    }

    /// What a client has asked, in the role's terms, when its line is whole. Answer with [`Server::reply`], now or later.
    pub fn read<R: DeserializeOwned>(&mut self, reactor: &mut Reactor<K>, id: ClientId) -> Option<R> {
        let crowded = self.waiting() >= MOST_WAITING;
        let client = self.clients.get_mut(&id)?;
        match client.read() {
            Ok(Some(line)) => {
                let request = serde_json::from_slice(&line);
                client.asked = true;
                reactor.set_deadline((self.client_key)(id), None);
                match request {
                    Ok(_) if crowded => {
                        let text = format!("{MOST_WAITING} clients wait for an answer already");
                        self.reply(reactor, id, &Reply::failed(text));
                        None
                    }
                    Ok(request) => Some(request),
                    Err(error) => {
                        self.reply(reactor, id, &Reply::failed(format!("not a request: {error}")));
                        None
                    }
                }
            }
            Ok(None) => {
                if client.unread {
                    reactor.again((self.client_key)(id));
                }
                None
            }
            Err(_) => {
                self.forget(reactor, id);
                None
            }
        }
    }

    /// Answers a client; one that has gone needs no answer.
    pub fn reply(&mut self, reactor: &mut Reactor<K>, id: ClientId, reply: &Reply) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let mut line = serde_json::to_vec(reply).unwrap_or_default();
        line.push(b'\n');
        client.reply.append(&mut line);
        client.asked = false;
        reactor.set_deadline((self.client_key)(id), Some(Instant::now() + PATIENCE));
        self.write(reactor, id);
        // Its next request may be here already.
        reactor.again((self.client_key)(id));
    }

    /// Goes on with an answer that was not taken whole.
    pub fn write(&mut self, reactor: &mut Reactor<K>, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.write().is_err() {
            self.forget(reactor, id);
        }
    }

    /// A client's patience is over.
    pub fn due(&mut self, reactor: &mut Reactor<K>, id: ClientId) {
        debug!("a control client that said or read nothing was turned away");
        self.forget(reactor, id);
    }

    /// Whether this client is there still.
    pub fn has(&self, id: ClientId) -> bool {
        self.clients.contains_key(&id)
    }

    /// Makes the socket again if somebody has removed it, or put something else in its place.
    ///
    /// # Errors
    /// The path and what the system said; what there was stays in use.
    pub fn make_sure(&mut self, reactor: &mut Reactor<K>) -> Result<bool, ControlError> {
        if self.listener.is_none() || file_of(&self.path) == self.file {
            return Ok(false);
        }
        let bound = bind(&self.path).and_then(|(listener, file)| {
            let listener = reactor.register(listener, self.key, READABLE)?;
            Ok((listener, file))
        });
        let (listener, file) = bound.map_err(|source| ControlError::Bind { path: self.path.clone(), source })?;
        (self.listener, self.file) = (Some(listener), file);
        Ok(true)
    }

    /// Goes on with a control socket that another process has handed to us. Its file is that process' until
    /// [`Server::own`].
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub fn take_over(
        reactor: &mut Reactor<K>,
        socket: OwnedFd,
        path: PathBuf,
        key: K,
        client_key: fn(ClientId) -> K,
    ) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener);
        let listener = reactor.register(listener, key, READABLE)?;
        Ok(Server { listener: Some(listener), path, file: None, clients: HashMap::new(), next: 0, key, client_key })
    }

    /// From now on the socket's file is ours.
    pub fn own(&mut self) {
        // One that somebody has removed is made again.
        self.file = file_of(&self.path).or(Some((0, 0)));
    }

    /// The socket, for the process that takes over; `None`: another one has it already.
    pub fn lend(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(|listener| listener.as_fd())
    }

    /// The clients, for the process that takes over: but for those who have not read their answer.
    pub fn lend_clients(&self) -> impl Iterator<Item = (ClientId, Share<BorrowedFd<'_>>)> {
        let read = self.clients.iter().filter(|(_, client)| client.reply.is_empty());
        read.map(|(id, client)| (*id, client.lend()))
    }

    /// Takes in a client of another process, where that has left off.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub fn admit(&mut self, reactor: &mut Reactor<K>, share: Share) -> io::Result<ClientId> {
        let id = ClientId(self.next);
        self.next += 1;
        let key = (self.client_key)(id);
        let stream = std::os::unix::net::UnixStream::from(share.socket);
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream);
        let stream = reactor.register(stream, key, BOTH)?;
        let mut client = Client::new(stream);
        (client.asked, client.request) = (share.asked, share.heard);
        self.clients.insert(id, client);
        if !share.asked {
            reactor.set_deadline(key, Some(Instant::now() + PATIENCE));
        }
        Ok(id)
    }

    /// Lets go of the socket and the clients that another process has now. Those who have not read their answer stay.
    pub fn hand_over(&mut self, reactor: &mut Reactor<K>) {
        (self.listener, self.file) = (None, None);
        let gone = self.clients.iter().filter(|(_, client)| client.reply.is_empty()).map(|(id, _)| *id);
        for id in gone.collect::<Vec<_>>() {
            self.forget(reactor, id);
        }
    }

    /// Whether nobody has an answer to read.
    pub fn all_answered(&self) -> bool {
        self.clients.values().all(|client| client.reply.is_empty())
    }

    /// Takes the socket away and leaves the clients their connections until this process ends: a client that waits
    /// for our end waits for that.
    pub fn leave(mut self) {
        std::mem::forget(std::mem::take(&mut self.clients));
    }

    fn forget(&mut self, reactor: &mut Reactor<K>, id: ClientId) {
        self.clients.remove(&id);
        reactor.set_deadline((self.client_key)(id), None);
    }
}

impl<K> Drop for Server<K> {
    fn drop(&mut self) {
        if self.file.is_some() && file_of(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What is at the path, by device and number.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

fn is_shortage(error: &io::Error) -> bool {
    [libc::EMFILE, libc::ENFILE].iter().any(|errno| error.raw_os_error() == Some(*errno))
}

fn bind(path: &Path) -> io::Result<(UnixListener, Option<(u64, u64)>)> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    crate::sys::bind_for_owner(&socket, path)?;
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(socket.into());
    Ok((listener, file_of(path)))
}

impl Client {
    fn new(stream: Registered<UnixStream>) -> Self {
        Client { stream, request: Vec::new(), searched: 0, reply: Vec::new(), unread: false, asked: false }
    }

    fn lend(&self) -> Share<BorrowedFd<'_>> {
        Share { socket: self.stream.as_fd(), asked: self.asked, heard: self.request.clone() }
    }

    /// A whole line, when there is one and no answer is under way.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.asked || !self.reply.is_empty() {
            // One request at a time. The rest waits in the socket; only a client that has gone is noticed.
            return self.gone();
        }
        let mut buffer = [0; 4096];
        let budget = self.request.len() + BUDGET;
        self.unread = false;
        loop {
            if let Some(end) = self.request[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.request.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.request, rest)));
            }
            self.searched = self.request.len();
            if self.request.len() > LONGEST_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.request.len() > budget {
                self.unread = true;
                return Ok(None);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.request.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn gone(&self) -> io::Result<Option<Vec<u8>>> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut asked = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(0) => Ok(None),
            Ok(_) | Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.reply.is_empty() {
            match self.stream.write(&self.reply) {
                Ok(count) => drop(self.reply.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
