//! The receiving side.

use super::deadline::Deadline;
use super::descriptor::Descriptor;
use super::error::Error;
use super::frame;
use super::peer::Allowed;
use super::{CallbackError, DEFAULT_MESSAGE, DEFAULT_MOST_RECEIVED, DEFAULT_TIME_LIMIT};
use crate::descriptors::{self, Received};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Connects to a path and gives `take` every descriptor that the server there sends, with its metadata, until the server
/// ends; all within [`DEFAULT_TIME_LIMIT`]. Returns how many there were. See [`Receiver::receive`].
pub fn receive<F>(path: impl AsRef<Path>, take: F) -> Result<usize, Error>
where
    F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
{
    Receiver::new().receive(path, take)
}

/// Receives one message of a stream, within [`DEFAULT_TIME_LIMIT`]. Returns how many descriptors there were: 0 is end of
/// file. See [`Receiver::receive_from`].
pub fn receive_from<F>(stream: impl AsFd, take: F) -> Result<usize, Error>
where
    F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
{
    Receiver::new().receive_from(stream, take)
}

/// Receives all messages of a stream until its end of file, within [`DEFAULT_TIME_LIMIT`]. Returns how many descriptors
/// there were. See [`Receiver::receive_all_from`].
pub fn receive_all_from<F>(stream: impl AsFd, take: F) -> Result<usize, Error>
where
    F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
{
    Receiver::new().receive_all_from(stream, take)
}

/// Receives descriptors, with limits of its own; keeps its buffer for the next time.
///
/// A callback is given each descriptor, which it owns from then on, and the metadata, empty if there is none. When it
/// fails nothing more is given to it, and the descriptors that came and were not given are closed. It is called only
/// when the whole message is there.
#[derive(Clone, Debug)]
pub struct Receiver {
    time_limit: Option<Duration>,
    most_bytes: usize,
    allowed: Allowed,
    buffer: Vec<u8>,
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver::new()
    }
}

impl Receiver {
    /// A receiver with the default limits.
    pub fn new() -> Receiver {
        let (allowed, buffer) = Default::default();
        Receiver { time_limit: Some(DEFAULT_TIME_LIMIT), most_bytes: DEFAULT_MOST_RECEIVED, allowed, buffer }
    }

    /// How long each call may take, callbacks included; `None` waits for ever. A callback that has begun is not broken
    /// off. With a limit of zero a message that is there already is received, and no second one.
    pub fn time_limit(mut self, limit: Option<Duration>) -> Receiver {
        self.time_limit = limit;
        self
    }

    /// How many bytes, headers and metadata, one message may have; so much memory a sender can make this use.
    pub fn most_bytes(mut self, most: usize) -> Receiver {
        self.most_bytes = most;
        self
    }

    /// Lets [`receive`](Receiver::receive) take descriptors from a program of this user too, and not only of root and of
    /// this process' own.
    pub fn allow_user(mut self, user: u32) -> Receiver {
        self.allowed.add(user);
        self
    }

    /// Connects to a path and receives all, as [`receive_all_from`](Receiver::receive_all_from). Whoever listens there
    /// must belong to root or to the user of this process, or be allowed.
    pub fn receive<F>(&mut self, path: impl AsRef<Path>, take: F) -> Result<usize, Error>
    where
        F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
    {
        let deadline = Deadline::after(self.time_limit);
        let stream = self.allowed.connect(path.as_ref(), deadline)?;
        self.all(deadline, stream.as_fd(), take)
    }

    /// Receives one message and returns how many descriptors it had; 0 is end of file. What was sent after it stays in
    /// the stream. `stream` is a connected unix stream, blocking or not.
    pub fn receive_from<F>(&mut self, stream: impl AsFd, mut take: F) -> Result<usize, Error>
    where
        F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
    {
        self.one(Deadline::after(self.time_limit), stream.as_fd(), 0, &mut take)
    }

    /// Receives messages until the peer ends, and returns how many descriptors they had.
    pub fn receive_all_from<F>(&mut self, stream: impl AsFd, take: F) -> Result<usize, Error>
    where
        F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
    {
        self.all(Deadline::after(self.time_limit), stream.as_fd(), take)
    }

    fn all<F>(&mut self, deadline: Deadline, stream: BorrowedFd<'_>, mut take: F) -> Result<usize, Error>
    where
        F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
    {
        let mut before = 0;
        loop {
            match self.one(deadline, stream, before, &mut take)? {
                0 => return Ok(before),
                count => before += count,
            }
            // A peer that always has another message leaves nothing to wait for, where the time would be looked at.
            deadline.check().map_err(|source| Error::Receive { source })?;
        }
    }

    /// Receives one message and gives it to the callback, whose call so far has had `before` descriptors.
    fn one<F>(
        &mut self,
        deadline: Deadline,
        stream: BorrowedFd<'_>,
        before: usize,
        take: &mut F,
    ) -> Result<usize, Error>
    where
        F: FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>,
    {
        let mut arrived = Vec::new();
        let length = self.read(deadline, stream, &mut arrived)?;
        let count = arrived.len();
        let metadata = frame::entries(&self.buffer[..length]);
        for (index, (descriptor, metadata)) in arrived.into_iter().zip(metadata).enumerate() {
            take(Descriptor::from(descriptor), metadata)
                .map_err(|source| Error::Callback { index: before + index, source })?;
        }
        Ok(count)
    }

    /// Reads one message as a whole, and returns its length, 0 at the end of file.
    ///
    /// The kernel ends a read with the first bytes that carry descriptors, so the first read may ask for more than the
    /// message has. What is still missing then comes without descriptors, and would be read together with the message
    /// behind it, so no more is asked for than must come.
    fn read(&mut self, deadline: Deadline, stream: BorrowedFd<'_>, arrived: &mut Vec<OwnedFd>) -> Result<usize, Error> {
        self.buffer.resize(DEFAULT_MESSAGE.max(self.buffer.len()), 0);
        let first = received(deadline, stream, &mut self.buffer, arrived)?;
        if first == 0 {
            return Ok(0);
        }
        if arrived.is_empty() {
            return Err(Error::NoDescriptor { bytes: first });
        }
        let mut have = first;
        loop {
            let missing = frame::missing(&self.buffer[..have], arrived.len(), self.most_bytes)
                .map_err(|source| Error::Frame { source })?;
            if missing == 0 {
                return Ok(have);
            }
            if self.buffer.len() < have + missing {
                self.buffer.resize(have + missing, 0);
            }
            let mut more = Vec::new();
            let bytes = received(deadline, stream, &mut self.buffer[have..have + missing], &mut more)?;
            if !more.is_empty() {
                return Err(Error::Surplus { surplus: more.len() });
            }
            if bytes == 0 {
                return Err(Error::Ended { missing });
            }
            have += bytes;
        }
    }
}

/// Reads once; 0 is end of file.
fn received(
    deadline: Deadline,
    stream: BorrowedFd<'_>,
    buffer: &mut [u8],
    arrived: &mut Vec<OwnedFd>,
) -> Result<usize, Error> {
    loop {
        let waited = match descriptors::receive(stream, buffer, arrived, false) {
            Ok(Received { truncated: true, .. }) => return Err(Error::CutOff { arrived: arrived.len() }),
            Ok(Received { bytes, .. }) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => deadline.wait_to_read(stream),
            Err(error) => Err(error),
        };
        waited.map_err(|source| Error::Receive { source })?;
    }
}
