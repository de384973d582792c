//! What is asked by the control socket, and what the driver says to it.

use super::Driver;
use super::servers::Part;
use crate::dev::control::ENDS;
use crate::dev::event::{Asked, Failure};
use crate::dev::gate::{Change, Generation, Input, Phase};
use crate::dev::status::{LastFailure, Listener, ROLE, Running, SCHEMA, Status};
use log::info;
use std::sync::Arc;
use std::time::Instant;

/// Who we are, as it does not change.
#[derive(Clone, Debug)]
pub(in crate::dev) struct Title {
    pub(in crate::dev) name: String,
    /// Where browsers come.
    pub(in crate::dev) listeners: Vec<String>,
    pub(in crate::dev) since: Instant,
}

/// What has happened, as far as it is told.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// How many servers have been started.
    pub(super) starts: u64,
    pub(super) last_change: Option<String>,
    last_failure: Option<(Arc<Failure>, Instant)>,
}

impl Chronicle {
    pub(super) fn failed(&mut self, failure: &Arc<Failure>) {
        self.last_failure = Some((Arc::clone(failure), Instant::now()));
    }
}

impl Driver {
    pub(super) fn asked(&mut self, asked: Asked) {
        match asked {
            Asked::Status(client) => {
                let status = serde_json::to_value(self.status()).unwrap_or_default();
                self.answers.status(client, status);
            }
            Asked::Reload(number) if self.porter.gate().ends() => self.answers.reloaded(number, Err(ending())),
            Asked::Reload(number) => {
                self.reload = Some(number);
                // What waits to be started is in it.
                self.delayed = None;
                self.chronicle.last_change = None;
                self.begin_anew(Change::Files, format_args!("asked for"));
            }
            // Whoever asks a second time waits for the same end.
            Asked::Stop if self.porter.gate().ends() => {}
            Asked::Stop => {
                info!("stop: asked for");
                self.input(Input::Stop);
            }
        }
    }

    /// Says what has become of the restarts that were asked for, once that is known.
    pub(super) fn settle_reload(&mut self) {
        let Some(number) = self.reload else { return };
        let outcome = match (self.porter.gate().phase(), self.porter.gate().serving()) {
            (Phase::Up, Some(generation)) if !self.porter.gate().has_failed() => Ok(generation.0),
            (Phase::Up | Phase::Failed, _) => Err(self.failure.clone().unwrap_or_else(ending)),
            (Phase::Stopping, _) if self.porter.gate().ends() => Err(ending()),
            (Phase::Building | Phase::Starting | Phase::Stopping, _) => return,
        };
        self.reload = None;
        self.answers.reloaded(number, outcome);
    }

    fn status(&self) -> Status {
        let settings = &self.nursery.settings;
        Status {
            schema: SCHEMA,
            role: ROLE.into(),
            name: self.title.name.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.title.since.elapsed().as_secs(),
            phase: phase(self.porter.gate().phase()).into(),
            failed: self.porter.gate().has_failed(),
            generation: self.last.0,
            listeners: self.title.listeners.iter().map(|address| Listener { address: address.clone() }).collect(),
            backend: settings.backend.to_string(),
            command: settings.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            generations: self.parts.iter().map(|(generation, part)| self.running(*generation, part)).collect(),
            restarts: self.chronicle.starts.saturating_sub(1),
            held: self.porter.gate().held() as u64,
            in_progress: self.porter.in_progress() as u64,
            last_change: self.chronicle.last_change.clone(),
            last_failure: self.chronicle.last_failure.as_ref().map(|(failure, at)| LastFailure {
                summary: failure.summary.clone(),
                lines: failure.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
                age_seconds: at.elapsed().as_secs(),
            }),
        }
    }

    fn running(&self, generation: Generation, part: &Part) -> Running {
        let pid = match part {
            Part::Checking(_) => None,
            Part::Runs(running, _) => u32::try_from(running.leader().as_raw()).ok(),
        };
        let phase = if self.porter.gate().serving() == Some(generation) {
            "serving"
        } else if self.porter.gate().next() == Some(generation) {
            phase(self.porter.gate().phase())
        } else if self.porter.gate().is_parked(generation) {
            "parked"
        } else {
            "stopping"
        };
        let address = self.porter.address(generation).map(|address| address.to_string());
        Running { number: generation.0, phase: phase.into(), pid, address }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Building => "building",
        Phase::Starting => "starting",
        Phase::Up => "up",
        Phase::Failed => "failed",
        Phase::Stopping => "stopping",
    }
}

fn ending() -> Arc<Failure> {
    Arc::new(Failure { summary: ENDS.into(), lines: Vec::new(), of_build: false })
}
