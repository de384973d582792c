//! From what the user writes to listening sockets, and by which names each of them can be reached.

use super::Settings;
use super::driver::WebError;
use super::gate::{Gate, Reach};
use super::serve::{Door, Socket};
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Interface, Listen, Tcp};
use crate::net::listener::{Address, Bound, ListenError, Traffic, bind};
use crate::net::tls::ServerIdentity;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};

/// As many connections wait in the kernel.
const BACKLOG: u32 = 1024;
/// A port that the kernel has chosen for one address may be taken at another.
const TRIES: usize = 16;

/// A listening socket that is not served yet.
pub(super) struct Ajar {
    /// The socket, with its file if it has one.
    pub(super) bound: Bound,
    identity: Option<Arc<ServerIdentity>>,
    /// The name that was written for it.
    named: Option<String>,
}

/// Listens everywhere. A host's name stands for all of its addresses.
pub(super) fn open(settings: &Settings, inherited: &mut Inherited) -> Result<Vec<Ajar>, WebError> {
    let mut all = Vec::new();
    for listen in &settings.listens {
        let identity = match listen {
            Listen::Tls(tls) => {
                let loaded = ServerIdentity::load(&tls.files);
                Some(loaded.map_err(|source| WebError::Tls { endpoint: listen.to_string(), source })?)
            }
            Listen::Udp(_) | Listen::Proxied(_) => return Err(WebError::Kind { endpoint: listen.to_string() }),
            Listen::Tcp(_) | Listen::Unix(_) | Listen::Adopt(_) => None,
        };
        let identity = identity.map(Arc::new);
        let named = named(listen);
        for bound in bind_all(listen, inherited)? {
            let ajar = Ajar { bound, identity: identity.clone(), named: named.clone() };
            ajar.check(settings.insecure)?;
            all.push(ajar);
        }
    }
    Ok(all)
}

fn named(listen: &Listen) -> Option<String> {
    match &tcp_of(listen)?.interface {
        Interface::Name(name) => Some(name.clone()),
        Interface::All | Interface::V4(_) | Interface::V6 { .. } => None,
    }
}

fn tcp_of(listen: &Listen) -> Option<&Tcp> {
    match listen {
        Listen::Tcp(tcp) => Some(tcp),
        Listen::Tls(tls) => Some(&tls.tcp),
        Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) | Listen::Proxied(_) => None,
    }
}

/// All addresses of a name, by one port.
fn bind_all(listen: &Listen, inherited: &mut Inherited) -> Result<Vec<Bound>, WebError> {
    let (Some(name), Some(tcp)) = (named(listen), tcp_of(listen)) else {
        return Ok(vec![bind(listen, inherited, BACKLOG)?]);
    };
    let looked_up = (name.as_str(), tcp.port).to_socket_addrs();
    let looked_up = looked_up.map_err(|source| ListenError::Lookup { endpoint: listen.clone(), source })?;
    let mut addresses: Vec<IpAddr> = looked_up.map(|address| address.ip()).collect();
    addresses.sort();
    addresses.dedup();
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_each(tcp, &addresses, inherited) {
            Err(ListenError::Bind { source, .. })
                if tcp.port == 0 && source.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {}
            Ok(bound) if bound.is_empty() => {
                return Err(ListenError::NoAddress { endpoint: listen.clone() }.into());
            }
            bound => return Ok(bound?),
        }
    }
}

/// Those that this host does not have at present are left out.
fn bind_each(tcp: &Tcp, addresses: &[IpAddr], inherited: &mut Inherited) -> Result<Vec<Bound>, ListenError> {
    let mut all: Vec<Bound> = Vec::new();
    for address in addresses {
        let port = match all.first().map(|bound| &bound.address) {
            Some(Address::Internet(chosen)) => chosen.port(),
            _ => tcp.port,
        };
        let interface = match address {
            IpAddr::V4(address) => Interface::V4(*address),
            IpAddr::V6(address) => Interface::V6 { address: *address, zone: None },
        };
        match bind(&Listen::Tcp(Tcp { interface, port, backlog: tcp.backlog }), inherited, BACKLOG) {
            Ok(bound) => all.push(bound),
            Err(ListenError::Bind { source, .. }) if is_not_here(&source) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn is_not_here(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

impl Ajar {
    /// Secrets go by here: in clear they stay on this machine.
    fn check(&self, insecure: bool) -> Result<(), WebError> {
        let endpoint = || self.bound.endpoint.to_string();
        if self.bound.traffic != Traffic::Connections {
            return Err(WebError::Kind { endpoint: endpoint() });
        }
        match &self.bound.address {
            Address::Internet(address) if !is_loopback(address) && self.identity.is_none() && !insecure => {
                Err(WebError::Insecure { endpoint: endpoint() })
            }
            _ => Ok(()),
        }
    }

    /// For whoever looks after the files of its identity.
    pub(super) fn identity(&self) -> Option<&Arc<ServerIdentity>> {
        self.identity.as_ref()
    }

    /// To be served by tokio, in whose runtime this is called.
    pub(super) fn door(&self, settings: &Settings) -> io::Result<Door> {
        let secure = self.identity.is_some();
        let reach = self.reach();
        let gate = Gate::new(reach, secure, &settings.allow_hosts, &settings.allow_origins);
        let socket = self.bound.socket.try_clone()?;
        let socket = match &self.bound.address {
            Address::Internet(_) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?)
            }
            Address::Path(_) | Address::Abstract(_) | Address::Unnamed => {
                let listener = std::os::unix::net::UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Door { socket, gate: Arc::new(gate), identity: self.identity.clone(), name: self.bound.address.to_string() })
    }

    fn reach(&self) -> Reach {
        match (&self.bound.address, &self.named) {
            (Address::Internet(address), _) if is_loopback(address) => Reach::Loopback(address.port()),
            (Address::Internet(address), Some(name)) => Reach::Named(name.clone(), address.port()),
            (Address::Internet(address), None) => Reach::Addresses(address.port()),
            (Address::Path(_) | Address::Abstract(_) | Address::Unnamed, _) => Reach::Nowhere,
        }
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
