//! What there is, for `ls`, `status` and the log.

use super::Driver;
use crate::forward::NAME;
use crate::forward::request::{List, ListedDestination, ListedRule, Paths, SCHEMA, Status};
use crate::forward::state::{Course, DestinationId, Rule};
use crate::net::relay::{Ended, Path, View, Which};
use log::debug;

impl Driver {
    /// `detail`: with the path of each connection, which every loop is asked for.
    pub(super) fn list(&self, detail: bool) -> List {
        let mut rules = self.listed();
        if detail {
            let all = rules.iter_mut().flat_map(|rule| &mut rule.destinations);
            all.for_each(|destination| destination.paths = Some(Paths::default()));
            for view in self.relay.connections(Which::All) {
                self.count_path(&mut rules, &view);
            }
        }
        List { schema: SCHEMA, pid: std::process::id().cast_signed(), rules }
    }

    fn count_path(&self, rules: &mut [ListedRule], view: &View) {
        let Some(place) = view.destination.and_then(|id| self.places.get(&DestinationId(id))) else {
            return;
        };
        let Some(source) = self.rules.get(&place.rule).map(|rule| rule.text.as_str()) else {
            return;
        };
        let rule = rules.iter_mut().find(|rule| rule.source == source);
        let destinations = rule.into_iter().flat_map(|rule| &mut rule.destinations);
        let mut paths = destinations.filter(|one| one.endpoint == place.text).filter_map(|one| one.paths.as_mut());
        if let Some(paths) = paths.next() {
            match view.path {
                Path::SettingUp => paths.setting_up += 1,
                Path::Copy => paths.copy += 1,
                Path::Splice => paths.splice += 1,
                Path::Tls => paths.tls += 1,
                Path::Parked => {}
            }
        }
    }

    /// The end of a connection, for the log. It is told before its rule or its destination can be forgotten.
    pub(super) fn log_end(&self, ended: &Ended) {
        let Ended { listener, destination, client, age, bytes_in, bytes_out, how } = ended;
        let to =
            self.places.get(&DestinationId(*destination)).map_or("a former destination", |place| place.text.as_str());
        let from = self.name_of(*listener);
        debug!("{from}: {client} to {to} {how} after {age:.3?}, {bytes_in} bytes in, {bytes_out} bytes out");
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
            certificate_expires: listening.tls.as_ref().map(|tls| tls.expires().to_string()),
            destinations: active.chain(former).filter_map(|(id, course)| self.listed_destination(id, course)).collect(),
        })
    }

    fn listed_destination(&self, id: DestinationId, course: Option<Course>) -> Option<ListedDestination> {
        let place = self.places.get(&id)?;
        let (counts, elsewhere) = (place.target.counts(), self.stays(id));
        Some(ListedDestination {
            endpoint: place.text.clone(),
            status: if course.is_some() { "active" } else { "inactive" }.into(),
            connections: counts.connections + elsewhere.connections,
            bytes_in: counts.bytes_in + place.before.bytes_in + elsewhere.bytes_in,
            bytes_out: counts.bytes_out + place.before.bytes_out + elsewhere.bytes_out,
            failures: counts.failures + place.before.failures + elsewhere.failures,
            age_seconds: (place.target.age() + place.before.age).as_secs(),
            total: counts.total + place.before.total,
            weight: course.map_or(0, |course| weight(course, id)),
            paths: None,
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
