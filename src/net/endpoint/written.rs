//! The canonical text of an endpoint, which parses back to an equal value.

use std::fmt;
use std::net::Ipv6Addr;

use super::lexer::quote;
use super::{
    Adopt, ClientTls, Connect, Domain, HostPort, Interface, Listen, Peer, ServerFiles, Tcp, TlsListen, Udp, Unix,
    UnixAddress, Which,
};
use crate::time::Time;

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(tcp) => tcp.fmt(f),
            Listen::Tls(tls) => {
                let TlsListen { tcp: Tcp { interface, port, backlog }, files } = &**tls;
                write!(f, "ssl:{port}")?;
                interface.write_argument(f)?;
                files.write_arguments(f)?;
                argument(f, "backlog", backlog.as_ref())
            }
            Listen::Udp(Udp { interface, port }) => {
                write!(f, "udp:{port}")?;
                interface.write_argument(f)
            }
            Listen::Unix(Unix { address, mode, backlog }) => {
                address.fmt(f)?;
                if let Some(mode) = mode {
                    write!(f, ":mode={mode:o}")?;
                }
                argument(f, "backlog", backlog.as_ref())
            }
            Listen::Adopt(Adopt::Descriptor(number)) => write!(f, "fd:{number}"),
            Listen::Adopt(Adopt::Systemd { domain, which: Which::Index(index) }) => {
                write!(f, "systemd:domain={domain}:index={index}")
            }
            Listen::Adopt(Adopt::Systemd { domain, which: Which::Name(name) }) => {
                write!(f, "systemd:domain={domain}:name={}", quote(name))
            }
            Listen::Proxied(inner) => write!(f, "haproxy:{inner}"),
        }
    }
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, &self.tls) {
            (Peer::Tcp(place), None) => place.write(f, "tcp")?,
            (Peer::Tcp(place), Some(tls)) => {
                place.write(f, "tls")?;
                argument(f, "hostname", tls.hostname.as_ref())?;
            }
            (Peer::Unix(address), None) => address.fmt(f)?,
            (Peer::Unix(address), Some(tls)) => {
                let name = tls.hostname.as_deref().unwrap_or_default();
                write!(f, "tls:{}:endpoint={}", quote(name), quote(&address.to_string()))?;
            }
        }
        if let Some(tls) = &self.tls {
            tls.write_arguments(f)?;
        }
        argument(f, "proxy", self.proxy.as_ref())?;
        argument(f, "timeout", self.timeout.map(Time::of).as_ref())?;
        argument(f, "idleTimeout", self.idle_timeout.as_ref())?;
        argument(f, "halfClosedTimeout", self.half_closed_timeout.as_ref())
    }
}

/// A keyword argument, where it is given.
fn argument(f: &mut fmt::Formatter<'_>, word: &str, value: Option<&impl fmt::Display>) -> fmt::Result {
    match value {
        Some(value) => write!(f, ":{word}={}", quote(&value.to_string())),
        None => Ok(()),
    }
}

fn alpn_argument(f: &mut fmt::Formatter<'_>, protocols: &[String]) -> fmt::Result {
    argument(f, "alpn", (!protocols.is_empty()).then(|| protocols.join(",")).as_ref())
}

impl fmt::Display for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.interface {
            Interface::V6 { address: Ipv6Addr::UNSPECIFIED, zone: None } => write!(f, "tcp6:{port}")?,
            Interface::V6 { .. } => {
                write!(f, "tcp6:{port}")?;
                self.interface.write_argument(f)?;
            }
            Interface::All | Interface::Name(_) | Interface::V4(_) => {
                write!(f, "tcp:{port}")?;
                self.interface.write_argument(f)?;
            }
        }
        argument(f, "backlog", self.backlog.as_ref())
    }
}

impl Interface {
    fn write_argument(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        argument(f, "interface", self.host().as_ref())
    }
}

impl ServerFiles {
    fn write_arguments(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        argument(f, "privateKey", Some(&self.private_key))?;
        argument(f, "certKey", self.cert_key.as_ref())?;
        argument(f, "extraCertChain", self.extra_cert_chain.as_ref())?;
        argument(f, "clientCAs", self.client_cas.as_ref())?;
        alpn_argument(f, &self.alpn)
    }
}

impl HostPort {
    fn write(&self, f: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        write!(f, "{kind}:{}:{}", quote(&self.host.to_string()), self.port)?;
        argument(f, "bindAddress", self.bind_address.as_ref())?;
        argument(f, "prefer", self.prefer.as_ref())
    }
}

impl ClientTls {
    fn write_arguments(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        argument(f, "trustRoots", self.ca_certs_dir.as_ref())?;
        argument(f, "certificate", self.cert_key.as_ref())?;
        argument(f, "privateKey", self.private_key.as_ref())?;
        alpn_argument(f, &self.alpn)
    }
}

/// As an endpoint: `unix:PATH` or `unix:@NAME`.
impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixAddress::Path(path) => write!(f, "unix:{}", quote(path)),
            UnixAddress::Abstract(name) => write!(f, "unix:@{}", quote(name)),
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
