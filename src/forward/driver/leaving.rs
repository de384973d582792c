//! A restart, the old side: the new process is started, everything goes to it, and this one stays for what cannot go. When
//! that fails at any step everything is as it was. `restart/protocol` decides.

use super::Driver;
use super::elsewhere::Staying;
use super::requests::Asker;
use super::rules::{Listening, is_proxied};
use crate::control::server::ClientId;
use crate::control::wire::Reply;
use crate::forward::restart::descriptors::{self, Handed, SharedClient};
use crate::forward::restart::plan::What;
use crate::forward::restart::protocol::{Old, OldDoes, OldHears};
use crate::forward::restart::{Exchange, LIMIT, RestartError, Word};
use crate::forward::state::{DestinationId, Phase, Request};
use crate::forward::{DriverError, PID_FILE_MODE, Source};
use crate::net::relay::{Carried, Door, Which};
use crate::process::group::{survivors, wait_for_exits};
use crate::process::output::printable;
use crate::process::spawn::{Launch, Process, signal_group, spawn};
use log::{error, info, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// How many of the last lines that a failed process has written are shown.
const LAST_LINES: usize = 10;
/// How much of what it has written is looked at for them.
const LAST_BYTES: u64 = 16 * 1024;
/// A process that has closed its stream is about to end; so long is waited to tell how.
const TO_END: u16 = 500;

/// A restart that is under way.
#[derive(Default)]
pub(super) struct Restarting {
    stage: Old,
    /// Who asked for it.
    request: Option<Request>,
    process: Option<Process>,
    /// What it writes to standard output and standard error.
    output: Option<File>,
    exchange: Option<Exchange>,
    /// Everything stands still, and this is to be put back if it comes to nothing.
    taken: Option<Vec<Handed>>,
    /// What went wrong first.
    why: Option<String>,
    /// That was that the new process has gone.
    gone: bool,
}

impl Restarting {
    fn fails(&mut self, why: String) {
        self.why.get_or_insert(why);
    }
}

/// What it means that something was not heard.
fn meaning(error: &RestartError) -> OldHears {
    match error {
        RestartError::Lost(_) => OldHears::Gone,
        RestartError::Late(_) => OldHears::Late,
        RestartError::Failed(_) => OldHears::Failed,
        RestartError::Handoff(_) | RestartError::Line(_) | RestartError::Endless | RestartError::Version(_) => {
            OldHears::Nonsense
        }
        RestartError::OutOfTurn(_) | RestartError::Missing(_) => OldHears::Nonsense,
    }
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
        if self.restarting.stage != Old::Serving {
            return Err(DriverError::Restarting);
        }
        let request = Request(self.number());
        self.requests.insert(request, Asker { client: Some(client), what: What::Restart });
        self.restarting.request = Some(request);
        self.restart_hears(OldHears::Asked);
        Ok(())
    }

    /// The thread that lets the new process get ready has come to an end.
    pub(super) fn successor_told(&mut self, exchange: Exchange, ready: Result<(), RestartError>) {
        self.restarting.exchange = Some(exchange);
        let heard = match ready {
            Ok(()) if self.machine.stopping() => {
                self.restarting.fails(DriverError::Stopping.to_string());
                OldHears::Failed
            }
            Ok(()) => OldHears::Ready,
            Err(error) => self.not_heard(&error),
        };
        self.restart_hears(heard);
    }

    fn not_heard(&mut self, error: &RestartError) -> OldHears {
        self.restarting.gone |= self.restarting.why.is_none() && matches!(error, RestartError::Lost(_));
        self.restarting.fails(crate::chain(error));
        meaning(error)
    }

    fn restart_hears(&mut self, heard: OldHears) {
        let mut next = Some(heard);
        while let Some(heard) = next.take() {
            for act in self.restarting.stage.on(heard) {
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
                    self.restarting.fails(crate::chain(&error));
                    Some(OldHears::Gone)
                }
            },
            OldDoes::Offer => match self.offer() {
                Ok(()) => Some(self.hear_successor_say()),
                Err(error) => Some(self.not_heard(&error)),
            },
            OldDoes::Commit => {
                let said = self.restarting.exchange.as_ref().map(|exchange| exchange.say(&Word::Commit));
                match said {
                    Some(Err(error)) => Some(self.not_heard(&error)),
                    Some(Ok(())) | None => Some(self.hear_successor_say()),
                }
            }
            OldDoes::End => {
                self.end_successor();
                // What it has said before is still there to be heard.
                (self.restarting.stage == Old::Ending).then(|| self.hear_successor_say())
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
        let (here, there) = UnixStream::pair()?;
        let output = File::from(memfd_create("restart", MFdFlags::MFD_CLOEXEC).map_err(std::io::Error::from)?);
        let environment = std::env::vars_os().collect::<Vec<_>>();
        let process = spawn(&Launch {
            command: &command,
            environment: &environment,
            listen_pid: false,
            descriptors: &[(there.as_fd(), 0), (output.as_fd(), 1), (output.as_fd(), 2)],
            directory: None,
            open_files: None,
            death_signal: None,
        })?;
        info!("restarting: process {} is getting ready", process.pid());
        (self.restarting.process, self.restarting.output) = (Some(process), Some(output));
        let plan = self.plan(0);
        self.trials.meet(Exchange::new(here, LIMIT), plan)?;
        Ok(())
    }

    /// Stops accepting, takes out what can go, and sends everything.
    fn offer(&mut self) -> Result<(), RestartError> {
        // What has been told already shall not be forgotten.
        self.hear_news();
        for listening in self.rules.values().filter(|listening| listening.socket.is_some()) {
            self.relay.leave(listening.door);
        }
        let taken = self.relay.take_out();
        let parked = taken.parked.into_iter().map(|(door, client)| Handed::Parked(door.number(), client));
        let pairs = taken.pairs.into_iter().map(|pair| Handed::Pair(Box::new(pair)));
        let taken = parked.chain(pairs).collect::<Vec<_>>();
        let mut exchange = self.restarting.exchange.take();
        let sent = exchange.as_mut().map_or(Ok(()), |exchange| {
            exchange.wind();
            self.send_all(exchange, &taken)
        });
        (self.restarting.exchange, self.restarting.taken) = (exchange, Some(taken));
        sent
    }

    /// Tells the plan, and sends what both have from now on and what is taken out of here. This needs no descriptor.
    fn send_all(&self, exchange: &Exchange, taken: &[Handed]) -> Result<(), RestartError> {
        let stderr = std::io::stderr();
        let shared = self.shared(stderr.as_fd());
        let count = shared.iter().map(Handed::count).chain(taken.iter().map(Handed::count)).sum();
        exchange.say(&self.plan(count))?;
        descriptors::send(exchange.stream(), &shared, taken, exchange.left())
    }

    fn hear_successor_say(&mut self) -> OldHears {
        let heard = self.restarting.exchange.as_ref().map(|exchange| exchange.hear::<Word>());
        match heard {
            Some(Ok(Word::Registered)) => OldHears::Registered,
            Some(Ok(Word::Taken)) => OldHears::Taken,
            Some(Ok(Word::Failed(why))) => self.not_heard(&RestartError::Failed(why)),
            Some(Ok(word @ (Word::Ready(_) | Word::Commit))) => self.not_heard(&RestartError::OutOfTurn(word)),
            Some(Err(error)) => self.not_heard(&error),
            None => OldHears::Gone,
        }
    }

    /// What both processes have for a while.
    fn shared<'a>(&'a self, output: BorrowedFd<'a>) -> Vec<Handed<BorrowedFd<'a>>> {
        let mut all = self.control.lend().map(Handed::Control).into_iter().collect::<Vec<_>>();
        all.extend(self.pid_file.as_ref().map(|pid_file| Handed::PidFile(pid_file.as_fd())));
        all.push(Handed::Output(output));
        let listens = |rule: &'a Listening| Some(Handed::Listener(rule.door.number(), rule.socket.as_ref()?.as_fd()));
        all.extend(self.rules.values().filter_map(listens));
        all.extend(self.control.lend_clients().map(|(id, client)| {
            let (number, asked, heard, socket) = (id.number(), client.asked, client.heard, client.socket);
            Handed::Client(SharedClient { number, asked, heard, socket })
        }));
        let older = self.older_streams().enumerate();
        all.extend(older.map(|(index, (stream, heard))| Handed::Older(index, heard.to_vec(), stream)));
        all
    }

    /// Kills the new process, and tells how it had ended by itself, if it had.
    fn end_successor(&mut self) {
        let Some(process) = self.restarting.process.take() else {
            return;
        };
        if self.restarting.gone {
            // One that has closed the stream ends in a moment.
            if let Ok(exit) = process.exit_descriptor() {
                let _ = poll(&mut [PollFd::new(exit.as_fd(), PollFlags::POLLIN)], PollTimeout::from(TO_END));
            }
            if let Some(exit) = process.exit() {
                self.restarting.why = Some(format!("the new process {exit}"));
            }
        }
        let pid = process.pid();
        // With its group: the program may be a script that has started another, which may have the lock of a pid file.
        let others = survivors(pid).exit_descriptors();
        signal_group(&process, Signal::SIGKILL);
        process.reap();
        wait_for_exits(others, Duration::from_millis(TO_END.into()));
        if let Some(exchange) = &mut self.restarting.exchange {
            exchange.wind();
        }
        if let Some(pid_file) = &self.pid_file {
            pid_file.clean_up_after(pid);
        }
    }

    fn answer_restart_failed(&mut self) {
        let mut restart = std::mem::take(&mut self.restarting);
        let why = restart.why.take().unwrap_or_else(|| "it failed".to_owned());
        error!("the restart has failed, and this process goes on: {why}");
        let reply = Reply { lines: restart.output.as_ref().map(last_lines).unwrap_or_default(), ..Reply::failed(why) };
        let asker = restart.request.and_then(|request| self.requests.remove(&request));
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
        let restart = std::mem::take(&mut self.restarting);
        self.restarting.stage = restart.stage;
        let (Some(_), Some(exchange)) = (restart.process, restart.exchange) else {
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
        self.restarting.stage == Old::Leaving
    }

    /// No new process is left behind.
    pub(super) fn give_restart_up(&mut self) {
        if self.staying.is_none() {
            self.end_successor();
        }
    }
}

/// The last lines of what a process has written.
fn last_lines(output: &File) -> Vec<String> {
    let length = output.metadata().map_or(0, |metadata| metadata.len());
    let from = length.saturating_sub(LAST_BYTES);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or_default()];
    let bytes = match output.read_exact_at(&mut bytes, from) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(printable);
    let lines = lines.collect::<Vec<_>>();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

/// How long a process that stays waits to hear that the other one serves.
pub(super) const TO_SERVE: Duration = LIMIT;
