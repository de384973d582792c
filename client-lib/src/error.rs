//! What can go wrong between a daemon and its supervisor: the operation, its object, and the cause as `source()`.

use crate::connection::Connection;
use crate::wire::{DecodeError, MAX_STATE};
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;

/// Why the daemon's side failed. As an [`io::Error`], which [`Protector::accept`](crate::Protector::accept) returns,
/// it keeps the kind of its cause and is found again by [`io::Error::get_ref`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable that comes with the channel is not there.
    #[error("environment variable {variable} is missing")]
    Missing {
        /// Its name.
        variable: &'static str,
    },
    /// A variable says something that cannot be.
    #[error("environment variable {variable} is {value:?}, which is not {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it says.
        value: OsString,
        /// What it should say.
        expected: &'static str,
    },
    /// The listening sockets were passed to another process, for example to a shell that did not `exec`.
    #[error("the listening sockets are meant for process {meant} and not for this one, {own}; a wrapper has to exec")]
    OtherProcess {
        /// The process that LISTEN_PID names.
        meant: u32,
        /// This process.
        own: u32,
    },
    /// What the supervisor passed was taken before by this process, or by the one that it was forked from.
    #[error("what the supervisor passed to this process has been taken already; it can be taken once")]
    Taken,
    /// A descriptor is not open, or is something else than the environment claims.
    #[error("descriptor {descriptor} is not {expected}")]
    Inherited {
        /// Its number.
        descriptor: RawFd,
        /// What it should be.
        expected: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// A descriptor could not be made close-on-exec or non-blocking.
    #[error("cannot set the flags of descriptor {descriptor}")]
    Flags {
        /// Its number.
        descriptor: RawFd,
        /// The cause.
        source: io::Error,
    },
    /// The parent-death signal could not be switched off.
    #[error("cannot switch the parent-death signal off")]
    ParentDeath {
        /// The cause.
        source: io::Error,
    },
    /// A record could not be sent to the supervisor.
    #[error("cannot send {record} to the supervisor")]
    Send {
        /// The record's name.
        record: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// There is no supervisor that anything could be given to.
    #[error("there is no supervisor")]
    NoSupervisor,
    /// More state than goes with a connection.
    #[error("its state has {length} bytes, {max} are the most", max = MAX_STATE)]
    StateTooLong {
        /// How many bytes it has.
        length: usize,
    },
    /// A name that no stored descriptor can have.
    #[error("{name:?} is no name for stored descriptors: ASCII without control characters and colons, 1 to 255 long")]
    StoredName {
        /// The name.
        name: String,
    },
    /// The index of a listener that there cannot be.
    #[error("{listener} is no listener's index")]
    NoListener {
        /// The index.
        listener: usize,
    },
    /// The next connection has more state than its taker has room for. It stays the next one.
    #[error("the next connection has a state of {length} bytes, for which there is no room")]
    NoRoom {
        /// How many bytes the state has.
        length: usize,
    },
    /// Waiting for the channel and the listeners failed.
    #[error("cannot wait for the next connection")]
    Wait {
        /// The cause.
        source: io::Error,
    },
    /// A listener gave no connection, for example because this process has no descriptor left. Nothing is lost by it.
    #[error("cannot accept a connection from listener {listener}")]
    Accept {
        /// The listener's index.
        listener: usize,
        /// The cause.
        source: io::Error,
    },
    /// The channel could not be read.
    #[error("cannot read the channel")]
    Receive {
        /// The cause.
        source: io::Error,
    },
    /// This process has too few descriptors left for the next record. It stays in the channel, so nothing is lost:
    /// accept again when some are closed. What is unread at the end of this process the supervisor takes back.
    #[error("no descriptors left for the {connections} connections that wait in the channel")]
    NoDescriptors {
        /// How many connections wait in that record.
        connections: usize,
        /// The cause.
        source: io::Error,
    },
    /// Connections were lost on their way, because this process ran out of descriptors in the moment in which it received
    /// them. That happens only if another thread opened the last ones in that moment, or another process read from the
    /// same channel.
    #[error("{count} connections were lost: no descriptors left to receive them")]
    Lost {
        /// How many.
        count: usize,
    },
    /// The supervisor sent bytes that are no record.
    #[error("the supervisor sent a malformed record")]
    Record {
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The supervisor sent a record with more or fewer descriptors than connections.
    #[error("the supervisor sent {found} descriptors with a record of {expected} connections")]
    Count {
        /// How many the record tells of.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// The one descriptor to poll could not be made.
    #[error("cannot make a descriptor to poll")]
    Pollable {
        /// The cause.
        source: io::Error,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Missing { .. }
            | Error::StoredName { .. }
            | Error::Variable { .. }
            | Error::StateTooLong { .. }
            | Error::NoListener { .. }
            | Error::NoRoom { .. } => io::ErrorKind::InvalidInput,
            Error::NoSupervisor => io::ErrorKind::NotConnected,
            Error::Taken => io::ErrorKind::ResourceBusy,
            Error::OtherProcess { .. } => io::ErrorKind::PermissionDenied,
            Error::Inherited { source, .. }
            | Error::Flags { source, .. }
            | Error::ParentDeath { source }
            | Error::Send { source, .. }
            | Error::Wait { source }
            | Error::Accept { source, .. }
            | Error::Receive { source }
            | Error::NoDescriptors { source, .. }
            | Error::Pollable { source } => source.kind(),
            Error::Lost { .. } => io::ErrorKind::Other,
            Error::Record { .. } | Error::Count { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// A connection that could not be given back, and why. It is as it was, and the caller's.
#[derive(Debug, thiserror::Error)]
#[error("cannot give the connection back")]
pub struct GiveBackError {
    /// The connection.
    pub connection: Connection,
    /// The cause.
    pub source: Error,
}
