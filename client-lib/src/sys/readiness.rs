//! A descriptor in tokio's loop.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Knows when a descriptor is readable. It is registered edge-triggered, and counts as readable until a try finds that
/// it is not.
#[derive(Debug)]
pub(crate) struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Registers with the current runtime; panics if there is none.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Readiness> {
        // SAFETY: the descriptor is open and owned, and nothing in this module, which alone can reach it, replaces it.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Readiness(registered?))
    }

    /// Tries when the descriptor is readable, until that does not end with `WouldBlock`. Nothing is waited for after a
    /// try that brought something, so a caller that stops waiting has lost nothing.
    pub(crate) async fn until<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, |_| attempt()).await
    }
}
