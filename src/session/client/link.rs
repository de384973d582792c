//! One connection to the server at a time, over TCP, TLS or a unix socket, and the frames on it. Nothing here waits.

use super::Source;
use crate::net::connecting::{ConnectError, Connecting, Names, Progress};
use crate::net::endpoint::Connect;
use crate::net::listener::Address;
use crate::net::resolve::{Inbox, Resolver};
use crate::net::stream::Stream;
use crate::net::tls::{ClientIdentity, Got, Handshake, LoadError, Session, SessionError};
use crate::reactor::{Event, Reactor, Registered, Waker};
use crate::session::frame::Decoder;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Looking up, connecting and a handshake of TLS together, where the endpoint says nothing else.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// So much is read at a time; not less than a record of TLS.
const READ: usize = 32 * 1024;

/// Why a connection did not come about, or is no more.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The server was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// TLS cannot be spoken with it.
    #[error("cannot speak TLS with {server}")]
    Tls {
        /// The server.
        server: Arc<Connect>,
        /// Why.
        source: SessionError,
    },
    /// It did not finish the handshake of TLS.
    #[error("{server} does not complete the handshake of TLS")]
    Handshake {
        /// The server.
        server: Arc<Connect>,
    },
    /// The connection broke.
    #[error("the connection to {server} broke")]
    Broke {
        /// The server.
        server: Arc<Connect>,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The server closed it.
    #[error("{server} has closed the connection")]
    Closed {
        /// The server.
        server: Arc<Connect>,
    },
}

/// What has come of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing new.
    Wait,
    /// There is a connection.
    Connected,
    /// Bytes can go both ways.
    Ready,
}

enum State {
    Down,
    Connecting(Connecting<Stream>),
    Greeting { stream: Registered<Stream>, tls: Session, until: Instant },
    Up { stream: Registered<Stream>, tls: Option<Session> },
}

/// The way to the server.
pub(super) struct Link {
    to: Arc<Connect>,
    identity: Option<ClientIdentity>,
    resolver: Resolver<Source>,
    inbox: Inbox<Source>,
    state: State,
    decoder: Decoder,
    /// What is to be sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    plain: Vec<u8>,
    cipher: Vec<u8>,
}

impl Link {
    /// No connection yet. `waker` is for [`Source::Names`]. The endpoint's paths are absolute.
    ///
    /// # Errors
    /// Those of the files of TLS.
    pub(super) fn new(to: Connect, waker: Waker) -> Result<Link, LoadError> {
        let identity = to.tls.as_ref().map(|tls| ClientIdentity::load(tls, &to.place)).transpose()?;
        let cipher = if identity.is_some() { vec![0; READ] } else { Vec::new() };
        Ok(Link {
            to: Arc::new(to),
            identity,
            resolver: Resolver::system(),
            inbox: Inbox::new(waker),
            state: State::Down,
            decoder: Decoder::new(),
            out: Vec::new(),
            sent: 0,
            plain: vec![0; READ],
            cipher,
        })
    }

    /// Whether there is no connection and none is being made.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Whether others could read along: it goes in clear to another host.
    pub(super) fn is_in_clear_to_elsewhere(&self) -> bool {
        match &self.state {
            State::Up { stream, tls: None } => match stream.peer() {
                Ok(Address::Internet(address)) => !address.ip().to_canonical().is_loopback(),
                Ok(Address::Path(_) | Address::Abstract(_) | Address::Unnamed) | Err(_) => false,
            },
            State::Up { tls: Some(_), .. } | State::Down | State::Connecting(_) | State::Greeting { .. } => false,
        }
    }

    /// Begins to connect; [`Link::proceed`] goes on.
    pub(super) fn begin(&mut self, now: Instant) {
        let names = Names { resolver: &self.resolver, inbox: &self.inbox };
        let connecting = Connecting::start(Arc::clone(&self.to), CONNECT_WITHIN, now, names, Source::Server);
        self.state = State::Connecting(connecting);
    }

    /// Closes the connection. Nothing is reset, so that what was written still arrives.
    pub(super) fn close(&mut self) {
        self.state = State::Down;
        (self.decoder, self.sent) = (Decoder::new(), 0);
        self.out.clear();
    }

    /// When [`Link::proceed`] is wanted although nothing has happened.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Connecting(connecting) => Some(connecting.due()),
            State::Greeting { until, .. } => Some(*until),
            State::Down | State::Up { .. } => None,
        }
    }

    /// Goes on with whatever an event of [`Source::Server`] or [`Source::Names`] makes possible. After an error the
    /// connection is closed.
    pub(super) fn proceed(
        &mut self,
        now: Instant,
        event: Option<&Event<Source>>,
        reactor: &mut Reactor<Source>,
    ) -> Result<Step, LinkError> {
        let done = self.go_on(now, event, reactor);
        if done.is_err() {
            self.close();
        }
        done
    }

    fn go_on(
        &mut self,
        now: Instant,
        event: Option<&Event<Source>>,
        reactor: &mut Reactor<Source>,
    ) -> Result<Step, LinkError> {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Down => Ok(Step::Wait),
            State::Connecting(mut connecting) => {
                while let Some((_, answer)) = self.inbox.next() {
                    connecting.answered(answer, now);
                }
                if let Some(event) = event {
                    connecting.hear(event);
                }
                let until = connecting.deadline();
                match connecting.proceed(now, reactor, Source::Server) {
                    Progress::Pending => {
                        self.state = State::Connecting(connecting);
                        Ok(Step::Wait)
                    }
                    Progress::Failed(error) => Err(error.into()),
                    Progress::Connected(stream) => self.arrived(stream, until, now),
                }
            }
            State::Greeting { stream, tls, until } => self.greet(stream, tls, until, now),
            State::Up { stream, tls } => {
                self.state = State::Up { stream, tls };
                Ok(Step::Ready)
            }
        }
    }

    fn arrived(&mut self, stream: Registered<Stream>, until: Instant, now: Instant) -> Result<Step, LinkError> {
        let Some(identity) = &self.identity else {
            self.state = State::Up { stream, tls: None };
            return Ok(Step::Connected);
        };
        let tls = identity.session().map_err(|source| LinkError::Tls { server: Arc::clone(&self.to), source })?;
        self.greet(stream, tls, until, now)
    }

    fn greet(
        &mut self,
        stream: Registered<Stream>,
        mut tls: Session,
        until: Instant,
        now: Instant,
    ) -> Result<Step, LinkError> {
        match tls.handshake(&mut &*stream, &mut self.cipher) {
            Ok(Handshake::Done) => {
                self.state = State::Up { stream, tls: Some(tls) };
                Ok(Step::Connected)
            }
            Ok(Handshake::Blocked) if now >= until => Err(LinkError::Handshake { server: Arc::clone(&self.to) }),
            Ok(Handshake::Blocked) => {
                self.state = State::Greeting { stream, tls, until };
                Ok(Step::Wait)
            }
            Err(source) => Err(LinkError::Tls { server: Arc::clone(&self.to), source }),
        }
    }

    /// Reads once; how much is in [`Link::received`] then, `None` when there is nothing at present.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn read(&mut self) -> Result<Option<usize>, LinkError> {
        let State::Up { stream, tls } = &mut self.state else {
            return Ok(None);
        };
        let closed = || LinkError::Closed { server: Arc::clone(&self.to) };
        match tls {
            None => match stream.read(&mut self.plain) {
                Ok(0) => Err(closed()),
                Ok(length) => Ok(Some(length)),
                Err(error) if is_for_later(&error) => Ok(None),
                Err(source) => Err(LinkError::Broke { server: Arc::clone(&self.to), source }),
            },
            Some(tls) => match tls.read(&mut &**stream, &mut self.plain, &mut self.cipher) {
                Ok(Got::Plain { length, .. }) => Ok(Some(length)),
                Ok(Got::Closed) => Err(closed()),
                Ok(Got::Blocked) => Ok(None),
                Err(source) => Err(LinkError::Tls { server: Arc::clone(&self.to), source }),
            },
        }
    }

    /// The bytes that were read, from the `from`th up to the `to`th, and who makes frames of them.
    pub(super) fn received(&mut self, from: usize, to: usize) -> (&mut Decoder, &[u8]) {
        (&mut self.decoder, &self.plain[from..to])
    }

    /// The server has proved itself.
    pub(super) fn proved(&mut self) {
        self.decoder.proved();
    }

    /// Where to append what shall be sent, as long as it is short: what waits already is not sent yet.
    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what there is, as far as the connection takes it; whether all of it is on its way.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn send(&mut self) -> Result<bool, LinkError> {
        let State::Up { stream, tls } = &mut self.state else {
            return Ok(false);
        };
        while self.sent < self.out.len() {
            let bytes = &self.out[self.sent..];
            let written = match tls {
                None => match stream.write(bytes) {
                    Ok(count) => count,
                    Err(error) if is_for_later(&error) => 0,
                    Err(source) => return Err(LinkError::Broke { server: Arc::clone(&self.to), source }),
                },
                Some(tls) => {
                    let tls = tls.write(&mut &**stream, bytes);
                    tls.map_err(|source| LinkError::Tls { server: Arc::clone(&self.to), source })?
                }
            };
            if written == 0 {
                return Ok(false);
            }
            self.sent += written;
        }
        self.sent = 0;
        self.out.clear();
        match tls {
            Some(tls) => {
                let flushed = tls.flush(&mut &**stream);
                flushed.map_err(|source| LinkError::Tls { server: Arc::clone(&self.to), source })
            }
            None => Ok(true),
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
