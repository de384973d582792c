//! Where to connect, as a value.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use super::{ParseError, UnixAddress, grammar};
use crate::time::TimeOrNever;

/// A place to connect to, and what is spoken there. What is `None` is left to the caller's default.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connect {
    /// The place.
    pub place: Peer,
    /// TLS, with these particulars; `None`: none.
    pub tls: Option<ClientTls>,
    /// The client's address is told first, in a header of this version.
    pub proxy: Option<ProxyVersion>,
    /// How long looking up, connecting and the handshake of TLS may take together; more than zero.
    pub timeout: Option<Duration>,
    /// How long a connection may lie idle; more than zero.
    pub idle_timeout: Option<TimeOrNever>,
    /// How long a connection that one end has closed may lie idle; more than zero.
    pub half_closed_timeout: Option<TimeOrNever>,
}

/// The other end of a connection to make.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Over IP.
    Tcp(HostPort),
    /// Within this host.
    Unix(UnixAddress),
}

/// A port of a host, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
    /// The address of ours to connect from, at a port that the kernel chooses. Of the family of `host`, if that has one.
    pub bind_address: Option<IpAddr>,
    /// The family to try first where the host has addresses of both; `None` leaves the order to the system's resolver.
    pub prefer: Option<Family>,
}

/// A host, by its name or its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, looked up anew for each connection.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6 {
        /// The address.
        address: Ipv6Addr,
        /// The network interface a link-local address belongs to, as a name or number.
        zone: Option<String>,
    },
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How TLS is spoken with a destination. It is always verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// The name or address that is asked for (SNI) and that the certificate must be for; `None`: the host. Never `None`
    /// where the place has no host.
    pub hostname: Option<String>,
    /// The directory whose `*.pem` files hold the certificates that are trusted; `None`: those of the platform.
    pub ca_certs_dir: Option<String>,
    /// The PEM file with the certificate to present, and what goes with it up to the root; `None`: none is presented.
    pub cert_key: Option<String>,
    /// The PEM file with its private key; `None`: that of the certificate. Never without the certificate.
    pub private_key: Option<String>,
    /// The protocols to offer (ALPN), the best first, each of 1 to 255 bytes; empty: none.
    pub alpn: Vec<String>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl FromStr for Connect {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        grammar::connect(text).map_err(|fault| ParseError::new(text, fault))
    }
}

impl From<Peer> for Connect {
    /// Nothing but the place, with everything else left to defaults.
    fn from(place: Peer) -> Self {
        Connect { place, tls: None, proxy: None, timeout: None, idle_timeout: None, half_closed_timeout: None }
    }
}

impl Host {
    /// The family of an address; a name has none.
    pub fn family(&self) -> Option<Family> {
        match self {
            Host::Name(_) => None,
            Host::V4(_) => Some(Family::V4),
            Host::V6 { .. } => Some(Family::V6),
        }
    }
}

/// A name as it is; an IPv6 address without brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => address.fmt(f),
            Host::V6 { address, zone: None } => address.fmt(f),
            Host::V6 { address, zone: Some(zone) } => write!(f, "{address}%{zone}"),
        }
    }
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// As an endpoint names it.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "4",
            Family::V6 => "6",
        })
    }
}

/// As an endpoint names it.
impl fmt::Display for ProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        })
    }
}
