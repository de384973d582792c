//! Frames to bytes: everything is appended to a buffer of the caller's.

use super::{ACK_END, Accept, Ack, Frame, HEAD, Hello, MAX_DATA, MAX_EVENT, New, PREFACE, Refusal, Resume, kind};
use super::{Closed, Command, DATA_OFFSET, Destination, Detached, Mode, VERSION};

/// Appends what a client says first.
pub fn encode_preface(out: &mut Vec<u8>) {
    out.extend_from_slice(&PREFACE);
    out.extend_from_slice(&[VERSION, VERSION]);
}

/// What comes before so many bytes of a stream, at most [`MAX_DATA`], in a DATA frame: for a caller that has the
/// bytes elsewhere and sends both together.
pub fn data_head(offset: u64, length: usize) -> [u8; HEAD + DATA_OFFSET] {
    debug_assert!((1..=MAX_DATA).contains(&length), "no frame has {length} bytes of a stream");
    let mut head = [0; HEAD + DATA_OFFSET];
    head[0] = kind::DATA;
    head[2..HEAD].copy_from_slice(&((DATA_OFFSET + length) as u16).to_be_bytes());
    head[HEAD..].copy_from_slice(&offset.to_be_bytes());
    head
}

impl Frame<'_> {
    /// Appends the frame. Bytes of a stream beyond [`MAX_DATA`], and of an event beyond [`MAX_EVENT`], are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), self.flags(), 0, 0]);
        self.payload(out);
        let length = (out.len() - start - HEAD) as u16;
        out[start + 2..start + HEAD].copy_from_slice(&length.to_be_bytes());
    }

    fn kind(&self) -> u8 {
        match self {
            Frame::Hello(_) => kind::HELLO,
            Frame::New(_) => kind::NEW,
            Frame::Resume(_) => kind::RESUME,
            Frame::Confirm(_) => kind::CONFIRM,
            Frame::Accept(_) => kind::ACCEPT,
            Frame::Reject(_) => kind::REJECT,
            Frame::Data { .. } => kind::DATA,
            Frame::Append { .. } => kind::APPEND,
            Frame::Ack(_) => kind::ACK,
            Frame::Fin { .. } => kind::FIN,
            Frame::Reset { .. } => kind::RESET,
            Frame::Gap { .. } => kind::GAP,
            Frame::Destination(_) => kind::DESTINATION,
            Frame::Close => kind::CLOSE,
            Frame::Closed(_) => kind::CLOSED,
            Frame::Detached(_) => kind::DETACHED,
            Frame::GoAway { .. } => kind::GOAWAY,
            Frame::Ping(_) => kind::PING,
            Frame::Pong(_) => kind::PONG,
            Frame::Event { .. } => kind::EVENT,
            Frame::Resize { .. } => kind::RESIZE,
            Frame::Command(_) => kind::COMMAND,
            Frame::Input { .. } => kind::INPUT,
            Frame::Seen { .. } => kind::SEEN,
        }
    }

    fn flags(&self) -> u8 {
        if matches!(self, Frame::Ack(Ack { end: true, .. })) { ACK_END } else { 0 }
    }

    fn payload(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello(hello) => hello.payload(out),
            Frame::New(New { nonce, ttl }) => {
                out.extend_from_slice(&nonce.0);
                out.extend_from_slice(&ttl.to_be_bytes());
            }
            Frame::Resume(resume) => resume.payload(out),
            Frame::Confirm(mac) => out.extend_from_slice(&mac.0),
            Frame::Accept(accept) => {
                accept.proved(out);
                out.extend_from_slice(&accept.mac.0);
            }
            Frame::Reject(refusal) => refusal.payload(out),
            Frame::Data { offset, bytes } | Frame::Append { offset, bytes } => {
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(&bytes[..bytes.len().min(MAX_DATA)]);
            }
            Frame::Ack(ack) => {
                out.extend_from_slice(&ack.next.to_be_bytes());
                out.extend_from_slice(&ack.window.to_be_bytes());
                out.extend(ack.written.map(u64::to_be_bytes).into_iter().flatten());
            }
            Frame::Fin { offset } => out.extend_from_slice(&offset.to_be_bytes()),
            Frame::Reset { offset, errno } => {
                out.extend_from_slice(&offset.to_be_bytes());
                out.extend_from_slice(&errno.to_be_bytes());
            }
            Frame::Gap { from, to } => {
                out.extend_from_slice(&from.to_be_bytes());
                out.extend_from_slice(&to.to_be_bytes());
            }
            Frame::Destination(destination) => out.push(destination.code()),
            Frame::Close => {}
            Frame::Closed(closed) => out.push(closed.code()),
            Frame::Detached(detached) => out.push(detached.code()),
            Frame::GoAway { grace } => out.extend_from_slice(&grace.to_be_bytes()),
            Frame::Ping(bytes) | Frame::Pong(bytes) => out.extend_from_slice(bytes),
            Frame::Event { offset, kind, body } => {
                out.extend_from_slice(&offset.to_be_bytes());
                out.push(*kind);
                out.extend_from_slice(&body[..body.len().min(MAX_EVENT)]);
            }
            Frame::Resize { columns, rows } => {
                out.extend_from_slice(&columns.to_be_bytes());
                out.extend_from_slice(&rows.to_be_bytes());
            }
            Frame::Command(command) => out.push(command.code()),
            Frame::Input { next, writers } => {
                out.extend_from_slice(&next.to_be_bytes());
                out.extend_from_slice(&writers.to_be_bytes());
            }
            Frame::Seen { next } => out.extend_from_slice(&next.to_be_bytes()),
        }
    }
}

impl Hello {
    fn payload(&self, out: &mut Vec<u8>) {
        out.push(self.version);
        out.extend_from_slice(&self.boot.0);
        out.extend_from_slice(&self.nonce.0);
        out.extend_from_slice(&self.max_payload.to_be_bytes());
        out.extend_from_slice(&self.window.to_be_bytes());
        out.extend_from_slice(&self.heartbeat.to_be_bytes());
        out.extend_from_slice(&self.ttl.to_be_bytes());
    }
}

impl Resume {
    fn payload(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.boot_seen.0);
        out.extend_from_slice(&self.nonce.0);
        out.extend_from_slice(&self.next.to_be_bytes());
        out.push(self.mode.code());
        out.extend_from_slice(&self.mac.0);
    }
}

impl Accept {
    /// Appends the payload without the proof at its end: what the proof is made of.
    pub(crate) fn proved(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        for number in [self.epoch, self.input_next, self.output_base, self.output_next] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(self.destination.code());
        out.push(u8::from(self.input_ended) | u8::from(self.output_ended) << 1);
        out.extend_from_slice(&self.expires.to_be_bytes());
        if let Some(secret) = &self.secret {
            out.extend_from_slice(secret.bytes());
        }
    }
}

impl Refusal {
    fn payload(self, out: &mut Vec<u8>) {
        out.push(self.code());
        match self {
            Refusal::Version { least, most } => out.extend_from_slice(&[least, most]),
            Refusal::Busy { retry_after: seconds }
            | Refusal::Stopping { retry_after: seconds }
            | Refusal::InUse { idle: seconds } => out.extend_from_slice(&seconds.to_be_bytes()),
            Refusal::OutOfRange { base, next } => {
                out.extend_from_slice(&base.to_be_bytes());
                out.extend_from_slice(&next.to_be_bytes());
            }
            Refusal::Denied | Refusal::Gone | Refusal::Malformed | Refusal::TooSlow | Refusal::Other(_) => {}
        }
    }
}

impl Mode {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Mode::Steal => 0,
            Mode::Refuse => 1,
            Mode::Observe => 2,
            Mode::Input => 3,
        }
    }
}

impl Destination {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Destination::Connecting => 0,
            Destination::Open => 1,
            Destination::Eof => 2,
            Destination::Reset => 3,
            Destination::Refused => 4,
            Destination::Timeout => 5,
            Destination::Unresolved => 6,
        }
    }
}

impl Closed {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Closed::ByClient => 1,
            Closed::Complete => 2,
            Closed::Expired => 3,
            Closed::ByAdministrator => 4,
            Closed::Stopped => 5,
            Closed::Other(code) => code,
        }
    }
}

impl Detached {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Detached::TakenOver => 1,
            Detached::ByAdministrator => 2,
            Detached::Broke => 3,
            Detached::Silent => 4,
            Detached::Conflict => 5,
            Detached::Other(code) => code,
        }
    }
}

impl Command {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Command::AreYouThere => 1,
            Command::Break => 2,
            Command::Interrupt => 3,
            Command::Other(code) => code,
        }
    }
}
