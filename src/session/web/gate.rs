//! Who may ask: hosts, origins and kinds of content. Pure.
//!
//! A page of anybody's can make a browser send requests to us, with the cookies that it has of us, wherever we listen:
//! an address that only this machine reaches is no defence. So a request must be meant for us by its `Host`, which a
//! name that was made to point at us is not; it must come from a page of ours by its `Origin`; and a browser that
//! tells that it comes from elsewhere is believed.

use std::net::{Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// What a request says of itself, as far as it matters here. Of a header that is there twice both are told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heads<'a> {
    /// `Host`, and the host of an absolute target.
    pub hosts: &'a [&'a str],
    /// `Origin`.
    pub origins: &'a [&'a str],
    /// `Sec-Fetch-Site`.
    pub site: Option<&'a str>,
    /// Whether a page that the user follows a link to is asked for: `Sec-Fetch-Mode: navigate` for a whole document.
    pub navigates: bool,
    /// Whether our own page's script says that it asks: a header that a page of another origin cannot send without being
    /// allowed to, which nobody is.
    pub marked: bool,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// There is no `Host`, or more than one.
    NoHost,
    /// It is meant for somebody else.
    Host,
    /// It comes from a page of somebody else.
    Origin,
    /// Nothing shows where it comes from.
    NoOrigin,
    /// The browser says that it comes from elsewhere.
    Site,
    /// Any page could have sent it without being asked for permission.
    ContentType,
}

/// How a request shows that it may have a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By a header that no page of others can send.
    Header,
    /// By a cookie, which a browser sends along whoever asks.
    Cookie,
    /// It does not, or need not.
    None,
}

/// Where a listener can be reached by its own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From this machine alone, at this port.
    Loopback(u16),
    /// At any address of the host at this port.
    Addresses(u16),
    /// At this name and port.
    Named(String, u16),
    /// By no name of its own: through somebody in front.
    Nowhere,
}

/// What one listener lets through.
#[derive(Clone, Debug)]
pub struct Gate {
    reach: Reach,
    secure: bool,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Gate {
    /// For a listener, which speaks TLS or not, with what its user allows besides.
    pub fn new(reach: Reach, secure: bool, hosts: &[String], origins: &[String]) -> Gate {
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        Gate { reach, secure, hosts: lower(hosts), origins: lower(origins) }
    }

    /// Whether the request is meant for us, and does not say that it comes from elsewhere.
    ///
    /// # Errors
    /// It is not, or does.
    pub fn enter(&self, heads: &Heads<'_>) -> Result<(), Foreign> {
        let [first, rest @ ..] = heads.hosts else {
            return Err(Foreign::NoHost);
        };
        if rest.iter().any(|other| !other.eq_ignore_ascii_case(first)) {
            return Err(Foreign::NoHost);
        }
        if !self.is_ours(first) {
            return Err(Foreign::Host);
        }
        match heads.site {
            Some(site) if site.eq_ignore_ascii_case("cross-site") && !heads.navigates => Err(Foreign::Site),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether what asks is a page of ours, or no page. `safe`: it changes nothing, as GET.
    ///
    /// A browser does not say the origin of its own page's GET; it says then that the site is the same. One that is old, or
    /// has the page without TLS from another machine, does not say that either: there the page says it.
    ///
    /// # Errors
    /// It is a page of somebody else, or nobody can tell.
    pub fn admit(&self, heads: &Heads<'_>, safe: bool, proof: Proof) -> Result<(), Foreign> {
        match heads.origins {
            [] => {}
            [origin] if self.is_own_origin(origin, heads.hosts.first().copied().unwrap_or_default()) => return Ok(()),
            _ => return Err(Foreign::Origin),
        }
        let same = heads.site.map_or(heads.marked, |site| site.eq_ignore_ascii_case("same-origin"));
        match proof {
            Proof::Header | Proof::None => Ok(()),
            Proof::Cookie if safe && same => Ok(()),
            Proof::Cookie => Err(Foreign::NoOrigin),
        }
    }

    /// Whether the content is of a kind that no form and no script of another site can send unasked.
    ///
    /// # Errors
    /// It is not.
    pub fn content(&self, heads: &Heads<'_>) -> Result<(), Foreign> {
        const SIMPLE: [&str; 3] = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
        let kind = heads.content_type.map(essence).unwrap_or_default();
        if SIMPLE.iter().any(|simple| kind.eq_ignore_ascii_case(simple)) { Err(Foreign::ContentType) } else { Ok(()) }
    }

    /// Whether a page of this origin has its cookies for encrypted connections alone.
    pub fn is_secure(origin: &str) -> bool {
        origin.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }

    /// Whether clients speak TLS with us.
    pub fn speaks_tls(&self) -> bool {
        self.secure
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.is_own_name(&host) || self.is_allowed(&host)
    }

    fn is_allowed(&self, host: &str) -> bool {
        let (name, _) = split(host);
        self.hosts.iter().any(|allowed| allowed == host || (split(allowed).1.is_none() && allowed == name))
    }

    fn is_own_name(&self, host: &str) -> bool {
        let (name, port) = split(host);
        let port = match port {
            None => Some(if self.secure { 443 } else { 80 }),
            Some(port) => port.parse().ok(),
        };
        match &self.reach {
            Reach::Loopback(own) => port == Some(*own) && ["localhost", "127.0.0.1", "[::1]"].contains(&name),
            // Nobody can make an address point elsewhere.
            Reach::Addresses(own) => port == Some(*own) && (is_address(name) || name == "localhost"),
            Reach::Named(own_name, own) => {
                port == Some(*own) && (is_address(name) || own_name.eq_ignore_ascii_case(name))
            }
            Reach::Nowhere => false,
        }
    }

    /// An origin that was allowed, or that of a page that we have sent ourselves.
    fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let Some((scheme, named)) = origin.split_once("://") else {
            return false;
        };
        let own_scheme = if self.secure { "https" } else { "http" };
        // Whoever has an address may have a page at our port of his own; only on this machine all names are one place.
        let same = matches!(self.reach, Reach::Loopback(_)) || named == host.to_ascii_lowercase();
        let own = scheme == own_scheme && same && self.is_own_name(named);
        // What is in front of us may speak TLS where we do not.
        let through = ["http", "https"].contains(&scheme) && named == host.to_ascii_lowercase();
        own || (through && self.is_allowed(named))
    }
}

/// A type without its parameters.
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// A host's name and its port, if that is written.
fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

fn is_address(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}
