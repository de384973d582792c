//! A rule and its destinations.

use super::{Action, Answer, DestinationId, How, Request, RuleId};
use std::time::Instant;

/// A listener and where its connections go.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// What it does.
    pub phase: Phase,
    /// The destinations that get no new connection and are not gone, in the order in which they came to that.
    pub former: Vec<Former>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It accepts.
    Serving {
        /// Where new connections go.
        course: Course,
        /// A switch that is not decided yet.
        change: Option<Change>,
        /// Its clients wait.
        paused: bool,
    },
    /// Its listener is closed; what runs on its destinations may finish.
    Draining {
        /// When it is cut.
        by: Option<Instant>,
        /// How far it is cut.
        cut: Cut,
        /// Who waits for its end.
        requests: Vec<Request>,
    },
}

/// Whether a drain was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It was not.
    No,
    /// As asked.
    Asked,
    /// Its time was over.
    Late,
}

/// Where new connections of a rule go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// All, or the rest.
    pub active: DestinationId,
    /// A share of them.
    pub share: Option<Share>,
}

/// A share of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who gets it.
    pub to: DestinationId,
    /// How much, in percent, from 1 to 99.
    pub percent: u8,
}

/// A switch that is not decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The destination is tried; new connections go where they went.
    Probing {
        /// Who asked for the switch.
        request: Request,
        /// The destination.
        to: DestinationId,
        /// What follows when it passes.
        how: How,
    },
    /// New connections go to the destination, and its failure undoes that.
    Guarded {
        /// Who asked for the switch.
        request: Request,
        /// The destination.
        to: DestinationId,
        /// Where they went before.
        before: Course,
        /// When the switch stands.
        until: Instant,
    },
}

/// A destination that gets no new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its number.
    pub id: DestinationId,
    /// Something runs on it. One on which nothing does is kept only for the end of a guard.
    pub busy: bool,
}

impl Course {
    /// All to one.
    pub fn all_to(active: DestinationId) -> Self {
        Course { active, share: None }
    }

    /// Whether some new connections go there.
    pub fn leads_to(self, id: DestinationId) -> bool {
        self.destinations().any(|there| there == id)
    }

    /// Where new connections go, the active one first.
    pub fn destinations(self) -> impl Iterator<Item = DestinationId> {
        std::iter::once(self.active).chain(self.share.map(|share| share.to))
    }

    /// This course without the share of that destination.
    fn without(self, id: DestinationId) -> Self {
        Course { share: self.share.filter(|share| share.to != id), ..self }
    }
}

impl Rule {
    /// Where new connections go; a rule that ends has none.
    pub fn course(&self) -> Option<Course> {
        match &self.phase {
            Phase::Serving { course, .. } => Some(*course),
            Phase::Draining { .. } => None,
        }
    }

    /// What is to outlast us: the last course that stands, and whether clients wait.
    pub fn lasting(&self) -> Option<(Course, bool)> {
        match &self.phase {
            Phase::Serving { change: Some(Change::Guarded { before, .. }), paused, .. } => Some((*before, *paused)),
            Phase::Serving { course, paused, .. } => Some((*course, *paused)),
            Phase::Draining { .. } => None,
        }
    }

    /// Every destination that is not gone: where new connections go, one that is tried, then the former ones.
    pub fn destinations(&self) -> Vec<DestinationId> {
        let mut all = self.course().into_iter().flat_map(Course::destinations).collect::<Vec<_>>();
        if let Phase::Serving { change: Some(Change::Probing { to, .. }), .. } = self.phase {
            all.push(to);
        }
        all.extend(self.former.iter().map(|former| former.id));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether something runs on a former destination.
    pub fn drains(&self) -> bool {
        self.former.iter().any(|former| former.busy)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Serving { change: Some(Change::Guarded { until, .. }), .. } => Some(*until),
            Phase::Serving { .. } => None,
            Phase::Draining { by, cut: Cut::No, .. } => *by,
            Phase::Draining { .. } => None,
        }
    }

    /// Lets new connections go somewhere else. Who loses them becomes a former destination, and who gets them is one
    /// no more.
    pub(super) fn set_course(&mut self, next: Course, actions: &mut Vec<Action>) {
        let id = self.id;
        let Phase::Serving { course, .. } = &mut self.phase else {
            return;
        };
        let last = std::mem::replace(course, next);
        if last == next {
            return;
        }
        actions.push(Action::Route(id, next));
        for again in next.destinations().filter(|there| !last.leads_to(*there)) {
            if self.former.iter().any(|former| former.id == again) {
                self.former.retain(|former| former.id != again);
                actions.push(Action::Unwatch(again));
            }
        }
        for lost in last.destinations().filter(|there| !next.leads_to(*there)) {
            self.former.push(Former { id: lost, busy: true });
            actions.push(Action::Watch(lost));
        }
    }

    /// Undoes a guarded switch.
    pub(super) fn roll_back(&mut self, to: DestinationId, before: Course, actions: &mut Vec<Action>) {
        self.set_course(before.without(to), actions);
    }

    /// Forgets former destinations on which nothing runs, but for those that a guard may need again.
    pub(super) fn forget_idle(&mut self, actions: &mut Vec<Action>) {
        let kept = match &self.phase {
            Phase::Serving { change: Some(Change::Guarded { before, .. }), .. } => Some(*before),
            Phase::Serving { change: Some(Change::Probing { to, .. }), .. } => Some(Course::all_to(*to)),
            Phase::Serving { change: None, .. } | Phase::Draining { .. } => None,
        };
        self.former.retain(|former| {
            let stays = former.busy || kept.is_some_and(|course| course.leads_to(former.id));
            if !stays {
                actions.push(Action::Forget(former.id));
            }
            stays
        });
    }

    /// Ends a switch that is not decided, in favour of something else.
    pub(super) fn end_change(&mut self, answer: Answer, actions: &mut Vec<Action>) {
        let Phase::Serving { course, change, .. } = &mut self.phase else {
            return;
        };
        let course = *course;
        match change.take() {
            None => {}
            Some(Change::Probing { request, to, .. }) => {
                actions.push(Action::EndProbe(to));
                self.drop_untried(to, course, actions);
                actions.push(Action::Answer(request, answer));
            }
            Some(Change::Guarded { request, .. }) => actions.push(Action::Answer(request, answer)),
        }
    }

    /// Forgets a destination that was tried and does not get connections, unless it is a former one as well.
    pub(super) fn drop_untried(&mut self, to: DestinationId, course: Course, actions: &mut Vec<Action>) {
        if !course.leads_to(to) && !self.former.iter().any(|former| former.id == to) {
            actions.push(Action::Forget(to));
        }
        self.forget_idle(actions);
    }
}
