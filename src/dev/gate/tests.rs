//! The gate: its table, its rules one by one, and a walk through everything.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use super::{Action, Change, Gate, Generation, Input, Phase, Policy, Request, Why};
use std::time::{Duration, Instant};

mod replays;
mod rules;
mod table;
mod walk;

const SECOND: Duration = Duration::from_secs(1);
const FIRST: Generation = Generation(1);
const SECOND_ONE: Generation = Generation(2);
const ASKED: Request = Request(1);

/// A server is started at once, and ended before the next one.
const PLAIN: Policy = Policy {
    build: false,
    overlap: false,
    ready_timeout: Duration::from_secs(60),
    stop_timeout: Duration::from_secs(2),
    hold_limit: 3,
    hold_timeout: Duration::from_secs(30),
};
const BUILT: Policy = Policy { build: true, ..PLAIN };
const OVERLAP: Policy = Policy { overlap: true, ..PLAIN };

/// A gate and its time.
struct Bench {
    gate: Gate,
    now: Instant,
}

impl Bench {
    fn new(policy: Policy) -> Self {
        Bench { gate: Gate::new(policy), now: Instant::now() }
    }

    /// After these inputs, what they have asked for being done.
    fn after(policy: Policy, inputs: &[Input]) -> Self {
        let mut bench = Bench::new(policy);
        for input in inputs {
            bench.on(*input);
        }
        bench
    }

    fn on(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.gate.on(self.now, input, &mut actions);
        actions
    }

    /// At the next deadline, which there must be.
    fn in_time(&mut self) -> Vec<Action> {
        self.now = self.gate.deadline().expect("there is a deadline");
        self.on(Input::Deadline)
    }
}

const START: Input = Input::Changed(Change::Files);
const UP: [Input; 2] = [START, Input::Answered(FIRST)];
