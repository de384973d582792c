//! How long nothing has gone over a connection, and when that is too long. Pure: told the time, and what the kernels say.
//!
//! Every byte that goes ends a silence. So does a byte that arrives at a peer after some time in the kernels' buffers, but of
//! that nobody tells: it has to be looked, and seen that less is left than at the look before. So the first look is an eighth
//! of the limit after the last byte; where something is on its way then, the next ones are an eighth apart, and where nothing
//! is, there is none before the limit. A connection that is silent ends no later than an eighth after its limit, and while
//! bytes go a timer is moved once in an eighth, however many they are.

use std::time::{Duration, Instant};

/// So many looks are taken within the limit.
const LOOKS: u32 = 8;

/// A silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    since: Instant,
    seen: Option<Seen>,
}

/// What a look has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    at: Instant,
    /// What has not arrived yet, in a measure that is 0 when everything has.
    undelivered: usize,
}

impl Silence {
    /// One that began then.
    pub(super) fn since(since: Instant) -> Self {
        Silence { since, seen: None }
    }

    /// Something has gone.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Silence::since(now);
    }

    /// How long it lasts.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// When to look next, if it may last as long as `limit`.
    pub(super) fn due(&self, limit: Duration) -> Instant {
        match self.seen {
            None => self.since + limit / LOOKS,
            Some(Seen { undelivered: 0, .. }) => self.since + limit,
            Some(Seen { at, .. }) => at + limit / LOOKS,
        }
    }

    /// Takes in how much has not arrived; whether it has lasted too long.
    pub(super) fn look(&mut self, now: Instant, limit: Duration, undelivered: usize) -> bool {
        match self.seen.replace(Seen { at: now, undelivered }) {
            Some(before) if before.undelivered != undelivered => {
                self.since = now;
                false
            }
            // What is on its way may have become less since it was written, which only another look can tell.
            None if undelivered > 0 => false,
            None | Some(_) => self.lasts(now) >= limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Silence;
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(80);
    const STEP: Duration = Duration::from_secs(10);

    /// Looks whenever it is due, until it is too long; how long it took, and how many looks.
    fn run(silence: &mut Silence, start: Instant, undelivered: impl Fn(Duration) -> usize) -> (Duration, usize) {
        for looks in 1.. {
            let now = silence.due(LIMIT);
            assert!(now > start || looks == 1, "the time goes on");
            if silence.look(now, LIMIT, undelivered(now - start)) {
                return (now - start, looks);
            }
            assert!(looks < 1000, "it never ends");
        }
        unreachable!()
    }

    #[test]
    fn where_nothing_is_on_its_way_there_is_one_look_before_the_last() {
        let start = Instant::now();
        assert_eq!(run(&mut Silence::since(start), start, |_| 0), (LIMIT, 2));
    }

    #[test]
    fn what_nobody_reads_is_silent_from_the_last_byte_on_and_not_from_the_first_look() {
        let start = Instant::now();
        let (took, looks) = run(&mut Silence::since(start), start, |_| 5000);
        assert_eq!((took, looks), (LIMIT, 8));
    }

    #[test]
    fn what_arrives_bit_by_bit_is_heard_and_the_end_is_an_eighth_late_at_most() {
        let start = Instant::now();
        for last in 0..200 {
            let last = Duration::from_secs(last);
            let left = |at: Duration| if at >= last { 700 } else { 1000 + (last - at).as_secs() as usize };
            let (took, _) = run(&mut Silence::since(start), start, left);
            assert!(took <= last + LIMIT + STEP, "{last:?}: {took:?}");
            assert!(took + STEP >= last + LIMIT, "{last:?}: {took:?}");
        }
    }

    #[test]
    fn bytes_that_go_put_off_the_next_look() {
        let start = Instant::now();
        let mut silence = Silence::since(start);
        let mut due = silence.due(LIMIT);
        for second in 1..500 {
            silence.heard(start + Duration::from_secs(second));
            assert!(silence.due(LIMIT) > due, "no timer is moved forward for a byte");
            due = silence.due(LIMIT);
        }
        assert_eq!(silence.lasts(start + Duration::from_secs(500)), Duration::from_secs(1));
    }

    #[test]
    fn after_a_standstill_what_is_on_its_way_has_another_look() {
        let start = Instant::now();
        let late = start + 10 * LIMIT;
        let mut silence = Silence::since(start);
        assert!(!silence.look(late, LIMIT, 3));
        assert_eq!(silence.due(LIMIT), late + STEP);
        assert!(!silence.look(late + STEP, LIMIT, 2), "it arrives");
        assert!(Silence::since(start).look(late, LIMIT, 0));
    }

    #[test]
    fn a_limit_that_becomes_shorter_holds_at_once() {
        let start = Instant::now();
        let mut silence = Silence::since(start);
        assert!(!silence.look(start + STEP, LIMIT, 0));
        let now = start + 2 * STEP;
        assert!(silence.due(STEP) <= now && silence.look(now, STEP, 0));
    }
}
