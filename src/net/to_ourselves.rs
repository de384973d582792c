//! Connections that we make ourselves, without ever waiting for one.

#[cfg(test)]
mod tests;

use super::listener::Address;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// How many strangers at a private listener are turned away before others have their turn.
const STRANGERS: usize = 16;

/// Where whoever listens at `address` is reached from this host, the best first: itself, or loopback for all addresses.
/// Empty when nobody could find it.
pub fn reachable(address: &Address) -> Vec<Address> {
    match address {
        Address::Internet(internet) if internet.ip().is_unspecified() => {
            let at = |ip: IpAddr| Address::Internet(SocketAddr::new(ip, internet.port()));
            let v4 = at(Ipv4Addr::LOCALHOST.into());
            // A socket for both families is there by IPv4 where the host has no loopback address of IPv6.
            if internet.is_ipv6() { vec![at(Ipv6Addr::LOCALHOST.into()), v4] } else { vec![v4] }
        }
        Address::Internet(_) | Address::Path(_) | Address::Abstract(_) => vec![address.clone()],
        Address::Unnamed => Vec::new(),
    }
}

/// Begins a connection to one of these addresses, the first that does not refuse at once. It is non-blocking, and may
/// still be under way; [`is_connected`] tells.
///
/// # Errors
/// The last refusal; see connect(2). `WouldBlock`: the queue of a unix listener is full.
pub fn connect(addresses: &[Address]) -> io::Result<Socket> {
    let mut refusal = io::Error::new(io::ErrorKind::AddrNotAvailable, "nobody could find it");
    for address in addresses {
        match connect_to(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn connect_to(address: &Address) -> io::Result<Socket> {
    let address = match address {
        Address::Internet(internet) => SockAddr::from(*internet),
        Address::Path(path) => SockAddr::unix(path)?,
        Address::Abstract(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name.as_slice()].concat()))?,
        Address::Unnamed => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(socket),
    }
}

/// Whether a connection has come about.
///
/// # Errors
/// Why it never will.
pub fn is_connected(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// A connection of which we have both ends, of the kind that a listener at `address` brings: the client's end, and what
/// becomes the end to be served.
///
/// # Errors
/// Those of the calls that it takes: a connection over loopback, or socketpair(2).
pub fn pair(address: &Address) -> io::Result<(Socket, Coming)> {
    let Address::Internet(internet) = address else {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        SockRef::from(&ours).set_nonblocking(true)?;
        return Ok((ours.into(), Coming::There(theirs)));
    };
    let ip = if internet.is_ipv6() { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() };
    // A host may have IPv6, and no loopback address of it.
    pair_at(ip).or_else(|error| if ip.is_ipv6() { pair_at(Ipv4Addr::LOCALHOST.into()) } else { Err(error) })
}

fn pair_at(ip: IpAddr) -> io::Result<(Socket, Coming)> {
    let at = SocketAddr::new(ip, 0);
    let listener = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    listener.set_nonblocking(true)?;
    listener.bind(&at.into())?;
    listener.listen(1)?;
    let client = connect(&[Address::of(listener.as_fd())?])?;
    let from = client.local_addr()?;
    Ok((client, Coming::Through { listener, from }))
}

/// The end to be served of a connection of our own.
#[derive(Debug)]
pub enum Coming {
    /// It is there.
    There(OwnedFd),
    /// It comes through this listener, which nobody else knows, from this address.
    Through {
        /// The listener.
        listener: Socket,
        /// The address of the client's end.
        from: SockAddr,
    },
}

impl Coming {
    /// The end itself, in blocking mode; or what is still coming.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn arrive(self) -> io::Result<Result<OwnedFd, Coming>> {
        let (listener, from) = match self {
            Coming::There(end) => return Ok(Ok(end)),
            Coming::Through { listener, from } => (listener, from),
        };
        for _ in 0..STRANGERS {
            match listener.accept() {
                Ok((end, peer)) if peer.as_socket() == from.as_socket() => return Ok(Ok(end.into())),
                // Anybody can come to any port of the host.
                Ok((_, _)) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Err(Coming::Through { listener, from }))
    }
}
