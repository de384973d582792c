//! Bytes to frames, as they come: in pieces of any size, within bounds.

use super::{ACK_END, Accept, Ack, Closed, Command, DATA_OFFSET, Destination, Detached, Frame, HEAD, Hello};
use super::{MAX_EVENT, MAX_PAYLOAD, MAX_UNPROVED, Mode, New, PREFACE, Refusal, Resume, VERSION, kind};
use crate::session::credential::{BootId, Mac, Nonce, Secret, SessionId, wipe};
use crate::session::written::{Form, FormError, Reader, Writer};

/// Bytes of ACCEPT's payload without a secret.
const ACCEPT: usize = 86;
/// Bytes of a secret.
const SECRET: usize = 32;
/// Bytes of the preface with its versions.
const PREFACE_SIZE: usize = PREFACE.len() + 2;

/// The versions that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub least: u8,
    /// The newest.
    pub most: u8,
}

impl Versions {
    /// The newest version that we speak as well.
    pub fn common(self) -> Option<u8> {
        (self.least..=self.most).contains(&VERSION).then_some(VERSION)
    }
}

/// Why bytes are none of the protocol's. The connection that they came by is closed, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are no preface.
    #[error("a client does not begin with the preface of the session protocol")]
    Preface,
    /// A type below 0x80 that is not known.
    #[error("a frame has the unknown type {0:#04x}")]
    Unknown(u8),
    /// A flag that this version does not know.
    #[error("a frame of type {kind:#04x} has the flags {flags:#04x}")]
    Flags {
        /// The frame's type.
        kind: u8,
        /// Its flags.
        flags: u8,
    },
    /// A payload of a length that frames of this type do not have.
    #[error("a frame of type {kind:#04x} has a payload of {length} bytes")]
    Length {
        /// The frame's type.
        kind: u8,
        /// How many bytes its payload has.
        length: usize,
    },
    /// A field with a value that it does not have in this version.
    #[error("a frame of type {kind:#04x} has a field with the value {value}")]
    Value {
        /// The frame's type.
        kind: u8,
        /// What is in the field.
        value: u64,
    },
    /// The other side has said too much and proved nothing.
    #[error("more than {MAX_UNPROVED} bytes before a proof")]
    Unproved,
}

/// Makes frames of the bytes of one connection. It holds at most one frame of the greatest length; before
/// [`Decoder::proved`] at most [`MAX_UNPROVED`] bytes in all.
pub struct Decoder {
    buffer: Vec<u8>,
    /// How many bytes at the front are done with.
    done: usize,
    /// How many more bytes are taken before a proof.
    unproved: Option<usize>,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// For one connection, of which nothing is proved.
    pub fn new() -> Self {
        // All that comes before a proof has its place, so that no copy of a secret stays behind where it was.
        Decoder { buffer: Vec::with_capacity(MAX_UNPROVED), done: 0, unproved: Some(MAX_UNPROVED) }
    }

    /// The other side has proved itself: its frames may have any length from now on.
    pub fn proved(&mut self) {
        self.forget();
        self.unproved = None;
    }

    /// Takes in what has arrived, and says how much of it: the rest is to be offered again when the frames that there
    /// are have been taken out. If there are none, it will never be taken, and [`Decoder::frame`] says so.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        self.forget();
        let room = (HEAD + MAX_PAYLOAD).saturating_sub(self.buffer.len());
        let taken = bytes.len().min(room).min(self.unproved.unwrap_or(usize::MAX));
        self.buffer.extend_from_slice(&bytes[..taken]);
        if let Some(left) = &mut self.unproved {
            *left -= taken;
        }
        taken
    }

    /// How many bytes it holds.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.done
    }

    /// Drops what is done with, and wipes it if there may be a secret in it.
    fn forget(&mut self) {
        let left = self.buffer.len() - self.done;
        self.buffer.copy_within(self.done.., 0);
        if self.unproved.is_some() {
            wipe(&mut self.buffer[left..]);
        }
        self.buffer.truncate(left);
        self.done = 0;
    }

    /// Takes out the preface, which a server reads first. It is refused as soon as a byte is wrong.
    pub fn preface(&mut self) -> Result<Option<Versions>, DecodeError> {
        let bytes = &self.buffer[self.done..];
        let common = bytes.len().min(PREFACE.len());
        if bytes[..common] != PREFACE[..common] {
            return Err(DecodeError::Preface);
        }
        let Some(&[least, most]) = bytes.get(PREFACE.len()..PREFACE_SIZE) else {
            return Ok(None);
        };
        self.done += PREFACE_SIZE;
        if least > most { Err(DecodeError::Preface) } else { Ok(Some(Versions { least, most })) }
    }

    /// Takes out the next frame. It is refused as soon as its head is wrong; after an error there is no other frame.
    pub fn frame(&mut self) -> Result<Option<Frame<'_>>, DecodeError> {
        loop {
            let Some(&[kind, flags, high, low]) = self.buffer.get(self.done..self.done + HEAD) else {
                return self.nothing();
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let known = check_head(kind, flags, length)?;
            if self.unproved.is_some() && length > MAX_UNPROVED {
                return Err(DecodeError::Unproved);
            }
            let start = self.done + HEAD;
            if self.buffer.len() < start + length {
                return self.nothing();
            }
            self.done = start + length;
            if known {
                return payload(kind, flags, &self.buffer[start..start + length]).map(Some);
            }
        }
    }

    fn nothing(&self) -> Result<Option<Frame<'_>>, DecodeError> {
        if self.unproved == Some(0) { Err(DecodeError::Unproved) } else { Ok(None) }
    }
}

impl Form for Decoder {
    fn write(&self, to: &mut Writer) {
        self.unproved.write(to);
        (self.buffer.len() - self.done).write(to);
        to.put_secret(&self.buffer[self.done..]);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let unproved = Option::<usize>::read(from)?;
        let bytes = from.take_counted()?;
        let most = unproved.map_or(Some(HEAD + MAX_PAYLOAD), |unproved| MAX_UNPROVED.checked_sub(unproved));
        if most.is_none_or(|most| bytes.len() > most) {
            return Err(FormError::Unfit("what a client has said"));
        }
        let mut decoder = Decoder::new();
        decoder.unproved = unproved;
        decoder.buffer.extend_from_slice(bytes);
        Ok(decoder)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        if self.unproved.is_some() {
            wipe(&mut self.buffer);
        }
    }
}

/// Whether the frame is to be looked at; one that is to be skipped is of no harm.
fn check_head(kind: u8, flags: u8, length: usize) -> Result<bool, DecodeError> {
    let Some((least, most)) = lengths(kind) else {
        return if kind < 0x80 { Err(DecodeError::Unknown(kind)) } else { Ok(false) };
    };
    if flags & !if kind == kind::ACK { ACK_END } else { 0 } != 0 {
        return if kind < 0x80 { Err(DecodeError::Flags { kind, flags }) } else { Ok(false) };
    }
    if (least..=most).contains(&length) { Ok(true) } else { Err(DecodeError::Length { kind, length }) }
}

/// The shortest and the longest payload of a type.
fn lengths(kind: u8) -> Option<(usize, usize)> {
    let exactly = |length| Some((length, length));
    match kind {
        kind::HELLO => exactly(61),
        kind::NEW => exactly(36),
        kind::RESUME => exactly(105),
        kind::CONFIRM => exactly(32),
        kind::ACCEPT => Some((ACCEPT, ACCEPT + SECRET)),
        kind::REJECT => Some((1, 256)),
        kind::DATA | kind::APPEND => Some((DATA_OFFSET + 1, MAX_PAYLOAD)),
        kind::ACK => Some((12, 20)),
        kind::FIN | kind::SEEN => exactly(8),
        kind::RESET => exactly(12),
        kind::GAP | kind::INPUT => exactly(16),
        kind::DESTINATION | kind::CLOSED | kind::DETACHED | kind::COMMAND => exactly(1),
        kind::CLOSE => exactly(0),
        kind::GOAWAY | kind::RESIZE => exactly(4),
        kind::PING | kind::PONG => exactly(8),
        kind::EVENT => Some((9, 9 + MAX_EVENT)),
        _ => None,
    }
}

/// The fields of a payload, one after the other.
struct Fields<'a> {
    kind: u8,
    rest: &'a [u8],
    length: usize,
}

impl<'a> Fields<'a> {
    fn take<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], DecodeError> {
        let error = DecodeError::Length { kind: self.kind, length: self.length };
        let (field, rest) = self.rest.split_first_chunk().ok_or(error)?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A byte that stands for one of the values that there are.
    fn code<T>(&mut self, values: &[T], code: fn(T) -> u8) -> Result<T, DecodeError>
    where
        T: Copy,
    {
        let byte = self.u8()?;
        let value = values.iter().copied().find(|value| code(*value) == byte);
        value.ok_or(DecodeError::Value { kind: self.kind, value: byte.into() })
    }
}

fn payload(kind: u8, flags: u8, bytes: &[u8]) -> Result<Frame<'_>, DecodeError> {
    let length = bytes.len();
    let fields = &mut Fields { kind, rest: bytes, length };
    let frame = match kind {
        kind::HELLO => hello(fields)?,
        kind::NEW => Frame::New(New { nonce: Nonce(fields.take()?), ttl: fields.u32()? }),
        kind::RESUME => resume(fields)?,
        kind::CONFIRM => Frame::Confirm(Mac(fields.take()?)),
        kind::ACCEPT => accept(fields)?,
        kind::REJECT => reject(fields)?,
        kind::ACK => {
            let (next, window, end) = (fields.u64()?, fields.u32()?, flags & ACK_END != 0);
            let written = if fields.rest.is_empty() { None } else { Some(fields.u64()?) };
            Frame::Ack(Ack { next, window, end, written })
        }
        kind::FIN => Frame::Fin { offset: fields.u64()? },
        kind::RESET => Frame::Reset { offset: fields.u64()?, errno: fields.u32()? },
        kind::GAP => {
            let (from, to) = (fields.u64()?, fields.u64()?);
            if to <= from {
                return Err(DecodeError::Value { kind, value: to });
            }
            Frame::Gap { from, to }
        }
        kind::DESTINATION => Frame::Destination(fields.code(&DESTINATIONS, Destination::code)?),
        kind::CLOSE => Frame::Close,
        kind::CLOSED => Frame::Closed(closed(fields.u8()?)),
        kind::DETACHED => Frame::Detached(detached(fields.u8()?)),
        kind::GOAWAY => Frame::GoAway { grace: fields.u32()? },
        kind::PING => Frame::Ping(fields.take()?),
        kind::PONG => Frame::Pong(fields.take()?),
        kind::EVENT => Frame::Event { offset: fields.u64()?, kind: fields.u8()?, body: fields.all() },
        kind::RESIZE => Frame::Resize { columns: fields.u16()?, rows: fields.u16()? },
        kind::COMMAND => Frame::Command(command(fields.u8()?)),
        kind::INPUT => Frame::Input { next: fields.u64()?, writers: fields.u64()? },
        kind::SEEN => Frame::Seen { next: fields.u64()? },
        kind::DATA => {
            let (offset, bytes) = stream(fields)?;
            Frame::Data { offset, bytes }
        }
        kind::APPEND => {
            let (offset, bytes) = stream(fields)?;
            Frame::Append { offset, bytes }
        }
        _ => return Err(DecodeError::Unknown(kind)),
    };
    if fields.rest.is_empty() { Ok(frame) } else { Err(DecodeError::Length { kind, length }) }
}

const DESTINATIONS: [Destination; 7] = [
    Destination::Connecting,
    Destination::Open,
    Destination::Eof,
    Destination::Reset,
    Destination::Refused,
    Destination::Timeout,
    Destination::Unresolved,
];

/// A part of a stream, and where it is.
fn stream<'a>(fields: &mut Fields<'a>) -> Result<(u64, &'a [u8]), DecodeError> {
    let (offset, bytes) = (fields.u64()?, fields.all());
    match offset.checked_add(bytes.len() as u64) {
        Some(_) => Ok((offset, bytes)),
        None => Err(DecodeError::Value { kind: fields.kind, value: offset }),
    }
}

fn hello<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    Ok(Frame::Hello(Hello {
        version: fields.u8()?,
        boot: BootId(fields.take()?),
        nonce: Nonce(fields.take()?),
        max_payload: fields.u16()?,
        window: fields.u32()?,
        heartbeat: fields.u16()?,
        ttl: fields.u32()?,
    }))
}

fn resume<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    Ok(Frame::Resume(Resume {
        id: SessionId(fields.take()?),
        boot_seen: BootId(fields.take()?),
        nonce: Nonce(fields.take()?),
        next: fields.u64()?,
        mode: fields.code(&[Mode::Steal, Mode::Refuse, Mode::Observe, Mode::Input], Mode::code)?,
        mac: Mac(fields.take()?),
    }))
}

fn accept<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    let id = SessionId(fields.take()?);
    let (epoch, input_next, output_base, output_next) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    let destination = fields.code(&DESTINATIONS, Destination::code)?;
    let ends = fields.u8()?;
    if ends > 3 {
        return Err(DecodeError::Value { kind: fields.kind, value: ends.into() });
    }
    let (input_ended, output_ended) = (ends & 1 != 0, ends & 2 != 0);
    let expires = fields.u32()?;
    let secret = if fields.rest.len() > SECRET { Some(Secret::new(fields.take()?)) } else { None };
    let mac = Mac(fields.take()?);
    Ok(Frame::Accept(Accept {
        id,
        epoch,
        input_next,
        output_base,
        output_next,
        destination,
        input_ended,
        output_ended,
        expires,
        secret,
        mac,
    }))
}

/// What a later version adds to a code that is not known is passed over.
fn reject<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    Ok(Frame::Reject(match fields.u8()? {
        1 => Refusal::Version { least: fields.u8()?, most: fields.u8()? },
        2 => Refusal::Denied,
        3 => Refusal::Gone,
        4 => Refusal::Busy { retry_after: fields.u32()? },
        5 => Refusal::InUse { idle: fields.u32()? },
        6 => Refusal::OutOfRange { base: fields.u64()?, next: fields.u64()? },
        7 => Refusal::Stopping { retry_after: fields.u32()? },
        8 => Refusal::Malformed,
        9 => Refusal::TooSlow,
        other => {
            fields.all();
            Refusal::Other(other)
        }
    }))
}

fn closed(code: u8) -> Closed {
    let known = [Closed::ByClient, Closed::Complete, Closed::Expired, Closed::ByAdministrator, Closed::Stopped];
    known.into_iter().find(|reason| reason.code() == code).unwrap_or(Closed::Other(code))
}

fn detached(code: u8) -> Detached {
    let known = [Detached::TakenOver, Detached::ByAdministrator, Detached::Broke, Detached::Silent, Detached::Conflict];
    known.into_iter().find(|reason| reason.code() == code).unwrap_or(Detached::Other(code))
}

fn command(code: u8) -> Command {
    let known = [Command::AreYouThere, Command::Break, Command::Interrupt];
    known.into_iter().find(|command| command.code() == code).unwrap_or(Command::Other(code))
}
