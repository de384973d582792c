//! From an endpoint to a listening socket.
//!
//! Nothing is set on a socket but what listening itself needs: SO_REUSEADDR, so that a restart does not wait for old
//! connections to time out, and IPV6_V6ONLY where one socket is to serve both families. Accepted connections inherit
//! the options of their listener, and those (TCP_NODELAY, keep-alive, buffers) are the child's business: it may set them
//! on the listener that it is given.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::endpoint::{Interface, Listen};

/// A listening socket and where it listens.
#[derive(Debug)]
pub struct Bound {
    /// What was asked for.
    pub endpoint: Listen,
    /// What came of it: the looked-up address and, for port 0, the port that the kernel chose.
    pub address: SocketAddr,
    /// The socket, blocking and close-on-exec.
    pub socket: TcpListener,
}

/// Why there is no listening socket.
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
}

/// Binds `listen` and listens, with `default_backlog` where it names none.
///
/// # Errors
/// When its host has no address, or the kernel refuses the one it has.
pub fn bind(listen: &Listen, default_backlog: u32) -> Result<Bound, ListenError> {
    let backlog = listen.backlog.unwrap_or(default_backlog);
    let socket = match &listen.interface {
        Interface::All => open_all(listen.port, backlog),
        Interface::Name(name) => open(look_up(listen, name)?, backlog),
        Interface::V4(address) => open((*address, listen.port).into(), backlog),
        // Whether `::` takes IPv4 as well stays as the host is set up.
        Interface::V6 { address, zone } => {
            let scope = zone.as_deref().map_or(Ok(0), |zone| scope_id(listen, zone))?;
            open(SocketAddrV6::new(*address, listen.port, 0, scope).into(), backlog)
        }
    };
    let bound = socket.and_then(|socket| {
        let socket = TcpListener::from(socket);
        Ok(Bound { endpoint: listen.clone(), address: socket.local_addr()?, socket })
    });
    bound.map_err(|source| ListenError::Bind { endpoint: listen.clone(), source })
}

/// All addresses of both families by one socket, or of IPv4 alone where the host has no other.
fn open_all(port: u16, backlog: u32) -> io::Result<Socket> {
    let both = new(Domain::IPV6).and_then(|socket| {
        socket.set_only_v6(false)?;
        start(socket, (Ipv6Addr::UNSPECIFIED, port).into(), backlog)
    });
    match both {
        Err(error) if lacks_ipv6(&error) => open((Ipv4Addr::UNSPECIFIED, port).into(), backlog),
        done => done,
    }
}

/// No IPv6 in the kernel, or none switched on.
fn lacks_ipv6(error: &io::Error) -> bool {
    [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn open(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    start(new(Domain::for_address(address))?, address, backlog)
}

/// Close-on-exec from birth, which socket2 takes care of.
fn new(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
}

fn start(socket: Socket, address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // The kernel has its own, much lower limit and silently keeps to it.
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// IPv4 first: of a name with addresses of both families it is the one that every client can reach.
fn look_up(listen: &Listen, name: &str) -> Result<SocketAddr, ListenError> {
    let endpoint = || listen.clone();
    let addresses: Vec<_> = (name, listen.port)
        .to_socket_addrs()
        .map_err(|source| ListenError::Lookup { endpoint: endpoint(), source })?
        .collect();
    let chosen = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    chosen.copied().ok_or_else(|| ListenError::NoAddress { endpoint: endpoint() })
}

/// A zone is the number of a network interface or its name.
fn scope_id(listen: &Listen, zone: &str) -> Result<u32, ListenError> {
    match zone.parse() {
        Ok(number) => Ok(number),
        Err(_) => {
            if_nametoindex(zone).map_err(|errno| ListenError::Zone { endpoint: listen.clone(), source: errno.into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::TcpStream;
    use std::time::Duration;

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

    use super::*;

    const LOOPBACK: Interface = Interface::V4(Ipv4Addr::LOCALHOST);

    fn listen(interface: Interface, port: u16) -> Listen {
        Listen { interface, port, backlog: None }
    }

    fn v6(address: Ipv6Addr) -> Interface {
        Interface::V6 { address, zone: None }
    }

    fn bound(listen: &Listen) -> Bound {
        bind(listen, 16).unwrap_or_else(|error| panic!("{}", rendered(&error)))
    }

    /// As a user sees it: the error and its causes.
    fn rendered(error: &ListenError) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    fn refusal(listen: &Listen) -> String {
        rendered(&bind(listen, 16).expect_err("the address is not to be had"))
    }

    /// Tests of IPv6 have nothing to say on a host without it.
    fn has_ipv6() -> bool {
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
    }

    fn answers(address: impl ToSocketAddrs) -> bool {
        TcpStream::connect(address).is_ok()
    }

    #[test]
    fn all_addresses_are_served_by_one_socket() {
        let all = bound(&listen(Interface::All, 0));
        let port = all.address.port();
        assert_ne!(port, 0);
        assert!(answers((Ipv4Addr::LOCALHOST, port)));
        if has_ipv6() {
            assert_eq!(all.address.ip(), Ipv6Addr::UNSPECIFIED);
            assert!(answers((Ipv6Addr::LOCALHOST, port)));
        }
        assert_eq!(all.endpoint, listen(Interface::All, 0));
    }

    #[test]
    fn one_address_is_served_alone() {
        let four = bound(&listen(LOOPBACK, 0));
        assert!(four.address.ip().is_loopback() && four.address.is_ipv4());
        assert!(answers(four.address));
        if has_ipv6() {
            assert!(!answers((Ipv6Addr::LOCALHOST, four.address.port())));
            let six = bound(&listen(v6(Ipv6Addr::LOCALHOST), 0));
            assert_eq!(six.address.ip(), Ipv6Addr::LOCALHOST);
            assert!(answers(six.address));
        }
    }

    #[test]
    fn tcp6_leaves_ipv4_to_the_host() {
        if has_ipv6() {
            let six = bound(&listen(v6(Ipv6Addr::UNSPECIFIED), 0));
            let host_default = new(Domain::IPV6).and_then(|socket| socket.only_v6()).expect("IPv6 exists");
            assert!(answers((Ipv6Addr::LOCALHOST, six.address.port())));
            assert_eq!(answers((Ipv4Addr::LOCALHOST, six.address.port())), !host_default);
        }
    }

    #[test]
    fn names_are_looked_up_and_ipv4_comes_first() {
        let named = bound(&listen(Interface::Name("localhost".to_owned()), 0));
        assert_eq!(named.address.ip(), Ipv4Addr::LOCALHOST);
        let error = refusal(&listen(Interface::Name("a\0b".to_owned()), 80));
        assert!(error.starts_with("cannot look up the host of tcp:80:interface=a\0b: "), "{error}");
    }

    #[test]
    fn zones_are_numbers_or_network_interfaces() {
        let zoned = |zone: &str| {
            let interface = Interface::V6 { address: Ipv6Addr::LOCALHOST, zone: Some(zone.to_owned()) };
            listen(interface, 0)
        };
        let error = refusal(&zoned("nosuchzone"));
        let start = r"cannot find the network interface of tcp6:0:interface=\:\:1%nosuchzone: ";
        assert!(error.starts_with(start), "{error}");
        if has_ipv6() {
            assert!(bind(&zoned("1"), 16).is_ok());
        }
    }

    #[test]
    fn a_busy_port_is_refused_in_the_kernels_words() {
        let first = bound(&listen(LOOPBACK, 0));
        let again = listen(LOOPBACK, first.address.port());
        let busy = format!("cannot listen on {again}: {}", io::Error::from_raw_os_error(Errno::EADDRINUSE as i32));
        assert_eq!(refusal(&again), busy);
        // The same for everything that overlaps with it.
        let all = listen(Interface::All, first.address.port());
        assert_eq!(refusal(&all), busy.replace(":interface=127.0.0.1", ""));
    }

    #[test]
    fn a_foreign_address_is_refused_in_the_kernels_words() {
        // From the block that is reserved for documentation.
        let foreign = listen(Interface::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);
        let reason = io::Error::from_raw_os_error(Errno::EADDRNOTAVAIL as i32);
        assert_eq!(refusal(&foreign), format!("cannot listen on tcp:80:interface=192.0.2.1: {reason}"));
    }

    #[test]
    fn only_a_missing_ipv6_makes_do_with_ipv4() {
        let lacks = |errno: Errno| lacks_ipv6(&io::Error::from_raw_os_error(errno as i32));
        assert!(lacks(Errno::EAFNOSUPPORT) && lacks(Errno::EADDRNOTAVAIL));
        assert!(!lacks(Errno::EADDRINUSE) && !lacks(Errno::EACCES) && !lacks(Errno::EMFILE));
    }

    #[test]
    fn sockets_are_blocking_and_close_on_exec() {
        let socket = bound(&listen(Interface::All, 0)).socket;
        let descriptor = FdFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFD).expect("it is open"));
        let description = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL).expect("it is open"));
        assert!(descriptor.contains(FdFlag::FD_CLOEXEC));
        assert!(!description.contains(OFlag::O_NONBLOCK));
    }

    /// Linux lets one connection more wait than the backlog says, and lets further ones knock in vain.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_backlog_is_the_endpoints_or_the_default() {
        let second_waits = |backlog: Option<u32>, default: u32| {
            let socket = bind(&Listen { backlog, ..listen(LOOPBACK, 0) }, default).expect("a free port");
            let _first = TcpStream::connect(socket.address).expect("there is always room for one");
            TcpStream::connect_timeout(&socket.address, Duration::from_millis(100)).is_ok()
        };
        assert!(second_waits(None, 16));
        assert!(!second_waits(None, 0));
        assert!(second_waits(Some(16), 0));
        assert!(!second_waits(Some(0), 16));
        assert!(second_waits(None, u32::MAX));
    }
}
