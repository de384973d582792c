//! Where to listen, as text and as a value. Pure: nothing is looked up, opened or bound here.
//!
//! The long forms follow Twisted's endpoint strings, argument orders included; the short ones are ours:
//!
//! | text | meaning |
//! |---|---|
//! | `PORT`, `tcp:PORT` | all addresses, IPv6 and IPv4 by one socket |
//! | `HOST:PORT`, `tcp:PORT:interface=HOST` | the address that HOST is or resolves to |
//! | `[ADDRESS]:PORT`, `tcp6:PORT:interface=ADDRESS` | this IPv6 address (colons escaped in the long form) |
//! | `tcp6:PORT` | `::`, with IPv4 or not as the host is set up |
//!
//! A bare `tcp:PORT` means IPv4 alone for Twisted. Here it means the same as `PORT`: one port, one meaning.

mod error;
mod grammar;
mod lexer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

pub use self::error::ParseError;
use self::error::{Fault, Problem};

/// A place to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen {
    /// The address or addresses.
    pub interface: Interface,
    /// The port; 0 leaves the choice to the kernel.
    pub port: u16,
    /// How many connections may wait in the kernel; `None` leaves it to the caller's default.
    pub backlog: Option<u32>,
}

/// The address part of a [`Listen`].
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
    /// The name; without one a listener goes by its port, which is known only once it is bound.
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
        let port = self.port;
        match &self.interface {
            Interface::All => write!(f, "tcp:{port}")?,
            Interface::Name(name) => write!(f, "tcp:{port}:interface={}", lexer::quote(name))?,
            Interface::V4(address) => write!(f, "tcp:{port}:interface={address}")?,
            Interface::V6 { address: Ipv6Addr::UNSPECIFIED, zone: None } => write!(f, "tcp6:{port}")?,
            Interface::V6 { address, zone } => {
                write!(f, "tcp6:{port}:interface={}", lexer::quote(&address.to_string()))?;
                if let Some(zone) = zone {
                    write!(f, "%{}", lexer::quote(zone))?;
                }
            }
        }
        match self.backlog {
            Some(backlog) => write!(f, ":backlog={backlog}"),
            None => Ok(()),
        }
    }
}

impl FromStr for NamedListen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        named(text).map_err(|fault| ParseError::new(text, fault))
    }
}

/// An equal sign behind a colon belongs to an argument, as in `tcp:80:backlog=5`.
fn named(text: &str) -> Result<NamedListen, Fault> {
    let Some((name, listen)) = text.split_once('=').filter(|(name, _)| !name.contains(':')) else {
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
