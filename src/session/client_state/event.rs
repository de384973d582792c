//! What a client tells its application. Pure.

use crate::session::frame::{Closed, DecodeError, Destination, Detached, Refusal};
use std::time::Instant;

/// How the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Eof,
    /// The connection to the destination broke, with this errno(3).
    Reset(u32),
    /// The destination was never reached.
    Failed(Destination),
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client is attached.
    Attached {
        /// The session is new: its [ticket](super::Client::ticket) is to be kept, and [`Client::kept`](super::Client::kept) to be called.
        new: bool,
        /// What the server tells of the destination.
        destination: Destination,
    },
    /// Other clients were attached meanwhile, so nobody can tell whether this has arrived; or they have ended the input, and
    /// it cannot any more. It is not sent again.
    Overtaken {
        /// What it was.
        uncertain: Vec<u8>,
    },
    /// What has become of the destination.
    Destination(Destination),
    /// Output that comes next.
    Output {
        /// Where its first byte is.
        offset: u64,
        /// At least one.
        bytes: &'a [u8],
    },
    /// Output that is not to be had.
    Gap {
        /// The first byte.
        from: u64,
        /// The first after it.
        to: u64,
    },
    /// Something happened between two bytes of the output. It may be told again after a resume.
    Happened {
        /// How many bytes of output came before it.
        offset: u64,
        /// What: see [`event`](crate::session::frame::event).
        kind: u8,
        /// More about it.
        body: &'a [u8],
    },
    /// All output has come. When that is dealt with: [`Client::end_done`](super::Client::end_done).
    Ended(End),
    /// Input has arrived at the session: up to here, and so much of it at the destination, if the server says so.
    Arrived {
        /// The first byte that has not, as [`Progress`](super::Progress) counts.
        next: u64,
        /// How many bytes the destination was sent, whoever sent them.
        written: Option<u64>,
    },
    /// The server ends in so many seconds.
    GoAway(u32),
    /// The server does not let the client in. The connection is to be closed.
    Refused(Refusal),
    /// The session goes on without this client. The connection is to be closed.
    Detached(Detached),
    /// The session is over. The connection is to be closed.
    Closed(Closed),
}

/// When to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is a connection.
    Connected,
    /// At this time.
    At(Instant),
    /// When somebody asks for it ([`Client::ask`](super::Client::ask)), since it would do no good, or harm others, by itself.
    Asked,
    /// Never: the session is over.
    Never,
}

/// The server said what it may not. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// No frame at all.
    #[error("the server does not speak the session protocol")]
    Frame(#[from] DecodeError),
    /// A frame that has no place here.
    #[error("the server said what does not belong here")]
    Order,
    /// A version that was not offered, or numbers that leave no room for a session.
    #[error("the server wants what cannot be")]
    Hello,
    /// It does not know the secret.
    #[error("the server does not prove that it knows the session")]
    Proof,
    /// It has lost what it had, or says that more has arrived than there is.
    #[error("the server's streams do not fit to what was said before")]
    Offset,
    /// It sent more than it may.
    #[error("the server sent more than was granted")]
    Window,
}

/// A connection that its server does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent;
