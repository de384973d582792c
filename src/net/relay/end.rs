//! One end of a pair: a socket with what is known of its readiness, and its TLS session if it has one.

use std::io;

use super::flow::{Flow, Input, Side, Way};
use crate::net::stream::{Kind, Stream};
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
    /// What is there is all that comes: the end of file behind it need not be read to be known.
    last: bool,
    /// The peer's end of file was seen by a read that gave bytes.
    ended: bool,
    /// A read may stop before an urgent byte though more is there, until one has found nothing.
    pub(super) urgent: bool,
    /// The end of our direction is on its way through the session.
    ending: bool,
}

impl End {
    /// An end of which nothing is known yet; it is watched.
    pub(super) fn new(stream: Registered<Stream>) -> Self {
        End {
            stream,
            tls: None,
            readable: false,
            writable: true,
            closed: false,
            last: false,
            ended: false,
            urgent: false,
            ending: false,
        }
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
        self.urgent |= event.urgent;
        // TCP says so when it has queued all that came before. A reset says so as well, and is read to its error.
        self.last |= event.closed && !event.failed && self.stream.kind() == Kind::Tcp;
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
        self.readable = done || self.closed || self.urgent;
        Ok(done)
    }

    /// Reads what there is, and takes note when there is no more: an event will tell when there is again.
    pub(super) fn read(&mut self, room: &mut [u8], cipher: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else {
            let received = self.stream.receive(room)?;
            // One that has stopped short of its room has emptied the socket, unless something lay in its way.
            let empty = received.length < room.len() && !received.stopped && !self.urgent;
            self.ended = empty && self.last && received.length > 0;
            self.readable = !empty || self.closed;
            return Ok(received.length);
        };
        match session.read(&mut &*self.stream, room, cipher).map_err(io::Error::other)? {
            Got::Plain { length, more } => {
                self.readable = more || self.urgent || self.closed;
                Ok(length)
            }
            Got::Closed => Ok(0),
            Got::Blocked => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether the last read has brought the end of file along with its bytes.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
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
            io::ErrorKind::WouldBlock => (self.readable, self.urgent) = (false, false),
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

#[cfg(test)]
mod tests {
    use super::End;
    use crate::net::stream::Stream;
    use crate::reactor::{READABLE, Reactor, URGENT};
    use socket2::SockRef;
    use std::io::{ErrorKind, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    /// An end that has heard of everything that its peer does until it shuts down.
    fn end(peer: impl FnOnce(&mut TcpStream)) -> End {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = Stream::try_from(OwnedFd::from(listener.accept().unwrap().0)).unwrap();
        let mut reactor = Reactor::new().unwrap();
        let mut end = End::new(reactor.register(ours, (), READABLE | URGENT).unwrap());
        peer(&mut theirs);
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut events = Vec::new();
        while !end.closed {
            reactor.wait(&mut events).unwrap();
            events.iter().for_each(|event| assert!(end.on(event).is_none()));
        }
        end
    }

    #[test]
    fn an_end_of_file_that_was_told_before_the_last_bytes_were_read_need_not_be_read() {
        let mut end = end(|peer| peer.write_all(b"all of it").unwrap());
        assert_eq!(end.read(&mut [0; 9], &mut []).unwrap(), 9);
        assert!(!end.has_ended() && end.readable, "there may be more");
        assert_eq!(end.read(&mut [0; 9], &mut []).unwrap(), 0);

        let mut end = self::end(|peer| peer.write_all(b"all of it").unwrap());
        assert_eq!(end.read(&mut [0; 10], &mut []).unwrap(), 9);
        assert!(end.has_ended());
    }

    #[test]
    fn a_read_that_stops_before_an_urgent_byte_has_not_come_to_the_end() {
        let mut end = end(|peer| {
            peer.write_all(b"some").unwrap();
            SockRef::from(&*peer).send_out_of_band(b"!").unwrap();
            peer.write_all(b"more").unwrap();
        });
        for _ in 0..2 {
            assert_eq!(end.read(&mut [0; 10], &mut []).unwrap(), 4);
            assert!(!end.has_ended() && end.readable);
        }
        assert_eq!(end.read(&mut [0; 10], &mut []).unwrap(), 0);
    }

    #[test]
    fn without_an_end_a_short_read_has_emptied_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = Stream::try_from(OwnedFd::from(listener.accept().unwrap().0)).unwrap();
        let mut reactor = Reactor::new().unwrap();
        let mut end = End::new(reactor.register(ours, (), READABLE | URGENT).unwrap());
        theirs.write_all(b"word").unwrap();
        let mut events = Vec::new();
        reactor.wait(&mut events).unwrap();
        events.iter().for_each(|event| assert!(end.on(event).is_none()));
        assert_eq!(end.read(&mut [0; 10], &mut []).unwrap(), 4);
        assert!(!end.readable && !end.has_ended());
        assert_eq!(end.read(&mut [0; 10], &mut []).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
