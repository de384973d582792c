//! How many descriptors connections may have open, so that accepting stops before they run out: an accepted client needs a
//! second descriptor, and without it would have to be dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit};

/// Kept free for everything else in this process: looking names up, being asked, a file that is read.
const RESERVED: std::ops::RangeInclusive<usize> = 8..=64;

/// A count of descriptors that all loops share.
#[derive(Debug)]
pub struct Descriptors {
    most: usize,
    used: AtomicUsize,
}

/// Descriptors that are counted as long as this lives.
#[derive(Debug)]
pub struct Taken {
    count: usize,
    descriptors: Arc<Descriptors>,
}

impl Descriptors {
    /// As many as the limit of open files leaves, with what is open already and a reserve taken off.
    ///
    /// # Errors
    /// Those of getrlimit(2).
    pub fn new() -> io::Result<Arc<Self>> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let open = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
        let reserved = (limit / 8).clamp(*RESERVED.start(), *RESERVED.end());
        Ok(Self::limited_to(limit.saturating_sub(open + reserved)))
    }

    /// At most so many.
    pub fn limited_to(most: usize) -> Arc<Self> {
        Arc::new(Descriptors { most, used: AtomicUsize::new(0) })
    }

    /// Counts so many, if there are so many.
    pub fn take(self: &Arc<Self>, count: usize) -> Option<Taken> {
        let fits = |used: usize| used.checked_add(count).filter(|used| *used <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Taken { count, descriptors: Arc::clone(self) })
    }

    /// Counts so many that are open in any case.
    pub fn take_anyway(self: &Arc<Self>, count: usize) -> Taken {
        self.used.fetch_add(count, Ordering::Relaxed);
        Taken { count, descriptors: Arc::clone(self) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.descriptors.used.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptors;

    #[test]
    fn no_more_are_taken_than_there_are_unless_they_are_open_already() {
        let descriptors = Descriptors::limited_to(5);
        let first = descriptors.take(2).unwrap();
        let second = descriptors.take(2).unwrap();
        assert!(descriptors.take(2).is_none());
        drop(first);
        let third = descriptors.take_anyway(4);
        assert!(descriptors.take(1).is_none());
        drop((second, third));
        assert!(descriptors.take(5).is_some());
    }
}
