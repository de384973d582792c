//! Taking over from a process that goes: the new side.

use super::requests::refusal;
use super::rules::{Before, Listening, is_proxied};
use super::trial::Trials;
use super::{Driver, Parts};
use crate::control::server::Server;
use crate::forward::handover::{self, Handed, HandoverError, Plan, PlannedRule, Word};
use crate::forward::state::{Course, DestinationId, Input, RuleId, Share};
use crate::forward::store::Store;
use crate::forward::{DriverError, PID_FILE, PID_FILE_MODE, Settings, Source};
use crate::logging::Logging;
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Connect, Listen, Unix, UnixAddress};
use crate::net::listener::{Address, SocketFile};
use crate::net::relay::{Door, NewsReceiver, Relay, Route, Which, news};
use crate::net::tls::{ClientIdentity, ServerIdentity};
use crate::process::pid_file::PidFile;
use crate::reactor::{READABLE, Reactor, Signals};
use log::{info, warn};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a process has that is to take over.
pub struct Successor {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// The log.
    pub logging: Logging,
    /// The forwarder's directory.
    pub directory: PathBuf,
    /// The command of the process that comes after this one.
    pub successor: Vec<OsString>,
}

/// Takes over from the process at the other end of the stream, and serves until the end.
///
/// # Errors
/// What stood in the way. The other process knows, and goes on.
pub fn take_over(stream: &UnixStream, equipment: Successor) -> Result<(), DriverError> {
    let begun = begin(stream, equipment);
    match begun {
        Ok(driver) => driver.run(),
        Err(error) => {
            log::error!("cannot take over: {}", crate::chain(&error));
            // One that has gone needs no answer.
            let _ = handover::say(stream, &Word::Failed(crate::chain(&error)));
            Err(error)
        }
    }
}

fn begin(stream: &UnixStream, equipment: Successor) -> Result<Driver, DriverError> {
    let settings = rehearse(&handover::hear(stream)?)?;
    let machinery = Machinery::start(settings)?;
    handover::say(stream, &Word::Ready)?;
    // It may have become another meanwhile.
    let plan = handover::hear::<Plan>(stream)?;
    rehearse(&plan)?;
    let handed = handover::receive(stream, plan.descriptors)?;
    handover::say(stream, &Word::Registered)?;
    handover::expect(stream, &Word::Commit)?;
    let mut driver = Driver::taking_over(machinery, equipment, plan, handed)?;
    driver.predecessors.push(stream.try_clone()?.into());
    if let Err(error) = handover::say(stream, &Word::Serving) {
        // Since *commit* it is up to us, whether it is there or not.
        warn!("the process before this one has gone: {}", crate::chain(&error));
    }
    info!("taken over");
    Ok(driver)
}

/// Whether we could serve that: every endpoint is understood, and every certificate there.
fn rehearse(plan: &Plan) -> Result<Settings, DriverError> {
    for rule in &plan.rules {
        let source = rule.source.parse::<Listen>()?;
        if let Listen::Tls(tls) = source.socket() {
            let endpoint = rule.source.clone();
            ServerIdentity::load(&tls.files).map_err(|source| DriverError::Tls { endpoint, source })?;
        }
        for destination in &rule.destinations {
            let connect = destination.endpoint.parse::<Connect>()?;
            if let Some(tls) = &connect.tls {
                let endpoint = destination.endpoint.clone();
                let loaded = ClientIdentity::load(tls, &connect.place);
                loaded.map_err(|source| DriverError::Tls { endpoint, source })?;
            }
        }
    }
    Settings::of(&plan.options).map_err(|error| HandoverError::Failed(crate::chain(&error)).into())
}

/// What is there before anything is handed over. The relay counts what is open when it starts, and what it is given
/// later besides.
struct Machinery {
    reactor: Reactor<Source>,
    relay: Relay,
    news: NewsReceiver,
    trials: Trials,
    stop_timeout: Duration,
}

impl Machinery {
    fn start(settings: Settings) -> Result<Self, DriverError> {
        let mut reactor = Reactor::new()?;
        let (sender, news) = news(reactor.waker(Source::News)?);
        Ok(Machinery {
            relay: Relay::start(settings.relay, sender).map_err(DriverError::Relay)?,
            news,
            trials: Trials::new(reactor.waker(Source::Told)?)?,
            stop_timeout: settings.stop_timeout,
            reactor,
        })
    }
}

/// The descriptors that came, by what they are.
#[derive(Default)]
struct Arrived {
    listeners: Vec<(u32, OwnedFd)>,
    connections: Vec<Handed>,
    waiters: Vec<(Option<String>, OwnedFd)>,
    predecessors: Vec<OwnedFd>,
    control: Option<OwnedFd>,
    pid_file: Option<OwnedFd>,
}

impl Arrived {
    fn of(all: Vec<Handed>) -> Self {
        let mut arrived = Arrived::default();
        for handed in all {
            match handed {
                Handed::Listener(number, socket) => arrived.listeners.push((number, socket)),
                Handed::Parked(..) | Handed::Pair(_) => arrived.connections.push(handed),
                Handed::Waiter(source, socket) => arrived.waiters.push((source, socket)),
                Handed::Control(socket) => arrived.control = Some(socket),
                Handed::PidFile(file) => arrived.pid_file = Some(file),
                Handed::Predecessor(stream) => arrived.predecessors.push(stream),
            }
        }
        arrived
    }
}

fn missing(what: &str) -> HandoverError {
    HandoverError::Failed(format!("{what} did not come"))
}

impl Driver {
    fn taking_over(
        machinery: Machinery,
        equipment: Successor,
        plan: Plan,
        handed: Vec<Handed>,
    ) -> Result<Self, DriverError> {
        let mut arrived = Arrived::of(handed);
        let Machinery { mut reactor, relay, news, trials, stop_timeout } = machinery;
        let signals = reactor.register(equipment.signals, Source::Signals, READABLE)?;
        let control = arrived.control.take().ok_or_else(|| missing("the control socket"))?;
        let path = equipment.directory.join("forward.sock");
        let mut store = Store::new(&equipment.directory);
        if let Err(error) = store.load() {
            warn!("{}", crate::chain(&error));
        }
        let parts = Parts {
            signals,
            trials,
            control: Server::take_over(&mut reactor, control, path, Source::Control, Source::Client)?,
            relay,
            news,
            inherited: Inherited::take(std::iter::empty()).map_err(io::Error::other)?,
            logging: equipment.logging,
            store,
            pid_file: None,
            successor: Some(equipment.successor),
            reactor,
        };
        let mut driver = Driver::of(parts, plan.options, stop_timeout)?;
        for rule in plan.rules {
            driver.go_on_with(rule, &mut arrived)?;
        }
        driver.predecessors = arrived.predecessors;
        driver.admit_waiters(arrived.waiters);
        let held = arrived.pid_file.take().ok_or_else(|| missing("the pid file"))?;
        let pid_file = PidFile::take_over(&equipment.directory.join(PID_FILE), PID_FILE_MODE, held)?;
        driver.pid_file = Some(pid_file);
        // Last: what is dropped on the way would take its file along, which is still the other process'.
        for listening in driver.rules.values_mut() {
            listening.file = file_of(&listening.source);
        }
        driver.coming_up = false;
        driver.try_to_save();
        Ok(driver)
    }

    fn go_on_with(&mut self, rule: PlannedRule, arrived: &mut Arrived) -> Result<(), DriverError> {
        let id = RuleId(self.number());
        let mut ids = Vec::new();
        for planned in &rule.destinations {
            let to = self.add_place(id, planned.endpoint.parse::<Connect>()?, &planned.endpoint)?;
            if let Some(place) = self.places.get_mut(&to) {
                place.before = Before {
                    age: Duration::from_millis(planned.age_ms),
                    total: planned.total,
                    bytes_in: planned.bytes_in,
                    bytes_out: planned.bytes_out,
                    failures: planned.failures,
                };
            }
            ids.push(to);
        }
        let at = |index: usize| ids.get(index).copied().ok_or_else(|| missing("a destination"));
        let share = rule.share.map(|(index, percent)| Ok::<_, HandoverError>(Share { to: at(index)?, percent }));
        let course = Course { active: at(rule.active)?, share: share.transpose()? };
        self.listen_on_with(id, &rule, course, arrived)?;
        self.put_in(id, &rule, &ids, arrived);
        let former = ids.into_iter().filter(|id| !course.leads_to(*id)).collect();
        self.input(Input::Start { rule: id, course, paused: rule.paused, former });
        Ok(())
    }

    fn listen_on_with(
        &mut self,
        id: RuleId,
        rule: &PlannedRule,
        course: Course,
        arrived: &mut Arrived,
    ) -> Result<(), DriverError> {
        let at = arrived.listeners.iter().position(|(number, _)| *number == rule.listener);
        let (_, socket) = arrived.listeners.swap_remove(at.ok_or_else(|| missing("a listener"))?);
        let source = rule.source.parse::<Listen>()?;
        let tls = self.server_identity(&source)?;
        let route = Route::new(self.shares(course));
        let (address, kept) = (Address::of(socket.as_fd())?, socket.try_clone()?);
        let door = Door { socket, route: Arc::clone(&route), proxied: is_proxied(&source), tls: tls.clone() };
        let accept = |source| DriverError::Accept { endpoint: rule.source.clone(), source };
        let door = self.relay.listen(door).map_err(accept)?;
        if rule.paused {
            self.relay.pause(door);
        }
        let (text, chosen, socket) = (rule.source.clone(), rule.chosen, Some(kept));
        let listening = Listening { source, text, address, route, door, socket, tls, chosen, file: None, cut: 0 };
        self.rules.insert(id, listening);
        Ok(())
    }

    /// Goes on with what runs.
    fn put_in(&mut self, id: RuleId, rule: &PlannedRule, ids: &[DestinationId], arrived: &mut Arrived) {
        let Some(door) = self.rules.get(&id).map(|listening| listening.door) else {
            return;
        };
        for handed in std::mem::take(&mut arrived.connections) {
            match handed {
                Handed::Pair(pair) if pair.state.listener == rule.listener => {
                    let numbers = rule.destinations.iter().map(|planned| planned.number);
                    let known = numbers.zip(ids).find(|(number, _)| *number == pair.state.destination);
                    if let Some(place) = known.and_then(|(_, id)| self.places.get(id)) {
                        self.relay.put_in(*pair, Arc::clone(&place.target), door);
                    }
                }
                Handed::Parked(number, client) if number == rule.listener => self.relay.admit(door, client),
                other => arrived.connections.push(other),
            }
        }
        // Who answers has put in all before that: only then can destinations be watched.
        drop(self.relay.connections(Which::All));
    }

    fn admit_waiters(&mut self, waiters: Vec<(Option<String>, OwnedFd)>) {
        for (source, socket) in waiters {
            match self.control.admit(&mut self.reactor, socket) {
                Ok(client) => {
                    if let Err(error) = self.wait(client, source) {
                        self.control.reply(&mut self.reactor, client, &refusal(&error));
                    }
                }
                Err(error) => warn!("cannot go on with one who waits: {error}"),
            }
        }
    }
}

/// The file of a unix socket, which is ours from now on.
fn file_of(source: &Listen) -> Option<SocketFile> {
    let Listen::Unix(Unix { address: UnixAddress::Path(path), .. }) = source.socket() else {
        return None;
    };
    match SocketFile::take_over(Path::new(path)) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            warn!("cannot find {path}: {error}");
            None
        }
    }
}
