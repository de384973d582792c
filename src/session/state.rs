//! The decisions of one session: who is attached, what is sent to whom, when the destination is read from and told
//! that the input has ended, and when all is over.
//!
//! Pure: no descriptor, no clock, no log, no system call. The driver turns events into [`Input`]s and performs the
//! [`Action`]s in the order in which they are given. What is sent to clients is fetched by the driver, as much as a
//! connection takes ([`Session::transmit`]), so a client that does not read holds up nobody and nothing grows for it.
//! `docs/session.md` prints the state table; the tests walk it.

#![deny(clippy::wildcard_enum_match_arm, reason = "the compiler is the state table")]

use crate::session::frame::{Closed, Command, Destination, Detached, Frame};
use crate::session::replay::Replay;
use std::time::{Duration, Instant};

mod attach;
mod attachment;
mod client;
mod destination;
mod events;
mod policy;
#[cfg(test)]
pub(crate) mod tests;
mod time;
mod transmit;

use attachment::{Attachment, Role};
use events::Events;
pub use policy::{Allowance, Policy};

/// How many may observe a session at a time.
pub const MOST_OBSERVERS: usize = 8;
/// How many may send input beside the attached client at a time.
pub const MOST_WRITERS: usize = 8;

/// Identifies a client's connection; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub u64);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The creator of the session has its secret.
    Confirmed(Connection),
    /// A client says this.
    Said(Connection, &'a Frame<'a>),
    /// A client said what is no frame.
    Broke(Connection),
    /// A client's connection has ended.
    Left(Connection),
    /// The destination is connected.
    Connected,
    /// The destination cannot be connected to; one of `Refused`, `Timeout` and `Unresolved`.
    ConnectFailed(Destination),
    /// The destination has sent this.
    Output(&'a [u8]),
    /// Something happened between two bytes of the output.
    Event {
        /// What: see [`event`](crate::session::frame::event).
        kind: u8,
        /// At most [`MAX_EVENT`](crate::session::frame::MAX_EVENT) bytes.
        body: &'a [u8],
    },
    /// The destination has ended its output.
    Eof,
    /// The connection to the destination broke, with this errno(3).
    Reset(u32),
    /// So many bytes of [`Session::input`] have been written to the destination.
    Wrote(usize),
    /// The destination takes no more input.
    WriteFailed,
    /// The administrator wants nobody attached.
    Detach,
    /// The administrator wants an end.
    Close,
    /// The server ends in so many seconds.
    GoAway(u32),
    /// The server ends.
    Stop,
    /// The time of [`Session::deadline`] has come.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the destination, then report `Connected` or `ConnectFailed`.
    Connect,
    /// Read no more from the destination.
    StopReading,
    /// Read from the destination again.
    ReadOn,
    /// There is [input](Session::input) to be written to the destination.
    Write,
    /// The destination is told that the input has ended: shutdown(2).
    Shutdown,
    /// The connection to the destination, or the attempt to make one, is broken off.
    Break,
    /// The connection to the destination is of no more use, and closed.
    Release,
    /// There is something to [transmit](Session::transmit) to this client.
    Send(Connection),
    /// This client hears these last words, if it can, and is disconnected. Nothing that it says counts from now on.
    Dismiss(Connection, Farewell),
    /// The terminal's size, for the destination.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// A word for the destination that is not part of the input.
    Command(Command),
    /// The session is over. Nothing of it is left.
    End(Closed),
}

/// The last frame on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The session is over.
    Closed(Closed),
    /// The session goes on.
    Detached(Detached),
}

impl Farewell {
    /// As a frame.
    pub fn frame(self) -> Frame<'static> {
        match self {
            Farewell::Closed(reason) => Frame::Closed(reason),
            Farewell::Detached(reason) => Frame::Detached(reason),
        }
    }
}

/// What `status` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has shown that they know of it.
    Provisional,
    /// It has a client.
    Attached,
    /// It has none, and waits for one.
    Detached,
    /// The destination has ended; there may be a client that has not heard all.
    Ended,
    /// The destination was never reached.
    Failed,
    /// It is over.
    Gone,
}

/// How a session's life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until somebody shows that they know of it, or this time.
    Provisional {
        until: Instant,
    },
    Active,
    Gone,
}

/// How the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Eof,
    Reset(u32),
    Failed(Destination),
}

/// The end of the output: it is kept until it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    how: How,
    since: Instant,
    arrived: bool,
}

/// What becomes of the input when all of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InputState {
    /// It goes on.
    Open,
    /// It ends with what there is; `reset`: by breaking off.
    Ending { reset: bool },
    /// Its end has been passed on.
    Ended,
    /// The destination takes no more than it was sent; `ended`: the input had ended before.
    Dead { ended: bool, written: u64 },
}

/// One session.
#[derive(Debug)]
pub struct Session {
    policy: Policy,
    /// At present; the policy's is the most.
    allowance: Allowance,
    stage: Stage,
    epoch: u64,
    destination: Destination,
    /// As it was taken in, whoever sent it. Some is kept after it is written, to tell what is sent again from what is new.
    input: Replay,
    /// How many bytes of it writers have sent.
    from_writers: u64,
    input_state: InputState,
    output: Replay,
    end: Option<End>,
    events: Events,
    /// Whoever is connected: at most one of them is the attached client.
    attachments: Vec<Attachment>,
    /// When the last one left.
    alone_since: Instant,
    /// Since when the destination is not read from.
    blocked_since: Option<Instant>,
    blocked: Duration,
}

impl Session {
    /// The session that this connection has made. It is provisional.
    pub fn new(now: Instant, policy: Policy, creator: Connection) -> Self {
        let stage = Stage::Provisional { until: now + policy.provisional };
        let mut session = Session {
            stage,
            epoch: 1,
            destination: Destination::Connecting,
            input: Replay::new(policy.allowance.input),
            from_writers: 0,
            input_state: InputState::Open,
            output: Replay::new(policy.allowance.scrollback),
            allowance: policy.allowance,
            end: None,
            events: Events::default(),
            attachments: Vec::new(),
            alone_since: now,
            blocked_since: None,
            blocked: Duration::ZERO,
            policy,
        };
        let attachment = session.attachment(now, creator, Role::Client, 0);
        session.attachments.push(attachment);
        session
    }

    /// Takes in what happened, and appends what is to be done.
    pub fn on(&mut self, now: Instant, input: Input<'_>, actions: &mut Vec<Action>) {
        if self.stage == Stage::Gone {
            return;
        }
        match input {
            Input::Confirmed(connection) => self.confirmed(now, connection, actions),
            Input::Said(connection, frame) => self.said(now, connection, frame, actions),
            Input::Broke(connection) => self.dismiss(now, connection, Detached::Broke, actions),
            Input::Left(connection) => self.left(now, connection),
            Input::Connected => self.connected(now, actions),
            Input::ConnectFailed(destination) => self.connect_failed(now, destination, actions),
            Input::Output(bytes) => self.output(now, bytes, actions),
            Input::Event { kind, body } => self.event(kind, body, actions),
            Input::Eof => self.ended(now, How::Eof, actions),
            Input::Reset(errno) => self.ended(now, How::Reset(errno), actions),
            Input::Wrote(count) => self.wrote(now, count, actions),
            Input::WriteFailed => self.write_failed(actions),
            Input::Detach => self.dismiss_all(now, Farewell::Detached(Detached::ByAdministrator), actions),
            Input::Close => self.over(now, Closed::ByAdministrator, actions),
            Input::GoAway(grace) => self.for_all(actions, |attachment| attachment.owed.go_away = Some(grace)),
            Input::Stop => self.over(now, Closed::Stopped, actions),
            Input::Deadline => self.deadline_came(now, actions),
        }
        self.end_if_complete(now, actions);
    }

    /// What `status` calls it.
    pub fn phase(&self) -> Phase {
        match (self.stage, self.end) {
            (Stage::Gone, _) => Phase::Gone,
            (Stage::Provisional { .. }, _) => Phase::Provisional,
            (Stage::Active, Some(End { how: How::Failed(_), .. })) => Phase::Failed,
            (Stage::Active, Some(_)) => Phase::Ended,
            (Stage::Active, None) if self.client().is_some() => Phase::Attached,
            (Stage::Active, None) => Phase::Detached,
        }
    }

    /// The connection of the attached client.
    pub fn client(&self) -> Option<Connection> {
        self.client_attachment().map(|attachment| attachment.connection)
    }

    /// What has become of the destination.
    pub fn destination(&self) -> Destination {
        self.destination
    }

    /// How many clients were attached.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Input that the destination has not been sent, in two parts.
    pub fn input(&self) -> (&[u8], &[u8]) {
        self.input.parts(self.input.acknowledged(), usize::MAX)
    }

    /// How many bytes of input have arrived here, and how many of them the destination has been sent.
    pub fn bytes_in(&self) -> (u64, u64) {
        (self.input.next(), self.written())
    }

    /// How many bytes of output the destination has sent, and the first that there still is.
    pub fn bytes_out(&self) -> (u64, u64) {
        (self.output.next(), self.output.base())
    }

    /// How many bytes of output have not arrived.
    pub fn buffered(&self) -> usize {
        self.output.waiting()
    }

    /// How many bytes of output that have not arrived it may have.
    pub fn limit(&self) -> usize {
        self.allowance.output
    }

    /// How many bytes of output are to be read from the destination at the most; none while it is not to be read from.
    pub fn room(&self) -> usize {
        if self.blocked_since.is_some() { 0 } else { self.allowance.output.saturating_sub(self.output.waiting()) }
    }

    /// Whether all that came from either side has arrived at the other.
    pub fn is_flushed(&self) -> bool {
        self.input.waiting() == 0 && self.output.waiting() == 0
    }

    /// For how long, in all, the destination was not read from because its output did not arrive.
    pub fn blocked(&self, now: Instant) -> Duration {
        let running = self.blocked_since.map(|since| now.saturating_duration_since(since));
        self.blocked + running.unwrap_or_default()
    }

    /// How much memory its streams have, in bytes.
    pub fn memory(&self) -> usize {
        self.output.memory() + self.input.memory() + self.events.memory()
    }

    /// Lets it have so much from now on. What it has more, and has not arrived, it keeps, and takes what it has allowed
    /// before.
    pub fn allow(&mut self, now: Instant, allowance: Allowance, actions: &mut Vec<Action>) {
        self.allowance = allowance;
        self.output.keep(allowance.scrollback);
        self.input.keep(allowance.input);
        self.throttle(now, actions);
        self.widen(actions);
    }

    /// The session is over: everybody is told, and nothing is kept.
    fn over(&mut self, now: Instant, reason: Closed, actions: &mut Vec<Action>) {
        self.dismiss_all(now, Farewell::Closed(reason), actions);
        self.stage = Stage::Gone;
        self.output = Replay::new(0);
        self.input = Replay::new(0);
        self.events = Events::default();
        actions.push(Action::End(reason));
    }

    /// It is complete when both ends have arrived, or the output's has and nobody would take input.
    fn end_if_complete(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(End { arrived: true, how, .. }) = self.end else {
            return;
        };
        let input_over = match self.input_state {
            InputState::Open | InputState::Ending { .. } => how != How::Eof,
            InputState::Ended | InputState::Dead { .. } => true,
        };
        if input_over && self.stage != Stage::Gone {
            self.over(now, Closed::Complete, actions);
        }
    }
}
