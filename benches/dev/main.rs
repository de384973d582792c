//! Measures the proxy for development side by side: `cargo bench --bench dev [-- CASE…] [name=value…]`.
//!
//! The cases are save, latency, rate, memory and idle; all of them when none is named. `repetitions=5`, `seconds=1.5`, `saves=20`,
//! `mib=1024`, `patience=30` and `only=nginx,ours` change what is done. This program is also the server behind the proxy, the plain
//! proxy that ours is compared with, and the clients, each in a process of its own. `docs/performance.md` says what the figures mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures, and what is under way")]

mod cases;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod subject;
mod web;

use common::Result;
use common::machine::describe;
use std::time::Duration;
use subject::Subject;

/// What can be measured, and how.
type Case = fn(&Plan, &[Subject]) -> Result<()>;
const CASES: [(&str, Case); 5] = [
    // First, since the others leave many closed sockets behind, among which the kernel looks for listeners.
    ("save", cases::save),
    ("latency", cases::latency),
    ("rate", cases::rate),
    ("memory", cases::memory),
    ("idle", cases::idle),
];

/// How much is done.
struct Plan {
    cases: Vec<String>,
    repetitions: usize,
    seconds: f64,
    saves: usize,
    mib: u64,
    patience: Duration,
    only: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["web", port] => web::serve(port.parse()?),
        ["plain", listen, target] => web::proxy(listen.parse()?, target.parse()?),
        ["client", order] => client::run(order),
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
            seconds: 1.5,
            saves: 20,
            mib: 1024,
            patience: Duration::from_secs(30),
            only: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("repetitions", value)) => plan.repetitions = value.parse::<usize>()?.max(1),
                Some(("seconds", value)) => plan.seconds = value.parse()?,
                Some(("saves", value)) => plan.saves = value.parse()?,
                Some(("mib", value)) => plan.mib = value.parse()?,
                Some(("patience", value)) => plan.patience = Duration::from_secs(value.parse()?),
                Some(("only", value)) => plan.only = Some(value.split(',').map(str::to_owned).collect()),
                None if CASES.iter().any(|(case, _)| case == word) => plan.cases.push((*word).into()),
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
        subjects.retain(|subject| only.contains(&subject.name));
    }
    describe("before");
    for (name, case) in CASES {
        if plan.has(name) {
            case(plan, &subjects)?;
        }
    }
    describe("after");
    Ok(())
}
