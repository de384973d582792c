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
use crate::descriptors;
use crate::error::{Error, GiveBackError};
use crate::protector::Protector;
use crate::protector::store::{self, Word};
use crate::protector::tell::{PATIENCE, RETRY, is_full, is_short, timed_out};
use crate::sys::{self, Readiness};
use ::tokio::io::Interest;
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::{task, time};
use std::future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    /// Of room in the channel; none without a supervisor.
    room: Option<Readiness>,
    protector: Protector,
}

impl AsyncProtector {
    /// Makes a [`Protector`] non-blocking and registers it with the current runtime.
    ///
    /// [`Protector::from_env`] and a `#[tokio::main]` do not go together well: the runtime's threads are already there
    /// then, and the variables stay in the environment.
    ///
    /// A process that is forked afterwards has no runtime that works; it takes the [`Protector`] out by
    /// [`into_inner`](AsyncProtector::into_inner), and may make another one in a runtime of its own.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, and in one that has no I/O enabled. The other methods panic in one that has no time enabled,
    /// once they have to wait for a supervisor that does not read.
    pub fn new(protector: Protector) -> io::Result<AsyncProtector> {
        protector.set_nonblocking(true)?;
        let arrivals = Readiness::new(protector.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        let (end, room) = match protector.channel() {
            Some(channel) => {
                let end = Readiness::new(sys::end_of(channel)?, Interest::READABLE)?;
                (Some(end), Some(Readiness::new(channel.try_clone()?, Interest::WRITABLE)?))
            }
            None => (None, None),
        };
        Ok(AsyncProtector { arrivals, end, room, protector })
    }

    /// [`Protector::ready`], whose waiting is tokio's. The first [`accept`](AsyncProtector::accept) says it by itself.
    pub async fn ready(&self) -> Result<(), Error> {
        self.with_room(|| self.protector.say_ready(descriptors::send)).await
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
        self.ready().await?;
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

    /// [`Protector::give_back`], whose waiting is tokio's: while the channel is full, but no longer than ten seconds.
    ///
    /// # Cancel safety
    ///
    /// The future owns the connection: dropped before it is done it closes it, unless the supervisor has it already. So
    /// do not wait for it in a `select!`.
    pub async fn give_back(&self, connection: Connection, state: &[u8]) -> Result<(), GiveBackError> {
        let given = async {
            let record = self.protector.record_to_give(connection.listener(), state)?;
            self.with_room(|| self.protector.send_given(&record, connection.as_fd(), descriptors::send)).await
        };
        match given.await {
            Ok(()) => Ok(()),
            Err(source) => Err(GiveBackError { connection, source }),
        }
    }

    /// [`Protector::store`], in a thread of the runtime for what may block. It is done even if the future is dropped.
    pub async fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let word = self.protector.word_to_store(name)?;
        let duplicates: io::Result<Vec<OwnedFd>> = descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect();
        say(word, duplicates.map_err(store::failed)?).await
    }

    /// [`Protector::unstore`], as [`store`](AsyncProtector::store).
    pub async fn unstore(&self, name: &str) -> Result<(), Error> {
        say(self.protector.word_to_unstore(name)?, Vec::new()).await
    }

    /// Sends by trying, again whenever there is room or, where nothing tells, after a little while.
    async fn with_room(&self, mut attempt: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
        let record = match attempt() {
            Err(Error::Send { record, source }) if is_full(&source) || is_short(&source) => record,
            other => return other,
        };
        let Some(room) = &self.room else {
            return Err(Error::NoSupervisor);
        };
        let sending = async {
            loop {
                let tried = room.until(|| match attempt() {
                    Err(Error::Send { source, .. }) if is_full(&source) => Err(source),
                    other => Ok(other),
                });
                match tried.await {
                    Ok(Err(Error::Send { source, .. })) if is_short(&source) => time::sleep(RETRY).await,
                    Ok(other) => return other,
                    Err(source) => return Err(Error::Send { record, source }),
                }
            }
        };
        let too_long = |_| Err(Error::Send { record, source: timed_out() });
        time::timeout(PATIENCE, sending).await.unwrap_or_else(too_long)
    }

    /// The [`Protector`], to ask it for what needs no waiting: not to accept, to give back or to store. It has to stay
    /// non-blocking.
    pub fn get_ref(&self) -> &Protector {
        &self.protector
    }

    /// Takes the [`Protector`] away from the runtime. It is still non-blocking, and has every connection that was not
    /// yet returned.
    pub fn into_inner(self) -> Protector {
        self.protector
    }
}

async fn say(word: Word, descriptors: Vec<OwnedFd>) -> Result<(), Error> {
    let saying = task::spawn_blocking(move || {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        word.say(&borrowed)
    });
    saying.await.unwrap_or_else(|error| Err(store::failed(io::Error::other(error))))
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
