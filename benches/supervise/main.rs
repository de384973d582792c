//! Measures supervision side by side: `cargo bench --bench supervise [-- CASE…] [name=value…]`.
//!
//! The cases are rate, reload, stall and cost; all of them when none is named. `repetitions=5`, `seconds=2`,
//! `reloads=50` and `only=alone,listener` change what is done. Before each measurement it waits at most `patience=30`
//! seconds until the machine has nothing else to do. This program is also the daemon that is supervised and
//! the load, each in a process of its own. `docs/performance.md` says what the figures mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures, and what is under way")]

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod subject;

use common::machine::describe;
use common::{Result, daemon, load};
use nix::sys::resource::{Resource, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use subject::{ALONE, FEW_FILES, LIBRARY, Subject};

/// How much is done.
struct Plan {
    cases: Vec<String>,
    repetitions: usize,
    seconds: f64,
    reloads: usize,
    patience: Duration,
    only: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["daemon", ..] => daemon::run(&arguments[1..]),
        ["load", order] => load::run(order).map(|outcome| println!("{outcome}")),
        ["files", limit, program, ref rest @ ..] => {
            let limit = limit.parse()?;
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
            Err(Command::new(program).args(rest).exec().into())
        }
        // Cargo says --bench when it is to be measured, and nothing when it only tries whether the target runs.
        _ if words.contains(&"--bench") => measure(&Plan::read(&words)?),
        _ => Ok(()),
    }
}

impl Plan {
    fn read(words: &[&str]) -> Result<Plan> {
        let mut plan = Plan {
            cases: Vec::new(),
            repetitions: 5,
            seconds: 2.0,
            reloads: 50,
            patience: Duration::from_secs(30),
            only: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("repetitions", value)) => plan.repetitions = value.parse::<usize>()?.max(1),
                Some(("seconds", value)) => plan.seconds = value.parse()?,
                Some(("reloads", value)) => plan.reloads = value.parse()?,
                Some(("patience", value)) => plan.patience = Duration::from_secs(value.parse()?),
                Some(("only", value)) => plan.only = Some(value.split(',').map(str::to_owned).collect()),
                None if ["rate", "reload", "stall", "cost"].contains(word) => plan.cases.push((*word).into()),
                None if *word == "--bench" => {}
                Some(_) | None => return Err(format!("neither a case nor a setting: {word}").into()),
            }
        }
        plan.reloads = plan.reloads.next_multiple_of(plan.repetitions);
        Ok(plan)
    }

    fn has(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|named| named == case)
    }
}

fn measure(plan: &Plan) -> Result<()> {
    let mut subjects = Subject::all()?;
    if let Some(only) = &plan.only {
        subjects.retain(|subject| only.contains(&subject.name));
    }
    let without = |left_out: &[&str]| -> Vec<Subject> {
        let is_left_out =
            |name: &str| left_out.iter().any(|word| name == *word || *word == FEW_FILES && name.ends_with(word));
        subjects.iter().filter(|subject| !is_left_out(&subject.name)).cloned().collect()
    };
    describe("before");
    if plan.has("rate") {
        cases::rate(plan, &without(&[FEW_FILES]))?;
    }
    if plan.has("reload") {
        cases::reload(plan, &without(&[ALONE, LIBRARY]))?;
    }
    if plan.has("stall") {
        cases::stall(plan, &without(&[ALONE, LIBRARY, FEW_FILES]))?;
    }
    if plan.has("cost") {
        cases::cost(plan, &without(&[ALONE, LIBRARY, FEW_FILES]))?;
    }
    describe("after");
    Ok(())
}
