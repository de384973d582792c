//! What the old process knows, but for the descriptors: rules with their destinations, counts and what is not decided yet,
//! those who wait, and the options.
//!
//! Numbers of rules, destinations and requests stay the same in the new process, so that what is said of one is
//! understood later, too. Times are what is left of them.

use super::rest::Rest;
use crate::forward::probe::Probe;
use crate::forward::state::{
    Change, Course, Cut, DestinationId, Former, How, Phase, Request, Rule, RuleId, Scope, Share,
};
use crate::forward::store::SavedOptions;
use crate::takeover::{Exchange, ExchangeError};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The version of this form, and of the words around it.
pub const SCHEMA: u32 = 1;

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this form.
    pub schema: u32,
    /// What holds for all rules.
    pub options: SavedOptions,
    /// No number above this was used.
    pub next: u64,
    /// The rules.
    pub rules: Vec<PlannedRule>,
    /// Those who wait until nothing runs on a former destination: the request and its rules; without rules: all.
    pub waits: Vec<(u64, Option<Vec<u64>>)>,
    /// Those who wait for an answer.
    pub requests: Vec<PlannedRequest>,
    /// What has stayed in processes before the old one, for each of them.
    pub older: Vec<Vec<Rest>>,
    /// How many connections were cut since a stop was asked for.
    pub cut: usize,
    /// How many descriptors follow; none while it is only tried.
    pub descriptors: usize,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRule {
    /// Its number.
    pub id: u64,
    /// The number by which connections know its listener.
    pub listener: u32,
    /// Where it listens, as `ls` shows it.
    pub source: String,
    /// The address that it is bound to.
    pub address: String,
    /// The port was left open.
    pub chosen: bool,
    /// What it does.
    pub phase: PlannedPhase,
    /// Former destinations, and whether something runs there.
    pub former: Vec<(u64, bool)>,
    /// All that are not gone.
    pub destinations: Vec<PlannedDestination>,
    /// How many of its connections were cut.
    pub cut: usize,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the list of destinations")]
pub struct PlannedDestination {
    pub id: u64,
    pub endpoint: String,
    pub age_ms: u64,
    pub total: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub failures: u64,
    /// Connections that stay in the old process.
    pub stays: u64,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "as in the state machine")]
pub enum PlannedPhase {
    Serving { course: PlannedCourse, change: Option<PlannedChange>, paused: bool },
    Draining { left_ms: Option<u64>, cut: PlannedCut, requests: Vec<u64> },
}

/// Where new connections go: the active destination, and another with its percentage.
pub type PlannedCourse = (u64, Option<(u64, u8)>);

/// A switch that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "as in the state machine")]
pub enum PlannedChange {
    Probing { request: u64, to: u64, guard_ms: u64, weight: u8, probe: String, within_ms: u64 },
    Guarded { request: u64, to: u64, before: PlannedCourse, left_ms: u64 },
}

/// Whether a drain was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "as in the state machine")]
pub enum PlannedCut {
    No,
    Asked,
    Late,
}

/// One who waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRequest {
    /// The number of the request.
    pub number: u64,
    /// Whose it is, by the number of a descriptor; nobody's if that has left.
    pub client: Option<u64>,
    /// What was asked for.
    pub what: What,
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A switch to stand or to fail.
    #[allow(missing_docs, reason = "the names say it")]
    Switch { source: String, destination: String },
    /// That nothing runs on a former destination.
    Wait,
    /// The end of a rule, by its number.
    StopRule(u64),
    /// The end of everything.
    Stop,
    /// A new process.
    Restart,
    /// A rule, whose name is looked up.
    #[allow(missing_docs, reason = "the names say it")]
    Start { source: String, destination: String },
}

impl Plan {
    /// Hears a plan.
    ///
    /// # Errors
    /// It is not understood, or of another version.
    pub fn hear(exchange: &Exchange) -> Result<Plan, ExchangeError> {
        let value = exchange.hear::<serde_json::Value>()?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => Ok(serde_json::from_value(value)?),
            schema => Err(ExchangeError::Version { theirs: schema.unwrap_or_default(), ours: SCHEMA }),
        }
    }

    /// Those who wait, for the state machine.
    pub fn waiters(&self) -> Vec<(Request, Scope)> {
        let scope = |rules: &Option<Vec<u64>>| match rules {
            None => Scope::All,
            Some(rules) => Scope::Rules(rules.iter().copied().map(RuleId).collect()),
        };
        self.waits.iter().map(|(request, rules)| (Request(*request), scope(rules))).collect()
    }
}

/// Those who wait, from the state machine.
pub fn waits<'a>(waiters: impl Iterator<Item = (Request, &'a Scope)>) -> Vec<(u64, Option<Vec<u64>>)> {
    let rules = |scope: &Scope| match scope {
        Scope::All => None,
        Scope::Rules(rules) => Some(rules.iter().map(|rule| rule.0).collect()),
    };
    waiters.map(|(request, scope)| (request.0, rules(scope))).collect()
}

impl PlannedRule {
    /// The rule, for the state machine.
    pub fn rule(&self, now: Instant) -> Rule {
        let former = self.former.iter().map(|(id, busy)| Former { id: DestinationId(*id), busy: *busy }).collect();
        Rule { id: RuleId(self.id), phase: self.phase.phase(now), former }
    }
}

impl PlannedPhase {
    /// Of a rule, and of the probe that is made for it.
    pub fn of(phase: &Phase, now: Instant, probe: impl Fn(DestinationId) -> Option<(Probe, Duration)>) -> Self {
        match phase {
            Phase::Serving { course: now_at, change, paused } => PlannedPhase::Serving {
                course: planned(*now_at),
                change: change.map(|change| planned_change(change, now, probe)),
                paused: *paused,
            },
            Phase::Draining { by, cut, requests } => PlannedPhase::Draining {
                left_ms: by.map(|by| left(by, now)),
                cut: match cut {
                    Cut::No => PlannedCut::No,
                    Cut::Asked => PlannedCut::Asked,
                    Cut::Late => PlannedCut::Late,
                },
                requests: requests.iter().map(|request| request.0).collect(),
            },
        }
    }

    fn phase(&self, now: Instant) -> Phase {
        match self {
            PlannedPhase::Serving { course: now_at, change, paused } => Phase::Serving {
                course: course(*now_at),
                change: change.as_ref().map(|change| change.change(now)),
                paused: *paused,
            },
            PlannedPhase::Draining { left_ms, cut, requests } => Phase::Draining {
                by: left_ms.map(|left_ms| now + Duration::from_millis(left_ms)),
                cut: match cut {
                    PlannedCut::No => Cut::No,
                    PlannedCut::Asked => Cut::Asked,
                    PlannedCut::Late => Cut::Late,
                },
                requests: requests.iter().copied().map(Request).collect(),
            },
        }
    }
}

fn planned_change(
    change: Change,
    now: Instant,
    probe: impl Fn(DestinationId) -> Option<(Probe, Duration)>,
) -> PlannedChange {
    match change {
        Change::Probing { request, to, how } => {
            // One that is not known any more has just been answered by its thread; it is made again.
            let (probe, within) = probe(to).unwrap_or((Probe::Connect, Duration::from_secs(5)));
            PlannedChange::Probing {
                request: request.0,
                to: to.0,
                guard_ms: milliseconds(how.guard),
                weight: how.weight,
                probe: probe.to_string(),
                within_ms: milliseconds(within),
            }
        }
        Change::Guarded { request, to, before, until } => {
            PlannedChange::Guarded { request: request.0, to: to.0, before: planned(before), left_ms: left(until, now) }
        }
    }
}

impl PlannedChange {
    fn change(&self, now: Instant) -> Change {
        match self {
            PlannedChange::Probing { request, to, guard_ms, weight, .. } => {
                let how = How { probe: true, guard: Duration::from_millis(*guard_ms), weight: *weight };
                Change::Probing { request: Request(*request), to: DestinationId(*to), how }
            }
            PlannedChange::Guarded { request, to, before, left_ms } => Change::Guarded {
                request: Request(*request),
                to: DestinationId(*to),
                before: course(*before),
                until: now + Duration::from_millis(*left_ms),
            },
        }
    }
}

/// A course as it is written.
fn planned(course: Course) -> PlannedCourse {
    (course.active.0, course.share.map(|share| (share.to.0, share.percent)))
}

/// A course from what was written.
pub fn course((active, share): PlannedCourse) -> Course {
    let share = share.map(|(to, percent)| Share { to: DestinationId(to), percent });
    Course { active: DestinationId(active), share }
}

fn left(until: Instant, now: Instant) -> u64 {
    milliseconds(until.saturating_duration_since(now))
}

/// A time as it is written.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Plan, PlannedPhase, SCHEMA, course, planned, waits};
    use crate::forward::probe::Probe;
    use crate::forward::state::{Change, Course, Cut, DestinationId, How, Phase, Request, RuleId, Scope, Share};
    use crate::takeover::{Exchange, ExchangeError};
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    fn phases(now: Instant) -> Vec<Phase> {
        let to = DestinationId(7);
        let share = Course { active: DestinationId(6), share: Some(Share { to, percent: 10 }) };
        let how = How { probe: true, guard: Duration::from_secs(3), weight: 25 };
        let until = now + Duration::from_secs(5);
        let serving = |change, paused| Phase::Serving { course: share, change, paused };
        let draining = |by, cut| Phase::Draining { by, cut, requests: vec![Request(1), Request(2)] };
        vec![
            serving(None, true),
            serving(Some(Change::Probing { request: Request(9), to, how }), false),
            serving(Some(Change::Guarded { request: Request(9), to, before: Course::all_to(to), until }), false),
            draining(None, Cut::No),
            draining(Some(until), Cut::Asked),
            draining(Some(until), Cut::Late),
        ]
    }

    #[test]
    fn what_a_rule_does_comes_back_as_it_was() {
        let now = Instant::now();
        let probe = |_| Some(("send:a\\,b,expect:c".parse::<Probe>().unwrap(), Duration::from_secs(2)));
        for phase in phases(now) {
            let written = serde_json::to_string(&PlannedPhase::of(&phase, now, probe)).unwrap();
            assert_eq!(serde_json::from_str::<PlannedPhase>(&written).unwrap().phase(now), phase, "{written}");
            assert_eq!(written.contains(r"send:a\\,b,expect:c"), written.contains("probing"), "{written}");
        }
        let all = Course::all_to(DestinationId(1));
        assert_eq!(course(planned(all)), all);
    }

    #[test]
    fn a_plan_of_another_version_is_refused_before_it_is_read() {
        let scopes = [(Request(1), Scope::All), (Request(2), Scope::Rules(vec![RuleId(3)]))];
        let plan = Plan {
            schema: SCHEMA,
            options: Default::default(),
            next: 5,
            rules: Vec::new(),
            waits: waits(scopes.iter().map(|(request, scope)| (*request, scope))),
            requests: Vec::new(),
            older: Vec::new(),
            cut: 0,
            descriptors: 0,
        };
        assert_eq!(plan.waiters(), scopes);
        let (one, mut other) = UnixStream::pair().unwrap();
        let exchange = Exchange::new(one, Duration::from_secs(10));
        writeln!(other, "{}\n{{\"schema\":2,\"unheard\":\"of\"}}", serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(Plan::hear(&exchange).unwrap(), plan);
        assert!(matches!(Plan::hear(&exchange), Err(ExchangeError::Version { theirs: 2, .. })));
    }
}
