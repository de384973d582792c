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
use common::plan::Plan;
use common::{Result, daemon, load};
use nix::sys::resource::{Resource, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use subject::{ALONE, FEW_FILES, LIBRARY, Subject};

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
        _ if words.contains(&"--bench") => {
            measure(&Plan::read(&words, &["rate", "reload", "stall", "cost"], 2.0, &[("reloads", 50)])?)
        }
        _ => Ok(()),
    }
}

fn measure(plan: &Plan) -> Result<()> {
    let mut subjects = Subject::all()?;
    subjects.retain(|subject| plan.wants(&subject.name));
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
