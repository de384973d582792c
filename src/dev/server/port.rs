//! The port of a server: a fresh one, or the question who has it already.

use crate::dev::DevError;
use crate::dev::address::Backend;
use crate::process::holder::{self, Outcome, Search};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// So long a port is tried: one of this host answers at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// The state of a listening socket in /proc/net/tcp; see proc_pid_net(5).
const LISTENS: &str = "0A";

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

/// Fails if somebody listens there. Blocks for a moment.
///
/// # Errors
/// Who has it.
pub(in crate::dev) fn check(backend: &Backend, port: u16) -> Result<(), DevError> {
    let taken = |address: &SocketAddr| TcpStream::connect_timeout(address, PATIENCE).is_ok();
    match addresses(backend, port).ok().and_then(|all| all.into_iter().find(taken)) {
        None => Ok(()),
        Some(address) => Err(DevError::PortTaken { backend: backend.clone(), holder: holder_of(address) }),
    }
}

fn holder_of(address: SocketAddr) -> String {
    listening(address, holder::all()).map_or_else(|| "another process".into(), describe)
}

/// The first of these processes that listens at an address, be it as one of several.
pub(super) fn listening(address: SocketAddr, mut processes: impl Iterator<Item = Pid>) -> Option<Pid> {
    let inodes = listeners(address);
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

fn listeners(address: SocketAddr) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(|line| listener(line, address))).collect()
}

/// The inode of the socket on this line of the table, if it listens at the address.
fn listener(line: &str, address: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (host, port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let everywhere = host.bytes().all(|digit| digit == b'0');
    let there = u16::from_str_radix(port, 16).ok()? == address.port() && (everywhere || is_written(address.ip(), host));
    (there && state == LISTENS).then_some(inode)
}

/// Whether the table means this address. It prints the words of an address as this machine has them in memory.
fn is_written(address: IpAddr, text: &str) -> bool {
    let words = |octets: &[u8]| -> String {
        let words = octets.chunks_exact(4).map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
        words.map(|word| format!("{word:08X}")).collect()
    };
    match address {
        IpAddr::V4(v4) => text == words(&v4.octets()) || text == words(&v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => text == words(&v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, fresh, listener};
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_found_in_the_table() {
        let first = u32::from_ne_bytes([127, 0, 0, 1]);
        let line = format!(
            "   1: {first:08X}:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1"
        );
        let at = |line: &str, address: &str| listener(line, address.parse().unwrap());
        assert_eq!(at(&line, "127.0.0.1:8001"), Some(31337));
        assert_eq!(at(&line, "127.0.0.1:8002"), None);
        assert_eq!(at(&line, "127.0.0.2:8001"), None);
        assert_eq!(at(&line.replace(" 0A ", " 01 "), "127.0.0.1:8001"), None, "it is connected");
        let everywhere = line.replace(&format!("{first:08X}"), &"0".repeat(32));
        assert_eq!(at(&everywhere, "127.0.0.1:8001"), Some(31337));
        assert_eq!(at(&everywhere, "[::1]:8001"), Some(31337));
        assert_eq!(at("  sl  local_address rem_address   st", "[::1]:8001"), None);
    }

    #[test]
    fn one_who_listens_is_named_and_a_fresh_port_is_free() {
        let backend = "127.0.0.1:0".parse().unwrap();
        let port = fresh(&backend).unwrap();
        check(&backend, port).unwrap();
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(place).unwrap();
            let error = check(&place.parse().unwrap(), listener.local_addr().unwrap().port()).unwrap_err().to_string();
            assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        }
    }
}
