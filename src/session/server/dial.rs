//! Connecting to destinations: the name, the socket, and TLS.

use super::link::Stage;
use super::wire::Wire;
use super::{Key, Server, short};
use crate::net::connecting::{ConnectError, Connecting, Names, Progress, Reason};
use crate::net::stream::{Kind, Stream};
use crate::reactor::Registered;
use crate::session::credential::SessionId;
use crate::session::frame::Destination;
use crate::session::state::Input;
use log::warn;
use socket2::{SockRef, TcpKeepalive};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A destination that is silent for so long is asked whether it is there, by TCP.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl Server {
    /// Begins to connect to a session's destination.
    pub(super) fn connect(&mut self, id: SessionId) {
        self.connect_within(id, self.settings.connect_timeout);
    }

    /// The same, within this time, unless the destination says otherwise.
    pub(super) fn connect_within(&mut self, id: SessionId, limit: Duration) {
        let names = Names { resolver: &self.resolver, inbox: &self.answers };
        let to = Arc::clone(&self.settings.destination);
        let connecting = Connecting::start(to, limit, Instant::now(), names, Key::Link(id));
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Connecting(Box::new(connecting));
            self.proceed(id);
        }
    }

    /// The answers of the resolver that have come.
    pub(super) fn take_answers(&mut self) {
        while let Some((key, answer)) = self.answers.next() {
            let Key::Link(id) = key else {
                continue;
            };
            if let Some(Stage::Connecting(connecting)) = self.links.get_mut(&id).map(|link| &mut link.stage) {
                connecting.answered(answer, Instant::now());
                self.proceed(id);
            }
        }
    }

    /// Goes on with connecting.
    pub(super) fn proceed(&mut self, id: SessionId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Stage::Connecting(connecting) = &mut link.stage else {
            return;
        };
        match connecting.proceed(Instant::now(), &mut self.reactor, Key::Link(id)) {
            Progress::Pending => self.reactor.set_deadline(Key::Link(id), Some(connecting.due())),
            Progress::Failed(error) => self.cannot_connect(id, &error),
            Progress::Connected(stream) => {
                let until = connecting.deadline();
                self.reached(id, stream, until);
            }
        }
    }

    fn cannot_connect(&mut self, id: SessionId, error: &ConnectError) {
        warn!("session {}: {}", short(id), crate::chain(error));
        self.connect_failed(id, outcome(error));
    }

    fn connect_failed(&mut self, id: SessionId, how: Destination) {
        self.close_link(id);
        self.on(id, Input::ConnectFailed(how));
    }

    /// TCP is there; now for TLS, if it is spoken.
    fn reached(&mut self, id: SessionId, stream: Registered<Stream>, until: Instant) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if stream.kind() == Kind::Tcp {
            // Without it a destination that has gone silently is noticed when something is sent to it.
            let _ = SockRef::from(&*stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
            // Telnet's DATA MARK is urgent, and a part of a command: without this it would be missing in its place.
            let _ = SockRef::from(&*stream).set_out_of_band_inline(true);
        }
        let mut wire = Wire::of_told(stream);
        match self.identity.as_ref().map(|identity| identity.session()).transpose() {
            Ok(None) => {
                link.stage = Stage::Open(wire);
                self.opened(id);
            }
            Ok(Some(session)) => {
                wire.secure(session);
                link.stage = Stage::Securing(wire, until);
                self.reactor.set_deadline(Key::Link(id), Some(until));
                self.agree(id);
            }
            Err(error) => {
                warn!("session {}: {}", short(id), crate::chain(&error));
                self.connect_failed(id, Destination::Refused);
            }
        }
    }

    /// Goes on with the handshake of TLS.
    pub(super) fn agree(&mut self, id: SessionId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Stage::Securing(wire, until) = &mut link.stage else {
            return;
        };
        let late = Instant::now() >= *until;
        match wire.shake_hands(&mut self.tools.cipher) {
            Ok(true) => {
                if let Stage::Securing(wire, _) = std::mem::replace(&mut link.stage, Stage::Closed) {
                    link.stage = Stage::Open(wire);
                }
                self.opened(id);
            }
            Ok(false) if late => {
                let destination = &self.settings.destination;
                warn!("session {}: cannot connect to {destination}: no TLS within the limit", short(id));
                self.connect_failed(id, Destination::Timeout);
            }
            Ok(false) => {}
            Err(error) => {
                let destination = &self.settings.destination;
                warn!("session {}: cannot connect to {destination}: {}", short(id), crate::chain(&error));
                self.connect_failed(id, Destination::Refused);
            }
        }
    }

    fn opened(&mut self, id: SessionId) {
        self.reactor.set_deadline(Key::Link(id), None);
        if let Some(link) = self.links.get_mut(&id) {
            link.moved = self.clock.now();
        }
        self.on(id, Input::Connected);
        // What it has said already is told by no further event.
        self.reactor.again(Key::Link(id));
    }
}

/// As what a failure is told.
fn outcome(error: &ConnectError) -> Destination {
    match error.reason() {
        Reason::Unresolved => Destination::Unresolved,
        Reason::TimedOut => Destination::Timeout,
        Reason::Refused | Reason::Unreachable | Reason::Other => Destination::Refused,
    }
}
