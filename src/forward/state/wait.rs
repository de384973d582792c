//! Those who wait until nothing runs on a former destination.

use super::rule::{Cut, Phase, Rule};
use super::{Action, Answer, Machine, Request, RuleId, Scope};

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) request: Request,
    pub(super) scope: Scope,
}

impl Waiter {
    fn concerns(&self, id: RuleId) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Rules(rules) => rules.contains(&id),
        }
    }
}

impl Machine {
    /// Answers those for whom nothing is left to wait for.
    pub(super) fn answer_waiters(&mut self, actions: &mut Vec<Action>) {
        let rules = &self.rules;
        let waits = |waiter: &Waiter| rules.iter().any(|rule| rule.drains() && waiter.concerns(rule.id));
        for waiter in self.waiters.extract_if(.., |waiter| !waits(waiter)) {
            actions.push(Action::Answer(waiter.request, Answer::Drained));
        }
    }

    /// Answers those who wait for what has just been cut: that is not what they waited for.
    pub(super) fn answer_cut(&mut self, actions: &mut Vec<Action>) {
        let is_cut = |rule: &Rule| match &rule.phase {
            Phase::Serving { .. } => false,
            Phase::Draining { cut, .. } => *cut != Cut::No && rule.drains(),
        };
        let rules = &self.rules;
        let in_vain = |waiter: &Waiter| rules.iter().any(|rule| is_cut(rule) && waiter.concerns(rule.id));
        for waiter in self.waiters.extract_if(.., |waiter| in_vain(waiter)) {
            actions.push(Action::Answer(waiter.request, Answer::Cut));
        }
    }

    /// Who has gone needs no answer. A switch or a stop that was asked for goes on without them.
    pub(super) fn left(&mut self, request: Request) {
        self.waiters.retain(|waiter| waiter.request != request);
    }
}
