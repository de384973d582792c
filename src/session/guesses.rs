//! What wrong guesses of a secret cost: time, and only whoever guesses. There is no lock, since it would shut out the
//! session's own client.
//!
//! Pure, and of bounded size.

use crate::session::written::{Form, FormError, Reader, Writer, form_of_struct};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How late the first wrong guess is answered; the next ones twice as late each.
const FIRST: Duration = Duration::from_millis(250);
/// How late at the most.
const MOST: Duration = Duration::from_secs(8);
/// A source that has made no wrong guess for so long begins anew.
const FORGET: Duration = Duration::from_secs(60);
/// How many sources are known at the most; the one that was quiet for longest makes room.
const SOURCES: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Guesser {
    count: u32,
    last: Instant,
}

/// Who has guessed wrong, and how often.
#[derive(Debug)]
pub struct Guesses<S> {
    sources: BTreeMap<S, Guesser>,
}

impl<S> Default for Guesses<S> {
    fn default() -> Self {
        Guesses { sources: BTreeMap::new() }
    }
}

impl<S: Clone + Ord> Guesses<S> {
    /// A wrong guess from there. How much later it is to be answered. `None`: from this machine, where a gateway may ask
    /// for many, of whom none shall wait for another; each of its guesses costs as much as a first one.
    pub fn wrong(&mut self, now: Instant, source: Option<&S>) -> Duration {
        let Some(source) = source else {
            return FIRST;
        };
        let known = self.sources.get(source).filter(|known| now.saturating_duration_since(known.last) < FORGET);
        let count = known.map_or(0, |known| known.count).saturating_add(1);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(source) {
            self.make_room(now);
        }
        self.sources.insert(source.clone(), Guesser { count, last: now });
        FIRST.saturating_mul(1 << (count - 1).min(16)).min(MOST)
    }

    fn make_room(&mut self, now: Instant) {
        self.sources.retain(|_, guesser| now.saturating_duration_since(guesser.last) < FORGET);
        if self.sources.len() >= SOURCES {
            let quiet = self.sources.iter().min_by_key(|(_, guesser)| guesser.last).map(|(source, _)| source.clone());
            quiet.map(|quiet| self.sources.remove(&quiet));
        }
    }
}

form_of_struct!(Guesser { count, last });

impl<S: Form + Ord> Form for Guesses<S> {
    fn write(&self, to: &mut Writer) {
        self.sources.len().write(to);
        for (source, guesser) in &self.sources {
            source.write(to);
            guesser.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let count = usize::read(from)?;
        if count > SOURCES {
            return Err(FormError::Value { what: "how many guess", value: count as u64 });
        }
        let sources = (0..count).map(|_| <(S, Guesser)>::read(from)).collect::<Result<_, FormError>>()?;
        Ok(Guesses { sources })
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, FORGET, Guesses, MOST, SOURCES};
    use std::time::{Duration, Instant};

    #[test]
    fn each_wrong_guess_costs_twice_as_much_up_to_a_limit() {
        let (mut guesses, mut now) = (Guesses::default(), Instant::now());
        for doubled in 0..100 {
            assert_eq!(guesses.wrong(now, Some(&1)), (FIRST * (1 << doubled.min(10))).min(MOST));
            now += Duration::from_secs(1);
        }
        assert_eq!(guesses.wrong(now, Some(&2)), FIRST, "another one pays for itself");
        assert_eq!(guesses.wrong(now + FORGET, Some(&1)), FIRST);
        for _ in 0..10 {
            assert_eq!(guesses.wrong(now, None), FIRST);
        }
    }

    #[test]
    fn many_sources_cost_little_and_the_latest_are_known() {
        let (mut guesses, mut now) = (Guesses::default(), Instant::now());
        for source in 0..4 * SOURCES {
            now += Duration::from_millis(1);
            assert_eq!(guesses.wrong(now, Some(&source)), FIRST);
            assert!(guesses.sources.len() <= SOURCES);
        }
        assert_eq!(guesses.wrong(now, Some(&(4 * SOURCES - 1))), 2 * FIRST);
        assert_eq!(guesses.wrong(now, Some(&0)), FIRST, "it had to make room");
    }
}
