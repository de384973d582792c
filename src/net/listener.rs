//! From an endpoint to a socket that children can be given.
//!
//! Nothing is set on a socket but what listening itself needs: SO_REUSEADDR, so that a restart does not wait for old
//! connections to time out, and IPV6_V6ONLY where one socket is to serve both families. Accepted connections inherit
//! the options of their listener, and those (TCP_NODELAY, keep-alive, buffers) are the child's business: it may set them
//! on the listener that it is given. A socket for datagrams has nothing to time out, and with SO_REUSEADDR a second one
//! could take its datagrams away: it gets no option at all.

pub mod hint;
mod named;
#[cfg(test)]
mod tests;
mod unix;

pub use named::{bind_at, host_to_look_up};
use unix::Haste;
pub use unix::SocketFile;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use thiserror::Error;

use super::adopt::{AdoptError, Inherited};
use super::endpoint::{Interface, Listen, Tcp, Udp, Unix, UnixAddress};

/// A socket that is bound, and where.
#[derive(Debug)]
pub struct Bound {
    /// What was asked for.
    pub endpoint: Listen,
    /// What came of it: the looked-up address and, for port 0, the port that the kernel chose.
    pub address: Address,
    /// What comes in by it.
    pub traffic: Traffic,
    /// How many connections may wait in the kernel.
    pub backlog: u32,
    /// The file that a unix socket of ours is found by. Before the socket, so that it is removed while it still works.
    pub file: Option<SocketFile>,
    /// The socket, close-on-exec, and blocking unless it came to us otherwise.
    pub socket: OwnedFd,
}

/// What comes in by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Connections, to be accepted.
    Connections,
    /// Datagrams, which belong to no connection.
    Datagrams,
}

/// Where a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port.
    Internet(SocketAddr),
    /// A file.
    Path(PathBuf),
    /// A name that is no file.
    Abstract(Vec<u8>),
    /// Nowhere that anybody could find it.
    Unnamed,
}

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The kernel refused the address or the socket.
    #[error("cannot listen on {endpoint}")]
    Bind {
        /// What was asked for.
        endpoint: Listen,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The host name could not be looked up.
    #[error("cannot look up the host of {endpoint}")]
    Lookup {
        /// What was asked for.
        endpoint: Listen,
        /// The resolver's reason.
        source: io::Error,
    },
    /// The host name exists and has no address.
    #[error("cannot listen on {endpoint}: its host has no address")]
    NoAddress {
        /// What was asked for.
        endpoint: Listen,
    },
    /// The zone of a link-local address is no network interface of this host.
    #[error("cannot find the network interface of {endpoint}")]
    Zone {
        /// What was asked for.
        endpoint: Listen,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A unix socket with this name is in use.
    #[error("cannot listen on {endpoint}: another process listens there")]
    InUse {
        /// What was asked for.
        endpoint: Listen,
    },
    /// At the path of a unix socket there is something else, which we do not touch.
    #[error("cannot listen on {endpoint}: there is something that is not a socket")]
    NotASocket {
        /// What was asked for.
        endpoint: Listen,
    },
    /// The lock under which the path of a unix socket is claimed is another's.
    #[error("cannot listen on {endpoint}: another process has its lock, {}", path.display())]
    Locked {
        /// What was asked for.
        endpoint: Listen,
        /// The lock.
        path: PathBuf,
    },
    /// Where the lock of a unix socket belongs there is something else, which we do not touch.
    #[error("cannot listen on {endpoint}: the place of its lock is taken by what is no plain file, {}", path.display())]
    NotALock {
        /// What was asked for.
        endpoint: Listen,
        /// The place.
        path: PathBuf,
    },
    /// What we were started with is not what the endpoint says.
    #[error("cannot adopt {endpoint}")]
    Adopt {
        /// What was asked for.
        endpoint: Listen,
        /// What is wrong.
        source: AdoptError,
    },
}

/// Binds `listen` and listens, with `default_backlog` where it names none; or gives what was inherited for it.
///
/// # Errors
/// When its host has no address, the kernel refuses the one it has, or its path is taken.
pub fn bind(listen: &Listen, inherited: &mut Inherited, default_backlog: u32) -> Result<Bound, ListenError> {
    let connections = |Tcp { interface, port, backlog }: &Tcp| {
        let backlog = backlog.unwrap_or(default_backlog);
        bound(listen, open(interface, *port, Some(backlog)), Traffic::Connections, backlog)
    };
    match listen.socket() {
        Listen::Tcp(tcp) => connections(tcp),
        Listen::Tls(tls) => connections(&tls.tcp),
        Listen::Udp(Udp { interface, port }) => bound(listen, open(interface, *port, None), Traffic::Datagrams, 0),
        Listen::Unix(unix) => bind_unix(listen, unix, default_backlog, Haste::None),
        Listen::Adopt(adopt) => {
            let (socket, address, traffic) =
                inherited.give(adopt).map_err(|source| Refusal::Adopt(source).about(listen))?;
            Ok(Bound { endpoint: listen.clone(), address, traffic, backlog: default_backlog, file: None, socket })
        }
        Listen::Proxied(_) => Err(Refusal::Kernel(io::ErrorKind::Unsupported.into()).about(listen)),
    }
}

fn bound(
    listen: &Listen,
    opened: Result<Socket, Refusal>,
    traffic: Traffic,
    backlog: u32,
) -> Result<Bound, ListenError> {
    let bound = opened.and_then(|socket| {
        let address = Address::of(socket.as_fd())?;
        Ok(Bound { endpoint: listen.clone(), address, traffic, backlog, file: None, socket: socket.into() })
    });
    bound.map_err(|refusal| refusal.about(listen))
}

/// Binds a unix socket in place of one that can listen no more; as [`bind`], but without ever waiting.
///
/// # Errors
/// Those of [`bind`]; `Unsupported` for other sockets.
pub fn replace(listen: &Listen, default_backlog: u32) -> Result<Bound, ListenError> {
    match listen.socket() {
        Listen::Unix(unix) => bind_unix(listen, unix, default_backlog, Haste::Loop),
        Listen::Tcp(_) | Listen::Tls(_) | Listen::Udp(_) | Listen::Adopt(_) | Listen::Proxied(_) => {
            Err(Refusal::Kernel(io::ErrorKind::Unsupported.into()).about(listen))
        }
    }
}

fn bind_unix(listen: &Listen, unix: &Unix, default_backlog: u32, haste: Haste) -> Result<Bound, ListenError> {
    let backlog = unix.backlog.unwrap_or(default_backlog);
    let (file, socket) = unix::open(unix, backlog, haste).map_err(|refusal| refusal.about(listen))?;
    let address = Address::of(socket.as_fd()).map_err(|error| Refusal::Kernel(error).about(listen))?;
    let (endpoint, traffic) = (listen.clone(), Traffic::Connections);
    Ok(Bound { endpoint, address, traffic, backlog, file, socket: socket.into() })
}

/// Makes a TCP socket listen again that was shut down, by us or by anyone who shares it.
///
/// # Errors
/// Those of bind(2) and listen(2); `Unsupported` for other sockets, which stay shut down for ever.
pub fn listen_again(socket: BorrowedFd<'_>, address: &Address, backlog: u32) -> io::Result<()> {
    let Address::Internet(address) = address else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let listener = SockRef::from(&socket);
    if listener.is_listener()? {
        // Whoever shut it down has thought better of it.
        return Ok(());
    }
    match listener.bind(&SockAddr::from(*address)) {
        // A port that the kernel chose was given up by the shutdown; one that was asked for was kept.
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
        Err(error) => return Err(error),
    }
    // A second shutdown, of a socket that does not listen any more, would be inherited by all that it accepts.
    crate::sys::disconnect(socket)?;
    listener.listen(signed(backlog))
}

/// Why there is no socket, before the endpoint is named.
enum Refusal {
    Kernel(io::Error),
    Lookup(io::Error),
    NoAddress,
    Zone(io::Error),
    InUse,
    NotASocket,
    Locked { path: PathBuf },
    NotALock { path: PathBuf },
    Adopt(AdoptError),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Kernel(error)
    }
}

impl Refusal {
    fn about(self, endpoint: &Listen) -> ListenError {
        let endpoint = endpoint.clone();
        match self {
            Refusal::Kernel(source) => ListenError::Bind { endpoint, source },
            Refusal::Lookup(source) => ListenError::Lookup { endpoint, source },
            Refusal::NoAddress => ListenError::NoAddress { endpoint },
            Refusal::Zone(source) => ListenError::Zone { endpoint, source },
            Refusal::InUse => ListenError::InUse { endpoint },
            Refusal::NotASocket => ListenError::NotASocket { endpoint },
            Refusal::Locked { path } => ListenError::Locked { endpoint, path },
            Refusal::NotALock { path } => ListenError::NotALock { endpoint, path },
            Refusal::Adopt(source) => ListenError::Adopt { endpoint, source },
        }
    }
}

/// For connections with this backlog; without one for datagrams.
fn open(interface: &Interface, port: u16, backlog: Option<u32>) -> Result<Socket, Refusal> {
    let socket = match interface {
        Interface::All => open_all(port, backlog),
        Interface::Name(name) => open_one(look_up(name, port)?, backlog),
        Interface::V4(address) => open_one((*address, port).into(), backlog),
        // Whether `::` takes IPv4 as well stays as the host is set up.
        Interface::V6 { address, zone } => {
            let scope = zone.as_deref().map_or(Ok(0), scope_id).map_err(Refusal::Zone)?;
            open_one(SocketAddrV6::new(*address, port, 0, scope).into(), backlog)
        }
    };
    Ok(socket?)
}

/// All addresses of both families by one socket, or of IPv4 alone where the host has no other.
fn open_all(port: u16, backlog: Option<u32>) -> io::Result<Socket> {
    let both = new(Domain::IPV6, backlog).and_then(|socket| {
        socket.set_only_v6(false)?;
        start(socket, (Ipv6Addr::UNSPECIFIED, port).into(), backlog)
    });
    match both {
        Err(error) if lacks_ipv6(&error) => open_one((Ipv4Addr::UNSPECIFIED, port).into(), backlog),
        done => done,
    }
}

/// No IPv6 in the kernel, or none switched on.
fn lacks_ipv6(error: &io::Error) -> bool {
    [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn open_one(address: SocketAddr, backlog: Option<u32>) -> io::Result<Socket> {
    start(new(Domain::for_address(address), backlog)?, address, backlog)
}

/// Close-on-exec from birth, which socket2 takes care of.
fn new(domain: Domain, backlog: Option<u32>) -> io::Result<Socket> {
    match backlog {
        Some(_) => Socket::new(domain, Type::STREAM, Some(Protocol::TCP)),
        None => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)),
    }
}

fn start(socket: Socket, address: SocketAddr, backlog: Option<u32>) -> io::Result<Socket> {
    if backlog.is_some() {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if let Some(backlog) = backlog {
        socket.listen(signed(backlog))?;
    }
    Ok(socket)
}

/// As listen(2) takes it. The kernel has its own, much lower limit and silently keeps to it.
fn signed(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

fn look_up(name: &str, port: u16) -> Result<SocketAddr, Refusal> {
    choose(&(name, port).to_socket_addrs().map_err(Refusal::Lookup)?.collect::<Vec<_>>())
}

/// IPv4 first: of a name with addresses of both families it is the one that every client can reach.
fn choose(addresses: &[SocketAddr]) -> Result<SocketAddr, Refusal> {
    let chosen = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    chosen.copied().ok_or(Refusal::NoAddress)
}

/// A zone is the number of a network interface or its name.
pub(super) fn scope_id(zone: &str) -> io::Result<u32> {
    match zone.parse() {
        Ok(number) => Ok(number),
        Err(_) => Ok(if_nametoindex(zone)?),
    }
}

impl Address {
    /// Where a socket is bound, as the kernel says; a relative path is taken for one from here.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Address> {
        Address::try_from(&SockRef::from(&socket).local_addr()?)
    }

    /// What something here is called when nobody gave it a name: the port, or the last part of a path.
    pub fn default_name(&self) -> String {
        match self {
            Address::Internet(address) => address.port().to_string(),
            Address::Path(path) => name_from(&path.file_name().unwrap_or_default().to_string_lossy()),
            Address::Abstract(name) => name_from(String::from_utf8_lossy(name).rsplit('/').next().unwrap_or_default()),
            Address::Unnamed => name_from(""),
        }
    }
}

/// As the kernel tells it; a relative path is taken for one from here.
impl TryFrom<&SockAddr> for Address {
    type Error = io::Error;

    fn try_from(address: &SockAddr) -> io::Result<Address> {
        if let Some(internet) = address.as_socket() {
            return Ok(Address::Internet(internet));
        }
        if let Some(path) = address.as_pathname() {
            return Ok(Address::Path(std::path::absolute(path)?));
        }
        Ok(address.as_abstract_namespace().map_or(Address::Unnamed, |name| Address::Abstract(name.to_vec())))
    }
}

impl From<&UnixAddress> for Address {
    fn from(address: &UnixAddress) -> Address {
        match address {
            UnixAddress::Path(path) => Address::Path(path.into()),
            UnixAddress::Abstract(name) => Address::Abstract(name.as_bytes().to_vec()),
        }
    }
}

impl Address {
    /// Of a unix socket's name as in `sun_path`: a path, an abstract name behind a NUL, or nothing; unix(7).
    pub fn from_sun_path(name: &[u8]) -> Address {
        match name {
            [] => Address::Unnamed,
            [0, name @ ..] => Address::Abstract(name.to_vec()),
            path => Address::Path(OsStr::from_bytes(path).into()),
        }
    }
}

/// A text in the letters that names of listeners and instances are made of.
pub fn name_from(text: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '_' };
    let name: String = text.chars().map(letter).take(64).collect();
    if name.is_empty() { "unix".to_owned() } else { name }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Internet(address) => address.fmt(f),
            Address::Path(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Address::Unnamed => f.write_str("no address"),
        }
    }
}

/// Whether an error of accept(2) belongs to the connection that was to be accepted, or to no one: there may be others.
/// EOPNOTSUPP is left out: of a socket that can accept nothing it comes every time.
pub fn is_the_connections_own(error: &io::Error) -> bool {
    const OWN: [i32; 10] = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPERM,
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
    ];
    error.raw_os_error().is_some_and(|number| OWN.contains(&number))
}
