//! One end of a pair: a socket with what is known of its readiness.

use std::io;

use super::flow::{Flow, Input, Side, Way};
use crate::net::stream::Stream;
use crate::reactor::{Event, Registered};

/// One end.
#[derive(Debug)]
pub(super) struct End {
    stream: Registered<Stream>,
    /// Reading may give something.
    pub(super) readable: bool,
    /// Writing may take something.
    pub(super) writable: bool,
    /// The peer sends no more, so reading has to go on until it says so itself: no further event comes.
    pub(super) closed: bool,
}

impl End {
    /// An end of which nothing is known yet; it is watched.
    pub(super) fn new(stream: Registered<Stream>) -> Self {
        End { stream, readable: false, writable: true, closed: false }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether what goes over the socket is what is relayed.
    #[allow(clippy::unused_self, reason = "there will be others")]
    pub(super) fn is_plain(&self) -> bool {
        true
    }

    /// Takes in what the reactor says. An error is taken from the socket, so that it is not lost when neither reading
    /// nor writing is to be done for some time.
    pub(super) fn on<K>(&mut self, event: &Event<K>) -> Option<io::Error> {
        self.readable |= event.readable;
        self.writable |= event.writable;
        self.closed |= event.closed;
        if event.failed { self.stream.take_error().unwrap_or_else(Some) } else { None }
    }

    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.stream.read(room)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    /// A read has given less than there was room for: there was no more, and an event will tell when there is.
    pub(super) fn drained(&mut self) {
        self.readable = self.closed;
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
            io::ErrorKind::WouldBlock => self.writable = false,
            _ => self.is_reset(way.to(), flow),
        }
    }

    /// The connection is over; what came before is still to be read, until its end.
    pub(super) fn is_reset(&mut self, side: Side, flow: &mut Flow) {
        self.readable = true;
        self.closed = true;
        flow.on(Input::Reset(side));
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn shutdown(&mut self, side: Side, flow: &mut Flow) {
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
