//! One generation: its number, why it was started, and its phase with the times that belong to it.

use super::{ALIVE, GROUP_CHECK, GROUP_CHECK_MOST, KILL_AFTER, Policy, Readiness, Request};
use std::fmt;
use std::time::{Duration, Instant};

/// The number of a generation; the first is 1, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a generation was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The supervisor began.
    First,
    /// A reload was asked for.
    Reload(Request),
    /// The serving generation died.
    Respawn,
}

/// Where a generation is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet.
    Starting {
        /// When it was started.
        since: Instant,
        /// When it has failed if it is not ready.
        ready_by: Instant,
        /// When being alive is enough.
        alive_at: Option<Instant>,
    },
    /// New connections go to it.
    Serving {
        /// Since when.
        since: Instant,
    },
    /// Kept for the case that its successor dies.
    Parked {
        /// Until when.
        until: Instant,
    },
    /// On its way out.
    Draining {
        /// How far it has been pressed.
        drain: Drain,
        /// The next look at its group: its leader has gone, others of the group still run.
        check: Option<Check>,
    },
}

/// How far a draining generation has been pressed to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It was asked, and may take until `until`.
    Asked {
        /// When TERM follows.
        until: Option<Instant>,
    },
    /// Its group got TERM; KILL follows.
    Terminated {
        /// When KILL follows.
        kill_at: Instant,
    },
    /// Its group got KILL.
    Killed,
}

/// When the process group of a generation without a leader is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// When.
    pub at: Instant,
    /// How long after the look before.
    after: Duration,
}

/// A generation that is not gone.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Which one.
    pub number: Number,
    /// Why it was started.
    pub cause: Cause,
    /// Where it is.
    pub phase: Phase,
    /// Whether its child uses the channel.
    pub(super) spoke: bool,
    /// How often its child must say that it lives.
    pub(super) watchdog: Option<Duration>,
    /// When it is taken for hung, while it serves.
    pub(super) hung_at: Option<Instant>,
}

impl Generation {
    pub(super) fn new(number: Number, cause: Cause, now: Instant, policy: &Policy, spoken: bool) -> Self {
        let alive = match policy.readiness {
            Readiness::Auto => (!spoken).then_some(ALIVE),
            Readiness::Channel | Readiness::Notify | Readiness::Descriptor | Readiness::Probe => None,
            Readiness::Alive(time) => Some(time),
        };
        let phase = Phase::Starting {
            since: now,
            ready_by: now + policy.ready_timeout,
            alive_at: alive.map(|time| now + time),
        };
        Generation { number, cause, phase, spoke: false, watchdog: policy.watchdog, hung_at: None }
    }

    /// When this generation needs [`super::Input::Deadline`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { ready_by, alive_at, .. } => earliest(Some(ready_by), alive_at),
            Phase::Serving { .. } => self.hung_at,
            Phase::Parked { until } => Some(until),
            Phase::Draining { drain, check } => earliest(drain.deadline(), check.map(|check| check.at)),
        }
    }
}

impl Check {
    /// The first look.
    pub(super) fn first(now: Instant) -> Check {
        Check { at: now + GROUP_CHECK, after: GROUP_CHECK }
    }

    /// The look after this one, twice as long after it: looking takes a while on a host with many processes.
    pub(super) fn next(self, now: Instant) -> Check {
        let after = (self.after * 2).min(GROUP_CHECK_MOST);
        Check { at: now + after, after }
    }
}

impl Drain {
    pub(super) fn asked(now: Instant, limit: Option<Duration>) -> Drain {
        // A limit past the end of the clock is no limit.
        Drain::Asked { until: limit.and_then(|limit| now.checked_add(limit)) }
    }

    pub(super) fn terminated(now: Instant) -> Drain {
        Drain::Terminated { kill_at: now + KILL_AFTER }
    }

    /// No later than `by`.
    pub(super) fn cut_short(&mut self, by: Instant) {
        match self {
            Drain::Asked { until } => *until = earliest(*until, Some(by)),
            Drain::Terminated { .. } | Drain::Killed => {}
        }
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Drain::Asked { until } => until,
            Drain::Terminated { kill_at } => Some(kill_at),
            Drain::Killed => None,
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
