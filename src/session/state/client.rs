//! What clients say, and what comes of it. Whoever breaks the protocol is dismissed; the session goes on.

use super::attachment::{Attachment, Numbers, Role};
use super::{Action, Connection, InputState, Session, Stage};
use crate::session::frame::{Ack, Closed, Detached, Frame};
use std::time::Instant;

/// What was said is against the protocol.
struct Breach;

impl Session {
    /// Somebody who is not connected to the session is not heard: it was fenced off.
    pub(super) fn said(&mut self, now: Instant, from: Connection, frame: &Frame<'_>, actions: &mut Vec<Action>) {
        let Some(attachment) = self.attachment_of(from) else {
            return;
        };
        attachment.heard = now;
        attachment.pings = 0;
        attachment.owed.ping = false;
        let attachment = attachment.clone();
        if self.understand(now, &attachment, frame, actions).is_err() {
            self.dismiss(now, from, Detached::Broke, actions);
        }
    }

    fn understand(
        &mut self,
        now: Instant,
        from: &Attachment,
        frame: &Frame<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        match frame {
            Frame::Ack(ack) => self.acknowledged(now, from, *ack, actions),
            Frame::Data { offset, bytes } => self.input_came(now, from, (*offset, bytes), actions),
            Frame::Seen { next } => self.seen(now, from, *next, actions),
            Frame::Append { offset, bytes } => self.appended(now, from, (*offset, bytes), actions),
            Frame::Fin { offset } => self.input_ends(now, from, (*offset, false), actions),
            Frame::Reset { offset, .. } => self.input_ends(now, from, (*offset, true), actions),
            Frame::Ping(bytes) => {
                self.owe(from.connection, actions, |attachment| attachment.owed.pong = Some(*bytes));
                Ok(())
            }
            Frame::Pong(_) => Ok(()),
            Frame::Close if from.sends_input() => {
                self.over(now, Closed::ByClient, actions);
                Ok(())
            }
            Frame::Resize { columns, rows } => {
                self.may_send(from)?;
                actions.push(Action::Resize { columns: *columns, rows: *rows });
                Ok(())
            }
            Frame::Command(command) => {
                self.may_send(from)?;
                actions.push(Action::Command(*command));
                Ok(())
            }
            Frame::Close
            | Frame::Hello(_)
            | Frame::New(_)
            | Frame::Resume(_)
            | Frame::Confirm(_)
            | Frame::Accept(_)
            | Frame::Reject(_)
            | Frame::Gap { .. }
            | Frame::Destination(_)
            | Frame::Closed(_)
            | Frame::Detached(_)
            | Frame::GoAway { .. }
            | Frame::Input { .. }
            | Frame::Event { .. } => Err(Breach),
        }
    }

    pub(super) fn owe(
        &mut self,
        connection: Connection,
        actions: &mut Vec<Action>,
        change: impl FnOnce(&mut Attachment),
    ) {
        if let Some(attachment) = self.attachment_of(connection) {
            change(attachment);
            attachment.call(actions);
        }
    }

    fn may_send(&self, from: &Attachment) -> Result<(), Breach> {
        if from.sends_input() && self.stage == Stage::Active { Ok(()) } else { Err(Breach) }
    }

    /// Whether it may send input with such numbers. What it has sent once it sends for good: its offsets are either its own or those
    /// of all.
    fn may_number(&mut self, from: &Attachment, numbers: Numbers) -> Result<(), Breach> {
        self.may_send(from)?;
        if from.input_numbers.is_some_and(|before| before != numbers) {
            return Err(Breach);
        }
        if let Some(attachment) = self.attachment_of(from.connection) {
            attachment.input_numbers = Some(numbers);
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        now: Instant,
        from: &Attachment,
        ack: Ack,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        let last = self.output.next();
        let end_too_soon = ack.end && (self.end.is_none() || ack.next != last);
        if ack.next > last || end_too_soon {
            return Err(Breach);
        }
        let granted = from.granted.max(ack.next.saturating_add(ack.window.into()));
        if let Some(attachment) = self.attachment_of(from.connection) {
            attachment.granted = granted;
            // What it has from another connection is not sent again, and may be gone already.
            attachment.next = attachment.next.max(ack.next);
            if last.min(granted) > from.granted {
                attachment.call(actions);
            }
        }
        if from.role == Role::Client {
            self.output.acknowledge(ack.next);
            if let Some(end) = &mut self.end {
                end.arrived |= ack.end;
            }
            self.throttle(now, actions);
        }
        Ok(())
    }

    /// An observer has dealt with output. That counts where nobody else's business it is: the client's, if there is one.
    fn seen(&mut self, now: Instant, from: &Attachment, next: u64, actions: &mut Vec<Action>) -> Result<(), Breach> {
        if from.role != Role::Observer || next > self.output.next() {
            return Err(Breach);
        }
        if self.client().is_none() {
            self.output.acknowledge(next);
            self.throttle(now, actions);
        }
        Ok(())
    }

    /// Takes what is new of these bytes.
    ///
    /// Offsets are the connection's own from where it began: what it sends next is new, also where others have sent input
    /// meanwhile. What is below is said to have arrived over another connection. If it has, it is the same.
    fn input_came(
        &mut self,
        now: Instant,
        from: &Attachment,
        (offset, bytes): (u64, &[u8]),
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        self.may_number(from, Numbers::Own)?;
        let known = from.input_next.checked_sub(offset).ok_or(Breach)?;
        let new = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        let next = from.input_next + new.len() as u64;
        if !new.is_empty() && (from.input_ended || next > from.input_granted) {
            return Err(Breach);
        }
        let before = usize::try_from(from.input_began.saturating_sub(offset)).unwrap_or(usize::MAX);
        if !self.input.has(offset, &bytes[..bytes.len().min(before)]) {
            self.dismiss(now, from.connection, Detached::Conflict, actions);
            return Ok(());
        }
        let taken = self.take_input(from, new, actions);
        self.owe(from.connection, actions, |attachment| {
            attachment.input_next += taken;
            attachment.owed.ack = true;
        });
        Ok(())
    }

    /// Takes what is new of these bytes, whose offset counts the input of all. Where others have sent something else,
    /// nothing of them is taken.
    fn appended(
        &mut self,
        now: Instant,
        from: &Attachment,
        (offset, bytes): (u64, &[u8]),
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        self.may_number(from, Numbers::All)?;
        let known = self.input.next().checked_sub(offset).filter(|_| from.role == Role::Writer).ok_or(Breach)?;
        let (old, new) = bytes.split_at(usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len()));
        if !self.input.has(offset, old) {
            self.dismiss(now, from.connection, Detached::Conflict, actions);
            return Ok(());
        }
        if !new.is_empty() && (from.input_ended || offset + bytes.len() as u64 > from.input_granted) {
            return Err(Breach);
        }
        let taken = self.take_input(from, new, actions);
        let arrived = offset + old.len() as u64 + taken;
        self.owe(from.connection, actions, |attachment| {
            attachment.input_next = attachment.input_next.max(arrived);
            attachment.owed.ack = true;
        });
        Ok(())
    }

    /// Puts new input behind what there is; how much was taken. Where nobody takes any more nothing is: that does not count as
    /// arrived, and is told.
    fn take_input(&mut self, from: &Attachment, new: &[u8], actions: &mut Vec<Action>) -> u64 {
        let taken = if self.takes_input() { new } else { &[] };
        let idle = self.input.waiting() == 0;
        self.input.push(taken);
        if from.role == Role::Writer {
            self.from_writers += taken.len() as u64;
        }
        if idle && !taken.is_empty() && self.is_open() {
            actions.push(Action::Write);
        }
        taken.len() as u64
    }

    /// How much of the input the destination was sent.
    pub(super) fn written(&self) -> u64 {
        match self.input_state {
            InputState::Dead { written, .. } => written,
            InputState::Open | InputState::Ending { .. } | InputState::Ended => self.input.acknowledged(),
        }
    }

    /// How much more input there is room for.
    pub(super) fn input_room(&self) -> usize {
        match self.input_state {
            InputState::Dead { .. } => 0,
            InputState::Open | InputState::Ending { .. } | InputState::Ended => {
                self.allowance.input.saturating_sub(self.input.waiting())
            }
        }
    }

    fn takes_input(&self) -> bool {
        match self.input_state {
            InputState::Open => true,
            InputState::Ending { .. } | InputState::Ended | InputState::Dead { .. } => false,
        }
    }

    /// The input ends at this offset, which is where it has come to.
    fn input_ends(
        &mut self,
        now: Instant,
        from: &Attachment,
        (offset, reset): (u64, bool),
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        self.may_send(from)?;
        if let InputState::Dead { ended, .. } = &mut self.input_state {
            *ended = true;
            self.owe(from.connection, actions, |attachment| attachment.owed.ack = true);
            return Ok(());
        }
        if offset != from.input_next {
            return Err(Breach);
        }
        self.owe(from.connection, actions, |attachment| attachment.input_ended = true);
        match self.input_state {
            InputState::Open => self.input_state = InputState::Ending { reset },
            // Who gives up waiting for an orderly end may still break off.
            InputState::Ending { reset: false } if reset => self.input_state = InputState::Ending { reset },
            InputState::Ending { .. } | InputState::Ended | InputState::Dead { .. } => {}
        }
        self.owe_all_senders(actions);
        self.pass_end_on(now, actions);
        Ok(())
    }

    /// Whether a client has ended the input.
    pub(super) fn input_has_end(&self) -> bool {
        match self.input_state {
            InputState::Open | InputState::Dead { ended: false, .. } => false,
            InputState::Ending { .. } | InputState::Ended | InputState::Dead { ended: true, .. } => true,
        }
    }
}
