//! A seeded random walk through supervisors, children and clients, with every invariant checked after every step.

use super::{SECOND, policy};
use crate::supervise::hold::Hold;
use crate::supervise::state::{Action, Input, Machine, Number, Phase, Policy, Readiness, Request};
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
    unread: Vec<u32>,
    read: Vec<u32>,
    told_to_drain: bool,
    keeps_the_rest: bool,
    killed: bool,
    exited: bool,
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
    accepted: u32,
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
            accepted: 0,
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
        let failed = matches!(input, Input::SpawnFailed(number) | Input::Broke(number) | Input::Exited { number, .. }
            if starting == Some(number));
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
                Action::Serve(number) => assert!(self.lives(number)),
                Action::Pass(number) => self.pass(number),
                Action::Park(number) => self.take_back(number),
                Action::Drain { number, take_back, .. } => {
                    if take_back {
                        self.take_back(number);
                    }
                    self.child(number).told_to_drain = true;
                    self.child(number).keeps_the_rest = !take_back;
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
        let passed = self.hold.release(room).collect::<Vec<_>>();
        self.child(number).unread.extend(passed);
    }

    fn take_back(&mut self, number: Number) {
        let unread = std::mem::take(&mut self.child(number).unread);
        self.hold.begin_putting_back();
        self.hold.put_back(unread.into_iter().map(|connection| (0, connection)).collect());
    }

    fn remove(&mut self, number: Number) {
        self.take_back(number);
        let child = self.children.remove(&number).expect("removed once");
        assert!(child.exited, "removed while it runs: {}", self.seed);
        self.with_the_gone.extend(child.read);
    }

    fn step(&mut self) {
        match self.random.below(13) {
            0..3 if self.listening && !self.hold.is_full(0) => {
                self.hold.push(0, self.accepted);
                self.accepted += 1;
                if let Some(serving) = self.machine.serving() {
                    self.pass(serving);
                }
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
            7 => self.of_a_child(|world, number| world.feed(Input::Spoke(number))),
            8 => self.of_a_child(|world, number| world.feed(Input::Ready(number))),
            9 if self.random.one_in(20) => self.of_a_child(|world, number| world.feed(Input::Broke(number))),
            10 => self.of_a_child(|world, number| {
                let wants = world.child(number).told_to_drain || world.child(number).killed || world.random.one_in(25);
                if wants && !world.child(number).exited {
                    world.child(number).exited = true;
                    let survivors = !world.child(number).killed && world.random.one_in(3);
                    world.feed(Input::Exited { number, survivors });
                }
            }),
            _ => {}
        }
        while self.machine.deadline().is_some_and(|at| at <= self.now) && !self.finished {
            self.feed(Input::Deadline);
            let next = self.machine.deadline();
            assert!(next.is_none_or(|at| at > self.now), "a deadline that comes back at once: {}", self.seed);
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

        let held = self.hold.next().map(|(_, connection)| *connection).collect::<Vec<_>>();
        assert!(held.is_sorted(), "out of order: {seed}");
        let mut places = held;
        places.extend(&self.with_the_gone);
        for child in self.children.values() {
            assert!(child.unread.is_sorted() && child.read.is_sorted(), "out of order: {seed}");
            let left = child.told_to_drain && !child.keeps_the_rest && !child.unread.is_empty();
            assert!(!left, "left with one that drains: {seed}");
            places.extend(child.unread.iter().chain(&child.read));
        }
        places.sort_unstable();
        assert!(places.into_iter().eq(0..self.accepted), "a connection is nowhere, or twice somewhere: {seed}");
    }
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let (mut finished, mut switched) = (0, 0);
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
    }
    // The walk is worth something only if it comes to all places.
    assert!(finished > 50 && switched > 50, "{finished} finished, {switched} came far");
}
