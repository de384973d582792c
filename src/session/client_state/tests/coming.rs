//! Coming to a session: what is said, proved and settled.

use super::*;
use crate::session::frame::{Refusal, VERSION};

#[test]
fn a_new_session_is_confirmed_when_its_ticket_is_kept_and_not_before() {
    let mut bench = Bench::new(Settings { ttl: 60, ..Settings::default() });
    assert_eq!(bench.client.input(b"ls\r"), 3);
    bench.client.resize(80, 24);
    bench.client.connected(bench.now, CLIENT);
    assert_eq!(bench.sent(), ["preface"]);
    assert_eq!(bench.said(Frame::Hello(hello())), Ok(None));
    assert_eq!(bench.sent(), ["NEW 60"]);
    let event = bench.said(Frame::Accept(proved(Accept { secret: Some(secret()), ..accept() })));
    let attached = Event::Attached { new: true, destination: Destination::Open };
    assert_eq!(event, Ok(Some(attached)));
    assert_eq!(bench.client.ticket(), Some(&ticket()));
    bench.ack(0, 100);
    assert!(bench.sent().is_empty(), "the ticket is not kept yet");
    bench.client.kept();
    assert_eq!(bench.sent(), ["CONFIRM", "RESIZE 80 24", "DATA 0 ls\r"]);
}

#[test]
fn the_proofs_are_those_of_the_protocol() {
    let mut bench = Bench::new(Settings::default());
    bench.connect();
    bench.said(Frame::Accept(proved(Accept { secret: Some(secret()), ..accept() }))).unwrap();
    bench.client.kept();
    let mut out = Vec::new();
    bench.client.transmit(0, &mut out);
    assert_eq!(out[4..], secret().key().confirm(&said(), ID).0);
    bench.client.lost(bench.now);
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    out.clear();
    bench.client.transmit(0, &mut out);
    let mut decoder = Decoder::new();
    decoder.feed(&out);
    decoder.preface().unwrap();
    let mac = secret().key().resume(&said(), ID, 0, Mode::Steal.code());
    let expected = Resume { id: ID, boot_seen: BOOT, nonce: CLIENT, next: 0, mode: Mode::Steal, mac };
    assert_eq!(decoder.frame(), Ok(Some(Frame::Resume(expected))));
}

#[test]
fn a_server_that_proves_nothing_is_left_and_not_come_back_to() {
    let wrong =
        [accept(), Accept { id: SessionId([2; 16]), ..accept() }, Accept { secret: Some(secret()), ..accept() }];
    for (index, wrong) in wrong.into_iter().enumerate() {
        let mut bench = Bench::resuming(Progress::default());
        bench.connect();
        let wrong = if index == 0 { wrong } else { proved(wrong) };
        assert_eq!(bench.said(Frame::Accept(wrong)), Err(Breach::Proof));
        assert_eq!(bench.client.next(), Next::Asked);
    }
    let mut bench = Bench::new(Settings::default());
    bench.connect();
    assert_eq!(bench.said(Frame::Accept(proved(accept()))), Err(Breach::Proof), "NEW is answered with a secret");
    assert!(bench.client.ticket().is_none());
}

#[test]
fn what_does_not_belong_here_is_a_breach() {
    for hello in [Hello { version: VERSION + 1, ..hello() }, Hello { max_payload: 8, ..hello() }] {
        let mut bench = Bench::new(Settings::default());
        bench.client.connected(bench.now, CLIENT);
        assert_eq!(bench.said(Frame::Hello(hello)), Err(Breach::Hello));
    }
    let early = [Frame::Data { offset: 0, bytes: b"x" }, Frame::Accept(proved(accept())), Frame::Ping([0; 8])];
    for frame in early {
        let mut bench = Bench::resuming(Progress::default());
        bench.client.connected(bench.now, CLIENT);
        assert_eq!(bench.said(frame), Err(Breach::Order));
        assert!(matches!(bench.client.next(), Next::At(_)));
    }
    let mut bench = Bench::resuming(Progress::default());
    bench.connect();
    assert_eq!(bench.said(Frame::Hello(hello())), Err(Breach::Order));
    let of_clients = [Frame::Close, Frame::Hello(hello()), Frame::Accept(accept()), Frame::Reject(Refusal::Denied)];
    for frame in of_clients {
        assert_eq!(Bench::attached(0).said(frame), Err(Breach::Order));
    }
}

#[test]
fn a_session_goes_on_where_it_was_also_in_another_process() {
    let progress = Progress { epoch: 4, output: 10, input: 20, queued: b"hello".to_vec(), ended: true, fresh: false };
    let mut bench = Bench::resuming(progress.clone());
    assert_eq!(bench.client.progress(), progress);
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "RESUME 10 Steal"]);
    let accept = Accept { epoch: 5, input_next: 22, output_base: 5, output_next: 12, ..accept() };
    let event = bench.said(Frame::Accept(proved(accept))).unwrap();
    let attached = Event::Attached { new: false, destination: Destination::Open };
    assert_eq!(event, Some(attached));
    assert!(bench.sent().is_empty(), "nothing is sent before the server has granted it");
    bench.ack(22, 100);
    assert_eq!(bench.sent(), ["DATA 22 llo", "FIN 25"]);
    assert_eq!(bench.output(10, b"ab"), Some((10, b"ab".to_vec())));
}

#[test]
fn input_arrives_once_wherever_the_connection_was_cut() {
    for arrived in 0..=6 {
        let mut bench = Bench::attached(100);
        bench.client.input(b"abcdef");
        assert_eq!(bench.sent(), ["DATA 0 abcdef"]);
        bench.client.lost(bench.now);
        bench.client.input(b"gh");
        let uncertain = bench.settle(Accept { epoch: 2, input_next: arrived, ..accept() });
        assert_eq!(uncertain, b"");
        bench.ack(arrived, 100);
        let rest = &"abcdefgh"[arrived as usize..];
        assert_eq!(bench.sent(), [format!("DATA {arrived} {rest}")]);
    }
}

#[test]
fn an_answer_that_got_lost_is_nobody_elses_turn() {
    let mut bench = Bench::attached(100);
    bench.client.input(b"abcdef");
    bench.sent();
    for _ in 0..100 {
        bench.client.lost(bench.now);
        bench.connect();
    }
    bench.client.lost(bench.now);
    assert_eq!(bench.client.progress().epoch, 101);
    assert_eq!(bench.settle(Accept { epoch: 102, input_next: 3, ..accept() }), b"");
    bench.ack(3, 100);
    assert_eq!(bench.sent(), ["DATA 3 def"]);
}

#[test]
fn where_others_have_sent_input_what_may_be_lost_is_given_back() {
    let sent = || {
        let mut bench = Bench::attached(100);
        bench.client.input(b"abcdef");
        bench.sent();
        bench.client.lost(bench.now);
        bench.client.input(b"gh");
        bench
    };
    // So much has come that it cannot be all ours; or there was another client; or there was one that sent nothing.
    for (epoch, next, lost, rest) in [(2, 9, "abcdef", "gh"), (3, 4, "abcd", "efgh"), (3, 0, "", "abcdefgh")] {
        let mut bench = sent();
        let uncertain = bench.settle(Accept { epoch, input_next: next, ..accept() });
        assert_eq!(String::from_utf8(uncertain).unwrap(), lost);
        bench.ack(next, 100);
        assert_eq!(bench.sent(), [format!("DATA {next} {rest}")]);
    }
    // They have ended it.
    let mut bench = sent();
    assert_eq!(bench.settle(Accept { epoch: 2, input_next: 6, input_ended: true, ..accept() }), b"gh");
    assert_eq!((bench.client.waiting(), bench.client.room()), (0, 0));
    bench.ack(6, 100);
    assert!(bench.sent().is_empty());
    // What was there and is no more is a breach.
    let mut bench = Bench::resuming(Progress { input: 5, ..Progress::default() });
    bench.connect();
    assert_eq!(bench.said(Frame::Accept(proved(Accept { input_next: 4, ..accept() }))), Err(Breach::Offset));
}

#[test]
fn output_is_asked_for_from_what_was_dealt_with_and_given_once() {
    let mut bench = Bench::attached(0);
    bench.output(0, b"abcdef").unwrap();
    bench.client.done(bench.now, 2);
    bench.client.lost(bench.now);
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "RESUME 2 Steal"]);
    bench.said(Frame::Accept(proved(Accept { epoch: 2, output_next: 8, ..accept() }))).unwrap();
    assert_eq!(bench.output(2, b"cd"), None);
    assert_eq!(bench.output(4, b"efgh"), Some((6, b"gh".to_vec())));
    // A server that has lost what it sent is not the one.
    bench.client.lost(bench.now);
    bench.connect();
    let short = Accept { epoch: 3, output_next: 7, ..accept() };
    assert_eq!(bench.said(Frame::Accept(proved(short))), Err(Breach::Offset));
}

#[test]
fn output_can_be_had_again_from_the_oldest_on() {
    let mut bench = Bench::resuming(Progress { output: 50, ..Progress::default() });
    bench.client.from_oldest();
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "RESUME oldest"]);
    bench.said(Frame::Accept(proved(Accept { output_base: 30, output_next: 60, ..accept() }))).unwrap();
    assert_eq!(bench.said(Frame::Gap { from: 0, to: 30 }), Ok(Some(Event::Gap { from: 0, to: 30 })));
    assert_eq!(bench.output(30, b"ab"), Some((30, b"ab".to_vec())));
    // Once.
    bench.client.done(bench.now, 32);
    bench.client.lost(bench.now);
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "RESUME 32 Steal"]);
}

#[test]
fn a_new_session_that_was_dropped_before_it_was_known_is_made_again() {
    let mut bench = Bench::new(Settings::default());
    bench.client.input(b"ls");
    bench.connect();
    bench.said(Frame::Accept(proved(Accept { secret: Some(secret()), ..accept() }))).unwrap();
    bench.client.kept();
    bench.ack(0, 100);
    assert_eq!(bench.sent(), ["CONFIRM", "DATA 0 ls"]);
    bench.client.lost(bench.now);
    bench.connect();
    assert_eq!(bench.said(Frame::Reject(Refusal::Denied)), Ok(Some(Event::Refused(Refusal::Denied))));
    assert!(matches!(bench.client.next(), Next::At(_)));
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "NEW 0"]);
    bench.said(Frame::Accept(proved(Accept { secret: Some(secret()), ..accept() }))).unwrap();
    bench.client.kept();
    bench.ack(0, 100);
    assert_eq!(bench.sent(), ["CONFIRM", "DATA 0 ls"]);
    // Once anything has come of it, it is not replaced by itself.
    bench.ack(2, 100);
    bench.client.lost(bench.now);
    bench.connect();
    bench.said(Frame::Reject(Refusal::Denied)).unwrap();
    assert_eq!(bench.client.next(), Next::Asked);
    bench.client.input(b"pwd");
    assert_eq!(bench.client.start_anew(bench.now), b"pwd");
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "NEW 0"]);
}

#[test]
fn a_new_session_that_its_server_has_dropped_is_made_again_also_in_another_process() {
    let mut bench = Bench::new(Settings::default());
    bench.client.input(b"ls");
    bench.connect();
    bench.said(Frame::Accept(proved(Accept { secret: Some(secret()), ..accept() }))).unwrap();
    let progress = bench.client.progress();
    assert!(progress.fresh, "CONFIRM may not have arrived");
    let mut bench = Bench::resuming(progress);
    bench.connect();
    bench.said(Frame::Reject(Refusal::Denied)).unwrap();
    bench.client.connected(bench.now, CLIENT);
    bench.said(Frame::Hello(hello())).unwrap();
    assert_eq!(bench.sent(), ["preface", "NEW 0"]);
    assert_eq!(bench.client.waiting(), 2);
    // Once it was resumed the server knows of it.
    let mut bench = Bench::attached(0);
    bench.said(Frame::Destination(Destination::Open)).unwrap();
    assert!(!bench.client.progress().fresh);
}
