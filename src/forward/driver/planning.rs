//! What there is, for the process that takes over.

use super::Driver;
use super::rules::Listening;
use crate::forward::restart::plan::{
    Plan, PlannedDestination, PlannedPhase, PlannedRequest, PlannedRule, SCHEMA, milliseconds, waits,
};
use crate::forward::state::{DestinationId, Rule};
use std::time::Instant;

impl Driver {
    pub(super) fn plan(&self, descriptors: usize) -> Plan {
        let requests = self.requests.iter().map(|(request, asker)| PlannedRequest {
            number: request.0,
            client: asker.client.map(|client| client.number()),
            what: asker.what.clone(),
        });
        Plan {
            schema: SCHEMA,
            options: self.options.clone(),
            next: self.next,
            rules: self.machine.rules().iter().filter_map(|rule| self.planned(rule)).collect(),
            waits: waits(self.machine.waiters()),
            requests: requests.collect(),
            older: self.older_rest(),
            cut: self.cut_in_all,
            descriptors,
        }
    }

    fn planned(&self, rule: &Rule) -> Option<PlannedRule> {
        let listening: &Listening = self.rules.get(&rule.id)?;
        let of_rule = self.places.iter().filter(|(_, place)| place.rule == rule.id).map(|(id, _)| *id);
        let mut destinations = of_rule.filter_map(|id| self.planned_destination(id)).collect::<Vec<_>>();
        destinations.sort_by_key(|destination| destination.id);
        Some(PlannedRule {
            id: rule.id.0,
            listener: listening.door.number(),
            source: listening.text.clone(),
            address: listening.address.to_string(),
            chosen: listening.chosen,
            phase: PlannedPhase::of(&rule.phase, Instant::now(), |id| self.trials.probe_of(id)),
            former: rule.former.iter().map(|former| (former.id.0, former.busy)).collect(),
            destinations,
            cut: listening.cut,
        })
    }

    fn planned_destination(&self, id: DestinationId) -> Option<PlannedDestination> {
        let place = self.places.get(&id)?;
        let (counts, before) = (place.target.counts(), place.before);
        Some(PlannedDestination {
            id: id.0,
            endpoint: place.text.clone(),
            age_ms: milliseconds(place.target.age() + before.age),
            total: counts.total + before.total,
            bytes_in: counts.bytes_in + before.bytes_in,
            bytes_out: counts.bytes_out + before.bytes_out,
            failures: counts.failures + before.failures,
            stays: counts.connections,
        })
    }
}
