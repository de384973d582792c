//! What comes before a destination is chosen to be connected to: a PROXY header, and a TLS handshake with the client.

use std::io;
use std::time::Instant;

use super::event_loop::EventLoop;
use super::failure::ClientFailure;
use super::news::{How, News};
use super::pair::{Fate, Pair, Phase};
use super::slab::PairId;
use crate::net::listener::Address;
use crate::net::proxy_protocol::{Header, Parser, Progress};
use crate::net::stream::Kind;

/// How much of a header is looked at at a time.
const PIECE: usize = 1024;

/// How far a client's greeting has come.
#[derive(Debug)]
pub(super) enum Greeting {
    /// It is to say for whom it speaks.
    Header(Box<Parser>),
    /// Its TLS session is to be agreed on.
    Handshake,
}

impl EventLoop {
    /// Starts with a client whose turn it is.
    pub(super) fn begin(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        let now = self.tools.now;
        if pair.entrance.proxied {
            let source = match pair.client_address() {
                Address::Internet(address) => Some(address.ip()),
                Address::Path(_) | Address::Abstract(_) | Address::Unnamed => None,
            };
            if source.is_none() && pair.entrance.kind == Kind::Tcp {
                // It has reset its connection already, and whether it would be trusted cannot be known any more.
                return Fate::Ends(How::Unconnected);
            }
            if !self.shared.settings.trust.covers(source) {
                return self.client_failed(pair, ClientFailure::NotTrusted);
            }
            let until = now + self.shared.settings.proxy_header_timeout;
            pair.phase = Phase::Greeting { greeting: Greeting::Header(Box::default()), until };
            return self.greet(id, pair);
        }
        self.secure_client(id, pair, now)
    }

    /// With its TLS session, if it is to have one.
    fn secure_client(&mut self, id: PairId, pair: &mut Pair, now: Instant) -> Fate {
        let Some(identity) = &pair.entrance.tls else {
            return self.set_out(id, pair);
        };
        match identity.session() {
            Ok(session) => pair.client.secure(session),
            Err(error) => return self.client_failed(pair, error.into()),
        }
        let until = now + self.shared.settings.connect_timeout;
        pair.phase = Phase::Greeting { greeting: Greeting::Handshake, until };
        self.greet(id, pair)
    }

    /// Goes on with a greeting.
    pub(super) fn greet(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        let now = self.tools.now;
        match &mut pair.phase {
            Phase::Greeting { greeting: Greeting::Header(parser), .. } => {
                match read_header(parser, &pair.client, &mut self.tools.scratch[..PIECE]) {
                    Ok(Some(header)) => {
                        pair.spoken_for(header);
                        self.secure_client(id, pair, now)
                    }
                    Ok(None) => Fate::Waits,
                    Err(failure) => self.client_failed(pair, failure),
                }
            }
            Phase::Greeting { greeting: Greeting::Handshake, .. } => {
                match pair.client.shake_hands(self.tools.cipher()) {
                    Ok(true) => self.set_out(id, pair),
                    Ok(false) => Fate::Waits,
                    Err(error) => self.client_failed(pair, error.into()),
                }
            }
            Phase::Starting
            | Phase::Parked
            | Phase::Connecting { .. }
            | Phase::Introducing { .. }
            | Phase::Relaying
            | Phase::Settling { .. } => Fate::Waits,
        }
    }

    /// It has taken too long.
    pub(super) fn greeting_expired(&mut self, pair: &Pair) -> Fate {
        let failure = match &pair.phase {
            Phase::Greeting { greeting: Greeting::Header(parser), .. } => parser.ended().into(),
            _ => ClientFailure::TlsTimedOut,
        };
        self.client_failed(pair, failure)
    }

    fn client_failed(&mut self, pair: &Pair, error: ClientFailure) -> Fate {
        let (listener, client) = (pair.entrance.id, pair.client_address());
        self.shared.news.tell(News::ClientFailed { listener, client, error });
        Fate::Ends(How::Unconnected)
    }
}

/// Reads a header and nothing behind it; `None` when there is more to come.
fn read_header(
    parser: &mut Parser,
    client: &super::end::End,
    room: &mut [u8],
) -> Result<Option<Header>, ClientFailure> {
    loop {
        let length = match client.stream().peek(room) {
            Ok(0) => return Err(parser.ended().into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(parser.ended().into()),
        };
        let progress = parser.push(&room[..length])?;
        let used = match &progress {
            Progress::More => length,
            Progress::Done { used, .. } => *used,
        };
        // What was seen is there; nobody else reads from this socket.
        if !matches!(client.stream().read(&mut room[..used]), Ok(read) if read == used) {
            return Err(parser.ended().into());
        }
        if let Progress::Done { header, .. } = progress {
            return Ok(Some(header));
        }
    }
}
