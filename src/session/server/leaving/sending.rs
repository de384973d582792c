//! What the old process sends: the plan, every session and client in bytes, and the descriptors, lent as they are.

use super::super::plan::{Plan, PlannedListener, SCHEMA};
use super::super::{Listening, Server, link};
use crate::control::server::ClientId;
use crate::session::credential::{SessionId, wipe};
use crate::session::written::{Form, Writer};
use crate::takeover::descriptors::{self, SharedClient, label};
use crate::takeover::{Exchange, ExchangeError};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

impl Server {
    /// What there is, with so much behind it.
    pub(super) fn plan(&self, descriptors: usize, clients: usize) -> Plan {
        let listener = |listening: &Listening| PlannedListener {
            endpoint: listening.endpoint.to_string(),
            tls: listening.is_secure(),
        };
        let milliseconds = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Plan {
            schema: SCHEMA,
            descriptors,
            sessions: if descriptors == 0 { 0 } else { self.sessions.len() },
            clients,
            name: self.settings.name.clone(),
            destination: self.settings.destination.to_string(),
            listeners: self.listening.iter().map(listener).collect(),
            next: self.next,
            uptime_ms: milliseconds(self.since),
            asked_ms: milliseconds(self.upgrading.since),
            asker: self.upgrading.asker.map(ClientId::number),
        }
    }

    /// Tells the plan and sends everything, lent as it is. This needs no descriptor.
    pub(super) fn send_all(&self, exchange: &mut Exchange) -> Result<(), ExchangeError> {
        let now = self.clock.now();
        let stderr = std::io::stderr();
        let mut entries = self.shared(stderr.as_fd());
        let clients = self.clients.iter().filter_map(|(id, client)| Some((*id, client, client.stage_written()?)));
        let clients = clients.collect::<Vec<_>>();
        entries.extend(self.links.iter().filter_map(|(id, link)| match &link.stage {
            link::Stage::Open(wire) => {
                let there = self.upgrading.pairs.get(id).map_or(wire.as_fd(), |(_, theirs)| theirs.as_fd());
                Some((there, label("destination", id)))
            }
            _ => None,
        }));
        entries.extend(clients.iter().map(|(id, client, _)| (client.wire.as_fd(), label("client", id.0))));
        exchange.say(&self.plan(entries.len(), clients.len()))?;
        exchange.send(&self.sessions.written(now))?;
        for (id, _) in self.sessions.iter() {
            send_secret(exchange, now, |to| self.write_session(id, to))?;
        }
        for (id, client, stage) in &clients {
            send_secret(exchange, now, |to| client.write(*id, stage, to))?;
        }
        exchange.wind();
        descriptors::send(exchange.stream(), &entries, exchange.left())
    }

    fn write_session(&self, id: SessionId, to: &mut Writer) {
        self.sessions.write_one(id, to);
        if let Some(link) = self.links.get(&id) {
            link.written(&self.clock).write(to);
        }
    }

    /// What both processes have for a while.
    fn shared<'a>(&'a self, output: BorrowedFd<'a>) -> Vec<(BorrowedFd<'a>, Vec<u8>)> {
        let mut all = vec![(output, label("output", ""))];
        all.extend(self.control.lend().map(|socket| (socket, label("control", ""))));
        if let Some(locks) = &self.locks {
            all.push((locks.instance.as_fd(), label("lock", "")));
            all.extend(locks.pid_file.as_ref().map(|file| (file.as_fd(), label("pid-file", ""))));
        }
        let listeners = self.listening.iter().enumerate();
        all.extend(listeners.map(|(index, listening)| (listening.as_fd(), label("listener", index))));
        all.extend(self.control.lend_clients().map(|(id, share)| {
            let client = SharedClient { number: id.number(), share };
            (client.share.socket, client.label())
        }));
        all
    }
}

/// Sends what may have a secret in it, and leaves no copy.
fn send_secret(exchange: &mut Exchange, now: Instant, write: impl FnOnce(&mut Writer)) -> Result<(), ExchangeError> {
    let mut to = Writer::new(now);
    write(&mut to);
    let mut bytes = to.into_bytes();
    let sent = exchange.send(&bytes);
    wipe(&mut bytes);
    sent
}
