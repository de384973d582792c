//! Where to listen and where to connect, as text and as values. Pure: nothing is looked up, opened or bound here.
//!
//! The long forms follow Twisted's endpoint strings, argument orders included; the short ones, `udp:`, `fd:`, abstract
//! names and some arguments are ours. To listen:
//!
//! | text | meaning |
//! |---|---|
//! | `PORT`, `tcp:PORT` | all addresses, IPv6 and IPv4 by one socket |
//! | `HOST:PORT`, `tcp:PORT:interface=HOST` | the address that HOST is or resolves to |
//! | `[ADDRESS]:PORT`, `tcp6:PORT:interface=ADDRESS` | this IPv6 address (colons escaped in the long form) |
//! | `tcp6:PORT` | `::`, with IPv4 or not as the host is set up |
//! | `ssl:PORT:privateKey=FILE:certKey=FILE` | TLS, at the same addresses as `tcp:` |
//! | `udp:PORT`, `udp:PORT:interface=HOST` | datagrams, at the same addresses as `tcp:` |
//! | `unix:PATH`, `unix:PATH:mode=660` | a unix socket at this path |
//! | `@NAME`, `unix:@NAME` | a unix socket with this abstract name |
//! | `systemd:domain=INET:index=0`, `systemd:domain=INET:name=web` | a socket that an outer manager passed by LISTEN_FDS |
//! | `fd:N` | a socket that we were started with, by its number |
//! | `haproxy:LISTEN` | any of these for connections, each of which begins with a header of the PROXY protocol |
//!
//! To connect:
//!
//! | text | meaning |
//! |---|---|
//! | `HOST:PORT`, `[ADDRESS]:PORT`, `tcp:HOST:PORT` | a host by its name or address (colons escaped in the long form) |
//! | `PORT` | this host, by the name localhost |
//! | `ssl:HOST:PORT`, `tls:HOST:PORT` | TLS, with the certificate verified for HOST |
//! | `tls:HOST:endpoint=CONNECT` | TLS with HOST, over what another endpoint connects to |
//! | `unix:PATH`, `@NAME`, `unix:@NAME` | a unix socket |
//!
//! A bare `tcp:PORT` means IPv4 alone for Twisted. Here it means the same as `PORT`: one port, one meaning. A path that
//! begins with `@` is a file for Twisted; here that file is `./@…`.

mod connect;
mod error;
mod grammar;
mod lexer;
mod place;
mod problem;
#[cfg(test)]
mod tests;
mod value;
mod written;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::str::FromStr;

pub use self::connect::{ClientTls, Connect, Family, Host, HostPort, Peer, ProxyVersion};
use self::error::Fault;
pub use self::error::ParseError;
pub use self::place::PathError;
use self::problem::Problem;

/// A place to listen, or a socket that listens already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// Connections over IP.
    Tcp(Tcp),
    /// Connections over IP, in which TLS is spoken.
    Tls(Box<TlsListen>),
    /// Datagrams over IP.
    Udp(Udp),
    /// Connections within this host.
    Unix(Unix),
    /// A socket that somebody else has made and passed to us.
    Adopt(Adopt),
    /// Connections that begin with a header of the PROXY protocol, of either version. Neither of these in another one,
    /// nor datagrams.
    Proxied(Box<Listen>),
}

/// Where TCP connections are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tcp {
    /// The address or addresses.
    pub interface: Interface,
    /// The port; 0 leaves the choice to the kernel.
    pub port: u16,
    /// How many connections may wait in the kernel; `None` leaves it to the caller's default.
    pub backlog: Option<u32>,
}

/// Where connections are accepted in which TLS is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsListen {
    /// Where they are accepted.
    pub tcp: Tcp,
    /// What we say who we are by.
    pub files: ServerFiles,
}

/// The files, in PEM, by which a server of TLS shows who it is and knows who its clients are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerFiles {
    /// The private key.
    pub private_key: String,
    /// The certificate; `None`: in the file of the private key.
    pub cert_key: Option<String>,
    /// Certificates that lead from it to the root, at least one; `None`: those that follow the certificate in its file.
    pub extra_cert_chain: Option<String>,
    /// The certificates of those who may vouch for clients; `None`: clients are not asked for a certificate. If given,
    /// those without one are refused.
    pub client_cas: Option<String>,
    /// The protocols to choose from (ALPN), the best first, each of 1 to 255 bytes; empty: none.
    pub alpn: Vec<String>,
}

/// Where UDP datagrams are received.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Udp {
    /// The address or addresses.
    pub interface: Interface,
    /// The port; 0 leaves the choice to the kernel.
    pub port: u16,
}

/// Where connections over a unix socket are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unix {
    /// Its name.
    pub address: UnixAddress,
    /// The permissions of its file; `None` leaves them to the default.
    pub mode: Option<u32>,
    /// How many connections may wait in the kernel; `None` leaves it to the caller's default.
    pub backlog: Option<u32>,
}

/// The name of a unix socket: 1 to 107 bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// A file. A relative path is the caller's.
    Path(String),
    /// A name that is no file.
    Abstract(String),
}

/// Which of the sockets that we were started with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Adopt {
    /// The descriptor with this number.
    Descriptor(RawFd),
    /// One that an outer manager passed by systemd's convention.
    Systemd {
        /// The kind of address it must have.
        domain: Domain,
        /// Which one.
        which: Which,
    },
}

/// The kind of a socket's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// IPv4.
    Inet,
    /// IPv6, perhaps with IPv4.
    Inet6,
    /// Within this host.
    Unix,
}

/// Which of the sockets that an outer manager passed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Which {
    /// By its place, from 0.
    Index(u32),
    /// By its name in LISTEN_FDNAMES.
    Name(String),
}

/// The address part of a [`Tcp`] or [`Udp`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interface {
    /// All addresses, IPv6 and IPv4 by one socket; IPv4 alone where the host has no IPv6.
    All,
    /// A host name, looked up when the socket is bound.
    Name(String),
    /// One IPv4 address; `0.0.0.0` is all of them.
    V4(Ipv4Addr),
    /// One IPv6 address; `::` is all of them.
    V6 {
        /// The address.
        address: Ipv6Addr,
        /// The network interface a link-local address belongs to, as a name or number.
        zone: Option<String>,
    },
}

/// A [`Listen`] for others to accept from, with the name its user gave it: `[NAME=]LISTEN`. Its socket is passed on, so
/// nothing can be spoken on it by us: neither TLS nor the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedListen {
    /// The name; without one a listener goes by its address, which is known only once it is bound.
    pub name: Option<String>,
    /// The place to listen.
    pub listen: Listen,
}

impl FromStr for Listen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        grammar::listen(text).map_err(|fault| ParseError::new(text, fault))
    }
}

impl Listen {
    /// The one that a socket is bound or adopted for: this, without the header that it expects first.
    pub fn socket(&self) -> &Listen {
        match self {
            Listen::Proxied(inner) => inner.socket(),
            Listen::Tcp(_) | Listen::Tls(_) | Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) => self,
        }
    }
}

impl Interface {
    /// The host that this is an address of, but for all addresses.
    pub fn host(&self) -> Option<Host> {
        match self {
            Interface::All => None,
            Interface::Name(name) => Some(Host::Name(name.clone())),
            Interface::V4(address) => Some(Host::V4(*address)),
            Interface::V6 { address, zone } => Some(Host::V6 { address: *address, zone: zone.clone() }),
        }
    }
}

impl From<Host> for Interface {
    fn from(host: Host) -> Self {
        match host {
            Host::Name(name) => Interface::Name(name),
            Host::V4(address) => Interface::V4(address),
            Host::V6 { address, zone } => Interface::V6 { address, zone },
        }
    }
}

impl FromStr for NamedListen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        named(text).map_err(|fault| ParseError::new(text, fault))
    }
}

/// An equal sign behind a colon belongs to an argument, as in `tcp:80:backlog=5`, and one behind `@` to a name.
fn named(text: &str) -> Result<NamedListen, Fault> {
    let before = |(name, _): &(&str, &str)| !name.contains(':') && !name.starts_with('@');
    let Some((name, listen)) = text.split_once('=').filter(before) else {
        return Ok(NamedListen { name: None, listen: grammar::passed(text)? });
    };
    if !is_name(name) {
        return Err(Fault { offset: 0, problem: Problem::Name });
    }
    let listen = grammar::passed(listen).map_err(|fault| Fault { offset: fault.offset + name.len() + 1, ..fault })?;
    Ok(NamedListen { name: Some(name.to_owned()), listen })
}

/// Whether a word is a kind of endpoint, and so never a host in `HOST:PORT`.
pub fn is_kind(word: &str) -> bool {
    grammar::is_reserved(word)
}

fn is_name(text: &str) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
