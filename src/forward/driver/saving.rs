//! What outlasts us is written down at every change.

use super::Driver;
use crate::forward::state::Rule;
use crate::forward::store::{SCHEMA, Saved, SavedRule, SavedShare, StoreError};
use crate::forward::{DriverError, Source};
use log::{error, info};
use std::time::{Duration, Instant};

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) fn save(&mut self) -> Result<(), DriverError> {
        Ok(self.write_down()?)
    }

    /// Saves. What cannot be saved holds all the same, and is tried again.
    pub(super) fn try_to_save(&mut self) {
        // At the end the rules are as good as gone, and they are to be kept.
        if self.coming_up || self.machine.stopping() || self.staying.is_some() {
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
                let text = crate::chain(&error);
                error!("{text}; what was saved before would be served after a start");
                self.unsaved = Some(text);
                self.reactor.set_deadline(Source::Save, Some(Instant::now() + RETRY));
            }
        }
    }

    fn write_down(&mut self) -> Result<(), StoreError> {
        let rules = self.machine.rules().iter().filter_map(|rule| self.to_save(rule)).collect();
        self.store.save(&Saved { schema: SCHEMA, options: self.options.clone(), rules })
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
