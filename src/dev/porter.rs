//! The gate with its door: what the gate decides is decided with everybody in view who has gone through the door without asking.

use super::door::Door;
use super::event::Standing;
use super::gate::{Action, Gate, Generation, Input, Policy, Request};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

/// The gate's only user.
#[derive(Debug)]
pub(super) struct Porter {
    gate: Gate,
    door: Arc<Door>,
    overlap: bool,
    /// The servers that have answered, and where.
    addresses: BTreeMap<Generation, SocketAddr>,
    /// How the requests stand that the gate knows of. With overlap nothing is decided by that, and none is kept.
    standings: HashMap<Request, Arc<Standing>>,
}

impl Porter {
    pub(super) fn new(policy: Policy, door: Arc<Door>) -> Porter {
        let (addresses, standings) = (BTreeMap::new(), HashMap::new());
        Porter { gate: Gate::new(policy), door, overlap: policy.overlap, addresses, standings }
    }

    /// How it stands.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// How many requests servers have, by whichever way they came.
    pub(super) fn in_progress(&self) -> usize {
        self.gate.in_progress() + self.door.count()
    }

    /// Where a server answers, if it has.
    pub(super) fn address(&self, generation: Generation) -> Option<SocketAddr> {
        self.addresses.get(&generation).copied()
    }

    /// A server has answered there; [`Input::Answered`] follows. False: nobody waits for it any more, it may even be gone, and
    /// nothing is to follow.
    pub(super) fn answers_at(&mut self, generation: Generation, address: SocketAddr) -> bool {
        let awaited = self.gate.next() == Some(generation);
        if awaited {
            self.addresses.insert(generation, address);
        }
        awaited
    }

    /// A request asks, and stands like this; [`Input::Came`] follows.
    pub(super) fn asks(&mut self, request: Request, standing: Arc<Standing>) {
        if !self.overlap {
            self.standings.insert(request, standing);
        }
    }

    /// One step of the gate. It knows before of all that have gone through the door, unless it is about a request alone: no such
    /// step changes who answers, or is decided by what others do. [`Porter::open`] follows.
    pub(super) fn on(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        let of_a_request = matches!(input, Input::Came(_) | Input::Lost(..) | Input::Done(_) | Input::Bound(..));
        if !of_a_request {
            for (request, standing) in self.door.close() {
                self.has_entered(now, request, standing);
            }
        } else if let Input::Lost(request, _) = input
            && let Some(standing) = self.door.take(request)
        {
            self.has_entered(now, request, standing);
        }
        // A server may be about to end, or waits for its requests to do so.
        if !of_a_request || self.gate.finishes() {
            self.tell_standings(now, actions);
        }
        self.gate.on(now, input, actions);
        match input {
            Input::Done(request) => drop(self.standings.remove(&request)),
            Input::Gone(generation) => drop(self.addresses.remove(&generation)),
            _ => {}
        }
    }

    /// Whoever comes goes in again, if a server answers. This is for when the actions of a step have been performed: a page of
    /// a new server that was had before would hear only then that browsers are to load it, and load itself once more.
    pub(super) fn open(&self) {
        if let Some(server) = self.gate.serving()
            && let Some(address) = self.address(server)
        {
            self.door.open(server, address);
        }
    }

    /// It went where the gate would have sent it, as nothing has changed since, so that nothing is to be done.
    fn has_entered(&mut self, now: Instant, request: Request, standing: Arc<Standing>) {
        self.asks(request, standing);
        let mut done = Vec::new();
        self.gate.on(now, Input::Came(request), &mut done);
        debug_assert!(matches!(done[..], [Action::Forward(..)]), "{done:?}");
    }

    fn tell_standings(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for (request, standing) in &self.standings {
            self.gate.on(now, Input::Bound(*request, standing.is_bound()), actions);
        }
    }
}
