//! The session protocol's frames as bytes, version 1: no descriptor and no system call here.
//!
//! A client begins with a [preface](PREFACE); all that follows, both ways, are frames: `type u8 | flags u8 |
//! length u16 | payload`, numbers big endian. A reader skips a frame of a type from 0x80 up that it does not know and
//! refuses one below, so that a later version can add both what may and what must be understood.
//! `docs/protocol.md` is this page in words. [`Decoder`] reads, [`Frame::encode`] writes.

use crate::session::credential::{BootId, Mac, Nonce, Secret, SessionId};

mod decode;
mod encode;
mod reject;
#[cfg(test)]
mod tests;

pub use decode::{DecodeError, Decoder, Versions};
pub use encode::{data_head, encode_preface};
pub use reject::Refusal;

/// The newest version that we speak, and the oldest.
pub const VERSION: u8 = 1;
/// What a client says first, before the versions that it speaks. The first byte is no letter, and NUL, CR and LF follow,
/// so that nobody comes by it in another protocol.
pub const PREFACE: [u8; 8] = *b"\xd3SKT\0\r\n\x1a";
/// Bytes before the payload.
pub const HEAD: usize = 4;
/// Most bytes of a payload.
pub const MAX_PAYLOAD: usize = 65_535;
/// Most bytes, of all frames together, that one side reads before the other has proved itself.
pub const MAX_UNPROVED: usize = 1024;
/// Most bytes of the body of an event.
pub const MAX_EVENT: usize = 64;
/// [`Resume::next`] of a client that wants all output that there still is.
pub const OLDEST: u64 = u64::MAX;
/// Seconds that mean: without end.
pub const NEVER: u32 = u32::MAX;

/// Bytes of DATA's payload before the stream's.
const DATA_OFFSET: usize = 8;
/// Most bytes of a stream that one DATA carries.
pub const MAX_DATA: usize = MAX_PAYLOAD - DATA_OFFSET;

/// The types, as bytes; from 0x80 up a reader skips what it does not know.
mod kind {
    pub const HELLO: u8 = 0x01;
    pub const NEW: u8 = 0x02;
    pub const RESUME: u8 = 0x03;
    pub const CONFIRM: u8 = 0x04;
    pub const ACCEPT: u8 = 0x05;
    pub const REJECT: u8 = 0x06;
    pub const DATA: u8 = 0x10;
    pub const ACK: u8 = 0x11;
    pub const FIN: u8 = 0x12;
    pub const RESET: u8 = 0x13;
    pub const GAP: u8 = 0x14;
    pub const DESTINATION: u8 = 0x15;
    pub const APPEND: u8 = 0x16;
    pub const CLOSE: u8 = 0x20;
    pub const CLOSED: u8 = 0x21;
    pub const DETACHED: u8 = 0x22;
    pub const GOAWAY: u8 = 0x23;
    pub const PING: u8 = 0x24;
    pub const PONG: u8 = 0x25;
    pub const EVENT: u8 = 0x80;
    pub const RESIZE: u8 = 0x81;
    pub const COMMAND: u8 = 0x82;
    pub const INPUT: u8 = 0x83;
    pub const SEEN: u8 = 0x84;
}

/// The flag of an ACK that says: the stream's end has arrived, too.
const ACK_END: u8 = 0x01;

/// One frame. What is of any length is borrowed from whoever has the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Server: the first word.
    Hello(Hello),
    /// Client: make a session.
    New(New),
    /// Client: go on with a session.
    Resume(Resume),
    /// Client: the secret has arrived. It carries the [proof](crate::session::credential::Key::confirm) of that.
    Confirm(Mac),
    /// Server: you are attached.
    Accept(Accept),
    /// Server: you are not. The connection is closed.
    Reject(Refusal),
    /// A part of a stream, at least one byte: input from the client, output from the server.
    Data {
        /// Where in its stream the first byte is.
        offset: u64,
        /// At most [`MAX_DATA`].
        bytes: &'a [u8],
    },
    /// How far the other's stream has arrived.
    Ack(Ack),
    /// Writer: bytes of the input, whose offset counts what everybody has sent.
    Append {
        /// Of the first of them, in the session's input.
        offset: u64,
        /// At least one, at most [`MAX_DATA`].
        bytes: &'a [u8],
    },
    /// The stream ends here, and ends well.
    Fin {
        /// How many bytes it has.
        offset: u64,
    },
    /// The stream ends here, because the connection behind it broke.
    Reset {
        /// How many bytes it has.
        offset: u64,
        /// Why, as Linux numbers errors (errno(3)); 0: no reason is known.
        errno: u32,
    },
    /// Server: these bytes of the output are not to be had any more.
    Gap {
        /// The first that is missing.
        from: u64,
        /// The first after them.
        to: u64,
    },
    /// Server: what has become of the destination.
    Destination(Destination),
    /// Client: end the session, at once.
    Close,
    /// Server: the session is over, for this reason. The connection is closed.
    Closed(Closed),
    /// Server: the session goes on without you. The connection is closed.
    Detached(Detached),
    /// Server: it stops.
    GoAway {
        /// How long it still serves, in seconds.
        grace: u32,
    },
    /// Are you there?
    Ping([u8; 8]),
    /// Yes, with the bytes of the PING.
    Pong([u8; 8]),
    /// Server: something that happened between two bytes of the output.
    Event {
        /// How many bytes of output came before it.
        offset: u64,
        /// What; see [`event`]. A client skips a kind that it does not know.
        kind: u8,
        /// At most [`MAX_EVENT`].
        body: &'a [u8],
    },
    /// Client: the terminal's size.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// Client: tell the destination something that is no byte of the stream.
    Command(Command),
    /// Server: how far the input of all who send it has come. An ACK counts only what came over its own connection.
    Input {
        /// All of it.
        next: u64,
        /// What writers have sent of it.
        writers: u64,
    },
    /// Observer: where the session has no client, what is before this offset of the output counts as arrived.
    Seen {
        /// The first byte that does not.
        next: u64,
    },
}

/// Kinds of events.
pub mod event {
    /// One byte. 1: the destination echoes what is typed, or hides it; a terminal does not. 0: the terminal does.
    pub const ECHO: u8 = 1;
    /// One byte. 1: the output is binary. 0: it is text.
    pub const BINARY: u8 = 2;
    /// No body: a record ends here.
    pub const END_OF_RECORD: u8 = 3;
    /// The name of the output's character set.
    pub const CHARSET: u8 = 4;
    /// Eight bytes: how much input the destination was sent. It takes no more, and the rest is lost.
    pub const INPUT_LOST: u8 = 5;
    /// Eight bytes, for an observer alone: how much output has arrived, as the session's clients have acknowledged it.
    pub const ARRIVED: u8 = 6;
}

/// The server's first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version that both speak from here on.
    pub version: u8,
    /// Another one after each start that has lost the sessions.
    pub boot: BootId,
    /// New for each connection.
    pub nonce: Nonce,
    /// The longest payload to be sent, both ways.
    pub max_payload: u16,
    /// How many bytes of output are sent before the first ACK.
    pub window: u32,
    /// After so many seconds of silence a PING is sent.
    pub heartbeat: u16,
    /// How many seconds a session is kept for a client that is away, if it wants no less; [`NEVER`]: without end.
    pub ttl: u32,
}

/// A session is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// New for each connection.
    pub nonce: Nonce,
    /// How many seconds the session shall be kept while its client is away; 0: as long as the server likes. It is
    /// never longer than that.
    pub ttl: u32,
}

/// A session is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Which.
    pub id: SessionId,
    /// [`Hello::boot`] at the time when the client last was attached to it.
    pub boot_seen: BootId,
    /// New for each connection.
    pub nonce: Nonce,
    /// Where the output shall begin. It acknowledges all before. [`OLDEST`]: with the first byte that there still is.
    pub next: u64,
    /// As what the client comes.
    pub mode: Mode,
    /// The proof that the client has the secret: [`Key::resume`](crate::session::credential::Key::resume).
    pub mac: Mac,
}

/// As what a client comes to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As its client; whoever is attached has to go.
    Steal,
    /// As its client, unless somebody is attached.
    Refuse,
    /// To see the output, beside the attached client.
    Observe,
    /// To send input, beside the attached client.
    Input,
}

/// A client is attached. All numbers are those of the moment in which everybody else was fenced off.
#[derive(PartialEq, Eq)]
pub struct Accept {
    /// The session.
    pub id: SessionId,
    /// Counts the clients that were attached, from 1 up.
    pub epoch: u64,
    /// Where the input goes on.
    pub input_next: u64,
    /// The first byte of output that there still is.
    pub output_base: u64,
    /// The first that there is not yet.
    pub output_next: u64,
    /// What has become of the destination.
    pub destination: Destination,
    /// The input has ended, at [`Accept::input_next`].
    pub input_ended: bool,
    /// The output has ended, at [`Accept::output_next`]. FIN, RESET or DESTINATION follows all of it and says how.
    pub output_ended: bool,
    /// How many seconds the session is kept while nobody is connected; [`NEVER`]: without end.
    pub expires: u32,
    /// After NEW: what a client needs to resume. Sent this once.
    pub secret: Option<Secret>,
    /// The proof that the server knows the session: [`Key::accept`](crate::session::credential::Key::accept).
    pub mac: Mac,
}

impl std::fmt::Debug for Accept {
    /// Without the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Accept { id, epoch, input_next, output_base, output_next, destination, .. } = self;
        write!(formatter, "Accept {{ {id}, epoch {epoch}, input {input_next}, ")?;
        write!(formatter, "output {output_base}..{output_next}, {destination:?}, expires {}, .. }}", self.expires)
    }
}

/// How far a stream has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// All before this byte need not be sent again.
    pub next: u64,
    /// So many bytes from there may be sent.
    pub window: u32,
    /// The stream's end has arrived, too.
    pub end: bool,
    /// Server: how many bytes of the input the destination has been sent.
    pub written: Option<u64>,
}

/// What has become of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Nobody has answered yet.
    Connecting,
    /// Connected.
    Open,
    /// It has ended its output.
    Eof,
    /// The connection broke.
    Reset,
    /// It did not want the connection, or could not be reached.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// Its name has no address.
    Unresolved,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its client wanted so.
    ByClient,
    /// Everything has arrived at both ends.
    Complete,
    /// Nobody came back in time.
    Expired,
    /// The server's administrator wanted so.
    ByAdministrator,
    /// The server has ended.
    Stopped,
    /// A reason that this version does not know.
    Other(u8),
}

/// Why a client is no longer attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// Another one came. A client that is told this must not come back by itself, or two of them would fight for ever.
    TakenOver,
    /// The server's administrator wanted so.
    ByAdministrator,
    /// It broke the protocol.
    Broke,
    /// It was silent for too long.
    Silent,
    /// What it sent for input that has arrived is not what has arrived: others were there before it.
    Conflict,
    /// A reason that this version does not know.
    Other(u8),
}

/// What a destination can be told beside its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Telnet's AYT.
    AreYouThere,
    /// Telnet's BRK.
    Break,
    /// Telnet's IP.
    Interrupt,
    /// One that this version does not know; to be skipped.
    Other(u8),
}
