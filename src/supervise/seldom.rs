//! What is told at most once a second, since whoever causes it can do so without end. Pure.

use std::time::{Duration, Instant};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// When something was last told, and how often it was not told since.
#[derive(Debug, Default)]
pub struct Seldom {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// What to add to the telling, if it is time for one.
    pub fn tell(&mut self, now: Instant) -> Option<String> {
        if self.told.is_some_and(|told| now < told + EVERY) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(match std::mem::take(&mut self.untold) {
            0 => String::new(),
            untold => format!(" (and {untold} times before this)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{EVERY, Seldom};
    use std::time::{Duration, Instant};

    #[test]
    fn it_is_told_once_in_a_while_and_then_how_often_it_was_not() {
        let (mut seldom, begin) = (Seldom::default(), Instant::now());
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(seldom.tell(at(0)), Some(String::new()));
        assert_eq!(seldom.tell(at(1)), None);
        assert_eq!(seldom.tell(at(999)), None);
        assert_eq!(seldom.tell(at(1000)), Some(" (and 2 times before this)".to_owned()));
        assert_eq!(seldom.tell(at(1000) + EVERY), Some(String::new()));
    }
}
