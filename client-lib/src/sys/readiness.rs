//! A descriptor in tokio's loop.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Knows when a descriptor is readable, or has room. It is registered edge-triggered, and counts as ready until a try
/// finds that it is not.
#[derive(Debug)]
pub(crate) struct Readiness {
    registered: ManuallyDrop<AsyncFd<OwnedFd>>,
    interest: Interest,
    /// Whose registration it is. A process that was forked shares the loop's epoll instance, and would take its parent's
    /// registration away.
    process: u32,
}

impl Readiness {
    /// Registers with the current runtime; panics if there is none.
    pub(crate) fn new(descriptor: OwnedFd, interest: Interest) -> io::Result<Readiness> {
        // SAFETY: the descriptor is open and owned, and nothing in this module, which alone can reach it, replaces it.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) }?;
        Ok(Readiness { registered: ManuallyDrop::new(registered), interest, process: std::process::id() })
    }

    /// Tries when the descriptor is ready, until that does not end with `WouldBlock`. Nothing is waited for after a try
    /// that brought something, so a caller that stops waiting has lost nothing.
    pub(crate) async fn until<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.registered.async_io(self.interest, |_| attempt()).await
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // SAFETY: it is dropped nowhere else, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.registered) };
        }
    }
}
