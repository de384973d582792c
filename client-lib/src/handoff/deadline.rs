//! How long a call may still wait.

use crate::sys::{self, Watched};
use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

/// How soon something is tried again when nothing tells of its change.
pub(super) const RETRY: Duration = Duration::from_millis(5);

/// A moment that ends all waiting; none for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn after(limit: Option<Duration>) -> Deadline {
        Deadline(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    /// The sooner of two.
    pub(super) fn sooner(self, other: Deadline) -> Deadline {
        Deadline(self.0.into_iter().chain(other.0).min())
    }

    /// The time that is left.
    pub(super) fn left(self) -> Option<Duration> {
        self.0.map(|moment| moment.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Waits until there is something to read.
    pub(super) fn wait_to_read(self, stream: BorrowedFd<'_>) -> io::Result<()> {
        self.wait(sys::watch(stream))
    }

    /// Waits until there is room to send.
    pub(super) fn wait_for_room(self, stream: BorrowedFd<'_>) -> io::Result<()> {
        self.wait(sys::watch_for_room(stream))
    }

    /// Waits for what cannot be watched.
    pub(super) fn pause(self) -> io::Result<()> {
        self.check()?;
        thread::sleep(self.left().map_or(RETRY, |left| left.min(RETRY)));
        Ok(())
    }

    fn wait(self, watched: Watched) -> io::Result<()> {
        self.check()?;
        match sys::poll(&mut [watched], milliseconds(self.left())) {
            // The caller tries again, and comes back here.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// An error once it is over.
    pub(super) fn check(self) -> io::Result<()> {
        if self.is_over() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

/// A time as poll(2) takes it, not shorter; none is for ever.
pub(super) fn milliseconds(time: Option<Duration>) -> i32 {
    time.map_or(-1, |time| i32::try_from(time.as_millis().saturating_add(1)).unwrap_or(i32::MAX))
}

/// Whether sending failed because this user has too many descriptors under way, or the system is short of memory.
/// Nothing tells when that changes.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETOOMANYREFS | libc::ENOBUFS | libc::ENOMEM))
}
