//! The loop of a supervisor: events become inputs of the state machine, its actions are performed.
//!
//! `children` starts and ends them, `connections` accepts and passes, `lent` keeps listeners alive that children accept
//! from, `given_back` takes in what children give back, `probes` asks those that start, `relayed` is the
//! relay pass, `requests` answers whoever asks.

mod children;
mod connections;
mod family;
mod given_back;
mod lent;
mod names;
mod probes;
mod relayed;
mod requests;
mod words;

use super::channel::Channel;
use super::einhorn::{EinhornError, EinhornServer};
use super::hold::Hold;
use super::notify::store::Store;
use super::notify::{NotifyError, NotifyServer};
use super::output::Output;
use super::rendezvous::Rendezvous;
use super::seldom::Seldom;
use super::settings::{Pass, Settings};
use super::state::{Action, Finish, Input, Machine, Number};
use super::status::{Counters, LastReload};
use super::worker::Worker;
use super::{Source, Stream};
use crate::control::server::{ClientId, ControlError, Server};
use crate::logging::Logging;
use crate::net::listener::Bound;
use crate::process::daemon::{StartResult, StatusPipe};
use crate::process::limits::{self, Reserve};
use crate::reactor::{CLOSED, Descriptor, Event, HangUps, READABLE, Reactor, Registered, Signals};
use children::Why;
use connections::Listener;
use lent::Outdated;
use log::{debug, error, info, warn};
use nix::sys::signal::Signal;
use probes::Probing;
use relayed::Relayed;
use requests::Asked;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// What a supervisor is given, besides its settings.
pub struct Equipment {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// The bound listeners with their names.
    pub listeners: Vec<(String, Bound)>,
    /// Where the control socket is to be; its lock is held.
    pub control: PathBuf,
    /// The process that waits until we are ready, when we are a daemon.
    pub starter: Option<(StatusPipe, StartResult)>,
    /// The log.
    pub logging: Logging,
}

/// Why a supervisor cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Waiting for events, or watching for them.
    #[error("cannot watch for events")]
    Reactor(#[from] io::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The children's socket.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The children's other socket.
    #[error(transparent)]
    Einhorn(#[from] EinhornError),
}

/// How a supervisor ended.
#[derive(Debug)]
pub enum Ending {
    /// As asked.
    Stopped,
    /// As asked, but some child had to be killed.
    Killed,
    /// The first generation never came to serve.
    NeverServed {
        /// Why.
        reason: String,
        /// The last lines of its standard error that nobody has seen yet.
        lines: Vec<String>,
        /// The exit code that says it.
        code: u8,
    },
    /// Too many respawns failed in a row.
    GaveUp,
}

/// A running supervisor.
pub struct Driver {
    settings: Settings,
    reactor: Reactor<Source>,
    machine: Machine,
    actions: VecDeque<Action>,
    listeners: Vec<Listener>,
    hang_ups: Registered<Descriptor<HangUps>>,
    /// A listener was replaced, and no generation serves yet that has the new one.
    outdated: Option<Outdated>,
    hold: Hold<OwnedFd>,
    /// With the relay pass, what it needs.
    relayed: Option<Relayed>,
    workers: BTreeMap<Number, Worker>,
    outputs: HashMap<(Number, Stream), Output>,
    probes: BTreeMap<Number, Probing>,
    /// Channels of generations that are gone from which not everything could be taken back, or taken in, yet.
    leftovers: Vec<(Number, Channel)>,
    /// Something could not be taken back yet. Until it is, nothing is accepted, so that the order is kept.
    behind: bool,
    /// The serving child could not be passed anything when that was tried last, since too many descriptors are under way.
    too_many: bool,
    /// Why the last generation that failed did; at most one starts, so there is one to tell of.
    why: Option<(Number, Why)>,
    /// How many connections were given back that nobody will serve any more.
    in_vain: u64,
    requests: HashMap<super::state::Request, Asked>,
    next_request: u64,
    stop_clients: Vec<ClientId>,
    command: Rc<[OsString]>,
    /// Before the notify server, which takes their directory away.
    einhorn: EinhornServer,
    notify: NotifyServer,
    rendezvous: Rendezvous,
    /// Who comes to a name and is none of our children.
    turned_away: Seldom,
    /// Words by sd_notify that are left out.
    left_out: Seldom,
    /// Processes that a generation cannot live by.
    not_followed: Seldom,
    store: Store,
    control: Server<Source>,
    signals: Registered<Signals>,
    starter: Option<(Registered<Descriptor<StatusPipe>>, StartResult)>,
    reserve: Reserve,
    logging: Logging,
    counters: Counters,
    /// Connections that children have taken with them unread, over channels that nothing can be taken back from.
    lost: usize,
    last_reload: Option<LastReload>,
    since: Instant,
    finish: Option<Finish>,
}

impl Driver {
    /// Watches everything that there is to be watched; no child runs yet.
    ///
    /// # Errors
    /// What cannot be watched.
    pub fn new(settings: Settings, equipment: Equipment) -> Result<Self, DriverError> {
        let mut reactor = Reactor::new()?;
        let signals = reactor.register(equipment.signals, Source::Signals, READABLE)?;
        let notify = NotifyServer::open(&mut reactor, &equipment.control)?;
        let children = equipment.control.with_extension("child");
        let einhorn = EinhornServer::open(&mut reactor, &children)?;
        let control = Server::open(&mut reactor, equipment.control, Source::Control, Source::Client)?;
        let listeners = connections::watch(&mut reactor, settings.pass, equipment.listeners)?;
        let relayed = match settings.pass {
            Pass::Relay => {
                let sockets = listeners.iter().filter_map(Listener::lend).map(|(_, socket)| socket);
                Some(Relayed::start(&mut reactor, sockets, children, settings.proxy)?)
            }
            Pass::Listener | Pass::Connections => None,
        };
        let rendezvous = Rendezvous::open(&mut reactor, listeners.iter().filter_map(|listener| listener.tcp_port));
        let hang_ups = lent::watch(&mut reactor, &listeners)?;
        let starter = match equipment.starter {
            Some((pipe, result)) => Some((reactor.register(Descriptor(pipe), Source::Starter, CLOSED)?, result)),
            None => None,
        };
        Ok(Driver {
            machine: Machine::new(settings.policy.clone()),
            actions: VecDeque::new(),
            hold: Hold::new(listeners.len(), settings.hold_limit).keeping(limits::open_files()? / 4),
            listeners,
            relayed,
            hang_ups,
            outdated: None,
            workers: BTreeMap::new(),
            outputs: HashMap::new(),
            probes: BTreeMap::new(),
            leftovers: Vec::new(),
            behind: false,
            too_many: false,
            why: None,
            in_vain: 0,
            requests: HashMap::new(),
            next_request: 0,
            stop_clients: Vec::new(),
            command: settings.command.clone().into(),
            einhorn,
            notify,
            rendezvous,
            turned_away: Seldom::default(),
            left_out: Seldom::default(),
            not_followed: Seldom::default(),
            store: Store::new(settings.open_files.0),
            control,
            signals,
            starter,
            reserve: Reserve::new()?,
            logging: equipment.logging,
            counters: Counters::default(),
            lost: 0,
            last_reload: None,
            since: Instant::now(),
            finish: None,
            settings,
            reactor,
        })
    }

    /// Serves until the end.
    ///
    /// # Errors
    /// When no event can be waited for; children see the end of their channels then.
    pub fn run(mut self) -> Result<Ending, DriverError> {
        let mut actions = Vec::new();
        self.machine.start(Instant::now(), &mut actions);
        self.perform(actions);
        let mut events = Vec::new();
        loop {
            if let Some(finish) = self.finish {
                return Ok(self.ending(finish));
            }
            self.reactor.set_deadline(Source::Machine, self.machine.deadline());
            self.reactor.wait(&mut events)?;
            for event in events.drain(..) {
                self.handle(event);
            }
            self.catch_up();
        }
    }

    fn handle(&mut self, event: Event<Source>) {
        match event.key {
            Source::Signals => self.take_signals(),
            Source::Starter => self.starter_left(),
            Source::Listener(index) => self.accept(index),
            Source::HangUps => self.look_for_hang_ups(),
            Source::ListenAgain(index) => self.listen_again(index),
            Source::Outdated => self.look_for_outdated(),
            Source::Channel(number) => self.channel_event(number, event),
            Source::Exit(number) => self.leader_exited(number),
            Source::Output(number, stream) => self.read_output(number, stream),
            Source::Main(number) => self.main_ended(number),
            Source::ReadyLine(number) => self.read_ready_line(number),
            Source::Probe(number) => self.probe_event(number, event),
            Source::Control => self.control.accept(&mut self.reactor, &mut self.reserve),
            Source::Behind => {}
            Source::Relay => self.relay_news(),
            Source::Notify => self.hear_words(),
            Source::Einhorn => self.einhorns_workers(),
            Source::EinhornClient(id) => self.einhorns_worker(id, event),
            Source::Rendezvous(index) => self.rendezvous_event(index),
            Source::Stored(id) => self.store.look(id),
            Source::Client(id) => self.client_event(id, event),
            Source::Machine => self.input(Input::Deadline),
        }
    }

    /// What is left to do after a batch of events.
    fn catch_up(&mut self) {
        self.reserve.refill();
        if self.behind {
            self.go_on_taking_back();
        }
        if !self.leftovers.is_empty() {
            self.hear_leftovers();
            self.pass_to_serving();
        }
        if self.machine.stopping() {
            // There is no next generation that they could wait for.
            self.hold.admit_kept();
            self.pass_to_serving();
        }
        // The second time tells that nothing came in while the listeners closed.
        while self.machine.stopping() && self.machine.serving().is_some() && self.nothing_held() {
            self.input(Input::Emptied);
        }
    }

    fn input(&mut self, input: Input) {
        debug!("{input:?}");
        let mut actions = Vec::new();
        self.machine.on(Instant::now(), input, &mut actions);
        self.perform(actions);
    }

    /// Performs actions in order. Those that follow from one come after those that were there already.
    fn perform(&mut self, actions: Vec<Action>) {
        let busy = !self.actions.is_empty();
        self.actions.extend(actions);
        if busy {
            return;
        }
        while let Some(action) = self.actions.front().copied() {
            debug!("{action:?}");
            self.act(action);
            self.actions.pop_front();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn(number) => self.spawn(number),
            Action::Serve(number) => self.serves(number),
            Action::Pass(number) => self.pass(number),
            Action::Park(number) => self.park(number),
            Action::Drain { number, signal, take_back } => self.drain(number, signal, take_back),
            Action::Abort(number) => self.abort(number),
            Action::Terminate(number) => self.terminate(number),
            Action::Kill(number) => self.kill(number),
            Action::CheckGroup(number) => self.check_group(number),
            Action::Remove(number) => self.remove(number),
            Action::CloseListeners => self.close_listeners(),
            Action::Report(report) => self.report(report),
            Action::Finish(finish) => self.finish = Some(finish),
        }
    }

    fn take_signals(&mut self) {
        let signals = self.signals.pending().collect::<Vec<_>>();
        for signal in signals {
            match signal {
                Signal::SIGHUP => self.reload_asked(None, None),
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                    info!("{signal}: {}", if self.machine.stopping() { "more urgent" } else { "stopping" });
                    self.input(Input::Stop);
                }
                Signal::SIGUSR1 => {
                    if let Err(error) = self.logging.reopen() {
                        error!("{}", crate::chain(&error));
                    }
                }
                Signal::SIGUSR2 => {
                    warn!("SIGUSR2: an upgrade of the supervisor itself is not available yet")
                }
                _ => {}
            }
        }
    }

    /// The starting process was ended while it waited: whoever started us has changed his mind.
    fn starter_left(&mut self) {
        if self.starter.take().is_some() {
            warn!("the process that was started has gone before we were ready: stopping");
            self.input(Input::Stop);
        }
    }

    fn ending(mut self, finish: Finish) -> Ending {
        self.close_held();
        self.answer_stop(finish);
        let ending = match finish {
            Finish::Stopped => Ending::Stopped,
            Finish::Killed => Ending::Killed,
            Finish::GaveUp => Ending::GaveUp,
            Finish::NeverServed(number, failure) => {
                let why = self.why_of(number, failure);
                Ending::NeverServed { reason: why.reason, lines: why.unseen, code: why.code }
            }
        };
        self.control.leave();
        ending
    }
}
