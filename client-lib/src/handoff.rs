//! Descriptors between programs that need not be related: listeners, connections, files, with metadata.
//!
//! A program that goes hands what it has open to its successor; both must want it, and nobody supervises them. The
//! bytes are those of the Go library gobwas/graceful, so either end may be a Go program. `docs/handoff.md` tells when to
//! use this and when the supervisor, and `docs/protocol.md` has the wire.
//!
//! ```
//! use socket_protector_client::handoff::{self, Descriptor, Sender};
//! use std::net::TcpListener;
//! use std::os::unix::net::UnixStream;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (old, new) = UnixStream::pair()?;
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! handoff::send_to(&old, &[(&listener, b"web")])?;
//!
//! let mut web = None;
//! handoff::receive_from(&new, |descriptor: Descriptor, metadata: &[u8]| {
//!     assert_eq!(metadata, b"web");
//!     web = Some(descriptor.into_tcp_listener()?);
//!     Ok(())
//! })?;
//! assert_eq!(web.unwrap().local_addr()?, listener.local_addr()?);
//! # Ok(())
//! # }
//! ```
//!
//! [`Server`] listens at a path and gives every client its [`Sequence`]; [`receive`] is such a client. [`send_to`] and
//! [`receive_from`] work on a stream that is there already, in turn and as often as wanted, whatever its blocking mode.
//! These functions keep to the defaults; [`Sender`] and [`Receiver`] take other limits, and keep their buffers from one
//! call to the next.
//!
//! Metadata is bytes. [`key_value`] is a map that is cheap to write and to read, [`gob`] the map of Go programs, and
//! [`Metadata`] recognises either.
//!
//! Every descriptor that arrives is close-on-exec, and closed unless the callback keeps it. `O_NONBLOCK` belongs to what
//! both programs share: whoever sets it sets it for the other one too.

mod deadline;
mod descriptor;
mod error;
#[doc(hidden)]
pub mod frame;
pub mod gob;
pub mod key_value;
mod metadata;
mod path;
mod peer;
#[cfg(test)]
mod random;
mod receive;
mod send;
mod sequence;
mod server;

pub use descriptor::{Descriptor, Kind, WrongKind};
pub use error::Error;
pub use frame::FrameError;
pub use metadata::Metadata;
pub use receive::{Receiver, receive, receive_all_from, receive_from};
pub use send::{Sender, send, send_to};
pub use sequence::Sequence;
pub use server::{Server, ServerOptions};

use std::time::Duration;

/// How long a call may take unless it is told otherwise.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(10);
/// How many bytes, headers and metadata, a sender puts into one message unless it is told otherwise: what receivers in
/// Go have room for.
pub const DEFAULT_MESSAGE: usize = 4096;
/// How many descriptors a sender puts into one message unless it is told otherwise: what receivers in Go have room for.
pub const DEFAULT_DESCRIPTORS: usize = 170;
/// How many bytes a receiver takes for one message unless it is told otherwise.
pub const DEFAULT_MOST_RECEIVED: usize = 1 << 20;

/// What a callback may fail with.
pub type CallbackError = Box<dyn std::error::Error + Send + Sync>;
