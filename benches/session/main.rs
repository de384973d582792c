//! Measures sessions side by side: `cargo bench --bench session [-- CASE…] [name=value…]`.
//!
//! The cases are trips, bulk, resume, restart, calls and memory; all of them when none is named. `repetitions=5`, `seconds=1`,
//! `sessions=10000`, `patience=30` and `only=direct,forward` change what is done. This program is also the destination and
//! the client, each in a process of its own. `docs/performance.md` says what the figures mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures, and what is under way")]

#[path = "../forward/backend.rs"]
mod backend;
mod cases;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod costs;
mod destination;
mod road;
mod subject;
mod traffic;

use common::Result;
use common::machine::describe;
use std::time::Duration;
use subject::Subject;

/// What can be measured.
const CASES: [&str; 6] = ["trips", "bulk", "resume", "restart", "calls", "memory"];

/// How much is done.
struct Plan {
    cases: Vec<String>,
    repetitions: usize,
    seconds: f64,
    sessions: usize,
    patience: Duration,
    only: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["destination"] => destination::run(),
        ["echo"] => backend::run(None),
        ["traffic", order] => traffic::run(order),
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
            seconds: 1.0,
            sessions: 10_000,
            patience: Duration::from_secs(30),
            only: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("repetitions", value)) => plan.repetitions = value.parse::<usize>()?.max(1),
                Some(("seconds", value)) => plan.seconds = value.parse()?,
                Some(("sessions", value)) => plan.sessions = value.parse()?,
                Some(("patience", value)) => plan.patience = Duration::from_secs(value.parse()?),
                Some(("only", value)) => plan.only = Some(value.split(',').map(str::to_owned).collect()),
                None if CASES.contains(word) => plan.cases.push((*word).into()),
                None if *word == "--bench" => {}
                Some(_) | None => return Err(format!("neither a case nor a setting: {word}").into()),
            }
        }
        Ok(plan)
    }

    fn has(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|named| named == case)
    }
}

fn measure(plan: &Plan) -> Result<()> {
    common::machine::raise_open_files()?;
    let mut subjects = Subject::all();
    if let Some(only) = &plan.only {
        subjects.retain(|subject| only.iter().any(|name| name == subject.name));
    }
    describe("before");
    if plan.has("trips") {
        cases::trips(plan, &subjects)?;
    }
    if plan.has("bulk") {
        cases::bulk(plan, &subjects)?;
    }
    if plan.has("resume") {
        cases::resume(plan, &subjects)?;
    }
    if plan.has("restart") {
        cases::restart(plan)?;
    }
    if plan.has("calls") {
        costs::calls(plan, &subjects)?;
    }
    if plan.has("memory") {
        costs::memory(plan)?;
    }
    describe("after");
    Ok(())
}
