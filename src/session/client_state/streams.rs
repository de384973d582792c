//! What a server says to a client that is attached. Pure.

use super::{Breach, Checks, Client, End, Event, Link, Next, Owed};
use crate::session::frame::{Closed, Destination, Detached, Frame, Mode, event};

impl Client {
    pub(super) fn streams<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, Breach> {
        // All of these are said only of a session that is confirmed.
        if let Frame::Data { .. } | Frame::Destination(_) | Frame::Fin { .. } | Frame::Reset { .. } = frame {
            self.confirmed = true;
        }
        match frame {
            Frame::Data { offset, bytes } => self.output_came(offset, bytes),
            Frame::Ack(ack) => self.input_arrived(ack),
            Frame::Fin { offset } => self.output_ended(offset, End::Eof),
            Frame::Reset { offset, errno } => self.output_ended(offset, End::Reset(errno)),
            Frame::Gap { from, to } => self.gap(from, to),
            Frame::Destination(destination) => self.destination(destination),
            Frame::Closed(reason) => Ok(Some(self.closed(reason))),
            Frame::Detached(reason) => Ok(Some(self.detached(reason))),
            Frame::GoAway { grace } => Ok(Some(Event::GoAway(grace))),
            Frame::Ping(bytes) => {
                self.with_owed(|owed| owed.pong = Some(bytes));
                Ok(None)
            }
            Frame::Pong(bytes) => {
                self.with_owed(|Owed { checks, .. }| {
                    if checks.asked > 0 && bytes == Checks::question(checks.asked) {
                        checks.answered = checks.asked;
                    }
                });
                Ok(None)
            }
            Frame::Input { next, writers } => self.input_told(next, writers),
            // Who only sends input has seen no output that it could be behind.
            Frame::Event { offset, .. } if offset > self.output.next && self.settings.mode != Mode::Input => {
                Err(Breach::Offset)
            }
            Frame::Event { offset, kind, body } => {
                self.input_lost |= kind == event::INPUT_LOST;
                Ok(Some(Event::Happened { offset, kind, body }))
            }
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
            | Frame::Seen { .. } => Err(Breach::Order),
        }
    }

    fn output_came<'a>(&mut self, offset: u64, bytes: &'a [u8]) -> Result<Option<Event<'a>>, Breach> {
        let granted = match &self.link {
            Link::Attached(attached) => attached.output_granted,
            Link::None | Link::Greeting { .. } | Link::Coming { .. } => return Err(Breach::Order),
        };
        let (known, next) = (self.output.next.checked_sub(offset), offset.saturating_add(bytes.len() as u64));
        let Some(known) = known else {
            return Err(Breach::Offset);
        };
        if next > granted || self.settings.mode == Mode::Input {
            return Err(Breach::Window);
        }
        let new = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        if new.is_empty() {
            return Ok(None);
        }
        if self.output.end.is_some() {
            return Err(Breach::Offset);
        }
        let offset = std::mem::replace(&mut self.output.next, next);
        Ok(Some(Event::Output { offset, bytes: new }))
    }

    fn gap<'a>(&mut self, from: u64, to: u64) -> Result<Option<Event<'a>>, Breach> {
        let Link::Attached(attached) = &mut self.link else {
            return Err(Breach::Order);
        };
        if from > self.output.next {
            return Err(Breach::Offset);
        }
        // Before the oldest output that there is; or the server has dropped what it knows to be dealt with already.
        if to <= self.output.next {
            let first = std::mem::take(&mut attached.oldest) && to == self.output.next;
            return Ok(first.then_some(Event::Gap { from, to }));
        }
        let from = self.output.next;
        // What is missing is dealt with by nobody.
        if self.output.done == from {
            self.output.done = to;
        }
        self.output.next = to;
        attached.output_granted = attached.output_granted.max(to.saturating_add(attached.terms.window.into()));
        Ok(Some(Event::Gap { from, to }))
    }

    /// The end is told once, however often it comes.
    fn output_ended<'a>(&mut self, offset: u64, end: End) -> Result<Option<Event<'a>>, Breach> {
        if offset != self.output.next {
            return Err(Breach::Offset);
        }
        let first = self.output.end.is_none();
        self.output.end = Some(end);
        Ok(first.then_some(Event::Ended(end)))
    }

    fn destination<'a>(&mut self, destination: Destination) -> Result<Option<Event<'a>>, Breach> {
        match destination {
            Destination::Refused | Destination::Timeout | Destination::Unresolved => {
                self.output_ended(self.output.next, End::Failed(destination))
            }
            Destination::Connecting | Destination::Open | Destination::Eof | Destination::Reset => {
                Ok(Some(Event::Destination(destination)))
            }
        }
    }

    fn closed<'a>(&mut self, reason: Closed) -> Event<'a> {
        (self.link, self.next) = (Link::None, Next::Never);
        Event::Closed(reason)
    }

    /// Whoever was taken over, or sent away, does not come back by itself: two clients would fight for ever.
    fn detached<'a>(&mut self, reason: Detached) -> Event<'a> {
        match reason {
            Detached::Silent => {}
            Detached::TakenOver
            | Detached::ByAdministrator
            | Detached::Broke
            | Detached::Conflict
            | Detached::Other(_) => (self.next, self.link) = (Next::Asked, Link::None),
        }
        Event::Detached(reason)
    }
}
