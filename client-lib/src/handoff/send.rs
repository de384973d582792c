//! The sending side.

use super::deadline::{Deadline, is_shortage};
use super::error::Error;
use super::frame::{self, HEADER};
use super::peer::Allowed;
use super::{DEFAULT_DESCRIPTORS, DEFAULT_MESSAGE, DEFAULT_TIME_LIMIT};
use crate::descriptors::{self, MAX_DESCRIPTORS};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// Connects to a path, sends these descriptors with their metadata, and closes the connection; all within
/// [`DEFAULT_TIME_LIMIT`]. The descriptors stay open here. See [`Sender::send`].
pub fn send<D: AsFd, M: AsRef<[u8]>>(path: impl AsRef<Path>, descriptors: &[(D, M)]) -> Result<(), Error> {
    Sender::new().send(path, descriptors)
}

/// Sends these descriptors with their metadata over a stream, within [`DEFAULT_TIME_LIMIT`]. They stay open here, and so
/// does the stream. See [`Sender::send_to`].
pub fn send_to<D: AsFd, M: AsRef<[u8]>>(stream: impl AsFd, descriptors: &[(D, M)]) -> Result<(), Error> {
    Sender::new().send_to(stream, descriptors)
}

/// Sends descriptors, with limits of its own; keeps its buffer for the next time.
#[derive(Clone, Debug)]
pub struct Sender {
    time_limit: Option<Duration>,
    limits: Limits,
    allowed: Allowed,
    message: Message,
}

/// What goes into one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    bytes: usize,
    descriptors: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: DEFAULT_MESSAGE, descriptors: DEFAULT_DESCRIPTORS }
    }
}

impl Limits {
    pub(super) fn set_bytes(&mut self, most: usize) {
        self.bytes = most.clamp(HEADER, u32::MAX as usize);
    }

    pub(super) fn set_descriptors(&mut self, most: usize) {
        self.descriptors = most.clamp(1, MAX_DESCRIPTORS);
    }

    /// An error if some metadata fits into no message.
    pub(super) fn check<'m>(self, mut metadata: impl Iterator<Item = &'m [u8]>) -> Result<(), Error> {
        let most = self.bytes - HEADER;
        let too_long = |metadata: &&[u8]| metadata.len() > most;
        match metadata.by_ref().enumerate().find(|(_, metadata)| too_long(metadata)) {
            Some((index, metadata)) => Err(Error::MetadataTooLong { index, length: metadata.len(), most }),
            None => Ok(()),
        }
    }
}

/// A message that is going out.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
    /// How many of the bytes are sent. The descriptors go with the first of them.
    sent: usize,
}

impl Message {
    /// Starts anew with as many as fit, and tells how many those are.
    pub(super) fn fill<'m>(&mut self, limits: Limits, metadata: impl Iterator<Item = &'m [u8]>) -> usize {
        self.bytes.clear();
        self.sent = 0;
        let mut count = 0;
        for metadata in metadata.take(limits.descriptors) {
            if self.bytes.len() + HEADER + metadata.len() > limits.bytes {
                break;
            }
            frame::append(&mut self.bytes, metadata);
            count += 1;
        }
        count
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Sends what is not sent yet, as far as there is room. A small send buffer takes a message in parts.
    pub(super) fn advance(&mut self, stream: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        while !self.is_sent() {
            let descriptors = if self.sent == 0 { descriptors } else { &[] };
            self.sent += descriptors::send_some(stream, &self.bytes[self.sent..], descriptors)?;
        }
        Ok(())
    }
}

impl Default for Sender {
    fn default() -> Sender {
        Sender::new()
    }
}

impl Sender {
    /// A sender with the default limits.
    pub fn new() -> Sender {
        let (limits, allowed, message) = Default::default();
        Sender { time_limit: Some(DEFAULT_TIME_LIMIT), limits, allowed, message }
    }

    /// How long each call may take; `None` waits for ever.
    pub fn time_limit(mut self, limit: Option<Duration>) -> Sender {
        self.time_limit = limit;
        self
    }

    /// How many bytes, four for each descriptor and its metadata, go into one message. More than
    /// [`DEFAULT_MESSAGE`](super::DEFAULT_MESSAGE) is for receivers that are known to take it.
    pub fn most_bytes(mut self, most: usize) -> Sender {
        self.limits.set_bytes(most);
        self
    }

    /// How many descriptors go into one message, up to 253. More than
    /// [`DEFAULT_DESCRIPTORS`](super::DEFAULT_DESCRIPTORS) is for receivers that are known to take it.
    pub fn most_descriptors(mut self, most: usize) -> Sender {
        self.limits.set_descriptors(most);
        self
    }

    /// Lets [`send`](Sender::send) give descriptors to a program of this user too, and not only of root and of this
    /// process' own.
    pub fn allow_user(mut self, user: u32) -> Sender {
        self.allowed.add(user);
        self
    }

    /// Connects to a path, sends, and closes the connection, as [`send_to`](Sender::send_to). Whoever listens there must
    /// belong to root or to the user of this process, or be allowed.
    pub fn send<D, M>(&mut self, path: impl AsRef<Path>, descriptors: &[(D, M)]) -> Result<(), Error>
    where
        D: AsFd,
        M: AsRef<[u8]>,
    {
        self.limits.check(descriptors.iter().map(|(_, metadata)| metadata.as_ref()))?;
        let deadline = Deadline::after(self.time_limit);
        let stream = self.allowed.connect(path.as_ref(), deadline)?;
        self.send_within(deadline, stream.as_fd(), descriptors)
    }

    /// Sends these descriptors, each with its metadata, in this order and in as few messages as the limits allow. With no
    /// descriptor nothing is sent. They stay open here, and may be closed as soon as this returns: they are then on their way,
    /// whatever becomes of this process.
    ///
    /// Metadata too long for a message is an error before anything is sent. Any other error may leave a part of them
    /// sent, and even a message half sent, so the stream is of no use afterwards. `stream` is a connected unix stream,
    /// blocking or not, in both directions the caller's; bytes that were sent before and not been read yet would be
    /// taken for the beginning of the message.
    pub fn send_to<D, M>(&mut self, stream: impl AsFd, descriptors: &[(D, M)]) -> Result<(), Error>
    where
        D: AsFd,
        M: AsRef<[u8]>,
    {
        self.limits.check(descriptors.iter().map(|(_, metadata)| metadata.as_ref()))?;
        self.send_within(Deadline::after(self.time_limit), stream.as_fd(), descriptors)
    }

    /// Sends what was checked.
    fn send_within<D, M>(&mut self, deadline: Deadline, stream: BorrowedFd<'_>, all: &[(D, M)]) -> Result<(), Error>
    where
        D: AsFd,
        M: AsRef<[u8]>,
    {
        let mut rest = all;
        while !rest.is_empty() {
            let count = self.message.fill(self.limits, rest.iter().map(|(_, metadata)| metadata.as_ref()));
            let (these, later) = rest.split_at(count);
            let descriptors: Vec<BorrowedFd<'_>> = these.iter().map(|(descriptor, _)| descriptor.as_fd()).collect();
            while let Err(error) = self.message.advance(stream, &descriptors) {
                wait_after(error, stream, deadline).map_err(|source| Error::Send { source })?;
            }
            rest = later;
        }
        Ok(())
    }
}

fn wait_after(error: io::Error, stream: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock => deadline.wait_for_room(stream),
        _ if is_shortage(&error) => deadline.pause(),
        _ => Err(error),
    }
}
