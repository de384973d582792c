//! Where the server of sessions is, as its users write it: `--proxy=HOST:PORT`, of which each part may be left out, or any
//! other endpoint. Nothing is looked up here.

use crate::net::endpoint::{Connect, Host, Interface, Listen, ParseError, Peer, UnixAddress, is_kind};
use std::fmt;
use std::str::FromStr;

#[cfg(test)]
mod tests;

/// The host, if none is given.
pub const DEFAULT_HOST: &str = "localhost";
/// The port, if none is given.
pub const DEFAULT_PORT: u16 = 9009;

/// The address of a server of sessions. For the server it is where to listen, for its clients where to connect to.
///
/// `HOST`, `:PORT` and `HOST:PORT` say what they say, and what they leave out is [`DEFAULT_HOST`] and [`DEFAULT_PORT`]; a
/// number alone is a port. All else is an endpoint: `ssl:…` for instance is one for both, with arguments that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// An endpoint with nothing left out.
    text: String,
}

impl Default for Proxy {
    fn default() -> Self {
        Proxy { text: format!("{DEFAULT_HOST}:{DEFAULT_PORT}") }
    }
}

impl FromStr for Proxy {
    type Err = ParseError;

    /// # Errors
    /// It is neither an endpoint to listen on nor one to connect to.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let proxy = Proxy { text: completed(text) };
        match (proxy.listen(), proxy.connect()) {
            (Ok(_), _) | (_, Ok(_)) => Ok(proxy),
            // A kind that only clients know is meant for them.
            (Err(_), Err(error)) if kind(text).eq_ignore_ascii_case("tls") => Err(error),
            (Err(error), Err(_)) => Err(error),
        }
    }
}

/// The endpoint in full.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Proxy {
    /// Where its server listens.
    ///
    /// # Errors
    /// It is an endpoint that one can only connect to.
    pub fn listen(&self) -> Result<Listen, ParseError> {
        self.text.parse()
    }

    /// Where its clients connect to.
    ///
    /// # Errors
    /// It is an endpoint that one can only listen on.
    pub fn connect(&self) -> Result<Connect, ParseError> {
        self.text.parse()
    }

    /// What its server is called if nobody gives it another name: `session-PORT`, or `session-` and the name of a unix
    /// socket's file. `None`: the address does not tell, as that of a socket that the server was started with.
    pub fn default_name(&self) -> Option<String> {
        let part = match self.place()? {
            Place::Port { port, .. } => port.to_string(),
            Place::Unix(UnixAddress::Path(name) | UnixAddress::Abstract(name)) => {
                crate::net::listener::name_from(name.rsplit('/').next().unwrap_or_default())
            }
        };
        Some(format!("session-{part}").chars().take(LONGEST_NAME).collect())
    }

    /// Whether a server that listens there is meant by this. A server on all addresses is meant by any host, since who asks
    /// is on the same machine; two names of one address are two.
    pub fn means(&self, listen: &Listen) -> bool {
        match (self.place(), Place::of_listen(listen)) {
            (Some(Place::Unix(ours)), Some(Place::Unix(theirs))) => ours == theirs,
            (Some(Place::Port { host, port }), Some(Place::Port { host: theirs, port: same })) => {
                port == same && (theirs.is_none() || host.is_none() || host == theirs)
            }
            _ => false,
        }
    }

    fn place(&self) -> Option<Place> {
        let listen = self.listen().ok().and_then(|listen| Place::of_listen(&listen));
        listen.or_else(|| Some(Place::of_connect(&self.connect().ok()?)))
    }
}

/// Instances have names of at most so many letters.
const LONGEST_NAME: usize = 64;

/// An address without what is spoken there.
enum Place {
    Port { host: Option<Host>, port: u16 },
    Unix(UnixAddress),
}

impl Place {
    fn of_listen(listen: &Listen) -> Option<Place> {
        let tcp = match listen.socket() {
            Listen::Tcp(tcp) => tcp,
            Listen::Tls(tls) => &tls.tcp,
            Listen::Unix(unix) => return Some(Place::Unix(unix.address.clone())),
            Listen::Udp(_) | Listen::Adopt(_) | Listen::Proxied(_) => return None,
        };
        let everywhere = match &tcp.interface {
            Interface::All => true,
            Interface::V4(address) => address.is_unspecified(),
            Interface::V6 { address, .. } => address.is_unspecified(),
            Interface::Name(_) => false,
        };
        Some(Place::Port { host: tcp.interface.host().filter(|_| !everywhere), port: tcp.port })
    }

    fn of_connect(connect: &Connect) -> Place {
        match &connect.place {
            Peer::Tcp(place) => Place::Port { host: Some(place.host.clone()), port: place.port },
            Peer::Unix(address) => Place::Unix(address.clone()),
        }
    }
}

/// The text with its defaults in place; what is no short form stays as it is.
fn completed(text: &str) -> String {
    if text.contains('=') || text.starts_with('@') || is_kind(kind(text)) {
        return text.to_owned();
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{DEFAULT_HOST}:{text}");
    }
    if text.starts_with('[') {
        let complete = !text.ends_with(']') && !text.ends_with("]:");
        let colon = if text.ends_with(':') { "" } else { ":" };
        return if complete { text.to_owned() } else { format!("{text}{colon}{DEFAULT_PORT}") };
    }
    match text.split_once(':') {
        None if text.is_empty() => Proxy::default().text,
        None => format!("{text}:{DEFAULT_PORT}"),
        // An IPv6 address without brackets, which the grammar refuses in its own words.
        Some((_, rest)) if rest.contains(':') => text.to_owned(),
        Some(("", "")) => Proxy::default().text,
        Some(("", port)) => format!("{DEFAULT_HOST}:{port}"),
        Some((host, "")) => format!("{host}:{DEFAULT_PORT}"),
        Some(_) => text.to_owned(),
    }
}

fn kind(text: &str) -> &str {
    text.split_once(':').map_or(text, |(kind, _)| kind)
}
