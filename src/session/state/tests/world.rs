//! A session with a destination and clients that speak the real bytes, over connections that can be cut anywhere and
//! that nobody need notice.

use super::{byte, pattern};
use crate::session::frame::{Accept, Ack, Closed, Decoder, Detached, Frame, Mode, OLDEST, Refusal};
use crate::session::state::{Action, Connection, Farewell, Input, Policy, Session};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

const OUTPUT: u64 = 0;
const INPUT: u64 = 1;

/// xorshift64*: the same walk on every run, so that a failure can be repeated from its seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// One connection: bytes under way, what each end has made of them, and the client's end.
pub(super) struct Pipe {
    pub(super) view: View,
    pub(super) up: VecDeque<u8>,
    pub(super) down: VecDeque<u8>,
    server: Decoder,
    client: Decoder,
    /// The client's end is closed.
    pub(super) cut: bool,
    fin_sent: bool,
}

/// What a client makes of one connection.
pub(super) struct View {
    mode: Mode,
    asked: u64,
    /// Where the output has come to, once the answer is there.
    position: Option<u64>,
    /// Input that was sent, and may be.
    sent: u64,
    granted: u64,
    /// What the server has said last. It does not hear the client any more.
    pub(super) dismissed: Option<Farewell>,
}

/// What the client knows, whatever its connection.
#[derive(Default)]
pub(super) struct Client {
    /// Output that has arrived.
    pub(super) received: u64,
    /// Input that it has to send in all, so far.
    pub(super) typed: u64,
    pub(super) acknowledged: u64,
    /// It has no more to say.
    pub(super) finished: bool,
    pub(super) heard_end: bool,
    pub(super) gaps: u32,
    answers: u32,
}

#[derive(Default)]
pub(super) struct Remote {
    pub(super) connects: u32,
    pub(super) connected: bool,
    pub(super) sent: u64,
    pub(super) got: u64,
    pub(super) stopped: bool,
    pub(super) shut: bool,
    pub(super) ended: bool,
    pub(super) released: bool,
}

pub(super) struct World {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) pipes: BTreeMap<Connection, Pipe>,
    pub(super) client: Client,
    pub(super) remote: Remote,
    pub(super) over: Option<Closed>,
    pub(super) used: u64,
    pub(super) taken_over: u32,
    limit: usize,
}

impl World {
    /// With a session that connection 1 has made; its answer is under way.
    pub(super) fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let limit = policy.allowance.output;
        let session = Session::new(now, policy, Connection(1));
        let accept = session.accept();
        let (client, remote, pipes) = (Client::default(), Remote::default(), BTreeMap::new());
        let mut world = World { session, now, pipes, client, remote, over: None, used: 1, taken_over: 0, limit };
        world.open(Connection(1), Mode::Steal, 0, accept);
        world
    }

    fn open(&mut self, connection: Connection, mode: Mode, asked: u64, accept: Accept) {
        let (mut server, mut client) = (Decoder::new(), Decoder::new());
        server.proved();
        client.proved();
        let mut answer = Vec::new();
        Frame::Accept(accept).encode(&mut answer);
        let (up, down) = (VecDeque::new(), VecDeque::from(answer));
        let view = View { mode, asked, position: None, sent: 0, granted: 0, dismissed: None };
        let pipe = Pipe { view, up, down, server, client, cut: false, fin_sent: false };
        self.pipes.insert(connection, pipe);
    }

    pub(super) fn feed(&mut self, input: Input<'_>) {
        let mut actions = Vec::new();
        self.session.on(self.now, input, &mut actions);
        self.perform(actions);
    }

    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        assert!(self.over.is_none() || actions.is_empty(), "after the end: {actions:?}");
        for action in actions {
            match action {
                Action::Connect => self.remote.connects += 1,
                Action::StopReading => assert!(!std::mem::replace(&mut self.remote.stopped, true)),
                Action::ReadOn => assert!(std::mem::replace(&mut self.remote.stopped, false)),
                Action::Write => assert!(self.remote.connected && !self.remote.released),
                Action::Shutdown => assert!(!std::mem::replace(&mut self.remote.shut, true), "shut down twice"),
                Action::Release => assert!(!std::mem::replace(&mut self.remote.released, true), "released twice"),
                Action::Break => {}
                Action::Send(connection) => {
                    assert!(self.pipes[&connection].view.dismissed.is_none(), "a word for one that was dismissed");
                }
                Action::Dismiss(connection, farewell) => self.dismiss(connection, farewell),
                Action::Resize { .. } | Action::Command(_) => {}
                Action::End(reason) => self.over = Some(reason),
            }
        }
    }

    fn dismiss(&mut self, connection: Connection, farewell: Farewell) {
        let pipe = self.pipes.get_mut(&connection).unwrap();
        assert!(pipe.view.dismissed.is_none(), "dismissed twice");
        assert_ne!(farewell, Farewell::Detached(Detached::Broke), "the client has broken nothing");
        pipe.view.dismissed = Some(farewell);
        self.taken_over += u32::from(farewell == Farewell::Detached(Detached::TakenOver));
        let mut bytes = Vec::new();
        farewell.frame().encode(&mut bytes);
        pipe.down.extend(bytes);
    }

    /// A new connection resumes; the answer is under way when it is a good one.
    pub(super) fn resume(&mut self, mode: Mode, asked: u64) -> Result<Connection, Refusal> {
        self.used += 1;
        let connection = Connection(self.used);
        let mut actions = Vec::new();
        let answer = self.session.attach(self.now, (connection, mode), asked, &mut actions);
        if let Ok(accept) = answer {
            self.open(connection, mode, asked, accept);
            self.perform(actions);
            return Ok(connection);
        }
        assert!(actions.is_empty(), "refused, and yet: {actions:?}");
        answer.map(|_| connection)
    }

    /// The server sends to this client.
    pub(super) fn transmit(&mut self, connection: Connection, room: usize) {
        let pipe = self.pipes.get_mut(&connection).unwrap();
        if pipe.view.dismissed.is_none() {
            let mut bytes = Vec::new();
            self.session.transmit(connection, room, &mut bytes);
            pipe.down.extend(bytes);
        }
    }

    /// So many bytes arrive at the client, unless it is gone.
    pub(super) fn down(&mut self, connection: Connection, count: usize) {
        let pipe = self.pipes.get_mut(&connection).unwrap();
        let count = count.min(pipe.down.len());
        let bytes = pipe.down.drain(..count).collect::<Vec<_>>();
        if pipe.cut {
            return;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[pipe.client.feed(rest)..];
            while let Some(frame) = pipe.client.frame().unwrap() {
                self.client.hears(frame, &mut pipe.view);
            }
        }
    }

    /// So many bytes arrive at the server. What was sent by one that is dismissed or gone may still arrive.
    pub(super) fn up(&mut self, connection: Connection, count: usize) {
        let pipe = self.pipes.get_mut(&connection).unwrap();
        let count = count.min(pipe.up.len());
        let bytes = pipe.up.drain(..count).collect::<Vec<_>>();
        let mut decoder = std::mem::take(&mut pipe.server);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[decoder.feed(rest)..];
            while let Some(frame) = decoder.frame().unwrap() {
                let input = match frame {
                    Frame::Confirm(_) => Input::Confirmed(connection),
                    ref frame => Input::Said(connection, frame),
                };
                self.feed(input);
            }
        }
        self.pipes.get_mut(&connection).unwrap().server = decoder;
    }

    /// The client says what it has to say, if it may say anything yet.
    pub(super) fn speak(&mut self, connection: Connection, most: u64, window: u32) {
        let pipe = self.pipes.get_mut(&connection).unwrap();
        let Some(position) = pipe.view.position.filter(|_| !pipe.cut) else {
            return;
        };
        let mut bytes = Vec::new();
        let end = self.client.heard_end && position == self.remote.sent;
        Frame::Ack(Ack { next: position, window, end, written: None }).encode(&mut bytes);
        if pipe.view.mode == Mode::Observe {
            pipe.up.extend(bytes);
            return;
        }
        let until = self.client.typed.min(pipe.view.granted).min(pipe.view.sent + most);
        if until > pipe.view.sent {
            let length = (until - pipe.view.sent) as usize;
            Frame::Data { offset: pipe.view.sent, bytes: &pattern(pipe.view.sent, length, INPUT) }.encode(&mut bytes);
            pipe.view.sent = until;
        }
        if self.client.finished && pipe.view.sent == self.client.typed && pipe.view.granted > 0 && !pipe.fin_sent {
            pipe.fin_sent = true;
            Frame::Fin { offset: pipe.view.sent }.encode(&mut bytes);
        }
        pipe.up.extend(bytes);
    }

    pub(super) fn say(&mut self, connection: Connection, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.pipes.get_mut(&connection).unwrap().up.extend(bytes);
    }

    /// The client's end closes. The server has not noticed.
    pub(super) fn cut(&mut self, connection: Connection) {
        self.pipes.get_mut(&connection).unwrap().cut = true;
    }

    /// The server notices that a connection has ended.
    pub(super) fn notice(&mut self, connection: Connection) {
        self.pipes.get_mut(&connection).unwrap().up.clear();
        self.feed(Input::Left(connection));
    }

    /// The destination sends up to so many bytes, as far as it is read from.
    pub(super) fn produce(&mut self, most: usize) {
        if self.remote.connected && !self.remote.ended && !self.remote.stopped {
            let length = most.min(self.session.room());
            let bytes = pattern(self.remote.sent, length, OUTPUT);
            self.remote.sent += length as u64;
            self.feed(Input::Output(&bytes));
        }
    }

    /// Up to so many bytes of input are written to the destination.
    pub(super) fn consume(&mut self, most: usize) {
        if !self.remote.connected || self.remote.released {
            return;
        }
        let (front, back) = self.session.input();
        let taken = front.iter().chain(back).take(most).copied().collect::<Vec<_>>();
        assert!(taken.is_empty() || !self.remote.shut, "input after its end");
        assert_eq!(taken, pattern(self.remote.got, taken.len(), INPUT), "at {}", self.remote.got);
        self.remote.got += taken.len() as u64;
        if !taken.is_empty() {
            self.feed(Input::Wrote(taken.len()));
        }
    }

    pub(super) fn eof(&mut self) {
        if self.remote.connected && !self.remote.ended {
            self.remote.ended = true;
            self.feed(Input::Eof);
        }
    }

    /// Lets everything on this connection take its course.
    pub(super) fn pump(&mut self, connection: Connection) {
        self.transmit(connection, 700);
        self.down(connection, usize::MAX);
        self.speak(connection, 500, 600);
        self.up(connection, usize::MAX);
        self.consume(usize::MAX);
    }

    /// What holds at any time.
    pub(super) fn check(&self) {
        assert!(self.remote.connects <= 1, "connected to twice");
        assert!(self.session.buffered() <= self.limit, "{} are buffered", self.session.buffered());
        let reading = self.over.is_none() && !self.remote.ended;
        assert!(!reading || self.remote.stopped == (self.session.room() == 0));
        assert!(self.client.acknowledged <= self.session.bytes_in().0 || self.over.is_some());
        assert!(self.client.received <= self.remote.sent);
        if self.over.is_none() {
            assert_eq!(self.session.bytes_out().0, self.remote.sent);
            assert!(self.session.deadline().is_some() || self.session.client().is_none());
        } else {
            assert_eq!((self.session.deadline(), self.session.memory()), (None, 0));
        }
    }
}

impl Client {
    fn hears(&mut self, frame: Frame<'_>, view: &mut View) {
        match frame {
            Frame::Accept(accept) => {
                view.position = Some(if view.asked == OLDEST { accept.output_base } else { view.asked });
                // One that is not sure of the answer may begin with what it knows to have arrived.
                self.answers += 1;
                view.sent = if self.answers.is_multiple_of(2) { accept.input_next } else { self.acknowledged };
                assert!(
                    accept.input_next >= self.acknowledged || view.dismissed.is_some() || view.mode == Mode::Observe
                );
                assert!(accept.input_next <= self.typed);
            }
            Frame::Data { offset, bytes } => {
                assert_eq!(Some(offset), view.position, "out of order");
                assert!((offset..).zip(bytes).all(|(offset, found)| *found == byte(offset, OUTPUT)), "at {offset}");
                view.position = Some(offset + bytes.len() as u64);
                if view.mode != Mode::Observe {
                    self.received = self.received.max(offset + bytes.len() as u64);
                }
            }
            Frame::Gap { from, to } => {
                assert!(view.position == Some(from) || from == 0 && view.asked == OLDEST);
                assert!(view.mode == Mode::Observe || view.asked == OLDEST, "a gap for the client");
                view.position = Some(to);
                self.gaps += 1;
            }
            Frame::Ack(ack) => {
                assert!(ack.next <= self.typed && ack.written.unwrap() <= ack.next);
                view.granted = ack.next + u64::from(ack.window);
                self.acknowledged = self.acknowledged.max(ack.next);
            }
            Frame::Fin { offset } => {
                assert_eq!(Some(offset), view.position, "an end before the end");
                self.heard_end |= view.mode != Mode::Observe;
            }
            Frame::Ping(_)
            | Frame::Destination(_)
            | Frame::Event { .. }
            | Frame::GoAway { .. }
            | Frame::Closed(_)
            | Frame::Detached(_) => {}
            other => panic!("a server does not say {other:?}"),
        }
    }
}
