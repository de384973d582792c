//! What happens on the connections of clients: events, times, what they say, and what they are sent.

use super::client::Stage;
use super::{Key, PORTION, Server};
use crate::reactor::Event;
use crate::session::frame::{Frame, Refusal};
use crate::session::state::{Connection, Farewell, Phase};
use log::debug;
use std::time::{Duration, Instant};

/// How often a connection is read or written before others have their turn.
const ROUNDS: usize = 4;
/// How much output is fetched for a client at a time.
const FETCHED: usize = 32 * 1024;
/// How long a client may take to hear its last words.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

/// What came of a client's next word.
pub(super) enum Word {
    /// There may be another one.
    Heard,
    /// There is none yet.
    None,
    /// Nothing that it says counts any more.
    Over,
}

impl Server {
    pub(super) fn client_event(&mut self, connection: Connection, event: &Event<Key>) {
        if event.due {
            return self.client_is_due(connection);
        }
        let Some(client) = self.clients.get_mut(&connection) else {
            return;
        };
        client.wire.on(event);
        if client.stage == Stage::Securing {
            match client.wire.shake_hands(&mut self.tools.cipher) {
                Ok(true) => client.stage = Stage::New,
                Ok(false) => return,
                Err(error) => {
                    debug!("{}: {}", client.peer, crate::chain(&error));
                    return self.forget(connection);
                }
            }
        }
        self.read_client(connection);
        self.settle();
        self.send_to(connection);
    }

    /// Its time is over: for its first words, for its answer, or for its last words.
    fn client_is_due(&mut self, connection: Connection) {
        let Some(client) = self.clients.get(&connection) else {
            return;
        };
        match client.stage {
            Stage::Denied(refusal) => self.refuse(connection, refusal),
            Stage::Greeted { .. } => self.refuse(connection, Refusal::TooSlow),
            Stage::Securing | Stage::New | Stage::Leaving => self.forget(connection),
            Stage::Attached => {}
        }
    }

    fn read_client(&mut self, connection: Connection) {
        let mut plain = std::mem::take(&mut self.tools.plain);
        if plain.is_empty() {
            // What came of reading led here.
            return;
        }
        for round in 0.. {
            let Some(client) = self.clients.get_mut(&connection) else {
                break;
            };
            if matches!(client.stage, Stage::Denied(_)) || !client.wire.readable {
                break;
            }
            if round == ROUNDS {
                self.reactor.again(Key::Client(connection));
                break;
            }
            match client.wire.read(&mut plain[..PORTION], &mut self.tools.cipher) {
                Ok(None) => {}
                Ok(Some(0)) => {
                    self.forget(connection);
                    break;
                }
                Ok(Some(count)) => {
                    client.spoke = true;
                    self.hear(connection, &plain[..count]);
                }
                Err(error) => {
                    debug!("{}: {}", client.peer, crate::chain(&error));
                    self.forget(connection);
                    break;
                }
            }
        }
        self.tools.plain = plain;
    }

    /// Takes in what a client has said.
    fn hear(&mut self, connection: Connection, mut bytes: &[u8]) {
        loop {
            let Some(client) = self.clients.get_mut(&connection) else {
                return;
            };
            if client.stage == Stage::Leaving {
                return;
            }
            let taken = client.decoder.feed(bytes);
            bytes = &bytes[taken..];
            loop {
                match self.hear_word(connection) {
                    Word::Heard => {}
                    Word::None if bytes.is_empty() => return,
                    Word::None => break,
                    Word::Over => return,
                }
            }
        }
    }

    fn hear_word(&mut self, connection: Connection) -> Word {
        match self.clients.get(&connection).map(|client| client.stage) {
            Some(Stage::New) => self.hear_preface(connection),
            Some(Stage::Greeted { nonce }) => self.hear_wish(connection, nonce),
            Some(Stage::Attached) => self.hear_frame(connection),
            Some(Stage::Securing | Stage::Denied(_) | Stage::Leaving) | None => Word::Over,
        }
    }

    fn hear_frame(&mut self, connection: Connection) -> Word {
        let Some(client) = self.clients.get_mut(&connection) else {
            return Word::Over;
        };
        let now = self.clock.now();
        let confirms = match client.decoder.frame() {
            Ok(None) => return Word::None,
            Ok(Some(frame)) => {
                self.sessions.said(now, connection, &frame, &mut self.actions);
                matches!(frame, Frame::Confirm(_))
            }
            Err(error) => {
                debug!("{}: {error}", client.peer);
                self.sessions.broke(now, connection, &mut self.actions);
                return Word::Over;
            }
        };
        let Some(id) = self.sessions.of(connection) else {
            return Word::Over;
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.moved = now;
        }
        let phase = self.sessions.session(id).map(crate::session::state::Session::phase);
        if confirms && phase.is_some_and(|phase| phase != Phase::Provisional) {
            client.decoder.proved();
        }
        Word::Heard
    }

    /// Sends to a client what there is for it, as far as its connection takes it.
    pub(super) fn send_to(&mut self, connection: Connection) {
        for _ in 0..ROUNDS {
            let Some(client) = self.clients.get_mut(&connection) else {
                return;
            };
            match client.send() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    debug!("{}: {}", client.peer, crate::chain(&error));
                    return self.lose(connection);
                }
            }
            if client.stage != Stage::Attached {
                return;
            }
            self.sessions.transmit(connection, FETCHED, client.out.bytes());
            if client.out.is_empty() {
                return;
            }
        }
        self.reactor.again(Key::Client(connection));
    }

    /// A client is told the last words of its session.
    pub(super) fn dismiss(&mut self, connection: Connection, farewell: Farewell) {
        if let Some(client) = self.clients.get_mut(&connection) {
            debug!("{}: {farewell:?}", client.peer);
            client.say(&farewell.frame());
            self.leave(connection);
        }
    }

    /// A client is told why it is not attached.
    pub(super) fn refuse(&mut self, connection: Connection, refusal: Refusal) {
        if let Some(client) = self.clients.get_mut(&connection) {
            debug!("{}: {refusal}", client.peer);
            client.say(&Frame::Reject(refusal));
            self.leave(connection);
        }
    }

    /// What a client is told now are its last words.
    pub(super) fn leave(&mut self, connection: Connection) {
        if let Some(client) = self.clients.get_mut(&connection) {
            client.stage = Stage::Leaving;
            self.passing.insert(connection);
            self.reactor.set_deadline(Key::Client(connection), Some(Instant::now() + LAST_WORDS));
            self.send_to(connection);
        }
    }

    /// Nothing can be sent to a client any more. What it has said already still counts.
    fn lose(&mut self, connection: Connection) {
        self.read_client(connection);
        self.forget(connection);
    }

    /// A client's connection is at its end.
    pub(super) fn forget(&mut self, connection: Connection) {
        let Some(client) = self.clients.remove(&connection) else {
            return;
        };
        self.passing.remove(&connection);
        self.reactor.set_deadline(Key::Client(connection), None);
        if client.stage == Stage::Attached {
            debug!("{} has left", client.peer);
            self.sessions.left(self.clock.now(), connection, &mut self.actions);
        }
        client.wire.close();
    }
}
