//! All sessions of a server: who may make one and who may come to one, how many there may be, and what all of them
//! together may have.
//!
//! Pure: ids, secrets and nonces are given, and what a source is (an address, mostly) is the caller's.

use crate::session::credential::{BootId, Checker, Key, Secret, SessionId, Transcript};
use crate::session::frame::{Accept, Frame, Refusal, Resume};
use crate::session::guesses::Guesses;
use crate::session::state::{Action, Allowance, Connection, Input, Phase, Policy, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;
mod written;

/// What a session may have while memory is short.
const LITTLE: Allowance = Allowance { output: 64 * 1024, scrollback: 0, input: 16 * 1024 };
/// When there may be room again, in seconds.
const RETRY: u32 = 10;

/// How many, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Sessions that one source has made; those made from this machine count only towards all.
    pub per_source: usize,
    /// Sessions that nobody has shown to know of.
    pub provisional: usize,
    /// Those of them that one source has made, so that none takes the room of all others. As above for this machine.
    pub provisional_per_source: usize,
    /// Bytes that all streams together have. Beyond, each session gets little and none is made; nothing is dropped that has
    /// not arrived.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sessions: 10_000,
            per_source: 1_000,
            provisional: 100,
            provisional_per_source: 10,
            memory: 512 * 1024 * 1024,
        }
    }
}

/// Somebody who has said NEW or RESUME.
#[derive(Clone, Debug)]
pub struct Comer<S> {
    /// The connection, which is attached to nothing.
    pub connection: Connection,
    /// Where it comes from. `None`: from this machine, where one who comes may be a gateway for many.
    pub source: Option<S>,
    /// What was said on it.
    pub said: Transcript,
}

/// What a new session begins with.
pub struct Fresh {
    /// Its id, from the system's random numbers.
    pub id: SessionId,
    /// Its secret, from there as well.
    pub secret: Secret,
    /// How long it is to be kept while nobody is connected, if that is less than what the server allows.
    pub ttl: Option<Duration>,
}

/// No, and after how long that is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What is said.
    pub refusal: Refusal,
    /// How much later. A wrong guess waits; the source's other connections do not.
    pub delay: Duration,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Denial { refusal, delay: Duration::ZERO }
    }
}

struct Entry<S> {
    session: Session,
    key: Key,
    source: Option<S>,
    /// What was said when it was made: its CONFIRM is checked by it.
    made: Transcript,
    /// As they are counted in the table.
    deadline: Option<Instant>,
    memory: usize,
}

/// What is to be done, and for which session.
pub type Actions = Vec<(SessionId, Action)>;

/// The table.
pub struct Sessions<S> {
    boot: BootId,
    checker: Checker,
    policy: Policy,
    limits: Limits,
    entries: BTreeMap<SessionId, Entry<S>>,
    connections: BTreeMap<Connection, SessionId>,
    per_source: BTreeMap<S, usize>,
    provisional: BTreeSet<SessionId>,
    deadlines: BTreeSet<(Instant, SessionId)>,
    guesses: Guesses<S>,
    memory: usize,
    /// Each session gets little.
    short: bool,
    /// What one session wants done, before it is marked as its.
    wanted: Vec<Action>,
}

impl<S: Clone + Ord> Sessions<S> {
    /// None yet. `nobody`: random bytes for the key that stands in for those of unknown sessions.
    pub fn new(boot: BootId, nobody: [u8; 32], policy: Policy, limits: Limits) -> Self {
        Sessions {
            boot,
            checker: Checker::new(nobody),
            policy,
            limits,
            entries: BTreeMap::new(),
            connections: BTreeMap::new(),
            per_source: BTreeMap::new(),
            provisional: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            guesses: Guesses::default(),
            memory: 0,
            short: false,
            wanted: Vec::new(),
        }
    }

    /// Somebody wants a session. ACCEPT is sent first, then what there is to [transmit](Self::transmit).
    pub fn create(
        &mut self,
        now: Instant,
        comer: Comer<S>,
        fresh: Fresh,
        actions: &mut Actions,
    ) -> Result<Accept, Denial> {
        let Comer { connection, source, said } = comer;
        if self.is_full(source.as_ref()) || self.short || self.entries.contains_key(&fresh.id) {
            return Err(Refusal::Busy { retry_after: RETRY }.into());
        }
        let ttl = [fresh.ttl, self.policy.ttl].into_iter().flatten().min();
        let session = Session::new(now, Policy { ttl, ..self.policy.clone() }, connection);
        let mut accept = session.accept();
        (accept.id, accept.secret) = (fresh.id, Some(fresh.secret));
        let key = accept.secret.as_ref().map_or_else(|| unreachable!("it was just set"), Secret::key);
        prove(&mut accept, &key, &said);
        if let Some(source) = source.clone() {
            *self.per_source.entry(source).or_default() += 1;
        }
        self.connections.insert(connection, fresh.id);
        let entry = Entry { session, key, source, made: said, deadline: None, memory: 0 };
        self.entries.insert(fresh.id, entry);
        actions.push((fresh.id, Action::Send(connection)));
        self.settle(now, fresh.id, actions);
        Ok(accept)
    }

    /// Whether there is no room for a session that is made from there.
    fn is_full(&self, source: Option<&S>) -> bool {
        let limits = &self.limits;
        let from_there = source.and_then(|source| self.per_source.get(source)).copied().unwrap_or(0);
        let there = |id: &&SessionId| {
            source.is_some() && self.entries.get(id).is_some_and(|entry| entry.source.as_ref() == source)
        };
        self.entries.len() >= limits.sessions
            || from_there >= limits.per_source
            || self.provisional.len() >= limits.provisional
            // There are few.
            || self.provisional.iter().filter(there).count() >= limits.provisional_per_source
    }

    /// Somebody wants to come to a session. ACCEPT is sent first, then what there is to [transmit](Self::transmit).
    pub fn resume(
        &mut self,
        now: Instant,
        comer: Comer<S>,
        resume: &Resume,
        actions: &mut Actions,
    ) -> Result<Accept, Denial> {
        let Comer { connection, source, said } = comer;
        let entry = self.entries.get_mut(&resume.id);
        let expected = |key: &Key| key.resume(&said, resume.id, resume.next, resume.mode.code());
        let known = self.checker.may_resume(entry.as_ref().map(|entry| &entry.key), expected, &resume.mac);
        let Some(entry) = entry.filter(|_| known) else {
            // Whether there is such a session has no part in the answer.
            let refusal = if resume.boot_seen == self.boot { Refusal::Denied } else { Refusal::Gone };
            return Err(Denial { refusal, delay: self.guesses.wrong(now, source.as_ref()) });
        };
        let mut accept = entry.session.attach(now, (connection, resume.mode), resume.next, &mut self.wanted)?;
        accept.id = resume.id;
        prove(&mut accept, &entry.key, &said);
        self.connections.insert(connection, resume.id);
        self.settle(now, resume.id, actions);
        Ok(accept)
    }

    /// A client says this. Who belongs to no session, or no longer, is not heard.
    pub fn said(&mut self, now: Instant, from: Connection, frame: &Frame<'_>, actions: &mut Actions) {
        let Some(id) = self.connections.get(&from).copied() else {
            return;
        };
        let input = match frame {
            Frame::Confirm(mac) if self.entries[&id].key.confirm(&self.entries[&id].made, id) == *mac => {
                Input::Confirmed(from)
            }
            frame => Input::Said(from, frame),
        };
        self.on(now, id, input, actions);
    }

    /// A client says what is no frame.
    pub fn broke(&mut self, now: Instant, from: Connection, actions: &mut Actions) {
        if let Some(id) = self.connections.get(&from).copied() {
            self.on(now, id, Input::Broke(from), actions);
        }
    }

    /// A client's connection has ended.
    pub fn left(&mut self, now: Instant, connection: Connection, actions: &mut Actions) {
        if let Some(id) = self.connections.remove(&connection) {
            self.on(now, id, Input::Left(connection), actions);
        }
    }

    /// Something happened to a session.
    pub fn on(&mut self, now: Instant, id: SessionId, input: Input<'_>, actions: &mut Actions) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.session.on(now, input, &mut self.wanted);
            self.settle(now, id, actions);
        }
    }

    /// The same to all of them.
    pub fn on_all(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            self.on(now, id, input, actions);
        }
    }

    /// Appends what this client is to be sent: see [`Session::transmit`].
    pub fn transmit(&mut self, connection: Connection, room: usize, out: &mut Vec<u8>) -> bool {
        let entry = self.connections.get(&connection).and_then(|id| self.entries.get_mut(id));
        entry.is_some_and(|entry| entry.session.transmit(connection, room, out))
    }

    /// When [`Sessions::deadline_came`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The time has come: all whose deadline is over are asked.
    pub fn deadline_came(&mut self, now: Instant, actions: &mut Actions) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.on(now, id, Input::Deadline, actions);
        }
    }

    /// One of them.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.entries.get(&id).map(|entry| &entry.session)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.entries.iter().map(|(id, entry)| (*id, &entry.session))
    }

    /// The session that this client is attached to.
    pub fn of(&self, connection: Connection) -> Option<SessionId> {
        self.connections.get(&connection).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The start of the server that they are from.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// How much memory their streams have, in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Counts anew what has become of a session, and hands its actions on.
    fn settle(&mut self, now: Instant, id: SessionId, actions: &mut Actions) {
        self.hand_on(id, actions);
        self.count(id);
        let limit = self.limits.memory;
        let short = if self.short { self.memory > limit / 2 } else { self.memory > limit };
        if short != self.short {
            self.short = short;
            self.allow_all(now, actions);
        }
    }

    fn hand_on(&mut self, id: SessionId, actions: &mut Actions) {
        for action in self.wanted.drain(..) {
            if let Action::Dismiss(connection, _) = action {
                self.connections.remove(&connection);
            }
            actions.push((id, action));
        }
    }

    fn count(&mut self, id: SessionId) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (memory, deadline, phase) = (entry.session.memory(), entry.session.deadline(), entry.session.phase());
        self.memory = self.memory + memory - std::mem::replace(&mut entry.memory, memory);
        if entry.deadline != deadline {
            let before = std::mem::replace(&mut entry.deadline, deadline);
            before.map(|before| self.deadlines.remove(&(before, id)));
            deadline.map(|deadline| self.deadlines.insert((deadline, id)));
        }
        if phase == Phase::Provisional {
            self.provisional.insert(id);
        } else {
            self.provisional.remove(&id);
        }
        if phase == Phase::Gone {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: SessionId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        let Some(source) = entry.source else {
            return;
        };
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
    }

    /// What each session may have now.
    fn allowance(&self) -> Allowance {
        let usual = self.policy.allowance;
        let little = Allowance {
            output: usual.output.min(LITTLE.output),
            scrollback: LITTLE.scrollback,
            input: usual.input.min(LITTLE.input),
        };
        if self.short { little } else { usual }
    }

    fn allow_all(&mut self, now: Instant, actions: &mut Actions) {
        let allowance = self.allowance();
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.session.allow(now, allowance, &mut self.wanted);
            }
            self.hand_on(id, actions);
            self.count(id);
        }
    }
}

/// The server's own proof, over everything that it says.
fn prove(accept: &mut Accept, key: &Key, said: &Transcript) {
    let mut proved = Vec::with_capacity(ACCEPT_PROVED);
    accept.proved(&mut proved);
    accept.mac = key.accept(said, &proved);
    crate::session::credential::wipe(&mut proved);
}

/// Room for all of an ACCEPT, so that no copy of a secret is left where it grew.
const ACCEPT_PROVED: usize = 128;
