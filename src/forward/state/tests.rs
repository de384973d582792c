//! The state table, walked cell by cell; the rules that a table does not show; and a random walk.

mod rules;
mod table;
mod walk;

use super::{Action, Course, DestinationId, How, Input, Machine, Request, RuleId, Scope, Stop};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const RULE: RuleId = RuleId(1);
const A: DestinationId = DestinationId(1);
const B: DestinationId = DestinationId(2);
const C: DestinationId = DestinationId(3);

const PLAIN: How = How { probe: false, guard: Duration::ZERO, weight: 100 };
const PROBE: How = How { probe: true, ..PLAIN };
const GUARD: How = How { guard: Duration::from_secs(30), ..PLAIN };
const TENTH: How = How { weight: 10, ..PLAIN };

/// A machine with a clock and requests of its own.
struct Bench {
    machine: Machine,
    now: Instant,
    requests: u64,
}

impl Bench {
    fn new() -> Self {
        Bench { machine: Machine::new(), now: Instant::now(), requests: 0 }
    }

    /// One rule, to A.
    fn serving() -> Self {
        let mut bench = Bench::new();
        bench.on(Input::Start { rule: RULE, course: Course::all_to(A), paused: false });
        bench
    }

    fn on(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.on(self.now, input, &mut actions);
        actions
    }

    fn request(&mut self) -> Request {
        self.requests += 1;
        Request(self.requests)
    }

    fn switch(&mut self, to: DestinationId, how: How) -> Vec<Action> {
        let request = self.request();
        self.on(Input::Switch { rule: RULE, to, how, request })
    }

    fn wait(&mut self) -> Vec<Action> {
        let request = self.request();
        self.on(Input::Wait { scope: Scope::All, request })
    }

    fn stop_rule(&mut self, stop: Stop) -> Vec<Action> {
        let request = self.request();
        self.on(Input::StopRule { rule: RULE, stop, request })
    }

    /// Lets time pass to the next deadline, if there is one, and tells the machine.
    fn deadline(&mut self) -> Vec<Action> {
        self.now = self.machine.deadline().unwrap_or(self.now);
        self.on(Input::Deadline)
    }
}
