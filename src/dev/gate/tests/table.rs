//! docs/dev.md prints the table; this walks every cell of it and compares.

use super::{
    ASKED, Action, BUILT, Bench, Change, FIRST, Input, OVERLAP, PLAIN, Phase, Request, SECOND_ONE, START, UP, Why,
};

const PAGE: &str = include_str!("../../../../docs/dev.md");

/// A column: how it comes to be so.
type Column = (&'static str, fn() -> Bench);

const BUILT_UP: [Input; 3] = [START, Input::Built(FIRST, true), Input::Answered(FIRST)];

fn with(mut bench: Bench, inputs: &[Input]) -> Bench {
    for input in inputs {
        bench.on(*input);
    }
    bench
}

const COLUMNS: [Column; 10] = [
    ("building", || Bench::after(BUILT, &[START])),
    ("building, 1 is there", || with(Bench::after(BUILT, &BUILT_UP), &[START])),
    ("starting", || Bench::after(PLAIN, &[START])),
    ("starting, 1 answers", || with(Bench::after(OVERLAP, &UP), &[START])),
    ("up", || Bench::after(PLAIN, &UP)),
    ("up, with overlap", || Bench::after(OVERLAP, &UP)),
    ("failed", || Bench::after(PLAIN, &[START, Input::CannotRun(FIRST)])),
    ("stopping 1, then a start", || with(Bench::after(PLAIN, &UP), &[START])),
    ("stopping 1, then a build", || {
        with(Bench::after(BUILT, &BUILT_UP), &[START, Input::Built(SECOND_ONE, true), START])
    }),
    ("ending", || with(Bench::after(PLAIN, &UP), &[Input::Stop])),
];

type Row = (&'static str, fn(&mut Bench) -> Vec<Action>);

/// The newest generation, which most of what happens is about.
fn newest(bench: &Bench) -> super::Generation {
    bench.gate.last
}

fn built(bench: &mut Bench, well: bool) -> Vec<Action> {
    let builds = bench.gate.phase() == Phase::Building;
    if builds { bench.on(Input::Built(newest(bench), well)) } else { Vec::new() }
}

fn with_request(bench: &mut Bench, replayable: bool) -> Vec<Action> {
    let asked = bench.on(Input::Came(ASKED));
    if asked.iter().any(|action| matches!(action, Action::Forward(..))) {
        return bench.on(Input::Lost(ASKED, replayable));
    }
    bench.on(Input::Done(ASKED))
}

const ROWS: [Row; 14] = [
    ("a change", |bench| bench.on(Input::Changed(Change::Files))),
    ("built", |bench| built(bench, true)),
    ("not built", |bench| built(bench, false)),
    ("cannot run", |bench| match bench.gate.phase() {
        Phase::Building | Phase::Starting => bench.on(Input::CannotRun(newest(bench))),
        _ => Vec::new(),
    }),
    ("answers", |bench| bench.on(Input::Answered(newest(bench)))),
    ("1 exits", |bench| bench.on(Input::Exited(FIRST))),
    ("the next exits", |bench| bench.on(Input::Exited(SECOND_ONE))),
    ("1 is gone", |bench| {
        bench.on(Input::Exited(FIRST));
        bench.on(Input::Gone(FIRST))
    }),
    ("a request", |bench| bench.on(Input::Came(ASKED))),
    ("three wait, a request", |bench| {
        for number in 2..5 {
            bench.on(Input::Came(Request(number)));
        }
        bench.on(Input::Came(ASKED))
    }),
    ("a request is lost", |bench| with_request(bench, false)),
    ("the same, it may go again", |bench| with_request(bench, true)),
    ("stop", |bench| bench.on(Input::Stop)),
    ("deadline", |bench| match bench.gate.deadline() {
        Some(_) => bench.in_time(),
        None => Vec::new(),
    }),
];

fn phase(bench: &Bench) -> &'static str {
    match bench.gate.phase() {
        Phase::Building => "building",
        Phase::Starting => "starting",
        Phase::Up => "up",
        Phase::Failed => "failed",
        Phase::Stopping => "stopping",
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Build(generation) => format!("build {}", generation.0),
        Action::Start(generation) => format!("start {}", generation.0),
        Action::End(generation) => format!("end {}", generation.0),
        Action::Kill(generation) => format!("kill {}", generation.0),
        Action::GiveUp(generation) => format!("give up {}", generation.0),
        Action::Forward(_, generation) => format!("forward to {}", generation.0),
        Action::Refuse(_, why) => format!("refuse: {}", reason(*why)),
        Action::Reload(Change::Files) => "reload pages".into(),
        Action::Reload(Change::Styles) => "reload styles".into(),
        Action::Alert => "alert".into(),
        Action::Exit => "exit".into(),
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Failed => "failed",
        Why::Full => "full",
        Why::TooLong => "too long",
        Why::Lost => "lost",
        Why::Ending => "ending",
    }
}

fn cell(column: Column, row: Row) -> String {
    let mut bench = column.1();
    let (before, held) = (phase(&bench), bench.gate.held());
    let actions = row.1(&mut bench);
    let after = phase(&bench);
    let mut words: Vec<_> = actions.iter().map(word).collect();
    if bench.gate.held() > held && words.is_empty() {
        words.push("hold".into());
    }
    let words = words.join(", ");
    match (before == after, words.is_empty()) {
        (true, true) => "–".into(),
        (true, false) => words,
        (false, true) => format!("**{after}**"),
        (false, false) => format!("**{after}**: {words}"),
    }
}

#[test]
fn the_printed_table_is_what_the_machine_does() {
    let head = COLUMNS.iter().map(|column| column.0).collect::<Vec<_>>().join(" | ");
    let mut made = format!("| | {head} |\n|{}\n", " --- |".repeat(COLUMNS.len() + 1));
    for row in ROWS {
        let cells = COLUMNS.iter().map(|column| cell(*column, row)).collect::<Vec<_>>().join(" | ");
        made.push_str(&format!("| {} | {cells} |\n", row.0));
    }
    assert!(PAGE.contains(&made), "docs/dev.md does not print this table:\n\n{made}");
}
