//! An upgrade, the new side, once it serves: everything goes on where the other process has left off.

use super::clients::LAST_WORDS;
use super::leaving::{SERVING, STOP};
use super::listening::FIRST_WORDS;
use super::plan::Plan;
use super::request::Upgraded;
use super::requests::done;
use super::{Key, Server, client, link};
use crate::reactor::{Descriptor, Event, READABLE, Registered};
use crate::session::credential::SessionId;
use crate::session::telnet::UNDECIDED;
use crate::takeover::descriptors::SharedClient;
use log::{info, warn};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The stream to another process of an upgrade.
pub(super) type Stream = Registered<Descriptor<UnixStream>>;

impl Server {
    /// Goes on with everything where the other process has left off. What sockets tell once was told there.
    pub(super) fn go_on(&mut self, to_connect: Vec<(SessionId, Instant)>) {
        let now = Instant::now();
        for connection in self.sessions.connections().collect::<Vec<_>>() {
            if !self.clients.contains_key(&connection) {
                self.sessions.left(self.clock.now(), connection, &mut self.actions);
            }
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.go_on_with_link(id, now);
        }
        for (id, until) in to_connect {
            self.connect_within(id, until.saturating_duration_since(now));
            self.settle();
        }
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            let stage = self.clients.get(&id).map(|client| client.stage);
            let limit = match stage {
                Some(client::Stage::New | client::Stage::Greeted { .. }) => Some(FIRST_WORDS),
                Some(client::Stage::Leaving) => Some(LAST_WORDS),
                Some(client::Stage::Securing | client::Stage::Denied(_) | client::Stage::Attached) | None => None,
            };
            if let Some(limit) = limit {
                self.passing.insert(id);
                self.reactor.set_deadline(Key::Client(id), Some(now + limit));
            }
            self.client_event(id, &ready(Key::Client(id)));
            self.settle();
        }
        for index in 0..self.listening.len() {
            self.reactor.again(Key::Listener(index));
        }
        self.reactor.again(Key::Control);
    }

    fn go_on_with_link(&mut self, id: SessionId, now: Instant) {
        let Some(link) = self.links.get_mut(&id).filter(|link| matches!(link.stage, link::Stage::Open(_))) else {
            return;
        };
        let undecided = link.telnet.is_undecided().then(|| now + UNDECIDED);
        self.reactor.set_deadline(Key::Link(id), undecided);
        self.link_event(id, &ready(Key::Link(id)));
        self.settle();
    }

    /// Goes on with those who ask; the one who has asked for the upgrade is answered.
    pub(super) fn have_askers(&mut self, (plan, at): (&Plan, Instant), askers: Vec<SharedClient>) {
        for SharedClient { number, share } in askers {
            match self.control.admit(&mut self.reactor, share) {
                Ok(id) if plan.asker == Some(number) => {
                    let milliseconds = plan.asked_ms.saturating_add(milliseconds(at.elapsed()));
                    let version = env!("CARGO_PKG_VERSION").to_owned();
                    let upgraded = Upgraded { pid: std::process::id(), version, milliseconds };
                    self.control.reply(&mut self.reactor, id, &done(&upgraded));
                }
                Ok(_) => {}
                Err(error) => warn!("cannot go on with a control client: {error}"),
            }
        }
    }

    pub(super) fn have_older(&mut self, stream: UnixStream) {
        let watched =
            stream.set_nonblocking(true).and_then(|()| self.reactor.register(Descriptor(stream), Key::Older, READABLE));
        match watched {
            Ok(mut older) => {
                // It ends by itself, if a little later, when it does not hear this.
                let _ = older.0.write_all(SERVING);
                self.older = Some(older);
            }
            Err(error) => warn!("cannot listen to the old process: {error}"),
        }
    }

    /// The process before this one was told to stop, when the pid file still named it; or it has gone.
    pub(super) fn hear_older(&mut self) {
        let mut bytes = [0; 64];
        let Some(older) = &mut self.older else {
            return;
        };
        match older.0.read(&mut bytes) {
            Ok(count) if count > 0 => {
                if bytes[..count].ends_with(STOP) {
                    info!("stopping: the process before this one was told to");
                    self.stop();
                }
                self.reactor.again(Key::Older);
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
            Ok(_) | Err(_) => self.older = None,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As if its socket had just become ready.
fn ready(key: Key) -> Event<Key> {
    Event { key, readable: true, writable: true, closed: false, failed: false, urgent: false, due: false }
}
