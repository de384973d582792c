//! Our end of a child's channel, and the duplicate of the child's end by which unread connections are taken back.
//!
//! The child learns its end of file from our `shutdown(2)`, so holding the duplicate does not hide it; that the child
//! is dead we learn from its pidfd, since holding the duplicate does hide that. `docs/protocol.md` has the records.
//!
//! A child that is linked with the original library brings a channel of its own, which takes the place of ours; what is
//! different about it is in `original`.

pub mod original;

use super::Source;
use super::hold::{Held, Hold};
use super::state::Number;
use crate::reactor::{BOTH, Descriptor, READABLE, Reactor, Registered};
use crate::sys;
use log::warn;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, recv, shutdown, socketpair};
use original::Original;
use socket_protector_client::descriptors;
use socket_protector_client::wire::{self, DecodeError, FromChild, MAX_CONNECTIONS, MAX_RECORD, ToChild};
use socket2::SockRef;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How far passing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// All that was held has been passed.
    All,
    /// The child is slower than its clients; the reactor tells when there is room again.
    Full,
    /// Too many descriptors are under way in the system, or it is short of memory; nobody tells when that changes.
    TooMany,
}

/// What a child said.
#[derive(Debug)]
pub enum Heard {
    /// Nothing, for now.
    Nothing,
    /// It gives a connection back, which is still in the channel: it is not to be taken in now.
    Later,
    /// A record.
    Record(FromChild),
    /// A connection that it gives back.
    GivenBack(Held<OwnedFd>),
    /// What is none of the protocol's records. What came with it is closed.
    Malformed(DecodeError),
}

/// A child's channel, seen from us.
#[derive(Debug)]
pub struct Channel {
    ours: Registered<Descriptor<OwnedFd>>,
    /// The duplicate of the child's end; none once nothing can be unread any more.
    theirs: Option<OwnedFd>,
    watched_for_room: bool,
    closed: bool,
    /// The child can say nothing more.
    ended: bool,
    /// And all that it has said has been heard.
    silent: bool,
    /// The child has said something on it.
    used: bool,
    original: Option<Original>,
    /// Connections of our own that were passed to see whether the child takes them, by their cookies (SO_COOKIE in
    /// socket(7)), which are never used twice. They are nobody else's.
    probes: Vec<u64>,
    record: Vec<u8>,
}

impl Channel {
    /// A new channel. Its child's end is lent by [`Channel::child_end`].
    ///
    /// # Errors
    /// Those of socketpair(2) and epoll_ctl(2).
    pub fn open(reactor: &mut Reactor<Source>, number: Number) -> io::Result<Channel> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        for end in [&ours, &theirs] {
            fit_longest_record(end)?;
        }
        // Not for writing: the child would wake us with every record that it reads.
        let ours = reactor.register(Descriptor(ours), Source::Channel(number), READABLE)?;
        Ok(Channel::of(ours, Some(theirs), None))
    }

    /// The channel that a child has connected in the original library's way, with a duplicate of the child's end where
    /// there is one.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn original(
        reactor: &mut Reactor<Source>,
        number: Number,
        ours: OwnedFd,
        theirs: Option<OwnedFd>,
        original: Original,
    ) -> io::Result<Channel> {
        let ours = reactor.register(Descriptor(ours), Source::Channel(number), READABLE)?;
        Ok(Channel::of(ours, theirs, Some(original)))
    }

    fn of(ours: Registered<Descriptor<OwnedFd>>, theirs: Option<OwnedFd>, original: Option<Original>) -> Channel {
        let used = original.is_some();
        let (watched_for_room, closed, ended, silent) = (false, false, false, false);
        let (probes, record) = (Vec::new(), Vec::new());
        Channel { ours, theirs, watched_for_room, closed, ended, silent, used, original, probes, record }
    }

    /// Whether the child uses it: it is given no other then.
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// The end that the child inherits.
    pub fn child_end(&self) -> Option<BorrowedFd<'_>> {
        self.theirs.as_ref().map(AsFd::as_fd)
    }

    /// Our end: a child that shall outlive us holds it too, so that our death is no end of file to it.
    pub fn our_end(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }

    /// Passes what is held, oldest first, as far as the child takes it, and counts what was passed.
    ///
    /// # Errors
    /// Those of sendmsg(2), when nothing can be passed to this child any more.
    pub fn pass(&mut self, hold: &mut Hold<OwnedFd>, passed: &mut u64) -> io::Result<Passed> {
        let result = self.pass_all(hold, passed);
        match (&mut self.original, &result) {
            (None, _) => {}
            (Some(original), Ok(_)) => original.look(self.ours.as_fd()),
            (Some(original), Err(error)) => original.failed(error),
        }
        result
    }

    /// Passes a connection of our own, as if it had come to this listener. Nobody but this child will ever get it.
    ///
    /// # Errors
    /// Those of sendmsg(2), and `WouldBlock` when the channel has no room for it now.
    pub fn pass_probe(&mut self, listener: u16, connection: OwnedFd) -> io::Result<()> {
        let cookie = SockRef::from(&connection).cookie()?;
        let mut alone = Hold::new(0, 1);
        alone.push(listener, connection);
        match self.pass(&mut alone, &mut 0)? {
            Passed::All => {
                self.probes.push(cookie);
                Ok(())
            }
            Passed::Full | Passed::TooMany => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether the child has read what [`Channel::pass_probe`] passed, and all else.
    pub fn has_taken_probe(&self) -> bool {
        !self.probes.is_empty() && sys::unread_by_peer(self.ours.as_fd()).is_ok_and(|unread| unread == 0)
    }

    fn is_probe(&self, connection: &OwnedFd) -> bool {
        !self.probes.is_empty() && SockRef::from(connection).cookie().is_ok_and(|cookie| self.probes.contains(&cookie))
    }

    fn pass_all(&mut self, hold: &mut Hold<OwnedFd>, passed: &mut u64) -> io::Result<Passed> {
        while !hold.is_empty() {
            let mut connections = [self.ours.as_fd(); MAX_CONNECTIONS];
            let encode = if self.original.is_some() { original::encode_next } else { encode_next };
            let count = encode(hold, &mut self.record, &mut connections);
            match descriptors::send(self.ours.as_fd(), &self.record, &connections[..count]) {
                Ok(()) => {
                    *passed += count as u64;
                    drop(hold.release(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.wait_for_room();
                }
                Err(error) if is_passing(&error) => return Ok(Passed::TooMany),
                Err(error) => return Err(error),
            }
        }
        if self.watched_for_room {
            self.ours.watch_for(READABLE)?;
            self.watched_for_room = false;
        }
        Ok(Passed::All)
    }

    fn wait_for_room(&mut self) -> io::Result<Passed> {
        if !self.watched_for_room {
            self.ours.watch_for(BOTH)?;
            self.watched_for_room = true;
        }
        Ok(Passed::Full)
    }

    /// The next record of the child's. A connection that it gives back is received only if the caller takes it in and
    /// has one descriptor free for certain: where none is free, the kernel closes what it cannot hand over.
    pub fn receive(&mut self, takes_in: bool) -> Heard {
        if let Some(original) = &mut self.original {
            let heard_all = original.hear(self.ours.as_fd());
            self.silent = heard_all && self.ended;
            return if heard_all { Heard::Nothing } else { Heard::Record(FromChild::Unknown(0)) };
        }
        if !takes_in && self.gives_back_next() {
            return Heard::Later;
        }
        self.record.resize(MAX_RECORD, 0);
        let mut carried = Vec::new();
        let bytes = match receive(self.ours.as_fd(), &mut self.record, &mut carried) {
            Ok(Some(bytes)) if bytes > 0 => {
                self.used = true;
                bytes
            }
            Ok(_) => {
                // At end of file the child has gone, which its pidfd tells, or has closed its end. While we hold the
                // duplicate the latter cannot be seen here.
                self.silent = self.ended;
                return Heard::Nothing;
            }
            Err(error) => {
                warn!("cannot read a channel now: {error}");
                return Heard::Later;
            }
        };
        let (kind, found) = (self.record[0], carried.len());
        let decoded = FromChild::decode(&self.record[..bytes]).and_then(|record| match FromChild::descriptors(kind) {
            Some(expected) if expected != found => Err(DecodeError::Descriptors { kind, expected, found }),
            Some(_) | None => Ok(record),
        });
        match (decoded, carried.pop()) {
            (Ok(record @ FromChild::GiveBack { .. }), Some(connection)) if self.is_probe(&connection) => {
                Heard::Record(record)
            }
            (Ok(FromChild::GiveBack { listener, state }), Some(connection)) => {
                // An event loop may have switched it; the protocol promises blocking mode to the next.
                let _ = SockRef::from(&connection).set_nonblocking(false);
                Heard::GivenBack(Held { listener, state: Some(state), connection })
            }
            (decoded, last) => {
                carried.into_iter().chain(last).for_each(let_go);
                decoded.map_or_else(Heard::Malformed, Heard::Record)
            }
        }
    }

    /// Whether the next record is one that gives a connection back.
    fn gives_back_next(&self) -> bool {
        let mut kind = [0];
        loop {
            match recv(self.ours.as_fd().as_raw_fd(), &mut kind, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
                Ok(bytes) => return bytes > 0 && FromChild::descriptors(kind[0]) == Some(1),
                // As in `receive` below.
                Err(Errno::ECONNRESET | Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Looks how many connections are unread that could not be taken back, before something happens to the child.
    pub fn look(&mut self) {
        if let Some(original) = &mut self.original {
            original.look(self.ours.as_fd());
        }
    }

    /// How many connections, at the most, a child that has gone has taken with it unread.
    pub fn lost(&mut self) -> usize {
        self.original.as_mut().map_or(0, |original| original.lost(self.ours.as_fd()))
    }

    /// The child is gone: whoever still has its end can send nothing more. What has been sent is still to be heard.
    pub fn end(&mut self) {
        self.close();
        self.ended = true;
        let _ = shutdown(self.ours.as_fd().as_raw_fd(), Shutdown::Read);
    }

    /// Whether all that was said has been heard. True once [`Channel::receive`] has found nothing after the end.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Tells the child to drain: it reads end of file after what it has not read yet, unless that is taken back.
    pub fn close(&mut self) {
        self.closed = true;
        let _ = shutdown(self.ours.as_fd().as_raw_fd(), Shutdown::Write);
    }

    /// Whether nothing is left to be taken back. True once [`Channel::take_back`] has found nothing after the close.
    pub fn is_empty(&self) -> bool {
        self.theirs.is_none()
    }

    /// Takes one record back that the child has not read; `None` when there is none.
    ///
    /// The caller has [`MAX_CONNECTIONS`] descriptors free, or connections would be lost here.
    pub fn take_back(&mut self) -> Option<Vec<Held<OwnedFd>>> {
        loop {
            let theirs = self.theirs.as_ref()?;
            self.record.resize(MAX_RECORD, 0);
            let mut connections: Vec<OwnedFd> = Vec::with_capacity(MAX_CONNECTIONS);
            let bytes = match receive(theirs.as_fd(), &mut self.record, &mut connections) {
                Ok(Some(bytes)) if bytes > 0 => bytes,
                Ok(_) => {
                    // Nothing is unread, and after the close nothing can come.
                    self.theirs = self.theirs.take().filter(|_| !self.closed);
                    return None;
                }
                Err(error) => {
                    warn!("cannot take connections back now: {error}");
                    return None;
                }
            };
            if let [only] = &connections[..]
                && self.is_probe(only)
            {
                // It came alone and ends with this.
                continue;
            }
            if let Some(original) = &self.original {
                return Some(connections.into_iter().map(|connection| original.held(connection)).collect());
            }
            let (listeners, mut state) = match ToChild::decode(&self.record[..bytes]) {
                Ok(ToChild::Connections(listeners)) => (listeners, None),
                Ok(ToChild::ConnectionWithState { listener, state }) => (vec![listener], Some(state)),
                Ok(ToChild::Unknown(_)) | Err(_) => continue,
            };
            if listeners.len() != connections.len() {
                let lost = listeners.len().saturating_sub(connections.len());
                warn!("{lost} connections could not be taken back: no descriptor was left");
            }
            let held = |(listener, connection)| Held { listener, state: state.take(), connection };
            return Some(listeners.into_iter().zip(connections).map(held).collect());
        }
    }
}

/// Makes room for the longest record where the system's default has none. The kernel doubles the number, since it counts
/// its own part too.
fn fit_longest_record(end: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(end);
    if socket.send_buffer_size()? < 2 * MAX_RECORD {
        socket.set_send_buffer_size(MAX_RECORD)?;
    }
    Ok(())
}

/// The system has not what it takes to send this now, and may have it later.
fn is_passing(error: &io::Error) -> bool {
    [Errno::ETOOMANYREFS, Errno::ENOBUFS, Errno::ENOMEM].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Writes the record for the next connections: for one with its state, or for as many without as one record carries.
fn encode_next<'a>(
    hold: &'a Hold<OwnedFd>,
    record: &mut Vec<u8>,
    connections: &mut [BorrowedFd<'a>; MAX_CONNECTIONS],
) -> usize {
    let mut listeners = [0; MAX_CONNECTIONS];
    let mut count = 0;
    for held in hold.next().take(MAX_CONNECTIONS) {
        match &held.state {
            Some(state) if count == 0 => {
                wire::encode_connection_with_state(held.listener, state, record);
                connections[0] = held.connection.as_fd();
                return 1;
            }
            Some(_) => break,
            None => (listeners[count], connections[count]) = (held.listener, held.connection.as_fd()),
        }
        count += 1;
    }
    wire::encode_connections(&listeners[..count], record);
    count
}

/// Closes a connection that a child has had without waiting for its client, whatever the child set (SO_LINGER).
pub fn let_go(connection: impl AsFd) {
    let socket = SockRef::from(&connection);
    if socket.linger().is_ok_and(|time| time.is_some_and(|time| !time.is_zero())) {
        let _ = socket.set_linger(None);
    }
}

/// Receives one record without waiting: its length, 0 at end of file, `None` when there is none now.
///
/// # Errors
/// That of a system short of memory, or whatever else leaves the record where it is.
fn receive(socket: BorrowedFd<'_>, record: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<Option<usize>> {
    loop {
        match descriptors::receive(socket, record, descriptors, false) {
            Ok(received) => return Ok(Some(received.bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // Told once, before what is still queued, when the other end was closed with something unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
