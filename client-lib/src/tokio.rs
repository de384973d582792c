//! For daemons on tokio's runtime (feature `tokio`): [`AsyncProtector`], and the conversions of a
//! [`Connection`] to tokio's [`TcpStream`] and [`UnixStream`].
//!
//! ```no_run
//! use socket_protector_client::{Protector, tokio::AsyncProtector};
//! use std::net::TcpListener;
//! use tokio::{io::AsyncWriteExt, net::TcpStream, runtime::Runtime, task::JoinSet};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Before the runtime starts its threads.
//!     let protector = match Protector::from_env()? {
//!         Some(protector) => protector,
//!         None => Protector::standalone(TcpListener::bind("[::]:4321")?)?,
//!     };
//!     Runtime::new()?.block_on(async {
//!         let protector = AsyncProtector::new(protector)?;
//!         let mut connections = JoinSet::new();
//!         while let Some(connection) = protector.accept().await? {
//!             let mut stream = TcpStream::try_from(connection)?;
//!             connections.spawn(async move { stream.write_all(b"Hello, World\n").await });
//!             while connections.try_join_next().is_some() {} // forget those that are done
//!         }
//!         connections.join_all().await; // drained: the next generation serves, finish what is in progress
//!         Ok(())
//!     })
//! }
//! ```
//!
//! The example `tokio_echo` shows the same with connections that last.

use crate::connection::Connection;
use crate::protector::Protector;
use crate::sys::{self, Readiness};
use ::tokio::net::{TcpStream, UnixStream};
use std::future;
use std::io;
use std::os::fd::AsFd;

/// A [`Protector`] whose waiting is tokio's.
///
/// All methods take `&self`, so that tasks share it by reference or in an [`Arc`](std::sync::Arc); each connection
/// goes to one of them, and a drain ends the waiting of all.
#[derive(Debug)]
pub struct AsyncProtector {
    /// Of connections and of the drain.
    arrivals: Readiness,
    /// Of the end of the channel alone; none without a supervisor.
    end: Option<Readiness>,
    protector: Protector,
}

impl AsyncProtector {
    /// Makes a [`Protector`] non-blocking and registers it with the current runtime.
    ///
    /// [`Protector::from_env`] and a `#[tokio::main]` do not go together well: the runtime's threads are already there
    /// then, and the variables stay in the environment.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, and in one that has no I/O enabled.
    pub fn new(protector: Protector) -> io::Result<AsyncProtector> {
        protector.set_nonblocking(true)?;
        let arrivals = Readiness::new(protector.as_fd().try_clone_to_owned()?)?;
        let end = match protector.channel() {
            Some(channel) => Some(Readiness::new(sys::end_of(channel)?)?),
            None => None,
        };
        Ok(AsyncProtector { arrivals, end, protector })
    }

    /// Waits for the next connection and takes it; `None` when it is time to drain and nothing is left to take. What
    /// [`Protector::accept`] says of readiness, of the drain, and of errors holds here too: an error is not waited
    /// out, so sleep a little before accepting goes on.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost when the future is dropped, as in a `select!` in which another branch was first: a
    /// connection that was not returned is there for the next call.
    pub async fn accept(&self) -> io::Result<Option<Connection>> {
        // Before the first wait, because with connections passed none comes to a daemon that is not ready.
        self.protector.ready()?;
        self.arrivals.until(|| self.protector.accept()).await
    }

    /// Waits until the supervisor has closed the channel, the same that [`Protector::is_draining`] tells: the time to
    /// end what could go on for long. Connections that were passed before may still wait in
    /// [`accept`](AsyncProtector::accept), and come whether they are waited for here or not.
    ///
    /// Without a supervisor this waits for ever, and once it is draining no longer. Any number of tasks may wait, and
    /// may stop waiting. A runtime that shuts down ends the waiting too.
    pub async fn draining(&self) {
        match &self.end {
            Some(end) => drop(end.until(|| Ok(())).await),
            None => future::pending().await,
        }
    }

    /// The [`Protector`], to ask it for what needs no waiting. It is not for accepting, and has to stay non-blocking.
    pub fn get_ref(&self) -> &Protector {
        &self.protector
    }

    /// Takes the [`Protector`] away from the runtime. It is still non-blocking, and has every connection that was not
    /// yet returned.
    pub fn into_inner(self) -> Protector {
        self.protector
    }
}

/// The connection as a stream of the current runtime; it, and nothing else, becomes non-blocking. Panics outside of a
/// runtime.
impl TryFrom<Connection> for TcpStream {
    type Error = io::Error;

    fn try_from(connection: Connection) -> io::Result<TcpStream> {
        let stream = connection.into_tcp_stream()?;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

/// The connection as a stream of the current runtime; it, and nothing else, becomes non-blocking. Panics outside of a
/// runtime.
impl TryFrom<Connection> for UnixStream {
    type Error = io::Error;

    fn try_from(connection: Connection) -> io::Result<UnixStream> {
        let stream = connection.into_unix_stream()?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}
