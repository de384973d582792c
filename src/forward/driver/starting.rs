//! Rules that are asked for while others are served. One that is to listen at a name waits for its address, and nobody else
//! does.

use super::Driver;
use super::requests::{Asker, done, refusal};
use crate::control::server::ClientId;
use crate::control::wire::Reply;
use crate::forward::request::Done;
use crate::forward::restart::plan::What;
use crate::forward::state::Request;
use crate::forward::store::SavedRule;
use crate::forward::{DriverError, Source};
use crate::net::endpoint::Listen;
use crate::net::listener;
use crate::net::resolve::{Answer, Inbox, Question, Resolver};
use crate::reactor::Reactor;
use std::collections::HashMap;
use std::io;

/// Rules whose name is looked up, by the number of their request.
pub(super) struct Starting {
    resolver: Resolver<u64>,
    answers: Inbox<u64>,
    waiting: HashMap<u64, (SavedRule, Question)>,
}

impl Starting {
    /// # Errors
    /// Those of eventfd(2).
    pub(super) fn new(reactor: &mut Reactor<Source>) -> io::Result<Self> {
        let answers = Inbox::new(reactor.waker(Source::Answers)?);
        Ok(Starting { resolver: Resolver::system(), answers, waiting: HashMap::new() })
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&mut self, request: Request) {
        self.waiting.remove(&request.0);
    }
}

impl Driver {
    /// `start` was asked for. The answer, unless a name is to be looked up first.
    pub(super) fn start(
        &mut self,
        client: ClientId,
        source: String,
        destination: String,
    ) -> Result<Option<Reply>, DriverError> {
        let rule = SavedRule { source, destination, share: None, paused: false };
        if listener::host_to_look_up(&rule.source.parse::<Listen>()?).is_none() {
            return self.start_at(&rule, None).map(Some);
        }
        let request = Request(self.number());
        let what = What::Start { source: rule.source.clone(), destination: rule.destination.clone() };
        self.requests.insert(request, Asker { client: Some(client), what });
        self.look_up_for(request, rule)?;
        Ok(None)
    }

    /// Asks where a rule is to listen, for a request that is known.
    pub(super) fn look_up_for(&mut self, request: Request, rule: SavedRule) -> Result<(), DriverError> {
        let source = rule.source.parse::<Listen>()?;
        let host = listener::host_to_look_up(&source).unwrap_or_default();
        let question = self.starting.resolver.ask(host, request.0, &self.starting.answers);
        self.starting.waiting.insert(request.0, (rule, question));
        Ok(())
    }

    /// In the process that has taken over: what one before it has asked.
    pub(super) fn look_up_again(&mut self, request: Request, what: &What) {
        let What::Start { source, destination } = what else {
            return;
        };
        let rule = SavedRule { source: source.clone(), destination: destination.clone(), share: None, paused: false };
        if let Err(error) = self.look_up_for(request, rule) {
            self.reply_to(request, &refusal(&error));
        }
    }

    fn reply_to(&mut self, request: Request, reply: &Reply) {
        let client = self.requests.remove(&request).and_then(|asker| asker.client);
        if let Some(client) = client {
            self.control.reply(&mut self.reactor, client, reply);
        }
    }

    pub(super) fn hear_answers(&mut self) {
        while let Some((number, answer)) = self.starting.answers.next() {
            let Some((rule, _)) = self.starting.waiting.remove(&number) else {
                continue;
            };
            // A process that has left starts nothing: the one that has taken over has asked again.
            if self.staying.is_none() {
                let reply = self.start_at(&rule, Some(answer)).unwrap_or_else(|error| refusal(&error));
                self.reply_to(Request(number), &reply);
            }
        }
    }

    fn start_at(&mut self, rule: &SavedRule, found: Option<Answer>) -> Result<Reply, DriverError> {
        if self.machine.stopping() {
            return Err(DriverError::Stopping);
        }
        let started = self.prepare(rule, found).and_then(|prepared| self.accept_for(prepared));
        if started.is_err() {
            self.forget_places_of_nobody();
        }
        let rule = started?;
        let listening = self.chosen_for(rule);
        Ok(done(&Done { listening, warning: self.unsaved_warning(), cut: None }))
    }
}
