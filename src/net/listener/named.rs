//! Listening at a name by those who must not wait for its address: they look it up elsewhere, and come back with it.

use std::io;
use std::net::SocketAddr;

use super::{Bound, ListenError, Refusal, Traffic, bound, choose, open_one};
use crate::net::endpoint::{Interface, Listen, Tcp};
use crate::net::resolve::Answer;

/// The host whose address is looked up when connections are to be listened for; `None`: no name is in it.
pub fn host_to_look_up(listen: &Listen) -> Option<&str> {
    match tcp_of(listen) {
        Some(Tcp { interface: Interface::Name(name), .. }) => Some(name),
        Some(Tcp { interface: Interface::All | Interface::V4(_) | Interface::V6 { .. }, .. }) | None => None,
    }
}

/// Binds as [`super::bind`], at what was found for its host.
///
/// # Errors
/// Those of [`super::bind`]; `Unsupported` where no host was to be looked up.
pub fn bind_at(listen: &Listen, found: Answer, default_backlog: u32) -> Result<Bound, ListenError> {
    let Some(Tcp { port, backlog, .. }) = tcp_of(listen) else {
        return Err(Refusal::Kernel(io::ErrorKind::Unsupported.into()).about(listen));
    };
    let backlog = backlog.unwrap_or(default_backlog);
    let address = found.map_err(|error| Refusal::Lookup(io::Error::other(error))).and_then(|found| choose(&found));
    let opened = address.and_then(|mut address: SocketAddr| {
        address.set_port(*port);
        Ok(open_one(address, Some(backlog))?)
    });
    bound(listen, opened, Traffic::Connections, backlog)
}

fn tcp_of(listen: &Listen) -> Option<&Tcp> {
    match listen.socket() {
        Listen::Tcp(tcp) => Some(tcp),
        Listen::Tls(tls) => Some(&tls.tcp),
        Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) | Listen::Proxied(_) => None,
    }
}
