//! Waking a loop from other threads. All wakers of a loop share one descriptor, since mio allows one waker a poll.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token};

/// The token of the descriptor that the wakers share; those of sources count up from 0 and do not come so far.
pub(super) const TOKEN: Token = Token(usize::MAX);

/// Wakes a [`Reactor`](super::Reactor) from any thread, which then gives back the key that this was made for.
///
/// Wakes that come before the loop has seen the first one are one. Whoever wakes puts first what is to be found, and
/// then wakes; whoever is woken then finds it.
#[derive(Debug, Clone)]
pub struct Waker {
    woken: Arc<AtomicBool>,
    shared: Arc<mio::Waker>,
}

impl Waker {
    /// Makes the loop give its key back, soon and at least once.
    ///
    /// # Errors
    /// Those of write(2) to an eventfd, of which none is known to happen.
    pub fn wake(&self) -> io::Result<()> {
        // Whoever has set it already wakes the loop, and the loop has not yet looked.
        if self.woken.swap(true, Ordering::AcqRel) { Ok(()) } else { self.shared.wake() }
    }
}

/// The loop's side of its wakers.
#[derive(Debug)]
pub(super) struct Wakers<K> {
    shared: Option<Arc<mio::Waker>>,
    keys: Vec<(K, Arc<AtomicBool>)>,
}

impl<K: Copy> Wakers<K> {
    pub(super) fn new() -> Self {
        Wakers { shared: None, keys: Vec::new() }
    }

    pub(super) fn add(&mut self, registry: &Registry, key: K) -> io::Result<Waker> {
        let shared = match &self.shared {
            Some(shared) => Arc::clone(shared),
            None => Arc::clone(self.shared.insert(Arc::new(mio::Waker::new(registry, TOKEN)?))),
        };
        self.sweep();
        let woken = Arc::new(AtomicBool::new(false));
        self.keys.push((key, Arc::clone(&woken)));
        Ok(Waker { woken, shared })
    }

    /// The keys that were woken since the last time.
    pub(super) fn woken(&mut self, mut found: impl FnMut(K)) {
        for (key, woken) in &self.keys {
            if woken.swap(false, Ordering::AcqRel) {
                found(*key);
            }
        }
        self.sweep();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Forgets what nobody can wake any more. A wake that was its waker's last deed has still to be told.
    fn sweep(&mut self) {
        self.keys.retain(|(_, woken)| Arc::strong_count(woken) > 1 || woken.load(Ordering::Acquire));
    }
}
