//! What outlasts us is written down at every change.

use super::Driver;
use crate::forward::state::Rule;
use crate::forward::store::{SCHEMA, Saved, SavedRule, SavedShare};
use crate::forward::{DriverError, Source};
use log::{error, info};
use std::time::{Duration, Instant};

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) fn save(&mut self) -> Result<(), DriverError> {
        self.write_down()
    }

    /// Saves. What cannot be saved holds all the same, and is tried again.
    pub(super) fn try_to_save(&mut self) {
        if self.coming_up || self.staying.is_some() {
            return;
        }
        match self.write_down() {
            Ok(()) => {
                if self.unsaved.take().is_some() {
                    info!("the rules are saved again");
                }
                self.reactor.set_deadline(Source::Save, None);
            }
            Err(error) => {
                error!("{}; what was saved before would be served after a start", crate::chain(&error));
                self.unsaved = Some(error);
                self.reactor.set_deadline(Source::Save, Some(Instant::now() + RETRY));
            }
        }
    }

    /// Everything is about to be stopped, and the rules are as good as gone then: what is saved from now on is what stands
    /// now.
    pub(super) fn keep(&mut self) {
        if self.kept.is_none() {
            self.kept = Some(self.standing());
            self.try_to_save();
        }
    }

    /// In our directory: what another forwarder has saved in it is not ours to replace.
    fn write_down(&mut self) -> Result<(), DriverError> {
        self.claim()?;
        let standing = self.kept.clone().unwrap_or_else(|| self.standing());
        Ok(self.store.save(&standing)?)
    }

    fn standing(&self) -> Saved {
        let rules = self.machine.rules().iter().filter_map(|rule| self.to_save(rule)).collect();
        Saved { schema: SCHEMA, options: self.options.clone(), rules }
    }

    fn to_save(&self, rule: &Rule) -> Option<SavedRule> {
        let (course, paused) = rule.lasting()?;
        let share = course.share.and_then(|share| {
            Some(SavedShare { destination: self.places.get(&share.to)?.text.clone(), percent: share.percent })
        });
        Some(SavedRule {
            source: self.rules.get(&rule.id)?.text.clone(),
            destination: self.places.get(&course.active)?.text.clone(),
            share,
            paused,
        })
    }
}
