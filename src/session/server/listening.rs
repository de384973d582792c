//! Where clients come in: binding, who may listen in the clear, and accepting.

use super::client::Client;
use super::wire::Wire;
use super::{Key, Server, ServerError};
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Host, Interface, Listen, Tcp};
use crate::net::listener::{self, Address, Bound, ListenError, SocketFile, Traffic, is_the_connections_own};
use crate::net::stream::{Kind, Stream};
use crate::net::tls::{ServerIdentity, Watch};
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use crate::session::state::Connection;
use log::{debug, warn};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many clients are accepted before others have their turn.
const BURST: usize = 16;
/// How soon accepting is tried again when no descriptor was free.
const RETRY: Duration = Duration::from_millis(100);
/// How long a client may take to say what it wants.
const FIRST_WORDS: Duration = Duration::from_secs(5);
/// So many clients may be attached to nothing at a time. Beyond, the oldest that has said nothing goes.
const MOST_PASSING: usize = 1024;
/// How many connections may wait in the kernel.
const BACKLOG: u32 = 4096;
/// For a port that the kernel chooses for one address of a name and that has to be free at the others.
const ATTEMPTS: usize = 16;

/// A listener to be.
#[derive(Debug)]
pub struct Entrance {
    /// The socket, and where it is bound.
    pub bound: Bound,
    /// Who we are to clients, where TLS is spoken.
    pub identity: Option<Arc<ServerIdentity>>,
    /// The kernel chose its port.
    pub chosen: bool,
}

/// Binds an endpoint: a host's name at every address that it has. `insecure`: it may be reached from other machines without
/// TLS.
///
/// # Errors
/// A socket that cannot be had, files of TLS that cannot be used, and what must not be.
pub fn bind(listen: &Listen, mut inherited: Inherited, insecure: bool) -> Result<Vec<Entrance>, ServerError> {
    if let Listen::Udp(_) | Listen::Proxied(_) = listen {
        return Err(ServerError::Kind { endpoint: listen.to_string() });
    }
    let endpoints = every_address(listen)?;
    let chosen = matches!(tcp_of(listen), Some(Tcp { port: 0, .. }));
    let bound = bind_all(&endpoints, &mut inherited)?;
    if bound.iter().any(|bound| bound.traffic == Traffic::Datagrams) {
        return Err(ServerError::Kind { endpoint: listen.to_string() });
    }
    let identity = match listen {
        Listen::Tls(tls) => {
            let loaded = ServerIdentity::load(&tls.files);
            let identity = loaded.map_err(|source| ServerError::Tls { endpoint: listen.to_string(), source })?;
            identity.remarks().iter().for_each(|remark| warn!("{listen}: {remark}"));
            Some(Arc::new(identity))
        }
        _ => None,
    };
    let open = bound.iter().find(|bound| !is_local(&bound.address));
    match open {
        Some(bound) if identity.is_none() && !insecure => {
            Err(ServerError::Clear { endpoint: listen.to_string(), address: bound.address.to_string() })
        }
        _ => Ok(bound.into_iter().map(|bound| Entrance { bound, identity: identity.clone(), chosen }).collect()),
    }
}

fn tcp_of(listen: &Listen) -> Option<&Tcp> {
    match listen {
        Listen::Tcp(tcp) => Some(tcp),
        Listen::Tls(tls) => Some(&tls.tcp),
        Listen::Unix(_) | Listen::Adopt(_) | Listen::Udp(_) | Listen::Proxied(_) => None,
    }
}

/// An endpoint for each address of its name; itself, if it has none.
fn every_address(listen: &Listen) -> Result<Vec<Listen>, ServerError> {
    let Some(Tcp { interface: Interface::Name(name), port, backlog }) = tcp_of(listen) else {
        return Ok(vec![listen.clone()]);
    };
    let lookup = |source| ListenError::Lookup { endpoint: listen.clone(), source };
    let mut addresses: Vec<IpAddr> =
        (name.as_str(), *port).to_socket_addrs().map_err(lookup)?.map(|address| address.ip()).collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(ListenError::NoAddress { endpoint: listen.clone() }.into());
    }
    let at = |address| {
        let host = match address {
            IpAddr::V4(address) => Host::V4(address),
            IpAddr::V6(address) => Host::V6 { address, zone: None },
        };
        Listen::Tcp(Tcp { interface: host.into(), port: *port, backlog: *backlog })
    };
    Ok(addresses.into_iter().map(at).collect())
}

/// Binds all of them, at one port. An address that this machine does not have is left out, unless it is the only one.
fn bind_all(endpoints: &[Listen], inherited: &mut Inherited) -> Result<Vec<Bound>, ServerError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bind_at_one_port(endpoints, inherited) {
            Err(ListenError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && endpoints.len() > 1 && attempts < ATTEMPTS => {}
            done => return Ok(done?),
        }
    }
}

fn bind_at_one_port(endpoints: &[Listen], inherited: &mut Inherited) -> Result<Vec<Bound>, ListenError> {
    let mut all: Vec<Bound> = Vec::with_capacity(endpoints.len());
    let mut absent = None;
    for endpoint in endpoints {
        let mut endpoint = endpoint.clone();
        if let (Listen::Tcp(tcp @ Tcp { port: 0, .. }), Some(Address::Internet(first))) =
            (&mut endpoint, all.first().map(|bound| &bound.address))
        {
            tcp.port = first.port();
        }
        match listener::bind(&endpoint, inherited, BACKLOG) {
            Ok(bound) => all.push(bound),
            Err(ListenError::Bind { endpoint, source }) if is_absent(&source) && endpoints.len() > 1 => {
                debug!("cannot listen on {endpoint}: {source}");
                absent = Some(ListenError::Bind { endpoint, source });
            }
            Err(error) => return Err(error),
        }
    }
    match absent {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok(all),
    }
}

/// This machine has no such address, or nothing of its family.
fn is_absent(error: &io::Error) -> bool {
    [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT].iter().any(|errno| error.raw_os_error() == Some(*errno))
}

/// Whether only this machine can reach it.
fn is_local(address: &Address) -> bool {
    match address {
        Address::Internet(address) => address.ip().to_canonical().is_loopback(),
        Address::Path(_) | Address::Abstract(_) | Address::Unnamed => true,
    }
}

/// Where limits count a client: its address, of IPv6 the network that a host has for itself. `None`: on this machine.
fn source_of(peer: &Address) -> Option<IpAddr> {
    const NETWORK: u128 = !(u64::MAX as u128);
    match peer {
        Address::Internet(peer) => match peer.ip().to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(address) => Some(Ipv6Addr::from(u128::from(address) & NETWORK).into()),
        },
        Address::Path(_) | Address::Abstract(_) | Address::Unnamed => None,
    }
}

/// A listener.
pub(super) struct Listening {
    socket: Registered<Descriptor<OwnedFd>>,
    identity: Option<Arc<ServerIdentity>>,
    kind: Kind,
    pub(super) endpoint: Listen,
    pub(super) address: Address,
    _file: Option<SocketFile>,
    /// That no descriptor was free has been told.
    short: bool,
}

impl Listening {
    pub(super) fn open(
        reactor: &mut Reactor<Key>,
        index: usize,
        entrance: Entrance,
        files: &Watch,
    ) -> Result<Self, ServerError> {
        let Entrance { bound: Bound { endpoint, address, socket, file, .. }, identity, .. } = entrance;
        SockRef::from(&socket).set_nonblocking(true)?;
        let kind = Kind::of(socket.as_fd())?;
        if let Some(identity) = &identity {
            files.server(endpoint.to_string(), identity);
        }
        let socket = reactor.register(Descriptor(socket), Key::Listener(index), READABLE)?;
        Ok(Listening { socket, identity, kind, endpoint, address, _file: file, short: false })
    }
}

impl Server {
    /// Takes in clients that have come.
    pub(super) fn accept(&mut self, index: usize) {
        for _ in 0..BURST {
            if !self.has_room_for_a_client() {
                return self.accept_later(index, None);
            }
            let Some(listening) = self.listening.get_mut(index) else {
                return;
            };
            match crate::sys::accept(listening.socket.as_fd(), crate::sys::Mode::NonBlocking) {
                Ok(socket) => {
                    listening.short = false;
                    self.welcome(index, socket);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_the_connections_own(&error) => {}
                Err(error) => {
                    self.drop_one_that_passes();
                    return self.accept_later(index, Some(&error));
                }
            }
        }
        self.reactor.again(Key::Listener(index));
    }

    fn has_room_for_a_client(&mut self) -> bool {
        let full = |server: &Server| server.clients.len() + server.links.len() >= server.most_descriptors;
        !full(self) || (self.drop_one_that_passes() && !full(self))
    }

    /// Clients wait in the backlog until a descriptor comes free.
    fn accept_later(&mut self, index: usize, error: Option<&io::Error>) {
        if let Some(listening) = self.listening.get_mut(index)
            && !std::mem::replace(&mut listening.short, true)
        {
            let reason = error.map_or("no descriptor is free".to_owned(), ToString::to_string);
            warn!("{}: cannot accept: {reason}; trying again until it works", listening.endpoint);
        }
        self.reactor.set_deadline(Key::Listener(index), Some(Instant::now() + RETRY));
    }

    fn welcome(&mut self, index: usize, socket: OwnedFd) {
        let Some(listening) = self.listening.get(index) else {
            return;
        };
        let stream = Stream::of_kind(socket, listening.kind);
        // One that has left already says so when it is read from.
        let peer = stream.peer().unwrap_or(Address::Unnamed);
        if listening.kind == Kind::Tcp {
            self.keep_alive(&stream);
        }
        let session = match listening.identity.as_ref().map(|identity| identity.session()).transpose() {
            Ok(session) => session,
            Err(error) => return warn!("{peer}: {}", crate::chain(&error)),
        };
        self.next += 1;
        let (connection, now) = (Connection(self.next), Instant::now());
        let stream = match self.reactor.register(stream, Key::Client(connection), READABLE) {
            Ok(stream) => stream,
            Err(error) => return warn!("cannot watch a client: {error}"),
        };
        let mut wire = Wire::new(stream);
        if let Some(session) = session {
            wire.secure(session);
        }
        let name = match (&peer, listening.kind) {
            (_, Kind::Unix) => listening.address.to_string(),
            (peer, Kind::Tcp) => named(peer),
        };
        debug!("{name} has come");
        self.clients.insert(connection, Client::new(wire, name, source_of(&peer)));
        self.passing.insert(connection);
        self.reactor.set_deadline(Key::Client(connection), Some(now + FIRST_WORDS));
        if self.passing.len() > MOST_PASSING {
            self.drop_one_that_passes();
        }
    }

    /// A peer that is gone without a word is noticed, also while nothing is sent.
    fn keep_alive(&self, stream: &Stream) {
        let heartbeat = self.settings.policy.heartbeat;
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new().with_time(heartbeat).with_interval(heartbeat);
        // Where one of these cannot be had, the heartbeats of the protocol remain.
        let _ = stream.set_nodelay();
        let _ = socket.set_tcp_keepalive(&keepalive);
        let _ = socket.set_tcp_user_timeout(Some(heartbeat * 4));
    }

    /// Drops the oldest client that is attached to nothing, one that has said nothing before others; false if there is none.
    fn drop_one_that_passes(&mut self) -> bool {
        let silent = |connection: &&Connection| self.clients.get(connection).is_some_and(|client| !client.spoke);
        let oldest = self.passing.iter().find(silent).or_else(|| self.passing.first()).copied();
        oldest.inspect(|oldest| self.forget(*oldest)).is_some()
    }
}

/// An address as people write it: IPv4 also where it came by a socket for IPv6.
fn named(peer: &Address) -> String {
    match peer {
        Address::Internet(peer) => SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_local, source_of};
    use crate::net::listener::Address;

    fn at(text: &str) -> Address {
        Address::Internet(text.parse().unwrap())
    }

    #[test]
    fn what_other_machines_can_reach_is_not_local() {
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_local(&at(local)), "{local}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[fe80::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert!(!is_local(&at(open)), "{open}");
        }
        assert!(is_local(&Address::Path("/s".into())) && is_local(&Address::Abstract(b"s".to_vec())));
    }

    #[test]
    fn limits_count_networks_of_hosts_and_nobody_on_this_machine() {
        let source = |text: &str| source_of(&at(text)).map(|source| source.to_string());
        assert_eq!(source("192.0.2.1:1").as_deref(), Some("192.0.2.1"));
        assert_eq!(source("[::ffff:192.0.2.1]:2").as_deref(), Some("192.0.2.1"));
        assert_eq!(source("[2001:db8:1:2:3:4:5:6]:2").as_deref(), Some("2001:db8:1:2::"));
        assert_eq!(source("127.0.0.1:1"), None);
        assert_eq!(source("[::1]:1"), None);
        assert_eq!(source_of(&Address::Unnamed), None);
    }
}
