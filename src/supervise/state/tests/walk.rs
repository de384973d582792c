//! A seeded random walk through supervisors, children and clients, with every invariant checked after every step.

use super::{SECOND, policy};
use crate::supervise::hold::{Held, Hold};
use crate::supervise::state::{Action, Input, Machine, Number, Phase, Place, Policy, Readiness, Request, Word};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

const ROOM_IN_A_CHANNEL: usize = 5;

/// xorshift64*: the same walk on every run, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Default)]
struct Child {
    unread: Vec<Held<u32>>,
    read: Vec<Held<u32>>,
    /// Given back, but not heard of yet.
    given: VecDeque<Held<u32>>,
    told_to_drain: bool,
    keeps_the_rest: bool,
    killed: bool,
    exited: bool,
}

/// What is known of a connection, by its number.
#[derive(Default)]
struct Client {
    /// When it joined the queue the last time; what is kept joins when it is admitted.
    joined: u64,
    kept: bool,
    /// How often it was given back; its state says that too.
    given_back: u8,
    /// Who gave it back the last time, and after how many switches.
    giver: Option<(Number, u64)>,
}

struct World {
    seed: u64,
    random: Random,
    machine: Machine,
    actions: VecDeque<Action>,
    now: Instant,
    hold: Hold<u32>,
    children: BTreeMap<Number, Child>,
    /// Connections that a child had read when it went.
    with_the_gone: Vec<u32>,
    /// Given back when nobody would serve any more.
    closed: Vec<u32>,
    clients: Vec<Client>,
    /// How often a connection has joined the queue.
    joined: u64,
    /// How often a generation began to serve.
    switches: u64,
    furthest: u64,
    requests: u64,
    open_requests: BTreeSet<u64>,
    listening: bool,
    stopped: bool,
    finished: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let readiness = [Readiness::Auto, Readiness::Channel, Readiness::Alive(SECOND)][random.below(3) as usize];
        let policy = Policy {
            readiness,
            guard: Duration::from_millis(random.below(2) * 700),
            stop_first: random.one_in(4),
            drain_timeout: (!random.one_in(3)).then_some(3 * SECOND),
            watchdog: random.one_in(4).then_some(9 * SECOND),
            max_respawns: random.one_in(4).then_some(3),
            ..policy()
        };
        World {
            seed,
            random,
            machine: Machine::new(policy),
            actions: VecDeque::new(),
            now: Instant::now(),
            hold: Hold::new(1, 50),
            children: BTreeMap::new(),
            with_the_gone: Vec::new(),
            closed: Vec::new(),
            clients: Vec::new(),
            joined: 0,
            switches: 0,
            furthest: 0,
            requests: 0,
            open_requests: BTreeSet::new(),
            listening: true,
            stopped: false,
            finished: false,
        }
    }

    fn feed(&mut self, input: Input) {
        let serving = self.machine.serving();
        let starting = self.machine.starting();
        let mut actions = Vec::new();
        self.machine.on(self.now, input, &mut actions);
        let failed = matches!(input, Input::SpawnFailed(number) | Input::Broke(number) | Input::Hung(number)
            | Input::Exited { number, .. } if starting == Some(number));
        if failed && serving.is_some() {
            assert_eq!(self.machine.serving(), serving, "a failed start touched what serves: {}", self.seed);
        }
        self.perform(actions);
    }

    /// As the driver does: what follows from an action comes after the actions that were there already.
    fn perform(&mut self, actions: Vec<Action>) {
        let busy = !self.actions.is_empty();
        self.actions.extend(actions);
        while let Some(action) = self.actions.front().copied().filter(|_| !busy) {
            match action {
                Action::Spawn(number) => self.spawn(number),
                Action::Serve(number) => {
                    assert!(self.lives(number));
                    self.switches += 1;
                    self.admit_kept();
                }
                Action::Pass(number) => self.pass(number),
                Action::Park(number) => self.take_back(number),
                Action::Drain { number, take_back, .. } => {
                    if take_back {
                        self.take_back(number);
                    }
                    self.child(number).told_to_drain = true;
                    self.child(number).keeps_the_rest = !take_back;
                }
                Action::Abort(number) => {
                    self.take_back(number);
                    self.child(number).told_to_drain = true;
                }
                Action::Terminate(number) => assert!(self.child(number).told_to_drain),
                Action::Kill(number) => {
                    self.take_back(number);
                    self.child(number).killed = true;
                }
                Action::CheckGroup(number) => {
                    let survivors = !self.child(number).killed && self.random.one_in(2);
                    self.feed(Input::Exited { number, survivors });
                }
                Action::Remove(number) => self.remove(number),
                Action::CloseListeners => {
                    assert!(self.machine.stopping() && self.listening, "closed early or twice: {}", self.seed);
                    self.listening = false;
                }
                Action::Report(report) => {
                    let open = self.open_requests.remove(&report.request.0);
                    assert!(open, "a request was answered twice: {}", self.seed);
                }
                Action::Finish(_) => {
                    assert!(!self.finished && !self.listening && self.children.is_empty(), "{}", self.seed);
                    self.finished = true;
                }
            }
            self.actions.pop_front();
        }
    }

    fn spawn(&mut self, number: Number) {
        self.furthest = number.0;
        if number != Number(1) && self.random.one_in(8) {
            self.feed(Input::SpawnFailed(number));
        } else {
            self.children.insert(number, Child::default());
            self.feed(Input::Spawned(number));
        }
    }

    fn child(&mut self, number: Number) -> &mut Child {
        self.children.get_mut(&number).expect("a child that lives")
    }

    fn lives(&self, number: Number) -> bool {
        self.children.contains_key(&number)
    }

    fn pass(&mut self, number: Number) {
        assert!(!self.child(number).told_to_drain, "passed to one that drains: {number}");
        let room = ROOM_IN_A_CHANNEL.saturating_sub(self.child(number).unread.len());
        for held in self.hold.release(room).collect::<Vec<_>>() {
            let to_its_giver = self.clients[held.connection as usize].giver == Some((number, self.switches));
            assert!(!to_its_giver || self.machine.stopping(), "back to {number}, which gave it back: {}", self.seed);
            self.child(number).unread.push(held);
        }
    }

    fn take_back(&mut self, number: Number) {
        let unread = std::mem::take(&mut self.child(number).unread);
        self.hold.begin_putting_back();
        self.hold.put_back(unread);
    }

    fn remove(&mut self, number: Number) {
        self.take_back(number);
        while self.hear(number) {}
        let child = self.children.remove(&number).expect("removed once");
        assert!(child.exited, "removed while it runs: {}", self.seed);
        self.with_the_gone.extend(child.read.into_iter().map(|held| held.connection));
        self.pass_to_serving();
    }

    fn pass_to_serving(&mut self) {
        if let Some(serving) = self.machine.serving() {
            self.pass(serving);
        }
    }

    fn accept(&mut self) {
        let number = self.clients.len() as u32;
        self.clients.push(Client::default());
        self.joins(number);
        self.hold.push(0, number);
    }

    fn joins(&mut self, connection: u32) {
        self.joined += 1;
        let client = &mut self.clients[connection as usize];
        (client.joined, client.kept) = (self.joined, false);
    }

    /// A child gives back one of those that it has read; it may be any.
    fn give_back(&mut self, number: Number) {
        let count = self.child(number).read.len() as u64;
        if count > 0 && !self.child(number).exited {
            let index = self.random.below(count) as usize;
            let mut held = self.child(number).read.remove(index);
            let client = &mut self.clients[held.connection as usize];
            client.given_back = client.given_back.wrapping_add(1).max(1);
            held.state = Some(vec![client.given_back]);
            self.child(number).given.push_back(held);
        }
    }

    /// Takes in one that was given back; false when there is none.
    fn hear(&mut self, number: Number) -> bool {
        let Some(held) = self.child(number).given.pop_front() else {
            return false;
        };
        let connection = held.connection;
        self.clients[connection as usize].giver = Some((number, self.switches));
        match self.machine.place(number) {
            Place::Queue => {
                self.joins(connection);
                self.hold.give_back(held);
            }
            Place::Kept => {
                assert_eq!(self.machine.serving(), Some(number));
                self.clients[connection as usize].kept = true;
                self.hold.keep(held);
            }
            Place::Nowhere => {
                assert!(self.machine.stopping() && self.machine.serving().is_none(), "in vain: {}", self.seed);
                self.closed.push(connection);
            }
        }
        true
    }

    fn admit_kept(&mut self) {
        let before = self.hold.next().count();
        self.hold.admit_kept();
        let admitted = self.hold.next().skip(before).map(|held| held.connection).collect::<Vec<_>>();
        admitted.into_iter().for_each(|connection| self.joins(connection));
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..3 if self.listening && !self.hold.is_full(0) => {
                self.accept();
                self.pass_to_serving();
            }
            3 => {
                self.requests += 1;
                self.open_requests.insert(self.requests);
                self.feed(Input::Reload(Request(self.requests)));
            }
            4 if self.requests > 20 && self.random.one_in(15) => {
                self.stopped = true;
                self.feed(Input::Stop);
            }
            5 => self.now += Duration::from_millis(self.random.below(900)),
            6 => self.of_a_child(|world, number| {
                let child = world.child(number);
                if !child.exited && !child.unread.is_empty() {
                    let next = child.unread.remove(0);
                    child.read.push(next);
                    world.feed(Input::ChannelWritable(number));
                }
            }),
            7 => self.of_a_child(|world, number| world.feed(Input::Spoke(number, Word::Channel))),
            8 => self.of_a_child(|world, number| world.feed(Input::Ready(number, Word::Channel))),
            9 if self.random.one_in(20) => self.of_a_child(|world, number| world.feed(Input::Broke(number))),
            10 => self.of_a_child(|world, number| {
                let wants = world.child(number).told_to_drain || world.child(number).killed || world.random.one_in(25);
                if wants && !world.child(number).exited {
                    world.child(number).exited = true;
                    let survivors = !world.child(number).killed && world.random.one_in(3);
                    world.feed(Input::Exited { number, survivors });
                }
            }),
            11 => self.of_a_child(World::give_back),
            12 => self.of_a_child(|world, number| {
                world.hear(number);
                world.pass_to_serving();
            }),
            13 => self.of_a_child(|world, number| {
                let time = Duration::from_millis(world.random.below(3000));
                let word = match world.random.below(80) {
                    0 => Input::Hung(number),
                    1..20 => Input::Watch(number, (time > 2 * SECOND).then_some(4 * time)),
                    20..40 => Input::Extend(number, time),
                    40..60 => Input::Spoke(number, Word::Notify),
                    60.. => Input::Alive(number),
                };
                if !world.child(number).exited {
                    world.feed(word);
                }
            }),
            _ => {}
        }
        while self.machine.deadline().is_some_and(|at| at <= self.now) && !self.finished {
            self.feed(Input::Deadline);
            let next = self.machine.deadline();
            assert!(next.is_none_or(|at| at > self.now), "a deadline that comes back at once: {}", self.seed);
        }
        if self.machine.stopping() {
            self.admit_kept();
            self.pass_to_serving();
        }
        while self.machine.stopping() && self.machine.serving().is_some() && self.hold.is_empty() {
            self.feed(Input::Emptied);
        }
    }

    fn of_a_child(&mut self, event: impl FnOnce(&mut World, Number)) {
        let numbers = self.children.keys().copied().collect::<Vec<_>>();
        if !numbers.is_empty() {
            let index = self.random.below(numbers.len() as u64) as usize;
            event(self, numbers[index]);
        }
    }

    fn check(&self) {
        let phases = self.machine.generations().iter().map(|generation| generation.phase).collect::<Vec<_>>();
        let count = |is: fn(&Phase) -> bool| phases.iter().filter(|phase| is(phase)).count();
        let seed = self.seed;
        assert!(count(|phase| matches!(phase, Phase::Starting { .. })) <= 1, "two start: {seed}");
        assert!(count(|phase| matches!(phase, Phase::Serving { .. })) <= 1, "two serve: {seed}");
        assert!(count(|phase| matches!(phase, Phase::Parked { .. })) <= 1, "two are parked: {seed}");
        let numbers = self.machine.generations().iter().map(|generation| generation.number);
        assert!(numbers.eq(self.children.keys().copied()), "a child without a generation, or none with: {seed}");
        assert!(self.listening || self.machine.stopping(), "closed early: {seed}");
        for generation in self.machine.generations() {
            let heard_of_again = !self.children[&generation.number].exited || generation.deadline().is_some();
            assert!(heard_of_again, "nothing will ever be heard of generation {}: {seed}", generation.number);
        }

        self.check_places();
    }

    /// Every connection is in one place, with its state, and in order.
    fn check_places(&self) {
        let seed = self.seed;
        let order = |held: &Held<u32>| self.clients[held.connection as usize].joined;
        assert!(self.hold.next().is_sorted_by_key(order), "out of order: {seed}");
        let mut places = self.hold.next().collect::<Vec<_>>();
        for child in self.children.values() {
            assert!(child.unread.is_sorted_by_key(order) && child.read.is_sorted_by_key(order), "out of order: {seed}");
            let left = child.told_to_drain && !child.keeps_the_rest && !child.unread.is_empty();
            assert!(!left, "left with one that drains: {seed}");
            places.extend(child.unread.iter().chain(&child.read).chain(&child.given));
        }
        for held in &places {
            let right = match (self.clients[held.connection as usize].given_back, held.state.as_deref()) {
                (0, state) => state.is_none(),
                (given_back, Some([state])) => *state == given_back,
                (_, Some(_) | None) => false,
            };
            assert!(right, "another state than the one it was given back with: {seed}");
        }
        // Every number once: each is crossed out where it is, and then none is left.
        let mut missing = vec![true; self.clients.len()];
        let mut cross_out = |number: u32| {
            assert!(missing[number as usize], "a connection is twice somewhere: {seed}");
            missing[number as usize] = false;
        };
        for held in &places {
            cross_out(held.connection);
        }
        for gone in [&self.with_the_gone, &self.closed] {
            for number in gone {
                cross_out(*number);
            }
        }
        let mut kept = 0;
        for (client, missing) in self.clients.iter().zip(missing) {
            assert_eq!(client.kept, missing, "a connection is nowhere, or kept and somewhere: {seed}");
            kept += usize::from(client.kept);
        }
        assert_eq!(self.hold.len(), self.hold.next().count() + kept, "kept for nobody: {seed}");
    }
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let (mut finished, mut switched, mut given_back, mut in_vain) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut world = World::new(seed);
        let mut actions = Vec::new();
        world.machine.start(world.now, &mut actions);
        world.perform(actions);
        for _ in 0..1500 {
            world.step();
            world.check();
            if world.finished {
                break;
            }
        }
        let waiting = world.open_requests.len();
        assert!(waiting <= if world.finished { 0 } else { 2 }, "requests without an answer: {seed}");
        finished += usize::from(world.finished);
        switched += usize::from(world.furthest > 9);
        given_back += world.clients.iter().filter(|client| client.given_back > 1).count();
        in_vain += world.closed.len();
    }
    // The walk is worth something only if it comes to all places.
    assert!(finished > 50 && switched > 50, "{finished} finished, {switched} came far");
    assert!(given_back > 50 && in_vain > 5, "{given_back} given back more than once, {in_vain} in vain");
}
