//! Times by key: each key has one time at most.

use super::keys::Keyed;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Timers<K> {
    /// By time, and among equal times in the order in which they were set.
    order: BTreeMap<(Instant, u64), K>,
    places: Keyed<K, (Instant, u64)>,
    next: u64,
}

impl<K: Copy + Eq + Hash> Timers<K> {
    pub(super) fn new() -> Self {
        Timers { order: BTreeMap::new(), places: Keyed::default(), next: 0 }
    }

    pub(super) fn set(&mut self, key: K, at: Option<Instant>) {
        let before = self.places.get(&key).copied();
        if before.map(|(at, _)| at) == at {
            return;
        }
        if let Some(place) = before {
            self.places.remove(&key);
            self.order.remove(&place);
        }
        if let Some(at) = at {
            let place = (at, self.next);
            self.next += 1;
            self.places.insert(key, place);
            self.order.insert(place, key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How long to wait for the first one; `None` when there is none, and then the time is not asked for.
    pub(super) fn time_left(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        self.order.first_key_value().map(|((at, _), _)| at.saturating_duration_since(now()))
    }

    /// Whether the first one has come.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.order.first_key_value().is_some_and(|((at, _), _)| *at <= now)
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let entry = self.order.first_entry().filter(|entry| entry.key().0 <= now)?;
        let key = entry.remove();
        self.places.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;
    use std::time::{Duration, Instant};

    #[test]
    fn keys_come_in_the_order_of_their_times_and_once() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let mut timers = Timers::new();
        timers.set('c', at(3));
        timers.set('a', at(9));
        timers.set('a', at(1));
        timers.set('b', at(1));
        timers.set('d', at(2));
        timers.set('d', None);
        assert_eq!(timers.time_left(|| now), Some(Duration::from_secs(1)));
        assert_eq!(timers.pop(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!([timers.pop(later), timers.pop(later), timers.pop(later)], [Some('a'), Some('b'), None]);
        assert_eq!(timers.time_left(|| now + Duration::from_secs(5)), Some(Duration::ZERO));
        assert_eq!(timers.pop(now + Duration::from_secs(5)), Some('c'));
        assert_eq!(timers.time_left(|| now), None);
    }
}
