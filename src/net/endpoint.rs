//! Where to listen, as text and as a value. Pure: nothing is looked up, opened or bound here.
//!
//! The long forms follow Twisted's endpoint strings, argument orders included; the short ones, `udp:`, `fd:` and
//! abstract names are ours:
//!
//! | text | meaning |
//! |---|---|
//! | `PORT`, `tcp:PORT` | all addresses, IPv6 and IPv4 by one socket |
//! | `HOST:PORT`, `tcp:PORT:interface=HOST` | the address that HOST is or resolves to |
//! | `[ADDRESS]:PORT`, `tcp6:PORT:interface=ADDRESS` | this IPv6 address (colons escaped in the long form) |
//! | `tcp6:PORT` | `::`, with IPv4 or not as the host is set up |
//! | `udp:PORT`, `udp:PORT:interface=HOST` | datagrams, at the same addresses as `tcp:` |
//! | `unix:PATH`, `unix:PATH:mode=660` | a unix socket at this path |
//! | `@NAME`, `unix:@NAME` | a unix socket with this abstract name |
//! | `systemd:domain=INET:index=0`, `systemd:domain=INET:name=web` | a socket that an outer manager passed by LISTEN_FDS |
//! | `fd:N` | a socket that we were started with, by its number |
//!
//! A bare `tcp:PORT` means IPv4 alone for Twisted. Here it means the same as `PORT`: one port, one meaning. A path that
//! begins with `@` is a file for Twisted; here that file is `./@…`.

mod error;
mod grammar;
mod lexer;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::str::FromStr;

pub use self::error::ParseError;
use self::error::{Fault, Problem};

/// A place to listen, or a socket that listens already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// Connections over IP.
    Tcp(Tcp),
    /// Datagrams over IP.
    Udp(Udp),
    /// Connections within this host.
    Unix(Unix),
    /// A socket that somebody else has made and passed to us.
    Adopt(Adopt),
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

/// A [`Listen`] with the name its user gave it: `[NAME=]LISTEN`.
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

/// The canonical text, which parses back to an equal value.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backlog = match self {
            Listen::Tcp(tcp) => {
                tcp.fmt_address(f)?;
                tcp.backlog
            }
            Listen::Udp(Udp { interface, port }) => {
                write!(f, "udp:{port}")?;
                interface.fmt_argument(f)?;
                None
            }
            Listen::Unix(Unix { address, mode, backlog }) => {
                match address {
                    UnixAddress::Path(path) => write!(f, "unix:{}", lexer::quote(path))?,
                    UnixAddress::Abstract(name) => write!(f, "unix:@{}", lexer::quote(name))?,
                }
                if let Some(mode) = mode {
                    write!(f, ":mode={mode:o}")?;
                }
                *backlog
            }
            Listen::Adopt(Adopt::Descriptor(number)) => return write!(f, "fd:{number}"),
            Listen::Adopt(Adopt::Systemd { domain, which: Which::Index(index) }) => {
                return write!(f, "systemd:domain={domain}:index={index}");
            }
            Listen::Adopt(Adopt::Systemd { domain, which: Which::Name(name) }) => {
                return write!(f, "systemd:domain={domain}:name={}", lexer::quote(name));
            }
        };
        match backlog {
            Some(backlog) => write!(f, ":backlog={backlog}"),
            None => Ok(()),
        }
    }
}

impl Tcp {
    fn fmt_address(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.interface {
            Interface::V6 { address: Ipv6Addr::UNSPECIFIED, zone: None } => write!(f, "tcp6:{port}"),
            Interface::V6 { .. } => {
                write!(f, "tcp6:{port}")?;
                self.interface.fmt_argument(f)
            }
            Interface::All | Interface::Name(_) | Interface::V4(_) => {
                write!(f, "tcp:{port}")?;
                self.interface.fmt_argument(f)
            }
        }
    }
}

impl Interface {
    fn fmt_argument(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interface::All => Ok(()),
            Interface::Name(name) => write!(f, ":interface={}", lexer::quote(name)),
            Interface::V4(address) => write!(f, ":interface={address}"),
            Interface::V6 { address, zone } => {
                write!(f, ":interface={}", lexer::quote(&address.to_string()))?;
                match zone {
                    Some(zone) => write!(f, "%{}", lexer::quote(zone)),
                    None => Ok(()),
                }
            }
        }
    }
}

/// As an endpoint names it.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Domain::Inet => "INET",
            Domain::Inet6 => "INET6",
            Domain::Unix => "UNIX",
        })
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
        return Ok(NamedListen { name: None, listen: grammar::listen(text)? });
    };
    if !is_name(name) {
        return Err(Fault { offset: 0, problem: Problem::Name });
    }
    let listen = grammar::listen(listen).map_err(|fault| Fault { offset: fault.offset + name.len() + 1, ..fault })?;
    Ok(NamedListen { name: Some(name.to_owned()), listen })
}

fn is_name(text: &str) -> bool {
    matches!(text.len(), 1..=64) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
