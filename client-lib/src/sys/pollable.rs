//! Descriptors for event loops: one that is readable whenever there is something to accept, and one for the drain.

#[cfg(feature = "tokio")]
use crate::error::Error;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An epoll descriptor over the channel, the listeners, and an event for connections that have already been read.
#[derive(Debug)]
pub(crate) struct Pollable {
    all: Epoll,
    /// Readable while the queue holds something, of which the kernel knows nothing.
    queued: EventFd,
}

impl Pollable {
    pub(crate) fn new<'a>(sources: impl Iterator<Item = &'a OwnedFd>) -> io::Result<Pollable> {
        let all = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let queued = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        // Level-triggered, so that a drain keeps it readable: what closed stays closed.
        let readable = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
        all.add(&queued, readable())?;
        for source in sources {
            all.add(source, readable())?;
        }
        Ok(Pollable { all, queued })
    }

    /// Puts a new one in its place, with the same numbers, for this process only: the one from before a fork is shared.
    /// On a failure it stays the shared one, and nothing must be told to it.
    pub(crate) fn renew<'a>(&self, sources: impl Iterator<Item = &'a OwnedFd>) -> io::Result<()> {
        let new = Pollable::new(sources)?;
        super::replace(self.queued.as_fd(), new.queued.as_fd())?;
        super::replace(self.all.0.as_fd(), new.all.0.as_fd())
    }

    /// Tells of a change: whether the queue now holds something. The event counts 0 or 1, so neither call can fail: a
    /// write has room, a read finds the one.
    pub(crate) fn set_queued(&self, queued: bool) {
        let _ = if queued { self.queued.write(1).map(drop) } else { self.queued.read().map(drop) };
    }
}

impl AsFd for Pollable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.all.0.as_fd()
    }
}

/// An epoll descriptor that becomes readable when the other end of the channel is closed, whatever is still to be read
/// before, and stays so. Records do not wake who waits for it.
#[cfg(feature = "tokio")]
pub(crate) fn end_of(channel: &OwnedFd) -> Result<OwnedFd, Error> {
    let watch = || {
        let end = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        end.add(channel, EpollEvent::new(EpollFlags::EPOLLRDHUP, 0))?;
        Ok(end.0)
    };
    watch().map_err(|source| Error::Pollable { source })
}
