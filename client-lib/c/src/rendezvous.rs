//! The channel of the original SocketProtector: a stream socket, found by an abstract name made of the port, on which
//! each connection comes as one byte with its descriptor. Nothing is ever sent the other way.

use crate::failure::Failure;
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Uid, geteuid, getuid};
use socket_protector_client::descriptors;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug)]
pub(crate) struct Rendezvous {
    channel: OwnedFd,
    name: String,
    ended: AtomicBool,
}

impl Rendezvous {
    /// Connects to the original supervisor that serves this port.
    pub(crate) fn at(port: u16) -> Result<Rendezvous, Failure> {
        let name = format!("sock_srv_{port}");
        let (channel, user) = sys::call(&name).map_err(|source| Failure::Rendezvous { name: name.clone(), source })?;
        if ![Uid::from_raw(0), getuid(), geteuid()].contains(&user) {
            return Err(Failure::Stranger { name, user: user.as_raw() });
        }
        Ok(Rendezvous { channel, name, ended: AtomicBool::new(false) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next connection; waits no longer than until `stop` is readable, and not at all if `nonblocking`.
    pub(crate) fn accept(&self, stop: BorrowedFd<'_>, nonblocking: bool) -> Result<OwnedFd, Failure> {
        let timeout = if nonblocking { PollTimeout::ZERO } else { PollTimeout::NONE };
        loop {
            if self.ended.load(Ordering::Acquire) {
                return Err(Failure::Drained);
            }
            let mut watched = [self.channel.as_fd(), stop].map(|source| PollFd::new(source, PollFlags::POLLIN));
            match poll(&mut watched, timeout) {
                Ok(_) => {}
                Err(nix::Error::EINTR) => continue,
                Err(errno) => return Err(Failure::Receive { source: errno.into() }),
            }
            let answered = |index: usize| watched[index].any().unwrap_or(true);
            if answered(0) {
                if let Some(connection) = self.receive()? {
                    return Ok(connection);
                }
            } else if answered(1) {
                return Err(Failure::Terminated);
            } else if nonblocking {
                return Err(Failure::Nothing);
            }
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        // nix has no name for it, but counts it.
        let mut watched = [PollFd::new(self.channel.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
        poll(&mut watched, PollTimeout::ZERO).is_ok_and(|answered| answered > 0)
    }

    /// Reads one message, if there is one. A byte without a descriptor is the original's other word for the end.
    fn receive(&self) -> Result<Option<OwnedFd>, Failure> {
        let failed = |source| Failure::Receive { source };
        // Without a free descriptor the message would be read and its connection lost.
        self.channel.try_clone().map_err(failed)?;
        let (mut byte, mut arrived) = ([0], Vec::new());
        match descriptors::receive(self.channel.as_fd(), &mut byte, &mut arrived, false) {
            Ok(received) if received.truncated => Err(failed(io::Error::from_raw_os_error(libc::ECONNABORTED))),
            // It sends one with each byte; what else might have come is closed.
            Ok(_) if !arrived.is_empty() => Ok(Some(arrived.swap_remove(0))),
            // Another thread or process was faster.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(failed(error)),
            Ok(_) | Err(_) => {
                self.ended.store(true, Ordering::Release);
                Ok(None)
            }
        }
    }
}

impl AsFd for Rendezvous {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
