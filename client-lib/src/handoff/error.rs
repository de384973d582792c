//! What can go wrong in a handoff: the operation, its object, and the cause as `source()`.

use super::CallbackError;
use super::frame::FrameError;
use std::io;
use std::path::PathBuf;

/// Why a handoff failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody could be reached at a path. [`io::ErrorKind::TimedOut`] is the time limit.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A server could not listen at its path.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error("cannot listen on {}: another program does", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// What is at the path is no socket, and so is not replaced.
    #[error("cannot listen on {}: there is something that is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Whose process the peer is could not be found out.
    #[error("cannot tell whose process the peer is")]
    Peer {
        /// The cause.
        source: io::Error,
    },
    /// The peer is another user's process.
    #[error("the peer belongs to user {user}, who is neither root nor the user of this process nor allowed")]
    Stranger {
        /// That user.
        user: u32,
    },
    /// A server cannot wait for clients or take them.
    #[error("cannot accept a client")]
    Accept {
        /// The cause.
        source: io::Error,
    },
    /// More metadata than a message has room for. Nothing was sent.
    #[error("the metadata of descriptor {index} has {length} bytes, {most} are the most")]
    MetadataTooLong {
        /// Which descriptor, from 0 up.
        index: usize,
        /// How many bytes its metadata has.
        length: usize,
        /// How many it may have.
        most: usize,
    },
    /// Descriptors could not be sent. [`io::ErrorKind::TimedOut`] is the time limit: the peer takes nothing.
    #[error("cannot send descriptors")]
    Send {
        /// The cause.
        source: io::Error,
    },
    /// The stream could not be read. [`io::ErrorKind::TimedOut`] is the time limit: the peer is silent.
    #[error("cannot receive descriptors")]
    Receive {
        /// The cause.
        source: io::Error,
    },
    /// Bytes came with no descriptor.
    #[error("the peer sent {bytes} bytes without a descriptor")]
    NoDescriptor {
        /// How many.
        bytes: usize,
    },
    /// The kernel cut descriptors off, most likely because this process may open no more. Those that came are closed.
    #[error("descriptors of a message were cut off after the first {arrived}: no more could be opened")]
    CutOff {
        /// How many came.
        arrived: usize,
    },
    /// Descriptors came in the middle of a message. They are closed.
    #[error("the peer sent {surplus} descriptors in the middle of a message")]
    Surplus {
        /// How many.
        surplus: usize,
    },
    /// The peer sent bytes that are no message.
    #[error("the peer sent a malformed message")]
    Frame {
        /// What is wrong with it.
        source: FrameError,
    },
    /// The peer closed the stream in the middle of a message.
    #[error("the peer closed the stream when at least {missing} bytes of a message were missing")]
    Ended {
        /// How many.
        missing: usize,
    },
    /// The callback failed. The descriptors that it had not been given are closed.
    #[error("descriptor {index} was not taken")]
    Callback {
        /// Which descriptor of this call, from 0 up.
        index: usize,
        /// What the callback says.
        source: CallbackError,
    },
}

impl Error {
    /// Whether it was the time limit.
    pub fn is_timeout(&self) -> bool {
        let source = match self {
            Error::Connect { source, .. } | Error::Send { source } | Error::Receive { source } => source,
            _ => return false,
        };
        source.kind() == io::ErrorKind::TimedOut
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Connect { source, .. }
            | Error::Listen { source, .. }
            | Error::Peer { source }
            | Error::Accept { source }
            | Error::Send { source }
            | Error::Receive { source } => source.kind(),
            Error::InUse { .. } => io::ErrorKind::AddrInUse,
            Error::NotASocket { .. } => io::ErrorKind::AlreadyExists,
            Error::Stranger { .. } => io::ErrorKind::PermissionDenied,
            Error::MetadataTooLong { .. } => io::ErrorKind::InvalidInput,
            Error::NoDescriptor { .. } | Error::Surplus { .. } | Error::Frame { .. } => io::ErrorKind::InvalidData,
            Error::Ended { .. } => io::ErrorKind::UnexpectedEof,
            Error::CutOff { .. } | Error::Callback { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
