//! Requests, by signal and by the control socket, and their answers.

use super::Driver;
use crate::control::server::ClientId;
use crate::control::wire::{Reply, Request as Ask, Switched};
use crate::reactor::Event;
use crate::supervise::Source;
use crate::supervise::state::{Finish, Generation, Input, Outcome, Phase, Report, Request};
use crate::supervise::status::{self, LastReload, SCHEMA, Status};
use log::{error, info, warn};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Instant;

/// A reload that has been asked for.
pub(super) struct Asked {
    /// Who waits for the answer.
    client: Option<ClientId>,
    /// The command that shall replace the present one.
    pub(super) command: Option<Rc<[OsString]>>,
    since: Instant,
}

impl Driver {
    pub(super) fn client_event(&mut self, id: ClientId, event: Event<Source>) {
        if event.due {
            self.control.due(&mut self.reactor, id);
            return;
        }
        if event.writable {
            self.control.write(&mut self.reactor, id);
        }
        if !event.readable {
            return;
        }
        match self.control.read(&mut self.reactor, id) {
            None => {}
            Some(Ask::Status) => {
                let reply = match serde_json::to_value(self.status()) {
                    Ok(status) => Reply::done(status),
                    Err(error) => Reply::failed(error.to_string()),
                };
                self.control.reply(&mut self.reactor, id, &reply);
            }
            Some(Ask::Reload { command }) => {
                let words = command.map(|words| words.into_iter().map(OsString::from).collect::<Vec<_>>());
                match words {
                    Some(words) if words.is_empty() => {
                        self.control.reply(&mut self.reactor, id, &Reply::failed("the new command is empty"));
                    }
                    words => self.reload_asked(Some(id), words),
                }
            }
            Some(Ask::Stop) => {
                self.stop_clients.push(id);
                if !self.machine.stopping() {
                    info!("stopping, as asked");
                    self.input(Input::Stop);
                }
            }
        }
    }

    pub(super) fn reload_asked(&mut self, client: Option<ClientId>, command: Option<Vec<OsString>>) {
        let request = Request(self.next_request);
        self.next_request += 1;
        let command = command.map(Rc::from);
        self.requests.insert(request, Asked { client, command, since: Instant::now() });
        self.input(Input::Reload(request));
    }

    /// The result of a reload, for the log, the status and whoever asked.
    pub(super) fn report(&mut self, report: Report) {
        let Some(asked) = self.requests.remove(&report.request) else {
            return;
        };
        let milliseconds = u64::try_from(asked.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let reply = match report.outcome {
            Outcome::Switched(number) => {
                let generation = number.0;
                info!("reload: generation {generation} serves after {milliseconds} ms");
                self.counters.reloads += 1;
                self.last_reload = Some(LastReload { generation, ok: true, reason: None, milliseconds });
                if let Some(command) = asked.command {
                    self.command = command;
                }
                let switched = Switched { generation, milliseconds };
                serde_json::to_value(switched).map_or_else(|error| Reply::failed(error.to_string()), Reply::done)
            }
            Outcome::Failed(number, failure) => {
                let why = self.why_of(number, failure);
                error!("reload failed: {}", why.reason);
                self.counters.reloads_failed += 1;
                let reason = Some(why.reason.clone());
                self.last_reload = Some(LastReload { generation: number.0, ok: false, reason, milliseconds });
                Reply { lines: why.lines, ..Reply::failed(why.reason) }
            }
            Outcome::Replaced => {
                warn!("a reload was replaced by a later reload");
                Reply::failed("replaced by a later reload")
            }
            Outcome::Stopping => Reply::failed("the supervisor is stopping"),
        };
        if let Some(client) = asked.client {
            self.control.reply(&mut self.reactor, client, &reply);
        }
    }

    pub(super) fn answer_stop(&mut self, finish: Finish) {
        let reply = match finish {
            Finish::Stopped => Reply::done(serde_json::Value::Null),
            Finish::Killed => Reply::failed("a child had to be killed"),
            Finish::NeverServed(..) | Finish::GaveUp => Reply::failed("the children failed"),
        };
        for client in std::mem::take(&mut self.stop_clients) {
            self.control.reply(&mut self.reactor, client, &reply);
        }
    }

    fn status(&self) -> Status {
        let listeners = (0..).zip(&self.listeners).map(|(index, listener)| status::Listener {
            name: listener.name.clone(),
            endpoint: listener.endpoint.to_string(),
            address: listener.address.to_string(),
            held: self.hold.held(index),
            accepted: listener.accepted,
        });
        Status {
            schema: SCHEMA,
            role: "supervise".into(),
            name: self.settings.name.clone(),
            pid: std::process::id().cast_signed(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.since.elapsed().as_secs(),
            pass: self.settings.pass.to_string(),
            paused: false,
            listeners: listeners.collect(),
            generations: self.machine.generations().iter().filter_map(|one| self.generation_status(one)).collect(),
            counters: self.counters,
            last_reload: self.last_reload.clone(),
        }
    }

    fn generation_status(&self, generation: &Generation) -> Option<status::Generation> {
        let worker = self.workers.get(&generation.number)?;
        let running = self.relayed.as_ref().and_then(|relayed| relayed.running(generation.number));
        let phase = match generation.phase {
            Phase::Starting { .. } => "starting",
            Phase::Serving { .. } => "serving",
            Phase::Parked { .. } => "parked",
            Phase::Draining { .. } => "draining",
        };
        Some(status::Generation {
            number: generation.number.0,
            phase: phase.into(),
            command: worker.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            age_seconds: worker.started.elapsed().as_secs(),
            workers: vec![status::Worker {
                index: 0,
                pid: worker.main_pid().as_raw(),
                status: worker.status.clone(),
                connections_passed: worker.passed,
                connections_open: running.or(worker.open.map(u64::from)),
            }],
        })
    }
}
