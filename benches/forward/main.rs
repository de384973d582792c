//! Measures forwarding side by side: `cargo bench --bench forward [-- CASE…] [name=value…]`.
//!
//! The cases are bulk, tls, relay, requests, connections and idle; all of them when none is named. `repetitions=5`, `seconds=1.5`,
//! `idle=9000`, `patience=30` and `only=haproxy,ours` change what is done. This program is also the server behind
//! the forwarder and the load, each in a process of its own. `docs/performance.md` says what the figures mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures, and what is under way")]

mod backend;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod stream;
mod subject;
mod traffic;

use common::machine::describe;
use common::plan::Plan;
use common::{Result, daemon, load};
use subject::Subject;

/// What can be measured.
const CASES: [&str; 6] = ["bulk", "tls", "relay", "requests", "connections", "idle"];

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["daemon", ..] => daemon::run(&arguments[1..]),
        ["load", order] => load::run(order).map(|outcome| println!("{outcome}")),
        ["backend"] => backend::run(None),
        ["backend", port] => backend::run(Some(port.parse()?)),
        ["traffic", order] => traffic::run(order),
        // Cargo says --bench when it is to be measured, and nothing when it only tries whether the target runs.
        _ if words.contains(&"--bench") => measure(&Plan::read(&words, &CASES, 1.5, &[("idle", 9000)])?),
        _ => Ok(()),
    }
}

fn measure(plan: &Plan) -> Result<()> {
    common::machine::raise_open_files()?;
    let mut subjects = Subject::all()?;
    subjects.retain(|subject| plan.wants(&subject.name));
    describe("before");
    if plan.has("bulk") {
        cases::bulk(plan, &subjects)?;
    }
    if plan.has("tls") {
        cases::tls(plan, &subjects)?;
    }
    if plan.has("relay") {
        cases::relay(plan, &subjects)?;
    }
    if plan.has("requests") {
        cases::requests(plan, &subjects)?;
    }
    if plan.has("connections") {
        cases::connections(plan, &subjects)?;
    }
    if plan.has("idle") {
        cases::idle(plan, &subjects)?;
    }
    describe("after");
    Ok(())
}
