//! Time that a child asks for, and the watch over one that serves.

use super::{Action, Drain, Failure, Machine, Number, Phase};
use std::time::{Duration, Instant};

impl Machine {
    /// A start or a drain takes longer. What was allowed already stays allowed.
    pub(super) fn extend(&mut self, now: Instant, number: Number, by: Duration) {
        let (Some(generation), Some(at)) = (self.generation_mut(number), now.checked_add(by)) else {
            return;
        };
        match &mut generation.phase {
            Phase::Starting { ready_by, .. } => *ready_by = at.max(*ready_by),
            Phase::Draining { drain: Drain::Asked { until: Some(until) }, .. } => *until = at.max(*until),
            Phase::Serving { .. } | Phase::Parked { .. } | Phase::Draining { .. } => {}
        }
    }

    pub(super) fn watch(&mut self, now: Instant, number: Number, every: Option<Duration>) {
        if let Some(generation) = self.generation_mut(number) {
            generation.watchdog = every;
        }
        self.alive(now, number);
    }

    pub(super) fn alive(&mut self, now: Instant, number: Number) {
        if let Some(generation) = self.generation_mut(number) {
            generation.hung_at = generation.watchdog.and_then(|every| now.checked_add(every));
        }
    }

    /// A child that hangs is as good as dead: it is ended, and what comes after a crash comes at once.
    pub(super) fn hung(&mut self, now: Instant, number: Number, actions: &mut Vec<Action>) {
        if self.serving() == Some(number) {
            self.forgive_after_good_run(now, number);
            if let Some(generation) = self.generation_mut(number) {
                generation.phase = Phase::Draining { drain: Drain::terminated(now), check: None };
            }
            actions.push(Action::Abort(number));
            self.crashed(now, actions);
        } else {
            self.failed(now, number, Failure::Hung, actions);
        }
    }
}
