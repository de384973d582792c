//! Who is at the other end, and how one gets there.

use super::deadline::Deadline;
use super::error::Error;
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::Uid;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Whose processes may be the other end: root's, this process' own user's, and those that are listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed(Vec<u32>);

impl Allowed {
    pub(super) fn add(&mut self, user: u32) {
        self.0.push(user);
    }

    fn allows(&self, user: u32, own: u32) -> bool {
        user == 0 || user == own || self.0.contains(&user)
    }

    /// An error unless the peer may be one. The kernel remembers who called connect(2) or listen(2).
    pub(super) fn check(&self, stream: BorrowedFd<'_>) -> Result<(), Error> {
        let peer = getsockopt(&stream, PeerCredentials).map_err(|errno| Error::Peer { source: errno.into() })?;
        if self.allows(peer.uid(), Uid::effective().as_raw()) {
            return Ok(());
        }
        Err(Error::Stranger { user: peer.uid() })
    }

    /// A stream to whoever listens at a path, if it may be one.
    pub(super) fn connect(&self, path: &Path, deadline: Deadline) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Connect { path: path.to_owned(), source };
        let stream = connected(path, deadline).map_err(failed)?;
        self.check(std::os::fd::AsFd::as_fd(&stream)).map(|()| stream)
    }
}

fn connected(path: &Path, deadline: Deadline) -> io::Result<OwnedFd> {
    let address = UnixAddr::new(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    loop {
        match connect(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            // The backlog is full; unlike with TCP nothing is under way.
            Err(Errno::EAGAIN) => deadline.pause()?,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_and_those_listed_are_allowed() {
        let mut allowed = Allowed::default();
        assert!(allowed.allows(0, 1000) && allowed.allows(1000, 1000));
        assert!(!allowed.allows(1001, 1000) && !allowed.allows(1000, 0));
        allowed.add(1001);
        assert!(allowed.allows(1001, 1000) && allowed.allows(1001, 0) && !allowed.allows(1002, 1000));
    }
}
