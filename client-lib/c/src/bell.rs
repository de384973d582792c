//! What a daemon ends its own waiting with.

use crate::sys::Event;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Whether the daemon has asked to end, and a descriptor that is readable from then on.
///
/// Processes that fork would share the descriptor, and one would wake all without their having been asked. So each
/// gets one of its own, in the same place, when it first waits.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    event: Event,
    /// Whose the event is.
    process: AtomicU32,
    renewing: Mutex<()>,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let process = AtomicU32::new(std::process::id());
        Ok(Bell { rung: AtomicBool::new(false), event: Event::new()?, process, renewing: Mutex::new(()) })
    }

    /// Async-signal-safe: a store and a write.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.event.set();
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// The descriptor to wait for in this process.
    pub(crate) fn heard(&self) -> BorrowedFd<'_> {
        let own = std::process::id();
        if self.process.load(Ordering::Acquire) != own {
            let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
            // Without a descriptor to be had it stays the shared one, until the next time.
            if self.process.load(Ordering::Acquire) != own && self.event.renew().is_ok() {
                self.process.store(own, Ordering::Release);
                self.again();
            }
        }
        self.event.as_fd()
    }

    /// After the descriptor was readable though this process has not rung: another did, before it had its own.
    pub(crate) fn hush(&self) {
        self.event.reset();
        self.again();
    }

    /// A handler may have rung just before the descriptor was changed.
    fn again(&self) {
        if self.is_rung() {
            self.event.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_readable(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell.heard(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
    }

    #[test]
    fn it_is_readable_once_rung() {
        let bell = Bell::new().unwrap();
        assert!(!is_readable(&bell) && !bell.is_rung());
        bell.ring();
        assert!(is_readable(&bell) && bell.is_rung());
        bell.hush();
        assert!(is_readable(&bell));
    }

    #[test]
    fn another_process_gets_its_own() {
        let bell = Bell::new().unwrap();
        let of_parent = bell.event.as_fd().try_clone_to_owned().unwrap();
        bell.process.store(1, Ordering::Release);
        assert!(!is_readable(&bell));
        // As another process would: this end is not the one that now rings here.
        nix::unistd::write(&of_parent, &1_u64.to_ne_bytes()).unwrap();
        assert!(!is_readable(&bell));
        bell.ring();
        assert!(is_readable(&bell));
    }

    #[test]
    fn a_ring_before_the_change_is_not_forgotten() {
        let bell = Bell::new().unwrap();
        bell.process.store(1, Ordering::Release);
        bell.ring();
        assert!(is_readable(&bell));
    }

    #[test]
    fn the_ring_of_another_process_is_hushed() {
        let bell = Bell::new().unwrap();
        bell.event.set();
        assert!(is_readable(&bell) && !bell.is_rung());
        bell.hush();
        assert!(!is_readable(&bell));
    }
}
