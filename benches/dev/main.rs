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
use common::plan::Plan;
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

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["web", port] => web::serve(port.parse()?),
        ["plain", listen, target] => web::proxy(listen.parse()?, target.parse()?),
        ["client", order] => client::run(order),
        // Cargo says --bench when it is to be measured, and nothing when it only tries whether the target runs.
        _ if words.contains(&"--bench") => {
            measure(&Plan::read(&words, &CASES.map(|(name, _)| name), 1.5, &[("saves", 20), ("mib", 1024)])?)
        }
        _ => Ok(()),
    }
}

fn measure(plan: &Plan) -> Result<()> {
    common::machine::raise_open_files()?;
    let mut subjects = Subject::all();
    subjects.retain(|subject| plan.wants(&subject.name));
    describe("before");
    for (name, case) in CASES {
        if plan.has(name) {
            case(plan, &subjects)?;
        }
    }
    describe("after");
    Ok(())
}
