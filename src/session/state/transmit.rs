//! What is sent to a client, made when its connection takes it: first what is owed, then output with its events, last
//! the end.

use super::attachment::{Attachment, Role};
use super::{Connection, How, InputState, Session};
use crate::session::frame::{Ack, Frame, data_head, event};

/// Bytes of a DATA frame's payload that are not the stream's.
const DATA_OFFSET: usize = 8;

impl Session {
    /// Appends frames for this client with at most `room` bytes of output, and few besides. Whether there is more that
    /// may be sent now: if not, [`Action::Send`](super::Action::Send) tells when there is.
    pub fn transmit(&mut self, connection: Connection, room: usize, out: &mut Vec<u8>) -> bool {
        let Some(index) = self.attachments.iter().position(|attachment| attachment.connection == connection) else {
            return false;
        };
        let mut attachment = self.attachments[index].clone();
        self.send_owed(&mut attachment, out);
        let more = attachment.sees_output() && self.send_output(&mut attachment, room, out);
        attachment.called = more;
        self.attachments[index] = attachment;
        more
    }

    fn send_owed(&self, attachment: &mut Attachment, out: &mut Vec<u8>) {
        if attachment.sends_input() && std::mem::take(&mut attachment.owed.ack) {
            self.send_ack(attachment, out);
        }
        let owed = &mut attachment.owed;
        if let Some(bytes) = owed.pong.take() {
            Frame::Pong(bytes).encode(out);
        }
        if std::mem::take(&mut owed.ping) {
            Frame::Ping(u64::from(attachment.pings).to_be_bytes()).encode(out);
        }
        if let Some(grace) = owed.go_away.take() {
            Frame::GoAway { grace }.encode(out);
        }
        if std::mem::take(&mut owed.destination) {
            Frame::Destination(self.destination).encode(out);
        }
    }

    /// An ACK counts what came over this connection; what others have sent is told before it.
    fn send_ack(&self, attachment: &mut Attachment, out: &mut Vec<u8>) {
        let beyond = self.input.next() - attachment.input_next;
        if attachment.input_told.replace(beyond) != Some(beyond) {
            Frame::Input { next: self.input.next(), writers: self.from_writers }.encode(out);
        }
        // A writer sees neither events nor the end of the output, and could not tell a full queue from one that nobody empties.
        if let (Role::Writer, InputState::Dead { written, .. }) = (attachment.role, self.input_state) {
            let (offset, body) = (self.output.next(), written.to_be_bytes());
            Frame::Event { offset, kind: event::INPUT_LOST, body: &body }.encode(out);
            Frame::Destination(self.destination).encode(out);
        }
        let ack = self.ack(attachment);
        attachment.input_granted = attachment.input_granted.max(ack.next + u64::from(ack.window));
        Frame::Ack(ack).encode(out);
    }

    /// How far the input has come.
    fn ack(&self, attachment: &Attachment) -> Ack {
        Ack {
            next: attachment.input_next,
            window: u32::try_from(self.input_room()).unwrap_or(u32::MAX),
            end: self.input_has_end(),
            written: Some(self.written()),
        }
    }

    fn send_output(&self, attachment: &mut Attachment, mut room: usize, out: &mut Vec<u8>) -> bool {
        self.send_gap(attachment, out);
        if !attachment.sends_input() && std::mem::take(&mut attachment.owed.ack) {
            let (offset, body) = (attachment.next, self.output.acknowledged().to_be_bytes());
            Frame::Event { offset, kind: event::ARRIVED, body: &body }.encode(out);
        }
        loop {
            let event = self.events.from(attachment.event, attachment.start);
            if let Some(event) = event.filter(|event| event.offset <= attachment.next) {
                Frame::Event { offset: event.offset, kind: event.kind, body: &event.body }.encode(out);
                attachment.event = event.serial + 1;
                continue;
            }
            let last = self.output.next().min(attachment.granted);
            let until = event.map_or(last, |event| event.offset.min(last));
            let length = until.saturating_sub(attachment.next).min((self.policy.max_payload - DATA_OFFSET) as u64);
            if length == 0 {
                break;
            }
            if room == 0 {
                return true;
            }
            let length = room.min(length as usize);
            let (front, back) = self.output.parts(attachment.next, length);
            out.extend_from_slice(&data_head(attachment.next, length));
            out.extend_from_slice(front);
            out.extend_from_slice(back);
            attachment.next += length as u64;
            room -= length;
        }
        if attachment.owed.end && attachment.next == self.output.next() {
            attachment.owed.end = false;
            self.send_end(out);
        }
        false
    }

    /// What is gone before it was sent is told.
    fn send_gap(&self, attachment: &mut Attachment, out: &mut Vec<u8>) {
        let base = self.output.base();
        let began_late = attachment.owed.gap.take();
        let fell_behind = (attachment.next < base).then_some((attachment.next, base));
        attachment.next = attachment.next.max(base);
        let gap = match (began_late, fell_behind) {
            (Some((from, _)), Some((_, to))) => Some((from, to)),
            (began_late, fell_behind) => began_late.or(fell_behind),
        };
        if let Some((from, to)) = gap {
            Frame::Gap { from, to }.encode(out);
        }
    }

    fn send_end(&self, out: &mut Vec<u8>) {
        let offset = self.output.next();
        match self.end.map(|end| end.how) {
            Some(How::Eof) => Frame::Fin { offset }.encode(out),
            Some(How::Reset(errno)) => Frame::Reset { offset, errno }.encode(out),
            Some(How::Failed(destination)) => Frame::Destination(destination).encode(out),
            None => {}
        }
    }
}
