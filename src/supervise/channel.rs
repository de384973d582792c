//! Our end of a child's channel, and the duplicate of the child's end by which unread connections are taken back.
//!
//! The child learns its end of file from our `shutdown(2)`, so holding the duplicate does not hide it; that the child
//! is dead we learn from its pidfd, since holding the duplicate does hide that. `docs/protocol.md` has the records.

use super::Source;
use super::hold::Hold;
use super::state::Number;
use crate::reactor::{BOTH, Descriptor, READABLE, Reactor, Registered};
use log::warn;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use socket_protector_client::descriptors;
use socket_protector_client::wire::{self, DecodeError, FromChild, MAX_CONNECTIONS, MAX_RECORD, ToChild};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How far passing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// All that was held has been passed.
    All,
    /// The child is slower than its clients; the reactor tells when there is room again.
    Full,
    /// Too many descriptors are under way in the system; nobody tells when that changes.
    TooMany,
}

/// A child's channel, seen from us.
#[derive(Debug)]
pub struct Channel {
    ours: Registered<Descriptor<OwnedFd>>,
    /// The duplicate of the child's end; none once nothing can be unread any more.
    theirs: Option<OwnedFd>,
    watched_for_room: bool,
    closed: bool,
    record: Vec<u8>,
}

impl Channel {
    /// A new channel. Its child's end is lent by [`Channel::child_end`].
    ///
    /// # Errors
    /// Those of socketpair(2) and epoll_ctl(2).
    pub fn open(reactor: &mut Reactor<Source>, number: Number) -> io::Result<Channel> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // Not for writing: the child would wake us with every record that it reads.
        let ours = reactor.register(Descriptor(ours), Source::Channel(number), READABLE)?;
        Ok(Channel { ours, theirs: Some(theirs), watched_for_room: false, closed: false, record: Vec::new() })
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
    pub fn pass(&mut self, hold: &mut Hold<TcpStream>, passed: &mut u64) -> io::Result<Passed> {
        while !hold.is_empty() {
            let mut listeners = [0; MAX_CONNECTIONS];
            let mut connections = [self.ours.as_fd(); MAX_CONNECTIONS];
            let mut count = 0;
            for (listener, connection) in hold.next().take(MAX_CONNECTIONS) {
                (listeners[count], connections[count]) = (listener, connection.as_fd());
                count += 1;
            }
            wire::encode_connections(&listeners[..count], &mut self.record);
            match descriptors::send(self.ours.as_fd(), &self.record, &connections[..count]) {
                Ok(()) => {
                    *passed += count as u64;
                    drop(hold.release(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.wait_for_room();
                }
                Err(error) if error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32) => {
                    return Ok(Passed::TooMany);
                }
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

    /// The next record of the child's; `None` when there is none now.
    ///
    /// # Errors
    /// A record that is none of the protocol's. Descriptors that come along are closed: no record has any yet.
    pub fn receive(&mut self) -> Option<Result<FromChild, DecodeError>> {
        self.record.resize(MAX_RECORD, 0);
        let mut unasked = Vec::new();
        let received = receive(self.ours.as_fd(), &mut self.record, &mut unasked);
        // At end of file the child has gone, which its pidfd tells, or has closed its end. While we hold the duplicate
        // the latter cannot be seen here.
        let bytes = received.ok().flatten().filter(|bytes| *bytes > 0)?;
        Some(FromChild::decode(&self.record[..bytes]))
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
    pub fn take_back(&mut self) -> Option<Vec<(u16, TcpStream)>> {
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
            match ToChild::decode(&self.record[..bytes]) {
                Ok(ToChild::Connections(listeners)) => {
                    if listeners.len() != connections.len() {
                        let lost = listeners.len().saturating_sub(connections.len());
                        warn!("{lost} connections could not be taken back: no descriptor was left");
                    }
                    return Some(listeners.into_iter().zip(connections.into_iter().map(TcpStream::from)).collect());
                }
                Ok(ToChild::Unknown(_)) | Err(_) => {}
            }
        }
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
