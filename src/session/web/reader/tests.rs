use super::{Action, Answer, Barrier, Happened, Item, Manner, Reader, Reason, STAYS, WINDOW};
use crate::session::client_state::{Breach, End};
use crate::session::frame::{Accept, Ack, Closed, Decoder, Destination, Detached, Frame, OLDEST, Refusal, event};
use crate::session::web::handshake::tests::accept;
use crate::session::web::handshake::{Attached, Terms};
use std::time::{Duration, Instant};

/// A reader, the time, and what it did since it was looked at last.
struct World {
    now: Instant,
    reader: Reader,
    actions: Vec<Action>,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        World { now, reader: Reader::new(now), actions: Vec::new() }
    }

    fn done(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Asks and waits so many seconds.
    fn poll(&mut self, id: u64, from: u64, wait: u64) -> &mut Self {
        let until = self.now + Duration::from_secs(wait);
        self.reader.ask(self.now, id, from, Manner::Poll { until, events: false }, &mut self.actions);
        self
    }

    fn follow(&mut self, id: u64, from: u64) -> &mut Self {
        self.reader.ask(self.now, id, from, Manner::Follow, &mut self.actions);
        self
    }

    /// The server lets it in, with output from 0 or `base` to `next`.
    fn let_in(&mut self, accept: Accept) -> &mut Self {
        self.let_in_with(accept, Duration::from_secs(15))
    }

    fn let_in_with(&mut self, accept: Accept, heartbeat: Duration) -> &mut Self {
        let terms = Terms { longest: 16_376, window: 256 * 1024, heartbeat };
        self.reader.attached(self.now, Attached { accept, terms, new: None });
        self.reader.settle(self.now, &mut self.actions);
        self
    }

    fn with_output(&mut self, next: u64) -> &mut Self {
        self.let_in(Accept { output_next: next, ..accept() })
    }

    fn say(&mut self, frame: Frame<'_>) -> &mut Self {
        self.reader.said(self.now, frame, &mut self.actions).unwrap();
        self.reader.settle(self.now, &mut self.actions);
        self
    }

    fn output(&mut self, offset: u64, bytes: &[u8]) -> &mut Self {
        self.say(Frame::Data { offset, bytes })
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.reader.tick(self.now, &mut self.actions);
        self
    }

    /// What it says to the server, in words.
    fn said(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.reader.transmit(&mut out);
        let mut decoder = Decoder::new();
        decoder.feed(&out);
        let mut all = Vec::new();
        while let Some(frame) = decoder.frame().unwrap() {
            all.push(match frame {
                Frame::Ack(Ack { next, window, end: false, .. }) => {
                    format!("ack {next} to {}", next + u64::from(window))
                }
                Frame::Ping([0x80, .., number]) => format!("barrier {number}"),
                Frame::Ping(_) => "ping".into(),
                Frame::Pong(_) => "pong".into(),
                other => panic!("{other:?}"),
            });
        }
        all
    }

    fn pieces(&mut self) -> Vec<Item> {
        std::iter::from_fn(|| self.reader.has_piece(self.now).then(|| self.reader.take(self.now).unwrap())).collect()
    }
}

fn output(offset: u64, bytes: &[u8]) -> Answer {
    Answer::Output { offset, bytes: bytes.to_vec(), end: None, events: Vec::new() }
}

#[test]
fn the_first_poll_connects_and_gets_all_that_there_is() {
    let mut world = World::new();
    world.poll(1, 3, 0);
    assert_eq!(world.done(), [Action::Connect(3)]);
    world.with_output(9).output(3, b"abc");
    assert_eq!(world.done(), [], "there is more to come, and the server has said so");
    world.output(6, b"def");
    assert_eq!(world.done(), [Action::Answer(1, output(3, b"abcdef"))]);
    assert_eq!(world.said(), [format!("ack 3 to {}", 9 + WINDOW)]);
}

#[test]
fn the_next_poll_goes_on_by_the_same_connection_and_acknowledges() {
    let mut world = World::new();
    world.poll(1, 0, 0).with_output(3).output(0, b"abc").done();
    world.said();
    world.poll(2, 3, 30);
    assert_eq!(world.said(), [format!("ack 3 to {}", 3 + WINDOW)]);
    assert_eq!(world.done(), [], "it waits");
    world.output(3, b"d");
    assert_eq!(world.done(), [Action::Answer(2, output(3, b"d"))]);
}

#[test]
fn nothing_is_acknowledged_that_was_only_answered() {
    let mut world = World::new();
    world.poll(1, 0, 0).with_output(3).output(0, b"abc");
    world.said();
    assert!(world.said().is_empty());
    world.output(3, b"more");
    assert!(world.said().is_empty());
}

#[test]
fn who_asks_for_the_same_again_gets_the_same_again() {
    let mut world = World::new();
    world.poll(1, 0, 0).with_output(3).output(0, b"abc").done();
    world.poll(2, 0, 0);
    assert_eq!(world.done(), [Action::Connect(0)], "the server has it");
    world.with_output(3).output(0, b"abc");
    assert_eq!(world.done(), [Action::Answer(2, output(0, b"abc"))]);
}

#[test]
fn a_poll_that_does_not_wait_knows_that_nothing_came() {
    let mut world = World::new();
    world.poll(1, 3, 0).with_output(3);
    assert_eq!(world.done()[1..], [Action::Answer(1, Answer::Nothing { next: 3 })], "ACCEPT says so");
    world.said();
    world.poll(2, 3, 0);
    assert_eq!(world.done(), []);
    assert_eq!(world.said(), [format!("ack 3 to {}", 3 + WINDOW), "barrier 1".into()]);
    world.say(Frame::Pong(Barrier::question(1)));
    assert_eq!(world.done(), [Action::Answer(2, Answer::Nothing { next: 3 })]);
    world.poll(3, 3, 0).done();
    world.output(3, b"x");
    assert_eq!(world.done(), [Action::Answer(3, output(3, b"x"))]);
}

#[test]
fn an_answer_to_an_earlier_question_does_not_count_and_a_heartbeat_asks_again() {
    let mut world = World::new();
    let heartbeat = Duration::from_secs(2);
    world.poll(1, 3, 0).let_in_with(Accept { output_next: 3, ..accept() }, heartbeat).done();
    world.poll(2, 3, 0).output(3, b"x").done();
    world.said();
    world.poll(3, 4, 0);
    assert_eq!(world.said(), [format!("ack 4 to {}", 4 + WINDOW), "barrier 2".into()]);
    world.say(Frame::Pong(Barrier::question(1)));
    assert_eq!(world.done(), [], "that was asked before this poll");
    // The server may answer but the last of several.
    assert_eq!(world.reader.deadline(), Some(world.now + heartbeat));
    world.pass(heartbeat);
    assert_eq!((world.said(), world.done()), (vec!["barrier 2".to_owned()], vec![]));
    world.say(Frame::Pong(Barrier::question(2)));
    assert_eq!(world.done(), [Action::Answer(3, Answer::Nothing { next: 4 })]);
}

#[test]
fn a_question_goes_with_the_poll_that_has_asked_it() {
    for leaves in [true, false] {
        let mut world = World::new();
        world.poll(1, 3, 0).with_output(3).done();
        world.poll(2, 3, 0);
        if leaves {
            world.reader.leave(world.now, 2);
        }
        world.poll(3, 3, 30).done();
        // Neither its answer nor the end of waiting for it makes the next one look again and again.
        world.say(Frame::Pong(Barrier::question(1)));
        for _ in 0..2 {
            assert_eq!(world.done(), [], "the next poll waits for output");
            assert!(world.reader.deadline().is_some_and(|at| at > world.now), "{leaves}");
            world.pass(Duration::from_secs(6));
        }
        world.output(3, b"x");
        assert_eq!(world.done(), [Action::Answer(3, output(3, b"x"))]);
    }
}

#[test]
fn a_wait_ends_in_time() {
    let mut world = World::new();
    world.poll(1, 3, 30).with_output(3).done();
    world.now += Duration::from_secs(14);
    assert!(world.reader.deadline().is_some_and(|at| at > world.now));
    world.say(Frame::Ping([0; 8])).pass(Duration::from_secs(14)).say(Frame::Ping([0; 8]));
    assert_eq!(world.done(), []);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.done(), [Action::Answer(1, Answer::Nothing { next: 3 })]);
}

#[test]
fn another_poll_takes_over_and_the_first_is_told() {
    let mut world = World::new();
    world.poll(1, 0, 30);
    world.let_in(accept()).done();
    world.poll(2, 0, 30);
    assert_eq!(world.done(), [Action::Answer(1, Answer::Over(Reason::TakenOver))]);
    world.output(0, b"x");
    assert_eq!(world.done(), [Action::Answer(2, output(0, b"x"))]);
}

#[test]
fn a_reader_elsewhere_takes_over_and_the_poll_is_told() {
    let mut world = World::new();
    world.poll(1, 0, 30).let_in(accept()).done();
    world.say(Frame::Detached(Detached::TakenOver));
    assert_eq!(world.done(), [Action::Answer(1, Answer::Over(Reason::TakenOver)), Action::Disconnect]);
    assert!(world.reader.is_over());
}

#[test]
fn it_stays_for_ten_seconds_after_the_last_poll() {
    let mut world = World::new();
    world.poll(1, 0, 0).let_in(accept()).done();
    world.pass(STAYS - Duration::from_millis(1));
    assert_eq!(world.done(), []);
    assert_eq!(world.reader.deadline(), Some(world.now + Duration::from_millis(1)));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.done(), [Action::Disconnect]);
    assert!(world.reader.is_over() && world.reader.deadline().is_none());
}

#[test]
fn who_leaves_while_waiting_is_forgotten_and_takes_nothing_along() {
    let mut world = World::new();
    world.poll(1, 0, 30).let_in(accept()).done();
    world.reader.leave(world.now, 1);
    world.output(0, b"abc");
    assert_eq!(world.done(), []);
    world.poll(2, 0, 0);
    assert_eq!(world.done(), [Action::Answer(2, output(0, b"abc"))]);
    world.reader.leave(world.now, 7);
    assert!(!world.reader.is_over());
}

#[test]
fn an_end_is_told_with_the_last_bytes_and_again() {
    let mut world = World::new();
    world.poll(1, 0, 0).let_in(Accept { output_next: 3, output_ended: true, ..accept() }).output(0, b"abc");
    assert_eq!(world.done(), [Action::Connect(0)], "the end is to come");
    world.say(Frame::Fin { offset: 3 });
    let ended =
        |offset, bytes: &[u8], end| Answer::Output { offset, bytes: bytes.to_vec(), end: Some(end), events: vec![] };
    assert_eq!(world.done(), [Action::Answer(1, ended(0, b"abc", End::Eof))]);
    for id in 2..4 {
        world.poll(id, 3, 30);
        assert_eq!(world.done(), [Action::Answer(id, ended(3, b"", End::Eof))]);
    }
    assert!(world.said().iter().all(|said| said.starts_with("ack 3")), "an end is not acknowledged by a poll");
    for (frame, end) in [
        (Frame::Reset { offset: 0, errno: 104 }, End::Reset(104)),
        (Frame::Destination(Destination::Refused), End::Failed(Destination::Refused)),
    ] {
        let mut world = World::new();
        world.poll(1, 0, 30).let_in(accept()).say(frame);
        assert_eq!(world.done()[1..], [Action::Answer(1, ended(0, b"", end))]);
    }
}

#[test]
fn the_oldest_is_where_the_server_begins() {
    let mut world = World::new();
    world.poll(1, OLDEST, 0).let_in(Accept { output_base: 7, output_next: 8, ..accept() });
    world.say(Frame::Gap { from: 0, to: 7 }).output(7, b"x");
    assert_eq!(world.done()[1..], [Action::Answer(1, output(7, b"x"))]);
}

#[test]
fn events_come_along_and_wake_those_who_want_that() {
    let mut world = World::new();
    let echo = |offset| Happened { offset, kind: event::ECHO, body: vec![1] };
    world.poll(1, 0, 30).let_in(accept()).say(Frame::Event { offset: 0, kind: event::ECHO, body: &[1] });
    assert_eq!(world.done(), [Action::Connect(0)]);
    world.output(0, b"x");
    let expected = Answer::Output { offset: 0, bytes: b"x".to_vec(), end: None, events: vec![echo(0)] };
    assert_eq!(world.done(), [Action::Answer(1, expected)]);
    let until = world.now + Duration::from_secs(9);
    world.reader.ask(world.now, 2, 1, Manner::Poll { until, events: true }, &mut world.actions);
    world.say(Frame::Event { offset: 1, kind: event::ECHO, body: &[1] });
    let expected = Answer::Output { offset: 1, bytes: vec![], end: None, events: vec![echo(1)] };
    assert_eq!(world.done(), [Action::Answer(2, expected)]);
}

#[test]
fn what_the_server_refuses_is_told() {
    for refusal in [Refusal::Denied, Refusal::OutOfRange { base: 3, next: 9 }] {
        let mut world = World::new();
        world.poll(1, 0, 30).done();
        world.reader.leave_for(world.now, Reason::Refused(refusal), &mut world.actions);
        assert_eq!(world.done(), [Action::Answer(1, Answer::Over(Reason::Refused(refusal))), Action::Disconnect]);
        assert!(world.reader.is_over());
    }
    let mut world = World::new();
    world.poll(1, 0, 30).let_in(accept()).done();
    world.say(Frame::Closed(Closed::ByClient));
    let closed = Answer::Over(Reason::Closed(Closed::ByClient));
    assert_eq!(world.done(), [Action::Answer(1, closed), Action::Disconnect]);
}

#[test]
fn a_connection_that_ends_is_nothing_that_came() {
    let mut world = World::new();
    world.poll(1, 5, 30).done();
    world.reader.lost(world.now, &mut world.actions);
    let unreachable = Answer::Over(Reason::Unreachable);
    assert_eq!(world.done(), [Action::Answer(1, unreachable), Action::Disconnect], "nobody has let it in");
    world.poll(2, 5, 30).with_output(5).done();
    world.reader.lost(world.now, &mut world.actions);
    assert_eq!(world.done(), [Action::Answer(2, Answer::Nothing { next: 5 }), Action::Disconnect]);
    world.poll(3, 5, 30).with_output(5).done();
    world.reader.close(world.now, &mut world.actions);
    assert_eq!(world.done(), [Action::Answer(3, Answer::Nothing { next: 5 })], "this gateway ends");
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let mut world = World::new();
    world.poll(1, 0, 55).done();
    world.pass(Duration::from_secs(12));
    assert_eq!(world.done(), [Action::Answer(1, Answer::Over(Reason::Unreachable)), Action::Disconnect]);
    world.poll(2, 0, 55).let_in(accept()).done();
    world.said();
    for _ in 0..2 {
        world.pass(Duration::from_secs(15));
        assert_eq!((world.said(), world.done()), (vec!["ping".to_owned()], vec![]));
    }
    world.pass(Duration::from_secs(15));
    assert_eq!(world.done(), [Action::Answer(2, Answer::Nothing { next: 0 }), Action::Disconnect]);
}

#[test]
fn a_server_that_breaks_the_rules_is_not_believed() {
    let mut world = World::new();
    world.poll(1, 0, 30).let_in(accept()).output(0, b"abc");
    let long = vec![0; WINDOW as usize + 1];
    let mut say = |frame| world.reader.said(world.now, frame, &mut Vec::new());
    assert_eq!(say(Frame::Data { offset: 4, bytes: b"x" }), Err(Breach::Offset));
    assert_eq!(say(Frame::Data { offset: 0, bytes: &long }), Err(Breach::Window));
    assert_eq!(say(Frame::Close), Err(Breach::Order));
    assert_eq!(say(Frame::Data { offset: 0, bytes: b"abcd" }), Ok(()), "what is known is dropped");
}

#[test]
fn who_follows_gets_pieces_in_their_order() {
    let mut world = World::new();
    world.follow(1, OLDEST).let_in(Accept { output_base: 2, output_next: 8, ..accept() });
    world.say(Frame::Event { offset: 4, kind: event::BINARY, body: &[0] }).output(2, b"abcdef");
    let happened = Happened { offset: 4, kind: event::BINARY, body: vec![0] };
    let expected = [
        Item::Begin { offset: 2 },
        Item::Gap { from: 0, to: 2 },
        Item::Output { offset: 2, bytes: b"ab".to_vec() },
        Item::Happened(happened),
        Item::Output { offset: 4, bytes: b"cdef".to_vec() },
    ];
    assert_eq!(world.pieces(), expected);
    world.say(Frame::Fin { offset: 8 });
    assert_eq!(world.pieces(), [Item::End(End::Eof)]);
    assert_eq!(world.pieces(), []);
}

#[test]
fn who_follows_comes_again_to_acknowledge() {
    let mut world = World::new();
    world.follow(1, 0).let_in(accept());
    let chunk = vec![7; 16 * 1024];
    let mut given = 0;
    let ended = loop {
        world.output(given, &chunk);
        let pieces = world.pieces();
        world.said();
        if pieces.contains(&Item::Over(Reason::Again)) {
            break given + chunk.len() as u64;
        }
        given += chunk.len() as u64;
    };
    assert_eq!(ended, super::follow::MOST_GIVEN);
    world.follow(2, ended);
    assert_eq!(world.said(), [format!("ack {ended} to {}", ended + WINDOW)]);
    world.output(ended, b"more");
    assert_eq!(
        world.pieces(),
        [Item::Begin { offset: ended }, Item::Output { offset: ended, bytes: b"more".to_vec() }]
    );
}

#[test]
fn who_follows_and_owes_much_comes_again_when_nothing_comes() {
    let mut world = World::new();
    world.follow(1, 0).let_in(accept()).output(0, &[7; 32 * 1024]);
    world.pieces();
    assert_eq!(world.reader.deadline(), Some(world.now + Duration::from_secs(1)));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.pieces(), [Item::Over(Reason::Again)]);
    world.follow(2, 32 * 1024).output(32 * 1024, b"little");
    world.pieces();
    world.pass(Duration::from_secs(9));
    assert_eq!(world.pieces(), [], "little is left for later");
}

#[test]
fn who_follows_is_told_of_a_takeover() {
    let mut world = World::new();
    world.follow(1, 0).let_in(accept()).done();
    world.poll(2, 0, 0);
    assert_eq!(world.done(), [Action::Ended(1, Reason::TakenOver)]);
}

#[test]
fn a_slow_follower_is_sent_no_more_than_a_window() {
    let mut world = World::new();
    world.follow(1, 0).let_in(accept());
    world.said();
    world.output(0, &vec![7; WINDOW as usize]);
    assert!(world.said().is_empty(), "nothing is granted while nothing is taken");
    while world
        .reader
        .take(world.now)
        .is_some_and(|item| !matches!(item, Item::Output { offset, .. } if offset >= WINDOW / 2))
    {}
    assert_eq!(world.said(), [format!("ack 0 to {}", WINDOW / 2 + 16 * 1024 + WINDOW)]);
}
