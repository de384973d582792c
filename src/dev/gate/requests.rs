//! Requests: which server has them, or since when they wait.

use super::{Action, Gate, Generation, Request, State, Why};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// So long a request that its server has lost waits for news of that server.
const NEWS: Duration = Duration::from_millis(500);

/// Where a request is. From its first wait or loss on it has a limit, at which it is not held or sent again any more, however many
/// servers it has been at: what it does at each of them may be what brings the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits until this time for the next server, or for what becomes of the one that has lost it.
    Held { until: Instant, limit: Instant, lost_by: Option<Generation> },
    /// This server has it. `bound`: no other one can answer it. `limit`: it has waited, or been lost, before.
    At { server: Generation, bound: bool, limit: Option<Instant> },
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
    fn waiting(&self) -> Vec<(Request, Instant, Option<Generation>)> {
        let held = self.places.iter().filter_map(|(request, place)| match place {
            Place::Held { limit, lost_by, .. } => Some((*request, *limit, *lost_by)),
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
            Some(server) => self.forward(request, server, None, actions),
            None => self.hold_or_refuse(now, request, actions),
        }
    }

    fn forward(&mut self, request: Request, server: Generation, limit: Option<Instant>, actions: &mut Vec<Action>) {
        self.requests.put(request, Place::At { server, bound: false, limit });
        actions.push(Action::Forward(request, server));
    }

    /// There is no server. If there will be one, the request waits for it.
    fn hold_or_refuse(&mut self, now: Instant, request: Request, actions: &mut Vec<Action>) {
        if let Some(why) = self.why_not_held() {
            actions.push(Action::Refuse(request, why));
            return;
        }
        let limit = now + self.policy.hold_timeout;
        self.requests.put(request, Place::Held { until: limit, limit, lost_by: None });
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
    /// only behind a change, which need not be somebody's: a request that writes a file is followed by a restart each time that
    /// it is sent. So its limit is that of its first wait or loss.
    pub(super) fn lost(&mut self, now: Instant, request: Request, replayable: bool, actions: &mut Vec<Action>) {
        let Some(Place::At { server, limit, .. }) = self.requests.remove(request) else { return };
        let limit = limit.unwrap_or(now + self.policy.hold_timeout);
        if !replayable {
            actions.push(Action::Refuse(request, Why::Lost));
        } else if limit <= now {
            actions.push(Action::Refuse(request, Why::TooLong));
        } else if let Some(other) = self.serving().filter(|serving| *serving != server) {
            self.forward(request, other, Some(limit), actions);
        } else if let Some(why) = self.why_not_held() {
            actions.push(Action::Refuse(request, why));
        } else {
            let until = if self.serving().is_some() { limit.min(now + NEWS) } else { limit };
            self.requests.put(request, Place::Held { until, limit, lost_by: Some(server) });
        }
        self.finished(now, server, actions);
    }

    /// All who wait go to a server, but for those that it has lost itself.
    pub(super) fn release(&mut self, server: Generation, actions: &mut Vec<Action>) {
        for (request, limit, lost_by) in self.requests.waiting() {
            self.requests.remove(request);
            if lost_by == Some(server) {
                actions.push(Action::Refuse(request, Why::Lost));
            } else {
                self.forward(request, server, Some(limit), actions);
            }
        }
    }

    /// None who waits has anything to wait for.
    pub(super) fn refuse_all(&mut self, why: Why, actions: &mut Vec<Action>) {
        for (request, ..) in self.requests.waiting() {
            self.requests.remove(request);
            actions.push(Action::Refuse(request, why));
        }
    }

    pub(super) fn held_in_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((_, request)) = self.requests.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            // There are no news of the server that has lost it, or it has come to its limit.
            let lost = matches!(self.requests.remove(request), Some(Place::Held { until, limit, .. }) if until < limit);
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
