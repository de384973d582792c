//! Handing everything to a new process: the old side. Until the new one serves, everything is kept, and when that fails
//! at any step it goes back to where it was.

use super::Driver;
use super::requests::{What, done};
use super::rules::is_proxied;
use crate::control::server::ClientId;
use crate::control::wire::Reply;
use crate::forward::handover::{self, Handed, HandoverError, Plan, PlannedDestination, PlannedRule, Word};
use crate::forward::request::{Done, SCHEMA};
use crate::forward::state::{Change, DestinationId, Phase, Rule};
use crate::forward::{DriverError, PID_FILE_MODE, Source};
use crate::net::relay::{Door, ListenerId, Which};
use crate::process::spawn::{Launch, Process, signal_leader, spawn};
use crate::reactor::{Descriptor, READABLE};
use log::{error, info, warn};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use socket2::SockRef;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A new process on its way.
pub(super) struct Restarting {
    client: ClientId,
    process: Process,
}

impl Driver {
    /// Starts the new process and lets it get ready; nothing else changes until then.
    pub(super) fn restart(&mut self, client: ClientId) -> Result<(), DriverError> {
        self.can_hand_over()?;
        if self.restarting.is_some() {
            return Err(DriverError::NotNow("a restart is under way already"));
        }
        let Some(command) = self.successor.clone() else {
            let text = "the forwarder runs in the foreground, and whoever started it would see it end";
            return Err(DriverError::NotNow(text));
        };
        let (here, there) = UnixStream::pair()?;
        let environment = std::env::vars_os().collect::<Vec<_>>();
        let process = spawn(&Launch {
            command: &command,
            environment: &environment,
            listen_pid: false,
            descriptors: &[(there.as_fd(), 0)],
            directory: None,
            open_files: None,
            death_signal: None,
        })?;
        info!("restarting: process {} is getting ready", process.pid());
        let plan = self.plan(0);
        let work = move || {
            handover::say(&here, &plan)?;
            handover::expect(&here, &Word::Ready)?;
            Ok(here)
        };
        if let Err(error) = self.trials.meet(work) {
            end(process);
            return Err(error.into());
        }
        self.restarting = Some(Restarting { client, process });
        Ok(())
    }

    fn can_hand_over(&self) -> Result<(), DriverError> {
        let undecided = |rule: &&Rule| match &rule.phase {
            Phase::Serving { change, .. } => matches!(change, Some(Change::Probing { .. } | Change::Guarded { .. })),
            Phase::Draining { .. } => true,
        };
        if self.machine.stopping() {
            return Err(DriverError::Stopping);
        }
        match self.machine.rules().iter().find(undecided).map(|rule| &rule.phase) {
            None => Ok(()),
            Some(Phase::Serving { .. }) => Err(DriverError::NotNow("a switch is not decided yet")),
            Some(Phase::Draining { .. }) => Err(DriverError::NotNow("a rule is being stopped")),
        }
    }

    /// The new process is ready, or will never be.
    pub(super) fn successor_told(&mut self, ready: Result<UnixStream, HandoverError>) {
        let Some(Restarting { client, process }) = self.restarting.take() else {
            return;
        };
        let pid = process.pid();
        let handed = ready.map_err(DriverError::from).and_then(|stream| {
            self.can_hand_over()?;
            self.hand_over(&stream)?;
            Ok(stream)
        });
        match handed {
            Ok(stream) => {
                info!("restarted: process {pid} has taken over");
                self.control.reply(&mut self.reactor, client, &done(&Done::default()));
                self.leave(stream);
            }
            Err(error) => {
                let reason = crate::chain(&error);
                error!("the restart has failed, and this process goes on: {reason}");
                // Nobody but us may serve what is put back.
                end(process);
                self.put_back();
                self.control.reply(&mut self.reactor, client, &Reply::failed(reason));
            }
        }
    }

    /// Hands everything over. If that fails, all is in `self.taken`, to be put back.
    fn hand_over(&mut self, stream: &UnixStream) -> Result<(), HandoverError> {
        let mut all = self.shared()?;
        for listening in self.rules.values() {
            self.relay.leave(listening.door);
        }
        let taken = self.relay.take_out();
        all.extend(taken.parked.into_iter().map(|(door, client)| Handed::Parked(door.number(), client)));
        all.extend(taken.pairs.into_iter().map(|pair| Handed::Pair(Box::new(pair))));
        let plan = self.plan(all.iter().map(Handed::count).sum());
        self.taken = all;
        handover::say(stream, &plan)?;
        handover::send(stream, &self.taken)?;
        handover::expect(stream, &Word::Registered)?;
        handover::say(stream, &Word::Commit)?;
        handover::expect(stream, &Word::Serving)?;
        self.taken.clear();
        Ok(())
    }

    /// What both processes have for a while.
    fn shared(&self) -> io::Result<Vec<Handed>> {
        let mut all = vec![Handed::Control(self.control.share()?)];
        if let Some(pid_file) = &self.pid_file {
            all.push(Handed::PidFile(pid_file.share()?));
        }
        for predecessor in self.predecessors.iter().filter(|stream| is_there(stream)) {
            all.push(Handed::Predecessor(predecessor.try_clone()?));
        }
        for listening in self.rules.values() {
            if let Some(socket) = &listening.socket {
                all.push(Handed::Listener(listening.door.number(), socket.try_clone()?));
            }
        }
        for asker in self.requests.values() {
            if let (Some(client), What::Wait(source)) = (asker.client, &asker.what)
                && let Ok(socket) = self.control.share_client(client)
            {
                all.push(Handed::Waiter(source.clone(), socket));
            }
        }
        Ok(all)
    }

    fn plan(&self, descriptors: usize) -> Plan {
        let rules = self.machine.rules().iter().filter_map(|rule| self.planned(rule)).collect();
        Plan { schema: SCHEMA, options: self.options.clone(), rules, descriptors }
    }

    fn planned(&self, rule: &Rule) -> Option<PlannedRule> {
        let listening = self.rules.get(&rule.id)?;
        let course = rule.course()?;
        let numbers = rule.destinations();
        let at = |id| numbers.iter().position(|number| *number == id);
        Some(PlannedRule {
            listener: listening.door.number(),
            source: listening.text.clone(),
            chosen: listening.chosen,
            paused: self.is_paused(rule.id),
            active: at(course.active)?,
            share: course.share.and_then(|share| Some((at(share.to)?, share.percent))),
            destinations: numbers.iter().filter_map(|id| self.planned_destination(*id)).collect(),
        })
    }

    fn planned_destination(&self, id: DestinationId) -> Option<PlannedDestination> {
        let place = self.places.get(&id)?;
        let (counts, before) = (place.target.counts(), place.before);
        Some(PlannedDestination {
            number: id.0,
            endpoint: place.text.clone(),
            age_ms: u64::try_from((place.target.age() + before.age).as_millis()).unwrap_or(u64::MAX),
            total: counts.total + before.total,
            bytes_in: counts.bytes_in + before.bytes_in,
            bytes_out: counts.bytes_out + before.bytes_out,
            failures: counts.failures + before.failures,
        })
    }

    /// Goes on where it was before everything was taken out.
    fn put_back(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let doors = self.listen_again();
        for handed in std::mem::take(&mut self.taken) {
            match handed {
                Handed::Pair(pair) => {
                    let place = self.places.get(&DestinationId(pair.state.destination));
                    if let (Some(place), Some(door)) = (place, doors.get(&pair.state.listener)) {
                        self.relay.put_in(*pair, Arc::clone(&place.target), *door);
                    }
                }
                Handed::Parked(number, client) => {
                    if let Some(door) = doors.get(&number) {
                        self.relay.admit(*door, client);
                    }
                }
                Handed::Listener(..) | Handed::Control(_) | Handed::Waiter(..) => {}
                Handed::PidFile(_) | Handed::Predecessor(_) => {}
            }
        }
        self.watch_again();
        let pid_file = self.pid_file.as_mut().map(|pid_file| pid_file.make_sure(PID_FILE_MODE));
        if let Some(Err(error)) = pid_file {
            error!("{}", crate::chain(&error));
        }
    }

    /// Accepts again; by which door, by the number of the one before.
    fn listen_again(&mut self) -> HashMap<u32, ListenerId> {
        let mut doors = HashMap::new();
        for (id, listening) in &mut self.rules {
            let Some(Ok(socket)) = listening.socket.as_ref().map(|socket| socket.try_clone()) else {
                continue;
            };
            let route = Arc::clone(&listening.route);
            let proxied = is_proxied(&listening.source);
            match self.relay.listen(Door { socket, route, proxied, tls: listening.tls.clone() }) {
                Ok(door) => {
                    doors.insert(std::mem::replace(&mut listening.door, door).number(), door);
                    let rule = self.machine.rule(*id).map(|rule| &rule.phase);
                    if matches!(rule, Some(Phase::Serving { paused: true, .. })) {
                        self.relay.pause(door);
                    }
                }
                Err(error) => error!("cannot accept from {} again: {error}", listening.text),
            }
        }
        doors
    }

    /// Former destinations had no connection for a moment, and were told to be drained.
    fn watch_again(&mut self) {
        // Who answers has put in all before that.
        drop(self.relay.connections(Which::All));
        let former = self.machine.rules().iter().flat_map(|rule| &rule.former).map(|former| former.id);
        for id in former.collect::<Vec<_>>() {
            self.watch(id);
        }
    }

    /// Gives up what the other process has now, and stays for what could not be handed over.
    fn leave(&mut self, stream: UnixStream) {
        self.control.hand_over();
        self.requests.clear();
        if let Some(pid_file) = self.pid_file.take() {
            pid_file.leave();
        }
        for listening in self.rules.values_mut() {
            listening.socket = None;
            if let Some(file) = listening.file.take() {
                file.leave();
            }
        }
        for source in [Source::Socket, Source::Save] {
            self.reactor.set_deadline(source, None);
        }
        match self.reactor.register(Descriptor(stream), Source::Successor, READABLE) {
            Ok(stream) => self.leaving = Some(stream),
            Err(error) => {
                warn!("cannot watch the other process: {error}");
                self.finished = true;
                return;
            }
        }
        self.leave_when_idle();
        if !self.finished {
            info!("what cannot be handed over stays here until it ends");
        }
    }

    /// Ends when nothing runs here any more.
    pub(super) fn leave_when_idle(&mut self) {
        // Each is asked: whoever is not idle tells later.
        let busy = self.places.values().filter(|place| !place.target.watch()).count();
        self.finished = busy == 0;
    }

    /// What the other process has stopped is stopped here, too.
    pub(super) fn cut_the_rest(&mut self) {
        let count = self.relay.cut(Which::All);
        info!("{count} connections were cut");
        self.finished = true;
    }
}

/// The process that has taken over is our child, and may go before us.
pub(super) fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
}

/// Whether the process at the other end has not gone. Nothing is said there any more.
fn is_there(stream: &OwnedFd) -> bool {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let looked = SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], flags);
    looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Ends a process that came to nothing.
fn end(process: Process) {
    signal_leader(&process, Signal::SIGKILL);
    process.reap();
}
