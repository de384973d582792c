//! The two steady clocks of a machine: one that stands while it sleeps, and one that does not.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// How far the clock that counts sleep is ahead of the one that does not, which std's `Instant` is. Linux has both, see
/// clock_gettime(2).
pub(crate) fn slept() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let steady = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(steady)
}
