//! For daemons with a loop of mio (feature `mio`): [`Protector`] is an event [`Source`], and a [`Connection`]
//! converts to mio's [`TcpStream`] and [`UnixStream`].
//!
//! ```no_run
//! use mio::{Events, Interest, Poll, Token, net::TcpStream};
//! use socket_protector_client::Protector;
//! use std::{io::ErrorKind, net::TcpListener};
//!
//! const PROTECTOR: Token = Token(0);
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut protector = match Protector::from_env()? {
//!         Some(protector) => protector,
//!         None => Protector::standalone(TcpListener::bind("[::]:4321")?)?,
//!     };
//!     let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
//!     poll.registry().register(&mut protector, PROTECTOR, Interest::READABLE)?;
//!     protector.ready()?; // before the first wait: connections are passed only to a daemon that is ready
//!     loop {
//!         match poll.poll(&mut events, None) {
//!             Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
//!             Ok(()) | Err(_) => {}
//!         }
//!         for event in events.iter().filter(|event| event.token() == PROTECTOR) {
//!             assert!(event.is_readable());
//!             // Until WouldBlock, because the next event tells only of what comes after it.
//!             loop {
//!                 match protector.accept() {
//!                     Ok(Some(connection)) => serve(TcpStream::try_from(connection)?),
//!                     Ok(None) => return Ok(()), // drained: finish what is in progress
//!                     Err(error) if error.kind() == ErrorKind::WouldBlock => break,
//!                     Err(error) => return Err(error.into()),
//!                 }
//!             }
//!         }
//!     }
//! }
//!
//! fn serve(stream: TcpStream) {
//!     // register it with the same Poll
//! #   drop(stream);
//! }
//! ```
//!
//! The example `mio_echo` is the whole of such a daemon.

use crate::connection::Connection;
use crate::protector::Protector;
use ::mio::event::Source;
use ::mio::net::{TcpStream, UnixStream};
use ::mio::unix::SourceFd;
use ::mio::{Interest, Registry, Token};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Readable when there is something to accept, and when it is time to drain. Registering makes the [`Protector`]
/// non-blocking.
///
/// mio's events are edges, so accept until [`io::ErrorKind::WouldBlock`]: what is left gets no event of its own. An
/// error of another kind is no end either; after it, accept again by a timer.
///
/// What the daemon says waits by itself while the supervisor does not get to read, ten seconds at the most, be the
/// [`Protector`] non-blocking or not: [`ready`](Protector::ready), [`give_back`](Protector::give_back),
/// [`store`](Protector::store) and [`unstore`](Protector::unstore). A loop that must not stand still meanwhile calls them
/// in another thread, with the `Protector` in an [`Arc`](std::sync::Arc) and registered by
/// [`SourceFd`](::mio::unix::SourceFd). [`status`](Protector::status) and
/// [`open_connections`](Protector::open_connections) never wait.
///
/// Wait for no event before [`Protector::ready`] (or a first [`Protector::accept`], which says the same) has told the
/// supervisor that connections may come.
impl Source for Protector {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.set_nonblocking(true)?;
        SourceFd(&self.as_fd().as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.as_fd().as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_fd().as_raw_fd()).deregister(registry)
    }
}

/// The connection as a stream to register; it, and nothing else, becomes non-blocking.
impl TryFrom<Connection> for TcpStream {
    type Error = io::Error;

    fn try_from(connection: Connection) -> io::Result<TcpStream> {
        let stream = connection.into_tcp_stream()?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream))
    }
}

/// The connection as a stream to register; it, and nothing else, becomes non-blocking.
impl TryFrom<Connection> for UnixStream {
    type Error = io::Error;

    fn try_from(connection: Connection) -> io::Result<UnixStream> {
        let stream = connection.into_unix_stream()?;
        stream.set_nonblocking(true)?;
        Ok(UnixStream::from_std(stream))
    }
}
