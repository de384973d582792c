//! Switching: at once, after a probe, under a guard, or for a share of the connections.

use super::rule::{Change, Course, Phase, Rule, Share};
use super::{Action, Answer, DestinationId, How, Machine, Request, RuleId};
use std::time::Instant;

impl Machine {
    /// `asked`: where to, how, and who asks.
    pub(super) fn switch(
        &mut self,
        now: Instant,
        id: RuleId,
        asked: (DestinationId, How, Request),
        actions: &mut Vec<Action>,
    ) {
        let (to, how, request) = asked;
        let Some(rule) = self.rule_mut(id) else {
            actions.extend([Action::Forget(to), Action::Answer(request, Answer::Ending)]);
            return;
        };
        rule.replace_change(to, actions);
        match &mut rule.phase {
            Phase::Draining { .. } => {
                if !rule.former.iter().any(|former| former.id == to) {
                    actions.push(Action::Forget(to));
                }
                actions.push(Action::Answer(request, Answer::Ending));
            }
            Phase::Serving { course, change, .. } if how.probe && course.active != to => {
                *change = Some(Change::Probing { request, to, how });
                actions.push(Action::Probe(id, to));
            }
            Phase::Serving { .. } => rule.commit(now, (to, how, request), actions),
        }
        if let Some(rule) = self.rule_mut(id) {
            rule.forget_idle(actions);
        }
    }

    pub(super) fn probed(&mut self, now: Instant, tried: DestinationId, ok: bool, actions: &mut Vec<Action>) {
        for rule in &mut self.rules {
            let Phase::Serving { change, course, .. } = &mut rule.phase else {
                continue;
            };
            let Some(Change::Probing { request, to, how }) = *change else {
                continue;
            };
            if to != tried {
                continue;
            }
            let course = *course;
            *change = None;
            if ok {
                rule.commit(now, (to, how, request), actions);
                rule.forget_idle(actions);
            } else {
                rule.drop_untried(to, course, actions);
                actions.push(Action::Answer(request, Answer::ProbeFailed));
            }
        }
    }

    /// A guard is there for this: the first connection that cannot be made undoes the switch.
    pub(super) fn connect_failed(&mut self, id: DestinationId, actions: &mut Vec<Action>) {
        for rule in &mut self.rules {
            let Phase::Serving { change, .. } = &mut rule.phase else {
                continue;
            };
            if let Some(Change::Guarded { request, to, before, .. }) = *change
                && to == id
            {
                *change = None;
                rule.roll_back(to, before, actions);
                rule.forget_idle(actions);
                actions.extend([Action::Save, Action::Answer(request, Answer::RolledBack)]);
            }
        }
    }

    /// Switches whose guard is over stand.
    pub(super) fn guards_over(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for rule in &mut self.rules {
            let Phase::Serving { change, .. } = &mut rule.phase else {
                continue;
            };
            if let Some(Change::Guarded { request, until, .. }) = *change
                && until <= now
            {
                *change = None;
                rule.forget_idle(actions);
                actions.extend([Action::Save, Action::Answer(request, Answer::Switched)]);
            }
        }
    }
}

impl Rule {
    /// A later switch takes the place of one that is not decided. A destination that was tried for the earlier one and
    /// is wanted again stays.
    fn replace_change(&mut self, wanted: DestinationId, actions: &mut Vec<Action>) {
        if let Phase::Serving { change: change @ Some(Change::Probing { .. }), .. } = &mut self.phase
            && let Some(Change::Probing { request, to, .. }) = *change
            && to == wanted
        {
            *change = None;
            actions.extend([Action::EndProbe(to), Action::Answer(request, Answer::Replaced)]);
        } else {
            if let Phase::Serving { change: Some(Change::Guarded { .. }), .. } = &self.phase {
                // It stands as it is.
                actions.push(Action::Save);
            }
            self.end_change(Answer::Replaced, actions);
        }
    }

    /// Lets new connections go where the switch says, under its guard.
    fn commit(&mut self, now: Instant, asked: (DestinationId, How, Request), actions: &mut Vec<Action>) {
        let (to, how, request) = asked;
        let Some(before) = self.course() else {
            return;
        };
        let next = if how.weight >= 100 || before.active == to {
            Course::all_to(to)
        } else {
            Course { active: before.active, share: Some(Share { to, percent: how.weight }) }
        };
        self.set_course(next, actions);
        // What was active before has nothing to prove.
        let until = now.checked_add(how.guard).filter(|until| *until > now && before.active != to);
        match (until, &mut self.phase) {
            (Some(until), Phase::Serving { change, .. }) => {
                *change = Some(Change::Guarded { request, to, before, until });
            }
            (Some(_) | None, _) => actions.extend([Action::Save, Action::Answer(request, Answer::Switched)]),
        }
    }
}
