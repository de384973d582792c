//! What there is, for `ls` and `status`.

use super::Driver;
use crate::forward::NAME;
use crate::forward::request::{List, ListedDestination, ListedRule, SCHEMA, Status};
use crate::forward::state::{Course, DestinationId, Rule};

impl Driver {
    pub(super) fn list(&self) -> List {
        List { schema: SCHEMA, pid: std::process::id().cast_signed(), rules: self.listed() }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            schema: SCHEMA,
            role: "forward".into(),
            name: NAME.into(),
            pid: std::process::id().cast_signed(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.since.elapsed().as_secs(),
            rules: self.listed(),
        }
    }

    /// By source; of the same source, the latest first.
    fn listed(&self) -> Vec<ListedRule> {
        let mut rules = self.machine.rules().iter().rev().filter_map(|rule| self.listed_rule(rule)).collect::<Vec<_>>();
        rules.sort_by(|one, other| one.source.cmp(&other.source));
        rules
    }

    fn listed_rule(&self, rule: &Rule) -> Option<ListedRule> {
        let listening = self.rules.get(&rule.id)?;
        let active =
            rule.course().into_iter().flat_map(|course| course.destinations().map(move |id| (id, Some(course))));
        let former = rule.former.iter().rev().map(|former| (former.id, None));
        Some(ListedRule {
            source: listening.text.clone(),
            address: listening.address.to_string(),
            paused: self.is_paused(rule.id),
            draining: rule.course().is_none(),
            parked: if self.is_paused(rule.id) { self.relay.parked(listening.door) } else { 0 },
            destinations: active.chain(former).filter_map(|(id, course)| self.listed_destination(id, course)).collect(),
        })
    }

    fn listed_destination(&self, id: DestinationId, course: Option<Course>) -> Option<ListedDestination> {
        let place = self.places.get(&id)?;
        let counts = place.target.counts();
        Some(ListedDestination {
            endpoint: place.text.clone(),
            status: if course.is_some() { "active" } else { "inactive" }.into(),
            connections: counts.connections,
            bytes_in: counts.bytes_in + place.before.bytes_in,
            bytes_out: counts.bytes_out + place.before.bytes_out,
            failures: counts.failures + place.before.failures,
            age_seconds: (place.target.age() + place.before.age).as_secs(),
            total: counts.total + place.before.total,
            weight: course.map_or(0, |course| weight(course, id)),
        })
    }
}

fn weight(course: Course, id: DestinationId) -> u8 {
    match course.share {
        Some(share) if share.to == id => share.percent,
        Some(share) => 100 - share.percent,
        None => 100,
    }
}
