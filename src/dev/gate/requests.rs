//! Requests: which server has them, or since when they wait.

use super::{Action, Gate, Generation, Request, State, Why};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// So long a request that its server has lost waits for news of that server.
const NEWS: Duration = Duration::from_millis(500);

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits until this time for the next server, or for what becomes of the one that has lost it.
    Held { until: Instant, lost_by: Option<Generation> },
    /// This server has it. `bound`: no other one can answer it.
    At { server: Generation, bound: bool },
}

/// All requests that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    places: BTreeMap<Request, Place>,
    deadlines: BTreeSet<(Instant, Request)>,
    at: BTreeMap<Generation, usize>,
}

impl Requests {
    pub(super) fn held(&self) -> usize {
        self.deadlines.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// How many a server has.
    pub(super) fn at(&self, server: Generation) -> usize {
        self.at.get(&server).copied().unwrap_or(0)
    }

    /// How many servers have, all together.
    pub(super) fn in_progress(&self) -> usize {
        self.at.values().sum()
    }

    /// Whether no other server could answer one of those that it has.
    pub(super) fn bound_to(&self, generation: Generation) -> bool {
        let bound = |place: &Place| matches!(place, Place::At { server, bound: true, .. } if *server == generation);
        self.places.values().any(bound)
    }

    pub(super) fn bind(&mut self, request: Request, is_bound: bool) {
        if let Some(Place::At { bound, .. }) = self.places.get_mut(&request) {
            *bound = is_bound;
        }
    }

    fn remove(&mut self, request: Request) -> Option<Place> {
        let place = self.places.remove(&request)?;
        match place {
            Place::Held { until, .. } => {
                self.deadlines.remove(&(until, request));
            }
            Place::At { server, .. } => {
                if let Some(count) = self.at.get_mut(&server) {
                    *count -= 1;
                    if *count == 0 {
                        self.at.remove(&server);
                    }
                }
            }
        }
        Some(place)
    }

    fn put(&mut self, request: Request, place: Place) {
        match place {
            Place::Held { until, .. } => {
                self.deadlines.insert((until, request));
            }
            Place::At { server, .. } => *self.at.entry(server).or_default() += 1,
        }
        self.places.insert(request, place);
    }

    /// Those that wait, in the order in which they came.
    fn waiting(&self) -> Vec<(Request, Option<Generation>)> {
        let held = self.places.iter().filter_map(|(request, place)| match place {
            Place::Held { lost_by, .. } => Some((*request, *lost_by)),
            Place::At { .. } => None,
        });
        held.collect()
    }
}

impl Gate {
    /// What a request that no server gets would wait for.
    fn waits_for(&self) -> Waiting {
        match self.state {
            State::Failed => Waiting::Nothing,
            State::Ending { .. } => Waiting::End,
            State::Building { .. } | State::Starting { .. } | State::Up | State::Stopping { .. } => Waiting::Server,
        }
    }

    pub(super) fn came(&mut self, now: Instant, request: Request, actions: &mut Vec<Action>) {
        match self.serving() {
            Some(server) => self.forward(request, server, actions),
            None => self.hold_or_refuse(now, request, actions),
        }
    }

    fn forward(&mut self, request: Request, server: Generation, actions: &mut Vec<Action>) {
        self.requests.put(request, Place::At { server, bound: false });
        actions.push(Action::Forward(request, server));
    }

    /// There is no server. If there will be one, the request waits for it.
    fn hold_or_refuse(&mut self, now: Instant, request: Request, actions: &mut Vec<Action>) {
        if let Some(why) = self.why_not_held() {
            actions.push(Action::Refuse(request, why));
            return;
        }
        self.requests.put(request, Place::Held { until: now + self.policy.hold_timeout, lost_by: None });
    }

    fn why_not_held(&self) -> Option<Why> {
        match self.waits_for() {
            Waiting::Nothing => Some(Why::Failed),
            Waiting::End => Some(Why::Ending),
            Waiting::Server => (self.requests.held() >= self.policy.hold_limit).then_some(Why::Full),
        }
    }

    pub(super) fn done(&mut self, now: Instant, request: Request, actions: &mut Vec<Action>) {
        if let Some(Place::At { server, .. }) = self.requests.remove(request) {
            self.finished(now, server, actions);
        }
    }

    /// A server has not answered. It may be dead without our knowing: then the next one gets the request. There is a next one
    /// only behind a change, so a request that kills its server is asked no more often than somebody saves.
    pub(super) fn lost(&mut self, now: Instant, request: Request, replayable: bool, actions: &mut Vec<Action>) {
        let Some(Place::At { server, .. }) = self.requests.remove(request) else { return };
        if !replayable {
            actions.push(Action::Refuse(request, Why::Lost));
        } else if let Some(other) = self.serving().filter(|serving| *serving != server) {
            self.forward(request, other, actions);
        } else if let Some(why) = self.why_not_held() {
            actions.push(Action::Refuse(request, why));
        } else {
            let patience = if self.serving().is_some() { NEWS } else { self.policy.hold_timeout };
            let until = now + patience.min(self.policy.hold_timeout);
            self.requests.put(request, Place::Held { until, lost_by: Some(server) });
        }
        self.finished(now, server, actions);
    }

    /// All who wait go to a server, but for those that it has lost itself.
    pub(super) fn release(&mut self, server: Generation, actions: &mut Vec<Action>) {
        for (request, lost_by) in self.requests.waiting() {
            self.requests.remove(request);
            if lost_by == Some(server) {
                actions.push(Action::Refuse(request, Why::Lost));
            } else {
                self.forward(request, server, actions);
            }
        }
    }

    /// None who waits has anything to wait for.
    pub(super) fn refuse_all(&mut self, why: Why, actions: &mut Vec<Action>) {
        for (request, _) in self.requests.waiting() {
            self.requests.remove(request);
            actions.push(Action::Refuse(request, why));
        }
    }

    pub(super) fn held_in_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((_, request)) = self.requests.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            let lost = matches!(self.requests.remove(request), Some(Place::Held { lost_by: Some(_), .. }));
            actions.push(Action::Refuse(request, if lost { Why::Lost } else { Why::TooLong }));
        }
    }
}

/// What a request would wait for.
pub(super) enum Waiting {
    Server,
    /// No server will be before a file changes.
    Nothing,
    End,
}
