//! What is done at a session and needs no reader: input, ends, sizes, a look. Pure.
//!
//! Each is one connection to the server, in the mode *input*, which disturbs nobody. It goes with the request that it is
//! for: the gateway keeps nothing of it.

use super::handshake::{Attached, Handshake, Step};
use crate::session::client_state::Breach;
use crate::session::frame::{Accept, Ack, Command, Destination, Detached, Frame, Refusal, encode_preface, event};
use std::ops::Range;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A letter of UTF-8 has so many bytes behind its first at the most.
const LETTER_ENDS: usize = 3;

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
        /// How it may be divided.
        cut: Cut,
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

/// How what is appended may be divided where there is no room for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As much is taken as there is room for.
    Anywhere,
    /// It is text in UTF-8 that belongs together. It is taken as a whole or not at all; only what there is never room for
    /// is divided, between two letters.
    Text,
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
        /// How much of it the destination was sent.
        written: u64,
        /// What has become of the destination.
        destination: Destination,
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
        /// Of the bytes to append: those that follow, one part at a time. So it is known of each whether it was taken. Of what belongs
        /// together nothing follows: between two parts others might send something.
        rest: Range<usize>,
        longest: usize,
        /// How many barriers were sent.
        barriers: u64,
    },
}

/// What ACCEPT says of the input.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// What is sent over this connection counts from here.
    next: u64,
    ended: bool,
}

/// One thing to do.
#[derive(Debug)]
pub struct Errand {
    task: Task,
    stage: Stage,
    /// How far the input of all has come, and how much of it the destination was sent, as far as that is known.
    total: u64,
    written: u64,
    /// What has become of the destination.
    destination: Destination,
    /// It takes no more input, and some may be lost.
    lost: bool,
}

/// What the PING behind what was sent carries: its answer comes after all answers to that. A server that is asked several times
/// before it answers may answer the last one alone, which stands for those before it.
fn barrier(number: u64) -> Frame<'static> {
    Frame::Ping(number.to_be_bytes())
}

impl Errand {
    /// Sets out. The handshake is for resuming in the mode *input*; what to say first is appended.
    pub fn new(task: Task, handshake: Handshake, out: &mut Vec<u8>) -> Errand {
        encode_preface(out);
        let stage = Stage::Coming(Box::new(handshake));
        Errand { task, stage, total: 0, written: 0, destination: Destination::Connecting, lost: false }
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
            Frame::Event { kind: event::INPUT_LOST, .. } => {
                self.lost = true;
                Ok(None)
            }
            Frame::Destination(destination) => {
                self.destination = destination;
                Ok(None)
            }
            Frame::Pong(bytes) => Ok(self.answered(u64::from_be_bytes(bytes))),
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
        (self.total, self.destination) = (next, accept.destination);
        let from = Start { next, ended: accept.input_ended };
        self.stage = Stage::Waiting { from, longest: terms.longest };
        match &self.task {
            Task::Look => return Some(Outcome::Looks(Box::new(accept))),
            Task::Append { .. } | Task::Finish => return None,
            Task::Resize { columns, rows } => {
                Frame::Resize { columns: *columns, rows: *rows }.encode(out);
                barrier(1).encode(out);
            }
            Task::Command(command) => {
                Frame::Command(*command).encode(out);
                barrier(1).encode(out);
            }
            Task::Close => Frame::Close.encode(out),
        }
        self.stage = sent(next, next, accept.input_ended);
        None
    }

    fn acknowledged(&mut self, ack: Ack, out: &mut Vec<u8>) -> Option<Outcome> {
        (self.total, self.written) = (self.total.max(ack.next), ack.written.unwrap_or(self.written));
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
                        (*until, rest.start, *barriers) = (*until + part.len() as u64, part.end, *barriers + 1);
                        barrier(*barriers).encode(out);
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
        let Start { next, ended } = from;
        match &self.task {
            Task::Append { offset, .. } if *offset > next => return Some(Outcome::Gap { next }),
            // What there was before cannot be compared any more, either.
            Task::Append { .. } if self.lost => return Some(self.ended(next)),
            Task::Append { offset, bytes, cut } => {
                let known = usize::try_from(next - offset).unwrap_or(usize::MAX).min(bytes.len());
                let new = bytes.len() - known;
                let window = usize::try_from(window).unwrap_or(usize::MAX);
                let room = window.saturating_add(usize::try_from(next - self.written.min(next)).unwrap_or(usize::MAX));
                let until = match cut {
                    Cut::Text if new > window && new <= room => known,
                    Cut::Text | Cut::Anywhere => cut.end(bytes, known, window),
                };
                match (new, until - known) {
                    (1.., _) if ended || is_dead(self.destination) => return Some(self.ended(next)),
                    (1.., 0) if known == 0 => return Some(Outcome::Full { next }),
                    _ => {}
                }
                // What was sent before goes along, also where there is no room for more: the server knows whether it is the same.
                let now = match cut {
                    Cut::Text => until,
                    Cut::Anywhere => until.min(known + longest),
                };
                let mut at = *offset;
                for part in bytes[..known].chunks(longest).chain(bytes[known..now].chunks(longest)) {
                    Frame::Append { offset: at, bytes: part }.encode(out);
                    at += part.len() as u64;
                }
                let rest = now..until;
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
        barrier(1).encode(out);
        None
    }

    /// What was sent before the last barrier has been dealt with, and that is everything. Earlier ones say nothing of it.
    fn answered(&mut self, number: u64) -> Option<Outcome> {
        let Stage::Sent { before, until, next, barriers, .. } = self.stage else {
            return None;
        };
        if number != barriers {
            return None;
        }
        match self.task {
            // All of it was there before, or some of it has arrived.
            Task::Append { .. } if until == before || next > before => Some(Outcome::Appended { next }),
            // It was taken by nobody: there is nobody to take it.
            Task::Append { .. } | Task::Finish => Some(self.ended(next)),
            Task::Resize { .. } | Task::Command(_) => Some(Outcome::Done),
            Task::Look | Task::Close => None,
        }
    }

    fn ended(&self, next: u64) -> Outcome {
        Outcome::Ended { next, written: self.written, destination: self.destination }
    }

    /// What is sent depends on where the input was.
    fn could_be_overtaken(&self) -> bool {
        matches!((&self.task, &self.stage), (Task::Append { .. } | Task::Finish, Stage::Sent { .. }))
    }
}

impl Cut {
    /// Where a piece of at most so many bytes ends that begins there; at its beginning if nothing whole fits.
    fn end(self, bytes: &[u8], from: usize, most: usize) -> usize {
        let end = bytes.len().min(from.saturating_add(most));
        let splits = |end: usize| match bytes[end..] {
            [0x80..=0xbf, ..] => true,
            // What Enter sends is one.
            [b'\n', ..] => end > 0 && bytes[end - 1] == b'\r',
            _ => false,
        };
        let least = from.max(end.saturating_sub(LETTER_ENDS));
        match self {
            Cut::Anywhere => end,
            Cut::Text => (least..=end).rev().find(|end| !splits(*end)).unwrap_or(from),
        }
    }
}

/// Whether nobody is there to take input.
fn is_dead(destination: Destination) -> bool {
    match destination {
        Destination::Connecting | Destination::Open | Destination::Eof => false,
        Destination::Reset | Destination::Refused | Destination::Timeout | Destination::Unresolved => true,
    }
}

/// What is no input is sent, with one barrier behind it.
fn sent(before: u64, until: u64, ended: bool) -> Stage {
    Stage::Sent { before, until, next: before, ended, rest: 0..0, longest: 1, barriers: 1 }
}
