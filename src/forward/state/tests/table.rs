//! docs/forward.md prints the table; this walks every cell of it and compares.

use super::{A, B, Bench, C, GUARD, PLAIN, PROBE, RULE, SECOND, TENTH};
use crate::forward::state::{Action, Answer, Change, Course, Input, Phase, Stop};

const PAGE: &str = include_str!("../../../../docs/forward.md");

type Column = (&'static str, fn() -> Bench);
type Row = (&'static str, fn(&mut Bench) -> Vec<Action>);

fn with(mut bench: Bench, then: impl FnOnce(&mut Bench) -> Vec<Action>) -> Bench {
    then(&mut bench);
    bench
}

fn switched() -> Bench {
    with(Bench::serving(), |bench| bench.switch(B, PLAIN))
}

fn draining() -> Bench {
    with(switched(), |bench| bench.stop_rule(Stop::Drain(Some(SECOND))))
}

const COLUMNS: [Column; 7] = [
    ("A", Bench::serving),
    ("B, A in use", switched),
    ("A, B 10 %", || with(Bench::serving(), |bench| bench.switch(B, TENTH))),
    ("A, B probed", || with(Bench::serving(), |bench| bench.switch(B, PROBE))),
    ("B guarded, A in use", || with(Bench::serving(), |bench| bench.switch(B, GUARD))),
    ("draining", draining),
    ("cut", || with(draining(), Bench::deadline)),
];

const ROWS: [Row; 20] = [
    ("switch to A", |bench| bench.switch(A, PLAIN)),
    ("switch to B", |bench| bench.switch(B, PLAIN)),
    ("switch to B, 10 %", |bench| bench.switch(B, TENTH)),
    ("switch to B, probe", |bench| bench.switch(B, PROBE)),
    ("switch to B, guard", |bench| bench.switch(B, GUARD)),
    ("switch to C", |bench| bench.switch(C, PLAIN)),
    ("switch to C, 10 %", |bench| bench.switch(C, TENTH)),
    ("probe of B passed", |bench| bench.on(Input::Probed { to: B, ok: true })),
    ("probe of B failed", |bench| bench.on(Input::Probed { to: B, ok: false })),
    ("no connection to B", |bench| bench.on(Input::ConnectFailed(B))),
    ("no connection to A", |bench| bench.on(Input::ConnectFailed(A))),
    ("nothing on A", |bench| bench.on(Input::Drained(A))),
    ("wait", Bench::wait),
    ("pause", |bench| bench.on(Input::Pause(RULE))),
    ("resume", |bench| bench.on(Input::Resume(RULE))),
    ("stop SRC", |bench| bench.stop_rule(Stop::Cut)),
    ("stop SRC, drain", |bench| bench.stop_rule(Stop::Drain(None))),
    ("stop", |bench| bench.on(Input::Stop { stop: Stop::Cut, request: None })),
    ("stop, drain", |bench| bench.on(Input::Stop { stop: Stop::Drain(Some(SECOND)), request: None })),
    ("deadline", Bench::deadline),
];

fn name(id: crate::forward::state::DestinationId) -> &'static str {
    ["?", "A", "B", "C"][usize::try_from(id.0).unwrap()]
}

fn course(course: Course) -> String {
    let share = course.share.map_or(String::new(), |share| format!(", {} {} %", name(share.to), share.percent));
    format!("{}{share}", name(course.active))
}

/// The state in the words of the columns, finer where they say less.
fn state(bench: &Bench) -> String {
    let Some(rule) = bench.machine.rule(RULE) else {
        return "gone".into();
    };
    let used = rule.former.iter().filter(|former| former.busy).map(|former| name(former.id)).collect::<Vec<_>>();
    let used = if used.is_empty() { String::new() } else { format!(", {} in use", used.join(" and ")) };
    match &rule.phase {
        Phase::Serving { course: now, change, paused } => {
            let change = match change {
                None => String::new(),
                Some(Change::Probing { to, .. }) => format!(", {} probed", name(*to)),
                Some(Change::Guarded { .. }) => " guarded".into(),
            };
            let paused = if *paused { ", paused" } else { "" };
            format!("{}{change}{used}{paused}", course(*now))
        }
        Phase::Draining { cut: crate::forward::state::rule::Cut::No, .. } => "draining".into(),
        Phase::Draining { .. } => "cut".into(),
    }
}

fn word(action: &Action) -> Option<String> {
    Some(match action {
        Action::Route(_, to) => format!("route {}", course(*to)),
        Action::Watch(id) => format!("watch {}", name(*id)),
        Action::Unwatch(id) => format!("unwatch {}", name(*id)),
        Action::Probe(_, id) => format!("probe {}", name(*id)),
        Action::EndProbe(id) => format!("end probe {}", name(*id)),
        Action::Forget(id) => format!("forget {}", name(*id)),
        Action::Pause(_) => "pause".into(),
        Action::Resume(_) => "resume".into(),
        Action::Close(_) => "close".into(),
        Action::Cut(_) => "cut".into(),
        Action::ForgetRule(_) => "forget rule".into(),
        Action::Save => "save".into(),
        Action::Answer(_, answer) => format!("answer {}", said(*answer)),
        Action::Finish => "finish".into(),
    })
}

fn said(answer: Answer) -> &'static str {
    match answer {
        Answer::Switched => "switched",
        Answer::ProbeFailed => "probe failed",
        Answer::RolledBack => "rolled back",
        Answer::Replaced => "replaced",
        Answer::Ending => "ending",
        Answer::Drained => "drained",
        Answer::Cut => "cut",
        Answer::Stopped { late: false } => "stopped",
        Answer::Stopped { late: true } => "stopped late",
    }
}

fn cell(column: Column, row: Row) -> String {
    let mut bench = column.1();
    let before = state(&bench);
    let words = row.1(&mut bench).iter().filter_map(word).collect::<Vec<_>>().join(", ");
    let after = state(&bench);
    match (before == after, words.is_empty()) {
        (true, true) => "–".into(),
        (true, false) => words,
        (false, true) => format!("**{after}**"),
        (false, false) => format!("**{after}**: {words}"),
    }
}

fn table() -> String {
    let head = COLUMNS.iter().map(|column| column.0).collect::<Vec<_>>().join(" | ");
    let mut text = format!("| | {head} |\n|{}\n", " --- |".repeat(COLUMNS.len() + 1));
    for row in ROWS {
        let cells = COLUMNS.iter().map(|column| cell(*column, row)).collect::<Vec<_>>().join(" | ");
        text.push_str(&format!("| {} | {cells} |\n", row.0));
    }
    text
}

#[test]
fn the_printed_table_is_what_the_machine_does() {
    for column in COLUMNS {
        assert_eq!(state(&column.1()), column.0, "a column is called what it is");
    }
    let made = table();
    assert!(PAGE.contains(&made), "docs/forward.md does not print this table:\n\n{made}");
}
