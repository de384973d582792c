//! What goes back and forth while a client is attached.

use super::*;
use crate::session::client_state::End;
use crate::session::frame::{Ack, Command};

#[test]
fn input_is_sent_as_far_as_it_is_granted_and_in_frames_that_are_not_too_long() {
    let mut bench = Bench::attached(25);
    let input: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').collect();
    bench.client.input(&input);
    assert_eq!(bench.sent(), ["DATA 0 abcdefghijklmnopqrst", "DATA 20 uvwxy"]);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.ack(20, 10), Event::Arrived { next: 20, written: None });
    assert_eq!(bench.sent(), ["DATA 25 zABCD"]);
    // A window does not shrink below what was granted.
    bench.ack(30, 0);
    bench.ack(21, 0);
    assert_eq!(bench.client.progress().input, 30);
    assert!(bench.sent().is_empty());
    bench.ack(30, 100);
    assert_eq!(bench.sent(), ["DATA 30 EFGHIJKLMNOPQRSTUVWX", "DATA 50 YZ"]);
    let mut out = Vec::new();
    bench.client.input(b"0123456789");
    assert!(bench.client.transmit(4, &mut out), "there is more");
    assert_eq!(words(&out), ["DATA 52 0123"]);
}

#[test]
fn the_queue_of_input_has_a_bound_and_an_end() {
    let now = Instant::now();
    let mut client = Client::new(now, Settings { input: 5, ..Settings::default() });
    assert_eq!((client.input(b"abcdefgh"), client.room(), client.waiting()), (5, 0, 5));
    client.finish();
    assert_eq!(client.input(b"x"), 0);
    let progress = client.progress();
    assert_eq!((progress.queued, progress.ended), (b"abcde".to_vec(), true));
}

#[test]
fn the_end_of_the_input_follows_all_of_it_and_is_said_until_it_has_arrived() {
    let mut bench = Bench::attached(3);
    bench.client.input(b"abcde");
    bench.client.finish();
    assert_eq!(bench.sent(), ["DATA 0 abc"]);
    bench.ack(3, 3);
    assert_eq!(bench.sent(), ["DATA 3 de", "FIN 5"]);
    assert!(bench.sent().is_empty());
    for _ in 0..2 {
        bench.client.lost(bench.now);
        bench.attach(Accept { epoch: 2, input_next: 5, ..accept() });
        bench.ack(5, 0);
        assert_eq!(bench.sent(), ["FIN 5"]);
    }
    bench.said(Frame::Ack(Ack { next: 5, window: 0, end: true, written: Some(5) })).unwrap();
    bench.client.lost(bench.now);
    bench.attach(Accept { epoch: 4, input_next: 5, input_ended: true, ..accept() });
    bench.ack(5, 0);
    assert!(bench.sent().is_empty());
}

#[test]
fn input_that_others_send_meanwhile_does_not_count_as_ours() {
    let mut bench = Bench::attached(4);
    bench.client.input(b"abcdef");
    assert_eq!(bench.sent(), ["DATA 0 abcd"]);
    assert_eq!(bench.said(Frame::Input { next: 7, writers: 5 }), Ok(None));
    assert_eq!(bench.ack(2, 100), Event::Arrived { next: 2, written: None });
    assert_eq!(bench.sent(), ["DATA 4 ef"]);
    // More than was sent cannot arrive.
    let ack = Ack { next: 7, window: 0, end: false, written: None };
    assert_eq!(bench.said(Frame::Ack(ack)), Err(Breach::Offset));
    // Two of ours and five of a writer have arrived when it comes again.
    bench.attach(Accept { epoch: 2, input_next: 7, ..accept() });
    assert_eq!(bench.said(Frame::Input { next: 9, writers: 7 }), Ok(None), "two more came meanwhile");
    assert_eq!(bench.ack(7, 100), Event::Arrived { next: 2, written: None });
    bench.client.finish();
    assert_eq!(bench.sent(), ["DATA 7 cdef", "FIN 11"]);
    assert_eq!(bench.ack(9, 100), Event::Arrived { next: 4, written: None });
    assert_eq!(bench.client.progress().input, 4);
    for (next, writers) in [(3, 4), (u64::MAX, 0)] {
        let mut bench = Bench::attached(4);
        assert_eq!(bench.said(Frame::Input { next, writers }), Err(Breach::Offset));
    }
}

#[test]
fn a_writer_counts_all_and_gives_back_what_may_have_arrived() {
    for (next, lost, rest) in [(0, "", "DATA 0 abcdef"), (2, "ab", "DATA 2 cdef"), (9, "abcdef", "")] {
        let mut bench = Bench::resuming(Progress::default());
        bench.client.settings.mode = Mode::Input;
        bench.settle(accept());
        bench.ack(0, 100);
        bench.client.input(b"abcdef");
        bench.sent();
        bench.client.lost(bench.now);
        let uncertain = bench.settle(Accept { input_next: next, ..accept() });
        assert_eq!(String::from_utf8(uncertain).unwrap(), lost);
        bench.ack(next, 100);
        assert_eq!(bench.sent().concat(), rest);
    }
}

#[test]
fn what_others_have_sent_is_in_doubt_until_it_is_settled() {
    let mut bench = Bench::attached(100);
    bench.client.input(b"abcdef");
    bench.sent();
    bench.client.lost(bench.now);
    // Another client was there, and the connection ends before the first ACK.
    bench.attach(Accept { epoch: 3, input_next: 4, ..accept() });
    bench.client.lost(bench.now);
    assert_eq!(bench.client.progress().queued, b"abcdef");
    assert_eq!(bench.settle(Accept { epoch: 4, input_next: 4, ..accept() }), b"abcd");
}

#[test]
fn input_ends_for_all_when_one_ends_it() {
    let mut bench = Bench::attached(4);
    bench.client.input(b"gh");
    assert!(bench.client.takes_input());
    let ended = Ack { next: 0, window: 0, end: true, written: None };
    let event = bench.said(Frame::Ack(ended)).unwrap();
    assert_eq!(event, Some(Event::Overtaken { uncertain: b"gh".to_vec() }));
    assert_eq!((bench.client.room(), bench.client.takes_input()), (0, false));
}

#[test]
fn output_comes_in_order_within_what_was_granted() {
    let mut bench = Bench::attached(0);
    assert_eq!(bench.output(0, b"abc"), Some((0, b"abc".to_vec())));
    assert_eq!(bench.output(0, b"abc"), None);
    assert_eq!(bench.output(1, b"bcde"), Some((3, b"de".to_vec())));
    assert_eq!(bench.said(Frame::Data { offset: 6, bytes: b"x" }), Err(Breach::Offset));
    let mut bench = Bench::attached(0);
    assert_eq!(bench.output(0, &[0; 100]).map(|(_, bytes)| bytes.len()), Some(100));
    assert_eq!(bench.said(Frame::Data { offset: 100, bytes: b"x" }), Err(Breach::Window));
    // What was dealt with makes room.
    let mut bench = Bench::attached(0);
    bench.output(0, &[0; 100]);
    bench.client.done(bench.now, 100);
    bench.pass(Duration::from_millis(50));
    assert_eq!(bench.client.tick(bench.now), Ok(()));
    assert_eq!(bench.sent(), ["ACK 100"]);
    assert_eq!(bench.output(100, &[0; 200]).map(|(_, bytes)| bytes.len()), Some(200));
}

#[test]
fn what_was_dealt_with_is_acknowledged_soon_or_when_it_is_much() {
    let mut bench = Bench::attached(0);
    bench.output(0, b"abc");
    assert!(bench.sent().is_empty(), "nobody has dealt with it");
    let beat = bench.client.deadline();
    bench.client.done(bench.now, 2);
    assert_eq!(bench.client.deadline(), Some(bench.now + Duration::from_millis(50)));
    bench.pass(Duration::from_millis(20));
    bench.client.done(bench.now, 3);
    bench.client.done(bench.now, 1);
    assert!(bench.sent().is_empty());
    bench.pass(Duration::from_millis(30));
    bench.client.tick(bench.now).unwrap();
    assert_eq!(bench.sent(), ["ACK 3"]);
    assert_eq!(bench.client.deadline(), beat);
    bench.client.settings.window = 20;
    bench.output(3, &[0; 10]);
    bench.client.done(bench.now, 13);
    assert_eq!(bench.sent(), ["ACK 13"], "half of the window, at once");
    bench.client.done(bench.now, 1000);
    assert_eq!(bench.client.progress().output, 13, "there is no more");
}

#[test]
fn the_end_of_the_output_is_told_once_and_acknowledged_until_it_is_known() {
    let ends = [
        (Frame::Fin { offset: 3 }, End::Eof),
        (Frame::Reset { offset: 3, errno: 104 }, End::Reset(104)),
        (Frame::Destination(Destination::Refused), End::Failed(Destination::Refused)),
    ];
    for (frame, end) in ends {
        let mut bench = Bench::attached(0);
        bench.output(0, b"abc");
        bench.client.end_done();
        assert!(bench.sent().is_empty(), "it has not ended");
        assert_eq!(bench.said(frame), Ok(Some(Event::Ended(end))));
        assert!(bench.sent().is_empty(), "nobody has dealt with it");
        bench.client.lost(bench.now);
        bench.attach(Accept { epoch: 2, output_next: 3, output_ended: true, ..accept() });
        assert_eq!(bench.output(0, b"abc"), None);
        assert_eq!(bench.said(Frame::Fin { offset: 3 }), Ok(None), "it is known");
        bench.client.end_done();
        assert_eq!(bench.sent(), ["ACK 3 end"]);
        bench.client.lost(bench.now);
        bench.attach(Accept { epoch: 3, output_next: 3, output_ended: true, ..accept() });
        assert_eq!(bench.sent(), ["ACK 3 end"]);
        assert_eq!(bench.said(Frame::Data { offset: 3, bytes: b"x" }), Err(Breach::Offset));
    }
    let mut bench = Bench::attached(0);
    assert_eq!(bench.said(Frame::Fin { offset: 1 }), Err(Breach::Offset), "a byte is missing");
}

#[test]
fn a_gap_is_told_and_the_output_goes_on_behind_it() {
    let mut bench = Bench::attached(0);
    bench.output(0, b"abc");
    assert_eq!(bench.said(Frame::Gap { from: 3, to: 500 }), Ok(Some(Event::Gap { from: 3, to: 500 })));
    assert_eq!(bench.output(500, b"x"), Some((500, b"x".to_vec())));
    assert_eq!(bench.client.progress().output, 0, "what came before it is not dealt with yet");
    bench.client.done(bench.now, 501);
    assert_eq!(bench.said(Frame::Gap { from: 501, to: 600 }), Ok(Some(Event::Gap { from: 501, to: 600 })));
    assert_eq!(bench.client.progress().output, 600);
    // A server that knows what was dealt with may have dropped that already.
    assert_eq!(bench.said(Frame::Gap { from: 400, to: 600 }), Ok(None));
    assert_eq!(bench.said(Frame::Gap { from: 400, to: 700 }), Ok(Some(Event::Gap { from: 600, to: 700 })));
    assert_eq!(bench.said(Frame::Gap { from: 701, to: 800 }), Err(Breach::Offset));
}

#[test]
fn what_happens_is_told() {
    let mut bench = Bench::attached(0);
    bench.output(0, b"abc");
    let happened = Event::Happened { offset: 3, kind: 1, body: &[1] };
    assert_eq!(bench.said(Frame::Event { offset: 3, kind: 1, body: &[1] }), Ok(Some(happened)));
    let destination = bench.said(Frame::Destination(Destination::Open));
    assert_eq!(destination, Ok(Some(Event::Destination(Destination::Open))));
    assert_eq!(bench.said(Frame::GoAway { grace: 30 }), Ok(Some(Event::GoAway(30))));
    assert_eq!(bench.said(Frame::Event { offset: 4, kind: 1, body: &[1] }), Err(Breach::Offset));
}

#[test]
fn a_size_is_told_again_after_each_resume_and_a_command_is_not() {
    let mut bench = Bench::attached(0);
    bench.client.resize(80, 24);
    bench.client.resize(132, 43);
    assert!(bench.client.command(Command::Break));
    assert_eq!(bench.sent(), ["RESIZE 132 43", "Command(Break)"]);
    for _ in 0..16 {
        assert!(bench.client.command(Command::Interrupt));
    }
    assert!(!bench.client.command(Command::Interrupt), "so many are enough");
    bench.client.lost(bench.now);
    assert!(!bench.client.command(Command::Break));
    bench.attach(Accept { epoch: 2, ..accept() });
    assert_eq!(bench.sent(), ["RESIZE 132 43"]);
}

#[test]
fn an_observer_sends_no_input_and_a_writer_gets_no_output() {
    let now = Instant::now();
    let new = |mode| Client::resume(now, Settings { mode, ..Settings::default() }, ticket(), Progress::default());
    let mut bench = Bench { client: new(Mode::Observe), now };
    bench.client.input(b"abc");
    bench.client.resize(80, 24);
    bench.client.finish();
    bench.client.close();
    bench.attach(Accept { input_next: 70, ..accept() });
    assert!(bench.sent().is_empty());
    assert_eq!(bench.output(0, b"abc"), Some((0, b"abc".to_vec())));
    bench.client.done(bench.now, 3);
    bench.pass(SECOND);
    bench.client.tick(bench.now).unwrap();
    assert_eq!(bench.sent(), ["ACK 3"]);

    let mut bench = Bench { client: new(Mode::Input), now };
    bench.client.input(b"abc");
    bench.attach(Accept { epoch: 7, input_next: 70, output_next: 500, ..accept() });
    bench.ack(70, 100);
    assert_eq!(bench.sent(), ["DATA 70 abc"]);
    assert_eq!(bench.said(Frame::Data { offset: 0, bytes: b"x" }), Err(Breach::Window));
}

#[test]
fn a_check_is_answered_behind_all_that_was_to_be_sent() {
    let mut bench = Bench::attached(4);
    assert!(!bench.client.is_checked());
    bench.client.input(b"abcdef");
    bench.client.check();
    let mut out = Vec::new();
    assert!(bench.client.transmit(2, &mut out));
    assert_eq!(words(&out), ["DATA 0 ab"], "there is more to be sent before");
    let first = [255, 255, 255, 255, 0, 0, 0, 1];
    assert_eq!(bench.sent(), ["DATA 2 cd".to_owned(), format!("Ping({first:?})")], "as far as it is granted");
    assert!(!bench.client.is_checked());
    bench.said(Frame::Pong([0; 8])).unwrap();
    assert!(!bench.client.is_checked(), "the answer to something else");
    // Another one is wanted, so the answer to the first one is not enough.
    bench.client.check();
    bench.said(Frame::Pong(first)).unwrap();
    assert!(!bench.client.is_checked());
    let second = [255, 255, 255, 255, 0, 0, 0, 2];
    assert_eq!(bench.sent(), [format!("Ping({second:?})")]);
    bench.said(Frame::Pong(first)).unwrap();
    assert!(!bench.client.is_checked());
    bench.said(Frame::Pong(second)).unwrap();
    assert!(bench.client.is_checked());
    bench.client.lost(bench.now);
    bench.client.check();
    assert!(!bench.client.is_checked(), "there is nobody to ask");
}

#[test]
fn a_heartbeat_asks_again_what_is_not_answered() {
    let mut bench = Bench::attached(4);
    bench.client.check();
    let question = ["Ping([255, 255, 255, 255, 0, 0, 0, 1])"];
    assert_eq!(bench.sent(), question);
    bench.now = bench.client.deadline().unwrap();
    bench.client.tick(bench.now).unwrap();
    // A server that comes to both at once answers the last one alone.
    assert_eq!(bench.sent(), question);
    bench.said(Frame::Pong([255, 255, 255, 255, 0, 0, 0, 1])).unwrap();
    assert!(bench.client.is_checked());
    bench.now = bench.client.deadline().unwrap();
    bench.client.tick(bench.now).unwrap();
    assert_eq!(bench.sent(), ["Ping([0, 0, 0, 0, 0, 0, 0, 1])"]);
}

#[test]
fn a_check_waits_for_the_first_ack_as_input_does() {
    let mut bench = Bench::resuming(Progress::default());
    bench.client.input(b"abc");
    bench.attach(accept());
    bench.client.check();
    assert!(bench.sent().is_empty());
    bench.ack(0, 100);
    assert_eq!(bench.sent(), ["DATA 0 abc", "Ping([255, 255, 255, 255, 0, 0, 0, 1])"]);
}

#[test]
fn it_has_caught_up_when_all_has_come_that_there_was() {
    let mut bench = Bench::resuming(Progress::default());
    assert_eq!(bench.client.caught_up(), None);
    bench.attach(Accept { output_next: 5, output_ended: true, ..accept() });
    assert_eq!(bench.client.caught_up(), None);
    bench.output(0, b"abcde");
    assert_eq!(bench.client.caught_up(), None, "the end is missing");
    bench.said(Frame::Fin { offset: 5 }).unwrap();
    assert_eq!(bench.client.caught_up(), Some(5));
    bench.client.lost(bench.now);
    assert_eq!(bench.client.caught_up(), None, "there may be more");
    bench.attach(Accept { epoch: 2, output_next: 5, ..accept() });
    bench.client.output.end = None;
    bench.output(5, b"more");
    assert_eq!(bench.client.caught_up(), Some(5), "what came since is not waited for");
}

#[test]
fn input_that_nobody_takes_any_more_is_given_back() {
    let ends = [
        Frame::Reset { offset: 0, errno: 104 },
        Frame::Destination(Destination::Refused),
        Frame::Closed(crate::session::frame::Closed::Expired),
        Frame::Event { offset: 0, kind: crate::session::frame::event::INPUT_LOST, body: &[0; 8] },
    ];
    for end in ends {
        let mut bench = Bench::attached(2);
        bench.client.input(b"abcd");
        bench.sent();
        assert_eq!(bench.client.undelivered(), b"", "somebody may take it still");
        bench.said(end).unwrap();
        assert_eq!(bench.client.undelivered(), b"abcd");
        assert_eq!((bench.client.waiting(), bench.client.room(), bench.client.undelivered()), (0, 0, Vec::new()));
    }
    let mut bench = Bench::attached(2);
    bench.client.input(b"abcd");
    bench.said(Frame::Fin { offset: 0 }).unwrap();
    assert_eq!(bench.client.undelivered(), b"", "the other stream goes on");
}
