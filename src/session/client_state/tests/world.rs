//! Clients back to back with the server's machine: the real bytes, over connections that are cut after so many of them.

use super::SECOND;
use crate::session::client_state::{Client, End, Event, Next, Progress, Settings, Ticket};
use crate::session::credential::{BootId, Nonce, Secret, SessionId, Transcript};
use crate::session::frame::{Closed, Decoder, Detached, Frame, Hello, Mode, Refusal, VERSION};
use crate::session::sessions::{Actions, Comer, Fresh, Limits, Sessions};
use crate::session::state::{Action, Allowance, Connection, Input, Policy};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(super) const BOOT: BootId = BootId([0xb0; 16]);

/// How many bytes a connection takes, each way, before it is cut; and whether its server notices at once.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    pub(super) up: usize,
    pub(super) down: usize,
    pub(super) noticed: bool,
}

pub(super) const WHOLE: Budget = Budget { up: usize::MAX, down: usize::MAX, noticed: true };

/// One connection.
struct Line {
    connection: Connection,
    budget: Budget,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    server: Decoder,
    client: Decoder,
    /// What the server has to know until it has let the client in.
    nonce: Nonce,
    greeted: bool,
    attached: bool,
    /// The server has said its last word.
    dismissed: bool,
}

/// A client, what uses it, and its connection.
pub(super) struct Seat {
    pub(super) client: Client,
    line: Option<Line>,
    pub(super) seen: Vec<u8>,
    pub(super) end: Option<End>,
    pub(super) uncertain: Vec<u8>,
    pub(super) last: Option<Last>,
    pub(super) attached: u32,
}

/// The last that the server said to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Refused(Refusal),
    Detached(Detached),
    Closed(Closed),
}

#[derive(Default)]
pub(super) struct Remote {
    pub(super) connects: u32,
    pub(super) got: Vec<u8>,
    pub(super) sent: usize,
    pub(super) shut: u32,
    stopped: bool,
    ended: bool,
    id: Option<SessionId>,
}

pub(super) struct World {
    pub(super) sessions: Sessions<u8>,
    pub(super) now: Instant,
    pub(super) seats: Vec<Seat>,
    pub(super) remote: Remote,
    pub(super) output: Vec<u8>,
    /// How many bytes passed each way, on all connections.
    pub(super) passed: (usize, usize),
    used: u64,
}

impl World {
    /// A server, and one client that wants a session whose destination says this.
    pub(super) fn new(output: Vec<u8>) -> World {
        let allowance = Allowance { output: 300, scrollback: 100, input: 100 };
        let policy = Policy { allowance, window: 200, max_payload: 64, ..Policy::default() };
        let now = Instant::now();
        let sessions = Sessions::new(BOOT, [3; 32], policy, Limits::default());
        let seats = vec![Seat::new(Client::new(now, settings()))];
        World { sessions, now, seats, remote: Remote::default(), output, passed: (0, 0), used: 0 }
    }

    /// Another client of the first one's session.
    pub(super) fn join(&mut self, mode: Mode, progress: Progress) -> usize {
        let settings = Settings { mode, ..settings() };
        let ticket = copy(self.seats[0].client.ticket().unwrap());
        self.seats.push(Seat::new(Client::resume(self.now, settings, ticket, progress)));
        self.seats.len() - 1
    }

    fn number(&mut self) -> [u8; 32] {
        self.used += 1;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.used.to_be_bytes());
        bytes
    }

    /// Whether the session that was connected is over.
    pub(super) fn has_ended(&self) -> bool {
        self.remote.id.is_some_and(|id| self.sessions.session(id).is_none())
    }

    /// Connects a client that wants to be connected, which takes the time that it waits.
    pub(super) fn connect(&mut self, seat: usize, budget: Budget) {
        let Next::At(at) = self.seats[seat].client.next() else {
            panic!("{:?}", self.seats[seat].client.next());
        };
        self.now = self.now.max(at);
        let (mine, nonce) = (Nonce(self.number()), Nonce(self.number()));
        let connection = Connection(self.used);
        self.seats[seat].client.connected(self.now, mine);
        self.seats[seat].line = Some(Line {
            connection,
            budget,
            up: VecDeque::new(),
            down: VecDeque::new(),
            server: Decoder::new(),
            client: Decoder::new(),
            nonce,
            greeted: false,
            attached: false,
            dismissed: false,
        });
    }

    pub(super) fn is_connected(&self, seat: usize) -> bool {
        self.seats[seat].line.is_some()
    }

    /// Lets so many bytes pass each way, and all that follows of them happen. False when nothing did.
    pub(super) fn step(&mut self, seat: usize, room: usize) -> bool {
        let Some(mut line) = self.seats[seat].line.take() else {
            return false;
        };
        let before = self.passed;
        let mut bytes = Vec::new();
        self.seats[seat].client.transmit(room, &mut bytes);
        line.up.extend(bytes);
        let mut alive = self.up(&mut line);
        if alive {
            let mut bytes = Vec::new();
            self.sessions.transmit(line.connection, room, &mut bytes);
            line.down.extend(bytes);
            alive = self.down(seat, &mut line);
        }
        if alive {
            self.seats[seat].line = Some(line);
        } else {
            self.seats[seat].client.lost(self.now);
            if line.budget.noticed {
                self.leave(line.connection);
            }
        }
        self.remote_turn(room);
        self.passed != before
    }

    /// Cuts a connection; its server notices or not.
    pub(super) fn cut(&mut self, seat: usize) {
        if let Some(line) = self.seats[seat].line.take() {
            self.seats[seat].client.lost(self.now);
            if line.budget.noticed {
                self.leave(line.connection);
            }
        }
    }

    fn leave(&mut self, connection: Connection) {
        let mut actions = Vec::new();
        self.sessions.left(self.now, connection, &mut actions);
        self.perform(actions);
    }

    /// Bytes go to the server; false when that cut the connection.
    fn up(&mut self, line: &mut Line) -> bool {
        let count = line.up.len().min(line.budget.up);
        let bytes = line.up.drain(..count).collect::<Vec<_>>();
        line.budget.up -= if line.budget.up == usize::MAX { 0 } else { count };
        self.passed.0 += count;
        let mut rest = &bytes[..];
        loop {
            rest = &rest[line.server.feed(rest)..];
            while self.hear(line) {}
            if rest.is_empty() {
                return line.budget.up > 0;
            }
        }
    }

    /// The server takes in a frame, if there is a whole one.
    fn hear(&mut self, line: &mut Line) -> bool {
        if !line.greeted {
            return greet(line);
        }
        let (mut out, mut actions) = (Vec::new(), Vec::new());
        let fresh = (self.number(), self.number());
        let Some(frame) = line.server.frame().unwrap() else {
            return false;
        };
        let connection = line.connection;
        let comer = |client| {
            let said = Transcript { version: VERSION, boot: BOOT, server: line.nonce, client };
            Comer { connection, source: Some(0), said }
        };
        let answer = match &frame {
            Frame::New(new) if !line.attached => {
                let id = SessionId(std::array::from_fn(|index| fresh.0[index]));
                let fresh = Fresh { id, secret: Secret::new(fresh.1), ttl: None };
                Some(self.sessions.create(self.now, comer(new.nonce), fresh, &mut actions))
            }
            Frame::Resume(resume) if !line.attached => {
                Some(self.sessions.resume(self.now, comer(resume.nonce), resume, &mut actions))
            }
            frame => {
                self.sessions.said(self.now, connection, frame, &mut actions);
                None
            }
        };
        match answer {
            Some(Ok(accept)) => {
                line.attached = true;
                Frame::Accept(accept).encode(&mut out);
                line.server.proved();
            }
            Some(Err(denial)) => {
                Frame::Reject(denial.refusal).encode(&mut out);
                line.dismissed = true;
            }
            None => {}
        }
        line.down.extend(out);
        for (id, action) in &actions {
            if let Action::Dismiss(whom, farewell) = action
                && *whom == connection
            {
                let mut out = Vec::new();
                farewell.frame().encode(&mut out);
                line.down.extend(out);
                line.dismissed = true;
                assert!(self.remote.id.is_none_or(|known| known == *id));
            }
        }
        self.perform(actions);
        true
    }

    fn perform(&mut self, actions: Actions) {
        for (id, action) in actions {
            match action {
                Action::Connect => {
                    self.remote.connects += 1;
                    self.remote.id = Some(id);
                    self.tell(Input::Connected);
                }
                Action::StopReading => self.remote.stopped = true,
                Action::ReadOn => self.remote.stopped = false,
                Action::Shutdown => self.remote.shut += 1,
                Action::Dismiss(connection, farewell) => {
                    assert_ne!(farewell.frame(), Frame::Detached(Detached::Broke), "no client breaks anything");
                    let lines = self.seats.iter_mut().filter_map(|seat| seat.line.as_mut());
                    for line in lines.filter(|line| line.connection == connection) {
                        let mut out = Vec::new();
                        farewell.frame().encode(&mut out);
                        line.down.extend(out);
                        line.dismissed = true;
                    }
                }
                Action::Write
                | Action::Break
                | Action::Release
                | Action::Send(_)
                | Action::Resize { .. }
                | Action::Command(_)
                | Action::End(_) => {}
            }
        }
    }

    /// The destination's connection breaks.
    pub(super) fn break_off(&mut self) {
        self.remote.ended = true;
        self.tell(Input::Reset(104));
    }

    fn tell(&mut self, input: Input<'_>) {
        let mut actions = Vec::new();
        if let Some(id) = self.remote.id {
            self.sessions.on(self.now, id, input, &mut actions);
        }
        self.perform(actions);
    }

    /// Bytes go to the client; false when that cut the connection, or the server had no more to say.
    fn down(&mut self, seat: usize, line: &mut Line) -> bool {
        let count = line.down.len().min(line.budget.down);
        let bytes = line.down.drain(..count).collect::<Vec<_>>();
        line.budget.down -= if line.budget.down == usize::MAX { 0 } else { count };
        self.passed.1 += count;
        let seat = &mut self.seats[seat];
        let mut rest = &bytes[..];
        loop {
            rest = &rest[line.client.feed(rest)..];
            while let Some(frame) = line.client.frame().unwrap() {
                let event = seat.client.said(self.now, frame).unwrap();
                let attached = matches!(event, Some(Event::Attached { .. }));
                event.into_iter().for_each(|event| seat.hears(event));
                if attached {
                    line.client.proved();
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        line.budget.down > 0 && !(line.dismissed && line.down.is_empty())
    }

    /// The destination says more, as far as it is read from, and gets what there is for it.
    fn remote_turn(&mut self, room: usize) {
        let Some(session) = self.remote.id.and_then(|id| self.sessions.session(id)) else {
            return;
        };
        let (front, back) = session.input();
        let taken = front.iter().chain(back).take(room).copied().collect::<Vec<_>>();
        let length = if self.remote.stopped { 0 } else { room.min(session.room()) };
        let end = self.output.len().min(self.remote.sent + length);
        let said = self.output[self.remote.sent..end].to_vec();
        self.remote.sent = end;
        self.remote.got.extend(&taken);
        if !taken.is_empty() {
            self.tell(Input::Wrote(taken.len()));
        }
        if !said.is_empty() {
            self.tell(Input::Output(&said));
        }
        if self.remote.sent == self.output.len() && !self.remote.ended {
            self.remote.ended = true;
            self.tell(Input::Eof);
        }
    }

    /// Nothing moves by itself: the next time for which anybody waits.
    pub(super) fn pass(&mut self) {
        let clients = self.seats.iter().filter_map(|seat| seat.client.deadline());
        let next = clients.chain(self.sessions.deadline()).min();
        self.now = next.map_or(self.now + SECOND, |next| next.max(self.now + Duration::from_millis(1)));
        for seat in &mut self.seats {
            if seat.client.tick(self.now).is_err() {
                seat.line = None;
            }
        }
        let mut actions = Vec::new();
        self.sessions.deadline_came(self.now, &mut actions);
        self.perform(actions);
    }
}

/// HELLO, once the preface is there.
fn greet(line: &mut Line) -> bool {
    let Some(versions) = line.server.preface().unwrap() else {
        return false;
    };
    let hello = Hello {
        version: versions.common().unwrap(),
        boot: BOOT,
        nonce: line.nonce,
        max_payload: 64,
        window: 200,
        heartbeat: 15,
        ttl: 3600,
    };
    line.greeted = true;
    let mut out = Vec::new();
    Frame::Hello(hello).encode(&mut out);
    line.down.extend(out);
    true
}

fn settings() -> Settings {
    Settings { window: 150, input: 120, ..Settings::default() }
}

pub(super) fn copy(ticket: &Ticket) -> Ticket {
    Ticket { id: ticket.id, secret: Secret::new(*ticket.secret.bytes()), boot: ticket.boot }
}

impl Seat {
    fn new(client: Client) -> Seat {
        let seen = vec![0; client.progress().output as usize];
        Seat { client, line: None, seen, end: None, uncertain: Vec::new(), last: None, attached: 0 }
    }

    fn hears(&mut self, event: Event<'_>) {
        match event {
            Event::Attached { new, .. } => {
                if new {
                    self.client.kept();
                }
                self.attached += 1;
            }
            Event::Overtaken { uncertain } => self.uncertain.extend(uncertain),
            Event::Output { offset, bytes } => {
                assert_eq!(offset, self.seen.len() as u64, "in order, and once");
                self.seen.extend(bytes);
            }
            Event::Gap { from, to } => panic!("a gap from {from} to {to}"),
            Event::Ended(end) => {
                assert_eq!(self.end.replace(end), None, "told twice");
            }
            Event::Refused(refusal) => self.last = Some(Last::Refused(refusal)),
            Event::Detached(reason) => self.last = Some(Last::Detached(reason)),
            Event::Closed(reason) => self.last = Some(Last::Closed(reason)),
            Event::Destination(_) | Event::Happened { .. } | Event::Arrived { .. } | Event::GoAway(_) => {}
        }
    }

    /// All that was seen is dealt with.
    pub(super) fn deal(&mut self, now: Instant) {
        self.client.done(now, self.seen.len() as u64);
        if self.end.is_some() {
            self.client.end_done();
        }
    }
}
