//! What a client keeps of its session, and when: before anybody relies on it.

use super::{Driver, News, Use};
use crate::session::client::ClientError;
use crate::session::client::store::{Kept, StoreError};
use crate::session::client_state::{Progress, Ticket};
use crate::session::credential::Secret;
use std::time::{Duration, Instant};

/// So long after one save the next one is due for output that was written, so that many small pieces are one.
const SAVE_WITHIN: Duration = Duration::from_millis(50);
/// The same for input, which is kept at once while there is no connection.
const SAVE_INPUT_WITHIN: Duration = Duration::from_secs(1);
/// So much output is kept at once.
pub(super) const SAVE_BYTES: u64 = 64 * 1024;
/// What was kept last.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) at: Option<Instant>,
    pub(super) output: u64,
    /// Of the input, and of who was attached.
    pub(super) rest: Option<(u64, u64, usize, bool, bool, bool)>,
    pub(super) failed: bool,
}

impl Driver {
    /// The secret comes to the file before anybody relies on it.
    pub(super) fn keep_ticket(&mut self, now: Instant) -> Result<(), ClientError> {
        self.remote_echo = false;
        self.save(now)?;
        self.client.kept();
        Ok(())
    }

    /// Whether all output that has come is written and kept.
    pub(in crate::session::client) fn is_settled(&self) -> bool {
        self.output.is_done() && (self.store.is_none() || self.saved.output >= self.output.written())
    }

    /// Whether output up to there is written and kept.
    pub(in crate::session::client) fn has_kept(&self, mark: u64) -> bool {
        self.store.is_none() || self.saved.output >= mark
    }

    pub(super) fn rest(&self) -> (u64, u64, usize, bool, bool, bool) {
        let Progress { mut epoch, input, queued, ended, fresh, .. } = self.client.progress();
        // Who was attached is of interest for input that may be under way, and for nothing else.
        if queued.is_empty() {
            epoch = 0;
        }
        (epoch, input, queued.len(), ended, fresh, self.remote_echo)
    }

    /// Whether what waits is to be kept before anything else happens.
    fn is_strict(&self) -> bool {
        self.client.waiting() > 0 && (self.used == Use::Polling || !self.client.is_attached())
    }

    pub(super) fn save_due(&self) -> Option<Instant> {
        if self.store.is_none() || self.client.ticket().is_none() {
            return None;
        }
        let last = self.saved.at?;
        if self.output.written() > self.saved.output && !self.saved.failed {
            Some(last + SAVE_WITHIN)
        } else if self.saved.failed || self.saved.rest != Some(self.rest()) {
            Some(last + SAVE_INPUT_WITHIN)
        } else {
            None
        }
    }

    /// Keeps what is due, and then counts the output as dealt with.
    pub(super) fn keep(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.store.is_none() || self.client.ticket().is_none() {
            return Ok(());
        }
        let much = self.output.written().saturating_sub(self.saved.output) >= SAVE_BYTES;
        let strict = self.is_strict() && self.saved.rest != Some(self.rest());
        let due = self.save_due().is_some_and(|due| due <= now);
        if due || much || strict {
            match (self.save(now), self.used) {
                (Ok(()), _) => {}
                (Err(ClientError::Store(error)), Use::Following) => self.not_saved(now, error),
                (Err(error), _) => return Err(error),
            }
        }
        if self.saved.output >= self.output.written() {
            self.deal_with(now, self.saved.output);
        }
        Ok(())
    }

    /// The session goes on without that: at worst its output comes again.
    fn not_saved(&mut self, now: Instant, error: StoreError) {
        if !self.saved.failed {
            self.news.push_back(News::NotSaved(error));
        }
        self.saved =
            Saved { at: Some(now), output: self.output.written(), failed: true, ..std::mem::take(&mut self.saved) };
    }

    /// Keeps what has changed, if anything has.
    ///
    /// # Errors
    /// Those of [`Store::save`].
    pub(in crate::session::client) fn settle(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.saved.rest == Some(self.rest()) && self.saved.output >= self.output.written() {
            return Ok(());
        }
        self.save(now)
    }

    /// Keeps everything as it is now.
    fn save(&mut self, now: Instant) -> Result<(), ClientError> {
        let rest = self.rest();
        let (Some(store), Some(Ticket { id, secret, boot })) = (&mut self.store, self.client.ticket()) else {
            return Ok(());
        };
        let written = self.output.written();
        let mut progress = self.client.progress();
        progress.output = progress.output.max(written);
        let ticket = Ticket { id: *id, secret: Secret::new(*secret.bytes()), boot: *boot };
        let kept = Kept { server: self.server.clone(), ticket, progress, remote_echo: self.remote_echo };
        store.save(&kept)?;
        self.saved = Saved { at: Some(now), output: written, rest: Some(rest), failed: false };
        Ok(())
    }
}
