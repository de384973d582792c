//! The address of its own that a generation gets in the relay pass: a port of this host, or a unix socket. A fresh one
//! each time, so that two generations can serve beside each other.
//!
//! The command names it by `{port}` or `{socket}`; a command that names neither finds the port in `PORT`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

/// The variable with the port.
pub const PORT: &str = "PORT";

const PORT_WORD: &[u8] = b"{port}";
const SOCKET_WORD: &[u8] = b"{socket}";

/// How many ports below the range for outgoing connections are ours to choose from.
const CHOICE: u16 = 8192;
/// Ports below it belong to services.
const LEAST_PORT: u16 = 1024;
/// What Linux has for outgoing connections when nobody has set it otherwise; see ip(7).
const EPHEMERAL: Range<u16> = 32_768..61_000;

/// Where one generation listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of 127.0.0.1.
    Port(u16),
    /// The path of a unix socket.
    Socket(String),
}

/// Why a command cannot be told its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the command names both {{port}} and {{socket}}, but a child has one address")]
pub struct BothNamed;

/// Why a generation gets no address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The command wants two.
    #[error(transparent)]
    BothNamed(#[from] BothNamed),
    /// Every port that we looked at is in use.
    #[error("no port of 127.0.0.1 between {} and {} is free", .0.start, .0.end)]
    NoPort(Range<u16>),
    /// Where relayed connections go is said by an endpoint, which is text.
    #[error("the path for {{socket}} is not UTF-8: {}; {{port}} needs no path", .path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// What an earlier generation left at the socket's path is in the way.
    #[error("cannot remove {}", .path.display())]
    Leftover {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Keeps other instances on this host from choosing the same port, as long as it lives.
#[derive(Debug)]
pub struct Reservation {
    _name: UnixDatagram,
}

impl Reservation {
    /// By an abstract name, which the kernel gives away once in each network namespace, as it does with ports.
    fn of(port: u16) -> Option<Reservation> {
        let name = SocketAddr::from_abstract_name(format!("socket-protector-port-{port}")).ok()?;
        UnixDatagram::bind_addr(&name).ok().map(|name| Reservation { _name: name })
    }
}

/// Gives every generation an address that no other has.
#[derive(Debug)]
pub struct Addresses {
    /// Where unix sockets are made.
    directory: PathBuf,
    ports: Range<u16>,
    next: u16,
}

/// Whether the command asks for a unix socket.
///
/// # Errors
/// When it asks for a port, too.
pub fn wants_socket(command: &[OsString]) -> Result<bool, BothNamed> {
    let names = |word: &[u8]| command.iter().any(|argument| find(argument.as_bytes(), word).is_some());
    match (names(PORT_WORD), names(SOCKET_WORD)) {
        (true, true) => Err(BothNamed),
        (_, socket) => Ok(socket),
    }
}

impl Addresses {
    /// Unix sockets are made in this directory, which is the children's.
    pub fn new(directory: PathBuf) -> Self {
        let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let ports = choice(ephemeral.as_deref().unwrap_or_default());
        // Two instances that start together begin at different places.
        let next = ports.start + (std::process::id() % u32::from(ports.end - ports.start)) as u16;
        Addresses { directory, ports, next }
    }

    /// An address for the generation of this number, as its command wants it.
    ///
    /// The reservation keeps other instances from the port. It is one that the kernel gives to no outgoing connection and
    /// to nobody who leaves the choice to it; only a program that names it by its number could come in between.
    ///
    /// # Errors
    /// When there is none.
    pub fn fresh(&mut self, number: u64, command: &[OsString]) -> Result<(Address, Option<Reservation>), AddressError> {
        if !wants_socket(command)? {
            return self.fresh_port().map(|(port, reservation)| (Address::Port(port), reservation));
        }
        let path = self.socket_path(number);
        match (std::fs::remove_file(&path), path.to_str()) {
            (Err(source), _) if source.kind() != io::ErrorKind::NotFound => {
                Err(AddressError::Leftover { path, source })
            }
            (_, Some(text)) => Ok((Address::Socket(text.to_owned()), None)),
            (_, None) => Err(AddressError::NotText { path }),
        }
    }

    /// The path of the socket that the generation of this number would get.
    pub fn socket_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.sock"))
    }

    fn fresh_port(&mut self) -> Result<(u16, Option<Reservation>), AddressError> {
        // Anybody may take names. If somebody has taken them all, we do without.
        for reserves in [true, false] {
            for _ in self.ports.clone() {
                let port = self.next;
                self.next = if port + 1 < self.ports.end { port + 1 } else { self.ports.start };
                let reservation = Reservation::of(port);
                if reserves && reservation.is_none() {
                    continue;
                }
                // On all addresses: a child may bind them all.
                if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
                    return Ok((port, reservation));
                }
            }
        }
        Err(AddressError::NoPort(self.ports.clone()))
    }
}

/// The ports just below those for outgoing connections, or above them where there is no room below.
fn choice(ephemeral: &str) -> Range<u16> {
    let bounds = ephemeral.split_whitespace().map_while(|word| word.parse::<u16>().ok()).collect::<Vec<_>>();
    let (first, last) = match bounds[..] {
        [first, last] if first <= last => (first, last),
        _ => (EPHEMERAL.start, EPHEMERAL.end),
    };
    if first >= LEAST_PORT * 2 {
        return first.saturating_sub(CHOICE).max(LEAST_PORT)..first;
    }
    if u16::MAX - last >= LEAST_PORT {
        return last + 1..(last + 1).saturating_add(CHOICE);
    }
    first..last
}

impl Address {
    /// The command with the address in place of its name.
    pub fn fill(&self, command: &[OsString]) -> Vec<OsString> {
        let (word, value) = match self {
            Address::Port(port) => (PORT_WORD, port.to_string().into_bytes()),
            Address::Socket(path) => (SOCKET_WORD, path.clone().into_bytes()),
        };
        command.iter().map(|argument| replace(argument, word, &value)).collect()
    }

    /// The value of `PORT`, if there is a port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Port(port) => Some(*port),
            Address::Socket(_) => None,
        }
    }

    /// The path of the socket, if there is one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Address::Port(_) => None,
            Address::Socket(path) => Some(Path::new(path)),
        }
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part == word)
}

fn replace(argument: &OsStr, word: &[u8], value: &[u8]) -> OsString {
    let mut rest = argument.as_bytes();
    let mut filled = Vec::with_capacity(rest.len() + value.len());
    while let Some(at) = find(rest, word) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(value);
        rest = &rest[at + word.len()..];
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError, Addresses, BothNamed, Reservation, choice, wants_socket};
    use std::ffi::OsString;
    use std::net::{Ipv4Addr, TcpListener};

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_command_says_which_kind_it_wants() {
        assert_eq!(wants_socket(&command(&["a", "--port={port}"])), Ok(false));
        assert_eq!(wants_socket(&command(&["a", "unix:{socket}"])), Ok(true));
        assert_eq!(wants_socket(&command(&["a", "{ports}", "{ port}"])), Ok(false));
        assert_eq!(wants_socket(&command(&["a", "{port}", "{socket}"])), Err(BothNamed));
    }

    #[test]
    fn every_place_is_filled_and_nothing_else() {
        let words = command(&["{port}", "127.0.0.1:{port},[::1]:{port}", "{socket}", "${port", "{{port}}"]);
        let filled = command(&["81", "127.0.0.1:81,[::1]:81", "{socket}", "${port", "{81}"]);
        assert_eq!(Address::Port(81).fill(&words), filled);
        let filled = command(&["--bind=unix:/run/7.sock"]);
        assert_eq!(Address::Socket("/run/7.sock".into()).fill(&command(&["--bind=unix:{socket}"])), filled);
    }

    #[test]
    fn ports_come_from_where_the_kernel_takes_none_for_outgoing_connections() {
        assert_eq!(choice("32768\t60999\n"), 24_576..32_768);
        assert_eq!(choice("2048 65535"), 1024..2048);
        assert_eq!(choice("1024 60999"), 61_000..65_535);
        assert_eq!(choice("1024 65535"), 1024..65_535);
        assert_eq!(choice("nonsense"), 24_576..32_768);
        assert_eq!(choice("9 1"), 24_576..32_768);
    }

    #[test]
    fn a_port_in_use_is_passed_over_and_none_comes_twice_in_a_row() {
        let mut addresses = Addresses::new("/nowhere".into());
        let first = addresses.fresh(1, &command(&["a"])).unwrap().0.port().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        addresses.ports = port..port + 2;
        addresses.next = port;
        assert_ne!(addresses.fresh(2, &command(&["a"])).ok().map(|fresh| fresh.0), Some(Address::Port(port)));
        addresses.ports = port..port + 1;
        addresses.next = port;
        assert!(matches!(addresses.fresh(3, &command(&["a"])), Err(AddressError::NoPort(_))));
        addresses.ports = first..first + 100;
        addresses.next = first;
        let two = [4, 5].map(|number| addresses.fresh(number, &command(&["a"])).unwrap().0);
        assert_ne!(two[0], two[1]);
    }

    #[test]
    fn two_instances_do_not_choose_the_same_port_before_either_has_bound_it() {
        let mut addresses = [(), ()].map(|()| Addresses::new("/nowhere".into()));
        let mut fresh = |which: usize| addresses[which].fresh(1, &command(&["a"])).unwrap();
        let (one, reservation) = fresh(0);
        let (other, _other_reservation) = fresh(1);
        assert_ne!(one, other);
        drop(reservation);
        // Where others have taken the names, there are ports still.
        let held = Reservation::of(one.port().unwrap());
        assert!(held.is_some());
        addresses[0].ports = one.port().unwrap()..one.port().unwrap() + 1;
        addresses[0].next = one.port().unwrap();
        assert_eq!(addresses[0].fresh(2, &command(&["a"])).unwrap().0, one);
    }

    #[test]
    fn a_socket_that_was_left_over_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut addresses = Addresses::new(folder.path().to_owned());
        std::fs::write(addresses.socket_path(9), "").unwrap();
        let (address, _) = addresses.fresh(9, &command(&["{socket}"])).unwrap();
        assert_eq!(address.socket(), Some(&*folder.path().join("9.sock")));
        assert!(!folder.path().join("9.sock").exists());
        std::fs::create_dir(addresses.socket_path(10)).unwrap();
        assert!(matches!(addresses.fresh(10, &command(&["{socket}"])), Err(AddressError::Leftover { .. })));
    }
}
