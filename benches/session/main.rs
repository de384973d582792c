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
use common::plan::Plan;
use subject::Subject;

/// What can be measured.
const CASES: [&str; 6] = ["trips", "bulk", "resume", "restart", "calls", "memory"];

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["destination"] => destination::run(),
        ["echo"] => backend::run(None),
        ["traffic", order] => traffic::run(order),
        // Cargo says --bench when it is to be measured, and nothing when it only tries whether the target runs.
        _ if words.contains(&"--bench") => measure(&Plan::read(&words, &CASES, 1.0, &[("sessions", 10_000)])?),
        _ => Ok(()),
    }
}

fn measure(plan: &Plan) -> Result<()> {
    common::machine::raise_open_files()?;
    let mut subjects = Subject::all();
    subjects.retain(|subject| plan.wants(subject.name));
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
