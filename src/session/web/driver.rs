//! The main thread of a gateway: signals, the control socket, and the end. Requests are answered by tokio's threads.

use super::api::Gateway as Requests;
use super::doors::{self, Ajar};
use super::readers::Readers;
use super::upstream::Server;
use super::{ROLE, Settings, serve};
use crate::control::server::{ClientId, ControlError, Server as Control};
use crate::control::wire::{Reply, Request};
use crate::logging::Logging;
use crate::net::adopt::Inherited;
use crate::net::listener::ListenError;
use crate::net::tls::{LoadError, Watch};
use crate::process::limits::{Reserve, open_files};
use crate::reactor::{Event, READABLE, Reactor, Registered, Signals, Waker};
use log::{error, info, warn};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

/// More connections than so many wait in the backlog.
const MOST_CONNECTIONS: usize = 4096;
/// Descriptors for everything else. A connection of ours may need another one to the server.
const OTHERS: usize = 128;
/// Threads that answer requests. They wait much and do little.
const MOST_THREADS: usize = 4;
/// Threads for what blocks: names are looked up there.
const MOST_BLOCKED: usize = 32;
/// Memory for the content of requests, all together, in bytes.
const ROOM: usize = 64 * 1024 * 1024;
/// Between two looks whether the control socket is still there.
const SOCKET_CHECK: Duration = Duration::from_secs(1);
/// What is left when time is up may take so long to be dropped.
const LAST: Duration = Duration::from_millis(500);
/// The form of `status`.
const SCHEMA: u32 = 1;

/// Why a gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Waiting for events, or watching for them.
    #[error("cannot watch for events")]
    Reactor(#[from] io::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The threads.
    #[error("cannot start the threads that answer requests")]
    Threads(#[source] io::Error),
    /// Files of TLS.
    #[error("cannot speak TLS at {endpoint}")]
    Tls {
        /// The listener, or the server of sessions.
        endpoint: String,
        /// What is wrong.
        source: LoadError,
    },
    /// What nobody speaks HTTP by.
    #[error("cannot listen on {endpoint}: HTTP is spoken over tcp, ssl and unix")]
    Kind {
        /// The listener.
        endpoint: String,
    },
    /// Everybody on the way could read the secrets.
    #[error("cannot listen on {endpoint} without TLS: it can be reached from other machines")]
    Insecure {
        /// The listener.
        endpoint: String,
    },
}

impl WebError {
    /// Whether it was not meant to be so from the start.
    pub fn is_wrong_use(&self) -> bool {
        matches!(self, WebError::Kind { .. } | WebError::Insecure { .. })
    }

    /// What could be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            WebError::Listen(error) => error.hint(),
            WebError::Insecure { .. } => {
                Some("ssl:… speaks TLS, and so does a proxy in front; --insecure does without")
            }
            _ => None,
        }
    }
}

/// What a gateway is given, besides its settings.
pub struct Equipment {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// The sockets that we were started with.
    pub inherited: Inherited,
    /// The log.
    pub logging: Logging,
}

/// What gives an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Source {
    Signals,
    Control,
    Client(ClientId),
    /// Is the control socket still there?
    Socket,
    /// All requests are answered.
    Finished,
    /// The time for that is over.
    Late,
}

/// A gateway that listens.
pub struct Gateway {
    settings: Settings,
    signals: Signals,
    logging: Logging,
    doors: Vec<Ajar>,
}

/// One that serves.
struct Driver {
    reactor: Reactor<Source>,
    signals: Registered<Signals>,
    control: Control<Source>,
    reserve: Reserve,
    logging: Logging,
    name: String,
    server: String,
    doors: Vec<Ajar>,
    runtime: Runtime,
    requests: Arc<Requests>,
    permits: (Arc<Semaphore>, usize),
    drain: watch::Sender<bool>,
    finished: Waker,
    stop_timeout: Duration,
    since: Instant,
    /// Who has asked for the end.
    askers: Vec<ClientId>,
    is_over: bool,
    _files: Watch,
}

impl Gateway {
    /// Listens.
    ///
    /// # Errors
    /// What does not work.
    pub fn open(settings: Settings, equipment: Equipment) -> Result<Gateway, WebError> {
        let Equipment { signals, mut inherited, logging } = equipment;
        let doors = doors::open(&settings, &mut inherited)?;
        Ok(Gateway { settings, signals, logging, doors })
    }

    /// The addresses that it listens on.
    pub fn addresses(&self) -> Vec<String> {
        self.doors.iter().map(|ajar| ajar.bound.address.to_string()).collect()
    }

    /// What it is called if nobody gives it a name.
    pub fn default_name(&self) -> String {
        let first = self.doors.first().map(|ajar| ajar.bound.address.default_name());
        format!("web-{}", first.unwrap_or_default()).chars().take(48).collect()
    }

    /// Serves until the end; `ready` is called when it does.
    ///
    /// # Errors
    /// What does not work.
    pub fn run(self, name: String, control: PathBuf, ready: impl FnOnce()) -> Result<(), WebError> {
        let mut driver = self.start(name, control)?;
        ready();
        driver.run()?;
        info!("stopped");
        let Driver { control, runtime, doors, .. } = driver;
        // Files of sockets go first, so that nobody comes who is not served.
        drop(doors);
        runtime.shutdown_timeout(LAST);
        control.leave();
        Ok(())
    }

    fn start(self, name: String, control: PathBuf) -> Result<Driver, WebError> {
        let Gateway { settings, signals, logging, doors } = self;
        let endpoint = settings.server.to_string();
        let server = Server::new(settings.server.clone());
        let server = server.map_err(|source| WebError::Tls { endpoint: endpoint.clone(), source })?;
        let mut reactor = Reactor::new()?;
        let signals = reactor.register(signals, Source::Signals, READABLE)?;
        let finished = reactor.waker(Source::Finished)?;
        let control = Control::open(&mut reactor, control, Source::Control, Source::Client)?;
        reactor.set_deadline(Source::Socket, Some(Instant::now() + SOCKET_CHECK));
        let files = watch_files(&doors)?;
        let runtime = runtime().map_err(WebError::Threads)?;
        let (drain, drains) = watch::channel(false);
        let server = Arc::new(server);
        let readers = Readers::new(Arc::clone(&server), drains.clone());
        let (room, connections) = (Semaphore::new(ROOM), AtomicUsize::new(0));
        let requests = Arc::new(Requests { server, readers, room, connections, drain: drains });
        let most = MOST_CONNECTIONS.min(open_files()?.saturating_sub(OTHERS) / 2).max(1);
        let permits = Arc::new(Semaphore::new(most));
        let _entered = runtime.enter();
        for ajar in &doors {
            let door = ajar.door(&settings)?;
            runtime.spawn(serve::accept(door, Arc::clone(&requests), Arc::clone(&permits)));
        }
        drop(_entered);
        Ok(Driver {
            reactor,
            signals,
            control,
            reserve: Reserve::new()?,
            logging,
            name,
            server: endpoint,
            doors,
            runtime,
            requests,
            permits: (permits, most),
            drain,
            finished,
            stop_timeout: settings.stop_timeout,
            since: Instant::now(),
            askers: Vec::new(),
            is_over: false,
            _files: files,
        })
    }
}

fn runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(cores.min(MOST_THREADS)).max_blocking_threads(MOST_BLOCKED);
    builder.thread_name("requests").enable_all().build()
}

fn watch_files(doors: &[Ajar]) -> io::Result<Watch> {
    let files =
        Watch::start(Watch::EVERY, |change| if change.is_warning() { warn!("{change}") } else { info!("{change}") })?;
    for ajar in doors {
        if let Some(identity) = ajar.identity() {
            files.server(ajar.bound.address.to_string(), identity);
        }
    }
    Ok(files)
}

impl Driver {
    fn run(&mut self) -> Result<(), WebError> {
        let mut events = Vec::new();
        while !self.is_over {
            self.reactor.wait(&mut events)?;
            for event in events.drain(..) {
                self.handle(event);
            }
            self.reserve.refill();
        }
        let reply = Reply::done(json!({}));
        for client in std::mem::take(&mut self.askers) {
            self.control.reply(&mut self.reactor, client, &reply);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event<Source>) {
        match event.key {
            Source::Signals => self.take_signals(),
            Source::Control => self.control.accept(&mut self.reactor, &mut self.reserve),
            Source::Client(id) => self.client_event(id, event),
            Source::Socket => self.look_after_socket(),
            Source::Finished => self.is_over = true,
            Source::Late => {
                let left = self.connections();
                warn!("{left} connections had not ended after {:?}", self.stop_timeout);
                self.is_over = true;
            }
        }
    }

    fn take_signals(&mut self) {
        for signal in self.signals.pending().collect::<Vec<_>>() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT if self.is_draining() => {
                    info!("{signal}: leaving at once");
                    self.is_over = true;
                }
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                    info!("{signal}: stopping; clients come again elsewhere");
                    self.stop();
                }
                Signal::SIGUSR1 => match self.logging.reopen() {
                    Ok(()) => info!("the log file is opened afresh"),
                    Err(failed) => error!("{}", crate::chain(&failed)),
                },
                _ => {}
            }
        }
    }

    fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Takes nothing new; whoever waits is answered, and whoever follows is let go.
    fn stop(&mut self) {
        if self.drain.send_replace(true) {
            return;
        }
        self.reactor.set_deadline(Source::Late, Some(Instant::now() + self.stop_timeout));
        let (permits, most) = (Arc::clone(&self.permits.0), self.permits.1);
        let finished = self.finished.clone();
        self.runtime.spawn(async move {
            let all = u32::try_from(most).unwrap_or(u32::MAX);
            if permits.acquire_many(all).await.is_ok()
                && let Err(failed) = finished.wake()
            {
                error!("cannot wake the main thread: {failed}");
            }
        });
    }

    fn client_event(&mut self, id: ClientId, event: Event<Source>) {
        if event.due {
            return self.control.due(&mut self.reactor, id);
        }
        if event.writable {
            self.control.write(&mut self.reactor, id);
        }
        if event.readable
            && let Some(request) = self.control.read::<Request>(&mut self.reactor, id)
        {
            match request {
                Request::Status => {
                    let status = Reply::done(self.status());
                    self.control.reply(&mut self.reactor, id, &status);
                }
                Request::Stop => {
                    self.askers.push(id);
                    self.stop();
                }
                Request::Reload { .. } => {
                    let reply = Reply::failed("a gateway has no generations; a supervisor reloads it");
                    self.control.reply(&mut self.reactor, id, &reply);
                }
            }
        }
    }

    fn look_after_socket(&mut self) {
        if let Err(failed) = self.control.make_sure(&mut self.reactor) {
            warn!("{}", crate::chain(&failed));
        }
        self.reactor.set_deadline(Source::Socket, Some(Instant::now() + SOCKET_CHECK));
    }

    fn connections(&self) -> usize {
        self.requests.connections.load(Ordering::Relaxed)
    }

    fn status(&self) -> serde_json::Value {
        let listeners = self.doors.iter().map(
            |ajar| json!({ "endpoint": ajar.bound.endpoint.to_string(), "address": ajar.bound.address.to_string() }),
        );
        json!({
            "schema": SCHEMA,
            "role": ROLE,
            "name": self.name,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.since.elapsed().as_secs(),
            "server": self.server,
            "listeners": listeners.collect::<Vec<_>>(),
            "connections": self.connections(),
            "readers": self.requests.readers.count(),
            "draining": self.is_draining(),
        })
    }
}
