//! The listeners of the command line: what was inherited is taken, the rest is bound, and each gets its name.

use super::super::Failure;
use super::{Options, PassOption};
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Adopt, Listen, Tcp, Udp, Unix, Which};
use crate::net::listener::{self, Address, Bound, ListenError};
use crate::process::instance_name::InstanceName;

/// Takes the sockets that we were started with. First of all: LISTEN_PID names the process that was started, and what
/// is not taken is a stray.
pub(super) fn take(options: &Options) -> Result<Inherited, Failure> {
    let endpoints = || options.listen.iter().map(|named| &named.listen);
    let inherited = Inherited::take(endpoints()).map_err(|error| failure(&error))?;
    let only_connections = options.pass != PassOption::Listener;
    if options.ready.1.is_some() && endpoints().all(|endpoint| is_for_datagrams(endpoint, &inherited)) {
        let text = "--ready tcp and http:PATH need a listener that takes connections, and there is none";
        let hint = "--ready notify waits for the child's word, --ready alive:TIME for a time";
        return Err(Failure::usage(text).hint(hint));
    }
    match endpoints().find(|endpoint| only_connections && is_for_datagrams(endpoint, &inherited)) {
        Some(endpoint) => {
            let text = format!("{endpoint} receives datagrams, which are no connections; it needs --pass listener");
            Err(Failure::usage(text))
        }
        None => Ok(inherited),
    }
}

fn is_for_datagrams(endpoint: &Listen, inherited: &Inherited) -> bool {
    match endpoint {
        Listen::Tcp(_) | Listen::Tls(_) | Listen::Unix(_) | Listen::Proxied(_) => false,
        Listen::Udp(_) => true,
        Listen::Adopt(adopt) => inherited.is_for_datagrams(adopt),
    }
}

/// Binds what was not inherited.
pub(super) fn bind(options: &Options, mut inherited: Inherited) -> Result<Vec<(String, Bound)>, Failure> {
    let mut listeners = Vec::with_capacity(options.listen.len());
    for named in &options.listen {
        let bound = listener::bind(&named.listen, &mut inherited, options.backlog).map_err(|error| failure(&error))?;
        let name = named.name.clone().unwrap_or_else(|| default_name(&bound));
        listeners.push((name, bound));
    }
    Ok(listeners)
}

/// What an outer manager called a socket that we found by that name; else what its address is called by.
fn default_name(bound: &Bound) -> String {
    match &bound.endpoint {
        Listen::Adopt(Adopt::Systemd { which: Which::Name(name), .. }) => listener::name_from(name),
        Listen::Adopt(_) | Listen::Tcp(_) | Listen::Tls(_) | Listen::Udp(_) | Listen::Unix(_) | Listen::Proxied(_) => {
            bound.address.default_name()
        }
    }
}

/// The name of the instance before anything is bound, when none is given; for port 0, which is not known yet, one as
/// long as it can become.
pub(super) fn longest_instance_name(options: &Options, inherited: &Inherited) -> Result<InstanceName, Failure> {
    let first = options.listen.first().map(|named| &named.listen);
    instance_name(&match first {
        Some(Listen::Tcp(Tcp { port, .. }) | Listen::Udp(Udp { port, .. })) if *port > 0 => port.to_string(),
        Some(Listen::Unix(Unix { address, .. })) => Address::from(address).default_name(),
        Some(Listen::Adopt(adopt)) => inherited.address(adopt).map_or_else(String::new, Address::default_name),
        Some(Listen::Tcp(_) | Listen::Tls(_) | Listen::Udp(_) | Listen::Proxied(_)) | None => u16::MAX.to_string(),
    })
}

/// The name of the instance, once the listeners are bound.
pub(super) fn instance_name_of(listeners: &[(String, Bound)]) -> Result<InstanceName, Failure> {
    instance_name(&listeners.first().map_or_else(String::new, |(_, bound)| bound.address.default_name()))
}

fn instance_name(text: &str) -> Result<InstanceName, Failure> {
    text.parse().map_err(|error| Failure::failed(&error).code(2).hint("--name gives this instance a name"))
}

/// What the starting process prints when all went well: only what nobody can know without it.
pub(super) fn announcement(listeners: &[(String, Bound)]) -> String {
    let chosen = listeners.iter().filter(|(_, bound)| match &bound.endpoint {
        Listen::Tcp(Tcp { port, .. }) | Listen::Udp(Udp { port, .. }) => *port == 0,
        Listen::Tls(_) | Listen::Unix(_) | Listen::Adopt(_) | Listen::Proxied(_) => false,
    });
    chosen.map(|(_, bound)| format!("listening on {}\n", bound.address)).collect()
}

fn failure(error: &ListenError) -> Failure {
    let failure = Failure::failed(error);
    failure.hint_if(error.hint())
}
