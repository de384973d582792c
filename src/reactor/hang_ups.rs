//! Which of some sockets have hung up, and nothing else about them.
//!
//! An epoll instance of its own with no event asked for but the hang-ups, which the reactor watches as one source. What
//! else happens on the sockets, such as a connection to be accepted, is sorted out in the kernel and wakes nobody. In
//! the reactor's own instance that cannot be had: mio asks for something with every registration.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// How many are asked for at once.
const BATCH: usize = 16;

/// Sockets that are watched for hang-ups, each with a number by which it comes back.
#[derive(Debug)]
pub struct HangUps(Epoll);

impl HangUps {
    /// Without sockets.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        Ok(HangUps(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Watches a socket.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch(&self, socket: BorrowedFd<'_>, number: u16) -> io::Result<()> {
        // EPOLLHUP and EPOLLERR come unasked. A unix socket that was shut down for reading alone has only this one.
        Ok(self.0.add(socket, EpollEvent::new(EpollFlags::EPOLLRDHUP, number.into()))?)
    }

    /// Watches it no more. To be called before it is closed: as long as others have it open, it would still be watched.
    pub fn forget(&self, socket: BorrowedFd<'_>) {
        // Fails only when it was not watched.
        let _ = self.0.delete(socket);
    }

    /// Those that have hung up, for as long as they are in that state.
    pub fn look(&self) -> Vec<u16> {
        let mut events = [EpollEvent::empty(); BATCH];
        loop {
            match self.0.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => return events[..count].iter().map(|event| event.data() as u16).collect(),
                Err(Errno::EINTR) => {}
                Err(_) => return Vec::new(),
            }
        }
    }
}

impl AsFd for HangUps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}
