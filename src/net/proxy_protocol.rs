//! The PROXY protocol: a header before the first byte of a connection, in which a proxy tells the addresses of the client
//! it speaks for. Pure: bytes in, a value out, and back.
//!
//! Both versions are read, whichever comes, and either is written. What is read is the sender's word: [`Trust`] says whose
//! word counts. Records behind the addresses of version 2 (TLVs) are skipped, none is written.
//!
//! The specification is HAProxy's `doc/proxy-protocol.txt`.

mod error;
mod parser;
#[cfg(test)]
mod tests;
mod trust;
mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

pub use self::error::HeaderError;
pub use self::parser::{Parser, Progress};
pub use self::trust::{Network, NetworkError, Trust};
use super::endpoint::ProxyVersion;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// The proxy speaks for itself, as in a health check: the connection's own addresses hold.
    Local,
    /// It speaks for a client whose addresses it does not tell: the connection's own hold.
    Unknown,
    /// A client that came by TCP. Made by [`Header::between`], so both addresses are of one family.
    Inet {
        /// Where the client is.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// A client on a unix socket of the proxy's host.
    Unix {
        /// The client's name; mostly it has none.
        source: UnixName,
        /// What it connected to.
        destination: UnixName,
    },
}

impl Header {
    /// Speaks for a TCP client. IPv4 addresses in their IPv6 form, which a dual-stack listener reports, become IPv4
    /// again; where only one address is IPv4, it takes the IPv6 form.
    pub fn between(source: SocketAddr, destination: SocketAddr) -> Self {
        let (from, to) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (from @ IpAddr::V4(_), to @ IpAddr::V4(_)) => (from, to),
            (from, to) => (in_v6(from), in_v6(to)),
        };
        let source = SocketAddr::new(from, source.port());
        let destination = SocketAddr::new(to, destination.port());
        Self::Inet { source, destination }
    }

    /// The header's bytes. Version 1 has no form for unix sockets and for ourselves: both become `UNKNOWN`.
    pub fn to_bytes(&self, version: ProxyVersion) -> Vec<u8> {
        match version {
            ProxyVersion::V1 => v1::encode(self),
            ProxyVersion::V2 => v2::encode(self),
        }
    }
}

/// An address in its IPv6 form.
fn in_v6(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

/// The name of a unix socket as in `sun_path`: a path, an abstract name with its leading NUL, or nothing. unix(7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnixName(Vec<u8>);

impl UnixName {
    /// The most bytes of a name.
    pub const MAX: usize = 108;

    /// A name without the NULs at its end; `None` if it is longer than any socket's can be.
    pub fn new(name: &[u8]) -> Option<Self> {
        let length = name.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        (length <= Self::MAX).then(|| Self(name[..length].to_vec()))
    }

    /// Its bytes; of an abstract name with a leading NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
