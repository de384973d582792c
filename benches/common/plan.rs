//! What is to be measured and how much of it, as the words behind `cargo bench --bench NAME --` say.

use super::Result;
use std::time::Duration;

/// How much is done.
pub struct Plan {
    /// The cases that were named.
    cases: Vec<String>,
    pub repetitions: usize,
    pub seconds: f64,
    pub patience: Duration,
    /// Numbers that this measurement alone has, by name.
    counts: Vec<(&'static str, usize)>,
    only: Option<Vec<String>>,
}

impl Plan {
    /// Reads the words. `cases` are those that there are; `seconds` and `counts` hold where nothing else is said.
    pub fn read(words: &[&str], cases: &[&str], seconds: f64, counts: &[(&'static str, usize)]) -> Result<Plan> {
        let patience = Duration::from_secs(30);
        let mut plan =
            Plan { cases: Vec::new(), repetitions: 5, seconds, patience, counts: counts.to_vec(), only: None };
        for word in words {
            match word.split_once('=') {
                Some(("repetitions", value)) => plan.repetitions = value.parse::<usize>()?.max(1),
                Some(("seconds", value)) => plan.seconds = value.parse()?,
                Some(("patience", value)) => plan.patience = Duration::from_secs(value.parse()?),
                Some(("only", value)) => plan.only = Some(value.split(',').map(str::to_owned).collect()),
                Some((name, value)) => match plan.counts.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, count)) => *count = value.parse()?,
                    None => return Err(format!("not a setting: {word}").into()),
                },
                None if cases.contains(word) => plan.cases.push((*word).into()),
                None if *word == "--bench" => {}
                None => return Err(format!("neither a case nor a setting: {word}").into()),
            }
        }
        Ok(plan)
    }

    /// Whether a case is to be measured: all are where none is named.
    pub fn has(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|named| named == case)
    }

    /// One of the numbers; 0 if there is none of this name.
    pub fn count(&self, name: &str) -> usize {
        self.counts.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// Whether a subject is to be measured.
    pub fn wants(&self, subject: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == subject))
    }

    /// Every subject once in each repetition, each time beginning with another, so that none has the quiet end.
    pub fn interleaved<'a, S>(&self, subjects: &'a [S]) -> impl Iterator<Item = &'a S> {
        let count = subjects.len();
        (0..self.repetitions).flat_map(move |repetition| (0..count).map(move |at| &subjects[(at + repetition) % count]))
    }
}
