use super::{BARRIER, Errand, Outcome, Stage, Task};
use crate::session::client_state::Breach;
use crate::session::credential::Nonce;
use crate::session::frame::{Accept, Ack, Closed, Command, Decoder, Destination, Detached, Frame, Mode, Refusal};
use crate::session::web::handshake::tests::{accept, pair};
use crate::session::web::handshake::{Attached, Handshake, Terms, Want};
use std::time::Duration;

/// One that is let in, with what it said so far thrown away.
fn attached(task: Task, accept: Accept) -> (Errand, Option<Outcome>, Vec<u8>) {
    let want = Want::Resume { pair: pair(), mode: Mode::Input, next: 0 };
    let mut errand = Errand::new(task, Handshake::new(want, Nonce([1; 32])), &mut Vec::new());
    let terms = Terms { longest: 4, window: 64, heartbeat: Duration::from_secs(15) };
    let mut out = Vec::new();
    let outcome = errand.attached(Attached { accept, terms, new: None }, &mut out);
    (errand, outcome, out)
}

fn ack(next: u64, window: u32, end: bool) -> Frame<'static> {
    Frame::Ack(Ack { next, window, end, written: None })
}

/// The frames in words.
fn said(bytes: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::new();
    decoder.proved();
    decoder.feed(bytes);
    let mut all = Vec::new();
    while let Some(frame) = decoder.frame().unwrap() {
        all.push(match frame {
            Frame::Append { offset, bytes } => format!("{offset}:{}", String::from_utf8_lossy(bytes)),
            Frame::Fin { offset } => format!("fin {offset}"),
            Frame::Ping(BARRIER) => "ping".into(),
            Frame::Pong(_) => "pong".into(),
            Frame::Resize { columns, rows } => format!("{columns}x{rows}"),
            Frame::Command(command) => format!("{command:?}"),
            Frame::Close => "close".into(),
            other => panic!("{other:?}"),
        });
    }
    all
}

fn append(offset: u64, text: &'static str) -> Task {
    Task::Append { offset, bytes: text.as_bytes().into() }
}

/// What comes of input at an offset, when the server says that it is at `next` with this window.
fn appending(task: Task, next: u64, window: u32) -> (Errand, Option<Outcome>, Vec<String>) {
    let (mut errand, outcome, out) = attached(task, Accept { input_next: next, ..accept() });
    assert!(outcome.is_none() && out.is_empty(), "nothing is sent before the server says how much it takes");
    let mut out = Vec::new();
    let outcome = errand.hear(ack(next, window, false), &mut out).unwrap();
    (errand, outcome, said(&out))
}

#[test]
fn input_is_sent_in_frames_that_the_server_takes_and_told_once_it_arrived() {
    let (mut errand, outcome, sent) = appending(append(10, "abcdef"), 10, 64);
    assert!(outcome.is_none());
    assert_eq!(sent, ["10:abcd", "ping"]);
    let mut out = Vec::new();
    assert!(errand.hear(ack(14, 60, false), &mut out).unwrap().is_none(), "the first part");
    assert_eq!(said(&out), ["14:ef", "ping"]);
    assert!(errand.hear(Frame::Pong(BARRIER), &mut Vec::new()).unwrap().is_none(), "that is for the first part");
    let outcome = errand.hear(ack(16, 58, false), &mut Vec::new()).unwrap();
    assert!(matches!(outcome, Some(Outcome::Appended { next: 16 })));
}

#[test]
fn repeated_bytes_go_along_to_be_compared() {
    let (mut errand, outcome, sent) = appending(append(10, "abcdef"), 13, 64);
    assert!(outcome.is_none());
    assert_eq!(sent, ["10:abc", "13:def", "ping"]);
    assert!(matches!(errand.hear(ack(16, 58, false), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 16 }))));
    let (mut errand, outcome, sent) = appending(append(10, "abcdef"), 99, 0);
    assert!(outcome.is_none());
    assert_eq!(sent, ["10:abcd", "14:ef", "ping"], "which takes no room");
    assert!(matches!(errand.hear(Frame::Pong(BARRIER), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 99 }))));
    let (mut errand, _, _) = appending(append(10, "abcdef"), 13, 64);
    let conflict = errand.hear(Frame::Detached(Detached::Conflict), &mut Vec::new());
    assert!(matches!(conflict, Ok(Some(Outcome::Conflict { next: 13 }))));
}

#[test]
fn what_others_send_behind_it_is_not_counted_along() {
    let (mut errand, _, _) = appending(append(10, "abc"), 10, 64);
    errand.hear(Frame::Input { next: 20, writers: 20 }, &mut Vec::new()).unwrap();
    assert!(matches!(errand.hear(ack(13, 54, false), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 13 }))));
}

#[test]
fn who_is_overtaken_in_the_middle_has_the_first_part_taken() {
    let (mut errand, _, _) = appending(append(10, "abcdef"), 10, 64);
    errand.hear(ack(14, 60, false), &mut Vec::new()).unwrap();
    let conflict = errand.hear(Frame::Detached(Detached::Conflict), &mut Vec::new());
    assert!(matches!(conflict, Ok(Some(Outcome::Appended { next: 14 }))));
}

#[test]
fn input_for_a_destination_that_is_gone_is_refused_whatever_room_there_is() {
    for destination in [Destination::Reset, Destination::Refused] {
        let (mut errand, _, _) = attached(append(0, "abc"), Accept { destination, ..accept() });
        assert!(matches!(errand.hear(ack(0, 0, false), &mut Vec::new()), Ok(Some(Outcome::Ended { next: 0 }))));
    }
}

#[test]
fn a_gap_and_a_full_queue_send_nothing() {
    let (_, outcome, sent) = appending(append(10, "abc"), 9, 64);
    assert!(matches!(outcome, Some(Outcome::Gap { next: 9 })) && sent.is_empty());
    let (_, outcome, sent) = appending(append(10, "abc"), 10, 0);
    assert!(matches!(outcome, Some(Outcome::Full { next: 10 })) && sent.is_empty());
}

#[test]
fn what_fits_is_taken() {
    let (mut errand, _, sent) = appending(append(10, "abcdef"), 10, 2);
    assert_eq!(sent, ["10:ab", "ping"]);
    assert!(matches!(errand.hear(ack(12, 0, false), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 12 }))));
}

#[test]
fn input_that_nobody_takes_is_told() {
    let (mut errand, _, _) = appending(append(10, "abc"), 10, 64);
    assert!(matches!(errand.hear(Frame::Pong(BARRIER), &mut Vec::new()), Ok(Some(Outcome::Ended { next: 10 }))));
    let ended = Accept { input_next: 10, input_ended: true, ..accept() };
    let (mut errand, _, _) = attached(append(10, "abc"), ended);
    assert!(matches!(errand.hear(ack(10, 64, true), &mut Vec::new()), Ok(Some(Outcome::Ended { next: 10 }))));
}

#[test]
fn who_is_overtaken_may_try_again() {
    for task in [append(10, "abc"), Task::Finish] {
        let (mut errand, _, _) = appending(task, 10, 64);
        let outcome = errand.hear(Frame::Detached(Detached::Broke), &mut Vec::new()).unwrap();
        assert!(matches!(outcome, Some(Outcome::Overtaken)));
    }
    let (mut errand, _, _) = attached(Task::Resize { columns: 1, rows: 1 }, accept());
    let outcome = errand.hear(Frame::Detached(Detached::Broke), &mut Vec::new()).unwrap();
    assert!(matches!(outcome, Some(Outcome::Dismissed)));
}

#[test]
fn the_input_is_ended_where_it_is_and_once() {
    let (mut errand, outcome, sent) = appending(Task::Finish, 7, 64);
    assert!(outcome.is_none());
    assert_eq!(sent, ["fin 7", "ping"]);
    assert!(errand.hear(ack(7, 64, false), &mut Vec::new()).unwrap().is_none());
    assert!(matches!(errand.hear(ack(7, 64, true), &mut Vec::new()), Ok(Some(Outcome::Done))));
    let (mut errand, _, _) = attached(Task::Finish, Accept { input_ended: true, ..accept() });
    assert!(matches!(errand.hear(ack(0, 64, true), &mut Vec::new()), Ok(Some(Outcome::Done))));
}

#[test]
fn a_size_is_done_when_the_server_has_it() {
    let (mut errand, outcome, out) = attached(Task::Resize { columns: 80, rows: 24 }, accept());
    assert!(outcome.is_none());
    assert_eq!(said(&out), ["80x24", "ping"]);
    assert!(errand.hear(ack(0, 64, false), &mut Vec::new()).unwrap().is_none());
    assert!(matches!(errand.hear(Frame::Pong(BARRIER), &mut Vec::new()), Ok(Some(Outcome::Done))));
}

#[test]
fn a_command_is_done_when_the_server_has_it() {
    let (mut errand, outcome, out) = attached(Task::Command(Command::Break), accept());
    assert!(outcome.is_none());
    assert_eq!(said(&out), ["Break", "ping"]);
    assert!(matches!(errand.hear(Frame::Pong(BARRIER), &mut Vec::new()), Ok(Some(Outcome::Done))));
}

#[test]
fn a_session_is_ended_whether_or_not_that_is_confirmed() {
    let (mut errand, _, out) = attached(Task::Close, accept());
    assert_eq!(said(&out), ["close"]);
    assert!(matches!(errand.lost(), Some(Outcome::Done)));
    assert!(matches!(errand.hear(Frame::Closed(Closed::ByClient), &mut Vec::new()), Ok(Some(Outcome::Done))));
    let (mut errand, _, _) = attached(Task::Finish, accept());
    assert!(errand.lost().is_none());
    assert!(matches!(errand.hear(Frame::Closed(Closed::Expired), &mut Vec::new()), Ok(Some(Outcome::Closed))));
}

#[test]
fn a_look_needs_no_more_than_the_door() {
    let (_, outcome, out) = attached(Task::Look, Accept { output_base: 3, ..accept() });
    assert!(matches!(outcome, Some(Outcome::Looks(accept)) if accept.output_base == 3));
    assert!(out.is_empty());
}

#[test]
fn refusals_heartbeats_and_nonsense_are_told_apart() {
    let want = Want::Resume { pair: pair(), mode: Mode::Input, next: 0 };
    let mut errand = Errand::new(Task::Look, Handshake::new(want, Nonce([1; 32])), &mut Vec::new());
    assert!(!errand.is_proved() && matches!(errand.stage, Stage::Coming(_)));
    let refused = errand.hear(Frame::Reject(Refusal::Denied), &mut Vec::new()).unwrap();
    assert!(matches!(refused, Some(Outcome::Refused(Refusal::Denied))));
    let (mut errand, _, _) = attached(Task::Finish, accept());
    let mut out = Vec::new();
    assert!(errand.hear(Frame::Ping([1; 8]), &mut out).unwrap().is_none());
    assert_eq!(said(&out), ["pong"]);
    assert!(errand.hear(Frame::GoAway { grace: 1 }, &mut out).unwrap().is_none());
    assert!(matches!(errand.hear(Frame::Accept(accept()), &mut out), Err(Breach::Order)));
}
