//! What is done at a session and needs no reader: input, ends, sizes, a look. Pure.
//!
//! Each is one connection to the server, in the mode *input*, which disturbs nobody. It goes with the request that it is
//! for: the gateway keeps nothing of it.

use super::handshake::{Attached, Handshake, Step};
use crate::session::client_state::Breach;
use crate::session::frame::{Accept, Ack, Command, Destination, Detached, Frame, Refusal, encode_preface};
use std::ops::Range;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// What is asked with the PING behind what was sent: its answer comes after all answers to that.
const BARRIER: [u8; 8] = *b"gateway\0";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// See how it is.
    Look,
    /// Append this to the input, at this offset.
    Append {
        /// Where the first byte belongs.
        offset: u64,
        /// At least one.
        bytes: Arc<[u8]>,
    },
    /// End the input.
    Finish,
    /// The terminal has this size.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Tell the destination something that is no input.
    Command(Command),
    /// End the session.
    Close,
}

/// What has come of it.
#[derive(Debug)]
pub enum Outcome {
    /// How it is.
    Looks(Box<Accept>),
    /// The input has come so far.
    Appended {
        /// The first byte that has not arrived.
        next: u64,
    },
    /// The input has not come to this offset yet.
    Gap {
        /// Where it has come to.
        next: u64,
    },
    /// What was there before is not what has arrived: others have sent, too.
    Conflict {
        /// Where the input has come to.
        next: u64,
    },
    /// There is no room for any of it.
    Full {
        /// Where the input has come to.
        next: u64,
    },
    /// There is no input any more: it has ended, or its destination has.
    Ended {
        /// Where it has come to.
        next: u64,
    },
    /// It is done.
    Done,
    /// Others were faster. It is worth another try.
    Overtaken,
    /// The server does not let us in.
    Refused(Refusal),
    /// The session is over.
    Closed,
    /// The session does not let us do that now.
    Dismissed,
}

#[derive(Debug)]
enum Stage {
    Coming(Box<Handshake>),
    /// The first ACK is to come: only then is it known how much is taken.
    Waiting {
        from: Start,
        longest: usize,
    },
    /// It is sent, as far as it goes.
    Sent {
        /// Where the input was before, as far as we know of it, and where it comes with what is sent.
        before: u64,
        until: u64,
        next: u64,
        ended: bool,
        /// Of the bytes to append: those that follow, one part at a time. So it is known of each whether it was taken.
        rest: Range<usize>,
        longest: usize,
        /// Barriers that are not answered.
        barriers: u32,
    },
}

/// What ACCEPT says of the input.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// What is sent over this connection counts from here.
    next: u64,
    ended: bool,
    /// Nobody is there to take it.
    dead: bool,
}

/// One thing to do.
#[derive(Debug)]
pub struct Errand {
    task: Task,
    stage: Stage,
    /// How far the input of all has come, as far as that is known.
    total: u64,
}

impl Errand {
    /// Sets out. The handshake is for resuming in the mode *input*; what to say first is appended.
    pub fn new(task: Task, handshake: Handshake, out: &mut Vec<u8>) -> Errand {
        encode_preface(out);
        Errand { task, stage: Stage::Coming(Box::new(handshake)), total: 0 }
    }

    /// Whether the server has proved itself.
    pub fn is_proved(&self) -> bool {
        !matches!(self.stage, Stage::Coming(_))
    }

    /// Takes in what the server says, and appends what there is to say. With an outcome it is over, once that is sent.
    ///
    /// # Errors
    /// The server breaks the protocol.
    pub fn hear(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<Option<Outcome>, Breach> {
        if let Stage::Coming(handshake) = &mut self.stage {
            return match handshake.hear(frame, out)? {
                Step::Wait => Ok(None),
                Step::Refused(refusal) => Ok(Some(Outcome::Refused(refusal))),
                Step::Attached(attached) => Ok(self.attached(*attached, out)),
            };
        }
        match frame {
            Frame::Ack(ack) => Ok(self.acknowledged(ack, out)),
            Frame::Input { next, .. } => {
                self.total = self.total.max(next);
                Ok(None)
            }
            Frame::Pong(BARRIER) => Ok(self.answered()),
            Frame::Ping(bytes) => {
                Frame::Pong(bytes).encode(out);
                Ok(None)
            }
            Frame::Closed(_) => Ok(Some(match self.task {
                Task::Close => Outcome::Done,
                _ => Outcome::Closed,
            })),
            Frame::Detached(Detached::Conflict) => Ok(Some(match self.stage {
                // A part of it is there, before what others have sent.
                Stage::Sent { before, next, .. } if next > before => Outcome::Appended { next },
                Stage::Sent { .. } | Stage::Waiting { .. } | Stage::Coming(_) => Outcome::Conflict { next: self.total },
            })),
            Frame::Detached(Detached::Broke) if self.could_be_overtaken() => Ok(Some(Outcome::Overtaken)),
            Frame::Detached(_) => Ok(Some(Outcome::Dismissed)),
            Frame::Hello(_) | Frame::New(_) | Frame::Resume(_) | Frame::Confirm(_) | Frame::Accept(_) => {
                Err(Breach::Order)
            }
            // Nothing that is of use here.
            _ => Ok(None),
        }
    }

    /// The connection has ended without a last word: only for an end is that as good as done.
    pub fn lost(&self) -> Option<Outcome> {
        match (&self.task, &self.stage) {
            (Task::Close, Stage::Sent { .. }) => Some(Outcome::Done),
            _ => None,
        }
    }

    fn attached(&mut self, attached: Attached, out: &mut Vec<u8>) -> Option<Outcome> {
        let Attached { accept, terms, .. } = attached;
        let next = accept.input_next;
        let dead = match accept.destination {
            Destination::Connecting | Destination::Open | Destination::Eof => false,
            Destination::Reset | Destination::Refused | Destination::Timeout | Destination::Unresolved => true,
        };
        self.total = next;
        let from = Start { next, ended: accept.input_ended, dead };
        self.stage = Stage::Waiting { from, longest: terms.longest };
        match &self.task {
            Task::Look => return Some(Outcome::Looks(Box::new(accept))),
            Task::Append { .. } | Task::Finish => return None,
            Task::Resize { columns, rows } => {
                Frame::Resize { columns: *columns, rows: *rows }.encode(out);
                Frame::Ping(BARRIER).encode(out);
            }
            Task::Command(command) => {
                Frame::Command(*command).encode(out);
                Frame::Ping(BARRIER).encode(out);
            }
            Task::Close => Frame::Close.encode(out),
        }
        self.stage = sent(next, next, accept.input_ended);
        None
    }

    fn acknowledged(&mut self, ack: Ack, out: &mut Vec<u8>) -> Option<Outcome> {
        self.total = self.total.max(ack.next);
        match &mut self.stage {
            Stage::Coming(_) => None,
            Stage::Waiting { from, longest } => {
                let (from, longest) = (Start { ended: from.ended || ack.end, ..*from }, *longest);
                self.begin(from, ack.window, longest, out)
            }
            Stage::Sent { until, next, ended, rest, longest, barriers, .. } => {
                (*next, *ended) = (ack.next.max(*next), *ended || ack.end);
                match &self.task {
                    Task::Append { bytes, .. } if next >= until && rest.start < rest.end => {
                        let part = rest.start..rest.end.min(rest.start + *longest);
                        Frame::Append { offset: *until, bytes: &bytes[part.clone()] }.encode(out);
                        Frame::Ping(BARRIER).encode(out);
                        (*until, rest.start, *barriers) = (*until + part.len() as u64, part.end, *barriers + 1);
                        None
                    }
                    Task::Append { .. } if next >= until => Some(Outcome::Appended { next: *next }),
                    Task::Finish if *ended => Some(Outcome::Done),
                    _ => None,
                }
            }
        }
    }

    /// It is known where the input is, and how much of it there may be.
    fn begin(&mut self, from: Start, window: u32, longest: usize, out: &mut Vec<u8>) -> Option<Outcome> {
        let Start { next, ended, dead } = from;
        match &self.task {
            Task::Append { offset, .. } if *offset > next => return Some(Outcome::Gap { next }),
            Task::Append { offset, bytes } => {
                let known = usize::try_from(next - offset).unwrap_or(usize::MAX).min(bytes.len());
                let new = bytes.len() - known;
                let fits = new.min(usize::try_from(window).unwrap_or(usize::MAX));
                match (new, fits) {
                    (1.., _) if ended || dead => return Some(Outcome::Ended { next }),
                    (1.., 0) => return Some(Outcome::Full { next }),
                    _ => {}
                }
                // What was sent before goes along: the server knows whether it is the same.
                let first = known..known + fits.min(longest);
                let mut at = *offset;
                for part in bytes[..known].chunks(longest).chain(bytes[first.clone()].chunks(longest)) {
                    Frame::Append { offset: at, bytes: part }.encode(out);
                    at += part.len() as u64;
                }
                let rest = first.end..known + fits;
                let until = next.max(at);
                self.stage = Stage::Sent { before: next, until, next, ended, rest, longest, barriers: 1 };
            }
            Task::Finish if ended => return Some(Outcome::Done),
            Task::Finish => {
                Frame::Fin { offset: next }.encode(out);
                self.stage = sent(next, next, ended);
            }
            Task::Look | Task::Resize { .. } | Task::Command(_) | Task::Close => return None,
        }
        Frame::Ping(BARRIER).encode(out);
        None
    }

    /// What was sent before a barrier has been dealt with; behind the last one that is everything.
    fn answered(&mut self) -> Option<Outcome> {
        let Stage::Sent { before, until, next, barriers, .. } = &mut self.stage else {
            return None;
        };
        *barriers = barriers.saturating_sub(1);
        if *barriers > 0 {
            return None;
        }
        match self.task {
            // All of it was there before, or some of it has arrived.
            Task::Append { .. } if until == before || next > before => Some(Outcome::Appended { next: *next }),
            // It was taken by nobody: there is nobody to take it.
            Task::Append { .. } | Task::Finish => Some(Outcome::Ended { next: *next }),
            Task::Resize { .. } | Task::Command(_) => Some(Outcome::Done),
            Task::Look | Task::Close => None,
        }
    }

    /// What is sent depends on where the input was.
    fn could_be_overtaken(&self) -> bool {
        matches!((&self.task, &self.stage), (Task::Append { .. } | Task::Finish, Stage::Sent { .. }))
    }
}

/// What is no input is sent, with one barrier behind it.
fn sent(before: u64, until: u64, ended: bool) -> Stage {
    Stage::Sent { before, until, next: before, ended, rest: 0..0, longest: 1, barriers: 1 }
}
