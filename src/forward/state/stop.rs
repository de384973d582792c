//! The end of a rule, or of everything.

use super::rule::{Cut, Former, Phase, Rule};
use super::{Action, Answer, Machine, Request, RuleId, Stop};
use std::time::Instant;

impl Machine {
    pub(super) fn stop_rule(
        &mut self,
        now: Instant,
        id: RuleId,
        stop: Stop,
        request: Request,
        actions: &mut Vec<Action>,
    ) {
        match self.rule_mut(id) {
            None => actions.push(Action::Answer(request, Answer::Ending)),
            Some(rule) => {
                let served = rule.end(now, stop, actions);
                if let Phase::Draining { requests, .. } = &mut rule.phase {
                    requests.push(request);
                }
                if served {
                    actions.push(Action::Save);
                }
                self.answer_cut(actions);
            }
        }
    }

    pub(super) fn stop(&mut self, now: Instant, stop: Stop, request: Option<Request>, actions: &mut Vec<Action>) {
        self.stopping.get_or_insert_default().extend(request);
        // The rules are kept for the next start: nothing is saved.
        for rule in &mut self.rules {
            rule.end(now, stop, actions);
        }
        self.answer_cut(actions);
    }

    /// Drains whose time is over are cut.
    pub(super) fn drains_over(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for rule in &mut self.rules {
            if let Phase::Draining { by: Some(by), cut: cut @ Cut::No, .. } = &mut rule.phase
                && *by <= now
                && rule.former.iter().any(|former| former.busy)
            {
                *cut = Cut::Late;
                self.late = true;
                actions.push(Action::Cut(rule.id));
            }
        }
        self.answer_cut(actions);
    }

    /// Forgets the rules of which nothing is left.
    pub(super) fn end_rules(&mut self, actions: &mut Vec<Action>) {
        self.rules.retain_mut(|rule| {
            let Phase::Draining { cut, requests, .. } = &mut rule.phase else {
                return true;
            };
            if !rule.former.is_empty() {
                return true;
            }
            let answer = Answer::Stopped { late: *cut == Cut::Late };
            actions.extend(requests.drain(..).map(|request| Action::Answer(request, answer)));
            actions.push(Action::ForgetRule(rule.id));
            false
        });
    }
}

impl Rule {
    /// Begins to end, or decides anew how; whether it served until now.
    fn end(&mut self, now: Instant, stop: Stop, actions: &mut Vec<Action>) -> bool {
        self.end_change(Answer::Ending, actions);
        let course = self.course();
        if let Some(course) = course {
            actions.push(Action::Close(self.id));
            self.phase = Phase::Draining { by: None, cut: Cut::No, requests: Vec::new() };
            for id in course.destinations() {
                self.former.push(Former { id, busy: true });
                actions.push(Action::Watch(id));
            }
        }
        self.forget_idle(actions);
        if let Phase::Draining { by, cut: cut @ Cut::No, .. } = &mut self.phase {
            match stop {
                Stop::Cut => {
                    *cut = Cut::Asked;
                    actions.push(Action::Cut(self.id));
                }
                Stop::Drain(limit) => *by = limit.and_then(|limit| now.checked_add(limit)),
            }
        }
        course.is_some()
    }
}
