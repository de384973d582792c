//! One end of a pair: a socket with what is known of its readiness, and its TLS session if it has one.

use std::io;

use super::flow::{Flow, Input, Side, Way};
use crate::net::stream::Stream;
use crate::net::tls::{Got, Handshake, Session, SessionError};
use crate::reactor::{Event, Registered, WRITABLE};

/// One end.
#[derive(Debug)]
pub(super) struct End {
    stream: Registered<Stream>,
    tls: Option<Box<Session>>,
    /// Reading may give something.
    pub(super) readable: bool,
    /// Writing may take something.
    pub(super) writable: bool,
    /// The peer sends no more, so reading has to go on until it says so itself: no further event comes.
    pub(super) closed: bool,
    /// The end of our direction is on its way through the session.
    ending: bool,
}

impl End {
    /// An end of which nothing is known yet; it is watched.
    pub(super) fn new(stream: Registered<Stream>) -> Self {
        End { stream, tls: None, readable: false, writable: true, closed: false, ending: false }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether what goes over the socket is what is relayed.
    pub(super) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Takes in what the reactor says. An error is taken from the socket, so that it is not lost when neither reading
    /// nor writing is to be done for some time.
    pub(super) fn on<K>(&mut self, event: &Event<K>) -> Option<io::Error> {
        self.readable |= event.readable;
        self.writable |= event.writable;
        self.closed |= event.closed;
        if event.failed { self.stream.take_error().unwrap_or_else(Some) } else { None }
    }

    /// From now on what is relayed goes through this session.
    pub(super) fn secure(&mut self, session: Session) {
        self.tls = Some(Box::new(session));
    }

    /// Drives the session's handshake; true when it is done.
    ///
    /// # Errors
    /// The session's.
    pub(super) fn shake_hands(&mut self, cipher: &mut [u8]) -> Result<bool, SessionError> {
        let Some(session) = &mut self.tls else {
            return Ok(true);
        };
        let done = session.handshake(&mut &*self.stream, cipher)? == Handshake::Done;
        if session.wants_write() {
            // Where that cannot be had, the handshake is given up in time.
            let _ = self.stream.also_watch_for(WRITABLE);
        }
        // What it says about the socket is of this moment; whatever comes later is told by an event.
        self.readable = done || self.closed;
        Ok(done)
    }

    /// Reads what there is, and takes note when there is no more: an event will tell when there is again.
    pub(super) fn read(&mut self, room: &mut [u8], cipher: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else {
            let count = self.stream.read(room)?;
            self.readable = count == room.len() || self.closed;
            return Ok(count);
        };
        match session.read(&mut &*self.stream, room, cipher).map_err(io::Error::other)? {
            Got::Plain { length, more } => {
                self.readable = more || self.closed;
                Ok(length)
            }
            Got::Closed => Ok(0),
            Got::Blocked => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes as much as is taken now. What a session takes may still be in it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else {
            return self.stream.write(bytes);
        };
        match session.write(&mut &*self.stream, bytes).map_err(io::Error::other)? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Whether the session has something that the socket has not taken yet.
    pub(super) fn is_unsent(&self) -> bool {
        self.ending || self.tls.as_ref().is_some_and(|session| session.wants_write())
    }

    /// Sends what is in the session, if there is one, and its end behind it.
    pub(super) fn flush(&mut self, side: Side, flow: &mut Flow) {
        if !self.writable || flow.is_reset(side) || !self.is_unsent() {
            return;
        }
        let Some(session) = &mut self.tls else {
            return;
        };
        match session.flush(&mut &*self.stream) {
            Ok(true) if self.ending => self.end(side, flow),
            Ok(true) => {}
            Ok(false) => self.is_full(side, flow),
            Err(_) => self.is_reset(side, flow),
        }
    }

    /// The socket takes no more at the moment, and is watched for room from now on. Not from the beginning: most never
    /// fill, and room that nobody waits for would wake the loop. Room that has come meanwhile is told as well.
    pub(super) fn is_full(&mut self, side: Side, flow: &mut Flow) {
        self.writable = false;
        if self.stream.also_watch_for(WRITABLE).is_err() {
            // Nothing would ever go on.
            self.is_reset(side, flow);
        }
    }

    /// It was read to its end.
    pub(super) fn ended(&mut self, way: Way, flow: &mut Flow) {
        self.readable = false;
        flow.on(Input::End(way));
    }

    /// Reading has failed, perhaps for the moment only.
    pub(super) fn read_failed(&mut self, error: &io::Error, way: Way, flow: &mut Flow) {
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => self.readable = false,
            _ => {
                self.readable = false;
                flow.on(Input::Reset(way.from()));
                flow.on(Input::End(way));
            }
        }
    }

    /// Writing has failed, perhaps for the moment only.
    pub(super) fn write_failed(&mut self, error: &io::Error, way: Way, flow: &mut Flow) {
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => self.is_full(way.to(), flow),
            _ => self.is_reset(way.to(), flow),
        }
    }

    /// The connection is over; what came before is still to be read, until its end.
    pub(super) fn is_reset(&mut self, side: Side, flow: &mut Flow) {
        self.readable = true;
        self.closed = true;
        flow.on(Input::Reset(side));
    }

    /// Tells the peer that nothing more comes: the session's end first, and then the socket's.
    pub(super) fn shutdown(&mut self, side: Side, flow: &mut Flow) {
        let Some(session) = &mut self.tls else {
            return self.end(side, flow);
        };
        match session.close_notify(&mut &*self.stream) {
            Ok(true) => self.end(side, flow),
            Ok(false) => {
                self.ending = true;
                self.is_full(side, flow);
            }
            Err(_) => self.is_reset(side, flow),
        }
    }

    fn end(&mut self, side: Side, flow: &mut Flow) {
        self.ending = false;
        if self.stream.shutdown_write().is_err() {
            // Not connected any more.
            self.is_reset(side, flow);
        }
    }

    /// Closes the socket. It has no duplicate, so the reactor need not be told.
    pub(super) fn close(self) {
        self.stream.close();
    }

    /// The socket itself, watched no more.
    pub(super) fn into_stream(self) -> Stream {
        self.stream.into_source()
    }
}
