//! What a daemon tells its supervisor, and the connections that it gives back.

use super::Protector;
use crate::connection::Connection;
use crate::descriptors;
use crate::error::{Error, GiveBackError};
use crate::sys;
use crate::wire::{self, FromChild, MAX_STATE, VERSION};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How long a record that has to arrive may wait for a supervisor that reads nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is tried again where nothing tells when it may succeed.
pub(crate) const RETRY: Duration = Duration::from_millis(5);

impl Protector {
    /// Gives an open connection back, with what the daemon that takes it has to know: the supervisor passes it on to
    /// the next generation, whose [`accept`](Protector::accept) gives it out with that
    /// [`state`](Connection::state), up to 64 KiB, whichever way connections are passed here.
    ///
    /// Meant for the drain: this process need not wait for the end of the connections that it has given back. One that
    /// is given back while this generation still serves is kept by the supervisor until the next one does; it never
    /// comes back to this generation, unless that is about to stop with the supervisor and no other serves. When
    /// nobody will serve any more, because the supervisor stops, it is closed.
    ///
    /// Only the socket goes over: what has been read from it and not been dealt with, and what has still to be
    /// written, belongs into the state. A duplicate of the socket that this process keeps must not be used any more.
    ///
    /// Waits while the channel is full, non-blocking or not, but no longer than ten seconds. On an error the connection
    /// comes back to the caller. Success means that the supervisor has it or will find it in the channel, even if this
    /// process exits at once or is killed.
    pub fn give_back(&self, connection: Connection, state: &[u8]) -> Result<(), GiveBackError> {
        match self.give_back_socket(connection.as_fd(), connection.listener(), state) {
            Ok(()) => Ok(()),
            Err(source) => Err(GiveBackError { connection, source }),
        }
    }

    /// [`give_back`](Protector::give_back) of a socket that stays open here, for a caller that closes it afterwards.
    #[doc(hidden)]
    pub fn give_back_socket(&self, socket: BorrowedFd<'_>, listener: usize, state: &[u8]) -> Result<(), Error> {
        self.send_given(&self.record_to_give(listener, state)?, socket, send_patiently)
    }

    /// What tells of a connection that is given back.
    pub(crate) fn record_to_give(&self, listener: usize, state: &[u8]) -> Result<Vec<u8>, Error> {
        if self.channel.is_none() {
            return Err(Error::NoSupervisor);
        }
        if state.len() > MAX_STATE {
            return Err(Error::StateTooLong { length: state.len() });
        }
        let listener = u16::try_from(listener).map_err(|_| Error::NoListener { listener })?;
        let mut record = Vec::new();
        wire::encode_give_back(listener, state, &mut record);
        Ok(record)
    }

    /// Sends it with its socket.
    pub(crate) fn send_given(&self, record: &[u8], socket: BorrowedFd<'_>, send: Sending) -> Result<(), Error> {
        let channel = self.channel.as_ref().ok_or(Error::NoSupervisor)?;
        send(channel.as_fd(), record, &[socket])
            .map_err(|source| Error::Send { record: "a connection that is given back", source })
    }

    /// What this daemon wants to be shown of itself in the supervisor's `status`. A text of more than 1024 bytes is
    /// cut. The last one counts.
    ///
    /// Never waits: while the channel is full the error has [`io::ErrorKind::WouldBlock`] as its kind. Without a
    /// supervisor nothing happens.
    pub fn status(&self, text: &str) -> Result<(), Error> {
        let record = FromChild::Status(wire::cut_to_status(text).to_owned());
        self.tell(&record, "a status text", descriptors::send)
    }

    /// How many connections this daemon has open, for the supervisor's `status`. The last count is shown.
    ///
    /// Never waits, as [`status`](Protector::status).
    pub fn open_connections(&self, count: u32) -> Result<(), Error> {
        self.tell(&FromChild::OpenConnections(count), "the count of open connections", descriptors::send)
    }

    pub(super) fn say_hello(&self) -> Result<(), Error> {
        self.tell(&FromChild::Hello { version: VERSION }, "hello", send_patiently)
    }

    /// Says ready in this way, unless it has been said.
    pub(crate) fn say_ready(&self, send: Sending) -> Result<(), Error> {
        if self.ready.load(Ordering::Acquire) || self.ready.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let told = self.tell(&FromChild::Ready, "ready", send);
        if told.is_err() {
            self.ready.store(false, Ordering::Release);
        }
        told
    }

    /// Sends a record. That the supervisor has closed the channel is no error: it is the message to drain, and the
    /// reading side says so.
    fn tell(&self, record: &FromChild, name: &'static str, send: Sending) -> Result<(), Error> {
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        match send(channel.as_fd(), &record.encode(), &[]) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(Error::Send { record: name, source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The error of a wait that was too long, with its number, which C is told.
pub(crate) fn timed_out() -> io::Error {
    io::Error::from_raw_os_error(libc::ETIMEDOUT)
}

/// The channel has no room, and poll tells when it has.
pub(crate) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// This user has too many descriptors under way, or the system is short of memory, and nothing tells when that changes.
pub(crate) fn is_short(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETOOMANYREFS | libc::ENOBUFS | libc::ENOMEM))
}

/// A way of sending a record with descriptors.
pub(crate) type Sending = fn(BorrowedFd<'_>, &[u8], &[BorrowedFd<'_>]) -> io::Result<()>;

/// Sends a record, waiting for room.
pub(super) fn send_patiently(channel: BorrowedFd<'_>, record: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match descriptors::send(channel, record, sockets) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let full = is_full(&error);
        if !full && !is_short(&error) {
            return Err(error);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        // A wait that failed, be it by a signal, is made up for by trying again.
        if !full || sys::wait_for_room(channel, left.as_millis() as i32 + 1).is_err() {
            thread::sleep(RETRY.min(left));
        }
    }
}
