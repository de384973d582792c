//! The port of a server: a fresh one, or the question who has it already.

use crate::dev::DevError;
use crate::dev::address::Backend;
use crate::net;
use crate::process::holder::{self, Outcome, Search};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// So long a port is tried: one of this host answers at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// From one look at a port that is taken to the next.
const LOOK: Duration = Duration::from_millis(20);
/// So long a port may be taken after a server of ours has gone: what has listened there for it, as Docker does for a container,
/// ends a moment later.
pub(in crate::dev) const LINGERS: Duration = Duration::from_secs(2);

/// All addresses that a server may have, for this port.
///
/// # Errors
/// Those of getaddrinfo(3).
pub(in crate::dev) fn addresses(backend: &Backend, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((backend.host.as_str(), port).to_socket_addrs()?.collect())
}

/// A port that nobody has at the moment.
///
/// # Errors
/// None is to be had, or the host has no address of ours.
pub(in crate::dev) fn fresh(backend: &Backend) -> Result<u16, DevError> {
    let take = || {
        let places = addresses(backend, 0)?;
        let listener = TcpListener::bind(places.as_slice())?;
        listener.local_addr().map(|address| address.port())
    };
    take().map_err(|source| DevError::NoPort { backend: backend.clone(), source })
}

/// Fails if somebody listens there, and goes on doing so for this time. Blocks meanwhile, and for a moment at least; no longer than
/// that once what `awaits` it is gone.
///
/// # Errors
/// Who has it.
pub(in crate::dev) fn check(
    backend: &Backend,
    port: u16,
    patience: Duration,
    awaits: &Weak<()>,
) -> Result<(), DevError> {
    let deadline = Instant::now() + patience;
    while let Some(address) = taken(backend, port) {
        if Instant::now() >= deadline || awaits.strong_count() == 0 {
            return Err(DevError::PortTaken { backend: backend.clone(), holder: holder_of(address) });
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Where somebody listens.
fn taken(backend: &Backend, port: u16) -> Option<SocketAddr> {
    let answers = |address: &SocketAddr| TcpStream::connect_timeout(address, PATIENCE).is_ok();
    addresses(backend, port).ok()?.into_iter().find(answers)
}

fn holder_of(address: SocketAddr) -> String {
    listening(address, holder::all()).map_or_else(|| "another process".into(), describe)
}

/// The first of these processes that listens at an address, be it as one of several.
pub(super) fn listening(address: SocketAddr, mut processes: impl Iterator<Item = Pid>) -> Option<Pid> {
    let inodes = net::listening::listening(address);
    let has = |pid: &Pid| matches!(Search::at(vec![*pid], inodes.clone()).go_on(|| false), Outcome::Found(_));
    if inodes.is_empty() { None } else { processes.find(has) }
}

/// The name and the number of a process.
pub(super) fn describe(pid: Pid) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("{} (pid {pid})", name.trim_end()),
        Err(_) => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, fresh};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn one_who_listens_is_named_and_a_fresh_port_is_free() {
        let backend = "127.0.0.1:0".parse().unwrap();
        let port = fresh(&backend).unwrap();
        let somebody = Arc::new(());
        let awaits = Arc::downgrade(&somebody);
        check(&backend, port, Duration::ZERO, &awaits).unwrap();
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(place).unwrap();
            let port = listener.local_addr().unwrap().port();
            let error = check(&place.parse().unwrap(), port, Duration::ZERO, &awaits).unwrap_err().to_string();
            assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        }
    }

    #[test]
    fn one_who_leaves_in_time_is_waited_for() {
        let backend = "127.0.0.1:0".parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::scope(|scope| {
            // It leaves when it has been seen once.
            scope.spawn(move || drop((listener.accept().unwrap(), listener)));
            let somebody = Arc::new(());
            check(&backend, port, Duration::from_secs(60), &Arc::downgrade(&somebody)).unwrap();
        });
    }

    #[test]
    fn a_check_that_nobody_awaits_any_more_ends() {
        let backend = "127.0.0.1:0".parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let somebody = Arc::new(());
        let awaits = Arc::downgrade(&somebody);
        std::thread::scope(|scope| {
            let listener = &listener;
            scope.spawn(move || drop((listener.accept().unwrap(), somebody)));
            // It would find out in years, and the listener stays.
            assert!(check(&backend, port, Duration::from_secs(1 << 30), &awaits).is_err());
        });
    }
}
