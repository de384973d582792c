//! The rules of docs/session.md and docs/protocol.md one by one.

use super::observers::arrived;
use super::{Bench, ONE, SECOND, TWO, ack, ack_end, dismissed, policy};
use crate::session::frame::{Closed, Destination, Detached, Frame, Mode, OLDEST, Refusal, event};
use crate::session::state::{Action, Allowance, Connection, Farewell, Input, MOST_OBSERVERS, MOST_WRITERS, Phase};
use std::time::Duration;

pub(super) const BROKE: Farewell = Farewell::Detached(Detached::Broke);

fn data(offset: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::Data { offset, bytes }
}

#[test]
fn a_session_that_nobody_knows_of_is_gone_in_10_s() {
    for leaves in [true, false] {
        let mut bench = Bench::provisional();
        if leaves {
            bench.on(Input::Left(ONE));
        }
        assert_eq!(bench.session.deadline(), Some(bench.now + 10 * SECOND));
        let actions = bench.later(10 * SECOND);
        assert!(actions.ends_with(&[Action::End(Closed::Expired)]) && !actions.contains(&Action::Connect));
        assert_eq!(bench.session.phase(), Phase::Gone);
    }
    // Whoever resumes knows of it.
    let mut bench = Bench::provisional();
    bench.on(Input::Left(ONE));
    let (answer, actions) = bench.attach(TWO, Mode::Steal, 0);
    assert_eq!((answer.unwrap().epoch, actions), (2, vec![Action::Connect, Action::Send(TWO)]));
}

#[test]
fn before_it_has_confirmed_a_creator_sends_no_input() {
    let mut bench = Bench::provisional();
    assert_eq!(bench.says(ONE, data(0, b"x")), [dismissed(ONE, BROKE)]);
}

#[test]
fn steal_fences_off_whoever_is_attached_and_refuse_does_not() {
    let mut bench = Bench::attached();
    bench.now += 7 * SECOND;
    assert_eq!(bench.attach(TWO, Mode::Refuse, 0).0, Err(Refusal::InUse { idle: 7 }));
    bench.says(ONE, data(0, b"abc"));
    let (answer, actions) = bench.attach(TWO, Mode::Steal, 0);
    let taken_over = dismissed(ONE, Farewell::Detached(Detached::TakenOver));
    assert_eq!(actions, [taken_over, Action::Send(TWO)]);
    let accept = answer.unwrap();
    assert_eq!((accept.epoch, accept.input_next), (2, 3));
    assert_eq!(bench.says(ONE, data(3, b"def")), [], "a late word");
    assert_eq!(bench.session.bytes_in().0, 3);
    bench.on(Input::Left(TWO));
    assert_eq!(bench.attach(Connection(3), Mode::Refuse, 0).0.unwrap().epoch, 3);
}

#[test]
fn observers_and_writers_displace_nobody_and_are_few() {
    let mut bench = Bench::attached();
    bench.output(50);
    for number in 0..MOST_OBSERVERS as u64 {
        let (answer, actions) = bench.attach(Connection(10 + number), Mode::Observe, 0);
        assert_eq!((answer.unwrap().epoch, actions.len()), (1, 1));
    }
    assert_eq!(bench.attach(Connection(30), Mode::Observe, 0).0, Err(Refusal::Busy { retry_after: 1 }));
    for number in 0..MOST_WRITERS as u64 {
        let (answer, actions) = bench.attach(Connection(40 + number), Mode::Input, 12_345);
        assert_eq!((answer.unwrap().epoch, actions.len()), (1, 1));
    }
    assert_eq!(bench.attach(Connection(60), Mode::Input, 0).0, Err(Refusal::Busy { retry_after: 1 }));
    assert_eq!((bench.session.client(), bench.session.phase()), (Some(ONE), Phase::Attached));
    assert_eq!(bench.sent(Connection(10)), [arrived(0, 0), "DATA 0+50".into()]);
    assert_eq!(bench.sent(Connection(40)), ["ACK 0+200 0"]);
    assert_eq!(bench.says(Connection(10), data(0, b"x")), [dismissed(Connection(10), BROKE)]);
    assert_eq!(bench.says(Connection(11), Frame::Close), [dismissed(Connection(11), BROKE)]);
    assert_eq!(bench.says(Connection(40), data(0, b"abc")), [Action::Write, Action::Send(Connection(40))]);
    assert_eq!(bench.sent(Connection(40)), ["ACK 3+197 0"]);
    // An observer's acknowledgements keep nothing and free nothing.
    bench.says(Connection(12), ack(50, 100));
    assert_eq!(bench.session.buffered(), 50);
}

#[test]
fn output_is_to_be_had_from_the_scrollback_on() {
    let mut bench = Bench::attached();
    bench.output(700);
    bench.says(ONE, ack(500, 600));
    let out_of_range = Err(Refusal::OutOfRange { base: 200, next: 700 });
    assert_eq!(bench.attach(TWO, Mode::Steal, 199).0, out_of_range);
    assert_eq!(bench.attach(TWO, Mode::Steal, 701).0, out_of_range);
    assert_eq!(bench.session.client(), Some(ONE), "the session goes on as it was");
    let accept = bench.attach(TWO, Mode::Steal, 200).0.unwrap();
    assert_eq!((accept.output_base, accept.output_next), (200, 700));
    assert!(bench.sent(TWO).starts_with(&["ACK 0+200 0".into(), "DATA 200+120".into()]));
    // All that there is: what there is no more is told.
    bench.attach(Connection(3), Mode::Steal, OLDEST).0.unwrap();
    let sent = bench.sent(Connection(3));
    assert_eq!(sent[..3], ["ACK 0+200 0", "Gap { from: 0, to: 200 }", "DATA 200+120"]);
    // Nothing more has been acknowledged by that.
    assert_eq!(bench.session.bytes_out().1, 200);
    // To resume is to acknowledge.
    bench.attach(Connection(4), Mode::Steal, 650).0.unwrap();
    assert_eq!(bench.session.bytes_out().1, 350);
}

#[test]
fn reading_stops_at_the_limit_and_goes_on_at_half() {
    let mut bench = Bench::attached();
    assert_eq!(bench.session.room(), 1000);
    assert!(!bench.output(999).contains(&Action::StopReading));
    assert!(bench.output(1).contains(&Action::StopReading));
    assert_eq!(bench.session.room(), 0);
    bench.now += 3 * SECOND;
    assert!(!bench.says(ONE, ack(499, 600)).contains(&Action::ReadOn));
    assert_eq!(bench.session.room(), 0, "not for each byte");
    assert!(bench.says(ONE, ack(500, 600)).contains(&Action::ReadOn));
    assert_eq!((bench.session.room(), bench.session.blocked(bench.now)), (500, 3 * SECOND));
}

#[test]
fn output_is_sent_within_the_window_and_the_room() {
    let mut bench = Bench::attached();
    bench.output(900);
    let mut bytes = Vec::new();
    assert!(bench.session.transmit(ONE, 100, &mut bytes), "there is more");
    assert_eq!(bytes.len(), 12 + 100);
    assert!(bench.session.transmit(ONE, 0, &mut bytes));
    assert_eq!(bytes.len(), 12 + 100);
    // HELLO's window, then that of the last ACK; it never shrinks.
    assert_eq!(bench.sent(ONE).last().unwrap(), "DATA 580+20");
    bench.says(ONE, ack(0, 0));
    assert_eq!(bench.sent(ONE), Vec::<String>::new());
    bench.says(ONE, ack(600, 50));
    assert_eq!(bench.sent(ONE), ["DATA 600+50"]);
    // Whatever waits for the window, a PING is answered.
    bench.says(ONE, Frame::Ping([7; 8]));
    assert_eq!(bench.sent(ONE), ["Pong([7, 7, 7, 7, 7, 7, 7, 7])"]);
}

#[test]
fn input_is_taken_once_and_within_the_window() {
    let mut bench = Bench::attached();
    assert_eq!(bench.says(ONE, data(0, b"abcdef")), [Action::Write, Action::Send(ONE)]);
    bench.says(ONE, data(2, b"cdefgh"));
    bench.says(ONE, data(0, b"abc"));
    assert_eq!(bench.session.input(), (&b"abcdefgh"[..], &b""[..]));
    assert_eq!(bench.sent(ONE), ["ACK 8+192 0"]);
    assert_eq!(bench.says(ONE, data(9, b"x")), [dismissed(ONE, BROKE)], "a byte is missing");
    assert_eq!(bench.session.input().0, b"abcdefgh", "the session goes on");
    bench.attach(TWO, Mode::Steal, 0).0.unwrap();
    bench.says(TWO, data(8, &[b'x'; 192]));
    assert_eq!(bench.sent(TWO), ["ACK 200+0 0"]);
    assert_eq!(bench.says(TWO, data(200, b"x")), [dismissed(TWO, BROKE)], "beyond the window");
}

#[test]
fn there_is_room_for_input_again_once_half_is_written() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, &[b'x'; 200]));
    bench.sent(ONE);
    assert_eq!(bench.on(Input::Wrote(99)), []);
    assert_eq!(bench.on(Input::Wrote(1)), [Action::Send(ONE)]);
    assert_eq!(bench.sent(ONE), ["ACK 200+100 100"]);
    assert_eq!(bench.on(Input::Wrote(1)), [], "not for each byte");
}

#[test]
fn input_waits_for_the_destination() {
    let mut bench = Bench::connecting();
    assert_eq!(bench.says(ONE, data(0, b"abc")), []);
    assert_eq!(bench.says(ONE, Frame::Fin { offset: 3 }), []);
    assert_eq!(bench.on(Input::Connected), [Action::Write]);
    assert_eq!(bench.on(Input::Wrote(3)), [Action::Shutdown]);
}

#[test]
fn the_end_of_input_is_passed_on_once_after_all_input() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"abc"));
    assert_eq!(bench.says(ONE, Frame::Fin { offset: 3 }), []);
    assert_eq!(bench.sent(ONE), ["ACK 3+197 end 0"]);
    assert_eq!(bench.on(Input::Wrote(2)), []);
    assert_eq!(bench.on(Input::Wrote(1)), [Action::Shutdown]);
    // The answer was lost, so it comes again.
    assert!(bench.attach(TWO, Mode::Steal, 0).0.unwrap().input_ended);
    assert_eq!(bench.says(TWO, Frame::Fin { offset: 3 }), []);
    assert_eq!(bench.sent(TWO), ["ACK 3+200 end 3"]);
    assert_eq!(bench.says(TWO, data(3, b"x")), [dismissed(TWO, BROKE)], "behind the end");
    // The destination may still answer.
    assert_eq!(bench.session.phase(), Phase::Detached);
    bench.output(5);
    assert_eq!(bench.session.buffered(), 5);
}

#[test]
fn an_end_of_input_is_where_the_input_is() {
    for offset in [0, 2, 4] {
        let mut bench = Bench::attached();
        bench.says(ONE, data(0, b"abc"));
        assert_eq!(bench.says(ONE, Frame::Fin { offset }), [dismissed(ONE, BROKE)]);
    }
}

#[test]
fn a_reset_by_the_client_breaks_the_destination_off_after_the_input() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"abc"));
    bench.says(ONE, Frame::Reset { offset: 3, errno: 104 });
    assert_eq!(bench.on(Input::Wrote(3)), [Action::Break, Action::Release]);
    assert_eq!(bench.session.destination(), Destination::Reset);
    assert_eq!(bench.sent(ONE), ["ACK 3+200 end 3", "Reset { offset: 0, errno: 104 }"]);
    let complete = dismissed(ONE, Farewell::Closed(Closed::Complete));
    assert_eq!(bench.says(ONE, ack_end(0)), [complete, Action::End(Closed::Complete)]);
}

#[test]
fn the_end_of_output_is_told_after_all_output_until_it_has_arrived() {
    for (input, told) in [(Input::Eof, "Fin { offset: 700 }"), (Input::Reset(104), "Reset { offset: 700, errno: 104 }")]
    {
        let mut bench = Bench::attached();
        bench.on(Input::Left(ONE));
        bench.output(700);
        bench.on(input);
        assert_eq!(bench.session.phase(), Phase::Ended);
        assert!(bench.attach(TWO, Mode::Steal, 0).0.unwrap().output_ended);
        assert_eq!(bench.sent(TWO).last().unwrap(), "DATA 500+100", "the window comes before the end");
        bench.says(TWO, ack(600, 600));
        assert_eq!(bench.sent(TWO), ["DATA 600+100", told]);
        // All bytes have arrived, but nothing is known of the end.
        assert_eq!(bench.says(TWO, ack(700, 600)), []);
        for number in 3..6 {
            bench.on(Input::Left(bench.session.client().unwrap()));
            bench.attach(Connection(number), Mode::Steal, 700).0.unwrap();
            assert_eq!(bench.sent(Connection(number))[1..], [told]);
        }
    }
}

#[test]
fn an_acknowledgement_of_what_never_was_is_a_breach() {
    let mut bench = Bench::attached();
    bench.output(10);
    assert_eq!(bench.says(ONE, ack(11, 0)), [dismissed(ONE, BROKE)]);
    bench.attach(TWO, Mode::Steal, 0).0.unwrap();
    assert_eq!(bench.says(TWO, ack_end(10)), [dismissed(TWO, BROKE)], "there is no end yet");
    bench.on(Input::Eof);
    bench.attach(Connection(3), Mode::Steal, 0).0.unwrap();
    assert_eq!(bench.says(Connection(3), ack_end(9)), [dismissed(Connection(3), BROKE)]);
    assert_eq!(bench.session.phase(), Phase::Ended, "the session goes on");
}

#[test]
fn a_session_is_complete_when_both_ends_have_arrived() {
    let over = [dismissed(ONE, Farewell::Closed(Closed::Complete)), Action::End(Closed::Complete)];
    // The client has nothing to say any more when the end comes …
    let mut bench = Bench::attached();
    bench.says(ONE, Frame::Fin { offset: 0 });
    assert_eq!(bench.on(Input::Eof), [Action::Release]);
    assert_eq!(bench.says(ONE, ack_end(0)), over);
    // … or goes on, as the other half of the connection is open …
    let mut bench = Bench::attached();
    bench.on(Input::Eof);
    assert_eq!(bench.says(ONE, ack_end(0)), []);
    bench.says(ONE, data(0, b"bye"));
    assert_eq!(bench.says(ONE, Frame::Fin { offset: 3 }), []);
    assert_eq!(bench.on(Input::Wrote(3)), [&[Action::Shutdown, Action::Release], &over[..]].concat());
    // … or nobody takes what it says.
    let mut bench = Bench::attached();
    bench.on(Input::Eof);
    bench.says(ONE, data(0, b"bye"));
    assert_eq!(bench.on(Input::WriteFailed), [Action::Release]);
    assert_eq!(bench.says(ONE, data(3, b"is not heard")), []);
    assert_eq!(bench.says(ONE, ack_end(0)), over);
    assert_eq!(bench.session.memory(), 0);
}

#[test]
fn a_session_that_nobody_is_connected_to_ends_by_time() {
    let mut bench = Bench::attached();
    bench.attach(TWO, Mode::Observe, 0).0.unwrap();
    assert_eq!(bench.session.expiry(), None);
    bench.on(Input::Left(ONE));
    assert_eq!((bench.session.phase(), bench.session.expiry()), (Phase::Detached, None), "somebody looks on");
    bench.now += SECOND;
    bench.on(Input::Left(TWO));
    let left = bench.now;
    assert_eq!(bench.session.expiry(), Some(left + 100 * SECOND));
    // A destination that ends leaves the time that its end is kept for.
    bench.now += 80 * SECOND;
    bench.on(Input::Eof);
    assert_eq!(bench.session.expiry(), Some(left + 130 * SECOND));
    assert_eq!(bench.later(49 * SECOND), []);
    assert_eq!(bench.later(SECOND), [Action::End(Closed::Expired)]);
    assert_eq!(bench.attach(TWO, Mode::Steal, 0).0, Err(Refusal::Denied));
}

#[test]
fn a_silent_client_is_asked_twice_and_then_detached() {
    let mut bench = Bench::attached();
    assert_eq!(bench.session.deadline(), Some(bench.now + 15 * SECOND));
    assert_eq!(bench.later(14 * SECOND), []);
    assert_eq!(bench.later(SECOND), [Action::Send(ONE)]);
    assert_eq!(bench.sent(ONE), ["Ping([0, 0, 0, 0, 0, 0, 0, 1])"]);
    assert_eq!(bench.later(15 * SECOND), [Action::Send(ONE)]);
    bench.sent(ONE);
    // Any word is an answer.
    bench.now += 14 * SECOND;
    bench.says(ONE, Frame::Pong([0; 8]));
    assert_eq!(bench.later(14 * SECOND), []);
    for _ in 0..2 {
        assert_eq!(bench.later(15 * SECOND), [Action::Send(ONE)]);
        bench.sent(ONE);
    }
    assert_eq!(bench.later(15 * SECOND), [dismissed(ONE, Farewell::Detached(Detached::Silent))]);
    assert_eq!(bench.session.phase(), Phase::Detached);
}

#[test]
fn a_client_is_not_dismissed_for_questions_that_it_was_not_asked() {
    let mut bench = Bench::attached();
    // The machine slept for an hour.
    assert_eq!(bench.later(Duration::from_secs(3600)), [Action::Send(ONE)]);
    assert_eq!(bench.session.deadline(), Some(bench.now + 15 * SECOND));
    assert_eq!(bench.session.phase(), Phase::Attached);
}

#[test]
fn events_come_between_the_bytes_and_the_last_of_each_kind_is_known_to_all() {
    let mut bench = Bench::attached();
    let echo = |bench: &mut Bench, on: u8| bench.on(Input::Event { kind: event::ECHO, body: &[on] });
    let text = |offset: u64, on: u8| format!("Event {{ offset: {offset}, kind: 1, body: [{on}] }}");
    bench.output(10);
    echo(&mut bench, 1);
    bench.output(10);
    echo(&mut bench, 0);
    echo(&mut bench, 1);
    bench.output(10);
    let all = ["DATA 0+10".into(), text(10, 1), "DATA 10+10".into(), text(20, 1), "DATA 20+10".into()];
    assert_eq!(bench.sent(ONE), all);
    bench.attach(TWO, Mode::Steal, 15).0.unwrap();
    assert_eq!(bench.sent(TWO)[1..], [text(10, 1), "DATA 15+5".into(), text(20, 1), "DATA 20+10".into()]);
    // After everything is acknowledged, too.
    bench.says(TWO, ack(30, 600));
    bench.attach(Connection(3), Mode::Steal, 30).0.unwrap();
    assert_eq!(bench.sent(Connection(3))[1..], [text(20, 1)]);
}

#[test]
fn a_storm_of_events_costs_little_and_leaves_the_last_of_each_kind() {
    let mut bench = Bench::attached();
    for round in 0..3000_u32 {
        bench.output(1);
        let kind = (round % 7) as u8;
        bench.on(Input::Event { kind, body: &round.to_be_bytes() });
        bench.says(ONE, ack(bench.session.bytes_out().0 - 1, 600));
    }
    assert!(bench.session.memory() < 64 * 1024, "{}", bench.session.memory());
    let next = bench.session.bytes_out().0;
    bench.attach(TWO, Mode::Steal, next).0.unwrap();
    let sent = bench.sent(TWO);
    assert_eq!(sent.iter().filter(|frame| frame.starts_with("Event")).count(), 7, "{sent:#?}");
}

#[test]
fn the_administrator_detaches_and_closes() {
    let mut bench = Bench::attached();
    assert_eq!(bench.on(Input::GoAway(30)), [Action::Send(ONE)]);
    assert_eq!(bench.sent(ONE), ["GoAway { grace: 30 }"]);
    assert_eq!(bench.on(Input::Detach), [dismissed(ONE, Farewell::Detached(Detached::ByAdministrator))]);
    assert_eq!(bench.session.phase(), Phase::Detached);
    assert_eq!(bench.on(Input::Close), [Action::End(Closed::ByAdministrator)]);
    for input in [Input::Connected, Input::Eof, Input::Output(b"x"), Input::Close, Input::Deadline, Input::Left(ONE)] {
        assert_eq!(bench.on(input), []);
    }
}

#[test]
fn a_client_that_asks_and_never_reads_costs_nothing() {
    let mut bench = Bench::attached();
    let mut calls = 0;
    for round in 0..10_000_u64 {
        calls += bench.says(ONE, Frame::Ping(round.to_be_bytes())).len();
        calls += bench.says(ONE, ack(0, 0)).len();
    }
    assert_eq!(calls, 1);
    assert_eq!(bench.sent(ONE), ["Pong([0, 0, 0, 0, 0, 0, 39, 15])"]);
}

#[test]
fn an_allowance_that_shrinks_drops_nothing_that_has_not_arrived() {
    let mut bench = Bench::attached();
    bench.output(900);
    bench.says(ONE, ack(500, 600));
    let mut actions = Vec::new();
    let tight = Allowance { output: 100, scrollback: 0, input: 50 };
    bench.session.allow(bench.now, tight, &mut actions);
    assert_eq!(actions, [Action::StopReading]);
    assert_eq!((bench.session.bytes_out(), bench.session.buffered()), ((900, 500), 400));
    // Input that was allowed before is taken, and no more is allowed.
    bench.says(ONE, data(0, &[b'x'; 200]));
    assert_eq!(bench.sent(ONE)[0], "ACK 200+0 0");
    bench.on(Input::Wrote(160));
    assert_eq!(bench.session.bytes_in(), (200, 160));
    bench.session.allow(bench.now, policy().allowance, &mut actions);
    assert_eq!(actions, [Action::StopReading, Action::ReadOn, Action::Send(ONE)]);
    assert_eq!(bench.sent(ONE)[0], "ACK 200+160 160");
}
