//! Descriptors that belong to one process alone, although a process that it forks gets copies.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// What is no descriptor.
const NONE: RawFd = -1;
/// Room for the records that several [`Protector`](crate::Protector)s have read.
const ROOM: usize = 256;
/// The numbers that a forked process closes.
static HELD: [AtomicI32; ROOM] = [const { AtomicI32::new(NONE) }; ROOM];
/// How many forks lie between this process and the first one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// A descriptor that is closed in a process forked meanwhile, at once and without its doing: a client must not wait for
/// a process that does not know of it. (Not by a fork without the C library, nor once there are too many.)
#[derive(Debug)]
pub(crate) struct Unshared {
    /// None once it was taken.
    descriptor: Option<OwnedFd>,
    place: Option<&'static AtomicI32>,
    forks: u32,
}

impl Unshared {
    pub(crate) fn new(descriptor: OwnedFd) -> Unshared {
        let number = descriptor.as_raw_fd();
        let mine =
            |place: &&AtomicI32| place.compare_exchange(NONE, number, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let place = if is_prepared() { HELD.iter().find(mine) } else { None };
        Unshared { descriptor: Some(descriptor), place, forks: FORKS.load(Ordering::Acquire) }
    }

    /// The descriptor, for the caller to share or not; `None` in another process.
    pub(crate) fn take(mut self) -> Option<OwnedFd> {
        self.release()
    }

    fn release(&mut self) -> Option<OwnedFd> {
        let descriptor = self.descriptor.take()?;
        match self.place {
            // Closed by the fork. The number, and the place, may be somebody else's by now.
            Some(_) if self.forks != FORKS.load(Ordering::Acquire) => {
                let _ = descriptor.into_raw_fd();
                None
            }
            Some(place) => {
                place.store(NONE, Ordering::Release);
                Some(descriptor)
            }
            None => Some(descriptor),
        }
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        drop(self.release());
    }
}

/// Whether forked processes close what is held.
fn is_prepared() -> bool {
    static PREPARED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the function is there as long as this library, and what it does is allowed after a fork.
    *PREPARED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(forked)) == 0 })
}

/// Called in the new process before fork returns, when it has one thread; other threads of the old one may have held
/// any lock. So this takes none and does not allocate.
unsafe extern "C" fn forked() {
    for place in &HELD {
        let number = place.swap(NONE, Ordering::AcqRel);
        if number != NONE {
            // SAFETY: it was held when the process was forked, and its owner sees by FORKS that it is gone.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    FORKS.fetch_add(1, Ordering::AcqRel);
}
