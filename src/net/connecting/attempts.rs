//! Which addresses of a host are tried, and when: the families by turns, the next one a moment after the last or at once
//! when that has failed, whichever comes about first (RFC 8305). Pure: told the time, and told what became of each try.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long an attempt is alone before the next one joins it: RFC 8305, 8.
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// How soon it is tried again when there was no room for an attempt.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// How many may be under way at a time. The oldest of them has then had two seconds to answer, and one repetition.
pub(super) const MOST: usize = 8;

/// How long one that can have no other beside it is waited for, before it makes room for the next: as long as the oldest of
/// the most has had.
pub(super) const ALONE: Duration = Duration::from_secs(2);

/// The addresses of one host.
#[derive(Debug)]
pub(super) struct Attempts<A> {
    waiting: VecDeque<A>,
    /// The oldest first.
    under_way: VecDeque<A>,
    /// No sooner than that may the next one start …
    next_at: Instant,
    /// … and no sooner than that in the place of another.
    alone_until: Instant,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<A> {
    /// An attempt starts, and is under way from now on.
    Start(A),
    /// An attempt is given up, to make room for others.
    GiveUp(A),
    /// Nothing before that time, if there is one, or until an attempt under way has come to something.
    Wait(Option<Instant>),
    /// All have failed.
    Exhausted,
}

impl<A: Clone + PartialEq> Attempts<A> {
    /// These addresses, the best first, each with its family. The first family to be tried is `prefer`, if there are
    /// addresses of it, else that of the first.
    pub(super) fn new<F: Copy + PartialEq>(addresses: Vec<(F, A)>, prefer: Option<F>, now: Instant) -> Self {
        let under_way = VecDeque::new();
        if addresses.len() <= 1 {
            // Mostly so, and then there is nothing to be put in order.
            let waiting = addresses.into_iter().map(|(_, address)| address).collect();
            return Attempts { waiting, under_way, next_at: now, alone_until: now };
        }
        let first = addresses.first().map(|(family, _)| *family);
        let prefer = prefer.filter(|prefer| addresses.iter().any(|(family, _)| family == prefer)).or(first);
        let (mut own, mut other) = (VecDeque::new(), VecDeque::new());
        for (family, address) in addresses {
            let queue = if Some(family) == prefer { &mut own } else { &mut other };
            if !queue.contains(&address) {
                queue.push_back(address);
            }
        }
        let mut waiting = VecDeque::with_capacity(own.len() + other.len());
        while !own.is_empty() || !other.is_empty() {
            waiting.extend(own.pop_front());
            waiting.extend(other.pop_front());
        }
        Attempts { waiting, under_way, next_at: now, alone_until: now }
    }

    /// Whether there are addresses that were not tried yet.
    pub(super) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is to be done; to be asked again until it is to wait or all have failed. Without room, none starts beside
    /// another.
    pub(super) fn step(&mut self, now: Instant, has_room: bool) -> Step<A> {
        if self.waiting.is_empty() {
            return if self.under_way.is_empty() { Step::Exhausted } else { Step::Wait(None) };
        }
        if now < self.next_at {
            return Step::Wait(Some(self.next_at));
        }
        let has_room = has_room || self.under_way.is_empty();
        if !has_room && now < self.alone_until {
            return Step::Wait(Some(self.alone_until));
        }
        if (!has_room || self.under_way.len() >= MOST)
            && let Some(oldest) = self.under_way.pop_front()
        {
            return Step::GiveUp(oldest);
        }
        match self.waiting.pop_front() {
            Some(address) => {
                self.under_way.push_back(address.clone());
                (self.next_at, self.alone_until) = (now + HEAD_START, now + ALONE);
                Step::Start(address)
            }
            None => Step::Exhausted,
        }
    }

    /// An attempt has failed: the next one need not wait.
    pub(super) fn failed(&mut self, address: &A, now: Instant) {
        self.under_way.retain(|known| known != address);
        self.next_at = now;
    }

    /// An attempt could not start, for want of room that there may be later.
    pub(super) fn no_room(&mut self, address: A, now: Instant) {
        self.under_way.retain(|known| *known != address);
        self.waiting.push_front(address);
        self.next_at = now + RETRY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses such as `4a` and `6b`, of the family that their first letter tells.
    fn attempts(addresses: &[&'static str], prefer: Option<char>, now: Instant) -> Attempts<&'static str> {
        let with_family = |address: &&'static str| (address.chars().next().unwrap_or_default(), *address);
        Attempts::new(addresses.iter().map(with_family).collect(), prefer, now)
    }

    /// The order in which they start when each fails at once.
    fn order(addresses: &[&'static str], prefer: Option<char>) -> Vec<&'static str> {
        let now = Instant::now();
        let mut attempts = attempts(addresses, prefer, now);
        let mut started = Vec::new();
        while let Step::Start(address) = attempts.step(now, true) {
            attempts.failed(&address, now);
            started.push(address);
        }
        assert_eq!(attempts.step(now, true), Step::Exhausted);
        started
    }

    #[test]
    fn families_take_turns_from_the_one_that_is_preferred() {
        let addresses = ["6a", "6b", "6c", "4a", "4b"];
        assert_eq!(order(&addresses, None), ["6a", "4a", "6b", "4b", "6c"]);
        assert_eq!(order(&addresses, Some('6')), ["6a", "4a", "6b", "4b", "6c"]);
        assert_eq!(order(&addresses, Some('4')), ["4a", "6a", "4b", "6b", "6c"]);
        assert_eq!(order(&["4a", "6a"], None), ["4a", "6a"], "the resolver's order holds");
        assert_eq!(order(&["4a", "4b"], Some('6')), ["4a", "4b"], "what there is none of cannot be preferred");
        assert_eq!(order(&["4a", "4a", "4b", "4a"], None), ["4a", "4b"], "each once");
        assert_eq!(order(&[], None), [""; 0]);
    }

    #[test]
    fn the_next_joins_after_a_moment() {
        let start = Instant::now();
        let mut attempts = attempts(&["6a", "4a"], None, start);
        assert_eq!(attempts.step(start, true), Step::Start("6a"));
        let next = start + HEAD_START;
        assert_eq!(attempts.step(start, true), Step::Wait(Some(next)));
        assert_eq!(attempts.step(next - Duration::from_nanos(1), true), Step::Wait(Some(next)));
        assert_eq!(attempts.step(next, true), Step::Start("4a"));
        assert_eq!(attempts.step(next, true), Step::Wait(None), "both are under way");
        attempts.failed(&"4a", next);
        assert_eq!(attempts.step(next, true), Step::Wait(None), "the first may still come");
        attempts.failed(&"6a", next);
        assert_eq!(attempts.step(next, true), Step::Exhausted);
    }

    #[test]
    fn the_next_starts_at_once_when_one_has_failed() {
        let start = Instant::now();
        let mut attempts = attempts(&["6a", "4a", "6b"], None, start);
        assert_eq!(attempts.step(start, true), Step::Start("6a"));
        attempts.failed(&"6a", start);
        assert_eq!(attempts.step(start, true), Step::Start("4a"));
        assert_eq!(attempts.step(start, true), Step::Wait(Some(start + HEAD_START)), "it has its own head start");
    }

    #[test]
    fn what_had_no_room_is_tried_again_first() {
        let start = Instant::now();
        let mut attempts = attempts(&["4a", "4b"], None, start);
        assert_eq!(attempts.step(start, true), Step::Start("4a"));
        attempts.no_room("4a", start);
        assert_eq!(attempts.step(start, true), Step::Wait(Some(start + RETRY)));
        assert_eq!(attempts.step(start + RETRY, true), Step::Start("4a"));
    }

    #[test]
    fn without_room_for_two_one_is_tried_after_the_other() {
        let start = Instant::now();
        let mut attempts = attempts(&["6a", "4a", "6b"], None, start);
        assert_eq!(attempts.step(start, false), Step::Start("6a"), "the first needs no room");
        let joins = start + HEAD_START;
        assert_eq!(attempts.step(joins, false), Step::Wait(Some(start + ALONE)));
        assert_eq!(attempts.step(start + ALONE, false), Step::GiveUp("6a"));
        assert_eq!(attempts.step(start + ALONE, false), Step::Start("4a"));
        let failed = start + ALONE + HEAD_START;
        attempts.failed(&"4a", failed);
        assert_eq!(attempts.step(failed, false), Step::Start("6b"), "the place is free at once");
        assert_eq!(attempts.step(failed + ALONE, false), Step::Wait(None), "nobody waits for the last one's");
    }

    #[test]
    fn the_oldest_is_given_up_when_too_many_are_under_way() {
        let start = Instant::now();
        let names = ["40", "41", "42", "43", "44", "45", "46", "47", "48"];
        assert_eq!(names.len(), MOST + 1);
        let mut attempts = attempts(&names, None, start);
        let mut now = start;
        for name in &names[..MOST] {
            assert_eq!(attempts.step(now, true), Step::Start(*name));
            now += HEAD_START;
        }
        assert_eq!(attempts.step(now, true), Step::GiveUp("40"));
        assert_eq!(attempts.step(now, true), Step::Start("48"));
        assert_eq!(attempts.step(now, true), Step::Wait(None));
    }

    #[test]
    fn all_are_tried_and_no_more_than_the_most_at_a_time_whatever_happens() {
        let mut random: u64 = 0x5eed;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        for _ in 0..500 {
            let mut now = Instant::now();
            let count = usize::try_from(below(30)).expect("a small number");
            let addresses: Vec<_> = (0..count).map(|number| (below(2), number)).collect();
            let mut attempts = Attempts::new(addresses, None, now);
            let (mut started, mut under_way) = (Vec::new(), VecDeque::new());
            loop {
                match attempts.step(now, true) {
                    Step::Start(address) if below(5) == 0 => attempts.no_room(address, now),
                    Step::Start(address) => {
                        started.push(address);
                        under_way.push_back(address);
                    }
                    Step::GiveUp(address) => assert_eq!(under_way.pop_front(), Some(address)),
                    Step::Wait(at) if below(2) == 0 && at.is_some() => now = at.unwrap_or(now),
                    Step::Wait(_) => match under_way.remove(usize::try_from(below(9)).unwrap_or(0)) {
                        Some(address) => attempts.failed(&address, now),
                        None => now += RETRY,
                    },
                    Step::Exhausted => break,
                }
                assert!(under_way.len() <= MOST);
            }
            assert!(under_way.is_empty());
            started.sort_unstable();
            assert_eq!(started, (0..count).collect::<Vec<_>>());
        }
    }
}
