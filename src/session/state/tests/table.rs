//! docs/session.md prints the table; this walks every cell of it and compares.

use super::{Bench, ONE, SECOND, TWO, ack, ack_end};
use crate::session::frame::{Closed, Command, Destination, Detached, Frame, Mode};
use crate::session::state::{Action, Farewell, Input, Phase};

const PAGE: &str = include_str!("../../../../docs/session.md");

/// A column: how a session comes to be so. Connection 1 is its client, where it has one.
type Column = (&'static str, fn() -> Bench);

fn with(mut bench: Bench, inputs: &[Input<'_>]) -> Bench {
    for input in inputs {
        bench.on(*input);
    }
    bench.sent(ONE);
    bench
}

const COLUMNS: [Column; 9] = [
    ("provisional", || with(Bench::provisional(), &[])),
    ("attached, connecting", || with(Bench::connecting(), &[])),
    ("attached", Bench::attached),
    ("attached, full", || {
        let mut bench = Bench::attached();
        bench.output(1000);
        bench.sent(ONE);
        bench
    }),
    ("detached", || with(Bench::attached(), &[Input::Left(ONE)])),
    ("ended", || with(Bench::attached(), &[Input::Eof])),
    ("ended, alone", || with(Bench::attached(), &[Input::Eof, Input::Left(ONE)])),
    ("failed, alone", || with(Bench::connecting(), &[Input::ConnectFailed(Destination::Refused), Input::Left(ONE)])),
    ("gone", || with(Bench::attached(), &[Input::Close])),
];

type Row = (&'static str, fn(&mut Bench) -> Vec<Action>);

fn comes(bench: &mut Bench, mode: Mode) -> Vec<Action> {
    let base = bench.session.bytes_out().1;
    let (answer, actions) = bench.attach(TWO, mode, base);
    if answer.is_err() { Vec::new() } else { actions }
}

const ROWS: [Row; 25] = [
    ("CONFIRM", |bench| bench.on(Input::Confirmed(ONE))),
    ("steal", |bench| comes(bench, Mode::Steal)),
    ("refuse", |bench| comes(bench, Mode::Refuse)),
    ("observe", |bench| comes(bench, Mode::Observe)),
    ("input", |bench| comes(bench, Mode::Input)),
    ("DATA", |bench| bench.says(ONE, Frame::Data { offset: 0, bytes: b"ok" })),
    ("ACK of all", |bench| bench.says(ONE, ack(bench.session.bytes_out().0, 600))),
    ("ACK of the end", |bench| bench.says(ONE, ack_end(bench.session.bytes_out().0))),
    ("FIN", |bench| bench.says(ONE, Frame::Fin { offset: 0 })),
    ("RESET", |bench| bench.says(ONE, Frame::Reset { offset: 0, errno: 0 })),
    ("RESIZE", |bench| bench.says(ONE, Frame::Resize { columns: 80, rows: 24 })),
    ("COMMAND", |bench| bench.says(ONE, Frame::Command(Command::Break))),
    ("PING", |bench| bench.says(ONE, Frame::Ping([0; 8]))),
    ("CLOSE", |bench| bench.says(ONE, Frame::Close)),
    ("no frame", |bench| bench.on(Input::Broke(ONE))),
    ("client leaves", |bench| bench.on(Input::Left(ONE))),
    ("connected", |bench| bench.on(Input::Connected)),
    ("cannot connect", |bench| bench.on(Input::ConnectFailed(Destination::Refused))),
    ("output", |bench| bench.output(10)),
    ("end of output", |bench| bench.on(Input::Eof)),
    ("broken", |bench| bench.on(Input::Reset(104))),
    ("takes no input", |bench| bench.on(Input::WriteFailed)),
    ("detach", |bench| bench.on(Input::Detach)),
    ("close", |bench| bench.on(Input::Close)),
    ("deadline", |bench| match bench.session.deadline() {
        Some(at) => bench.later(at - bench.now),
        None => bench.later(SECOND),
    }),
];

fn phase(bench: &Bench) -> &'static str {
    match bench.session.phase() {
        Phase::Provisional => "provisional",
        Phase::Attached => "attached",
        Phase::Detached => "detached",
        Phase::Ended => "ended",
        Phase::Failed => "failed",
        Phase::Gone => "gone",
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Connect => "connect".into(),
        Action::StopReading => "stop reading".into(),
        Action::ReadOn => "read on".into(),
        Action::Write => "write".into(),
        Action::Shutdown => "shut down".into(),
        Action::Break => "break off".into(),
        Action::Release => "release".into(),
        Action::Send(connection) => format!("send to {}", connection.0),
        Action::Dismiss(connection, farewell) => format!("dismiss {}: {}", connection.0, last_words(*farewell)),
        Action::Resize { .. } => "pass size on".into(),
        Action::Command(_) => "pass on".into(),
        Action::End(reason) => format!("end: {}", closed(*reason)),
    }
}

fn last_words(farewell: Farewell) -> &'static str {
    match farewell {
        Farewell::Closed(reason) => closed(reason),
        Farewell::Detached(Detached::TakenOver) => "taken over",
        Farewell::Detached(Detached::ByAdministrator) => "by the administrator",
        Farewell::Detached(Detached::Broke) => "broke the protocol",
        Farewell::Detached(Detached::Silent) => "silent",
        Farewell::Detached(Detached::Conflict) => "conflict",
        Farewell::Detached(Detached::Other(_)) => "other",
    }
}

fn closed(reason: Closed) -> &'static str {
    match reason {
        Closed::ByClient => "by the client",
        Closed::Complete => "complete",
        Closed::Expired => "expired",
        Closed::ByAdministrator => "by the administrator",
        Closed::Stopped => "stopped",
        Closed::Other(_) => "other",
    }
}

fn cell(column: Column, row: Row) -> String {
    let mut bench = column.1();
    let before = phase(&bench);
    let actions = row.1(&mut bench);
    let after = phase(&bench);
    let words = actions.iter().map(word).collect::<Vec<_>>().join(", ");
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
    assert!(PAGE.contains(&made), "docs/session.md does not print this table:\n\n{made}");
}
