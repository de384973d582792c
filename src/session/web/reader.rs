//! Who reads a session's output through this gateway, one request after the other. Pure.
//!
//! HTTP has requests, and a session has a client. Between two requests the session's client is this: it stays attached for
//! [`STAYS`] after the last one, so that the next goes on by the same connection. It gives each byte out once; who wants
//! bytes again, or from elsewhere, comes anew to the server, which has them. So nothing is lost with this gateway.
//!
//! A request acknowledges all before the byte that it asks for, and nothing else does: what was written to a socket may
//! not have arrived. A request that comes while another one waits takes over, and the other one is told.

use super::handshake::{Attached, Handshake, Step, Terms};
use crate::session::client_state::{Breach, End};
use crate::session::frame::{Ack, Closed, Destination, Detached, Frame, OLDEST, Refusal};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod follow;
mod reading;
#[cfg(test)]
mod tests;
mod time;

pub use follow::Item;

/// So long after the last request it stays attached.
pub const STAYS: Duration = Duration::from_secs(10);
/// So much output is taken in that nobody has asked for yet.
pub const WINDOW: u64 = 256 * 1024;
/// What the server said that there is shall come within this time.
const COMES: Duration = Duration::from_secs(5);
/// Events that nobody has asked for yet; beyond, the oldest are dropped.
const MOST_EVENTS: usize = 512;

/// Names a request; none is used twice.
pub type RequestId = u64;

/// How a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Once; what there is, or what comes until this time.
    Poll {
        /// Not later than this.
        until: Instant,
        /// An event alone is worth an answer.
        events: bool,
    },
    /// All that comes, as it comes.
    Follow,
}

/// Something that happened between two bytes of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// How many bytes came before it.
    pub offset: u64,
    /// What: see [`event`](crate::session::frame::event).
    pub kind: u8,
    /// More about it.
    pub body: Vec<u8>,
}

/// Why a request gets no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Another one came.
    TakenOver,
    /// It was sent away.
    Dismissed(Detached),
    /// The session is over.
    Closed(Closed),
    /// The server does not let it in.
    Refused(Refusal),
    /// The server cannot be reached, or is no server of sessions.
    Unreachable,
    /// Nothing is wrong, but it has to come again: the connection to the server ended, or so much was given that is not
    /// acknowledged.
    Again,
}

/// What a poll is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Output from this byte on.
    Output {
        /// Where the first byte is.
        offset: u64,
        /// None where only an event or the end has come.
        bytes: Vec<u8>,
        /// The output ends there.
        end: Option<End>,
        /// What happened meanwhile.
        events: Vec<Happened>,
    },
    /// Nothing came.
    Nothing {
        /// The first byte that has not come.
        next: u64,
    },
    /// There is no output for it.
    Over(Reason),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the server, and come to the session as its client, with output from here on; an earlier connection
    /// is left.
    Connect(u64),
    /// Leave the connection.
    Disconnect,
    /// Answer a poll.
    Answer(RequestId, Answer),
    /// Nobody follows any more, for this reason.
    Ended(RequestId, Reason),
}

#[derive(Debug)]
struct Request {
    id: RequestId,
    manner: Manner,
    /// Where it began to read, once that is known.
    start: u64,
    /// One who follows was given the first piece.
    begun: bool,
}

#[derive(Debug)]
enum Link {
    None,
    /// Where the output shall begin, and how long the server may take.
    Coming {
        next: u64,
        until: Instant,
    },
    Attached(Box<Reading>),
}

/// A connection that is attached.
#[derive(Debug)]
struct Reading {
    terms: Terms,
    /// What has come and nobody was given begins here.
    given: u64,
    bytes: VecDeque<u8>,
    events: VecDeque<Happened>,
    /// Output before this is not to be had.
    gap: Option<(u64, u64)>,
    end: Option<End>,
    end_given: bool,
    acknowledged: u64,
    granted: u64,
    /// There is output up to here, and perhaps its end, and so much is waited for.
    goal: Option<Goal>,
    /// Nothing can have come before the answer to this.
    barrier: Option<Barrier>,
    /// How many barriers there were.
    barriers: u32,
    heard: Instant,
    pings: u32,
    moved: Instant,
    owed: Owed,
}

#[derive(Clone, Copy, Debug)]
struct Goal {
    next: u64,
    end: bool,
    until: Instant,
}

/// A question whether anything has come, and until when its answer is waited for.
#[derive(Clone, Copy, Debug)]
struct Barrier {
    number: u32,
    until: Instant,
}

impl Barrier {
    /// What it asks: each something else, and no PING of the heartbeat the same.
    fn question(number: u32) -> [u8; 8] {
        (1 << 63 | u64::from(number)).to_be_bytes()
    }
}

/// Frames that are due, each kind at most once.
#[derive(Debug, Default)]
struct Owed {
    ack: bool,
    barrier: bool,
    ping: bool,
    pong: Option<[u8; 8]>,
}

/// The reader of one session.
#[derive(Debug)]
pub struct Reader {
    request: Option<Request>,
    /// Since when nobody asks.
    idle: Instant,
    link: Link,
}

impl Reader {
    /// One that nobody has asked anything yet.
    pub fn new(now: Instant) -> Reader {
        Reader { request: None, idle: now, link: Link::None }
    }

    /// Somebody asks for output from a byte on, or for the [oldest](OLDEST) that there is.
    pub fn ask(&mut self, now: Instant, id: RequestId, from: u64, manner: Manner, actions: &mut Vec<Action>) {
        self.finish(now, Reason::TakenOver, actions);
        self.request = Some(Request { id, manner, start: from, begun: false });
        match &mut self.link {
            Link::Attached(reading) if reading.given == from => reading.go_on(now, manner),
            Link::Coming { next, .. } if *next == from => {}
            Link::Attached(_) | Link::Coming { .. } | Link::None => {
                self.link = Link::Coming { next: from, until: now + time::PATIENCE };
                actions.push(Action::Connect(from));
            }
        }
        self.settle(now, actions);
    }

    /// Whoever asked has gone.
    pub fn leave(&mut self, now: Instant, id: RequestId) {
        if self.request.as_ref().is_some_and(|request| request.id == id) {
            (self.request, self.idle) = (None, now);
        }
    }

    /// The server says something to a connection that is still in its handshake.
    ///
    /// # Errors
    /// It breaks the protocol. The connection is to be [given up](Reader::lost).
    pub fn greeted(
        &mut self,
        now: Instant,
        (handshake, frame): (&mut Handshake, Frame<'_>),
        out: &mut Vec<u8>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        match handshake.hear(frame, out)? {
            Step::Wait => {}
            Step::Refused(refusal) => self.leave_for(now, Reason::Refused(refusal), actions),
            Step::Attached(attached) => self.attached(now, *attached),
        }
        Ok(())
    }

    fn attached(&mut self, now: Instant, attached: Attached) {
        let Link::Coming { next, .. } = self.link else {
            return;
        };
        let reading = Reading::new(now, next, &attached);
        if let Some(request) = &mut self.request {
            request.start = reading.given;
        }
        self.link = Link::Attached(Box::new(reading));
    }

    /// Whether the server has proved itself.
    pub fn is_attached(&self) -> bool {
        matches!(self.link, Link::Attached(_))
    }

    /// The server says something. When all that has come was said, it is to be [settled](Reader::settle).
    ///
    /// # Errors
    /// It breaks the protocol. The connection is to be [given up](Reader::lost).
    pub fn said(&mut self, now: Instant, frame: Frame<'_>, actions: &mut Vec<Action>) -> Result<(), Breach> {
        let Link::Attached(reading) = &mut self.link else {
            return Ok(());
        };
        (reading.heard, reading.pings) = (now, 0);
        match frame {
            Frame::Data { offset, bytes } => return reading.output(now, offset, bytes),
            Frame::Event { offset, kind, body } => reading.happened(offset, kind, body),
            Frame::Fin { .. } => reading.end = Some(End::Eof),
            Frame::Reset { errno, .. } => reading.end = Some(End::Reset(errno)),
            Frame::Destination(Destination::Connecting | Destination::Open) => {}
            Frame::Destination(failed) => reading.end = Some(End::Failed(failed)),
            Frame::Ping(bytes) => reading.owed.pong = Some(bytes),
            Frame::Pong(bytes) => reading.answered(now, bytes),
            // What is gone in the middle can only be had by nobody: the next request is told so by the server.
            Frame::Gap { to, .. } if to > reading.come() => self.lost(now, actions),
            Frame::Closed(reason) => self.leave_for(now, Reason::Closed(reason), actions),
            Frame::Detached(Detached::TakenOver) => self.leave_for(now, Reason::TakenOver, actions),
            Frame::Detached(reason @ Detached::ByAdministrator) => {
                self.leave_for(now, Reason::Dismissed(reason), actions);
            }
            Frame::Detached(_) => self.lost(now, actions),
            Frame::Ack(_) | Frame::Input { .. } | Frame::Gap { .. } | Frame::GoAway { .. } => {}
            Frame::Hello(_)
            | Frame::New(_)
            | Frame::Resume(_)
            | Frame::Confirm(_)
            | Frame::Accept(_)
            | Frame::Reject(_)
            | Frame::Append { .. }
            | Frame::Close
            | Frame::Resize { .. }
            | Frame::Command(_)
            | Frame::Seen { .. } => return Err(Breach::Order),
        }
        Ok(())
    }

    /// Answers a poll if that can be done by now.
    pub fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let (Some(request), Link::Attached(reading)) = (&self.request, &mut self.link) else {
            return;
        };
        let Manner::Poll { until, events } = request.manner else {
            return;
        };
        let id = request.id;
        if let Some(answer) = reading.answer(now, until, events) {
            (self.request, self.idle) = (None, now);
            actions.push(Action::Answer(id, answer));
        }
    }

    /// The connection to the server has ended, or could not be made.
    pub fn lost(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let over = match self.link {
            Link::None => return,
            Link::Coming { .. } => Reason::Unreachable,
            Link::Attached(_) => Reason::Again,
        };
        self.leave_for(now, over, actions);
    }

    /// Nobody shall wait any more: this gateway ends.
    pub fn close(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.finish(now, Reason::Again, actions);
    }

    /// Whether there is nothing left to do.
    pub fn is_over(&self) -> bool {
        self.request.is_none() && matches!(self.link, Link::None)
    }

    fn leave_for(&mut self, now: Instant, over: Reason, actions: &mut Vec<Action>) {
        self.finish(now, over, actions);
        self.link = Link::None;
        actions.push(Action::Disconnect);
    }

    /// Whoever asks is told why it gets no more. A poll that has to come again got nothing, which is an answer.
    fn finish(&mut self, now: Instant, over: Reason, actions: &mut Vec<Action>) {
        let Some(Request { id, manner, start, .. }) = self.request.take() else {
            return;
        };
        self.idle = now;
        actions.push(match (manner, over) {
            (Manner::Follow, over) => Action::Ended(id, over),
            (Manner::Poll { .. }, Reason::Again) if start != OLDEST => {
                Action::Answer(id, Answer::Nothing { next: start })
            }
            (Manner::Poll { .. }, over) => Action::Answer(id, Answer::Over(over)),
        });
    }

    /// Appends what there is to say to the server.
    pub fn transmit(&mut self, out: &mut Vec<u8>) {
        let Link::Attached(reading) = &mut self.link else {
            return;
        };
        let owed = std::mem::take(&mut reading.owed);
        if owed.ack {
            reading.granted = reading.granted.max(reading.given + WINDOW);
            let window = u32::try_from(reading.granted - reading.acknowledged).unwrap_or(u32::MAX);
            Frame::Ack(Ack { next: reading.acknowledged, window, end: false, written: None }).encode(out);
        }
        match reading.barrier {
            // A server that is asked several times may answer the last one alone: so the heartbeat asks this again.
            Some(barrier) if owed.barrier || owed.ping => {
                Frame::Ping(Barrier::question(barrier.number)).encode(out);
            }
            _ if owed.ping => Frame::Ping(u64::from(reading.pings).to_be_bytes()).encode(out),
            _ => {}
        }
        if let Some(bytes) = owed.pong {
            Frame::Pong(bytes).encode(out);
        }
    }
}
