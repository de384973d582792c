//! When files that change have settled. Pure: it is told the time.
//!
//! A save is often several steps: a file is emptied and then written, or another one is written and renamed. What is started
//! between two of them would see half a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So long nothing may happen before it counts.
pub const QUIET: Duration = Duration::from_millis(50);
/// The same while many files change, as when another branch is checked out.
pub const QUIET_AMONG_MANY: Duration = Duration::from_millis(300);
const MANY: usize = 50;
/// Changes that follow each other this closely belong together: each time the quiet must last twice as long, up to four times.
const CLOSE: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 4;
/// What never settles counts after this time all the same.
pub const LONGEST: Duration = Duration::from_secs(5);
/// Of so many files the names are kept.
const MOST: usize = 1000;

/// What has happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It is new.
    Made,
    /// Anything else.
    Changed,
}

/// Changes that have not settled.
#[derive(Debug, Default)]
pub struct Settling {
    files: BTreeMap<PathBuf, Touch>,
    /// There are more, or it is not known which.
    more: bool,
    since: Option<(Instant, Instant)>,
    /// When it was over the last time, and how often in a row it began anew at once.
    last: Option<Instant>,
    doublings: u32,
}

/// Changes that have settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The files, with what happened to each first.
    pub files: Vec<(PathBuf, Touch)>,
    /// There are more.
    pub more: bool,
}

impl Settling {
    /// Something has happened to a file.
    pub fn touch(&mut self, now: Instant, path: &Path, touch: Touch) {
        self.begin(now);
        if self.files.contains_key(path) {
            return;
        }
        if self.files.len() < MOST {
            self.files.insert(path.to_owned(), touch);
        } else {
            self.more = true;
        }
    }

    /// Something has happened, and it is not known to what.
    pub fn overflow(&mut self, now: Instant) {
        self.begin(now);
        self.more = true;
    }

    fn begin(&mut self, now: Instant) {
        let first = match self.since {
            Some((first, _)) => first,
            None => {
                let close = self.last.is_some_and(|last| now < last + CLOSE);
                self.doublings = if close { (self.doublings + 1).min(MOST_DOUBLINGS) } else { 0 };
                now
            }
        };
        self.since = Some((first, now));
    }

    /// It is known that more is to come, though nothing has been told just now.
    pub fn go_on(&mut self, now: Instant) {
        self.since = self.since.map(|(first, _)| (first, now));
    }

    /// How long nothing may happen.
    fn quiet(&self) -> Duration {
        let quiet = QUIET * 2_u32.pow(self.doublings);
        if self.files.len() < MANY && !self.more { quiet } else { quiet.max(QUIET_AMONG_MANY) }
    }

    /// When to ask next.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|(first, last)| (last + self.quiet()).min(first + LONGEST))
    }

    /// What has settled by now.
    pub fn settled(&mut self, now: Instant) -> Option<Settled> {
        if self.deadline()? > now {
            return None;
        }
        self.since = None;
        self.last = Some(now);
        Some(Settled {
            files: std::mem::take(&mut self.files).into_iter().collect(),
            more: std::mem::take(&mut self.more),
        })
    }
}

impl Settled {
    /// Without the files that came and went meanwhile, of which nobody can have seen anything; `None` if nothing is left.
    pub fn lasting(mut self, exists: impl Fn(&Path) -> bool) -> Option<Settled> {
        self.files.retain(|(path, touch)| *touch == Touch::Changed || exists(path));
        (self.more || !self.files.is_empty()).then_some(self)
    }

    /// Whether style sheets have changed and nothing else.
    pub fn is_styles(&self) -> bool {
        let is_style = |path: &Path| path.extension().is_some_and(|extension| extension == "css");
        !self.more && self.files.iter().all(|(path, _)| is_style(path))
    }

    /// In words: the first file, and how many more there are.
    pub fn words(&self) -> String {
        match (self.files.as_slice(), self.more) {
            ([], _) => "more files than can be told".into(),
            ([(path, _)], false) => path.display().to_string(),
            ([(path, _), ..], true) => format!("{} and many more", path.display()),
            ([(path, _), rest @ ..], false) => format!("{} and {} more", path.display(), rest.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSE, LONGEST, MANY, MOST, QUIET, QUIET_AMONG_MANY, Settling, Touch};
    use std::path::Path;
    use std::time::{Duration, Instant};

    const STEP: Duration = Duration::from_millis(30);

    #[test]
    fn a_save_in_two_steps_settles_once() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        assert_eq!(settling.deadline(), None);
        settling.touch(start, Path::new("a"), Touch::Changed);
        settling.touch(start + STEP, Path::new("a"), Touch::Changed);
        assert_eq!(settling.settled(start + QUIET), None);
        assert_eq!(settling.deadline(), Some(start + STEP + QUIET));
        let settled = settling.settled(start + STEP + QUIET).unwrap();
        assert_eq!(settled.words(), "a");
        assert_eq!(settling.settled(start + LONGEST), None);
    }

    #[test]
    fn what_never_rests_counts_after_a_while() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        let mut now = start;
        let mut times = 0;
        while now < start + LONGEST * 2 + QUIET {
            settling.touch(now, Path::new("log"), Touch::Changed);
            now += STEP;
            times += u32::from(settling.settled(now).is_some());
        }
        assert_eq!(times, 2);
    }

    #[test]
    fn what_is_known_to_go_on_does_not_settle_but_counts_in_the_end() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.go_on(start);
        assert_eq!(settling.deadline(), None, "nothing has happened");
        settling.touch(start, Path::new("a"), Touch::Changed);
        let mut now = start;
        while now + QUIET < start + LONGEST {
            now += QUIET;
            settling.go_on(now);
            assert_eq!(settling.settled(now), None);
        }
        settling.go_on(start + LONGEST);
        assert!(settling.settled(start + LONGEST).is_some());
    }

    #[test]
    fn what_came_and_went_is_nothing() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.touch(start, Path::new("4913"), Touch::Made);
        settling.touch(start, Path::new("4913"), Touch::Changed);
        let settled = settling.settled(start + QUIET).unwrap();
        assert_eq!(settled.lasting(|_| false), None);
        let start = start + LONGEST;
        settling.touch(start, Path::new("new"), Touch::Made);
        settling.touch(start, Path::new("old"), Touch::Changed);
        let settled = settling.settled(start + QUIET).unwrap().lasting(|path| path != Path::new("old")).unwrap();
        assert_eq!(settled.words(), "new and 1 more", "one that was there before and is gone has changed");
    }

    #[test]
    fn a_storm_takes_no_more_memory_than_it_may() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        (0..MOST * 3).for_each(|number| settling.touch(start, Path::new(&number.to_string()), Touch::Changed));
        assert_eq!(settling.files.len(), MOST);
        let settled = settling.settled(start + QUIET_AMONG_MANY).unwrap();
        assert!(settled.more && settled.words().ends_with("and many more"));
        let start = start + LONGEST;
        settling.overflow(start);
        let settled = settling.settled(start + QUIET_AMONG_MANY).unwrap().lasting(|_| false).unwrap();
        assert_eq!(settled.words(), "more files than can be told");
        assert!(!settled.is_styles());
    }

    #[test]
    fn changes_that_follow_each_other_belong_together() {
        let (mut settling, mut now) = (Settling::default(), Instant::now());
        for factor in [1, 2, 4, 8, 16, 16] {
            settling.touch(now, Path::new("a"), Touch::Changed);
            assert_eq!(settling.deadline(), Some(now + QUIET * factor));
            now += QUIET * factor;
            settling.settled(now).unwrap();
        }
        now += CLOSE;
        settling.touch(now, Path::new("a"), Touch::Changed);
        assert_eq!(settling.deadline(), Some(now + QUIET));
        (0..MANY).for_each(|number| settling.touch(now, Path::new(&number.to_string()), Touch::Changed));
        assert_eq!(settling.deadline(), Some(now + QUIET_AMONG_MANY));
    }

    #[test]
    fn style_sheets_are_told_apart() {
        let (mut settling, start) = (Settling::default(), Instant::now());
        settling.touch(start, Path::new("a/b.css"), Touch::Changed);
        assert!(settling.settled(start + QUIET).unwrap().is_styles());
        let start = start + LONGEST;
        settling.touch(start, Path::new("a/b.css"), Touch::Changed);
        settling.touch(start, Path::new("a/css"), Touch::Changed);
        assert!(!settling.settled(start + QUIET).unwrap().is_styles());
    }
}
