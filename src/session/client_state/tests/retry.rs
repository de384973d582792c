//! When a client connects again. docs/session.md prints the table; this walks every row of it and compares.

use super::*;
use crate::session::client_state::{PATIENCE, Silent};
use crate::session::frame::{Ack, Closed, Detached, Refusal};

const PAGE: &str = include_str!("../../../../docs/session.md");

/// What a row is about, and how it comes to be.
type Row = (&'static str, fn() -> Bench);

fn refused(refusal: Refusal) -> Bench {
    let mut bench = Bench::resuming(Progress::default());
    bench.connect();
    assert_eq!(bench.said(Frame::Reject(refusal)), Ok(Some(Event::Refused(refusal))));
    bench
}

fn told(frame: Frame<'_>) -> Bench {
    let mut bench = Bench::attached(0);
    bench.said(frame).unwrap();
    bench
}

fn broke(frame: Frame<'_>) -> Bench {
    let mut bench = Bench::attached(0);
    bench.said(frame).unwrap_err();
    bench
}

const ROWS: [Row; 21] = [
    ("the connection ends", || Bench::attached(0)),
    ("the server is silent", || {
        let mut bench = Bench::attached(0);
        while bench.client.tick(bench.now).is_ok() {
            bench.now = bench.client.deadline().unwrap();
        }
        bench
    }),
    ("the server breaks the protocol", || broke(Frame::Close)),
    ("the server's streams do not fit", || broke(Frame::Fin { offset: 1 })),
    ("the server does not prove itself", || {
        let mut bench = Bench::resuming(Progress::default());
        bench.connect();
        bench.said(Frame::Accept(accept())).unwrap_err();
        bench
    }),
    ("GOAWAY, then the connection ends", || told(Frame::GoAway { grace: 3 })),
    ("DETACHED: taken over", || told(Frame::Detached(Detached::TakenOver))),
    ("DETACHED: by the administrator", || told(Frame::Detached(Detached::ByAdministrator))),
    ("DETACHED: it broke the protocol", || told(Frame::Detached(Detached::Broke))),
    ("DETACHED: it was silent", || told(Frame::Detached(Detached::Silent))),
    ("CLOSED", || told(Frame::Closed(Closed::Expired))),
    ("REJECT: no common version", || refused(Refusal::Version { least: 2, most: 3 })),
    ("REJECT: denied", || refused(Refusal::Denied)),
    ("REJECT: denied, after it wanted an end", || {
        let mut bench = Bench::resuming(Progress::default());
        bench.client.close();
        bench.connect();
        bench.said(Frame::Reject(Refusal::Denied)).unwrap();
        bench
    }),
    ("REJECT: gone", || refused(Refusal::Gone)),
    ("REJECT: no room", || refused(Refusal::Busy { retry_after: 30 })),
    ("REJECT: in use", || refused(Refusal::InUse { idle: 1 })),
    ("REJECT: out of range", || refused(Refusal::OutOfRange { base: 1, next: 2 })),
    ("REJECT: the server stops", || refused(Refusal::Stopping { retry_after: 30 })),
    ("REJECT: malformed", || refused(Refusal::Malformed)),
    ("REJECT: too slow", || refused(Refusal::TooSlow)),
];

fn when(mut bench: Bench) -> &'static str {
    bench.client.lost(bench.now);
    match bench.client.next() {
        Next::At(at) if at == bench.now => "at once",
        Next::At(at) if at == bench.now + 30 * SECOND => "when it says",
        Next::At(at) => panic!("in {:?}", at - bench.now),
        Next::Asked => "when asked",
        Next::Never => "never",
        Next::Connected => "connected",
    }
}

#[test]
fn the_printed_table_is_what_a_client_does() {
    let mut table = "| what happens | it connects again |\n| --- | --- |\n".to_owned();
    for (name, bench) in ROWS {
        table.push_str(&format!("| {name} | {} |\n", when(bench())));
    }
    assert!(PAGE.contains(&table), "docs/session.md does not print this table:\n\n{table}");
}

#[test]
fn a_client_that_was_taken_over_comes_back_only_when_it_is_asked_to() {
    let mut bench = told(Frame::Detached(Detached::TakenOver));
    bench.client.lost(bench.now);
    bench.client.unreachable(bench.now);
    bench.pass(1000 * SECOND);
    assert_eq!(bench.client.tick(bench.now), Ok(()));
    assert_eq!((bench.client.next(), bench.client.deadline()), (Next::Asked, None));
    assert_eq!(bench.said(Frame::Data { offset: 0, bytes: b"x" }), Ok(None), "nothing more is heard");
    bench.client.ask(bench.now);
    assert_eq!(bench.client.next(), Next::At(bench.now));
    let mut over = told(Frame::Closed(Closed::Complete));
    over.client.ask(over.now);
    assert_eq!(over.client.next(), Next::Never);
}

#[test]
fn failures_make_it_wait_longer_and_a_good_connection_makes_that_forgotten() {
    let mut bench = Bench::resuming(Progress::default());
    let mut waits = Vec::new();
    for _ in 0..10 {
        bench.client.unreachable(bench.now);
        let Next::At(at) = bench.client.next() else {
            panic!("it gave up");
        };
        waits.push((at - bench.now).as_millis());
        bench.now = at;
    }
    assert_eq!(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    // One that is cut at once is no good one.
    bench.attach(accept());
    bench.client.lost(bench.now);
    assert_eq!(bench.client.next(), Next::At(bench.now + 15 * SECOND));
    bench.attach(Accept { epoch: 2, ..accept() });
    bench.pass(5 * SECOND);
    bench.client.lost(bench.now);
    assert_eq!(bench.client.next(), Next::At(bench.now));
    // Nobody waits for ever because a server says so.
    bench.connect();
    bench.said(Frame::Reject(Refusal::Busy { retry_after: u32::MAX })).unwrap();
    assert_eq!(bench.client.next(), Next::At(bench.now + 3600 * SECOND));
    bench.client.ask(bench.now);
    // Nor is it forgotten what the server wants.
    bench.connect();
    bench.said(Frame::Reject(Refusal::Busy { retry_after: 7 })).unwrap();
    bench.client.lost(bench.now);
    assert_eq!(bench.client.next(), Next::At(bench.now + 7 * SECOND));
    bench.client.ask(bench.now);
    assert_eq!(bench.client.next(), Next::At(bench.now));
    bench.client.unreachable(bench.now);
    assert_eq!(bench.client.next(), Next::At(bench.now), "whoever asks has patience for the first failures");
}

#[test]
fn a_silent_server_is_asked_twice_and_then_left() {
    let mut bench = Bench::attached(0);
    let begin = bench.now;
    for _ in 0..2 {
        bench.now = bench.client.deadline().unwrap();
        bench.client.tick(bench.now).unwrap();
        assert_eq!(bench.sent().len(), 1);
    }
    assert_eq!(bench.now, begin + 30 * SECOND);
    bench.said(Frame::Pong([0; 8])).unwrap();
    for _ in 0..2 {
        bench.now = bench.client.deadline().unwrap();
        assert_eq!(bench.client.tick(bench.now), Ok(()));
    }
    bench.now = bench.client.deadline().unwrap();
    assert_eq!(bench.now, begin + 75 * SECOND);
    assert_eq!(bench.client.tick(bench.now), Err(Silent));
    assert!(!bench.client.is_attached());
    // After a long sleep it asks first.
    let mut bench = Bench::attached(0);
    bench.pass(1000 * SECOND);
    assert_eq!(bench.client.tick(bench.now), Ok(()));
    assert_eq!(bench.client.deadline(), Some(bench.now + 15 * SECOND));
}

#[test]
fn a_ping_is_answered() {
    let mut bench = Bench::attached(0);
    bench.said(Frame::Ping(*b"whatever")).unwrap();
    assert_eq!(bench.sent(), [format!("{:?}", Frame::Pong(*b"whatever"))]);
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let mut bench = Bench::resuming(Progress::default());
    bench.client.connected(bench.now, CLIENT);
    bench.pass(PATIENCE / 2);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.client.tick(bench.now), Ok(()));
    bench.pass(PATIENCE / 2);
    assert_eq!(bench.client.tick(bench.now), Err(Silent), "one time for all of it");
}

#[test]
fn a_session_that_nobody_wants_any_more_is_not_made_again() {
    let mut bench = Bench::new(Settings::default());
    bench.connect();
    bench.said(Frame::Accept(proved(Accept { secret: Some(secret()), ..accept() }))).unwrap();
    bench.client.kept();
    bench.client.close();
    bench.client.lost(bench.now);
    bench.connect();
    bench.said(Frame::Reject(Refusal::Denied)).unwrap();
    assert_eq!(bench.client.next(), Next::Never);
}

#[test]
fn a_session_that_is_complete_is_not_asked_for_again() {
    let mut bench = Bench::attached(0);
    bench.said(Frame::Fin { offset: 0 }).unwrap();
    bench.client.end_done();
    bench.client.finish();
    bench.said(Frame::Ack(Ack { next: 0, window: 0, end: true, written: None })).unwrap();
    bench.client.lost(bench.now);
    bench.connect();
    bench.said(Frame::Reject(Refusal::Denied)).unwrap();
    assert_eq!(bench.client.next(), Next::Never);
}

#[test]
fn a_close_is_said_until_it_is_so() {
    let mut bench = Bench::attached(0);
    bench.client.close();
    assert_eq!(bench.sent(), ["Close"]);
    bench.client.lost(bench.now);
    bench.attach(Accept { epoch: 2, ..accept() });
    assert_eq!(bench.sent(), ["Close"]);
    assert_eq!(bench.said(Frame::Closed(Closed::ByClient)), Ok(Some(Event::Closed(Closed::ByClient))));
    assert_eq!(bench.client.next(), Next::Never);
}
