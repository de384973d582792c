//! The server of sessions: a loop that turns what sockets, times, signals and requests bring into inputs of the table of
//! sessions, and performs what that decides.
//!
//! One thread; nothing here waits. `listening` has the listeners, `client` one client's connection, `greeting` what it says
//! before it is attached, `clients` what comes after; `link` is a session's connection to its destination, `dial` makes it and
//! `links` has what happens on it; `wire` is either's socket, with TLS or without. `actions` performs, `requests` and `status` answer
//! whoever asks by the control socket, `stop` ends; `clock` has the time of sessions. `leaving` and `taking_over` are the two sides of an upgrade, with `plan` and
//! `written` about what goes from one to the other; `going_on` is how it is served there, and `bridge` what stays.
//!
//! Secrets go by here once, in the answer to NEW: the buffer that they are sent from is wiped, and nothing is logged of
//! them.

mod actions;
mod bridge;
mod client;
mod clients;
mod clock;
mod dial;
mod error;
mod going_on;
mod greeting;
mod leaving;
mod link;
mod links;
mod listening;
mod outgoing;
mod plan;
mod request;
mod requests;
mod settings;
mod status;
mod stop;
mod taking_over;
mod wire;
mod written;

pub use error::ServerError;
pub use leaving::{LOCK_MODE, Locks, PID_FILE_MODE};
pub use listening::{Entrance, bind};
pub use request::{Done, Request, Upgraded};
pub use settings::Settings;
pub use status::{ROLE, SCHEMA, SessionStatus, Status};
pub use taking_over::{Successor, take_over};

use crate::control::server::{ClientId, Server as Control};
use crate::logging::Logging;
use crate::net::resolve::{Inbox, Resolver};
use crate::net::tls::{Change, ClientIdentity, Watch};
use crate::process::limits::{Reserve, open_files};
use crate::reactor::{Event, READABLE, Reactor, Registered, Signals};
use crate::session::credential::{BootId, SessionId, random};
use crate::session::sessions::{Actions, Sessions};
use crate::session::state::{Connection, Input};
use bridge::Bridge;
use client::Client;
use clock::Clock;
use going_on::Stream;
use leaving::Upgrading;
use link::Link;
use listening::Listening;
use log::{error, info, warn};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use stop::Stopping;

/// Between two looks whether the control socket is still there.
const SOCKET_CHECK: Duration = Duration::from_secs(1);
/// What one call reads, or takes to be sent, at the most.
const PORTION: usize = 64 * 1024;
/// So many descriptors are left for everything else: names, the log, whoever asks.
const DESCRIPTORS_LEFT: usize = 32;

/// What the loop may have something to do about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Signals.
    Signals,
    /// The control socket.
    Control,
    /// A client of the control socket.
    Asker(ClientId),
    /// The time to see whether the control socket is still there.
    Socket,
    /// A listener, by its place in the list.
    Listener(usize),
    /// A client's connection.
    Client(Connection),
    /// A session's connection to its destination.
    Link(SessionId),
    /// Answers of the resolver.
    Names,
    /// What the watch over certificates tells.
    Files,
    /// The time of the next session that has something to do.
    Sessions,
    /// The time of the next step of a stop.
    Stop,
    /// A new process has got ready, or has not.
    Successor,
    /// The process before this one.
    Older,
    /// The other process' end of a session's connection, which has its other end here.
    Bridge(SessionId),
}

/// What a server is given, besides its settings.
pub struct Equipment {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// Where it listens.
    pub entrances: Vec<Entrance>,
    /// How its destination is known, where TLS is spoken with it.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Where the control socket is to be; its lock is held.
    pub control: PathBuf,
    /// That lock, and another one.
    pub locks: Locks,
    /// The log.
    pub logging: Logging,
    /// The command of a process that takes over; `None`: there must be none.
    pub command: Option<Vec<OsString>>,
}

/// What a server is made of before it has anything that there can be only once.
struct Parts {
    settings: Settings,
    reactor: Reactor<Key>,
    signals: Registered<Signals>,
    files: Watch,
    changes: Receiver<Change>,
    identity: Option<Arc<ClientIdentity>>,
    upgrading: Upgrading,
    logging: Logging,
    /// How many descriptors clients and destinations may have.
    most_descriptors: usize,
}

impl Parts {
    fn new(
        settings: Settings,
        (signals, logging): (Signals, Logging),
        identity: Option<Arc<ClientIdentity>>,
        command: Option<Vec<OsString>>,
    ) -> Result<Self, ServerError> {
        let mut reactor = Reactor::new()?;
        let signals = reactor.register(signals, Key::Signals, READABLE)?;
        let (sender, changes) = channel();
        let waker = reactor.waker(Key::Files)?;
        let files = Watch::start(Watch::EVERY, move |change| {
            if sender.send(change).is_ok()
                && let Err(error) = waker.wake()
            {
                error!("cannot wake the loop: {error}");
            }
        })?;
        if let Some(identity) = &identity {
            files.client(settings.destination.to_string(), identity);
        }
        let open = std::fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
        let upgrading = Upgrading::new(command, reactor.waker(Key::Successor)?);
        let most_descriptors = open_files()?.saturating_sub(open + DESCRIPTORS_LEFT);
        Ok(Parts { settings, reactor, signals, files, changes, identity, upgrading, logging, most_descriptors })
    }
}

/// Room that everything shares while it is being worked on.
struct Tools {
    /// Bytes as clients and destinations mean them.
    plain: Vec<u8>,
    /// Bytes of TLS.
    cipher: Vec<u8>,
    /// What telnet makes of a destination's bytes.
    received: crate::session::telnet::Received,
}

/// A running server.
pub struct Server {
    settings: Settings,
    reactor: Reactor<Key>,
    sessions: Sessions<IpAddr>,
    /// The time that they are told.
    clock: Clock,
    actions: Actions,
    listening: Vec<Listening>,
    clients: HashMap<Connection, Client>,
    /// Those of them that are attached to nothing, the oldest first.
    passing: BTreeSet<Connection>,
    links: HashMap<SessionId, Link>,
    /// Every connection gets its number from here, so none is used twice.
    next: u64,
    boot: BootId,
    identity: Option<Arc<ClientIdentity>>,
    resolver: Resolver<Key>,
    answers: Inbox<Key>,
    files: Watch,
    changes: Receiver<Change>,
    control: Control<Key>,
    /// Who waits for our end.
    waiting: Vec<ClientId>,
    signals: Registered<Signals>,
    reserve: Reserve,
    /// How many descriptors clients and destinations may have.
    most_descriptors: usize,
    logging: Logging,
    since: Instant,
    stopping: Stopping,
    /// When it is to be told whom that waits for, unless it was.
    tells: Option<Instant>,
    tools: Tools,
    /// `None` once another process has them.
    locks: Option<Locks>,
    upgrading: Upgrading,
    /// The process that has taken over.
    successor: Option<Stream>,
    /// It serves, and is known by the pid file.
    served: bool,
    /// Ends of TLS that could not go there.
    bridges: HashMap<SessionId, Bridge>,
    /// It was told to stop.
    passed_on: bool,
    /// The process that this one has taken over from, while it is there.
    older: Option<Stream>,
}

impl Server {
    /// Listens, and can be asked.
    ///
    /// # Errors
    /// What cannot be had: events, the control socket, random numbers.
    pub fn new(settings: Settings, equipment: Equipment) -> Result<Self, ServerError> {
        let Equipment { signals, entrances, identity, control, locks, logging, command } = equipment;
        let mut parts = Parts::new(settings, (signals, logging), identity, command)?;
        let control = Control::open(&mut parts.reactor, control, Key::Control, Key::Asker)?;
        let (policy, limits) = (parts.settings.policy.clone(), parts.settings.limits);
        let sessions = Sessions::new(BootId(random()?), random()?, policy, limits);
        let mut server = Server::of(parts, sessions, control)?;
        server.locks = Some(locks);
        for (index, entrance) in entrances.into_iter().enumerate() {
            let listening = Listening::open(&mut server.reactor, index, entrance, &server.files)?;
            server.listening.push(listening);
        }
        Ok(server)
    }

    fn of(parts: Parts, sessions: Sessions<IpAddr>, control: Control<Key>) -> Result<Self, ServerError> {
        let Parts { settings, mut reactor, signals, files, changes, identity, upgrading, logging, most_descriptors } =
            parts;
        let answers = Inbox::new(reactor.waker(Key::Names)?);
        reactor.set_deadline(Key::Socket, Some(Instant::now() + SOCKET_CHECK));
        Ok(Server {
            boot: sessions.boot(),
            sessions,
            clock: Clock::new(),
            actions: Actions::new(),
            listening: Vec::new(),
            clients: HashMap::new(),
            passing: BTreeSet::new(),
            links: HashMap::new(),
            next: 0,
            identity,
            resolver: Resolver::system(),
            answers,
            files,
            changes,
            control,
            waiting: Vec::new(),
            signals,
            reserve: Reserve::new()?,
            most_descriptors,
            logging,
            since: Instant::now(),
            stopping: Stopping::No,
            tells: None,
            tools: Tools { plain: vec![0; PORTION], cipher: vec![0; PORTION], received: Default::default() },
            locks: None,
            upgrading,
            successor: None,
            served: false,
            bridges: HashMap::new(),
            passed_on: false,
            older: None,
            settings,
            reactor,
        })
    }

    /// Serves until the end.
    ///
    /// # Errors
    /// When no event can be waited for.
    pub fn run(mut self) -> Result<(), ServerError> {
        let mut events = Vec::new();
        while self.stopping != Stopping::Done {
            let deadline = self.sessions.deadline().map(|at| self.clock.in_loop(at));
            self.reactor.set_deadline(Key::Sessions, deadline);
            self.reactor.wait(&mut events)?;
            // At least once a second, as somebody looks after the socket.
            self.clock.look();
            for event in events.drain(..) {
                self.handle(event);
                self.settle();
            }
            self.reserve.refill();
        }
        info!("stopped");
        self.end_successor();
        self.control.leave();
        Ok(())
    }

    fn handle(&mut self, event: Event<Key>) {
        match event.key {
            Key::Signals => self.take_signals(),
            Key::Control => self.control.accept(&mut self.reactor, &mut self.reserve),
            Key::Asker(id) => self.asker_event(id, event),
            Key::Socket => self.look_after_socket(),
            Key::Listener(index) => self.accept(index),
            Key::Client(connection) => self.client_event(connection, &event),
            Key::Link(id) if self.bridges.contains_key(&id) => self.bridge_event(id, &event),
            Key::Link(id) => self.link_event(id, &event),
            Key::Bridge(id) => self.bridge_event(id, &event),
            Key::Names => self.take_answers(),
            Key::Files => self.hear_of_files(),
            Key::Sessions => self.sessions.deadline_came(self.clock.now(), &mut self.actions),
            Key::Stop => self.go_on_stopping(),
            Key::Successor => self.hear_of_successor(),
            Key::Older => self.hear_older(),
        }
    }

    /// Something happened to a session.
    fn on(&mut self, id: SessionId, input: Input<'_>) {
        self.sessions.on(self.clock.now(), id, input, &mut self.actions);
    }

    fn hear_of_files(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            if change.is_warning() {
                warn!("{change}");
            } else {
                info!("{change}");
            }
        }
    }

    /// Somebody may have cleaned up the directory.
    fn look_after_socket(&mut self) {
        match self.control.make_sure(&mut self.reactor) {
            Ok(false) => {}
            Ok(true) => {
                warn!("the control socket was gone and is there again");
                // Who has connected already is not told of by an edge that came before we watched.
                self.reactor.again(Key::Control);
            }
            Err(error) => error!("{}", crate::chain(&error)),
        }
        self.reactor.set_deadline(Key::Socket, Some(Instant::now() + SOCKET_CHECK));
    }
}

/// The first letters of a session's id, by which people know it.
fn short(id: SessionId) -> String {
    id.to_string().chars().take(SHORT).collect()
}

/// So many of them.
const SHORT: usize = 8;
