//! What a client sends, made when its connection takes it. Pure.

use super::arriving::Course;
use super::{Attached, Checks, Client, Link, Owed};
use crate::session::frame::{Ack, Frame, Mode};

impl Client {
    /// Appends what there is to be sent, with at most `room` bytes of input and few besides. Whether there is more that
    /// may be sent now.
    pub fn transmit(&mut self, room: usize, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.first);
        let Link::Attached(attached) = &mut self.link else {
            return false;
        };
        if self.wishes.kept
            && let Some(mac) = attached.owed.confirm.take()
        {
            Frame::Confirm(mac).encode(out);
        }
        // What comes before a new session is confirmed would be about nothing.
        if attached.owed.confirm.is_some() {
            return false;
        }
        self.send_owed(out);
        let more = self.send_input(room, out);
        if self.check_is_due() {
            self.send_check(out);
        }
        more
    }

    /// Behind all input that may be sent, which is none before the first ACK.
    fn check_is_due(&self) -> bool {
        let Link::Attached(Attached { input_granted, owed, .. }) = &self.link else {
            return false;
        };
        let settled = input_granted.is_some() || !self.sends_input();
        owed.checks.wanted && settled && !self.may_send_input()
    }

    fn send_check(&mut self, out: &mut Vec<u8>) {
        self.with_owed(|Owed { checks, .. }| {
            if std::mem::take(&mut checks.wanted) {
                checks.asked = checks.asked.wrapping_add(1).max(1);
                Frame::Ping(Checks::question(checks.asked)).encode(out);
            }
        });
    }

    /// Whether there may be something to transmit.
    pub fn has_something_to_say(&self) -> bool {
        let Link::Attached(attached) = &self.link else {
            return !self.first.is_empty();
        };
        if attached.owed.confirm.is_some() {
            return self.wishes.kept;
        }
        let owed = &attached.owed;
        let owes = owed.ack || owed.pong.is_some() || owed.ping || owed.size || owed.close || !owed.commands.is_empty();
        owes || self.may_send_input() || self.fin_is_due() || self.check_is_due()
    }

    fn send_owed(&mut self, out: &mut Vec<u8>) {
        let Link::Attached(attached) = &mut self.link else {
            return;
        };
        if let Some(bytes) = attached.owed.pong.take() {
            Frame::Pong(bytes).encode(out);
        }
        if std::mem::take(&mut attached.owed.ping) {
            let checks = &attached.owed.checks;
            // A server that is asked several times may answer the last one alone: so what is not answered is asked again.
            let bytes = match checks.asked == checks.answered {
                true => u64::from(attached.pings).to_be_bytes(),
                false => Checks::question(checks.asked),
            };
            Frame::Ping(bytes).encode(out);
        }
        if std::mem::take(&mut attached.owed.ack) {
            let (next, window, end) = (self.output.done, self.settings.window, self.output.end_done);
            (attached.acked, attached.ack_due) = (next, None);
            attached.output_granted = attached.output_granted.max(next.saturating_add(window.into()));
            Frame::Ack(Ack { next, window, end, written: None }).encode(out);
        }
        let sends = self.settings.mode != Mode::Observe;
        if std::mem::take(&mut attached.owed.size)
            && sends
            && let Some((columns, rows)) = self.wishes.size
        {
            Frame::Resize { columns, rows }.encode(out);
        }
        for command in attached.owed.commands.drain(..).filter(|_| sends) {
            Frame::Command(command).encode(out);
        }
        if std::mem::take(&mut attached.owed.close) && sends {
            Frame::Close.encode(out);
        }
    }

    fn send_input(&mut self, mut room: usize, out: &mut Vec<u8>) -> bool {
        let sends = self.sends_input();
        let Link::Attached(attached) = &mut self.link else {
            return false;
        };
        let granted = attached.input_granted.unwrap_or(0);
        let writers = match attached.course {
            Course::Settled { writers } => writers,
            Course::Open { .. } => 0,
        };
        while sends && room > 0 {
            let sent = self.input.send((room.min(attached.terms.longest), granted), writers, out);
            if sent == 0 {
                break;
            }
            room -= sent;
        }
        if self.fin_is_due() {
            Frame::Fin { offset: self.input.next() + writers }.encode(out);
            self.with_owed(|owed| owed.fin = false);
        }
        self.may_send_input()
    }

    /// Whether there is input that may be sent now.
    fn may_send_input(&self) -> bool {
        let Link::Attached(Attached { input_granted: Some(granted), .. }) = &self.link else {
            return false;
        };
        self.sends_input() && self.input.cursor() < self.input.next().min(*granted)
    }

    fn fin_is_due(&self) -> bool {
        let Link::Attached(Attached { input_granted: Some(_), owed, .. }) = &self.link else {
            return false;
        };
        self.sends_input() && owed.fin && self.input.end_is_due()
    }

    fn sends_input(&self) -> bool {
        self.settings.mode != Mode::Observe
    }
}
