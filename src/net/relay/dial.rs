//! From a client to its destination: the second socket, and what comes before the first byte of the client goes to it.

use std::io;
use std::sync::Arc;

use super::end::End;
use super::event_loop::{EventLoop, Key};
use super::failure::DestinationFailure;
use super::news::{How, News};
use super::pair::{Fate, Heard, Pair, Phase};
use super::slab::PairId;
use crate::net::connecting::{Connecting, Names, Progress};
use crate::net::listener::Address;
use crate::net::proxy_protocol::Header;
use crate::net::stream::Kind;

impl EventLoop {
    /// Chooses the destination of a client whose turn it is, unless that was done when it was accepted, and starts to
    /// connect.
    pub(super) fn set_out(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        if pair.counted.is_none() {
            pair.counted = pair.entrance.route.choose();
        }
        let Some(counted) = &pair.counted else {
            return Fate::Ends(How::Unconnected);
        };
        let (to, now) = (Arc::clone(counted.destination().connect()), self.tools.now);
        let names = Names { resolver: &self.shared.resolver, inbox: &self.answers };
        let limit = self.shared.settings.connect_timeout;
        let connecting = Connecting::start(to, limit, now, names, Key::Destination(id));
        let connecting = Box::new(connecting.counted_in(Arc::clone(&self.shared.descriptors)));
        pair.phase = Phase::Connecting { connecting, heard: Heard::default(), leaving: None };
        let fate = self.connect(id, pair);
        let waits = fate == Fate::Waits && matches!(pair.phase, Phase::Connecting { .. });
        // It may have left while it waited.
        if waits && !pair.client_waits(now) { Fate::Ends(How::Unconnected) } else { fate }
    }

    /// Goes on with connecting.
    pub(super) fn connect(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        let Phase::Connecting { connecting, heard, .. } = &mut pair.phase else {
            return Fate::Waits;
        };
        match connecting.proceed(self.tools.now, &mut self.reactor, Key::Destination(id)) {
            Progress::Pending => Fate::Waits,
            Progress::Failed(error) => self.connect_failed(pair, error.into()),
            Progress::Connected(stream) => {
                let until = connecting.deadline();
                let mut end = End::new(stream);
                (end.readable, end.closed, end.urgent) = (heard.readable, heard.closed, heard.urgent);
                pair.destination = Some(end);
                self.introduce(pair, until)
            }
        }
    }

    /// The answers of the resolver that have come.
    pub(super) fn take_answers(&mut self) {
        while let Some((key, answer)) = self.answers.next() {
            let Key::Destination(id) = key else {
                continue;
            };
            let Some(mut pair) = self.pairs.take(id) else {
                continue;
            };
            if let Phase::Connecting { connecting, .. } = &mut pair.phase {
                connecting.answered(answer, self.tools.now);
            }
            let fate = self.connect(id, &mut pair);
            self.settle(id, pair, fate);
        }
    }

    /// Says who the client is, and begins with the TLS session, as far as the destination wants either.
    fn introduce(&mut self, pair: &mut Pair, until: std::time::Instant) -> Fate {
        pair.phase = Phase::Introducing { until };
        let Some((connect, identity)) = pair.counted.as_ref().map(|counted| {
            let destination = counted.destination();
            (Arc::clone(destination.connect()), destination.identity().cloned())
        }) else {
            return Fate::Ends(How::Unconnected);
        };
        if let Some(version) = connect.proxy {
            let header = header_of(pair).to_bytes(version);
            if let Err(source) = write_all(pair, &header) {
                return self.connect_failed(pair, DestinationFailure::Header { destination: connect, source });
            }
        }
        match identity.map(|identity| identity.session()).transpose() {
            Ok(Some(session)) => {
                if let Some(end) = &mut pair.destination {
                    end.secure(session);
                }
                self.agree(pair)
            }
            Ok(None) => self.connected(pair),
            Err(source) => self.connect_failed(pair, DestinationFailure::Tls { destination: connect, source }),
        }
    }

    /// Goes on with the TLS handshake with the destination.
    pub(super) fn agree(&mut self, pair: &mut Pair) -> Fate {
        let agreed = pair.destination.as_mut().map(|end| end.shake_hands(self.tools.cipher()));
        match agreed {
            Some(Ok(true)) => self.connected(pair),
            Some(Ok(false)) => Fate::Waits,
            Some(Err(source)) => {
                let Some(destination) = pair.connect() else {
                    return Fate::Ends(How::Unconnected);
                };
                self.connect_failed(pair, DestinationFailure::Tls { destination, source })
            }
            None => Fate::Ends(How::Unconnected),
        }
    }

    /// The destination is there: whatever the client has sent already goes to it at once.
    fn connected(&mut self, pair: &mut Pair) -> Fate {
        pair.phase = Phase::Relaying;
        pair.silence.heard(self.tools.now);
        pair.relay(&mut self.tools)
    }

    /// The introduction has taken too long.
    pub(super) fn introduction_expired(&mut self, pair: &Pair) -> Fate {
        match pair.connect() {
            Some(destination) => self.connect_failed(pair, DestinationFailure::TlsTimedOut { destination }),
            None => Fate::Ends(How::Unconnected),
        }
    }

    /// Counts a failure, and tells it.
    fn connect_failed(&mut self, pair: &Pair, error: DestinationFailure) -> Fate {
        if let Some(counted) = &pair.counted {
            let destination = counted.destination();
            destination.count_failure();
            let client = pair.client_address();
            self.shared.news.tell(News::ConnectFailed { destination: destination.id(), client, error });
        }
        if pair.entrance.returns { Fate::Returns } else { Fate::Ends(How::Unconnected) }
    }
}

/// What the destination is told of the client: what its own proxy has said, or what its socket says.
fn header_of(pair: &Pair) -> Header {
    if let Some(header) = &pair.header {
        return Header::clone(header);
    }
    let client = pair.client.stream();
    match (client.kind(), client.peer(), client.local()) {
        (Kind::Tcp, Ok(Address::Internet(source)), Ok(Address::Internet(destination))) => {
            Header::between(source, destination)
        }
        // HAProxy and nginx close where they are told of a unix socket, or of a client without an address; HAProxy itself
        // says this of such clients.
        _ => Header::Local,
    }
}

/// A header is small and the first that goes over its socket, which takes it whole.
fn write_all(pair: &Pair, header: &[u8]) -> io::Result<()> {
    let Some(end) = &pair.destination else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    if end.stream().write(header)? == header.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
