//! All sessions as they go to the process that takes over: first what they have in common, then each by itself.

use super::{Entry, Limits, Sessions};
use crate::session::credential::{BootId, Key, Nonce, SessionId, Transcript, wipe};
use crate::session::state::{Connection, Policy, Session};
use crate::session::written::{Form, FormError, Reader, Writer, form_of_struct};
use std::time::Instant;

form_of_struct!(Transcript { version, boot, server, client });

/// Names that are bytes.
macro_rules! form_of_bytes {
    ($($name:ident),+) => {
        $(impl Form for $name {
            fn write(&self, to: &mut Writer) {
                self.0.write(to);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
                Form::read(from).map($name)
            }
        })+
    };
}
form_of_bytes!(BootId, SessionId, Nonce);

impl<S: Clone + Ord + Form> Sessions<S> {
    /// What they have in common.
    pub fn written(&self, now: Instant) -> Vec<u8> {
        let mut to = Writer::new(now);
        self.boot.write(&mut to);
        self.short.write(&mut to);
        self.guesses.write(&mut to);
        to.into_bytes()
    }

    /// One of them, to which the caller may append what it knows of it. With the key of its proofs in it, so it is to be
    /// wiped.
    pub fn write_one(&self, id: SessionId, to: &mut Writer) {
        let Some(Entry { session, key, source, made, deadline: _, memory: _ }) = self.entries.get(&id) else {
            return;
        };
        id.write(to);
        source.write(to);
        made.write(to);
        session.write(to);
        // Last, so that no copy of it stays behind where the bytes had no room.
        to.put_secret(key.bytes());
    }

    /// None yet, as they were in the process before. `nobody`: as for new ones.
    ///
    /// # Errors
    /// What was written is something else.
    pub fn read(
        (bytes, now): (&[u8], Instant),
        nobody: [u8; 32],
        policy: Policy,
        limits: Limits,
    ) -> Result<Self, FormError> {
        let mut from = Reader::new(bytes, now)?;
        let mut sessions = Sessions::new(BootId::read(&mut from)?, nobody, policy, limits);
        sessions.short = Form::read(&mut from)?;
        sessions.guesses = Form::read(&mut from)?;
        from.end().map(|()| sessions)
    }

    /// One more of them; what was appended to it is left. Whoever is attached to it is so still, until it is said to have
    /// [left](Sessions::left).
    ///
    /// # Errors
    /// What was written is something else, or of a session that there is already.
    pub fn read_one(&mut self, from: &mut Reader<'_>) -> Result<SessionId, FormError> {
        let id = SessionId::read(from)?;
        let source = Option::<S>::read(from)?;
        let made = Transcript::read(from)?;
        let session = Session::read(from, &self.policy, self.allowance())?;
        let mut key = <[u8; 32]>::read(from)?;
        let entry = Entry { session, key: Key::new(key), source: source.clone(), made, deadline: None, memory: 0 };
        wipe(&mut key);
        let known = |connection: Connection| self.connections.contains_key(&connection);
        if self.entries.contains_key(&id) || entry.session.connections().any(known) {
            return Err(FormError::Unfit("two sessions"));
        }
        self.connections.extend(entry.session.connections().map(|connection| (connection, id)));
        if let Some(source) = source {
            *self.per_source.entry(source).or_default() += 1;
        }
        self.entries.insert(id, entry);
        self.count(id);
        Ok(id)
    }

    /// Everybody who is attached to one of them.
    pub fn connections(&self) -> impl Iterator<Item = Connection> {
        self.connections.keys().copied()
    }
}
