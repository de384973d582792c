//! Version 2: a signature, version and command, family and transport, a length, and that many bytes: the addresses,
//! and records that we skip.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::HeaderError;
use super::{Header, UnixName};

/// How every header begins.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes up to and with the length.
pub(super) const FIXED: usize = 16;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// What the fixed part says of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Local,
    Unknown,
    V4,
    V6,
    Unix,
}

impl Shape {
    /// Bytes of the addresses.
    pub(super) fn needed(self) -> usize {
        match self {
            Self::Local | Self::Unknown => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 2 * UnixName::MAX,
        }
    }

    /// What the header says; `addresses` has the bytes that are needed.
    pub(super) fn decode(self, addresses: &[u8]) -> Header {
        match self {
            Self::Local => Header::Local,
            Self::Unknown => Header::Unknown,
            Self::V4 => addressed::<4>(addresses, |octets| Ipv4Addr::from(octets).into()),
            Self::V6 => addressed::<16>(addresses, |octets| Ipv6Addr::from(octets).into()),
            Self::Unix => {
                let (source, destination) = addresses.split_at(UnixName::MAX);
                let name = |bytes| UnixName::new(bytes).unwrap_or_default();
                Header::Unix { source: name(source), destination: name(destination) }
            }
        }
    }
}

/// Both addresses, then both ports.
fn addressed<const N: usize>(bytes: &[u8], address: fn([u8; N]) -> IpAddr) -> Header {
    let octets = |from: usize| std::array::from_fn(|index| bytes[from + index]);
    let port = |from: usize| u16::from_be_bytes([bytes[from], bytes[from + 1]]);
    let source = SocketAddr::new(address(octets(0)), port(2 * N));
    let destination = SocketAddr::new(address(octets(N)), port(2 * N + 2));
    Header::between(source, destination)
}

/// What the fixed part says, checked byte by byte as it grows, and complete with the length.
pub(super) fn shape(bytes: &[u8]) -> Result<Option<(Shape, u16)>, HeaderError> {
    let Some(&first) = bytes.get(SIGNATURE.len()) else {
        return Ok(None);
    };
    let (version, command) = (first >> 4, first & 0x0f);
    if version != VERSION {
        return Err(HeaderError::Version { version });
    }
    if command != LOCAL && command != PROXY {
        return Err(HeaderError::Command { command });
    }
    let Some(&family) = bytes.get(SIGNATURE.len() + 1) else {
        return Ok(None);
    };
    let shape = if command == LOCAL { Shape::Local } else { family_of(family)? };
    let Some(&[high, low]) = bytes.get(FIXED - 2..FIXED) else {
        return Ok(None);
    };
    let length = u16::from_be_bytes([high, low]);
    let needed = shape.needed();
    if usize::from(length) < needed {
        return Err(HeaderError::Short { length, needed });
    }
    Ok(Some((shape, length)))
}

fn family_of(family: u8) -> Result<Shape, HeaderError> {
    match family {
        0x11 => Ok(Shape::V4),
        0x21 => Ok(Shape::V6),
        0x31 => Ok(Shape::Unix),
        // Unspecified, and datagrams of each family, which no stream can stand for.
        0x00 | 0x12 | 0x22 | 0x32 => Ok(Shape::Unknown),
        _ => Err(HeaderError::Family { family }),
    }
}

pub(super) fn encode(header: &Header) -> Vec<u8> {
    let (command, family, addresses) = match header {
        Header::Local => (LOCAL, 0x00, Vec::new()),
        Header::Unknown => (PROXY, 0x00, Vec::new()),
        Header::Inet { source, destination } => {
            let family = if source.is_ipv4() { 0x11 } else { 0x21 };
            let mut bytes = octets(source);
            bytes.extend(octets(destination));
            bytes.extend(source.port().to_be_bytes());
            bytes.extend(destination.port().to_be_bytes());
            (PROXY, family, bytes)
        }
        Header::Unix { source, destination } => {
            let mut bytes = source.as_bytes().to_vec();
            bytes.resize(UnixName::MAX, 0);
            bytes.extend(destination.as_bytes());
            bytes.resize(2 * UnixName::MAX, 0);
            (PROXY, 0x31, bytes)
        }
    };
    let length = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([VERSION << 4 | command, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(addresses);
    bytes
}

fn octets(address: &SocketAddr) -> Vec<u8> {
    match address {
        SocketAddr::V4(address) => address.ip().octets().to_vec(),
        SocketAddr::V6(address) => address.ip().octets().to_vec(),
    }
}
