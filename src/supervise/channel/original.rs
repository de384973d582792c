//! The way of the original library: one byte with one descriptor for each connection, over a stream that the child itself
//! has connected.
//!
//! The child's end is not one that it inherited from us, so the duplicate by which unread connections are taken back is
//! fetched from the child, where that is permitted; see pidfd_getfd(2). Where it is not, what its death takes along
//! can at least be counted: from the bytes that the kernel still held for it when we last looked.

use crate::net::listener::Address;
use crate::supervise::hold::{Held, Hold};
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, getpeername, getsockopt, socketpair, sockopt};
use nix::unistd::Pid;
use socket_protector_client::descriptors;
use socket_protector_client::wire::MAX_CONNECTIONS;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The byte that comes with each connection.
const MESSAGE: u8 = b'x';
/// A child that has more descriptors than that when it connects is not searched.
const MOST_SEARCHED: usize = 4096;
/// How much of what a child says, which means nothing, is read before others have their turn.
const NOISE: usize = 16;

/// What is known of a channel of this kind.
#[derive(Debug)]
pub struct Original {
    /// The addresses of the listeners, in order.
    addresses: Box<[Address]>,
    /// For want of a duplicate of the child's end.
    counted: Option<Counted>,
}

/// What is known of connections that cannot be taken back.
#[derive(Debug)]
struct Counted {
    /// What the kernel counts for one message.
    size: usize,
    /// How many were unread when we last looked.
    unread: usize,
    /// The child's end was closed with something unread in it.
    reset: bool,
}

impl Original {
    /// For a child whose end can be read by us, or cannot.
    pub fn new(addresses: Vec<Address>, readable: bool) -> Self {
        let counted =
            (!readable).then(|| Counted { size: message_size().unwrap_or(usize::MAX), unread: 0, reset: false });
        Original { addresses: addresses.into(), counted }
    }

    /// A connection as it was held before it was passed.
    pub fn held(&self, connection: OwnedFd) -> Held<OwnedFd> {
        Held { listener: self.listener_of(connection.as_fd()), state: None, connection }
    }

    /// The listener that a connection came from, which its message does not say.
    fn listener_of(&self, connection: BorrowedFd<'_>) -> u16 {
        let Ok(local) = Address::of(connection) else {
            return 0;
        };
        let place = |is: &dyn Fn(&Address) -> bool| self.addresses.iter().position(is);
        let port = |address: &Address| match (address, &local) {
            (Address::Internet(address), Address::Internet(local)) if address.port() == local.port() => {
                Some(address.ip())
            }
            _ => None,
        };
        let exact = place(&|address| *address == local);
        let all = || place(&|address| port(address).is_some_and(|ip| ip.is_unspecified()));
        let any = || place(&|address| port(address).is_some());
        exact.or_else(all).or_else(any).and_then(|index| u16::try_from(index).ok()).unwrap_or(0)
    }

    /// Looks how many connections the child has not read, where that matters.
    pub fn look(&mut self, ours: BorrowedFd<'_>) {
        if let Some(counted) = &mut self.counted
            && let Ok(bytes) = sys::unread_by_peer(ours)
            // Once the child's end is closed there is nothing unread, since it is lost.
            && (bytes > 0 || is_open(ours))
        {
            counted.unread = bytes.div_ceil(counted.size);
        }
    }

    /// An error of our end; the first one after the child's end was closed tells whether something was unread.
    pub fn failed(&mut self, error: &io::Error) {
        if let Some(counted) = &mut self.counted {
            counted.reset |= error.kind() == io::ErrorKind::ConnectionReset;
        }
    }

    /// Reads what the child says, which it never does; false when others have their turn before it is read.
    pub fn hear(&mut self, ours: BorrowedFd<'_>) -> bool {
        for _ in 0..NOISE {
            let mut noise = [0; 512];
            match descriptors::receive(ours, &mut noise, &mut Vec::new(), false) {
                Ok(received) if received.bytes > 0 => {}
                Ok(_) => return true,
                Err(error) => {
                    self.failed(&error);
                    return true;
                }
            }
        }
        false
    }

    /// How many connections, at the most, have gone with the child; they were passed, never read, and not taken back.
    pub fn lost(&mut self, ours: BorrowedFd<'_>) -> usize {
        if let Ok(errno) = getsockopt(&ours, sockopt::SocketError)
            && errno != 0
        {
            self.failed(&io::Error::from_raw_os_error(errno));
        }
        match &self.counted {
            None => 0,
            Some(counted) if counted.reset => counted.unread.max(1),
            // Its end was closed with nothing unread, or another process still holds it and may read.
            Some(_) => 0,
        }
    }
}

/// Writes the message for the next connection. If it was given back with a state, that stays behind: this way has no
/// place for it.
pub fn encode_next<'a>(
    hold: &'a Hold<OwnedFd>,
    record: &mut Vec<u8>,
    connections: &mut [BorrowedFd<'a>; MAX_CONNECTIONS],
) -> usize {
    record.clear();
    record.push(MESSAGE);
    let next = hold.next().next();
    next.iter().for_each(|held| connections[0] = held.connection.as_fd());
    usize::from(next.is_some())
}

/// What the kernel counts for one message: it differs between kernels and machines.
fn message_size() -> io::Result<usize> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    descriptors::send(one.as_fd(), &[MESSAGE], &[other.as_fd()])?;
    sys::unread_by_peer(one.as_fd()).map(|size| size.max(1))
}

/// A duplicate of the end of a stream that a process has connected to a name of ours.
///
/// # Errors
/// Where we may not have it, or it cannot be told for certain.
pub fn end_of(pid: i32, name: &UnixAddr) -> io::Result<OwnedFd> {
    let process = sys::pidfd_open(Pid::from_raw(pid))?;
    let mut found: Option<(OwnedFd, std::path::PathBuf)> = None;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.take(MOST_SEARCHED) {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|number| number.parse::<RawFd>().ok()) else {
            continue;
        };
        // A descriptor may be closed while we look.
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let seen = found.as_ref().is_some_and(|(_, earlier)| *earlier == target);
        if seen || !target.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
            continue;
        }
        let end = match sys::pidfd_getfd(process.as_fd(), number) {
            Ok(end) => end,
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => continue,
            Err(error) => return Err(error),
        };
        if is_connected_to(&end, name) && found.replace((end, target)).is_some() {
            return Err(io::Error::other("it has connected more than once"));
        }
    }
    found.map(|(end, _)| end).ok_or_else(|| io::Error::other("its end is not among its descriptors"))
}

/// Whether the other end has that name and is open: one that was turned away is closed.
fn is_connected_to(end: &OwnedFd, name: &UnixAddr) -> bool {
    getpeername::<UnixAddr>(end.as_raw_fd()).is_ok_and(|peer| peer == *name) && is_open(end.as_fd())
}

/// Whether nobody has closed the other end.
fn is_open(end: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(end, PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|events| events == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn what_the_death_of_a_child_takes_along_is_counted() {
        for (sent, read, lost) in [(0, 0, 0), (5, 5, 0), (5, 2, 3), (1, 0, 1)] {
            let (ours, theirs) = pair();
            let mut original = Original::new(Vec::new(), false);
            for _ in 0..sent {
                descriptors::send(ours.as_fd(), &[MESSAGE], &[ours.as_fd()]).unwrap();
            }
            for _ in 0..read {
                descriptors::receive(theirs.as_fd(), &mut [0; 1], &mut Vec::new(), false).unwrap();
            }
            original.look(ours.as_fd());
            assert_eq!(original.lost(ours.as_fd()), 0, "it lives");
            drop(theirs);
            original.look(ours.as_fd());
            assert!(original.hear(ours.as_fd()));
            assert_eq!(original.lost(ours.as_fd()), lost, "{read} of {sent} were read");
        }
    }

    #[test]
    fn a_child_that_talks_without_end_is_not_listened_to_without_end() {
        let (ours, theirs) = pair();
        while descriptors::send(theirs.as_fd(), &[0; 4096], &[theirs.as_fd()]).is_ok() {}
        let mut original = Original::new(Vec::new(), true);
        assert!(!original.hear(ours.as_fd()));
        while !original.hear(ours.as_fd()) {}
    }

    #[test]
    fn a_connection_is_known_by_its_address() {
        let listeners: Vec<TcpListener> =
            ["127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0"].iter().map(|at| TcpListener::bind(at).unwrap()).collect();
        let original = Original::new(listeners.iter().map(|it| Address::of(it.as_fd()).unwrap()).collect(), true);
        for (index, listener) in (0..).zip(&listeners) {
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(original.held(listener.accept().unwrap().0.into()).listener, index);
        }
    }
}
