//! What the destination does, and what comes of it: the buffer's marks, the end of the output, the end of the input.

use super::attachment::Attachment;
use super::{Action, End, How, InputState, Session, Stage};
use crate::session::frame::event::INPUT_LOST;
use crate::session::frame::{Destination, MAX_EVENT};
use crate::session::replay::Replay;
use std::time::Instant;

/// errno(3) of a connection that was reset, as Linux numbers it.
const ECONNRESET: u32 = 104;

impl Session {
    /// Whether the destination is connected and may be written to.
    pub(super) fn is_open(&self) -> bool {
        match self.destination {
            Destination::Open | Destination::Eof => true,
            Destination::Connecting
            | Destination::Reset
            | Destination::Refused
            | Destination::Timeout
            | Destination::Unresolved => false,
        }
    }

    pub(super) fn connected(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.stage != Stage::Active || self.destination != Destination::Connecting {
            return;
        }
        self.destination = Destination::Open;
        self.for_all(actions, |attachment| attachment.owed.destination = true);
        if self.input.waiting() > 0 {
            actions.push(Action::Write);
        }
        self.pass_end_on(now, actions);
    }

    pub(super) fn connect_failed(&mut self, now: Instant, how: Destination, actions: &mut Vec<Action>) {
        if self.stage == Stage::Active && self.destination == Destination::Connecting {
            self.destination = how;
            self.end(now, How::Failed(how), actions);
        }
    }

    pub(super) fn output(&mut self, now: Instant, bytes: &[u8], actions: &mut Vec<Action>) {
        if self.end.is_some() || self.destination != Destination::Open {
            return;
        }
        self.output.push(bytes);
        self.throttle(now, actions);
        let may_have_more = |attachment: &Attachment| attachment.next < attachment.granted;
        self.call_for_output(may_have_more, actions);
    }

    pub(super) fn event(&mut self, kind: u8, body: &[u8], actions: &mut Vec<Action>) {
        if self.end.is_some() || self.destination != Destination::Open {
            return;
        }
        let body = &body[..body.len().min(MAX_EVENT)];
        self.events.push((self.output.base(), self.output.next()), kind, body);
        self.call_for_output(|_| true, actions);
    }

    fn call_for_output(&mut self, whom: impl Fn(&Attachment) -> bool, actions: &mut Vec<Action>) {
        for attachment in self.attachments.iter_mut().filter(|attachment| attachment.sees_output()) {
            if whom(attachment) {
                attachment.call(actions);
            }
        }
    }

    /// Stops reading at the limit and goes on at half of it, so that neither happens for each byte.
    pub(super) fn throttle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let waiting = self.output.waiting();
        match self.blocked_since {
            None if waiting >= self.allowance.output && self.end.is_none() => {
                self.blocked_since = Some(now);
                actions.push(Action::StopReading);
            }
            Some(_) if waiting <= self.allowance.output / 2 => {
                self.unblock(now);
                actions.push(Action::ReadOn);
            }
            None | Some(_) => {}
        }
    }

    fn unblock(&mut self, now: Instant) {
        self.blocked = self.blocked(now);
        self.blocked_since = None;
    }

    /// The destination ends its output, well or by breaking.
    pub(super) fn ended(&mut self, now: Instant, how: How, actions: &mut Vec<Action>) {
        let reset = how != How::Eof;
        match self.destination {
            Destination::Open => self.destination = if reset { Destination::Reset } else { Destination::Eof },
            // The output has ended well, and stays so; what broke is the way of the input.
            Destination::Eof if reset => return self.write_failed(actions),
            Destination::Connecting
            | Destination::Eof
            | Destination::Reset
            | Destination::Refused
            | Destination::Timeout
            | Destination::Unresolved => return,
        }
        self.end(now, how, actions);
    }

    fn end(&mut self, now: Instant, how: How, actions: &mut Vec<Action>) {
        self.unblock(now);
        self.end = Some(End { how, since: now, arrived: false });
        for attachment in self.attachments.iter_mut().filter(|attachment| attachment.sees_output()) {
            attachment.owed.end = true;
            attachment.call(actions);
        }
        match (how, self.input_state) {
            (How::Eof, InputState::Ended | InputState::Dead { .. }) => actions.push(Action::Release),
            (How::Eof, InputState::Open | InputState::Ending { .. }) => {}
            (How::Reset(_), _) => {
                self.kill_input(actions);
                actions.push(Action::Release);
            }
            (How::Failed(_), _) => self.kill_input(actions),
        }
    }

    /// Nobody takes the input any more: it is dropped, and what comes is not taken in. Clients are told how much was
    /// taken, unless the end of the output says the same and there is nothing to be lost.
    fn kill_input(&mut self, actions: &mut Vec<Action>) {
        if self.input_state == InputState::Ended {
            return;
        }
        let over = self.end.is_some_and(|end| end.how != How::Eof);
        if self.input.waiting() > 0 || !over {
            let written = self.written();
            self.events.push((self.output.base(), self.output.next()), INPUT_LOST, &written.to_be_bytes());
            self.call_for_output(|_| true, actions);
        }
        self.input_state = InputState::Dead { ended: self.input_has_end(), written: self.written() };
        self.input = Replay::ended_at(self.input.next());
        self.owe_all_senders(actions);
    }

    /// Whoever sends input is told how far it has come.
    pub(super) fn owe_all_senders(&mut self, actions: &mut Vec<Action>) {
        for attachment in self.attachments.iter_mut().filter(|attachment| attachment.sends_input()) {
            attachment.owed.ack = true;
            attachment.call(actions);
        }
    }

    pub(super) fn write_failed(&mut self, actions: &mut Vec<Action>) {
        match self.input_state {
            InputState::Ended | InputState::Dead { .. } => {}
            InputState::Open | InputState::Ending { .. } if self.is_open() => {
                self.kill_input(actions);
                if self.end.is_some() {
                    actions.push(Action::Release);
                }
            }
            InputState::Open | InputState::Ending { .. } => {}
        }
    }

    pub(super) fn wrote(&mut self, now: Instant, count: usize, actions: &mut Vec<Action>) {
        let written = self.input.acknowledged() + count.min(self.input.waiting()) as u64;
        self.input.acknowledge(written);
        self.widen(actions);
        self.pass_end_on(now, actions);
    }

    /// Tells those who may send little that there is room again, once half of it is free.
    pub(super) fn widen(&mut self, actions: &mut Vec<Action>) {
        let half = self.allowance.input / 2;
        if self.input.waiting() > half {
            return;
        }
        let may_send_little = |attachment: &Attachment| {
            let left = attachment.input_granted.saturating_sub(attachment.input_next);
            attachment.sends_input() && left < half as u64
        };
        for attachment in self.attachments.iter_mut().filter(|attachment| may_send_little(attachment)) {
            attachment.owed.ack = true;
            attachment.call(actions);
        }
    }

    /// Once all input is written its end is passed on, once.
    pub(super) fn pass_end_on(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let InputState::Ending { reset } = self.input_state else {
            return;
        };
        if self.input.waiting() > 0 || !self.is_open() {
            return;
        }
        self.input_state = InputState::Ended;
        match (reset, self.destination) {
            (true, Destination::Open) => {
                actions.push(Action::Break);
                self.ended(now, How::Reset(ECONNRESET), actions);
            }
            (true, _) => actions.extend([Action::Break, Action::Release]),
            (false, Destination::Open) => actions.push(Action::Shutdown),
            (false, _) => actions.extend([Action::Shutdown, Action::Release]),
        }
    }
}
