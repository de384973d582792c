//! The decisions of the proxy for development: when what is built, started and ended, where a request goes, and what the
//! browsers are told.
//!
//! Pure: no descriptor, no clock, no log, no system call. The driver turns events into [`Input`]s and performs the
//! [`Action`]s in the order in which they are given. `docs/dev.md` prints the state table; the tests walk it.

#![deny(clippy::wildcard_enum_match_arm, reason = "the compiler is the state table")]

use std::collections::BTreeMap;
use std::time::Instant;

mod processes;
mod replay;
mod requests;
mod terms;
#[cfg(test)]
mod tests;
mod view;

pub use processes::KILL_LIMIT;
use processes::Leaving;
pub use replay::{Attempt, may_replay};
use requests::Requests;
pub use terms::{Action, Change, Generation, Input, Phase, Policy, Request, Why};

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Building { next: Generation },
    Starting { next: Generation, until: Instant },
    Up,
    Failed,
    Stopping { then: Then },
    Ending { over: bool },
}

/// What follows once nothing is left of those that leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Another generation is taken up.
    TakeUp,
    /// This one, which is built, is started.
    Start(Generation),
}

/// The machine.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    state: State,
    last: Generation,
    /// The last one that has answered, while it runs and has not been asked to end. In the state `Up` there is one.
    server: Option<Generation>,
    leaving: BTreeMap<Generation, Leaving>,
    requests: Requests,
    /// What browsers have not been told of.
    change: Option<Change>,
    /// The last change has failed, whether or not an older server answers.
    fault: bool,
}

impl Gate {
    /// Nothing runs before the first `Changed`.
    pub fn new(policy: Policy) -> Self {
        Gate {
            policy,
            state: State::Failed,
            last: Generation(0),
            server: None,
            leaving: BTreeMap::new(),
            requests: Requests::default(),
            change: None,
            fault: false,
        }
    }

    /// When to report `Deadline` next.
    pub fn deadline(&self) -> Option<Instant> {
        let starting = match self.state {
            State::Starting { until, .. } => Some(until),
            State::Building { .. } | State::Up | State::Failed | State::Stopping { .. } | State::Ending { .. } => None,
        };
        let leaving = self.leaving.values().map(Leaving::until);
        leaving.chain(starting).chain(self.requests.deadline()).min()
    }

    /// One step. What is to be done is added to `actions`.
    pub fn on(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Changed(change) => self.changed(now, change, actions),
            Input::Built(generation, well) => self.built(now, generation, well, actions),
            Input::CannotRun(generation) => self.cannot_run(now, generation, actions),
            Input::Answered(generation) => self.answered(now, generation, actions),
            Input::Exited(generation) => self.exited(now, generation, actions),
            Input::Gone(generation) => self.gone(now, generation, actions),
            Input::Came(request) => self.came(now, request, actions),
            Input::Done(request) => self.done(now, request, actions),
            Input::Lost(request, replayable) => self.lost(now, request, replayable, actions),
            Input::Bound(request, bound) => self.requests.bind(request, bound),
            Input::Stop => self.stop(now, actions),
            Input::Deadline => self.time_is_up(now, actions),
        }
    }

    fn changed(&mut self, now: Instant, change: Change, actions: &mut Vec<Action>) {
        if matches!(self.state, State::Ending { .. }) {
            return;
        }
        self.change = self.change.max(Some(change));
        match self.state {
            State::Building { next } | State::Starting { next, .. } => {
                self.end(now, next, actions);
                self.state = State::Stopping { then: Then::TakeUp };
            }
            State::Up | State::Failed => self.take_up(now, actions),
            // What is not started yet will read the files as they are now, but what is built has not seen them.
            State::Stopping { .. } if self.policy.build => self.state = State::Stopping { then: Then::TakeUp },
            State::Stopping { .. } | State::Ending { .. } => {}
        }
    }

    /// The next generation begins, unless others are to leave first.
    fn take_up(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.leaving.is_empty() {
            self.state = State::Stopping { then: Then::TakeUp };
            return self.hasten(now, actions);
        }
        self.last = Generation(self.last.0 + 1);
        if self.policy.build {
            self.state = State::Building { next: self.last };
            actions.push(Action::Build(self.last));
        } else {
            self.start(now, self.last, actions);
        }
    }

    /// The server of a generation begins, once its place is free.
    fn start(&mut self, now: Instant, next: Generation, actions: &mut Vec<Action>) {
        if !self.policy.overlap
            && let Some(old) = self.server.take()
        {
            self.finish(now, old, actions);
        }
        if self.leaving.is_empty() {
            self.state = State::Starting { next, until: now + self.policy.ready_timeout };
            actions.push(Action::Start(next));
        } else {
            self.state = State::Stopping { then: Then::Start(next) };
        }
    }

    fn built(&mut self, now: Instant, generation: Generation, well: bool, actions: &mut Vec<Action>) {
        match self.state {
            State::Building { next } if next == generation && well => self.start(now, next, actions),
            State::Building { next } if next == generation => self.fail(actions),
            State::Building { .. }
            | State::Starting { .. }
            | State::Up
            | State::Failed
            | State::Stopping { .. }
            | State::Ending { .. } => self.gone(now, generation, actions),
        }
    }

    fn cannot_run(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        match self.state {
            State::Building { next } | State::Starting { next, .. } if next == generation => self.fail(actions),
            State::Building { .. }
            | State::Starting { .. }
            | State::Up
            | State::Failed
            | State::Stopping { .. }
            | State::Ending { .. } => self.gone(now, generation, actions),
        }
    }

    fn answered(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        match self.state {
            State::Starting { next, .. } if next == generation => {
                let old = self.server.replace(next);
                self.state = State::Up;
                self.fault = false;
                self.tell(actions);
                self.release(next, actions);
                if let Some(old) = old {
                    self.finish(now, old, actions);
                }
            }
            State::Building { .. }
            | State::Starting { .. }
            | State::Up
            | State::Failed
            | State::Stopping { .. }
            | State::Ending { .. } => {}
        }
    }

    fn exited(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        if self.is_finishing(generation) {
            return self.end(now, generation, actions);
        }
        if self.leaving.contains_key(&generation) {
            return;
        }
        if self.server == Some(generation) {
            self.server = None;
            self.end(now, generation, actions);
            if self.state == State::Up {
                self.change = Some(Change::Files);
                self.fail(actions);
            }
            return;
        }
        match self.state {
            State::Starting { next, .. } if next == generation => {
                self.end(now, next, actions);
                self.fail(actions);
            }
            State::Building { .. }
            | State::Starting { .. }
            | State::Up
            | State::Failed
            | State::Stopping { .. }
            | State::Ending { .. } => {}
        }
    }

    /// The change has come to nothing. An older server answers on, if it runs.
    fn fail(&mut self, actions: &mut Vec<Action>) {
        self.fault = true;
        match self.server {
            Some(server) => {
                self.state = State::Up;
                actions.push(Action::Alert);
                self.release(server, actions);
            }
            None => {
                self.state = State::Failed;
                self.change = self.change.map(|_| Change::Files);
                self.tell(actions);
                self.refuse_all(Why::Failed, actions);
            }
        }
    }

    /// The browsers hear of what has changed, once.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        if let Some(change) = self.change.take() {
            actions.push(Action::Reload(change));
        }
    }

    fn stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.state {
            State::Ending { .. } => self.kill_all(now, actions),
            State::Building { next } | State::Starting { next, .. } => self.end(now, next, actions),
            State::Up | State::Failed | State::Stopping { .. } => {}
        }
        if matches!(self.state, State::Ending { .. }) {
            return;
        }
        self.state = State::Ending { over: false };
        if let Some(server) = self.server.take() {
            self.end(now, server, actions);
        }
        self.hasten(now, actions);
        self.refuse_all(Why::Ending, actions);
        self.go_on(now, actions);
    }

    fn time_is_up(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.leavers_in_time(now, actions);
        self.held_in_time(now, actions);
        match self.state {
            State::Starting { next, until } if until <= now => {
                self.end(now, next, actions);
                self.fail(actions);
            }
            State::Building { .. }
            | State::Starting { .. }
            | State::Up
            | State::Failed
            | State::Stopping { .. }
            | State::Ending { .. } => {}
        }
    }
}
