//! What a client says before it is attached: the preface, then NEW or RESUME; and what becomes of that.

use super::client::Stage;
use super::clients::Word;
use super::link::Link;
use super::stop::Stopping;
use super::{Key, Server, short};
use crate::session::credential::{Nonce, RandomError, Secret, SessionId, Transcript, random};
use crate::session::frame::{Accept, Frame, Hello, MAX_UNPROVED, NEVER, New, Refusal, Resume, VERSION};
use crate::session::sessions::{Comer, Denial, Fresh};
use crate::session::state::{Connection, Input};
use log::{debug, error, info};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A new session that cannot be had may be had so much later, in seconds.
const RETRY: u32 = 10;

impl Server {
    /// Whoever begins otherwise gets no answer: it speaks another protocol.
    pub(super) fn hear_preface(&mut self, connection: Connection) -> Word {
        let Some(client) = self.clients.get_mut(&connection) else {
            return Word::Over;
        };
        match client.decoder.preface() {
            Ok(None) => return Word::None,
            Ok(Some(versions)) if versions.common().is_none() => {
                self.refuse(connection, Refusal::Version { least: VERSION, most: VERSION });
                return Word::Over;
            }
            Ok(Some(_)) => {}
            Err(error) => {
                debug!("{}: {error}", client.peer);
                self.forget(connection);
                return Word::Over;
            }
        }
        match random().map(Nonce) {
            Ok(nonce) => {
                let hello = self.hello(nonce);
                if let Some(client) = self.clients.get_mut(&connection) {
                    client.stage = Stage::Greeted { nonce };
                    client.say(&Frame::Hello(hello));
                }
                Word::Heard
            }
            Err(error) => self.without_numbers(connection, &error),
        }
    }

    fn hello(&self, nonce: Nonce) -> Hello {
        let policy = &self.settings.policy;
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(NEVER);
        Hello {
            version: VERSION,
            boot: self.boot,
            nonce,
            max_payload: u16::try_from(policy.max_payload).unwrap_or(u16::MAX),
            window: policy.window,
            heartbeat: u16::try_from(policy.heartbeat.as_secs()).unwrap_or(u16::MAX),
            ttl: policy.ttl.map_or(NEVER, seconds),
        }
    }

    fn without_numbers(&mut self, connection: Connection, error: &RandomError) -> Word {
        error!("{}", crate::chain(error));
        self.refuse(connection, Refusal::Busy { retry_after: RETRY });
        Word::Over
    }

    pub(super) fn hear_wish(&mut self, connection: Connection, nonce: Nonce) -> Word {
        let Some(client) = self.clients.get_mut(&connection) else {
            return Word::Over;
        };
        let said = |client: Nonce| Transcript { version: VERSION, boot: self.boot, server: nonce, client };
        let source = client.source;
        match client.decoder.frame() {
            Ok(None) => Word::None,
            Ok(Some(Frame::New(new))) => {
                let comer = Comer { connection, source, said: said(new.nonce) };
                self.create(comer, &new)
            }
            Ok(Some(Frame::Resume(resume))) => {
                let comer = Comer { connection, source, said: said(resume.nonce) };
                self.resume(comer, &resume)
            }
            Ok(Some(_)) | Err(_) => {
                self.refuse(connection, Refusal::Malformed);
                Word::Over
            }
        }
    }

    fn create(&mut self, comer: Comer<std::net::IpAddr>, new: &New) -> Word {
        let connection = comer.connection;
        if let Some(refusal) = self.no_new_one() {
            self.refuse(connection, refusal);
            return Word::Over;
        }
        let fresh = random().and_then(|id| Ok((SessionId(id), Zeroizing::new(random()?))));
        let (id, secret) = match fresh {
            Ok(fresh) => fresh,
            Err(error) => return self.without_numbers(connection, &error),
        };
        let ttl = (new.ttl > 0).then(|| Duration::from_secs(new.ttl.into()));
        let fresh = Fresh { id, secret: Secret::new(*secret), ttl };
        let now = self.clock.now();
        match self.sessions.create(now, comer, fresh, &mut self.actions) {
            Ok(accept) => {
                self.links.insert(id, Link::new(now, &self.settings));
                if let Some(client) = self.clients.get(&connection) {
                    info!("session {} made by {}", short(id), client.peer);
                }
                self.attached(connection, accept);
                Word::Heard
            }
            Err(denial) => self.deny(connection, denial),
        }
    }

    /// Why there is no room for a new session, if there is none.
    fn no_new_one(&self) -> Option<Refusal> {
        if self.stopping != Stopping::No {
            return Some(Refusal::Stopping { retry_after: RETRY });
        }
        // Each wants a descriptor for its destination; and whoever comes back to one of them shall find one.
        let left = self.most_descriptors / 8;
        let used = self.clients.len() + self.links.len() + 1;
        // Destinations of sessions that are over count while they read what they were sent.
        let full = used + left > self.most_descriptors || self.links.len() >= self.settings.limits.sessions;
        full.then_some(Refusal::Busy { retry_after: RETRY })
    }

    fn resume(&mut self, comer: Comer<std::net::IpAddr>, resume: &Resume) -> Word {
        let connection = comer.connection;
        if matches!(self.stopping, Stopping::Ending { .. }) {
            // All sessions are over: that one is not there is no guess.
            self.refuse(connection, Refusal::Stopping { retry_after: RETRY });
            return Word::Over;
        }
        let now = self.clock.now();
        match self.sessions.resume(now, comer, resume, &mut self.actions) {
            Ok(accept) => {
                let id = accept.id;
                if let Some(client) = self.clients.get_mut(&connection) {
                    debug!("session {}: {} comes to it, {:?}", short(id), client.peer, resume.mode);
                    client.decoder.proved();
                }
                self.attached(connection, accept);
                if let Some(grace) = self.grace() {
                    self.on(id, Input::GoAway(grace));
                }
                Word::Heard
            }
            Err(denial) => self.deny(connection, denial),
        }
    }

    /// ACCEPT is sent before all else that there is for it.
    fn attached(&mut self, connection: Connection, accept: Accept) {
        let Some(client) = self.clients.get_mut(&connection) else {
            return;
        };
        client.stage = Stage::Attached;
        self.passing.remove(&connection);
        self.reactor.set_deadline(Key::Client(connection), None);
        if accept.secret.is_some() {
            client.out.keep_secret(MAX_UNPROVED);
        }
        client.say(&Frame::Accept(accept));
        // By itself, so that nothing else is put behind a secret before it is gone.
        if let Err(error) = client.send() {
            debug!("{}: {}", client.peer, crate::chain(&error));
        }
    }

    /// A wrong guess waits for its answer, and nobody else.
    fn deny(&mut self, connection: Connection, denial: Denial) -> Word {
        if denial.delay.is_zero() {
            self.refuse(connection, denial.refusal);
            return Word::Over;
        }
        if let Some(client) = self.clients.get_mut(&connection) {
            info!("{}: {}", client.peer, denial.refusal);
            client.stage = Stage::Denied(denial.refusal);
            self.reactor.set_deadline(Key::Client(connection), Some(Instant::now() + denial.delay));
        }
        Word::Over
    }
}
