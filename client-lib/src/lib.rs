//! The daemon's side of socket-protector.
//!
//! socket-protector binds the ports, starts a daemon, and on a reload starts its successor before it lets the old one
//! drain. A daemon that uses this crate takes its clients from [`Protector`], the same code whether it was given the
//! listening sockets or gets each connection passed, and also when no supervisor is there:
//!
//! ```no_run
//! use socket_protector_client::Protector;
//! use std::io::Write;
//! use std::net::TcpListener;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let protector = match Protector::from_env()? {
//!         Some(protector) => protector,
//!         None => Protector::standalone(TcpListener::bind("[::]:4321")?)?,
//!     };
//!     for connection in protector.incoming() {
//!         connection?.write_all(b"Hello, World\n")?;
//!     }
//!     Ok(()) // drained: the next generation serves
//! }
//! ```
//!
//! An event loop of the daemon's own polls the one descriptor that [`Protector`] gives
//! ([`as_fd`](std::os::fd::AsFd::as_fd)) after [`Protector::set_nonblocking`]. For two loops there is an adapter, each
//! behind a feature of the same name: module `tokio` with an `AsyncProtector`, module `mio` which makes `Protector` an
//! event source.
//!
//! Programs that need no supervisor, or have none, hand their listeners, connections and files to each other by
//! [`handoff`].
//!
//! Below it, [`wire`] is the channel's protocol in bytes, [`descriptors`] sends and receives records with descriptors
//! over a unix socket, and [`environment`] names the variables by which a child learns what it was given. The
//! supervisor uses these three too, so that both ends speak by the same definitions.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by it"))]

mod connection;
pub mod descriptors;
pub mod environment;
mod error;
pub mod handoff;
mod inherited;
mod intake;
#[cfg(feature = "mio")]
pub mod mio;
mod protector;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod wire;

pub use connection::Connection;
pub use error::{Error, GiveBackError};
#[doc(hidden)]
pub use inherited::Inherited;
pub use protector::{Incoming, Protector};
