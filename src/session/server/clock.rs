//! The time of sessions: that of the machine's steady clock, which nobody can set, and with it the time in which the machine
//! sleeps, since a session is not to outlive its time by that.

use crate::sys::slept;
use std::time::{Duration, Instant};

/// Both clocks are read one after the other: a difference that is less is none.
const UNSURE: Duration = Duration::from_millis(10);

/// A clock that never goes back, and goes on when the machine has slept once it was [looked at](Clock::look).
#[derive(Debug)]
pub(super) struct Clock {
    /// How far the clock that counts sleep was ahead when we began.
    ahead: Duration,
    /// What the machine has slept since.
    slept: Duration,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { ahead: slept(), slept: Duration::ZERO }
    }

    /// Takes in what the machine has slept by now.
    pub(super) fn look(&mut self) {
        self.set(slept());
    }

    fn set(&mut self, ahead: Duration) {
        let slept = ahead.saturating_sub(self.ahead);
        if slept > self.slept + UNSURE {
            self.slept = slept;
        }
    }

    /// The time by this clock.
    pub(super) fn now(&self) -> Instant {
        Instant::now() + self.slept
    }

    /// The time by this clock that is so by the clock of the loop, which does not count sleep.
    pub(super) fn of_loop(&self, at: Instant) -> Instant {
        at + self.slept
    }

    /// The time by the clock of the loop that is so by this clock; what is long over is now.
    pub(super) fn in_loop(&self, at: Instant) -> Instant {
        at.checked_sub(self.slept).unwrap_or_else(Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, UNSURE};
    use std::time::{Duration, Instant};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_the_machine_has_slept_since_the_beginning_counts() {
        let mut clock = Clock { ahead: 5 * HOUR, slept: Duration::ZERO };
        let before = Instant::now();
        assert!(clock.now() < before + HOUR);
        clock.set(6 * HOUR);
        assert!(clock.now() >= before + HOUR && clock.now() < before + 2 * HOUR);
        clock.set(8 * HOUR);
        assert!(clock.now() >= before + 3 * HOUR);
        // A time is the same time by either clock.
        assert_eq!(clock.in_loop(clock.of_loop(before)), before);
        assert_eq!(clock.of_loop(before), before + 3 * HOUR);
    }

    #[test]
    fn it_never_goes_back() {
        let mut clock = Clock { ahead: HOUR, slept: Duration::ZERO };
        for ahead in [HOUR + UNSURE, HOUR - UNSURE, Duration::ZERO, HOUR + UNSURE / 2] {
            clock.set(ahead);
            assert_eq!(clock.slept, Duration::ZERO, "{ahead:?}");
        }
        clock.set(2 * HOUR);
        clock.set(2 * HOUR - UNSURE);
        assert_eq!(clock.slept, HOUR);
    }

    #[test]
    fn a_machine_that_does_not_sleep_makes_no_difference() {
        let mut clock = Clock::new();
        clock.look();
        assert!(clock.slept < HOUR, "{:?}", clock.slept);
    }
}
