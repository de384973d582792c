//! Where the proxy listens and where the server behind it does, as text: `8000`, `:8000`, `HOST:8000`, `[::1]:8000`; for the
//! server also `0` or `{port}`, a fresh port for each generation. Each reads back from what it writes.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The host where the text names none.
const DEFAULT_HOST: &str = "localhost";
/// What stands for a fresh port, in the address and in the words of the command.
pub const PORT_WORD: &str = "{port}";
/// The longest name of a host (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;

/// Where the proxy listens. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port; `None`: a fresh one for each generation.
    pub port: Option<u16>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address: '{}' at position {at}: {what}; expected {expected}", text.escape_debug())]
pub struct AddressError {
    text: String,
    /// The place of what is wrong, from 1.
    at: usize,
    what: &'static str,
    expected: &'static str,
}

const FORM_OF_BIND: &str = "PORT, HOST:PORT or [ADDRESS]:PORT";
const FORM_OF_BACKEND: &str = "PORT, HOST:PORT or [ADDRESS]:PORT, where PORT may be {port}";

/// What is wrong, and where it begins, in bytes from 0.
type Fault = (usize, &'static str);

impl FromStr for Bind {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed =
            split(text).and_then(|(host, port, at)| Ok(Bind { host: host.to_owned(), port: number(port, at)? }));
        parsed.map_err(|fault| error(text, fault, FORM_OF_BIND))
    }
}

impl FromStr for Backend {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed = split(text).and_then(|(host, port, at)| {
            let port = match port {
                PORT_WORD => None,
                digits => Some(number(digits, at)?).filter(|port| *port > 0),
            };
            Ok(Backend { host: host.to_owned(), port })
        });
        parsed.map_err(|fault| error(text, fault, FORM_OF_BACKEND))
    }
}

fn error(text: &str, (byte, what): Fault, expected: &'static str) -> AddressError {
    let at = text.get(..byte).map_or(1, |before| before.chars().count() + 1);
    AddressError { text: text.to_owned(), at, what, expected }
}

/// The host, the text of the port, and where that begins.
fn split(text: &str) -> Result<(&str, &str, usize), Fault> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or((text.len(), "there is no ']'"))?;
        host.parse::<Ipv6Addr>().map_err(|_| (1, "this is no IPv6 address"))?;
        let at = host.len() + 2;
        let port = port.strip_prefix(':').ok_or((at, "a port is missing"))?;
        return Ok((host, port, at + 1));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((DEFAULT_HOST, text, 0));
    };
    let at = host.len() + 1;
    if host.is_empty() {
        return Ok((DEFAULT_HOST, port, at));
    }
    if let Some(colon) = host.find(':') {
        return Err((colon, "an IPv6 address has brackets"));
    }
    check_name(host)?;
    Ok((host, port, at))
}

fn check_name(host: &str) -> Result<(), Fault> {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    if let Some((at, _)) = host.char_indices().find(|(_, letter)| !fine(*letter)) {
        return Err((at, "no host has this in its name"));
    }
    let numeric = host.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err((0, "this is no IPv4 address"));
    }
    if host.len() > LONGEST_NAME {
        return Err((LONGEST_NAME, "no host has so long a name"));
    }
    Ok(())
}

fn number(text: &str, at: usize) -> Result<u16, Fault> {
    if text.is_empty() {
        return Err((at, "a port is missing"));
    }
    if let Some((place, _)) = text.char_indices().find(|(_, letter)| !letter.is_ascii_digit()) {
        return Err((at + place, "this is no port"));
    }
    text.parse().map_err(|_| (at, "a port is at most 65535"))
}

/// The host as it stands in front of a port.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", Bracketed(&self.host))?;
        match self.port {
            Some(port) => port.fmt(f),
            None => f.write_str(PORT_WORD),
        }
    }
}

impl Backend {
    /// The host and this port, as an `Host` field has them.
    pub fn authority(&self, port: u16) -> String {
        format!("{}:{port}", Bracketed(&self.host))
    }
}
