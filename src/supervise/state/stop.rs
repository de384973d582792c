//! Ends: the drain of one generation and its escalation, and the stop of the supervisor.

use super::reload::report;
use super::{Action, Cause, Drain, Finish, Machine, Number, Outcome, Phase, Request, Urgency, Wanted};
use std::time::Instant;

impl Machine {
    /// Each further request is more urgent: drain, TERM, KILL.
    pub(super) fn stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match &mut self.wanted {
            Wanted::Serve => self.end(now, Finish::Stopped, actions),
            Wanted::Stop { urgency, .. } => {
                *urgency = match urgency {
                    Urgency::Drain => Urgency::Terminate,
                    Urgency::Terminate | Urgency::Kill => Urgency::Kill,
                };
                self.press_all(now, actions);
            }
        }
    }

    /// From now on the end is wanted: what serves may still get the held connections, all else drains.
    pub(super) fn end(&mut self, now: Instant, finish: Finish, actions: &mut Vec<Action>) {
        let limit = self.policy.stop_timeout;
        // Passing on what is held must leave the drain its time.
        self.wanted = Wanted::Stop { pass_by: now + limit / 2, by: now + limit, urgency: Urgency::Drain };
        self.finish = finish;
        self.respawn_at = None;
        let awaiting = self.awaiting_exit.take().and_then(reload_of);
        let starting = self.starting().and_then(|number| self.cause(number)).and_then(reload_of);
        for request in self.pending.take().into_iter().chain(awaiting).chain(starting) {
            actions.push(report(request, Outcome::Stopping));
        }
        let serving = self.serving();
        if serving.is_none() {
            self.close_listeners(actions);
        }
        for number in self.numbers() {
            if Some(number) != serving {
                self.drain(now, number, actions);
            }
        }
    }

    /// While stopping: what was held has been passed on. The listeners close, and once what came in until then has
    /// been passed on too, the serving generation drains.
    pub(super) fn emptied(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let (true, Some(serving)) = (self.stopping(), self.serving()) else {
            return;
        };
        if self.listening {
            self.close_listeners(actions);
        } else {
            self.drain(now, serving, actions);
        }
    }

    /// A channel that stays full does not hold the end up: the child serves what is in it, the rest is closed.
    pub(super) fn pass_timeout_if_due(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.wanted {
            Wanted::Stop { pass_by, .. } if pass_by <= now => {
                if let Some(serving) = self.serving() {
                    self.close_listeners(actions);
                    self.drain(now, serving, actions);
                }
            }
            Wanted::Stop { .. } | Wanted::Serve => {}
        }
    }

    pub(super) fn close_listeners(&mut self, actions: &mut Vec<Action>) {
        if self.listening {
            self.listening = false;
            actions.push(Action::CloseListeners);
        }
    }

    /// Asks a generation to leave; one that was asked before is only held to an earlier time.
    pub(super) fn drain(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        let limit = self.policy.drain_timeout;
        let stop_by = match self.wanted {
            Wanted::Serve => None,
            Wanted::Stop { by, .. } => Some(by),
        };
        self.forgive_after_good_run(now, number);
        // At a stop none comes after the one that serves: what it has not read yet it is still to serve.
        let take_back = !self.stopping() || self.serving().is_some_and(|serving| serving != number);
        let Some(generation) = self.generation_mut(number) else {
            return;
        };
        if !matches!(generation.phase, Phase::Draining { .. }) {
            // A child that still starts does not look at its channel yet.
            let signal = !generation.spoke || matches!(generation.phase, Phase::Starting { .. });
            actions.push(Action::Drain { number, signal, take_back });
            generation.phase = Phase::Draining { drain: Drain::asked(now, limit), check: None };
        }
        if let (Phase::Draining { drain, .. }, Some(by)) = (&mut generation.phase, stop_by) {
            drain.cut_short(by);
        }
    }

    /// The next step against a draining generation that takes too long.
    pub(super) fn press(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        let Some(generation) = self.generation_mut(number) else {
            return;
        };
        let Phase::Draining { drain, .. } = &mut generation.phase else {
            return;
        };
        match drain {
            Drain::Asked { .. } => {
                *drain = Drain::terminated(now);
                actions.push(Action::Terminate(number));
            }
            Drain::Terminated { .. } => self.kill(number, actions),
            Drain::Killed => {}
        }
    }

    /// Ends the whole group of a generation.
    pub(super) fn kill(&mut self, number: Number, actions: &mut Vec<Action>) {
        let stopping = self.stopping();
        let Some(generation) = self.generation_mut(number) else {
            return;
        };
        // A leader that has gone already will not be heard of again, so its group goes on being looked at.
        let check = match generation.phase {
            Phase::Draining { check, .. } => check,
            Phase::Starting { .. } | Phase::Serving { .. } | Phase::Parked { .. } => None,
        };
        generation.phase = Phase::Draining { drain: Drain::Killed, check };
        actions.push(Action::Kill(number));
        if stopping && self.finish == Finish::Stopped {
            self.finish = Finish::Killed;
        }
    }

    /// A further request to stop presses every generation at once.
    fn press_all(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Wanted::Stop { urgency, .. } = self.wanted else {
            return;
        };
        self.close_listeners(actions);
        for number in self.numbers() {
            self.drain(now, number, actions);
            let Some(Phase::Draining { drain, .. }) = self.generation(number).map(|generation| generation.phase) else {
                continue;
            };
            match (urgency, drain) {
                (Urgency::Terminate, Drain::Asked { .. }) | (Urgency::Kill, Drain::Terminated { .. }) => {
                    self.press(now, number, actions)
                }
                (Urgency::Kill, Drain::Asked { .. }) => self.kill(number, actions),
                (Urgency::Drain, _) | (Urgency::Terminate | Urgency::Kill, _) => {}
            }
        }
    }

    pub(super) fn numbers(&self) -> Vec<Number> {
        self.generations.iter().map(|generation| generation.number).collect()
    }
}

fn reload_of(cause: Cause) -> Option<Request> {
    match cause {
        Cause::Reload(request) => Some(request),
        Cause::First | Cause::Respawn => None,
    }
}
