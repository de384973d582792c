//! What happens by time alone. A session has one deadline, the next of all.

use super::{Action, Connection, Session, Stage};
use crate::session::frame::{Closed, Detached};
use std::time::Instant;

/// After so many PINGs without an answer a client is taken for gone.
pub(super) const PINGS: u32 = 2;

impl Session {
    /// When `Deadline` is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        let beats = self.attachments.iter().map(|attachment| self.beat(attachment.heard, attachment.pings));
        beats.chain(self.expiry()).min()
    }

    /// When it ends if nobody comes.
    pub fn expiry(&self) -> Option<Instant> {
        match (self.stage, self.end) {
            (Stage::Gone, _) => None,
            (Stage::Provisional { until }, _) => Some(until),
            (Stage::Active, _) if !self.attachments.is_empty() => None,
            (Stage::Active, None) => self.policy.ttl.map(|ttl| self.alone_since + ttl),
            (Stage::Active, Some(end)) => Some(self.alone_since.max(end.since) + self.policy.linger),
        }
    }

    fn beat(&self, heard: Instant, pings: u32) -> Instant {
        heard + self.policy.heartbeat * (pings + 1)
    }

    pub(super) fn deadline_came(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.expiry().is_some_and(|expiry| expiry <= now) {
            return self.over(now, Closed::Expired, actions);
        }
        let due = |session: &Session| {
            let mut attachments = session.attachments.iter();
            let due = attachments.find(|attachment| session.beat(attachment.heard, attachment.pings) <= now);
            due.map(|attachment| (attachment.connection, attachment.pings))
        };
        while let Some((connection, pings)) = due(self) {
            self.beat_came(now, connection, pings, actions);
        }
    }

    /// A silent client is asked, or taken for gone. Where a late turn of the loop has missed a question, it is asked now:
    /// nobody is dismissed who was not asked in vain.
    fn beat_came(&mut self, now: Instant, connection: Connection, pings: u32, actions: &mut Vec<Action>) {
        if pings >= PINGS {
            return self.dismiss(now, connection, Detached::Silent, actions);
        }
        let heartbeat = self.policy.heartbeat;
        self.owe(connection, actions, |attachment| {
            attachment.owed.ping = true;
            attachment.pings += 1;
            // The answer has a heartbeat's time from now.
            let asked_at = attachment.heard + heartbeat * attachment.pings;
            attachment.heard += now.saturating_duration_since(asked_at);
        });
    }
}
