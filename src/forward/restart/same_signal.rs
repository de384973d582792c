//! Whether a signal to stop is one that another process of ours has passed on already.
//!
//! Whoever stops everything at once, as systemd does with all processes of a service, sends the same signal to the process
//! that has left and to the one that has taken over. The first passes it on, and it would count twice: the second signal
//! cuts. One that comes much later is another.

use std::time::{Duration, Instant};

/// The same signal reaches both processes within this time.
const WITHIN: Duration = Duration::from_secs(2);

/// A signal that was passed on, and may still come here.
#[derive(Clone, Copy, Debug, Default)]
pub struct SameSignal(Option<Instant>);

impl SameSignal {
    /// A signal was passed on.
    pub fn comes_by(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// A signal has come: whether it is the one that was passed on, which comes once.
    pub fn is_it(&mut self, now: Instant) -> bool {
        self.0.take().is_some_and(|then| now.saturating_duration_since(then) < WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::{SameSignal, WITHIN};
    use std::time::{Duration, Instant};

    #[test]
    fn a_signal_that_was_passed_on_counts_once_and_a_later_one_counts() {
        let now = Instant::now();
        let mut same = SameSignal::default();
        assert!(!same.is_it(now), "nothing was passed on");
        same.comes_by(now);
        assert!(same.is_it(now + WITHIN - Duration::from_millis(1)));
        assert!(!same.is_it(now + WITHIN - Duration::from_millis(1)), "the second one cuts");
        same.comes_by(now);
        assert!(!same.is_it(now + WITHIN), "that is another");
    }
}
