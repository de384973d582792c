//! From an endpoint to a connection, without ever waiting: the name is looked up by others, and all sockets that are
//! under way belong to the loop's reactor under one key. Whoever asked is told when there is something to be done.
//!
//! What is dropped is cancelled: the question is taken back, and the sockets are closed, with a reset for any that has
//! come about unnoticed.

mod attempts;
mod error;
mod ports;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::hash::Hash;
use std::io;
use std::mem;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use self::attempts::{Attempts, Step};
pub use self::error::{ConnectError, Reason, Stage};
use super::descriptors::{Descriptors, Taken};
use super::endpoint::{Connect, Family, Host, HostPort, Peer};
use super::listener::{self, Address};
use super::resolve::{Answer, Inbox, Question, Resolver};
use crate::reactor::{BOTH, Event, Reactor, Registered, URGENT};

/// A connection that is being made; `S` is what the socket becomes.
#[derive(Debug)]
pub struct Connecting<S: Source + AsFd> {
    to: Arc<Connect>,
    limit: Duration,
    deadline: Instant,
    /// When there is something to do although nothing happens.
    due: Instant,
    state: State<S>,
    /// Where sockets are counted, all but the first that is under way: that one is the caller's.
    room: Option<Arc<Descriptors>>,
    extra: Vec<Taken>,
}

#[derive(Debug)]
enum State<S: Source + AsFd> {
    LookingUp {
        _question: Question,
    },
    Trying(Trying<S>),
    /// Told at the next occasion.
    Failed(ConnectError),
    Over,
}

#[derive(Debug)]
struct Trying<S: Source + AsFd> {
    attempts: Attempts<Address>,
    under_way: Vec<Attempt<S>>,
    last: Option<(Address, io::Error)>,
    /// An event has said that the only attempt there ever was has arrived.
    told: bool,
}

/// A socket on its way to an address.
#[derive(Debug)]
struct Attempt<S: Source + AsFd> {
    address: Address,
    /// None once it has arrived and is somebody else's.
    socket: Option<Registered<S>>,
}

/// How far a connection has come.
#[derive(Debug)]
pub enum Progress<S: Source> {
    /// Neither made nor failed. More at the next event of its key, at its answer, or when it is due.
    Pending,
    /// Made. The socket is watched under the key that it was connected with, for [`BOTH`] and [`URGENT`]; what has been reported of it
    /// so far is used up, so reading and writing are to be tried. TCP sends small segments at once.
    Connected(Registered<S>),
    /// Failed for good.
    Failed(ConnectError),
}

/// Who looks up names, and where the answers come in.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a, K> {
    /// Who looks them up.
    pub resolver: &'a Resolver<K>,
    /// Where the answers come in.
    pub inbox: &'a Inbox<K>,
}

impl<S: Source + AsFd + From<TcpStream> + From<UnixStream>> Connecting<S> {
    /// Begins; [`proceed`](Self::proceed) does what can be done at once. If `to` says nothing else, all has to be done
    /// within `limit`. An answer to its question has this key.
    pub fn start<K: Send + 'static>(
        to: Arc<Connect>,
        limit: Duration,
        now: Instant,
        names: Names<'_, K>,
        key: K,
    ) -> Self {
        let limit = to.timeout.unwrap_or(limit);
        let deadline = now + limit;
        let state = match &to.place {
            Peer::Unix(address) => State::trying(vec![((), Address::from(address))], None, now),
            Peer::Tcp(place) => match &place.host {
                Host::Name(name) => State::LookingUp { _question: names.resolver.ask(name, key, names.inbox) },
                Host::V4(address) => State::to_host(vec![SocketAddr::from((*address, 0))], place, now, &to),
                Host::V6 { address, zone } => match zone.as_deref().map_or(Ok(0), listener::scope_id) {
                    Ok(scope) => State::to_host(vec![SocketAddrV6::new(*address, 0, 0, scope).into()], place, now, &to),
                    Err(source) => State::Failed(ConnectError::Zone { destination: Arc::clone(&to), source }),
                },
            },
        };
        Connecting { to, limit, deadline, due: deadline, state, room: None, extra: Vec::new() }
    }

    /// Counts the sockets beside the first among these. Where there is none left, one address is tried after the other.
    pub fn counted_in(mut self, room: Arc<Descriptors>) -> Self {
        self.room = Some(room);
        self
    }

    /// Takes the answer that came for its key; to be followed by [`proceed`](Self::proceed).
    pub fn answered(&mut self, answer: Answer, now: Instant) {
        let (State::LookingUp { .. }, Peer::Tcp(place)) = (&self.state, &self.to.place) else { return };
        self.state = match answer {
            Ok(addresses) => State::to_host(addresses, place, now, &self.to),
            Err(source) => State::Failed(ConnectError::Lookup { destination: Arc::clone(&self.to), source }),
        };
    }

    /// When to [`proceed`](Self::proceed) although nothing has happened.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// When all has to be done, what comes after the connection included.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes in what an event of one of its sockets says, which spares [`proceed`](Self::proceed) a question to the
    /// kernel in most cases. Whoever does not call this loses nothing else.
    pub fn hear<K>(&mut self, event: &Event<K>) {
        if let State::Trying(Trying { under_way, last, told, .. }) = &mut self.state {
            // A socket on its way takes no bytes, and one that has failed says so as well. All have one key, so this is
            // about that one only if there never was another.
            *told = event.writable && !event.failed && !event.closed && under_way.len() == 1 && last.is_none();
        }
    }

    /// Does what there is to be done: after an event of its key, after its answer, and when it is due. Not after it has
    /// come to something else than [`Progress::Pending`].
    pub fn proceed<K>(&mut self, now: Instant, reactor: &mut Reactor<K>, key: K) -> Progress<S>
    where
        K: Copy + Eq + Hash,
    {
        self.due = self.deadline;
        let stage = match &mut self.state {
            State::LookingUp { .. } => Stage::Lookup,
            State::Trying(trying) => {
                if let Some(socket) = trying.arrived(now) {
                    return self.over(Progress::Connected(socket));
                }
                Stage::Answer
            }
            State::Failed(_) | State::Over => Stage::Answer,
        };
        if now >= self.deadline && matches!(self.state, State::LookingUp { .. } | State::Trying(_)) {
            let error = self.too_late(stage);
            return self.over(Progress::Failed(error));
        }
        match mem::replace(&mut self.state, State::Over) {
            State::Failed(error) => Progress::Failed(error),
            State::Trying(trying) => self.try_on(trying, now, reactor, key),
            state @ (State::LookingUp { .. } | State::Over) => {
                self.state = state;
                Progress::Pending
            }
        }
    }

    fn too_late(&mut self, stage: Stage) -> ConnectError {
        let destination = Arc::clone(&self.to);
        match &mut self.state {
            // Nobody was waited for: what stood in the way is the reason.
            State::Trying(Trying { under_way, last, .. }) if under_way.is_empty() && last.is_some() => {
                failure(destination, last.take(), None)
            }
            _ => ConnectError::TimedOut { destination, limit: self.limit, stage },
        }
    }

    fn over(&mut self, progress: Progress<S>) -> Progress<S> {
        self.state = State::Over;
        self.extra.clear();
        progress
    }

    fn try_on<K>(&mut self, mut trying: Trying<S>, now: Instant, reactor: &mut Reactor<K>, key: K) -> Progress<S>
    where
        K: Copy + Eq + Hash,
    {
        let bind = match &self.to.place {
            Peer::Tcp(place) => place.bind_address.map(|address| SocketAddr::new(address, 0)),
            Peer::Unix(_) => None,
        };
        loop {
            let has_room = !trying.attempts.has_more() || self.has_room(trying.under_way.len());
            match trying.attempts.step(now, has_room) {
                // A full backlog of a unix socket, and want of descriptors, may end while there is time.
                Step::Start(address) => match begin(&address, bind) {
                    Ok((socket, done)) => {
                        let socket = match reactor.register(socket, key, BOTH | URGENT) {
                            Ok(socket) => socket,
                            Err(error) => {
                                trying.failed(address, error, now);
                                continue;
                            }
                        };
                        if done {
                            return Progress::Connected(socket);
                        }
                        trying.under_way.push(Attempt { address, socket: Some(socket) });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => trying.attempts.no_room(address, now),
                    Err(error) if is_shortage(&error) => {
                        trying.attempts.no_room(address.clone(), now);
                        trying.last = Some((address, error));
                    }
                    Err(error) => trying.failed(address, error, now),
                },
                Step::GiveUp(address) => trying.give_up(&address),
                Step::Wait(at) => {
                    self.due = at.map_or(self.deadline, |at| at.min(self.deadline));
                    self.extra.truncate(trying.under_way.len().saturating_sub(1));
                    self.state = State::Trying(trying);
                    return Progress::Pending;
                }
                Step::Exhausted => {
                    let family = bind.map(|bind| Family::of(bind.ip()));
                    return Progress::Failed(failure(Arc::clone(&self.to), trying.last, family));
                }
            }
        }
    }
}

impl<S: Source + AsFd> Connecting<S> {
    /// Whether a socket may be opened beside so many; it is counted from now on.
    fn has_room(&mut self, under_way: usize) -> bool {
        self.extra.truncate(under_way);
        let Some(room) = &self.room else {
            return true;
        };
        while self.extra.len() < under_way {
            match room.take(1) {
                Some(taken) => self.extra.push(taken),
                None => return false,
            }
        }
        true
    }
}

impl<S: Source + AsFd> State<S> {
    /// To these addresses of a host, those of another family than we are to connect from left out.
    fn to_host(addresses: Vec<SocketAddr>, place: &HostPort, now: Instant, to: &Arc<Connect>) -> Self {
        let bound = place.bind_address.map(Family::of);
        let with_family = addresses.into_iter().map(|mut address| {
            address.set_port(place.port);
            (Family::of(address.ip()), Address::Internet(address))
        });
        let fitting: Vec<_> = with_family.filter(|(family, _)| bound.is_none_or(|bound| bound == *family)).collect();
        if fitting.is_empty() {
            return State::Failed(ConnectError::NoAddress { destination: Arc::clone(to), family: bound });
        }
        State::trying(fitting, place.prefer, now)
    }

    fn trying<F: Copy + PartialEq>(addresses: Vec<(F, Address)>, prefer: Option<F>, now: Instant) -> Self {
        let attempts = Attempts::new(addresses, prefer, now);
        State::Trying(Trying { attempts, under_way: Vec::new(), last: None, told: false })
    }
}

impl<S: Source + AsFd> Trying<S> {
    /// The first attempt that has come about; those that have failed are taken away.
    fn arrived(&mut self, now: Instant) -> Option<Registered<S>> {
        let told = mem::take(&mut self.told);
        let mut index = 0;
        while let Some(attempt) = self.under_way.get_mut(index) {
            match attempt.has_arrived(told, now) {
                Ok(true) => return attempt.socket.take(),
                Ok(false) => index += 1,
                Err(error) => {
                    let address = attempt.address.clone();
                    self.under_way.remove(index);
                    self.failed(address, error, now);
                }
            }
        }
        None
    }

    fn failed(&mut self, address: Address, error: io::Error, now: Instant) {
        self.attempts.failed(&address, now);
        self.last = Some((address, error));
    }

    fn give_up(&mut self, address: &Address) {
        self.under_way.retain(|attempt| attempt.address != *address);
        self.last = Some((address.clone(), Errno::ETIMEDOUT.into()));
    }
}

impl<S: Source + AsFd> Attempt<S> {
    /// Whether the connection has come about, which an event may have told already. Who is connected has no error, so
    /// that none is asked for then.
    fn has_arrived(&self, told: bool, now: Instant) -> io::Result<bool> {
        let Some(socket) = &self.socket else {
            return Ok(false);
        };
        let socket = SockRef::from(&**socket);
        if !told {
            match socket.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    return socket.take_error()?.map_or(Ok(false), Err);
                }
                Err(error) => return Err(error),
            }
        }
        if is_its_own_peer(&socket, &self.address, now)? { Err(Errno::ECONNREFUSED.into()) } else { Ok(true) }
    }
}

impl<S: Source + AsFd> Drop for Attempt<S> {
    /// The peer may have taken it for a connection already: it shall learn that it is none.
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            // Without it the peer sees the end of a connection, and not its failure.
            let _ = SockRef::from(&**socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// That all addresses have failed, if there were any.
fn failure(to: Arc<Connect>, last: Option<(Address, io::Error)>, family: Option<Family>) -> ConnectError {
    match last {
        Some((address, source)) => ConnectError::Failed { destination: to, address, source },
        None => ConnectError::NoAddress { destination: to, family },
    }
}

/// Starts to connect; true when that was all.
fn begin<S: From<TcpStream> + From<UnixStream>>(address: &Address, bind: Option<SocketAddr>) -> io::Result<(S, bool)> {
    let (address, protocol) = match address {
        Address::Internet(address) => (SockAddr::from(*address), Some(Protocol::TCP)),
        Address::Path(path) => (SockAddr::unix(path)?, None),
        Address::Abstract(name) => (SockAddr::unix(OsStr::from_bytes(&[b"\0", name.as_slice()].concat()))?, None),
        Address::Unnamed => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let socket = Socket::new(address.domain(), Type::STREAM.nonblocking(), protocol)?;
    if let Some(bind) = bind {
        // The port is chosen when the destination is known, so that one port may serve for several. Where that cannot be
        // had, ports run out sooner.
        let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
        socket.bind(&bind.into())?;
    }
    if protocol.is_some() {
        socket.set_tcp_nodelay(true)?;
        // A peer that is gone without a word is found out, however long a connection may be idle: tcp(7), tcp_keepalive_time.
        socket.set_keepalive(true)?;
    }
    let done = match socket.connect(&address) {
        Ok(()) => true,
        Err(error) if is_under_way(&error) => false,
        Err(error) => return Err(error),
    };
    let is_unix = address.domain() == Domain::UNIX;
    let socket = OwnedFd::from(socket);
    let stream =
        if is_unix { UnixStream::from_std(socket.into()).into() } else { TcpStream::from_std(socket.into()).into() };
    Ok((stream, done))
}

/// See connect(2), EINPROGRESS; a signal stops nothing of it.
fn is_under_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EINPROGRESS | Errno::EINTR))
}

/// No descriptor or no memory is to be had at the moment.
fn is_shortage(error: &io::Error) -> bool {
    const SHORT: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    SHORT.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Whether TCP has connected a socket to itself. A port out of which connections are made may be given to the very
/// connection that is made to it, when nobody listens there.
fn is_its_own_peer(socket: &SockRef<'_>, address: &Address, now: Instant) -> io::Result<bool> {
    let Address::Internet(address) = address else {
        return Ok(false);
    };
    // Mostly the port is none of those, and then nothing has to be asked for.
    if !ports::CHOSEN.may_have(address.port(), now, ports::system) {
        return Ok(false);
    }
    let local = socket.local_addr()?;
    // Mostly the port is another. The address may have been one that stands for others, such as 0.0.0.0.
    Ok(local.as_socket().is_some_and(|local| local.port() == address.port()) && socket.peer_addr()? == local)
}
