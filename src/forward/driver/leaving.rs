//! A restart, the old side: the new process is started, everything goes to it, and this one stays for what cannot go. When
//! that fails at any step everything is as it was. `takeover` decides what follows what.

use super::Driver;
use super::elsewhere::Staying;
use super::requests::Asker;
use super::rules::{Listening, is_proxied};
use crate::control::server::ClientId;
use crate::forward::restart::descriptors::{self, Handed};
use crate::forward::restart::plan::What;
use crate::forward::state::{DestinationId, Phase, Request};
use crate::forward::{DriverError, PID_FILE_MODE, Source};
use crate::net::relay::{Carried, Door, Which};
use crate::takeover::descriptors::SharedClient;
use crate::takeover::leaving::Leaving;
use crate::takeover::protocol::{Old, OldDoes, OldHears};
use crate::takeover::{Exchange, ExchangeError, LIMIT};
use log::{error, info, warn};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A restart that is under way.
#[derive(Default)]
pub(super) struct Restarting {
    leaving: Leaving,
    /// Who asked for it.
    request: Option<Request>,
    /// Everything stands still, and this is to be put back if it comes to nothing.
    taken: Option<Vec<Handed>>,
}

impl Driver {
    /// `restart` was asked for; the answer comes when the new process serves or has failed.
    pub(super) fn restart(&mut self, client: ClientId) -> Result<(), DriverError> {
        if self.machine.stopping() {
            return Err(DriverError::Stopping);
        }
        if self.successor.is_none() {
            return Err(DriverError::Unwatched);
        }
        if self.restarting.leaving.stage() != Old::Serving {
            return Err(DriverError::Restarting);
        }
        let request = Request(self.number());
        self.requests.insert(request, Asker { client: Some(client), what: What::Restart });
        self.restarting.request = Some(request);
        self.restart_hears(OldHears::Asked);
        Ok(())
    }

    /// The thread that lets the new process get ready has come to an end.
    pub(super) fn successor_told(&mut self, exchange: Exchange, ready: Result<(), ExchangeError>) {
        let leaving = &mut self.restarting.leaving;
        let heard = match leaving.met(exchange, ready) {
            OldHears::Ready if self.machine.stopping() => {
                leaving.fails(DriverError::Stopping.to_string());
                OldHears::Failed
            }
            heard => heard,
        };
        self.restart_hears(heard);
    }

    fn restart_hears(&mut self, heard: OldHears) {
        let mut next = Some(heard);
        while let Some(heard) = next.take() {
            for act in self.restarting.leaving.on(heard) {
                next = self.perform_for_restart(*act).or(next);
            }
        }
    }

    /// Does something; what is heard then, if that is waited for.
    fn perform_for_restart(&mut self, act: OldDoes) -> Option<OldHears> {
        match act {
            OldDoes::Start => match self.start_successor() {
                Ok(()) => None,
                Err(error) => {
                    self.restarting.leaving.fails(crate::chain(&error));
                    Some(OldHears::Gone)
                }
            },
            OldDoes::Offer => Some(self.offer()),
            OldDoes::Commit => Some(self.restarting.leaving.commit()),
            OldDoes::End => {
                self.end_successor();
                // What it has said before is still there to be heard.
                (self.restarting.leaving.stage() == Old::Ending).then(|| self.restarting.leaving.hear())
            }
            OldDoes::PutBack => {
                self.put_back(true);
                None
            }
            OldDoes::Reopen => {
                error!("the new process had begun: connections that went to it are lost");
                self.put_back(false);
                let pid_file = self.pid_file.as_mut().map(|pid_file| pid_file.make_sure(PID_FILE_MODE));
                if let Some(Err(error)) = pid_file {
                    error!("{}", crate::chain(&error));
                }
                None
            }
            OldDoes::AnswerFailed => {
                self.answer_restart_failed();
                None
            }
            // Those who ask meanwhile are told before they come here.
            OldDoes::Refuse => None,
            OldDoes::Leave => {
                self.leave();
                None
            }
        }
    }

    /// Starts the new process, which gets ready beside a thread of ours; everything goes on meanwhile.
    fn start_successor(&mut self) -> Result<(), DriverError> {
        self.reserve.release();
        let command = self.successor.clone().unwrap_or_default();
        let exchange = self.restarting.leaving.start(&command)?;
        let plan = self.plan(0);
        self.trials.meet(exchange, plan)?;
        Ok(())
    }

    /// Stops accepting, takes out what can go, and sends everything.
    fn offer(&mut self) -> OldHears {
        // What has been told already shall not be forgotten.
        self.hear_news();
        for listening in self.rules.values().filter(|listening| listening.socket.is_some()) {
            self.relay.leave(listening.door);
        }
        let taken = self.relay.take_out();
        let parked = taken.parked.into_iter().map(|(door, client)| Handed::Parked(door.number(), client));
        let pairs = taken.pairs.into_iter().map(|pair| Handed::Pair(Box::new(pair)));
        let taken = parked.chain(pairs).collect::<Vec<_>>();
        let mut leaving = std::mem::take(&mut self.restarting.leaving);
        let heard = leaving.offer(|exchange| self.send_all(exchange, &taken));
        (self.restarting.leaving, self.restarting.taken) = (leaving, Some(taken));
        heard
    }

    /// Tells the plan, and sends what both have from now on and what is taken out of here. This needs no descriptor.
    fn send_all(&self, exchange: &Exchange, taken: &[Handed]) -> Result<(), ExchangeError> {
        let stderr = std::io::stderr();
        let shared = self.shared(stderr.as_fd());
        let count = shared.iter().map(Handed::count).chain(taken.iter().map(Handed::count)).sum();
        exchange.say(&self.plan(count))?;
        descriptors::send(exchange.stream(), &shared, taken, exchange.left())
    }

    /// What both processes have for a while.
    fn shared<'a>(&'a self, output: BorrowedFd<'a>) -> Vec<Handed<BorrowedFd<'a>>> {
        let mut all = self.control.lend().map(Handed::Control).into_iter().collect::<Vec<_>>();
        all.extend(self.pid_file.as_ref().map(|pid_file| Handed::PidFile(pid_file.as_fd())));
        all.push(Handed::Output(output));
        let listens = |rule: &'a Listening| Some(Handed::Listener(rule.door.number(), rule.socket.as_ref()?.as_fd()));
        all.extend(self.rules.values().filter_map(listens));
        all.extend(
            self.control
                .lend_clients()
                .map(|(id, client)| Handed::Client(SharedClient { number: id.number(), share: client })),
        );
        let older = self.older_streams().enumerate();
        all.extend(older.map(|(index, (stream, heard))| Handed::Older(index, heard.to_vec(), stream)));
        all
    }

    /// Kills the new process, and tells how it had ended by itself, if it had.
    fn end_successor(&mut self) {
        if let Some(pid) = self.restarting.leaving.end()
            && let Some(pid_file) = &self.pid_file
        {
            pid_file.clean_up_after(pid);
        }
    }

    fn answer_restart_failed(&mut self) {
        let Restarting { mut leaving, request, .. } = std::mem::take(&mut self.restarting);
        let reply = leaving.failed("restart");
        let asker = request.and_then(|request| self.requests.remove(&request));
        if let Some(client) = asker.and_then(|asker| asker.client) {
            self.control.reply(&mut self.reactor, client, &reply);
        }
    }

    /// Goes on where everything was before it was taken out. Without the connections: they are closed.
    fn put_back(&mut self, connections: bool) {
        let Some(taken) = self.restarting.taken.take() else {
            return;
        };
        let (mut pairs, mut parked) = (Vec::new(), HashMap::<u32, Vec<OwnedFd>>::new());
        for handed in taken {
            match handed {
                Handed::Pair(pair) if connections => pairs.push(pair),
                Handed::Parked(number, client) if connections => parked.entry(number).or_default().push(client),
                Handed::Pair(_) | Handed::Parked(..) | Handed::Listener(..) | Handed::Control(_) => {}
                Handed::Client(_) | Handed::PidFile(_) | Handed::Output(_) | Handed::Older(..) => {}
            }
        }
        // Each listener takes a descriptor for the one that it has left.
        self.reserve.release();
        self.relay.expect(pairs.len());
        self.listen_again(parked);
        pairs.into_iter().for_each(|pair| self.put_in(*pair));
        // Who answers has put in all before that. Former destinations had no connection for a moment.
        drop(self.relay.connections(Which::All));
        self.relay.expect(0);
        let former = self.machine.rules().iter().flat_map(|rule| &rule.former).map(|former| former.id);
        for id in former.collect::<Vec<_>>() {
            self.watch(id);
        }
    }

    /// Goes on with a connection.
    pub(super) fn put_in(&self, pair: Carried) {
        let place = self.places.get(&DestinationId(pair.state.destination));
        match place.and_then(|place| Some((place, self.rules.get(&place.rule)?))) {
            Some((place, listening)) => self.relay.put_in(pair, Arc::clone(&place.target), listening.door),
            None => error!("nothing is known of a connection"),
        }
    }

    /// Accepts again, but for what was closed already.
    fn listen_again(&mut self, mut parked: HashMap<u32, Vec<OwnedFd>>) {
        for (id, listening) in &mut self.rules {
            let Some(socket) = &listening.socket else {
                // Its connections go on; the door that they came in by is gone since it was closed.
                match self.relay.closed(Arc::clone(&listening.route)) {
                    Ok(door) => listening.door = door,
                    Err(error) => error!("cannot go on with the connections of {}: {error}", listening.text),
                }
                continue;
            };
            let phase = self.machine.rule(*id).map(|rule| &rule.phase);
            let paused = matches!(phase, Some(Phase::Serving { paused: true, .. }));
            let parked = parked.remove(&listening.door.number()).unwrap_or_default();
            let (route, tls) = (Arc::clone(&listening.route), listening.tls.clone());
            let proxied = is_proxied(&listening.source);
            let opened = socket.as_fd().try_clone_to_owned().and_then(|socket| {
                let door = Door { socket, route, proxied, tls };
                self.relay.go_on(door, paused, parked)
            });
            match opened {
                Ok(door) => listening.door = door,
                Err(error) => error!("cannot accept from {} again: {error}", listening.text),
            }
        }
    }

    /// Gives up what the other process has now, and stays for what could not be handed over.
    fn leave(&mut self) {
        self.restarting.taken = None;
        let Some((_, exchange)) = self.restarting.leaving.left() else {
            return;
        };
        // The pid file says which process that is: the one that we know may be a script that has started it.
        info!("restarted: the new process has taken over");
        self.control.hand_over(&mut self.reactor);
        self.requests.clear();
        self.older.clear();
        if let Some(pid_file) = self.pid_file.take() {
            pid_file.leave();
        }
        for listening in self.rules.values_mut() {
            listening.socket = None;
            if let Some(file) = listening.file.take() {
                file.leave();
            }
        }
        for source in [Source::Socket, Source::Save, Source::Machine] {
            self.reactor.set_deadline(source, None);
        }
        let base = self.places.iter().map(|(id, place)| (*id, place.target.counts())).collect();
        match Staying::new(&mut self.reactor, exchange.into_stream(), base) {
            Ok(staying) => {
                self.staying = Some(staying);
                self.tell_rest();
            }
            Err(error) => {
                warn!("cannot watch the other process: {error}");
                self.finished = true;
            }
        }
    }

    /// Whether another process has taken over.
    pub(super) fn has_left(&self) -> bool {
        self.restarting.leaving.stage() == Old::Leaving
    }

    /// No new process is left behind.
    pub(super) fn give_restart_up(&mut self) {
        if self.staying.is_none() {
            self.end_successor();
        }
    }
}

/// How long a process that stays waits to hear that the other one serves.
pub(super) const TO_SERVE: Duration = LIMIT;
