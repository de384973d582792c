//! Descriptors for event loops: one that is readable whenever there is something to accept, and one for the drain.

#[cfg(feature = "tokio")]
use crate::error::Error;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// An epoll descriptor over the channel, the listeners, and an event for connections that have already been read.
#[derive(Debug)]
pub(crate) struct Pollable {
    all: Epoll,
    /// Readable while the queue holds something, of which the kernel knows nothing.
    queued: EventFd,
    /// Readable when sources that were left out are to be taken in again.
    timer: TimerFd,
}

impl Pollable {
    pub(crate) fn new<'a>(sources: impl Iterator<Item = &'a OwnedFd>) -> io::Result<Pollable> {
        let all = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let queued = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        all.add(&queued, readable())?;
        all.add(timer.as_fd(), readable())?;
        for source in sources {
            all.add(source, readable())?;
        }
        Ok(Pollable { all, queued, timer })
    }

    /// Puts a new one in its place, with the same numbers, for this process only: the one from before a fork is shared.
    /// On a failure it stays the shared one, and nothing must be told to it.
    pub(crate) fn renew<'a>(&self, sources: impl Iterator<Item = &'a OwnedFd>) -> io::Result<()> {
        let new = Pollable::new(sources)?;
        super::replace(self.queued.as_fd(), new.queued.as_fd())?;
        super::replace(self.timer.as_fd(), new.timer.as_fd())?;
        super::replace(self.all.0.as_fd(), new.all.0.as_fd())
    }

    /// Tells of a change: whether the queue now holds something. The event counts 0 or 1, so neither call can fail: a
    /// write has room, a read finds the one.
    pub(crate) fn set_queued(&self, queued: bool) {
        let _ = if queued { self.queued.write(1).map(drop) } else { self.queued.read().map(drop) };
    }

    /// Leaves a source out, if it is in.
    pub(crate) fn leave_out(&self, source: &OwnedFd) {
        // The one failure that there can be is that it is out already.
        let _ = self.all.delete(source);
    }

    /// Takes a source in again.
    pub(crate) fn take_in(&self, source: &OwnedFd) -> io::Result<()> {
        match self.all.add(source, readable()) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes it readable after so long, until [`stop_timer`](Pollable::stop_timer).
    pub(crate) fn start_timer(&self, after: Duration) {
        // A time of this size in a timer of one's own cannot be refused.
        let _ = self.timer.set(Expiration::OneShot(TimeSpec::from(after)), TimerSetTimeFlags::empty());
    }

    pub(crate) fn stop_timer(&self) {
        let _ = self.timer.unset();
    }
}

/// Level-triggered, so that a drain keeps it readable: what closed stays closed.
fn readable() -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, 0)
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
