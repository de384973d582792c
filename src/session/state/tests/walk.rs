//! A seeded random walk through clients, observers, writers, cuts, time and the destination, with every invariant
//! checked after every step.

use super::world::{Random, World};
use super::{SECOND, policy};
use crate::session::credential::Mac;
use crate::session::frame::{Closed, Destination, Frame, Mode, OLDEST, Refusal};
use crate::session::state::{Connection, Input, Policy};
use std::time::Duration;

/// How often the walk came to each place.
#[derive(Default, Debug)]
struct Seen {
    complete: u32,
    expired: u32,
    blocked: u32,
    in_use: u32,
    gone_output: u32,
    gaps: u32,
    taken_over: u32,
}

struct Walk {
    random: Random,
    world: World,
    /// Which connections' ends the server has not noticed.
    open: Vec<Connection>,
    seen: Seen,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let ttl = (!random.one_in(3)).then_some(Duration::from_secs(100));
        let world = World::new(Policy { ttl, ..policy() });
        Walk { random, world, open: vec![Connection(1)], seen: Seen::default() }
    }

    /// The attached one as often as all others together.
    fn any(&mut self) -> Option<Connection> {
        let client = self.world.session.client().filter(|client| self.open.contains(client));
        if client.is_some() && self.random.one_in(2) {
            return client;
        }
        let count = self.open.len() as u64;
        (count > 0).then(|| self.open[self.random.below(count) as usize])
    }

    /// One that may send input: the attached client alone, since two that number the same bytes would be one too many.
    fn resume(&mut self) {
        let received = self.world.client.received;
        let (mode, next) = match self.random.below(8) {
            0 => (Mode::Refuse, received),
            1 => (Mode::Steal, OLDEST),
            2 => (Mode::Observe, [OLDEST, received][self.random.below(2) as usize]),
            3 => (Mode::Steal, self.random.below(received + 2)),
            _ => (Mode::Steal, received),
        };
        let (base, last) = (self.world.session.bytes_out().1, self.world.session.bytes_out().0);
        match self.world.resume(mode, next) {
            Ok(connection) => self.open.push(connection),
            Err(Refusal::InUse { .. }) => self.seen.in_use += 1,
            Err(Refusal::OutOfRange { base: told, next: end }) => {
                assert_eq!((told, end), (base, last));
                assert!(next < base || next > last);
                self.seen.gone_output += 1;
            }
            Err(Refusal::Busy { .. }) => assert_eq!(mode, Mode::Observe),
            Err(other) => panic!("{other}"),
        }
    }

    fn step(&mut self) {
        let amount = self.random.below(400) as usize;
        match self.random.below(16) {
            0 if self.random.one_in(4) => self.resume(),
            1 if self.random.one_in(3) => {
                if let Some(connection) = self.any() {
                    self.world.cut(connection);
                }
            }
            2 => {
                if let Some(connection) = self.any().filter(|connection| self.world.pipes[connection].cut) {
                    self.leave(connection);
                }
            }
            3 if self.random.one_in(6) && self.world.remote.connects > 0 && !self.world.remote.connected => {
                self.world.remote.connected = true;
                self.world.feed(Input::Connected);
            }
            4 => self.world.produce(amount),
            5 => self.world.consume(amount),
            6 => {
                let client = &mut self.world.client;
                let more = if client.finished { 0 } else { amount as u64 };
                client.typed = client.typed.max((client.typed + more).min(client.acknowledged + 900));
            }
            7 if self.random.one_in(25) => self.world.client.finished = true,
            8 if self.random.one_in(25) => self.world.eof(),
            9 => self.pass_time(),
            10 if self.random.one_in(9) => {
                self.world.feed(Input::Event { kind: (amount % 5) as u8, body: &[amount as u8] });
            }
            _ => self.exchange(amount),
        }
    }

    fn exchange(&mut self, amount: usize) {
        let Some(connection) = self.any() else {
            return;
        };
        match self.random.below(4) {
            0 => self.world.transmit(connection, amount),
            1 => self.world.down(connection, amount),
            2 => {
                if connection == Connection(1) && self.random.one_in(3) && !self.world.pipes[&connection].cut {
                    self.world.say(connection, &Frame::Confirm(Mac([0; 32])));
                }
                let confirmed = self.world.remote.connects > 0;
                if confirmed {
                    self.world.speak(connection, amount as u64 / 2, 50 + amount as u32);
                }
            }
            _ => self.world.up(connection, amount),
        }
    }

    fn leave(&mut self, connection: Connection) {
        self.open.retain(|other| *other != connection);
        self.world.notice(connection);
    }

    fn pass_time(&mut self) {
        let most = if self.random.one_in(60) { 200_000 } else { 4000 };
        self.world.now += Duration::from_millis(self.random.below(most));
        while self.world.session.deadline().is_some_and(|at| at <= self.world.now) {
            self.world.feed(Input::Deadline);
            let next = self.world.session.deadline();
            assert!(next.is_none_or(|at| at > self.world.now), "a deadline that comes back at once");
        }
    }

    /// Whatever has happened: a client that comes back finds everything.
    fn come_to_an_end(&mut self) {
        let world = &mut self.world;
        let Ok(connection) = world.resume(Mode::Steal, world.client.received) else {
            panic!("the client is not let in: it has {}", world.client.received);
        };
        world.client.finished = true;
        if !world.remote.connected {
            world.remote.connected = true;
            world.feed(Input::Connected);
        }
        for _ in 0..500 {
            world.pump(connection);
            world.check();
            world.eof();
        }
        assert_eq!(world.over, Some(Closed::Complete));
        assert_eq!(world.client.received, world.remote.sent);
        assert_eq!(world.remote.got, world.client.typed);
        assert!(world.remote.shut && world.remote.released);
    }
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let mut all = Seen::default();
    for seed in 0..160 {
        let mut walk = Walk::new(seed);
        for _ in 0..1200 {
            walk.step();
            walk.world.check();
            // Every other one is handed to another process time and again.
            if seed % 2 == 1 && walk.random.one_in(6) && walk.world.over.is_none() {
                walk.world.session = super::written::handed_over(&walk.world.session, walk.world.now);
            }
            all.blocked += u32::from(walk.world.remote.stopped);
            if walk.world.over.is_some() {
                break;
            }
        }
        match walk.world.over {
            None => walk.come_to_an_end(),
            Some(Closed::Expired) => all.expired += 1,
            Some(Closed::Complete) => {
                assert_eq!(walk.world.client.received, walk.world.remote.sent, "{seed}");
                all.complete += 1;
            }
            Some(other) => panic!("{other:?}: {seed}"),
        }
        all.in_use += walk.seen.in_use;
        all.gone_output += walk.seen.gone_output;
        all.gaps += walk.world.client.gaps;
        all.taken_over += walk.world.taken_over;
    }
    // The walk is worth something only if it comes to all places.
    let least = [all.complete, all.expired, all.blocked, all.in_use, all.gone_output, all.gaps, all.taken_over];
    assert!(least.iter().all(|count| *count > 10), "{all:?}");
}

#[test]
fn a_destination_that_is_never_reached_is_told_and_gone() {
    for how in [Destination::Refused, Destination::Timeout, Destination::Unresolved] {
        let mut world = World::new(policy());
        world.say(Connection(1), &Frame::Confirm(Mac([0; 32])));
        world.up(Connection(1), usize::MAX);
        world.feed(Input::ConnectFailed(how));
        world.now += 5 * SECOND;
        assert_eq!(world.session.destination(), how);
        world.pump(Connection(1));
        assert_eq!(world.over, None, "nobody has said yet that it knows");
        world.say(Connection(1), &super::ack_end(0));
        world.up(Connection(1), usize::MAX);
        assert_eq!(world.over, Some(Closed::Complete));
    }
}
