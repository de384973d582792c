//! What happens to a client by time: its deadlines, and when it connects again. Pure.

use super::{Breach, Client, Link, Next, Silent};
use std::time::{Duration, Instant};

/// After so many PINGs without an answer a server is taken for gone.
const PINGS: u32 = 2;
/// How soon what was dealt with is acknowledged, at the latest.
const ACK_WITHIN: Duration = Duration::from_millis(50);
/// So many bytes are acknowledged at once.
const ACK_BYTES: u64 = 64 * 1024;
/// A connection that has lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(5);
/// How long it waits before it connects for the third time, and at the most; it doubles in between.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl Client {
    /// The application has dealt with the output below this offset.
    pub fn done(&mut self, now: Instant, next: u64) {
        self.output.done = self.output.done.max(next.min(self.output.next));
        let (done, window) = (self.output.done, u64::from(self.settings.window));
        if let Link::Attached(attached) = &mut self.link {
            let new = done.saturating_sub(attached.acked);
            attached.owed.ack |= new >= ACK_BYTES.min(window / 2).max(1);
            if new > 0 && attached.ack_due.is_none() {
                attached.ack_due = Some(now + ACK_WITHIN);
            }
        }
    }

    /// The application has dealt with all output and its end.
    pub fn end_done(&mut self) {
        if self.output.end.is_some() {
            (self.output.done, self.output.end_done) = (self.output.next, true);
            self.with_owed(|owed| owed.ack = true);
        }
    }

    /// When [`Client::tick`] is wanted, while there is a connection.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.link {
            Link::None => None,
            Link::Greeting { until, .. } | Link::Coming { until, .. } => Some(*until),
            Link::Attached(attached) => {
                let heartbeat = attached.terms.heartbeat;
                let beat = (!heartbeat.is_zero()).then(|| attached.heard + heartbeat * (attached.pings + 1));
                beat.into_iter().chain(attached.ack_due).min()
            }
        }
    }

    /// Time has passed. An error when the server is silent for too long: the connection is to be closed.
    pub fn tick(&mut self, now: Instant) -> Result<(), Silent> {
        let silent = match &mut self.link {
            Link::None => false,
            Link::Greeting { until, .. } | Link::Coming { until, .. } => *until <= now,
            Link::Attached(attached) => {
                attached.owed.ack |= attached.ack_due.take_if(|due| *due <= now).is_some();
                let heartbeat = attached.terms.heartbeat;
                let due = !heartbeat.is_zero() && attached.heard + heartbeat * (attached.pings + 1) <= now;
                if due && attached.pings < PINGS {
                    attached.pings += 1;
                    attached.owed.ping = true;
                    // The answer has a heartbeat's time from now, however late this is.
                    let asked_at = attached.heard + heartbeat * attached.pings;
                    attached.heard += now.saturating_duration_since(asked_at);
                    false
                } else {
                    due
                }
            }
        };
        if silent {
            self.lost(now);
            return Err(Silent);
        }
        Ok(())
    }

    /// The connection has ended.
    pub fn lost(&mut self, now: Instant) {
        if let Link::Attached(attached) = &self.link
            && now.saturating_duration_since(attached.since) >= GOOD
        {
            self.failures = 0;
        }
        if !matches!(self.link, Link::None) {
            self.link = Link::None;
            self.first.clear();
            self.next = self.again(now, Duration::ZERO);
        }
    }

    /// No connection could be made.
    pub fn unreachable(&mut self, now: Instant) {
        if let Next::At(_) = self.next {
            self.next = self.again(now, Duration::ZERO);
        }
    }

    /// The server broke the protocol. To one that is not the one that it should be nobody goes back by himself.
    pub(super) fn broke(&mut self, now: Instant, breach: Breach) {
        self.lost(now);
        if let Breach::Proof | Breach::Hello | Breach::Offset = breach {
            self.next = Next::Asked;
        }
    }

    /// At once after a good connection, and then later and later; not before `least`.
    pub(super) fn again(&mut self, now: Instant, least: Duration) -> Next {
        let wait = match self.failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST_WAIT * 2_u32.pow(doublings.min(10))).min(LONGEST_WAIT),
        };
        self.failures = self.failures.saturating_add(1);
        Next::At(now + wait.max(least))
    }
}
