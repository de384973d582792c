//! The control thread of a forwarder: requests and news become inputs of the state machine, its actions are performed.
//!
//! `rules` has listeners and destinations, `requests` answers whoever asks, `list` shows what there is, `trial` tries
//! destinations; `leaving` and `taking_over` are the two sides of a restart, with `planning` and `rehearsal` about what
//! goes from one to the other, and `elsewhere` about what could not go. No byte of a connection comes by here: that is
//! the business of the relay's loops.

mod directory;
mod elsewhere;
mod identity;
mod leaving;
mod list;
mod planning;
mod rehearsal;
mod requests;
mod rules;
mod saving;
mod starting;
mod taking_over;
mod trial;

use super::restart::rest::ToOld;
use super::restart::same_signal::SameSignal;
use super::state::{Action, DestinationId, Input, Machine, Request, RuleId, Stop};
use super::store::{Saved, SavedOptions, Store};
use super::{DriverError, Settings, Source};
use crate::control::server::Server;
use crate::logging::Logging;
use crate::net::adopt::Inherited;
use crate::net::relay::{self, News, NewsReceiver, NewsSender, Relay, news};
use crate::process::limits::Reserve;
use crate::process::pid_file::PidFile;
use crate::reactor::{Event, READABLE, Reactor, Registered, Signals};
use crate::takeover::leaving::reap;
use elsewhere::{Older, Staying};
use leaving::Restarting;
use log::{Level, debug, info, log_enabled, warn};
use nix::sys::signal::Signal;
use requests::Asker;
use rules::{Listening, Place};
use starting::Starting;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};
pub use taking_over::{Successor, take_over};
use trial::Trials;

/// What a forwarder is given, besides its settings.
pub struct Equipment {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// The sockets that we were started with.
    pub inherited: Inherited,
    /// Where the control socket is to be; its lock is held.
    pub control: PathBuf,
    /// Where rules are saved.
    pub store: Store,
    /// The rules to begin with, and the options to save with them.
    pub saved: Saved,
    /// The log.
    pub logging: Logging,
    /// Our pid file.
    pub pid_file: PidFile,
    /// The command of a process that takes over; `None`: nobody may.
    pub successor: Option<Vec<OsString>>,
}

/// What a driver is made of.
struct Parts {
    reactor: Reactor<Source>,
    signals: Registered<Signals>,
    trials: Trials,
    starting: Starting,
    relay: Relay,
    news: NewsReceiver,
    inherited: Inherited,
    logging: Logging,
    store: Store,
    pid_file: Option<PidFile>,
    successor: Option<Vec<OsString>>,
    reserve: Reserve,
}

/// The loops, which tell of each connection's end where the log wants to know.
fn start_relay(settings: relay::Settings, news: NewsSender) -> Result<Relay, DriverError> {
    let settings = relay::Settings { tell_ends: log_enabled!(Level::Debug), ..settings };
    Relay::start(settings, news).map_err(DriverError::Relay)
}

/// A running forwarder.
pub struct Driver {
    stop_timeout: Duration,
    reactor: Reactor<Source>,
    machine: Machine,
    actions: VecDeque<Action>,
    rules: HashMap<RuleId, Listening>,
    places: HashMap<DestinationId, Place>,
    inherited: Inherited,
    relay: Relay,
    news: NewsReceiver,
    trials: Trials,
    starting: Starting,
    requests: HashMap<Request, Asker>,
    /// Every number comes from here, so none is used twice.
    next: u64,
    /// Why what is decided at the moment went wrong.
    why: Option<String>,
    control: Server<Source>,
    signals: Registered<Signals>,
    reserve: Reserve,
    logging: Logging,
    store: Store,
    options: SavedOptions,
    /// Why the last change is not saved.
    unsaved: Option<DriverError>,
    /// What is to be saved while everything is being stopped: what stood before.
    kept: Option<Saved>,
    /// What is wrong with our directory, as far as it was told.
    amiss: Option<String>,
    /// How many connections were cut since a stop was asked for.
    cut_in_all: usize,
    since: Instant,
    /// Not everything that is to be saved is there yet.
    coming_up: bool,
    pid_file: Option<PidFile>,
    successor: Option<Vec<OsString>>,
    /// A new process is to take over.
    restarting: Restarting,
    /// Another process has taken over, and only what could not be handed over is left.
    staying: Option<Staying>,
    /// Processes before this one, which may have connections.
    older: HashMap<u64, Older>,
    /// The same signal that one of them was told to stop by.
    same_signal: SameSignal,
    finished: bool,
}

impl Driver {
    /// Listens for every rule, and saves what is served when all of them work.
    ///
    /// # Errors
    /// What does not work; nothing has been saved then.
    pub fn new(settings: Settings, equipment: Equipment) -> Result<Self, DriverError> {
        // Before the relay, which counts what is open already.
        let reserve = Reserve::new()?;
        let mut reactor = Reactor::new()?;
        let signals = reactor.register(equipment.signals, Source::Signals, READABLE)?;
        let (sender, receiver) = news(reactor.waker(Source::News)?);
        let trials = Trials::new(reactor.waker(Source::Told)?)?;
        let starting = Starting::new(&mut reactor)?;
        let control = Server::open(&mut reactor, equipment.control, Source::Control, Source::Client)?;
        let options = equipment.saved.options;
        let parts = Parts {
            reactor,
            signals,
            trials,
            starting,
            relay: start_relay(settings.relay, sender)?,
            news: receiver,
            inherited: equipment.inherited,
            logging: equipment.logging,
            store: equipment.store,
            pid_file: Some(equipment.pid_file),
            successor: equipment.successor,
            reserve,
        };
        let mut driver = Driver::of(parts, control, options, settings.stop_timeout)?;
        let prepared = equipment
            .saved
            .rules
            .iter()
            .map(|rule| driver.prepare(rule, None))
            .collect::<Result<Vec<_>, DriverError>>()?;
        for rule in prepared {
            driver.accept_for(rule)?;
        }
        driver.coming_up = false;
        driver.save()?;
        Ok(driver)
    }

    fn of(
        parts: Parts,
        control: Server<Source>,
        options: SavedOptions,
        stop_timeout: Duration,
    ) -> Result<Self, DriverError> {
        let mut driver = Driver {
            stop_timeout,
            machine: Machine::new(),
            actions: VecDeque::new(),
            rules: HashMap::new(),
            places: HashMap::new(),
            inherited: parts.inherited,
            relay: parts.relay,
            news: parts.news,
            trials: parts.trials,
            starting: parts.starting,
            requests: HashMap::new(),
            next: 0,
            why: None,
            control,
            signals: parts.signals,
            reserve: parts.reserve,
            logging: parts.logging,
            store: parts.store,
            options,
            unsaved: None,
            kept: None,
            amiss: None,
            cut_in_all: 0,
            since: Instant::now(),
            coming_up: true,
            pid_file: parts.pid_file,
            successor: parts.successor,
            restarting: Restarting::default(),
            staying: None,
            older: HashMap::new(),
            same_signal: SameSignal::default(),
            finished: false,
            reactor: parts.reactor,
        };
        driver.look_later();
        Ok(driver)
    }

    /// Serves until the end.
    ///
    /// # Errors
    /// When no event can be waited for, or the last changes could not be saved.
    pub fn run(mut self) -> Result<(), DriverError> {
        let mut events = Vec::new();
        while !self.finished {
            // A process that has left decides nothing.
            let deadline = self.machine.deadline().filter(|_| self.staying.is_none());
            self.reactor.set_deadline(Source::Machine, deadline);
            self.reactor.wait(&mut events)?;
            for event in events.drain(..) {
                self.handle(event);
            }
            self.reserve.refill();
        }
        let left = self.has_left();
        if self.kept.is_some() {
            self.try_to_save();
        }
        // One that has left has said why it ends: the forwarder has not stopped.
        if !left {
            info!("stopped");
        }
        self.give_restart_up();
        self.relay.stop();
        self.control.leave();
        match self.unsaved {
            Some(error) if !left => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    fn handle(&mut self, event: Event<Source>) {
        match event.key {
            Source::Signals => self.take_signals(),
            Source::Control => self.control.accept(&mut self.reactor, &mut self.reserve),
            Source::Client(id) => self.client_event(id, event),
            Source::News => self.hear_news(),
            Source::Answers => self.hear_answers(),
            Source::Told => self.hear_what_is_told(),
            Source::Probe(id) => self.probe_took_too_long(id),
            Source::Machine => self.input(Input::Deadline),
            Source::Socket => self.look_after_directory(),
            Source::Save => self.try_to_save(),
            Source::Successor => self.hear_successor(event),
            Source::Rest => self.tell_rest(),
            Source::Older(number) => self.hear_older(number, event),
        }
    }

    fn input(&mut self, input: Input) {
        if self.staying.is_some() {
            return;
        }
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
            Action::Route(rule, course) => self.route(rule, course),
            Action::Watch(id) => self.watch(id),
            Action::Unwatch(id) => self.unwatch(id),
            Action::Probe(_, id) => self.try_out(id),
            Action::EndProbe(id) => self.end_trial(id),
            Action::Forget(id) => drop(self.places.remove(&id)),
            Action::Pause(rule) => self.set_paused(rule, true),
            Action::Resume(rule) => self.set_paused(rule, false),
            Action::Close(rule) => self.close(rule),
            Action::Cut(rule) => self.cut(rule),
            Action::ForgetRule(rule) => drop(self.rules.remove(&rule)),
            Action::Save => self.try_to_save(),
            Action::Answer(request, answer) => self.answer(request, answer),
            Action::Finish => self.finished = true,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn hear_news(&mut self) {
        while let Some(news) = self.news.next() {
            match news {
                News::Drained { .. } if self.staying.is_some() => self.tell_rest(),
                News::Drained { destination } => self.drained(DestinationId(destination)),
                News::ConnectFailed { destination, client, error } => {
                    let what = crate::chain(&error);
                    warn!("{what} (for {client})");
                    match self.staying {
                        Some(_) => self.tell_failure(destination, what),
                        None => self.connect_failed(DestinationId(destination), what),
                    }
                }
                News::ClientFailed { listener, client, error } => {
                    warn!("{}: {client} was turned away: {}", self.name_of(listener), crate::chain(&error));
                }
                News::Short { listener, of } => {
                    warn!("{}: {of}; further clients wait in the backlog", self.name_of(listener));
                }
                News::Enough { listener } => info!("{}: accepting again", self.name_of(listener)),
                News::Ended(ended) => self.log_end(&ended),
                // Of clients that somebody else has accepted, and here the relay accepts all.
                News::Returned { .. } => {}
            }
        }
    }

    fn take_signals(&mut self) {
        let signals = self.signals.pending().collect::<Vec<_>>();
        for signal in signals {
            match signal {
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT if self.staying.is_some() => {
                    self.told_to_stop_after_all(signal);
                }
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT if self.same_signal.is_it(Instant::now()) => {
                    debug!("{signal}, as to the process before this one");
                }
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => self.told_to_stop(signal.as_str()),
                Signal::SIGUSR1 => {
                    self.reopen_log();
                    self.tell_older(&ToOld::Reopen);
                }
                Signal::SIGCHLD if self.staying.is_some() => reap(),
                Signal::SIGHUP => self.trials.look_at_files(),
                _ => debug!("{signal} means nothing here"),
            }
        }
    }

    /// The first time connections may finish, the second time they are cut.
    fn told_to_stop(&mut self, by: &str) {
        if self.machine.stopping() {
            info!("{by}: cutting what is left");
            self.input(Input::Stop { stop: Stop::Cut, request: None });
        } else {
            info!("{by}: stopping; connections may finish");
            self.keep();
            self.input(Input::Stop { stop: Stop::Drain(Some(self.stop_timeout)), request: None });
        }
    }
}
