//! Those that are to leave: their requests finish, they are asked to end, they are killed; and those that even this does not
//! end, as what waits for a disk that is gone, are given up.

use super::{Action, Gate, Generation, State, Then};
use std::time::{Duration, Instant};

/// So long a generation that was killed may take to be gone. A kill takes milliseconds, unless the kernel cannot end a process.
pub const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How far it has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The requests that it has are answered first, until this time.
    Finishing(Instant),
    /// It has been asked to end, and has until this time.
    Asked(Instant),
    /// It has been killed, and is waited for until this time.
    Killed(Instant),
}

impl Leaving {
    pub(super) fn until(&self) -> Instant {
        match self {
            Leaving::Finishing(until) | Leaving::Asked(until) | Leaving::Killed(until) => *until,
        }
    }
}

impl Gate {
    /// Asks a generation to end.
    pub(super) fn end(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        self.leaving.insert(generation, Leaving::Asked(now + self.policy.stop_timeout));
        actions.push(Action::End(generation));
    }

    /// Lets a generation answer what it has been asked, and then end.
    pub(super) fn finish(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        if !self.is_needed(generation) {
            return self.end(now, generation, actions);
        }
        self.leaving.insert(generation, Leaving::Finishing(now + self.policy.stop_timeout));
    }

    /// A request is with a generation no more; maybe it was the last one that this waited for.
    pub(super) fn finished(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        if self.is_finishing(generation) && !self.is_needed(generation) {
            self.end(now, generation, actions);
        }
    }

    pub(super) fn is_finishing(&self, generation: Generation) -> bool {
        matches!(self.leaving.get(&generation), Some(Leaving::Finishing(_)))
    }

    /// Whether requests in progress are worth its staying. While it stays without overlap nobody is answered, so that is for
    /// those alone that no other server can answer.
    fn is_needed(&self, generation: Generation) -> bool {
        let requests = &self.requests;
        if self.policy.overlap { requests.at(generation) > 0 } else { requests.bound_to(generation) }
    }

    /// Those that finish their requests are asked to end at once: somebody waits for their place.
    pub(super) fn hasten(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let finishing = self.leaving.iter().filter(|(_, leaving)| matches!(leaving, Leaving::Finishing(_)));
        for generation in finishing.map(|(generation, _)| *generation).collect::<Vec<_>>() {
            self.end(now, generation, actions);
        }
    }

    pub(super) fn kill_all(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for (generation, leaving) in &mut self.leaving {
            if !matches!(leaving, Leaving::Killed(_)) {
                *leaving = Leaving::Killed(now + KILL_LIMIT);
                actions.push(Action::Kill(*generation));
            }
        }
    }

    pub(super) fn leavers_in_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.give_up(now, actions);
        for (generation, leaving) in &mut self.leaving {
            match *leaving {
                Leaving::Finishing(until) if until <= now => {
                    *leaving = Leaving::Asked(now + self.policy.stop_timeout);
                    actions.push(Action::End(*generation));
                }
                Leaving::Asked(until) if until <= now => {
                    *leaving = Leaving::Killed(now + KILL_LIMIT);
                    actions.push(Action::Kill(*generation));
                }
                Leaving::Finishing(_) | Leaving::Asked(_) | Leaving::Killed(_) => {}
            }
        }
    }

    /// Waits no longer for what cannot be killed.
    fn give_up(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let late = |leaving: &Leaving| matches!(leaving, Leaving::Killed(until) if *until <= now);
        let given_up: Vec<_> =
            self.leaving.iter().filter(|(_, leaving)| late(leaving)).map(|(generation, _)| *generation).collect();
        for generation in &given_up {
            self.leaving.remove(generation);
            actions.push(Action::GiveUp(*generation));
        }
        if !given_up.is_empty() {
            self.go_on(now, actions);
        }
    }

    /// Nothing is left of a generation, whatever we knew of it.
    pub(super) fn gone(&mut self, now: Instant, generation: Generation, actions: &mut Vec<Action>) {
        self.exited(now, generation, actions);
        self.leaving.remove(&generation);
        self.go_on(now, actions);
    }

    /// Does what waited for the last one to leave.
    pub(super) fn go_on(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if !self.leaving.is_empty() {
            return;
        }
        match self.state {
            State::Stopping { then: Then::TakeUp } => self.take_up(now, actions),
            State::Stopping { then: Then::Start(next) } => self.start(now, next, actions),
            State::Ending { over: false } => {
                self.state = State::Ending { over: true };
                actions.push(Action::Exit);
            }
            State::Building { .. }
            | State::Starting { .. }
            | State::Up
            | State::Failed
            | State::Ending { over: true } => {}
        }
    }
}
