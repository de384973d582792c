//! The one descriptor for event loops.

use super::{Protector, State};
use crate::error::Error;
use crate::inherited::is_for_datagrams;
use crate::sys::Pollable;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Protector {
    /// What [`as_fd`](AsFd::as_fd) gives, or why it cannot be made.
    #[doc(hidden)]
    pub fn try_as_fd(&self) -> Result<BorrowedFd<'_>, Error> {
        Ok(self.pollable()?.as_fd())
    }

    pub(super) fn pollable(&self) -> Result<&Pollable, Error> {
        // Made under the lock, so that two threads do not both make one.
        let mut state = self.state();
        if self.pollable.get().is_none() {
            let made = Pollable::new(self.sources()).map_err(|source| Error::Pollable { source })?;
            self.pollable.get_or_init(|| made);
            self.tell_rest(&mut state);
        }
        self.unshare_pollable(&mut state)?;
        self.tell_pollable(&mut state);
        self.pollable.get().ok_or_else(|| Error::Pollable { source: io::ErrorKind::NotFound.into() })
    }

    pub(super) fn tell_pollable(&self, state: &mut State) {
        let queued = state.intake.is_queued();
        if let Some(pollable) = self.pollable.get()
            && queued != state.queued
            && self.unshare_pollable(state).is_ok()
        {
            pollable.set_queued(queued);
            state.queued = queued;
        }
    }

    pub(super) fn unshare_pollable(&self, state: &mut State) -> Result<(), Error> {
        if state.shared
            && let Some(pollable) = self.pollable.get()
        {
            pollable.renew(self.sources()).map_err(|source| Error::Pollable { source })?;
            state.shared = false;
        }
        Ok(())
    }

    /// What can bring a connection.
    fn sources(&self) -> impl Iterator<Item = &OwnedFd> {
        let accepting = self.listeners.iter().filter(|listener| !is_for_datagrams(listener.as_fd()));
        self.channel.iter().chain(accepting)
    }
}

/// Readable whenever [`Protector::accept`] would not wait, and also when it is time to drain. Level-triggered in
/// itself; a loop that registers it edge-triggered accepts until [`io::ErrorKind::WouldBlock`].
///
/// It is made at first use. Should that fail, the channel (or a listener) is given instead, which does not tell of
/// connections that were already read; [`Protector::set_nonblocking`] makes it beforehand and reports the failure.
impl AsFd for Protector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fallback = |_| self.channel.as_ref().unwrap_or_else(|| &self.listeners[0]).as_fd();
        self.try_as_fd().unwrap_or_else(fallback)
    }
}
