//! Requests by the control socket, and their answers.

use super::{Done, Key, Request, Server, short};
use crate::control::server::ClientId;
use crate::control::wire::Reply;
use crate::reactor::Event;
use crate::session::credential::SessionId;
use crate::session::state::Input;
use log::info;
use serde::Serialize;

impl Server {
    pub(super) fn asker_event(&mut self, id: ClientId, event: Event<Key>) {
        if event.due {
            return self.control.due(&mut self.reactor, id);
        }
        if event.writable {
            self.control.write(&mut self.reactor, id);
        }
        if event.readable
            && let Some(request) = self.control.read::<Request>(&mut self.reactor, id)
            && let Some(reply) = self.asked(id, request)
        {
            self.control.reply(&mut self.reactor, id, &reply);
        }
    }

    /// The answer, where there is one at once.
    fn asked(&mut self, asker: ClientId, request: Request) -> Option<Reply> {
        match request {
            Request::Status => Some(done(&self.status())),
            Request::Close { id } => Some(self.tell_one(&id, Input::Close)),
            Request::Detach { id } => Some(self.tell_one(&id, Input::Detach)),
            Request::Drain | Request::Stop => {
                info!("stopping, as asked");
                self.waiting.push(asker);
                self.stop();
                None
            }
            Request::Reload { command: _ } => Some(Reply::failed(
                "a server of sessions has no generations; 'upgrade' lets the installed program take over",
            )),
            Request::Upgrade => match self.upgrade(Some(asker)) {
                Ok(()) => None,
                Err(error) => {
                    let hint = error.hint().map(str::to_owned);
                    Some(Reply { hint, ..Reply::failed(crate::chain(&error)) })
                }
            },
        }
    }

    fn tell_one(&mut self, prefix: &str, input: Input<'_>) -> Reply {
        match self.named(prefix) {
            Ok(id) => {
                info!("session {}: {input:?}, as asked", short(id));
                self.on(id, input);
                done(&Done { id: Some(short(id)) })
            }
            Err(why) => Reply::failed(why),
        }
    }

    /// The session whose id begins so.
    fn named(&self, prefix: &str) -> Result<SessionId, String> {
        let wanted = prefix.to_ascii_lowercase();
        let mut found = self.sessions.iter().map(|(id, _)| id).filter(|id| id.to_string().starts_with(&wanted));
        match (found.next(), found.next()) {
            _ if wanted.is_empty() => Err("a session's id is not empty".into()),
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(format!("several sessions have an id that begins with {prefix}")),
            (None, _) => Err(format!("no session has an id that begins with {prefix}")),
        }
    }
}

pub(super) fn done(result: &impl Serialize) -> Reply {
    serde_json::to_value(result).map_or_else(|error| Reply::failed(error.to_string()), Reply::done)
}
