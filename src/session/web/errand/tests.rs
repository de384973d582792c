use super::{Cut, Errand, Outcome, Stage, Task};
use crate::session::client_state::Breach;
use crate::session::credential::Nonce;
use crate::session::frame::{
    Accept, Ack, Closed, Command, Decoder, Destination, Detached, Frame, Mode, Refusal, event,
};
use crate::session::state::{Connection, Input as StateInput, Policy, Session};
use crate::session::web::handshake::tests::{accept, pair};
use crate::session::web::handshake::{Attached, Handshake, Terms, Want};
use std::time::{Duration, Instant};

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
            Frame::Append { bytes: [], .. } => panic!("nothing is appended"),
            Frame::Append { offset, bytes } => format!("{offset}:{}", String::from_utf8_lossy(bytes)),
            Frame::Fin { offset } => format!("fin {offset}"),
            Frame::Ping(number) => format!("ping {}", u64::from_be_bytes(number)),
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
    Task::Append { offset, bytes: text.as_bytes().into(), cut: Cut::Anywhere }
}

fn append_line(offset: u64, text: &'static str) -> Task {
    Task::Append { offset, bytes: text.as_bytes().into(), cut: Cut::Text }
}

fn pong(number: u64) -> Frame<'static> {
    Frame::Pong(number.to_be_bytes())
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
    assert_eq!(sent, ["10:abcd", "ping 1"]);
    let mut out = Vec::new();
    assert!(errand.hear(ack(14, 60, false), &mut out).unwrap().is_none(), "the first part");
    assert_eq!(said(&out), ["14:ef", "ping 2"]);
    assert!(errand.hear(pong(1), &mut Vec::new()).unwrap().is_none(), "that is for the first part");
    let outcome = errand.hear(ack(16, 58, false), &mut Vec::new()).unwrap();
    assert!(matches!(outcome, Some(Outcome::Appended { next: 16 })));
}

#[test]
fn repeated_bytes_go_along_to_be_compared() {
    let (mut errand, outcome, sent) = appending(append(10, "abcdef"), 13, 64);
    assert!(outcome.is_none());
    assert_eq!(sent, ["10:abc", "13:def", "ping 1"]);
    assert!(matches!(errand.hear(ack(16, 58, false), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 16 }))));
    let (mut errand, outcome, sent) = appending(append(10, "abcdef"), 99, 0);
    assert!(outcome.is_none());
    assert_eq!(sent, ["10:abcd", "14:ef", "ping 1"], "which takes no room");
    assert!(matches!(errand.hear(pong(1), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 99 }))));
    let (mut errand, outcome, sent) = appending(append(10, "abcdef"), 13, 0);
    assert!(outcome.is_none());
    assert_eq!(sent, ["10:abc", "ping 1"], "also where there is no room for more");
    assert!(matches!(errand.hear(pong(1), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 13 }))));
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
        assert!(matches!(errand.hear(ack(0, 0, false), &mut Vec::new()), Ok(Some(Outcome::Ended { next: 0, .. }))));
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
    assert_eq!(sent, ["10:ab", "ping 1"]);
    assert!(matches!(errand.hear(ack(12, 0, false), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 12 }))));
}

/// What a server with so much room, which has sent on all but so much of ten bytes, takes of a line.
fn taken(line: &'static str, window: u32, waiting: u64) -> (String, Outcome) {
    let at = |next| Ack { next, window, end: false, written: Some(10 - waiting) };
    let (mut errand, _, _) = attached(append_line(10, line), Accept { input_next: 10, ..accept() });
    let mut taken = String::new();
    loop {
        let mut out = Vec::new();
        let outcome = errand.hear(Frame::Ack(at(10 + taken.len() as u64)), &mut out).unwrap();
        for sent in said(&out) {
            taken += sent.split_once(':').map_or("", |(_, text)| text);
        }
        if let Some(outcome) = outcome {
            return (taken, outcome);
        }
    }
}

#[test]
fn a_line_is_taken_as_a_whole_or_divided_between_letters() {
    let line = "größe\r\n";
    for (window, expected) in
        [(1, "g"), (2, "gr"), (3, "gr"), (4, "grö"), (5, "grö"), (6, "größ"), (7, "größe"), (8, "größe"), (9, line)]
    {
        let (sent, outcome) = taken(line, window, 0);
        let next = 10 + expected.len() as u64;
        assert!(matches!(outcome, Outcome::Appended { next: arrived } if arrived == next), "{window}: {outcome:?}");
        assert_eq!(sent, expected, "{window}");
    }
    // There is room once the destination takes what there is, so none of it is sent now.
    for window in 0..9 {
        let (sent, outcome) = taken(line, window, 9);
        assert!(sent.is_empty() && matches!(outcome, Outcome::Full { next: 10 }), "{window}: {outcome:?}");
    }
    assert!(matches!(taken("ö", 1, 0).1, Outcome::Full { .. }), "not even one letter");
}

#[test]
fn a_line_of_several_frames_goes_in_one_go_so_that_nobody_comes_between() {
    let (mut errand, outcome, sent) = appending(append_line(10, "grüße\r\n"), 10, 64);
    assert!(outcome.is_none());
    // The frames of a stream may end within a letter.
    assert_eq!(sent.len(), 4, "{sent:?}");
    assert_eq!((sent[0].as_str(), sent[3].as_str()), ("10:grü", "ping 1"));
    let mut out = Vec::new();
    for arrived in [14, 18] {
        assert!(errand.hear(ack(arrived, 50, false), &mut out).unwrap().is_none() && out.is_empty());
    }
    assert!(matches!(errand.hear(ack(19, 50, false), &mut out), Ok(Some(Outcome::Appended { next: 19 }))));
    // What was there before goes along with it.
    let (_, _, sent) = appending(append_line(10, "abcdefghi\r\n"), 15, 64);
    assert_eq!(sent, ["10:abcd", "14:e", "15:fghi", "19:\r\n", "ping 1"]);
}

#[test]
fn an_answer_to_the_last_barrier_stands_for_all_and_an_earlier_one_for_none_behind_it() {
    let (mut errand, _, _) = appending(append(10, "abcdef"), 10, 64);
    errand.hear(ack(14, 60, false), &mut Vec::new()).unwrap();
    // That of the first is lost, or late: neither makes it wait for ever, nor end.
    assert!(errand.hear(pong(1), &mut Vec::new()).unwrap().is_none());
    assert!(errand.hear(pong(1), &mut Vec::new()).unwrap().is_none());
    assert!(errand.hear(pong(7), &mut Vec::new()).unwrap().is_none(), "nobody has asked that");
    let (mut errand, _, _) = appending(append(10, "abcdef"), 10, 64);
    errand.hear(ack(14, 60, false), &mut Vec::new()).unwrap();
    assert!(matches!(errand.hear(pong(2), &mut Vec::new()), Ok(Some(Outcome::Appended { next: 14 }))));
}

#[test]
fn who_repeats_input_that_is_lost_learns_how_much_the_destination_was_sent() {
    let eof = Accept { input_next: 10, destination: Destination::Eof, ..accept() };
    let (mut errand, _, _) = attached(append(4, "abcdef"), eof);
    let lost = Frame::Event { offset: 0, kind: event::INPUT_LOST, body: &[0; 8] };
    assert!(errand.hear(lost, &mut Vec::new()).unwrap().is_none());
    errand.hear(Frame::Destination(Destination::Reset), &mut Vec::new()).unwrap();
    let told = errand.hear(Frame::Ack(Ack { next: 10, window: 0, end: false, written: Some(7) }), &mut Vec::new());
    assert!(
        matches!(told, Ok(Some(Outcome::Ended { next: 10, written: 7, destination: Destination::Reset }))),
        "{told:?}"
    );
}

/// All that a session sends to this connection, heard by an errand: what comes of it, and what the errand says to that.
fn hears(errand: &mut Errand, (session, connection): (&mut Session, Connection)) -> (Option<Outcome>, Vec<u8>) {
    let (mut bytes, mut out, mut outcome) = (Vec::new(), Vec::new(), None);
    while session.transmit(connection, 500, &mut bytes) {}
    let mut decoder = Decoder::new();
    decoder.proved();
    decoder.feed(&bytes);
    while let Some(frame) = decoder.frame().unwrap() {
        if outcome.is_none() {
            outcome = errand.hear(frame, &mut out).unwrap();
        }
    }
    (outcome, out)
}

#[test]
fn who_is_in_the_middle_of_it_learns_what_has_become_of_the_destination() {
    let refused = StateInput::ConnectFailed(Destination::Refused);
    for (ends, expected) in [(StateInput::Reset(104), Destination::Reset), (refused, Destination::Refused)] {
        for asked_before in [true, false] {
            let (now, maker, writer) = (Instant::now(), Connection(1), Connection(2));
            let mut session = Session::new(now, Policy::default(), maker);
            let on = |session: &mut Session, input| session.on(now, input, &mut Vec::new());
            on(&mut session, StateInput::Confirmed(maker));
            if expected == Destination::Reset {
                on(&mut session, StateInput::Connected);
            }
            let accept = session.attach(now, (writer, Mode::Input), 0, &mut Vec::new()).unwrap();
            let (mut errand, _, _) = attached(append(0, "abc"), accept);
            if asked_before {
                let (outcome, said_first) = hears(&mut errand, (&mut session, writer));
                assert!(outcome.is_none() && said(&said_first) == ["0:abc", "ping 1"]);
            }
            on(&mut session, ends);
            if asked_before {
                on(&mut session, StateInput::Said(writer, &Frame::Append { offset: 0, bytes: b"abc" }));
                on(&mut session, StateInput::Said(writer, &Frame::Ping(1_u64.to_be_bytes())));
            }
            let (outcome, _) = hears(&mut errand, (&mut session, writer));
            assert!(
                matches!(outcome, Some(Outcome::Ended { next: 0, destination, .. }) if destination == expected),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn input_that_nobody_takes_is_told() {
    let (mut errand, _, _) = appending(append(10, "abc"), 10, 64);
    assert!(matches!(errand.hear(pong(1), &mut Vec::new()), Ok(Some(Outcome::Ended { next: 10, .. }))));
    let ended = Accept { input_next: 10, input_ended: true, ..accept() };
    let (mut errand, _, _) = attached(append(10, "abc"), ended);
    assert!(matches!(errand.hear(ack(10, 64, true), &mut Vec::new()), Ok(Some(Outcome::Ended { next: 10, .. }))));
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
    assert_eq!(sent, ["fin 7", "ping 1"]);
    assert!(errand.hear(ack(7, 64, false), &mut Vec::new()).unwrap().is_none());
    assert!(matches!(errand.hear(ack(7, 64, true), &mut Vec::new()), Ok(Some(Outcome::Done))));
    let (mut errand, _, _) = attached(Task::Finish, Accept { input_ended: true, ..accept() });
    assert!(matches!(errand.hear(ack(0, 64, true), &mut Vec::new()), Ok(Some(Outcome::Done))));
}

#[test]
fn a_size_is_done_when_the_server_has_it() {
    let (mut errand, outcome, out) = attached(Task::Resize { columns: 80, rows: 24 }, accept());
    assert!(outcome.is_none());
    assert_eq!(said(&out), ["80x24", "ping 1"]);
    assert!(errand.hear(ack(0, 64, false), &mut Vec::new()).unwrap().is_none());
    assert!(matches!(errand.hear(pong(1), &mut Vec::new()), Ok(Some(Outcome::Done))));
}

#[test]
fn a_command_is_done_when_the_server_has_it() {
    let (mut errand, outcome, out) = attached(Task::Command(Command::Break), accept());
    assert!(outcome.is_none());
    assert_eq!(said(&out), ["Break", "ping 1"]);
    assert!(matches!(errand.hear(pong(1), &mut Vec::new()), Ok(Some(Outcome::Done))));
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
