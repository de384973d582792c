//! What happens to a reader by time. Pure.

use super::{Action, Link, Manner, Reader, Reason, STAYS};
use std::time::{Duration, Instant};

/// How long the server may take to let somebody in: a denial takes eight seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);
/// After so many PINGs without an answer a server is taken for gone.
const PINGS: u32 = 2;

impl Reader {
    /// When it is to be [ticked](Reader::tick).
    pub fn deadline(&self) -> Option<Instant> {
        let idle = (self.request.is_none() && !matches!(self.link, Link::None)).then(|| self.idle + STAYS);
        let reading = match &self.link {
            Link::None => None,
            Link::Coming { until, .. } => Some(*until),
            Link::Attached(reading) => {
                let beat = reading.terms.heartbeat;
                let beat = (!beat.is_zero()).then(|| reading.heard + beat * (reading.pings + 1));
                let asked = self.request.as_ref().and_then(|request| match request.manner {
                    Manner::Poll { until, .. } => Some(match (reading.goal, reading.barrier) {
                        (Some(goal), _) => goal.until,
                        (None, Some(barrier)) => until.max(barrier.until),
                        (None, None) => until,
                    }),
                    Manner::Follow => self.stuck_from(),
                });
                beat.into_iter().chain(asked).min()
            }
        };
        idle.into_iter().chain(reading).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.request.is_none() && self.idle + STAYS <= now && !matches!(self.link, Link::None) {
            self.link = Link::None;
            actions.push(Action::Disconnect);
            return;
        }
        match &mut self.link {
            Link::None => {}
            Link::Coming { until, .. } if *until <= now => self.leave_for(now, Reason::Unreachable, actions),
            Link::Coming { .. } => {}
            Link::Attached(reading) => {
                let beat = reading.terms.heartbeat;
                let silent = !beat.is_zero() && reading.heard + beat * (reading.pings + 1) <= now;
                if silent && reading.pings >= PINGS {
                    self.lost(now, actions);
                } else if silent {
                    reading.pings += 1;
                    reading.owed.ping = true;
                }
            }
        }
        self.settle(now, actions);
    }
}
