//! An upgrade, the new side: everything that comes is understood and taken in before any of it is touched; then this process
//! goes on with it.

use super::leaving::{LOCK_MODE, Locks, PID_FILE_MODE};
use super::plan::{Plan, SCHEMA};
use super::wire::Wire;
use super::written::{ClientStage, LinkStage, WrittenClient, WrittenLink};
use super::{Client, Key, Link, Listening, Parts, Server, ServerError, Settings, client, link};
use crate::control::server::Server as Control;
use crate::logging::Logging;
use crate::net::endpoint::Listen;
use crate::net::listener::{Address, Bound, Traffic};
use crate::net::stream::Stream;
use crate::net::tls::{ClientIdentity, ServerIdentity};
use crate::process::pid_file::Prepared;
use crate::process::run_dir::RunDir;
use crate::process::service;
use crate::reactor::{READABLE, Signals};
use crate::session::credential::{SessionId, random, wipe};
use crate::session::sessions::Sessions;
use crate::session::written::{Form, FormError, Reader};
use crate::takeover::arriving::{Arrival, arrive};
use crate::takeover::descriptors::{self, Label, SharedClient, own_output};
use crate::takeover::{Exchange, ExchangeError, LIMIT};
use log::{error, info, warn};
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a process has that is to take over.
pub struct Successor {
    /// The signals, caught since the first statement of main.
    pub signals: Signals,
    /// The log.
    pub logging: Logging,
    /// What the command line decides; the name is the old process'.
    pub settings: Settings,
    /// Who we are to clients, where TLS is spoken.
    pub server_identity: Option<Arc<ServerIdentity>>,
    /// How the destination is known, where TLS is spoken with it.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Where the control socket is.
    pub run_dir: RunDir,
    /// Where the pid file is, if there is one.
    pub pid_file: Option<PathBuf>,
    /// The command of the process that comes after this one; `None`: there must be none.
    pub command: Option<Vec<OsString>>,
}

/// Takes over from the process at the other end of the stream, and serves until the end.
///
/// # Errors
/// What stood in the way. The other process knows, and goes on.
pub fn take_over(stream: UnixStream, successor: Successor) -> Result<(), ServerError> {
    let Successor { signals, logging, settings, server_identity, identity, run_dir, pid_file, command } = successor;
    let mut coming = Coming {
        parts: Some(Parts::new(settings, (signals, logging), identity, command)?),
        server_identity,
        run_dir,
        pid_file,
        arrived: Arrived::default(),
        taken: None,
    };
    let exchange = arrive(Exchange::new(stream, LIMIT), &mut coming)?;
    coming.serve(exchange)?.run()
}

/// A process on its way to take over.
struct Coming {
    /// What it has of its own, until it is a server.
    parts: Option<Parts>,
    server_identity: Option<Arc<ServerIdentity>>,
    run_dir: RunDir,
    pid_file: Option<PathBuf>,
    arrived: Arrived,
    taken: Option<Taken>,
}

/// Everything, and nothing of it was touched.
struct Taken {
    server: Server,
    plan: Plan,
    /// When the plan was heard.
    at: Instant,
    /// Connections to destinations that are to be made, each until this time at the latest.
    to_connect: Vec<(SessionId, Instant)>,
}

/// What came, until it is its place's turn.
#[derive(Default)]
struct Arrived {
    listeners: HashMap<usize, OwnedFd>,
    destinations: HashMap<String, OwnedFd>,
    sockets: HashMap<u64, OwnedFd>,
    askers: Vec<SharedClient>,
    lock: Option<Prepared>,
    pid_file: Option<Prepared>,
    output: Option<OwnedFd>,
    control: Option<OwnedFd>,
}

impl Arrival for Coming {
    type Error = ServerError;

    const SCHEMA: u32 = SCHEMA;

    fn of_exchange(error: &ServerError) -> Option<&ExchangeError> {
        match error {
            ServerError::TakeOver(error) => Some(error),
            _ => None,
        }
    }

    fn rehearse(&mut self, exchange: &mut Exchange) -> Result<(), ServerError> {
        let plan = Plan::hear(exchange)?;
        let parts = self.parts.as_mut().ok_or(ExchangeError::Unwanted)?;
        let (theirs, ours) = (&plan.destination, parts.settings.destination.to_string());
        if *theirs != ours {
            return Err(ServerError::Other { theirs: theirs.clone(), ours });
        }
        for listener in &plan.listeners {
            listener.endpoint.parse::<Listen>().map_err(|_| FormError::Unfit("where it listens"))?;
            if listener.tls && self.server_identity.is_none() {
                let ours = format!("{} without TLS", listener.endpoint);
                return Err(ServerError::Other { theirs: format!("{} with TLS", listener.endpoint), ours });
            }
        }
        parts.settings.name = plan.name;
        Ok(())
    }

    fn take_in(&mut self, exchange: &mut Exchange) -> Result<(), ServerError> {
        let plan = Plan::hear(exchange)?;
        let mut parts = self.parts.take().ok_or(ExchangeError::Unwanted)?;
        let at = Instant::now();
        let (policy, limits) = (parts.settings.policy.clone(), parts.settings.limits);
        let mut sessions = Sessions::read((&exchange.receive()?, at), random()?, policy, limits)?;
        let mut links = Vec::new();
        for _ in 0..plan.sessions {
            let read = |from: &mut Reader<'_>| Ok((sessions.read_one(from)?, WrittenLink::read(from)?));
            links.push(read_secret(exchange, at, read)?);
        }
        let mut clients = Vec::new();
        for _ in 0..plan.clients {
            clients.push(read_secret(exchange, at, WrittenClient::read)?);
        }
        exchange.wind();
        for (descriptor, said) in descriptors::receive(exchange.stream(), plan.descriptors, exchange.left())? {
            self.keep(descriptor, &said, &parts.settings.name)?;
        }
        let control = self.arrived.control.take().ok_or(ExchangeError::Missing("the control socket"))?;
        let path = self.control_path(&parts.settings.name)?;
        let control = Control::take_over(&mut parts.reactor, control, path, Key::Control, Key::Asker)?;
        let mut server = Server::of(parts, sessions, control)?;
        server.next = plan.next;
        self.listen(&mut server, &plan)?;
        let to_connect = self.have_links(&mut server, links)?;
        self.have_clients(&mut server, clients)?;
        self.taken = Some(Taken { server, plan, at, to_connect });
        Ok(())
    }
}

/// Reads one thing from all the bytes that come, and leaves none of them.
fn read_secret<T>(
    exchange: &mut Exchange,
    now: Instant,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, FormError>,
) -> Result<T, ServerError> {
    let mut bytes = exchange.receive()?;
    let value = Reader::new(&bytes, now).and_then(|mut from| {
        let value = read(&mut from)?;
        from.end().map(|()| value)
    });
    wipe(&mut bytes);
    Ok(value?)
}

impl Coming {
    fn control_path(&self, name: &str) -> Result<PathBuf, ServerError> {
        let name = name.parse().map_err(|_| FormError::Unfit("the name of an instance"))?;
        Ok(self.run_dir.socket_path(&name)?)
    }

    fn keep(&mut self, descriptor: OwnedFd, said: &[u8], name: &str) -> Result<(), ServerError> {
        let unknown = || ServerError::from(ExchangeError::Missing("a descriptor's label"));
        let label = Label::of(said).ok_or_else(unknown)?;
        let number = || label.number().ok_or_else(unknown);
        match label.text("kind").unwrap_or_default() {
            "listener" => {
                let index = usize::try_from(number()?).map_err(|_| unknown())?;
                self.arrived.listeners.insert(index, descriptor);
            }
            "destination" => {
                self.arrived.destinations.insert(label.text("of").unwrap_or_default().to_owned(), descriptor);
            }
            "client" => drop(self.arrived.sockets.insert(number()?, descriptor)),
            "asks" | "waits" => {
                self.arrived.askers.push(SharedClient::understood(descriptor, &label).ok_or_else(unknown)?);
            }
            "control" => self.arrived.control = Some(descriptor),
            "output" => self.arrived.output = Some(descriptor),
            "lock" => {
                let path = self.control_path(name)?.with_extension("lock");
                self.arrived.lock = Some(Prepared::new(&path, LOCK_MODE, descriptor)?);
            }
            "pid-file" => {
                let path = self.pid_file.as_deref().ok_or(ExchangeError::Missing("the option --pid-file"))?;
                self.arrived.pid_file = Some(Prepared::new(path, PID_FILE_MODE, descriptor)?);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn listen(&mut self, server: &mut Server, plan: &Plan) -> Result<(), ServerError> {
        for (index, planned) in plan.listeners.iter().enumerate() {
            let socket = self.arrived.listeners.remove(&index).ok_or(ExchangeError::Missing("a listening socket"))?;
            let endpoint: Listen = planned.endpoint.parse().map_err(|_| FormError::Unfit("where it listens"))?;
            let address = Address::of(std::os::fd::AsFd::as_fd(&socket))?;
            let bound = Bound { endpoint, address, traffic: Traffic::Connections, backlog: 0, file: None, socket };
            let identity = self.server_identity.clone().filter(|_| planned.tls);
            let entrance = super::Entrance { bound, identity, chosen: false };
            server.listening.push(Listening::open(&mut server.reactor, index, entrance, &server.files)?);
        }
        Ok(())
    }

    /// Connections to destinations; those that were being made are begun anew once we serve.
    fn have_links(
        &mut self,
        server: &mut Server,
        links: Vec<(SessionId, WrittenLink)>,
    ) -> Result<Vec<(SessionId, Instant)>, ServerError> {
        let mut to_connect = Vec::new();
        for (id, written) in links {
            let stage = match &written.stage {
                LinkStage::Waiting => link::Stage::Waiting,
                LinkStage::Closed => link::Stage::Closed,
                LinkStage::Connecting(until) => {
                    to_connect.push((id, *until));
                    link::Stage::Waiting
                }
                LinkStage::Open => {
                    let socket = self.arrived.destinations.remove(&id.to_string());
                    let socket = socket.ok_or(ExchangeError::Missing("the connection to a destination"))?;
                    let stream = Stream::try_from(socket)?;
                    link::Stage::Open(Wire::new(server.reactor.register(stream, Key::Link(id), READABLE)?))
                }
            };
            server.links.insert(id, Link::of(written, stage));
        }
        Ok(to_connect)
    }

    fn have_clients(&mut self, server: &mut Server, clients: Vec<WrittenClient>) -> Result<(), ServerError> {
        for written in clients {
            let connection = written.connection;
            let socket = self.arrived.sockets.remove(&connection.0);
            let socket = socket.ok_or(ExchangeError::Missing("the connection of a client"))?;
            let stream = Stream::try_from(socket)?;
            let stream = server.reactor.register(stream, Key::Client(connection), READABLE)?;
            let attached = server.sessions.of(connection).is_some();
            if attached != (written.stage == ClientStage::Attached) || server.clients.contains_key(&connection) {
                return Err(FormError::Unfit("a client").into());
            }
            server.clients.insert(connection, Client::of(written, Wire::new(stream)));
        }
        Ok(())
    }

    /// Begins. Nothing may fail from here on but what cannot be helped.
    fn serve(mut self, exchange: Exchange) -> Result<Server, ServerError> {
        let Taken { mut server, plan, at, to_connect } = self.taken.take().ok_or(ExchangeError::Unwanted)?;
        server.control.own();
        server.since = at.checked_sub(Duration::from_millis(plan.uptime_ms)).unwrap_or(at);
        let take = |prepared: Option<Prepared>| prepared.map(Prepared::take).transpose();
        match (take(self.arrived.lock.take()), take(self.arrived.pid_file.take())) {
            (Ok(Some(instance)), Ok(pid_file)) => server.locks = Some(Locks { instance, pid_file }),
            (Ok(None), Ok(_)) => {}
            (Err(error), _) | (_, Err(error)) => error!("{}", crate::chain(&error)),
        }
        if let Err(error) = own_output(self.arrived.output.take()) {
            warn!("cannot take over standard output: {error}");
        }
        for listening in &mut server.listening {
            listening.own_file();
        }
        // The number in the pid file, which is not that of a script that has started us.
        if let Err(error) = service::tell(&format!("MAINPID={}", std::process::id())) {
            warn!("cannot tell the outer manager: {error}");
        }
        server.have_older(exchange.into_stream());
        info!("taken over, with {} sessions", server.sessions.len());
        server.go_on(to_connect);
        server.have_askers((&plan, at), std::mem::take(&mut self.arrived.askers));
        Ok(server)
    }
}

impl Client {
    fn of(written: WrittenClient, wire: Wire) -> Self {
        let WrittenClient { connection: _, stage, peer, source, spoke, told, decoder, secret, out } = written;
        let stage = match stage {
            ClientStage::New => client::Stage::New,
            ClientStage::Greeted(nonce) => client::Stage::Greeted { nonce },
            ClientStage::Attached => client::Stage::Attached,
            ClientStage::Leaving => client::Stage::Leaving,
        };
        Client {
            stage,
            decoder,
            spoke,
            told,
            out: super::outgoing::Outgoing::of(out, secret),
            ..Client::new(wire, peer, source)
        }
    }
}
