//! Who is let in, how many, and what all sessions together may have.

mod written;

use super::{Actions, Comer, Denial, Fresh, Limits, Sessions};
use crate::session::credential::{BootId, Mac, Nonce, Secret, SessionId, Transcript};
use crate::session::frame::{Accept, Closed, Detached, Frame, Mode, NEVER, Refusal, Resume};
use crate::session::state::tests::{SECOND, policy};
use crate::session::state::{Action, Allowance, Connection, Farewell, Input, Phase, Policy};
use std::time::{Duration, Instant};

const BOOT: BootId = BootId([7; 16]);
const OTHER_BOOT: BootId = BootId([8; 16]);

/// A server with its sessions; a session's id and secret are made of its number.
struct Server {
    sessions: Sessions<u8>,
    now: Instant,
    connections: u64,
}

fn id(number: u64) -> SessionId {
    SessionId(u128::from(number).to_be_bytes())
}

fn secret(number: u64) -> Secret {
    Secret::new([number as u8; 32])
}

impl Server {
    fn new(policy: Policy, limits: Limits) -> Self {
        Server { sessions: Sessions::new(BOOT, [9; 32], policy, limits), now: Instant::now(), connections: 0 }
    }

    fn comer(&mut self, source: u8) -> Comer<u8> {
        self.connections += 1;
        let server = Nonce([self.connections as u8; 32]);
        let said = Transcript { version: 1, boot: BOOT, server, client: Nonce([3; 32]) };
        Comer { connection: Connection(self.connections), source: Some(source), said }
    }

    fn create(&mut self, number: u64, source: u8) -> Result<(Accept, Comer<u8>), Denial> {
        let (comer, mut actions) = (self.comer(source), Vec::new());
        let fresh = Fresh { id: id(number), secret: secret(number), ttl: None };
        let accept = self.sessions.create(self.now, comer.clone(), fresh, &mut actions)?;
        assert_eq!(actions, [(id(number), Action::Send(comer.connection))]);
        Ok((accept, comer))
    }

    fn confirm(&mut self, number: u64, comer: &Comer<u8>) -> Actions {
        let (mac, mut actions) = (secret(number).key().confirm(&comer.said, id(number)), Vec::new());
        self.sessions.said(self.now, comer.connection, &Frame::Confirm(mac), &mut actions);
        actions
    }

    /// A session with a destination.
    fn open(&mut self, number: u64) -> Connection {
        let (_, comer) = self.create(number, 1).unwrap();
        assert_eq!(self.confirm(number, &comer), [(id(number), Action::Connect)]);
        self.on(number, Input::Connected);
        comer.connection
    }

    fn on(&mut self, number: u64, input: Input<'_>) -> Actions {
        let mut actions = Vec::new();
        self.sessions.on(self.now, id(number), input, &mut actions);
        actions
    }

    /// Comes with the proof of one secret to the session of another number.
    fn resume(&mut self, number: u64, proof: u64, seen: BootId) -> (Result<Accept, Denial>, Comer<u8>) {
        let (comer, mut actions) = (self.comer(1), Vec::new());
        let mac = secret(proof).key().resume(&comer.said, id(number), 0, Mode::Steal.code());
        let (nonce, mode) = (comer.said.client, Mode::Steal);
        let resume = Resume { id: id(number), boot_seen: seen, nonce, next: 0, mode, mac };
        (self.sessions.resume(self.now, comer.clone(), &resume, &mut actions), comer)
    }

    /// Everything is counted as it is.
    fn check(&self) {
        let sessions = &self.sessions;
        let all = || sessions.entries.values();
        assert_eq!(sessions.memory, all().map(|entry| entry.session.memory()).sum::<usize>());
        let deadlines = sessions.entries.iter().filter_map(|(id, entry)| Some((entry.session.deadline()?, *id)));
        assert!(sessions.deadlines.iter().copied().eq({
            let mut deadlines = deadlines.collect::<Vec<_>>();
            deadlines.sort();
            deadlines
        }));
        assert_eq!(sessions.per_source.values().sum::<usize>(), sessions.len());
        let provisional = sessions.iter().filter(|(_, session)| session.phase() == Phase::Provisional).count();
        assert_eq!(sessions.provisional.len(), provisional);
        assert!(sessions.connections.values().all(|id| sessions.entries.contains_key(id)));
    }
}

#[test]
fn whoever_makes_a_session_can_come_back_to_it() {
    let mut server = Server::new(policy(), Limits::default());
    let (accept, comer) = server.create(5, 1).unwrap();
    assert!(accept.secret == Some(secret(5)) && accept.id == id(5));
    assert_eq!(server.confirm(5, &comer), [(id(5), Action::Connect)]);
    let (answer, again) = server.resume(5, 5, BOOT);
    let answer = answer.unwrap();
    assert_eq!((answer.id, answer.epoch, answer.secret.is_none()), (id(5), 2, true));
    // And knows by the proof that it speaks to the server that made it.
    for (accept, comer) in [(&accept, &comer), (&answer, &again)] {
        let mut proved = Vec::new();
        accept.proved(&mut proved);
        assert!(accept.mac == secret(5).key().accept(&comer.said, &proved));
    }
    server.check();
}

#[test]
fn a_wrong_secret_and_an_unknown_id_look_alike() {
    for (seen, refusal) in [(BOOT, Refusal::Denied), (OTHER_BOOT, Refusal::Gone)] {
        let mut wrong = Server::new(policy(), Limits::default());
        let attached = wrong.open(5);
        let mut unknown = Server::new(policy(), Limits::default());
        unknown.open(6);
        for doubled in 0..4 {
            let denial = Denial { refusal, delay: Duration::from_millis(250) * (1 << doubled) };
            assert_eq!(wrong.resume(5, 4, seen).0, Err(denial));
            assert_eq!(unknown.resume(5, 4, seen).0, Err(denial));
        }
        assert_eq!(wrong.sessions.session(id(5)).unwrap().client(), Some(attached), "who is attached is not disturbed");
        // Whoever has the secret is not made to wait for those who guess.
        assert!(wrong.resume(5, 5, seen).0.is_ok());
    }
}

#[test]
fn a_proof_is_good_for_one_connection() {
    let mut server = Server::new(policy(), Limits::default());
    server.open(5);
    let (comer, mut actions) = (server.comer(1), Vec::new());
    let mac = secret(5).key().resume(&comer.said, id(5), 0, Mode::Steal.code());
    let resume = |mac| {
        let (nonce, mode) = (Nonce([3; 32]), Mode::Steal);
        Resume { id: id(5), boot_seen: BOOT, nonce, next: 0, mode, mac }
    };
    let sessions = &mut server.sessions;
    assert!(sessions.resume(server.now, comer.clone(), &resume(mac), &mut actions).is_ok());
    let replayed = server.comer(1);
    assert!(server.sessions.resume(server.now, replayed, &resume(mac), &mut actions).is_err());
    let zero = server.comer(1);
    assert!(server.sessions.resume(server.now, zero, &resume(Mac([0; 32])), &mut actions).is_err());
}

#[test]
fn a_wrong_confirmation_makes_no_connection() {
    let mut server = Server::new(policy(), Limits::default());
    let (_, comer) = server.create(5, 1).unwrap();
    let broke = Action::Dismiss(comer.connection, Farewell::Detached(Detached::Broke));
    // With the secret of another one.
    assert_eq!(server.confirm(4, &comer), [(id(5), broke)]);
    assert_eq!(server.sessions.session(id(5)).unwrap().phase(), Phase::Provisional);
    // It is not heard any more.
    server.confirm(5, &comer);
    assert_eq!(server.sessions.session(id(5)).unwrap().phase(), Phase::Provisional);
}

#[test]
fn sessions_are_limited_in_all_by_source_and_while_provisional() {
    let busy = Refusal::Busy { retry_after: 10 }.into();
    let limits = Limits { sessions: 5, per_source: 3, provisional: 2, ..Limits::default() };
    let mut server = Server::new(policy(), limits);
    let (_, first) = server.create(1, 1).unwrap();
    server.create(2, 1).unwrap();
    assert_eq!(server.create(3, 1).err(), Some(busy), "two are provisional");
    server.confirm(1, &first);
    server.create(3, 1).unwrap();
    server.now += 10 * SECOND;
    let mut actions = Vec::new();
    server.sessions.deadline_came(server.now, &mut actions);
    assert_eq!(server.sessions.len(), 1, "nobody knows of the others");
    server.check();
    server.open(4);
    server.open(5);
    assert_eq!(server.create(6, 1).err(), Some(busy), "three are from there");
    let (_, comer) = server.create(6, 2).unwrap();
    server.confirm(6, &comer);
    server.create(7, 2).unwrap();
    assert_eq!(server.create(8, 3).err(), Some(busy), "there are five");
    server.on(6, Input::Close);
    assert_eq!(server.create(4, 3).err(), Some(busy), "an id is not used twice");
    server.create(8, 3).unwrap();
    server.check();
}

#[test]
fn provisional_sessions_of_one_source_leave_room_for_others() {
    let busy = Refusal::Busy { retry_after: 10 }.into();
    let mut server = Server::new(policy(), Limits { provisional: 5, provisional_per_source: 2, ..Limits::default() });
    let (_, first) = server.create(1, 1).unwrap();
    server.create(2, 1).unwrap();
    assert_eq!(server.create(3, 1).err(), Some(busy), "two are from there");
    server.create(3, 2).unwrap();
    // Whoever keeps sessions may make more.
    server.confirm(1, &first);
    server.create(4, 1).unwrap();
    assert_eq!(server.create(5, 1).err(), Some(busy));
    // From this machine as many come as there may be in all.
    for number in 5..=7 {
        let comer = Comer { source: None, ..server.comer(1) };
        let fresh = Fresh { id: id(number), secret: secret(number), ttl: None };
        let made = server.sessions.create(server.now, comer, fresh, &mut Vec::new());
        assert_eq!(made.err(), (number == 7).then_some(busy), "{number}");
    }
}

#[test]
fn one_gateway_on_this_machine_may_come_for_all() {
    let mut server = Server::new(policy(), Limits { sessions: 5, per_source: 2, ..Limits::default() });
    for number in 1..=5 {
        let comer = Comer { source: None, ..server.comer(1) };
        let fresh = Fresh { id: id(number), secret: secret(number), ttl: None };
        server.sessions.create(server.now, comer, fresh, &mut Vec::new()).unwrap();
    }
    assert!(server.sessions.per_source.is_empty());
    let comer = Comer { source: None, ..server.comer(1) };
    let fresh = Fresh { id: id(6), secret: secret(6), ttl: None };
    assert!(server.sessions.create(server.now, comer, fresh, &mut Vec::new()).is_err(), "there are five");
    for number in 1..=5 {
        server.on(number, Input::Close);
    }
    assert!(server.sessions.is_empty() && server.sessions.per_source.is_empty());
}

#[test]
fn a_session_is_kept_no_longer_than_the_server_wants() {
    for (wanted, server_ttl, kept) in [(Some(5), Some(100), 5), (Some(500), Some(100), 100), (None, Some(100), 100)] {
        let ttl = server_ttl.map(Duration::from_secs);
        let mut server = Server::new(Policy { ttl, ..policy() }, Limits::default());
        let (comer, mut actions) = (server.comer(1), Vec::new());
        let fresh = Fresh { id: id(1), secret: secret(1), ttl: wanted.map(Duration::from_secs) };
        let accept = server.sessions.create(server.now, comer, fresh, &mut actions).unwrap();
        assert_eq!(accept.expires, kept);
    }
    let mut server = Server::new(Policy { ttl: None, ..policy() }, Limits::default());
    assert_eq!(server.create(1, 1).unwrap().0.expires, NEVER);
}

#[test]
fn all_sessions_have_one_deadline() {
    let mut server = Server::new(policy(), Limits::default());
    for number in 1..=3 {
        let connection = server.open(number);
        server.now += SECOND;
        let mut actions = Vec::new();
        server.sessions.left(server.now, connection, &mut actions);
        server.check();
    }
    let mut ended = Vec::new();
    while let Some(deadline) = server.sessions.deadline() {
        server.now = deadline;
        let mut actions = Vec::new();
        server.sessions.deadline_came(server.now, &mut actions);
        ended.extend(actions);
        server.check();
    }
    let expired = [1, 2, 3].map(|number| (id(number), Action::End(Closed::Expired)));
    assert_eq!(ended, expired);
    assert!(server.sessions.is_empty() && server.sessions.memory() == 0);
}

#[test]
fn when_memory_is_short_each_gets_little_and_nothing_is_dropped() {
    let allowance = Allowance { output: 400_000, scrollback: 100_000, input: 100_000 };
    let policy = Policy { allowance, window: 1 << 20, ..policy() };
    let mut server = Server::new(policy, Limits { memory: 1_000_000, ..Limits::default() });
    let connections = [1, 2, 3].map(|number| server.open(number));
    let mut stopped = Vec::new();
    for round in 0..400 {
        let number = 1 + round % 3;
        let room = server.sessions.session(id(number)).unwrap().room();
        let actions = server.on(number, Input::Output(&vec![7; room.min(10_000)]));
        stopped.extend(actions.into_iter().filter(|(_, action)| *action == Action::StopReading));
        server.check();
    }
    // Every one is stopped once, and what was taken in to then is there.
    assert_eq!(stopped.len(), 3);
    assert!(server.sessions.memory() < 1_100_000, "{}", server.sessions.memory());
    assert!(server.create(4, 1).is_err());
    let buffered = |server: &Server, number| server.sessions.session(id(number)).unwrap().buffered() as u64;
    assert!((1..=3).all(|number| buffered(&server, number) > 250_000));
    // As it arrives there is room again, and more sessions.
    let mut read_on = 0;
    for (number, connection) in (1..).zip(connections) {
        let arrived = buffered(&server, number);
        let ack = crate::session::frame::Ack { next: arrived, window: 0, end: false, written: None };
        let mut actions = Vec::new();
        server.sessions.said(server.now, connection, &Frame::Ack(ack), &mut actions);
        read_on += actions.iter().filter(|(_, action)| *action == Action::ReadOn).count();
        server.check();
        // Not at the limit, but at half of it.
        let free = server.sessions.memory() <= 500_000;
        assert_eq!(free, number > 1, "{}", server.sessions.memory());
        assert_eq!(server.sessions.session(id(1)).unwrap().room() == 400_000, free);
    }
    assert_eq!(read_on, 3);
    assert!(server.create(4, 1).is_ok());
    assert_eq!(server.sessions.session(id(1)).unwrap().room(), 400_000);
}

#[test]
fn whoever_was_taken_over_belongs_to_no_session() {
    let mut server = Server::new(policy(), Limits::default());
    let first = server.open(5);
    server.resume(5, 5, BOOT).0.unwrap();
    let mut actions = Vec::new();
    server.sessions.said(server.now, first, &Frame::Close, &mut actions);
    server.sessions.broke(server.now, first, &mut actions);
    server.sessions.left(server.now, first, &mut actions);
    assert_eq!(actions, []);
    assert!(!server.sessions.transmit(first, 1000, &mut Vec::new()));
    server.sessions.on_all(server.now, Input::Stop, &mut actions);
    assert_eq!(actions.last(), Some(&(id(5), Action::End(Closed::Stopped))));
    server.check();
    assert!(server.sessions.is_empty());
}
