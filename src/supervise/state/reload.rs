//! Starts: reloads, their coalescing, readiness, failure, crash and back-off.

use super::{
    Action, Cause, Check, Drain, Failure, Finish, GOOD_RUN, Generation, Machine, Number, Outcome, Phase, Readiness,
    Report, Request, SUPERSEDE_AFTER, Word,
};
use std::time::{Duration, Instant};

impl Machine {
    pub(super) fn reload(&mut self, now: Instant, request: Request, actions: &mut Vec<Action>) {
        if self.stopping() {
            actions.push(report(request, Outcome::Stopping));
        } else if let Some(awaiting) = self.awaiting_exit {
            replaced(awaiting, actions);
            self.awaiting_exit = Some(Cause::Reload(request));
        } else if self.starting().is_none() {
            self.begin(now, Cause::Reload(request), actions);
        } else {
            if let Some(earlier) = self.pending.replace(request) {
                actions.push(report(earlier, Outcome::Replaced));
            }
            self.supersede_if_due(now, actions);
        }
    }

    /// Starts the next generation; under stop-first only once every other is gone.
    pub(super) fn begin(&mut self, now: Instant, cause: Cause, actions: &mut Vec<Action>) {
        self.respawn_at = None;
        if self.policy.stop_first && !self.generations.is_empty() {
            self.awaiting_exit = Some(cause);
            for number in self.numbers() {
                self.drain(now, number, actions);
            }
            return;
        }
        self.last.0 += 1;
        let generation = Generation::new(self.last, cause, now, &self.policy, self.spoken);
        self.generations.push(generation);
        actions.push(Action::Spawn(self.last));
    }

    pub(super) fn spawned(&mut self, now: Instant, number: Number) {
        // The times of a start count from the moment at which the child runs.
        let (spoken, policy) = (self.spoken, self.policy.clone());
        if let Some(generation) = self.generation_mut(number)
            && matches!(generation.phase, Phase::Starting { .. })
        {
            *generation = Generation::new(number, generation.cause, now, &policy, spoken);
        }
    }

    pub(super) fn spoke(&mut self, number: Number, word: Word) {
        // A hello promises the word. STATUS and the like do not: many a program that tells by sd_notify what it does
        // never says that it is ready, and its successors would be waited for in vain.
        self.spoken |= word == Word::Channel;
        let auto = self.policy.readiness == Readiness::Auto;
        if let Some(generation) = self.generation_mut(number) {
            generation.spoke |= word == Word::Channel;
            if let Phase::Starting { alive_at, .. } = &mut generation.phase
                && auto
            {
                *alive_at = None;
            }
        }
    }

    pub(super) fn said_ready(&mut self, now: Instant, number: Number, word: Word, actions: &mut Vec<Action>) {
        let counts = match self.policy.readiness {
            Readiness::Auto => matches!(word, Word::Channel | Word::Notify | Word::Acknowledge),
            Readiness::Channel => word == Word::Channel,
            Readiness::Notify => word == Word::Notify,
            Readiness::Descriptor => word == Word::Descriptor,
            Readiness::Probe => word == Word::Probe,
            Readiness::Alive(_) => false,
        };
        if counts {
            self.spoken = true;
            self.ready(now, number, actions);
        }
    }

    /// The switch.
    pub(super) fn ready(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        if self.starting() != Some(number) {
            return;
        }
        let old = self.serving();
        let parked = self.find(|phase| matches!(phase, Phase::Parked { .. }));
        if let Some(parked) = parked {
            self.drain(now, parked, actions);
        }
        if let Some(old) = old {
            self.retire(now, old, actions);
        }
        self.superseded = false;
        self.served = true;
        self.set_serving(now, number, actions);
        if let Some(Cause::Reload(request)) = self.cause(number) {
            actions.push(report(request, Outcome::Switched(number)));
        }
        if let Some(request) = self.pending.take() {
            self.begin(now, Cause::Reload(request), actions);
        }
    }

    fn set_serving(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        if let Some(generation) = self.generation_mut(number) {
            generation.phase = Phase::Serving { since: now };
            generation.hung_at = generation.watchdog.map(|every| now + every);
        }
        actions.push(Action::Serve(number));
        actions.push(Action::Pass(number));
    }

    /// The old generation after a switch: parked under a guard, else drained.
    fn retire(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        self.forgive_after_good_run(now, number);
        let until = now.checked_add(self.policy.guard);
        match until.filter(|until| *until > now) {
            Some(until) => {
                if let Some(generation) = self.generation_mut(number) {
                    generation.phase = Phase::Parked { until };
                }
                actions.push(Action::Park(number));
            }
            None => self.drain(now, number, actions),
        }
    }

    /// A starting generation will never serve: report it, then let the one that comes next begin.
    pub(super) fn failed(&mut self, now: Instant, number: Number, failure: Failure, actions: &mut Vec<Action>) {
        if self.starting() != Some(number) {
            return;
        }
        if let Some(Cause::Reload(request)) = self.cause(number) {
            actions.push(report(request, Outcome::Failed(number, failure)));
        }
        match failure {
            Failure::Spawn => self.generations.retain(|generation| generation.number != number),
            Failure::Exited => self.remove(number, actions),
            Failure::NotReady | Failure::Broke | Failure::Hung => self.kill(number, actions),
        }
        self.superseded = false;
        if !self.served {
            self.end(now, Finish::NeverServed(number, failure), actions);
            return;
        }
        if self.serving().is_none() {
            self.failures += 1;
        }
        if let Some(request) = self.pending.take() {
            self.begin(now, Cause::Reload(request), actions);
        } else {
            self.respawn(now, actions);
        }
    }

    pub(super) fn broke(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        if self.serving() == Some(number) {
            // Nothing can be passed to it any more, so it is as good as dead.
            self.forgive_after_good_run(now, number);
            self.kill(number, actions);
            self.crashed(now, actions);
        } else {
            self.failed(now, number, Failure::Broke, actions);
        }
    }

    /// Failures before a good run do not count for what comes after it.
    pub(super) fn forgive_after_good_run(&mut self, now: Instant, number: Number) {
        let since = self.generation(number).and_then(|generation| match generation.phase {
            Phase::Serving { since } => Some(since),
            Phase::Starting { .. } | Phase::Parked { .. } | Phase::Draining { .. } => None,
        });
        if since.is_some_and(|since| now.saturating_duration_since(since) >= GOOD_RUN) {
            self.failures = 0;
        }
    }

    pub(super) fn exited(&mut self, now: Instant, number: Number, survivors: bool, actions: &mut Vec<Action>) {
        let Some(generation) = self.generation_mut(number) else {
            return;
        };
        match &mut generation.phase {
            Phase::Starting { .. } => self.failed(now, number, Failure::Exited, actions),
            Phase::Serving { .. } => {
                self.forgive_after_good_run(now, number);
                self.remove(number, actions);
                self.crashed(now, actions);
            }
            Phase::Parked { .. } | Phase::Draining { drain: Drain::Killed, .. } => self.remove(number, actions),
            Phase::Draining { drain: Drain::Asked { .. } | Drain::Terminated { .. }, check } => {
                // What a drained leader leaves behind may still serve its connections: it has the drain's time.
                if survivors {
                    check.get_or_insert(Check::first(now));
                } else {
                    self.remove(number, actions);
                }
            }
        }
    }

    /// Nothing serves any more.
    pub(super) fn crashed(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.failures += 1;
        if self.stopping() {
            self.close_listeners(actions);
        } else if let Some(parked) = self.find(|phase| matches!(phase, Phase::Parked { .. })) {
            self.set_serving(now, parked, actions);
        } else if self.starting().is_none() && self.awaiting_exit.is_none() {
            self.respawn(now, actions);
        }
    }

    /// Starts another generation at once or after the back-off, when there is none to serve.
    fn respawn(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.serving().is_some() {
            return;
        }
        if self.policy.max_respawns.is_some_and(|most| self.failures > most) {
            self.end(now, Finish::GaveUp, actions);
            return;
        }
        match self.respawn_delay() {
            Duration::ZERO => self.begin(now, Cause::Respawn, actions),
            delay => self.respawn_at = Some(now + delay),
        }
    }

    /// Nothing after a good run, then MIN, doubled each time up to MAX.
    fn respawn_delay(&self) -> Duration {
        let (min, max) = self.policy.respawn_delay;
        match self.failures {
            0 | 1 => Duration::ZERO,
            failures => min.saturating_mul(1_u32.checked_shl(failures - 2).unwrap_or(u32::MAX)).min(max),
        }
    }

    /// When the starting generation may be removed for the pending reload.
    pub(super) fn supersede_at(&self) -> Option<Instant> {
        let starting = self.starting().and_then(|number| self.generation(number))?;
        match starting.phase {
            Phase::Starting { since, .. } if !self.superseded => Some(since + SUPERSEDE_AFTER),
            Phase::Starting { .. } | Phase::Serving { .. } | Phase::Parked { .. } | Phase::Draining { .. } => None,
        }
    }

    pub(super) fn supersede_if_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let due = self.supersede_at().is_some_and(|at| at <= now);
        let Some(request) = self.pending.filter(|_| due) else {
            return;
        };
        let Some(number) = self.starting() else {
            return;
        };
        if let Some(cause) = self.cause(number) {
            replaced(cause, actions);
        }
        self.kill(number, actions);
        self.superseded = true;
        self.pending = None;
        self.begin(now, Cause::Reload(request), actions);
    }

    pub(super) fn deadline_passed(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.respawn_at.is_some_and(|at| at <= now) {
            self.begin(now, Cause::Respawn, actions);
        }
        self.supersede_if_due(now, actions);
        self.pass_timeout_if_due(now, actions);
        for number in self.numbers() {
            if self.generation(number).and_then(Generation::deadline).is_some_and(|at| at <= now) {
                self.generation_deadline(now, number, actions);
            }
        }
    }

    fn generation_deadline(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        let Some(generation) = self.generation_mut(number) else {
            return;
        };
        match &mut generation.phase {
            Phase::Starting { alive_at, .. } if alive_at.is_some_and(|at| at <= now) => {
                self.ready(now, number, actions);
            }
            Phase::Starting { .. } => self.failed(now, number, Failure::NotReady, actions),
            Phase::Serving { .. } => self.hung(now, number, actions),
            Phase::Parked { .. } => self.drain(now, number, actions),
            Phase::Draining { drain, check } => {
                if let Some(due) = check.filter(|check| check.at <= now) {
                    *check = Some(due.next(now));
                    actions.push(Action::CheckGroup(number));
                }
                if drain.deadline().is_some_and(|at| at <= now) {
                    self.press(now, number, actions);
                }
            }
        }
    }
}

pub(super) fn report(request: Request, outcome: Outcome) -> Action {
    Action::Report(Report { request, outcome })
}

fn replaced(cause: Cause, actions: &mut Vec<Action>) {
    match cause {
        Cause::Reload(request) => actions.push(report(request, Outcome::Replaced)),
        Cause::First | Cause::Respawn => {}
    }
}
