//! A restart, the new side: it tries what it is told, takes everything in without touching it, and begins when it is told
//! to. `takeover` decides what follows what.

use super::identity::warn_of;
use super::rehearsal::{Identities, Rehearsed, RehearsedRule};
use super::requests::{Asker, done};
use super::rules::{Before, Kept, Listening, Place, is_proxied};
use super::starting::Starting;
use super::trial::Trials;
use super::{Driver, Parts, start_relay};
use crate::control::server::{ClientId, Server};
use crate::forward::probe::Probe;
use crate::forward::request::Done;
use crate::forward::restart::descriptors::{self, Handed};
use crate::forward::restart::plan::{Plan, PlannedChange, PlannedPhase, PlannedRule, SCHEMA, What};
use crate::forward::restart::rest::{Rest, ToOld};
use crate::forward::state::{Action, DestinationId, Machine, Phase, Request, RuleId};
use crate::forward::store::{Store, StoreError};
use crate::forward::{DriverError, PID_FILE, PID_FILE_MODE, Settings, Source};
use crate::logging::Logging;
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Listen, Unix, UnixAddress};
use crate::net::listener::{Address, SocketFile};
use crate::net::relay::{Carried, Door, Route, Which, news};
use crate::process::limits::Reserve;
use crate::process::pid_file::Prepared;
use crate::process::service;
use crate::reactor::{READABLE, Reactor, Signals};
use crate::takeover::arriving::{Arrival, arrive};
use crate::takeover::descriptors::{SharedClient, own_output};
use crate::takeover::{Exchange, ExchangeError, LIMIT};
use log::{error, info, warn};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a process has that is to take over.
pub struct Successor {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// The log.
    pub logging: Logging,
    /// The forwarder's directory.
    pub directory: PathBuf,
    /// The command of the process that comes after this one; `None`: there must be none.
    pub successor: Option<Vec<OsString>>,
}

/// Takes over from the process at the other end of the stream, and serves until the end.
///
/// # Errors
/// What stood in the way. The other process knows, and goes on.
pub fn take_over(stream: UnixStream, equipment: Successor) -> Result<(), DriverError> {
    let mut coming = Coming {
        directory: equipment.directory.clone(),
        equipment: Some(equipment),
        parts: None,
        driver: None,
        rehearsed: None,
        identities: Identities::default(),
        arrived: Arrived::default(),
    };
    let exchange = arrive(Exchange::new(stream, LIMIT), &mut coming)?;
    coming.serve(exchange)?.run()
}

/// A process on its way to take over.
struct Coming {
    directory: PathBuf,
    equipment: Option<Successor>,
    parts: Option<Parts>,
    driver: Option<Driver>,
    rehearsed: Option<Rehearsed>,
    identities: Identities,
    arrived: Arrived,
}

/// The descriptors that came, by what they are.
#[derive(Default)]
struct Arrived {
    listeners: HashMap<u32, (OwnedFd, OwnedFd, Address)>,
    parked: HashMap<u32, Vec<OwnedFd>>,
    pairs: Vec<Carried>,
    clients: Vec<SharedClient>,
    older: Vec<(usize, Vec<u8>, OwnedFd)>,
    control: Option<Server<Source>>,
    pid_file: Option<Prepared>,
    output: Option<OwnedFd>,
}

impl Arrival for Coming {
    type Error = DriverError;

    const SCHEMA: u32 = SCHEMA;

    fn of_exchange(error: &DriverError) -> Option<&ExchangeError> {
        match error {
            DriverError::Restart(error) => Some(error),
            _ => None,
        }
    }

    fn rehearse(&mut self, exchange: &mut Exchange) -> Result<(), DriverError> {
        let rehearsed = self.identities.rehearse(Plan::hear(exchange)?)?;
        self.equip(&rehearsed.plan)
    }

    fn take_in(&mut self, exchange: &mut Exchange) -> Result<(), DriverError> {
        let rehearsed = self.identities.rehearse(Plan::hear(exchange)?)?;
        let count = rehearsed.plan.descriptors;
        if let Some(parts) = &mut self.parts {
            parts.reserve.release();
        }
        for handed in descriptors::receive(exchange.stream(), count, exchange.left())? {
            self.keep(handed)?;
        }
        self.has_all_of(&rehearsed.plan)?;
        if let (Some(parts), Some(control)) = (self.parts.take(), self.arrived.control.take()) {
            let options = rehearsed.plan.options.clone();
            self.driver = Some(Driver::of(parts, control, options, rehearsed.stop_timeout)?);
        }
        self.rehearsed = Some(rehearsed);
        Ok(())
    }
}

impl Coming {
    /// Makes what this process has of its own, before it has anything of the other's: the loops count descriptors.
    fn equip(&mut self, plan: &Plan) -> Result<(), DriverError> {
        let Some(equipment) = self.equipment.take() else {
            return Err(DriverError::Stopping);
        };
        let mut store = Store::new(&self.directory);
        match store.load() {
            Ok(_) => {}
            Err(error @ StoreError::Later { .. }) => return Err(error.into()),
            Err(error) => warn!("{}", crate::chain(&error)),
        }
        let settings = Settings::of(&plan.options).map_err(DriverError::Settings)?;
        // Before the relay, which counts what is open already.
        let reserve = Reserve::new()?;
        let mut reactor = Reactor::new()?;
        let (sender, receiver) = news(reactor.waker(Source::News)?);
        self.parts = Some(Parts {
            signals: reactor.register(equipment.signals, Source::Signals, READABLE)?,
            trials: Trials::new(reactor.waker(Source::Told)?)?,
            starting: Starting::new(&mut reactor)?,
            relay: start_relay(settings.relay, sender)?,
            news: receiver,
            inherited: Inherited::take(std::iter::empty()).map_err(io::Error::other)?,
            logging: equipment.logging,
            store,
            pid_file: None,
            successor: equipment.successor,
            reserve,
            reactor,
        });
        Ok(())
    }

    fn keep(&mut self, handed: Handed) -> Result<(), DriverError> {
        match handed {
            Handed::Listener(number, socket) => {
                let (kept, address) = (socket.try_clone()?, Address::of(socket.as_fd())?);
                self.arrived.listeners.insert(number, (socket, kept, address));
            }
            Handed::Parked(number, client) => self.arrived.parked.entry(number).or_default().push(client),
            Handed::Pair(pair) => self.arrived.pairs.push(*pair),
            Handed::Client(client) => self.arrived.clients.push(client),
            Handed::Older(index, heard, stream) => self.arrived.older.push((index, heard, stream)),
            Handed::Output(output) => self.arrived.output = Some(output),
            Handed::Control(socket) => {
                let path = self.directory.join("forward.sock");
                if let Some(parts) = &mut self.parts {
                    let taken = Server::take_over(&mut parts.reactor, socket, path, Source::Control, Source::Client)?;
                    self.arrived.control = Some(taken);
                }
            }
            Handed::PidFile(held) => {
                let path = self.directory.join(PID_FILE);
                self.arrived.pid_file = Some(Prepared::new(&path, PID_FILE_MODE, held)?);
            }
        }
        Ok(())
    }

    fn has_all_of(&self, plan: &Plan) -> Result<(), ExchangeError> {
        if self.arrived.control.is_none() {
            return Err(ExchangeError::Missing("the control socket"));
        }
        let accepts = |rule: &&PlannedRule| matches!(rule.phase, PlannedPhase::Serving { .. });
        let mut accepting = plan.rules.iter().filter(accepts);
        if accepting.any(|rule| !self.arrived.listeners.contains_key(&rule.listener)) {
            return Err(ExchangeError::Missing("a listening socket"));
        }
        Ok(())
    }

    /// Begins. Nothing may fail from here on but what cannot be helped.
    fn serve(mut self, exchange: Exchange) -> Result<Driver, DriverError> {
        let (Some(mut driver), Some(rehearsed)) = (self.driver.take(), self.rehearsed.take()) else {
            return Err(DriverError::Stopping);
        };
        let Rehearsed { plan, rules, .. } = rehearsed;
        driver.next = plan.next;
        driver.cut_in_all = plan.cut;
        driver.control.own();
        match self.arrived.pid_file.take().map(Prepared::take) {
            Some(Ok(pid_file)) => driver.pid_file = Some(pid_file),
            Some(Err(error)) => error!("{}", crate::chain(&error)),
            None => {}
        }
        let actions = driver.begin(rules, &plan, &mut self.arrived);
        if let Err(error) = own_output(self.arrived.output.take()) {
            warn!("cannot take over standard output: {error}");
        }
        driver.have_older(&plan, std::mem::take(&mut self.arrived.older), exchange.into_stream());
        driver.have_clients(&plan, std::mem::take(&mut self.arrived.clients));
        driver.perform(actions);
        driver.coming_up = false;
        driver.try_to_save();
        // The number in the pid file, which is not that of a script that has started us.
        if let Err(error) = service::tell(&format!("MAINPID={}", std::process::id())) {
            warn!("cannot tell the outer manager: {error}");
        }
        driver.tell_older(&ToOld::Serving);
        info!("taken over");
        Ok(driver)
    }
}

impl Driver {
    /// Accepts, and goes on with what runs.
    fn begin(&mut self, rules: Vec<RehearsedRule>, plan: &Plan, arrived: &mut Arrived) -> Vec<Action> {
        let now = Instant::now();
        let mut machine_rules = Vec::new();
        self.relay.expect(arrived.pairs.len());
        for rule in rules {
            let listener = rule.planned.listener;
            let state = rule.planned.rule(now);
            self.have_places(state.id, &rule);
            match self.listen_on(&state.phase, state.id, rule, arrived) {
                Ok(()) => machine_rules.push(state),
                Err(error) => error!("cannot go on with the listener {listener}: {error}"),
            }
        }
        std::mem::take(&mut arrived.pairs).into_iter().for_each(|pair| self.put_in(pair));
        // Who answers has put in all before that: only then can destinations be watched.
        drop(self.relay.connections(Which::All));
        self.relay.expect(0);
        let mut actions = Vec::new();
        self.machine = Machine::go_on(machine_rules, plan.waiters(), &mut actions);
        actions
    }

    fn have_places(&mut self, id: RuleId, rule: &RehearsedRule) {
        for ((number, connect, identity), planned) in rule.destinations.iter().zip(&rule.planned.destinations) {
            if let Some(identity) = identity {
                warn_of(&planned.endpoint, &identity.remarks());
                self.trials.watch_client(planned.endpoint.clone(), identity);
            }
            let place = Place {
                rule: id,
                connect: connect.clone(),
                text: planned.endpoint.clone(),
                target: self.relay.destination(*number, connect.clone(), identity.clone()),
                before: Before {
                    age: Duration::from_millis(planned.age_ms),
                    total: planned.total,
                    bytes_in: planned.bytes_in,
                    bytes_out: planned.bytes_out,
                    failures: planned.failures,
                },
            };
            self.places.insert(DestinationId(*number), place);
        }
        if let PlannedPhase::Serving { change: Some(PlannedChange::Probing { to, probe, within_ms, .. }), .. } =
            &rule.planned.phase
            && let Ok(probe) = probe.parse::<Probe>()
        {
            self.trials.plan(DestinationId(*to), probe, Duration::from_millis(*within_ms));
        }
    }

    fn listen_on(
        &mut self,
        phase: &Phase,
        id: RuleId,
        rule: RehearsedRule,
        arrived: &mut Arrived,
    ) -> Result<(), DriverError> {
        let RehearsedRule { planned, source, tls, .. } = rule;
        let (course, paused) = match phase {
            Phase::Serving { course, paused, .. } => (Some(*course), *paused),
            Phase::Draining { .. } => (None, false),
        };
        let route = Route::new(course.map_or_else(Vec::new, |course| self.shares(course)));
        let mut listening = Listening {
            source,
            text: planned.source,
            address: address_of(&planned.address),
            route: Arc::clone(&route),
            door: self.relay.closed(Arc::clone(&route))?,
            socket: None,
            tls: tls.clone(),
            chosen: planned.chosen,
            file: None,
            cut: planned.cut,
        };
        if let Some((socket, kept, address)) = arrived.listeners.remove(&planned.listener) {
            if let Some(identity) = &tls {
                self.trials.watch_server(listening.source.to_string(), identity);
            }
            let door = Door { socket, route, proxied: is_proxied(&listening.source), tls };
            let parked = arrived.parked.remove(&planned.listener).unwrap_or_default();
            listening.file = file_of(&listening.source);
            listening.door = self.relay.go_on(door, paused, parked)?;
            (listening.socket, listening.address) = (Some(Kept::new(kept, &self.relay)), address);
        }
        self.rules.insert(id, listening);
        Ok(())
    }

    /// Listens to the old process, and to those before it.
    fn have_older(&mut self, plan: &Plan, older: Vec<(usize, Vec<u8>, OwnedFd)>, old: UnixStream) {
        for (index, heard, stream) in older {
            let rest = plan.older.get(index).cloned().unwrap_or_default();
            if let Err(error) = self.add_older(UnixStream::from(stream), heard, rest) {
                warn!("cannot listen to an older process: {error}");
            }
        }
        let destinations = plan.rules.iter().flat_map(|rule| &rule.destinations);
        let stay = destinations.filter(|destination| destination.stays > 0).map(|destination| Rest {
            destination: destination.id,
            connections: destination.stays,
            ..Rest::default()
        });
        if let Err(error) = self.add_older(old, Vec::new(), stay.collect()) {
            warn!("cannot listen to the old process: {error}");
        }
    }

    /// Goes on with those who ask and those who wait for an answer.
    fn have_clients(&mut self, plan: &Plan, clients: Vec<SharedClient>) {
        let mut known = HashMap::<u64, ClientId>::new();
        for client in clients {
            match self.control.admit(&mut self.reactor, client.share) {
                Ok(id) => drop(known.insert(client.number, id)),
                Err(error) => warn!("cannot go on with a control client: {error}"),
            }
        }
        for request in &plan.requests {
            let client = request.client.and_then(|number| known.get(&number).copied());
            match (&request.what, client) {
                (What::Restart, Some(client)) => {
                    self.control.reply(&mut self.reactor, client, &done(&Done::default()));
                }
                (What::Restart, None) => {}
                (what, client) => {
                    let number = Request(request.number);
                    self.requests.insert(number, Asker { client, what: what.clone() });
                    self.look_up_again(number, what);
                }
            }
        }
    }
}

/// Where a listener was that is closed, from what is shown of it.
fn address_of(text: &str) -> Address {
    match text.parse() {
        Ok(address) => Address::Internet(address),
        Err(_) => Address::Path(text.into()),
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
