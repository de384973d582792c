//! docs/supervise.md prints the table; this walks every cell of it and compares.

use super::{Bench, SECOND, policy};
use crate::supervise::state::{Action, Drain, Failure, Finish, Input, Number, Outcome, Phase, Policy, Word};
use std::time::Duration;

const PAGE: &str = include_str!("../../../../docs/supervise.md");
const ONE: Number = Number(1);

/// A column: how a supervisor comes to have a generation in that phase, and the generation's number.
type Column = (&'static str, fn() -> (Bench, Number));

fn guarded() -> Policy {
    Policy { guard: Duration::from_secs(5), ..policy() }
}

fn switched(policy: Policy) -> Bench {
    let mut bench = Bench::reloading(policy);
    bench.on(Input::Ready(Number(2), Word::Channel));
    bench
}

fn stopping(mut bench: Bench) -> Bench {
    bench.on(Input::Stop);
    bench
}

fn terminated(mut bench: Bench) -> Bench {
    bench.deadline();
    bench
}

fn gone() -> Bench {
    let mut bench = switched(policy());
    bench.exited(1);
    bench
}

fn closed() -> Bench {
    let mut bench = stopping(Bench::serving(policy()));
    bench.on(Input::Emptied);
    bench
}

fn drained() -> Bench {
    let mut bench = closed();
    bench.on(Input::Emptied);
    bench
}

const WANTED: [Column; 7] = [
    ("starting", || (Bench::reloading(policy()), Number(2))),
    ("serving", || (Bench::serving(policy()), ONE)),
    ("parked", || (switched(guarded()), ONE)),
    ("draining: asked", || (switched(policy()), ONE)),
    ("draining: terminated", || (terminated(switched(policy())), ONE)),
    ("draining: killed", || (terminated(terminated(switched(policy()))), ONE)),
    ("gone", || (gone(), ONE)),
];

const STOPPING: [Column; 5] = [
    ("serving, listeners open", || (stopping(Bench::serving(policy())), ONE)),
    ("serving, listeners closed", || (closed(), ONE)),
    ("draining: asked", || (drained(), ONE)),
    ("draining: terminated", || (terminated(drained()), ONE)),
    ("draining: killed", || (terminated(terminated(drained())), ONE)),
];

type Row = (&'static str, fn(&mut Bench, Number) -> Vec<Action>);

const ROWS: [Row; 16] = [
    ("reload", |bench, _| bench.reload()),
    ("stop", |bench, _| bench.on(Input::Stop)),
    ("spawned", |bench, number| bench.on(Input::Spawned(number))),
    ("spawn failed", |bench, number| bench.on(Input::SpawnFailed(number))),
    ("spoke", |bench, number| bench.on(Input::Spoke(number, Word::Channel))),
    ("ready", |bench, number| bench.on(Input::Ready(number, Word::Channel))),
    ("needs longer", |bench, number| bench.on(Input::Extend(number, SECOND))),
    ("wants a watchdog", |bench, number| bench.on(Input::Watch(number, Some(SECOND)))),
    ("says it lives", |bench, number| bench.on(Input::Alive(number))),
    ("says it hangs", |bench, number| bench.on(Input::Hung(number))),
    ("broke the protocol", |bench, number| bench.on(Input::Broke(number))),
    ("exited", |bench, number| bench.on(Input::Exited { number, survivors: false })),
    ("exited, group lives", |bench, number| bench.on(Input::Exited { number, survivors: true })),
    ("channel writable", |bench, number| bench.on(Input::ChannelWritable(number))),
    ("nothing held", |bench, _| bench.on(Input::Emptied)),
    ("deadline", |bench, _| match bench.machine.deadline() {
        Some(_) => bench.deadline(),
        None => bench.on(Input::Deadline),
    }),
];

fn phase(bench: &Bench, number: Number) -> &'static str {
    match bench.machine.generation(number).map(|generation| generation.phase) {
        None => "gone",
        Some(Phase::Starting { .. }) => "starting",
        Some(Phase::Serving { .. }) => "serving",
        Some(Phase::Parked { .. }) => "parked",
        Some(Phase::Draining { drain: Drain::Asked { .. }, .. }) => "asked",
        Some(Phase::Draining { drain: Drain::Terminated { .. }, .. }) => "terminated",
        Some(Phase::Draining { drain: Drain::Killed, .. }) => "killed",
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Spawn(number) => format!("spawn {number}"),
        Action::Serve(number) => format!("serve {number}"),
        Action::Pass(number) => format!("pass {number}"),
        Action::Park(number) => format!("park {number}"),
        Action::Drain { number, signal, take_back } => {
            let signal = if *signal { " by signal" } else { "" };
            let rest = if *take_back { "" } else { ", leave it the rest" };
            format!("drain {number}{signal}{rest}")
        }
        Action::Abort(number) => format!("ABRT {number}"),
        Action::Terminate(number) => format!("TERM {number}"),
        Action::Kill(number) => format!("KILL {number}"),
        Action::CheckGroup(number) => format!("check group {number}"),
        Action::Remove(number) => format!("remove {number}"),
        Action::CloseListeners => "close listeners".into(),
        Action::Report(report) => format!("report {}", outcome(report.outcome)),
        Action::Finish(Finish::Stopped) => "finish".into(),
        Action::Finish(finish) => format!("finish {finish:?}").to_lowercase(),
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Switched(_) => "switched",
        Outcome::Failed(_, Failure::Spawn) => "cannot start",
        Outcome::Failed(_, Failure::Exited) => "exited",
        Outcome::Failed(_, Failure::NotReady) => "not ready",
        Outcome::Failed(_, Failure::Broke) => "broke",
        Outcome::Failed(_, Failure::Hung) => "hung",
        Outcome::Replaced => "replaced",
        Outcome::Stopping => "stopping",
    }
}

fn cell(column: Column, row: Row) -> String {
    let (mut bench, number) = column.1();
    let before = phase(&bench, number);
    let actions = row.1(&mut bench, number);
    let after = phase(&bench, number);
    let words = actions.iter().map(word).collect::<Vec<_>>().join(", ");
    match (before == after, words.is_empty()) {
        (true, true) => "–".into(),
        (true, false) => words,
        (false, true) => format!("**{after}**"),
        (false, false) => format!("**{after}**: {words}"),
    }
}

fn table(columns: &[Column]) -> String {
    let head = columns.iter().map(|column| column.0).collect::<Vec<_>>().join(" | ");
    let mut text = format!("| | {head} |\n|{}\n", " --- |".repeat(columns.len() + 1));
    for row in ROWS {
        let cells = columns.iter().map(|column| cell(*column, row)).collect::<Vec<_>>().join(" | ");
        text.push_str(&format!("| {} | {cells} |\n", row.0));
    }
    text
}

#[test]
fn the_printed_table_is_what_the_machine_does() {
    for (name, columns) in [("while serving is wanted", &WANTED[..]), ("while stopping", &STOPPING)] {
        let made = table(columns);
        assert!(PAGE.contains(&made), "docs/supervise.md does not print this table ({name}):\n\n{made}");
    }
}
