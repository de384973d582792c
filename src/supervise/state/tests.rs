//! The state table, walked cell by cell; the rules that a table does not show; and a random walk.

mod rules;
mod table;
mod walk;
mod words;

use super::{Action, Input, Machine, Number, Policy, Readiness, Request, Word};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn policy() -> Policy {
    Policy {
        readiness: Readiness::Channel,
        ready_timeout: 60 * SECOND,
        guard: Duration::ZERO,
        stop_first: false,
        drain_timeout: Some(20 * SECOND),
        stop_timeout: 30 * SECOND,
        respawn_delay: (100 * MILLISECOND, 30 * SECOND),
        watchdog: None,
        max_respawns: None,
    }
}

/// A machine with a clock of its own.
struct Bench {
    machine: Machine,
    now: Instant,
    requests: u64,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Bench { machine: Machine::new(policy), now: Instant::now(), requests: 0 }
    }

    /// A supervisor whose first generation serves and has had a good run.
    fn serving(policy: Policy) -> Self {
        let mut bench = Bench::new(policy);
        bench.start();
        bench.on(Input::Spawned(Number(1)));
        bench.on(Input::Spoke(Number(1), Word::Channel));
        bench.on(Input::Ready(Number(1), Word::Channel));
        bench.pass(10 * SECOND);
        assert_eq!(bench.machine.serving(), Some(Number(1)));
        bench
    }

    /// The same with a second one that has been started by a reload.
    fn reloading(policy: Policy) -> Self {
        let mut bench = Bench::serving(policy);
        bench.reload();
        bench.on(Input::Spawned(Number(2)));
        bench.on(Input::Spoke(Number(2), Word::Channel));
        bench
    }

    fn start(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.start(self.now, &mut actions);
        actions
    }

    fn on(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.on(self.now, input, &mut actions);
        actions
    }

    fn reload(&mut self) -> Vec<Action> {
        self.requests += 1;
        self.on(Input::Reload(Request(self.requests)))
    }

    fn exited(&mut self, number: u64) -> Vec<Action> {
        self.on(Input::Exited { number: Number(number), survivors: false })
    }

    /// Lets time pass without telling the machine.
    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets time pass to the next deadline and tells the machine.
    fn deadline(&mut self) -> Vec<Action> {
        self.now = self.machine.deadline().expect("a deadline");
        self.on(Input::Deadline)
    }
}
