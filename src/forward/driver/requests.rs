//! Requests by the control socket, and their answers.

use super::Driver;
use crate::control::server::ClientId;
use crate::control::wire::Reply;
use crate::forward::probe::Probe;
use crate::forward::request::{self, Done, Request as Ask};
use crate::forward::restart::plan::What;
use crate::forward::state::{Answer, How, Input, Request, RuleId, Scope, Stop};
use crate::forward::{DriverError, Source};
use crate::net::endpoint::{Connect, Listen};
use crate::reactor::Event;
use log::{error, info, warn};
use serde::Serialize;
use std::time::Duration;

/// Who has asked for something that takes its time, and what for.
pub(super) struct Asker {
    /// Who waits for the answer; `None`: nobody.
    pub(super) client: Option<ClientId>,
    pub(super) what: What,
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
        // A process that has left answers nobody: it lets answers be read.
        if event.readable
            && self.staying.is_none()
            && let Some(ask) = self.control.read::<Ask>(&mut self.reactor, id)
        {
            let reply = self.asked(id, ask);
            if let Some(reply) = reply.unwrap_or_else(|error| Some(refusal(&error))) {
                self.control.reply(&mut self.reactor, id, &reply);
            }
        }
        if !self.control.has(id) {
            self.client_left(id);
        }
    }

    /// Who waits for an end needs no answer any more. A switch or a stop goes on, and a rule of which nobody would learn
    /// whether it has begun does not begin.
    fn client_left(&mut self, id: ClientId) {
        let of_client = self.requests.iter().filter(|(_, asker)| asker.client == Some(id)).map(|(request, _)| *request);
        for request in of_client.collect::<Vec<_>>() {
            if let Some(asker) = self.requests.get_mut(&request) {
                asker.client = None;
                match asker.what {
                    What::Wait => {
                        self.requests.remove(&request);
                        self.input(Input::Left(request));
                    }
                    What::Start { .. } => {
                        self.requests.remove(&request);
                        self.starting.forget(request);
                    }
                    What::Switch { .. } | What::StopRule(_) | What::Stop | What::Restart => {}
                }
            }
        }
    }

    /// The answer, where there is one at once.
    fn asked(&mut self, id: ClientId, ask: Ask) -> Result<Option<Reply>, DriverError> {
        match ask {
            Ask::Status => Ok(Some(done(&self.status()))),
            Ask::List { detail } => Ok(Some(done(&self.list(detail)))),
            Ask::Start { source, destination } => self.start(id, source, destination),
            Ask::Switch(switch) => self.switch(id, switch),
            Ask::Wait { source } => self.wait(id, source).map(|()| None),
            Ask::Stop { source, drain, limit_ms } => {
                let limit = limit_ms.map(Duration::from_millis);
                let stop = if drain { Stop::Drain(limit) } else { Stop::Cut };
                self.stop(id, source, stop).map(|()| None)
            }
            Ask::Restart => self.restart(id).map(|()| None),
            Ask::Pause { source } => self.rule(&source).map(|rule| {
                self.input(Input::Pause(rule));
                Some(self.changed())
            }),
            Ask::Resume { source } => self.rule(&source).map(|rule| {
                self.input(Input::Resume(rule));
                Some(self.changed())
            }),
        }
    }

    fn switch(&mut self, id: ClientId, asked: request::Switch) -> Result<Option<Reply>, DriverError> {
        let rule = self.rule(&asked.source)?;
        let connect = asked.destination.parse::<Connect>()?;
        let probe = asked.probe.as_deref().map(str::parse::<Probe>).transpose()?;
        let to = self.place(rule, connect, &asked.destination)?;
        let weight = asked.weight.clamp(1, 100);
        if weight < 100 && self.machine.rule(rule).and_then(|rule| rule.course()).is_some_and(|now| now.active == to) {
            return Err(DriverError::Share { destination: asked.destination });
        }
        let request = Request(self.number());
        let what = What::Switch { source: asked.source, destination: asked.destination };
        self.requests.insert(request, Asker { client: Some(id), what });
        let guard = Duration::from_millis(asked.guard_ms);
        let how = How { probe: probe.is_some(), guard, weight };
        if let Some(probe) = probe {
            self.trials.plan(to, probe, Duration::from_millis(asked.probe_timeout_ms));
        }
        self.input(Input::Switch { rule, to, how, request });
        self.trials.unplan(to);
        match self.requests.get_mut(&request) {
            // It is under way, and nobody waits for its end.
            Some(asker) if !asked.wait => {
                asker.client = None;
                Ok(Some(self.changed()))
            }
            Some(_) | None => Ok(None),
        }
    }

    pub(super) fn wait(&mut self, id: ClientId, source: Option<String>) -> Result<(), DriverError> {
        let scope = match source {
            None => Scope::All,
            Some(source) => {
                let rules = self.all_at(&source.parse::<Listen>()?);
                if rules.is_empty() {
                    return Err(DriverError::NoRule { endpoint: source });
                }
                Scope::Rules(rules)
            }
        };
        let request = Request(self.number());
        self.requests.insert(request, Asker { client: Some(id), what: What::Wait });
        self.input(Input::Wait { scope, request });
        Ok(())
    }

    fn stop(&mut self, id: ClientId, source: Option<String>, stop: Stop) -> Result<(), DriverError> {
        let request = Request(self.number());
        let Some(source) = source else {
            info!("stopping, as asked");
            if !self.machine.stopping() {
                self.cut_in_all = 0;
                self.keep();
            }
            self.requests.insert(request, Asker { client: Some(id), what: What::Stop });
            self.input(Input::Stop { stop, request: Some(request) });
            return Ok(());
        };
        let place = source.parse::<Listen>()?;
        let rule = self.serving(&place).or_else(|| self.all_at(&place).pop());
        let rule = rule.ok_or(DriverError::NoRule { endpoint: source })?;
        self.requests.insert(request, Asker { client: Some(id), what: What::StopRule(rule.0) });
        self.input(Input::StopRule { rule, stop, request });
        Ok(())
    }

    fn rule(&self, source: &str) -> Result<RuleId, DriverError> {
        let rule = self.serving(&source.parse::<Listen>()?);
        rule.ok_or_else(|| DriverError::NoRule { endpoint: source.to_owned() })
    }

    /// Tells what a request came to.
    pub(super) fn answer(&mut self, request: Request, answer: Answer) {
        if self.requests.get(&request).is_some_and(|asker| matches!(asker.what, What::Stop)) {
            // The last occasion to tell whoever asked.
            self.try_to_save();
        }
        let Some(Asker { client, what }) = self.requests.remove(&request) else {
            return;
        };
        let reply = match what {
            What::Switch { source, destination } => self.switched(&source, &destination, answer),
            What::Wait => match answer {
                Answer::Cut => Reply::failed("what ran on a former destination was cut"),
                _ => done(&Done::default()),
            },
            What::StopRule(rule) => done(&Done { cut: self.cut_late(RuleId(rule), answer), ..self.settled() }),
            What::Restart | What::Start { .. } => done(&Done::default()),
            What::Stop => {
                let why = self.unsaved.as_ref().map(|error| crate::chain(error));
                let warning = why.map(|why| format!("stopped, but a start would not know of the last changes: {why}"));
                done(&Done { cut: self.all_cut_late(answer), warning, listening: None })
            }
        };
        if let Some(client) = client {
            self.control.reply(&mut self.reactor, client, &reply);
        }
    }

    fn switched(&mut self, source: &str, destination: &str, answer: Answer) -> Reply {
        let why = self.why.clone().unwrap_or_else(|| "it failed".to_owned());
        match answer {
            Answer::Switched => {
                info!("switched {source} to {destination}");
                self.changed()
            }
            Answer::ProbeFailed => {
                error!("{source} stays where it is: {why}");
                Reply::failed(why)
            }
            Answer::RolledBack => {
                error!("{source} is switched back from {destination}: {why}");
                Reply::failed(format!("switched back: {why}"))
            }
            Answer::Replaced => {
                warn!("the switch of {source} to {destination} was replaced by a later switch");
                Reply::failed("replaced by a later switch")
            }
            Answer::Ending | Answer::Drained | Answer::Cut | Answer::Stopped { .. } => {
                Reply::failed("the rule is being stopped")
            }
        }
    }

    fn cut_late(&self, rule: RuleId, answer: Answer) -> Option<usize> {
        match answer {
            Answer::Stopped { late: true } => self.rules.get(&rule).map(|rule| rule.cut),
            _ => None,
        }
    }

    fn all_cut_late(&self, answer: Answer) -> Option<usize> {
        match answer {
            Answer::Stopped { late: true } => Some(self.cut_in_all),
            _ => None,
        }
    }

    fn changed(&self) -> Reply {
        done(&self.settled())
    }

    fn settled(&self) -> Done {
        Done { warning: self.unsaved_warning(), ..Done::default() }
    }

    pub(super) fn unsaved_warning(&self) -> Option<String> {
        self.unsaved.as_ref().map(|error| format!("done, but a start would not know of it: {}", crate::chain(error)))
    }
}

pub(super) fn done(result: &impl Serialize) -> Reply {
    serde_json::to_value(result).map_or_else(|error| Reply::failed(error.to_string()), Reply::done)
}

pub(super) fn refusal(error: &DriverError) -> Reply {
    let hint = error.hint().map(str::to_owned);
    Reply { hint, ..Reply::failed(crate::chain(error)) }
}
