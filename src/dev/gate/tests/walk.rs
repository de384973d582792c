//! A seeded random walk through changes, builds, servers that answer or die, requests and time, with every invariant
//! checked after every step.

use super::{Action, Change, Gate, Generation, Input, Phase, Policy, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// xorshift64*: the same walk on every run, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn of<T: Copy>(&mut self, all: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = all.into_iter().collect();
        (!all.is_empty()).then(|| all[self.below(all.len() as u64) as usize])
    }
}

/// What a generation's processes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Builds,
    Runs {
        answered: bool,
        asked: bool,
    },
    /// Its leader has gone, but not all of its group.
    Lingers,
}

/// The world of a gate.
struct World {
    gate: Gate,
    policy: Policy,
    now: Instant,
    random: Random,
    lives: BTreeMap<Generation, Life>,
    given_up: BTreeSet<Generation>,
    /// What has no answer: with the server that it is at.
    open: BTreeMap<Request, Option<Generation>>,
    requests: u64,
    /// Steps, and when the last change and the last reading of the files were.
    step: u64,
    changed: u64,
    read: u64,
    stopped: bool,
    exited: bool,
    seen: BTreeSet<&'static str>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let policy =
            Policy { build: random.below(2) == 0, overlap: random.below(2) == 0, hold_limit: 3, ..Policy::default() };
        World {
            gate: Gate::new(policy),
            policy,
            now: Instant::now(),
            random,
            lives: BTreeMap::new(),
            given_up: BTreeSet::new(),
            open: BTreeMap::new(),
            requests: 0,
            step: 0,
            changed: 0,
            read: 0,
            stopped: false,
            exited: false,
            seen: BTreeSet::new(),
        }
    }

    fn on(&mut self, input: Input) {
        self.step += 1;
        if matches!(input, Input::Changed(_)) && !self.stopped {
            self.changed = self.step;
        }
        if let Input::Done(request) | Input::Lost(request, _) = input {
            // Until it is said where it goes.
            self.open.insert(request, None);
            if matches!(input, Input::Done(_)) {
                self.open.remove(&request);
            }
        }
        let mut actions = Vec::new();
        self.gate.on(self.now, input, &mut actions);
        if self.gate.finishes() {
            self.seen.insert(if self.policy.overlap { "finish" } else { "finish alone" });
        }
        let reloads = actions.iter().filter(|action| matches!(action, Action::Reload(_) | Action::Alert)).count();
        assert!(reloads <= 1, "{actions:?}");
        for action in actions {
            self.perform(action);
        }
        self.check();
    }

    fn perform(&mut self, action: Action) {
        assert!(!self.exited, "{action:?} after the end");
        match action {
            Action::Build(generation) => {
                assert!(!self.lives.values().any(|life| *life == Life::Builds), "two builds");
                self.read = self.step;
                self.lives.insert(generation, Life::Builds);
            }
            Action::Start(generation) => {
                let room = usize::from(self.policy.overlap);
                assert!(self.lives.len() <= room, "{:?} beside {generation:?}", self.lives);
                if !self.policy.build {
                    self.read = self.step;
                }
                self.lives.insert(generation, Life::Runs { answered: false, asked: false });
            }
            Action::End(generation) => {
                if let Some(Life::Runs { asked, .. }) = self.lives.get_mut(&generation) {
                    *asked = true;
                }
            }
            Action::Kill(generation) => {
                assert!(self.lives.contains_key(&generation));
                self.seen.insert("kill");
            }
            Action::GiveUp(generation) => {
                // Whatever it is, nobody counts on it any more; its end may still come.
                assert!(self.lives.remove(&generation).is_some());
                self.given_up.insert(generation);
                self.seen.insert("give up");
            }
            Action::Forward(request, generation) => {
                let life = self.lives.get(&generation);
                assert!(matches!(life, Some(Life::Runs { answered: true, asked: false })), "{request:?} to {life:?}");
                assert_eq!(self.open.insert(request, Some(generation)), Some(None), "it was nowhere");
            }
            Action::Refuse(request, _) => {
                assert_eq!(self.open.remove(&request), Some(None), "it was nowhere");
                self.seen.insert("refuse");
            }
            Action::Reload(_) => {
                self.seen.insert("reload");
            }
            Action::Alert => {
                assert_eq!(self.gate.phase(), Phase::Up);
                self.seen.insert("alert");
            }
            Action::Exit => {
                assert!(self.stopped && self.lives.is_empty() || self.lives.is_empty());
                self.exited = true;
            }
        }
    }

    fn check(&self) {
        let held = self.open.values().filter(|place| place.is_none()).count();
        assert_eq!(self.gate.held(), held, "each request is with a server or waits");
        assert!(held <= self.policy.hold_limit);
        if let Some(deadline) = self.gate.deadline() {
            assert!(deadline > self.now || self.policy.hold_timeout.is_zero(), "time stands still");
        }
        if self.gate.phase() == Phase::Failed {
            assert_eq!(held, 0, "nobody waits for nothing");
        }
        if self.gate.phase() == Phase::Up && !self.gate.has_failed() {
            assert!(self.read >= self.changed, "the last change is what answers");
        }
    }

    fn random_step(&mut self) {
        match self.random.below(12) {
            0 => {
                let change = self.random.of([Change::Files, Change::Styles]).unwrap();
                self.on(Input::Changed(change));
            }
            1..=3 => {
                self.requests += 1;
                let request = Request(self.requests);
                self.open.insert(request, None);
                self.on(Input::Came(request));
            }
            4 => {
                if let Some(request) = self.random.of(self.open.keys().copied()) {
                    self.on(Input::Done(request));
                }
            }
            5 => self.lose(),
            6 => {
                if let Some(deadline) = self.gate.deadline() {
                    self.now = deadline;
                    self.on(Input::Deadline);
                }
            }
            7 => {
                self.now += Duration::from_millis(self.random.below(300));
                if self.gate.deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.on(Input::Deadline);
                }
            }
            _ => self.live(),
        }
    }

    fn lose(&mut self) {
        let with_servers: Vec<_> =
            self.open.iter().filter(|(_, place)| place.is_some()).map(|(request, _)| *request).collect();
        if let Some(request) = self.random.of(with_servers) {
            if self.random.below(2) == 0 {
                let bound = self.random.below(2) == 0;
                return self.on(Input::Bound(request, bound));
            }
            let replayable = self.random.below(2) == 0;
            self.on(Input::Lost(request, replayable));
        }
    }

    /// Something happens to somebody's processes.
    fn live(&mut self) {
        if self.random.below(20) == 0
            && let Some(generation) = self.given_up.pop_first()
        {
            return self.on(Input::Gone(generation));
        }
        let Some(generation) = self.random.of(self.lives.keys().copied()) else { return };
        match self.lives[&generation] {
            Life::Builds => {
                self.lives.remove(&generation);
                let fate = self.random.below(5);
                self.on(match fate {
                    0 => Input::CannotRun(generation),
                    1 => Input::Built(generation, false),
                    _ => Input::Built(generation, true),
                });
            }
            Life::Runs { answered: false, asked: false } if self.random.below(3) > 0 => {
                self.lives.insert(generation, Life::Runs { answered: true, asked: false });
                self.on(Input::Answered(generation));
            }
            Life::Runs { answered: false, asked: false } if self.random.below(3) == 0 => {
                self.lives.remove(&generation);
                self.on(Input::CannotRun(generation));
            }
            Life::Runs { asked: false, .. } if self.random.below(3) > 0 => {}
            Life::Runs { .. } => {
                self.lives.insert(generation, Life::Lingers);
                self.on(Input::Exited(generation));
            }
            Life::Lingers => {
                self.lives.remove(&generation);
                self.on(Input::Gone(generation));
            }
        }
    }

    /// All goes well from now on: what was saved last is what answers, and everybody is answered.
    fn settle(&mut self) {
        self.on(Input::Changed(Change::Files));
        for _ in 0..100 {
            match self.random.of(self.lives.keys().copied()).map(|generation| (generation, self.lives[&generation])) {
                Some((generation, Life::Builds)) => {
                    self.lives.remove(&generation);
                    self.on(Input::Built(generation, true));
                }
                Some((generation, Life::Runs { answered: false, asked: false })) => {
                    self.lives.insert(generation, Life::Runs { answered: true, asked: false });
                    self.on(Input::Answered(generation));
                }
                Some((generation, Life::Runs { asked: true, .. } | Life::Lingers)) => {
                    self.lives.remove(&generation);
                    self.on(Input::Gone(generation));
                }
                Some((_, Life::Runs { .. })) if self.gate.finishes() => {
                    self.now = self.gate.deadline().unwrap();
                    self.on(Input::Deadline);
                }
                Some((_, Life::Runs { .. })) | None => {}
            }
        }
        assert_eq!(self.gate.phase(), Phase::Up);
        assert!(self.read >= self.changed && !self.gate.has_failed());
        let server = self.gate.serving();
        assert!(server.is_some());
        // One that finishes its requests under overlap is asked to end in time.
        while let Some(deadline) = self.gate.deadline() {
            self.now = deadline;
            self.on(Input::Deadline);
        }
        assert_eq!(self.gate.held(), 0);
    }

    fn end(&mut self) {
        self.stopped = true;
        self.on(Input::Stop);
        for generation in self.lives.keys().copied().collect::<Vec<_>>() {
            self.lives.remove(&generation);
            self.on(Input::Gone(generation));
        }
        assert!(self.exited);
    }
}

#[test]
fn a_random_walk_keeps_the_invariants() {
    let mut seen = BTreeSet::new();
    for seed in 1..=400 {
        let mut world = World::new(seed);
        world.on(Input::Changed(Change::Files));
        for _ in 0..400 {
            world.random_step();
        }
        world.settle();
        world.end();
        seen.extend(world.seen);
    }
    assert_eq!(seen, BTreeSet::from(["alert", "finish", "finish alone", "give up", "kill", "refuse", "reload"]));
}
