//! Several who send input: what is new, what is sent again, and who is told that others were faster.

use super::{Bench, ONE, TWO, ack};
use crate::session::frame::{Detached, Frame, Mode};
use crate::session::state::{Action, Connection, Farewell, Input};

const THREE: Connection = Connection(3);
const FOUR: Connection = Connection(4);

fn data(offset: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::Data { offset, bytes }
}

fn append(offset: u64, bytes: &[u8]) -> Frame<'_> {
    Frame::Append { offset, bytes }
}

fn conflict(connection: Connection) -> Action {
    Action::Dismiss(connection, Farewell::Detached(Detached::Conflict))
}

impl Bench {
    /// Somebody comes to send input; where that goes on.
    fn writer(&mut self, connection: Connection) -> u64 {
        let next = self.attach(connection, Mode::Input, 0).0.unwrap().input_next;
        self.sent(connection);
        next
    }

    fn all_input(&self) -> Vec<u8> {
        let (front, back) = self.session.input();
        [front, back].concat()
    }
}

#[test]
fn what_a_client_and_a_writer_send_at_the_same_offsets_is_taken_from_both() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"ab"));
    assert_eq!(bench.writer(TWO), 2);
    bench.says(TWO, data(2, b"xyz"));
    // It does not know of that, and the very same bytes are new when they come from another one.
    bench.says(ONE, data(2, b"cd"));
    bench.says(ONE, data(4, b"xyz"));
    bench.says(TWO, data(5, b"w"));
    assert_eq!(bench.all_input(), b"abxyzcdxyzw");
    assert_eq!(bench.sent(ONE), ["Input { next: 11, writers: 4 }", "ACK 7+189 0"]);
    assert_eq!(bench.sent(TWO), ["Input { next: 11, writers: 4 }", "ACK 6+189 0"]);
    // Each keeps to its own numbers.
    assert_eq!(bench.says(ONE, data(11, b"e")).len(), 1, "that is beyond what it has sent");
    assert_eq!(bench.all_input(), b"abxyzcdxyzw");
    bench.says(TWO, data(6, b"!"));
    assert_eq!(bench.sent(TWO), ["ACK 7+188 0"], "nobody else has sent anything");
}

#[test]
fn what_one_connection_sends_twice_is_taken_once() {
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.says(TWO, data(0, b"xy"));
    bench.says(ONE, data(0, b"abc"));
    bench.says(ONE, data(0, b"abcd"));
    bench.says(TWO, data(0, b"xyz"));
    assert_eq!(bench.all_input(), b"xyabcdz");
}

#[test]
fn what_is_sent_again_over_another_connection_is_taken_once() {
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.says(TWO, data(0, b"hello "));
    bench.on(Input::Left(TWO));
    // The answer was lost, and the bytes may be with the destination already.
    bench.on(Input::Wrote(4));
    assert_eq!(bench.writer(THREE), 6);
    bench.says(THREE, data(0, b"hello world"));
    assert_eq!(bench.all_input(), b"o world");
    assert_eq!(bench.sent(THREE), ["ACK 11+193 4"]);
    bench.says(THREE, data(0, b"hello"));
    assert_eq!(bench.all_input(), b"o world");
}

#[test]
fn who_was_not_first_is_told_and_nothing_of_it_is_taken() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"first"));
    bench.writer(TWO);
    assert_eq!(bench.says(TWO, data(0, b"other and more")), [conflict(TWO)]);
    assert_eq!(bench.all_input(), b"first");
    // Half of it is the same.
    bench.writer(THREE);
    assert_eq!(bench.says(THREE, data(3, b"st?")).len(), 1);
    assert_eq!(bench.says(THREE, data(1, b"irsx")), [conflict(THREE)]);
    assert_eq!(bench.all_input(), b"first?");
    assert_eq!(bench.session.client(), Some(ONE), "who is attached is not disturbed");
}

#[test]
fn what_is_too_old_to_be_compared_is_a_conflict() {
    let mut bench = Bench::attached();
    for round in 0..3 {
        bench.says(ONE, data(200 * round, &[b'x'; 200]));
        bench.on(Input::Wrote(200));
        bench.sent(ONE);
    }
    bench.writer(TWO);
    assert_eq!(bench.says(TWO, data(400, &[b'x'; 200])), [Action::Send(TWO)]);
    assert_eq!(bench.says(TWO, data(0, &[b'x'; 200])), [conflict(TWO)]);
    assert!(bench.session.memory() < 10_000, "and what can be compared is bounded");
}

#[test]
fn a_client_that_comes_back_can_tell_what_of_its_input_has_arrived() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"abc"));
    bench.writer(TWO);
    bench.says(TWO, data(3, b"12345"));
    bench.says(ONE, data(3, b"de"));
    // It is cut off before an answer, with "defg" under way.
    bench.on(Input::Left(ONE));
    let accept = bench.attach(THREE, Mode::Steal, 0).0.unwrap();
    assert_eq!((accept.epoch, accept.input_next), (2, 10));
    let told = bench.sent(THREE);
    assert_eq!(told, ["Input { next: 10, writers: 5 }", "ACK 10+190 0"], "so five of it are its own");
    bench.says(THREE, data(10, b"fg"));
    assert_eq!(bench.all_input(), b"abc12345defg");
}

#[test]
fn each_may_send_what_its_window_allowed() {
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.says(ONE, data(0, &[b'x'; 200]));
    bench.says(TWO, data(0, &[b'y'; 200]));
    assert_eq!(bench.all_input().len(), 400);
    let last_words = |connection| Action::Dismiss(connection, Farewell::Detached(Detached::Broke));
    assert_eq!(bench.says(TWO, data(200, b"y")), [last_words(TWO)]);
}

#[test]
fn an_end_of_the_input_is_everybodys_and_what_comes_after_it_is_not_taken() {
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.says(TWO, data(0, b"bye"));
    bench.says(TWO, Frame::Fin { offset: 3 });
    assert_eq!(bench.sent(ONE), ["Input { next: 3, writers: 3 }", "ACK 0+197 end 0"]);
    // It did not know, so that is no breach; but it is not taken, and told so.
    assert_eq!(bench.says(ONE, data(0, b"late")), [Action::Send(ONE)]);
    assert_eq!(bench.sent(ONE), ["ACK 0+197 end 0"]);
    assert_eq!(bench.all_input(), b"bye");
    assert_eq!(bench.says(ONE, Frame::Fin { offset: 0 }), [Action::Send(ONE)]);
}

#[test]
fn input_that_is_lost_is_told_to_whoever_is_and_whoever_comes() {
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"abcdef"));
    bench.output(2);
    bench.on(Input::Wrote(2));
    bench.sent(ONE);
    assert_eq!(bench.on(Input::WriteFailed), [Action::Send(ONE)]);
    let lost = "Event { offset: 2, kind: 5, body: [0, 0, 0, 0, 0, 0, 0, 2] }";
    assert_eq!(bench.sent(ONE), ["ACK 6+0 2", lost]);
    // What comes does not count as arrived.
    bench.says(ONE, data(6, b"gh"));
    assert_eq!(bench.sent(ONE), ["ACK 6+0 2"]);
    bench.attach(TWO, Mode::Steal, 2).0.unwrap();
    assert_eq!(bench.sent(TWO), ["ACK 6+0 2", lost]);
    bench.output(3);
    assert_eq!(bench.sent(TWO), ["DATA 2+3"], "the output goes on");
}

#[test]
fn an_end_that_says_as_much_is_enough() {
    let mut bench = Bench::attached();
    bench.on(Input::Reset(104));
    assert_eq!(bench.sent(ONE), ["ACK 0+0 0", "Reset { offset: 0, errno: 104 }"]);
    let mut bench = Bench::attached();
    bench.says(ONE, data(0, b"abc"));
    bench.sent(ONE);
    bench.on(Input::Reset(104));
    let lost = "Event { offset: 0, kind: 5, body: [0, 0, 0, 0, 0, 0, 0, 0] }";
    assert_eq!(bench.sent(ONE), ["ACK 3+0 0", lost, "Reset { offset: 0, errno: 104 }"]);
}

#[test]
fn output_that_a_client_has_from_elsewhere_is_not_sent_again_and_is_no_gap() {
    let mut bench = Bench::attached();
    bench.output(900);
    bench.sent(ONE);
    bench.says(ONE, ack(600, 600));
    bench.on(Input::Left(ONE));
    // It draws its screen anew from the scrollback, and has more than that.
    bench.attach(TWO, Mode::Steal, 300).0.unwrap();
    bench.says(TWO, ack(900, 100));
    assert_eq!(bench.sent(TWO), ["ACK 0+200 0"], "there is nothing that it lacks");
    bench.output(1);
    assert_eq!(bench.sent(TWO), ["DATA 900+1"]);
}

#[test]
fn two_who_append_the_same_at_once_have_it_taken_once() {
    let mut bench = Bench::attached();
    assert_eq!((bench.writer(TWO), bench.writer(THREE)), (0, 0));
    bench.says(TWO, append(0, b"x\r\n"));
    bench.says(THREE, append(0, b"x\r\n"));
    assert_eq!(bench.all_input(), b"x\r\n");
    for both in [TWO, THREE] {
        assert_eq!(bench.sent(both).last().unwrap(), "ACK 3+197 0", "both have it");
    }
    // And who goes on behind it is told where that is.
    bench.says(THREE, append(1, b"\r\nmore"));
    assert_eq!(bench.all_input(), b"x\r\nmore");
    assert_eq!(bench.sent(THREE).last().unwrap(), "ACK 7+193 0");
}

#[test]
fn what_is_appended_where_others_have_sent_something_else_is_not_taken() {
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.writer(THREE);
    bench.says(ONE, data(0, b"typed"));
    assert_eq!(bench.says(TWO, append(0, b"ls\n")), [conflict(TWO)]);
    assert_eq!(bench.all_input(), b"typed");
    // The number that is answered is of what was appended, and not of what came behind it.
    bench.says(THREE, append(5, b"ls\n"));
    bench.says(ONE, data(5, b"more"));
    assert_eq!(bench.sent(THREE).last().unwrap(), "ACK 8+188 0");
    assert_eq!(bench.all_input(), b"typedls\nmore");
    let broke = |connection| Action::Dismiss(connection, Farewell::Detached(Detached::Broke));
    assert_eq!(bench.says(THREE, append(99, b"a gap")), [broke(THREE)]);
    bench.writer(FOUR);
    assert_eq!(bench.says(FOUR, append(12, &[b'x'; 201])), [broke(FOUR)], "beyond the window");
    assert_eq!(bench.says(ONE, append(12, b"x")), [broke(ONE)], "a client numbers its own");
}

#[test]
fn a_connection_numbers_its_input_in_one_way() {
    let broke = |connection| Action::Dismiss(connection, Farewell::Detached(Detached::Broke));
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.says(TWO, append(0, b"ab"));
    assert_eq!(bench.says(TWO, data(2, b"c")), [broke(TWO)]);
    bench.writer(THREE);
    bench.says(THREE, data(2, b"c"));
    assert_eq!(bench.says(THREE, append(3, b"d")), [broke(THREE)]);
    bench.writer(FOUR);
    bench.says(FOUR, append(3, b"d"));
    bench.says(FOUR, append(4, b"e"));
    assert_eq!(bench.all_input(), b"abcde");
}

#[test]
fn a_writer_is_told_that_nobody_takes_its_input() {
    let mut bench = Bench::attached();
    bench.writer(TWO);
    bench.says(TWO, append(0, b"abcdef"));
    bench.sent(TWO);
    bench.on(Input::Wrote(2));
    bench.on(Input::Eof);
    bench.on(Input::WriteFailed);
    let lost = "Event { offset: 0, kind: 5, body: [0, 0, 0, 0, 0, 0, 0, 2] }";
    assert_eq!(bench.sent(TWO), [lost, "Destination(Eof)", "ACK 6+0 2"]);
    bench.attach(THREE, Mode::Input, 0).0.unwrap();
    let told = bench.sent(THREE);
    assert_eq!(told[told.len() - 3..], [lost, "Destination(Eof)", "ACK 6+0 2"], "and who comes later");
}
