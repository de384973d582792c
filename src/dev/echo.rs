//! Servers that write into the files that are watched, each time they start: each start would bring the next one. Pure: it is
//! told the time.
//!
//! A save of somebody else must start the server at once. So a restart waits only if nothing but files that have changed after
//! each of the last starts has changed, and that while the server was starting.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// So many starts in a row, each with a change of the same file, are no chance.
const ROW: u32 = 5;
/// What a server does at its start it has done so long after its first answer, or its failure; files take up to 0.8 s to settle, and
/// nobody looks at a page, edits and saves in less.
const AFTER: Duration = Duration::from_secs(1);
/// The same, from its start, for one that does neither.
const AFTER_START: Duration = Duration::from_secs(5);
/// How long the next start waits at first, and at most.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is known of the last starts.
#[derive(Debug, Default)]
pub struct Echoes {
    /// Until when a change may be the work of the server that has started last.
    start: Option<Instant>,
    /// Files that have changed after each start of the row.
    files: BTreeSet<String>,
    row: u32,
    wait: Duration,
    until: Option<Instant>,
}

/// What is to follow from a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server is started at once.
    Start,
    /// It is started then, unless something else changes; and the file to be told of, the first time.
    Wait(Instant, Option<String>),
}

impl Echoes {
    /// A server, or its build, starts.
    pub fn started(&mut self, now: Instant) {
        self.start = Some(now + AFTER_START);
        self.until = None;
    }

    /// It has answered for the first time, or has failed.
    pub fn came_up(&mut self, now: Instant) {
        self.start = Some(now + AFTER);
    }

    /// These files have changed.
    pub fn changed(&mut self, now: Instant, files: &[String]) -> Verdict {
        let starts = self.start.is_some_and(|until| now <= until);
        let changed: BTreeSet<_> = files.iter().cloned().collect();
        let same: BTreeSet<_> = self.files.intersection(&changed).cloned().collect();
        if !starts || changed.is_empty() {
            *self = Echoes { start: self.start, ..Echoes::default() };
            return Verdict::Start;
        }
        if let Some(until) = self.until.filter(|_| same.len() == changed.len()) {
            return Verdict::Wait(until, None);
        }
        self.row = if same.is_empty() { 1 } else { self.row + 1 };
        let others = same.len() < changed.len();
        self.files = if same.is_empty() { changed } else { same };
        if self.row < ROW || others {
            return Verdict::Start;
        }
        let first = self.wait.is_zero();
        self.wait = if first { WAIT } else { (self.wait * 2).min(LONGEST_WAIT) };
        self.until = Some(now + self.wait);
        Verdict::Wait(now + self.wait, self.files.first().filter(|_| first).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::{AFTER, AFTER_START, Echoes, LONGEST_WAIT, ROW, Verdict, WAIT};
    use std::time::{Duration, Instant};

    const STEP: Duration = Duration::from_millis(300);

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// So many starts, each of which changes these files; what follows from the last one.
    fn starts(echoes: &mut Echoes, now: &mut Instant, count: u32, names: &[&str]) -> Verdict {
        let mut verdict = Verdict::Start;
        for _ in 0..count {
            echoes.started(*now);
            *now += STEP;
            echoes.came_up(*now);
            *now += STEP;
            verdict = echoes.changed(*now, &files(names));
        }
        verdict
    }

    #[test]
    fn a_server_that_writes_at_each_start_is_started_less_and_less_often() {
        let (mut echoes, mut now) = (Echoes::default(), Instant::now());
        assert_eq!(starts(&mut echoes, &mut now, ROW - 1, &["log"]), Verdict::Start);
        let told = Verdict::Wait(now + 2 * STEP + WAIT, Some("log".into()));
        assert_eq!(starts(&mut echoes, &mut now, 1, &["log"]), told);
        assert_eq!(echoes.changed(now, &files(&["log"])), Verdict::Wait(now + WAIT, None), "it waits already");
        let mut wait = WAIT;
        for _ in 0..6 {
            wait = (wait * 2).min(LONGEST_WAIT);
            let verdict = starts(&mut echoes, &mut now, 1, &["log"]);
            assert_eq!(verdict, Verdict::Wait(now + wait, None), "it is told once");
        }
    }

    #[test]
    fn a_save_of_another_file_starts_it_at_once_and_so_does_a_later_one() {
        let (mut echoes, mut now) = (Echoes::default(), Instant::now());
        assert_ne!(starts(&mut echoes, &mut now, ROW, &["log"]), Verdict::Start);
        assert_eq!(echoes.changed(now, &files(&["app.py", "log"])), Verdict::Start);
        assert_eq!(echoes.changed(now, &files(&["app.py"])), Verdict::Start);
        assert_ne!(starts(&mut echoes, &mut now, ROW, &["log"]), Verdict::Start);
        now += AFTER;
        assert_eq!(echoes.changed(now, &files(&["log"])), Verdict::Start, "the server has started long ago");
        assert_eq!(starts(&mut echoes, &mut now, ROW - 1, &["log"]), Verdict::Start, "it begins anew");
    }

    #[test]
    fn saves_while_nothing_answers_are_saves() {
        let (mut echoes, mut now) = (Echoes::default(), Instant::now());
        for _ in 0..3 * ROW {
            echoes.started(now);
            now += AFTER_START + STEP;
            assert_eq!(echoes.changed(now, &files(&["app.py"])), Verdict::Start);
        }
    }

    #[test]
    fn different_files_and_changes_of_which_nothing_is_known_are_no_row() {
        let (mut echoes, mut now) = (Echoes::default(), Instant::now());
        for number in 0..2 * ROW {
            assert_eq!(starts(&mut echoes, &mut now, 1, &[&number.to_string()]), Verdict::Start);
            assert_eq!(starts(&mut echoes, &mut now, 1, &[]), Verdict::Start);
        }
        assert_eq!(starts(&mut echoes, &mut now, 2 * ROW, &[]), Verdict::Start);
    }

    #[test]
    fn the_file_that_is_there_each_time_is_the_one() {
        let (mut echoes, mut now) = (Echoes::default(), Instant::now());
        for number in 1..ROW {
            let verdict = starts(&mut echoes, &mut now, 1, &[&number.to_string(), "log"]);
            assert_eq!(verdict, Verdict::Start);
        }
        let verdict = starts(&mut echoes, &mut now, 1, &["log"]);
        assert_eq!(verdict, Verdict::Wait(now + WAIT, Some("log".into())));
    }
}
