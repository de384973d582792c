//! What arrives of a client's input, and how that is told from what others have sent. Pure.
//!
//! The client counts what clients of the session have sent, itself among them, and leaves out what writers have. There is
//! one client at a time, so whoever resumes with the epoch that follows its own knows what of its input has arrived. A
//! connection counts all input from where it began: the difference is what writers had sent by then.

use super::{Attached, Breach, Client, Event, FURTHEST, Link};
use crate::session::frame::{Ack, Mode};

/// Where the input of a connection begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Course {
    /// The first ACK is to come, and before it INPUT if writers have ever sent any.
    Open {
        /// All input at ACCEPT.
        began: u64,
        /// How much of that clients have sent.
        clients: Option<u64>,
        epoch: u64,
        /// It had ended.
        ended: bool,
    },
    /// What clients have sent is so much less than what the connection counts.
    Settled { writers: u64 },
}

impl Client {
    /// INPUT: what all have sent, and what writers have.
    pub(super) fn input_told<'a>(&mut self, next: u64, writers: u64) -> Result<Option<Event<'a>>, Breach> {
        let clients_sent = next.checked_sub(writers).filter(|_| next <= FURTHEST).ok_or(Breach::Offset)?;
        if let Link::Attached(Attached { course: Course::Open { clients, .. }, .. }) = &mut self.link {
            *clients = Some(clients_sent);
        }
        Ok(None)
    }

    pub(super) fn input_arrived<'a>(&mut self, ack: Ack) -> Result<Option<Event<'a>>, Breach> {
        if self.settings.mode == Mode::Observe {
            return Ok(None);
        }
        let Link::Attached(Attached { course, .. }) = &self.link else {
            return Err(Breach::Order);
        };
        if ack.next > FURTHEST {
            return Err(Breach::Offset);
        }
        let (writers, mut lost) = match *course {
            Course::Settled { writers } => (writers, Vec::new()),
            Course::Open { .. } => self.settle_input()?,
        };
        self.confirmed |= ack.next > 0;
        let next = ack.next.checked_sub(writers).filter(|next| *next <= self.input.cursor()).ok_or(Breach::Offset)?;
        self.input.arrived(next);
        if let Link::Attached(attached) = &mut self.link {
            let granted = next.saturating_add(ack.window.into());
            attached.input_granted = attached.input_granted.max(Some(granted));
        }
        if ack.end && self.input.has_ended() && self.input.next() == next {
            self.input.end_arrived();
        } else if ack.end {
            // Another one has ended it.
            lost.extend(self.input.cut(next));
        }
        if lost.is_empty() {
            Ok(Some(Event::Arrived { next: self.input.base(), written: ack.written }))
        } else {
            Ok(Some(Event::Overtaken { uncertain: lost }))
        }
    }

    /// Where the input goes on: how much of all writers have sent, and what nobody can tell of. What has not arrived is
    /// sent again, if it is certain that it has not.
    fn settle_input(&mut self) -> Result<(u64, Vec<u8>), Breach> {
        let Link::Attached(Attached { course, .. }) = &mut self.link else {
            return Err(Breach::Order);
        };
        let Course::Open { began, clients, epoch, ended } = *course else {
            return Err(Breach::Order);
        };
        let is_writer = self.settings.mode == Mode::Input;
        // A writer is one of many, and counts all.
        let next = if is_writer { began } else { clients.unwrap_or(began) };
        let writers = began.checked_sub(next).filter(|_| next >= self.input.base()).ok_or(Breach::Offset)?;
        *course = Course::Settled { writers };
        // Clients that were attached meanwhile may have sent what lies between. One that asked may have been attached
        // without knowing.
        let others = self.epoch > 0 && epoch > self.epoch.saturating_add(self.asked);
        (self.epoch, self.asked) = (epoch, 0);
        let doubtful = next > self.input.sent() || others || is_writer && next > self.input.base();
        let mut uncertain = Vec::new();
        if doubtful {
            uncertain = self.input.overtaken(next, self.input.sent());
        }
        self.input.arrived(next);
        self.input.rewind();
        if ended {
            uncertain.extend(self.input.cut(next));
        }
        Ok((writers, uncertain))
    }
}
