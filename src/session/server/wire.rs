//! A socket, of a client or of a destination, with what is known of its readiness, and its TLS session if it has one.

use crate::net::stream::Stream;
use crate::net::tls::{Got, Handshake, Session};
use crate::reactor::{Event, Registered, WRITABLE};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// One end of a connection that never waits.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Registered<Stream>,
    tls: Option<Box<Session>>,
    /// Reading may give something: no event tells again before reading has found nothing.
    pub(super) readable: bool,
    /// The peer sends no more, or may have said so without our knowing: reading has to go on until it says so itself.
    closed: bool,
    /// The end of our direction is on its way through the TLS session.
    ending: bool,
    /// Something of ours may be with the peer.
    written: bool,
}

impl Wire {
    /// A socket of which nothing was told yet; it is watched. Another process may have written to it.
    pub(super) fn new(stream: Registered<Stream>) -> Self {
        Wire { stream, tls: None, readable: false, closed: false, ending: false, written: true }
    }

    /// A socket that we have just connected: everything may have been told of it, and to somebody else, so no event tells
    /// again.
    pub(super) fn of_told(stream: Registered<Stream>) -> Self {
        Wire { readable: true, closed: true, written: false, ..Wire::new(stream) }
    }

    /// Its socket.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// From now on bytes go through this session.
    pub(super) fn secure(&mut self, session: Session) {
        self.tls = Some(Box::new(session));
    }

    /// Whether TLS is spoken.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether something of ours may be with the peer, who may not have read it yet.
    pub(super) fn has_written(&self) -> bool {
        self.written
    }

    /// Takes in what the reactor says.
    pub(super) fn on<K>(&mut self, event: &Event<K>) {
        self.readable |= event.readable;
        self.closed |= event.closed;
    }

    /// Drives the session's handshake; true when it is done.
    ///
    /// # Errors
    /// The session's.
    pub(super) fn shake_hands(&mut self, cipher: &mut [u8]) -> io::Result<bool> {
        let Some(session) = &mut self.tls else {
            return Ok(true);
        };
        let done = session.handshake(&mut &*self.stream, cipher).map_err(io::Error::other)? == Handshake::Done;
        if session.wants_write() {
            self.stream.also_watch_for(WRITABLE)?;
        }
        // Whatever comes later is told by an event.
        self.readable = done || self.closed;
        Ok(done)
    }

    /// Reads what there is: 0 is the end, nothing if there is nothing at the moment.
    ///
    /// # Errors
    /// Those of recv(2) and of TLS.
    pub(super) fn read(&mut self, room: &mut [u8], cipher: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(session) = &mut self.tls else {
            return match self.stream.read(room) {
                // There may be more, however little this was: a read stops before an urgent byte.
                Ok(count) => Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // So the end is not here yet, whatever was told.
                    (self.readable, self.closed) = (false, false);
                    Ok(None)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                Err(error) => Err(error),
            };
        };
        match session.read(&mut &*self.stream, room, cipher).map_err(io::Error::other)? {
            // As above, whatever was in the session.
            Got::Plain { length, .. } => Ok(Some(length)),
            Got::Closed => Ok(Some(0)),
            Got::Blocked => {
                (self.readable, self.closed) = (false, false);
                Ok(None)
            }
        }
    }

    /// Writes as much as is taken now; what a TLS session takes may still be in it. If it is less than all, an event tells
    /// when there is room.
    ///
    /// # Errors
    /// Those of send(2) and of TLS.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.tls {
            Some(session) => session.write(&mut &*self.stream, bytes).map_err(io::Error::other)?,
            None => match self.stream.write(bytes) {
                Ok(count) => count,
                Err(error) if is_for_the_moment(&error) => 0,
                Err(error) => return Err(error),
            },
        };
        self.written |= written > 0;
        if written < bytes.len() {
            // Room that has come meanwhile is told as well.
            self.stream.also_watch_for(WRITABLE)?;
        }
        Ok(written)
    }

    /// Sends what is in the TLS session, and the end of our direction behind it; whether all of it is out.
    ///
    /// # Errors
    /// Those of send(2), and of shutdown(2) where our direction was to end.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(session) = &mut self.tls else {
            return Ok(true);
        };
        if !session.flush(&mut &*self.stream).map_err(io::Error::other)? {
            self.stream.also_watch_for(WRITABLE)?;
            return Ok(false);
        }
        if std::mem::take(&mut self.ending) {
            self.stream.shutdown_write()?;
        }
        Ok(true)
    }

    /// Tells the peer that nothing more comes, behind all that was written; [`flush`](Self::flush) goes on with it.
    ///
    /// # Errors
    /// Those of send(2) and of shutdown(2).
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.shutdown_write(),
            Some(session) => {
                self.ending = true;
                session.close_notify(&mut &*self.stream).map_err(io::Error::other)?;
                self.flush().map(drop)
            }
        }
    }

    /// Closes the socket. It has no duplicate, so the reactor need not be told.
    pub(super) fn close(self) {
        self.stream.close();
    }

    /// Breaks the connection off: the peer sees a reset.
    pub(super) fn break_off(self) {
        // Without it the peer sees an end instead.
        let _ = self.stream.reset_on_close();
        self.stream.close();
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_for_the_moment(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
