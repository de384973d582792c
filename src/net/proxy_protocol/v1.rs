//! Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 1025 80`, carriage return, line feed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::Header;
use super::error::HeaderError;

/// How every line begins.
pub(super) const START: &[u8] = b"PROXY ";

/// Most bytes of a line, its end included.
pub(super) const LONGEST: usize = 107;

const END: &[u8] = b"\r\n";

/// What the line says, once its end is there: `bytes` has grown by one since the last call.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    if let Some(line) = bytes.strip_suffix(END) {
        return fields(&line[START.len()..]).map(Some);
    }
    match bytes {
        [.., b'\n'] | [.., b'\r', _] => Err(HeaderError::LineEnd),
        _ if bytes.len() >= LONGEST => Err(HeaderError::LongLine),
        _ => Ok(None),
    }
}

fn fields(line: &[u8]) -> Result<Header, HeaderError> {
    let mut fields = line.split(|&byte| byte == b' ');
    match fields.next() {
        Some(b"TCP4") => addresses::<Ipv4Addr>("TCP4", fields),
        Some(b"TCP6") => addresses::<Ipv6Addr>("TCP6", fields),
        // What follows means nothing, whatever it is.
        Some(b"UNKNOWN") => Ok(Header::Unknown),
        _ => Err(HeaderError::Protocol),
    }
}

fn addresses<'a, A>(protocol: &'static str, mut fields: impl Iterator<Item = &'a [u8]>) -> Result<Header, HeaderError>
where
    A: FromStr + Into<IpAddr>,
{
    let mut field = || fields.next().ok_or(HeaderError::Fields);
    let [from, to, from_port, to_port] = [field()?, field()?, field()?, field()?];
    if fields.next().is_some() {
        return Err(HeaderError::Fields);
    }
    let address = |which, text| parsed::<A>(text).ok_or(HeaderError::Address { which, protocol });
    let port = |which, text| port(text).ok_or(HeaderError::Port { which });
    let source = SocketAddr::new(address("source", from)?.into(), port("source", from_port)?);
    let destination = SocketAddr::new(address("destination", to)?.into(), port("destination", to_port)?);
    Ok(Header::between(source, destination))
}

fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Decimal as the specification has it: no sign, no zero in front.
fn port(text: &[u8]) -> Option<u16> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0'));
    if plain { parsed(text) } else { None }
}

pub(super) fn encode(header: &Header) -> Vec<u8> {
    match header {
        Header::Local | Header::Unknown | Header::Unix { .. } => b"PROXY UNKNOWN\r\n".to_vec(),
        Header::Inet { source, destination } => {
            let protocol = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("PROXY {protocol} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
        }
    }
}
