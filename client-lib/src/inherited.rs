//! What the environment claims that this process inherited, and whether that is true.
//!
//! Reading the claims is pure; only a descriptor that was checked is owned, so that a wrong number in a variable can
//! neither close nor change what belongs to somebody else.

use crate::environment::{
    FIRST_LISTEN_FD, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, NOTIFY_SOCKET, SOCKET_PROTECTOR_CHANNEL,
    SOCKET_PROTECTOR_GENERATION, SOCKET_PROTECTOR_LISTENERS, SOCKET_PROTECTOR_NAME,
};
use crate::error::Error;
use crate::sys;
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::str::FromStr;

/// More descriptors than this are a mistake in the variable, not a daemon's need.
const MAX_PASSED: RawFd = 2048;

/// Everything that a child is given.
#[derive(Debug)]
pub struct Inherited {
    /// The child's end of the channel; none without a supervisor.
    pub channel: Option<OwnedFd>,
    /// The listening sockets and those for datagrams; none where connections are passed.
    pub listeners: Vec<OwnedFd>,
    /// Their names.
    pub listener_names: Vec<String>,
    /// What earlier generations stored, of any kind, with its names.
    pub stored: Vec<(String, OwnedFd)>,
    /// The generation's number.
    pub generation: u64,
    /// The instance's name.
    pub name: String,
    /// The socket for sd_notify(3).
    pub notify: Option<PathBuf>,
}

/// What the variables say, before a descriptor was looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    channel: RawFd,
    listener_names: Vec<String>,
    stored_names: Vec<String>,
    generation: u64,
    name: String,
    notify: Option<PathBuf>,
}

impl Claims {
    /// Reads the variables of process `own`; none are claims only if the channel is not among them.
    pub(crate) fn read(variable: impl Fn(&'static str) -> Option<OsString>, own: u32) -> Result<Option<Claims>, Error> {
        let Some(channel) = variable(SOCKET_PROTECTOR_CHANNEL) else {
            return Ok(None);
        };
        let channel: RawFd = number(SOCKET_PROTECTOR_CHANNEL, &channel, 0, RawFd::MAX)?;
        let required = |name| variable(name).ok_or(Error::Missing { variable: name });
        let generation = number(SOCKET_PROTECTOR_GENERATION, &required(SOCKET_PROTECTOR_GENERATION)?, 0, u64::MAX)?;
        let name = text(SOCKET_PROTECTOR_NAME, required(SOCKET_PROTECTOR_NAME)?)?;
        let mut listener_names = match variable(LISTEN_FDS) {
            None => Vec::new(),
            Some(count) => {
                let meant = number(LISTEN_PID, &required(LISTEN_PID)?, 1, u32::MAX)?;
                if meant != own {
                    return Err(Error::OtherProcess { meant, own });
                }
                let count = number(LISTEN_FDS, &count, 1, MAX_PASSED)?;
                listener_names(count as usize, variable(LISTEN_FDNAMES))?
            }
        };
        let stored_names = match variable(SOCKET_PROTECTOR_LISTENERS) {
            // A supervisor that does not say how many are listeners stores nothing.
            None => Vec::new(),
            Some(count) => {
                listener_names.split_off(number(SOCKET_PROTECTOR_LISTENERS, &count, 0, listener_names.len())?)
            }
        };
        let notify = variable(NOTIFY_SOCKET).map(PathBuf::from);
        let claims = Claims { channel, listener_names, stored_names, generation, name, notify };
        if claims.listeners().chain(claims.stored()).any(|passed| passed == channel) {
            return Err(Error::Variable {
                variable: SOCKET_PROTECTOR_CHANNEL,
                value: channel.to_string().into(),
                expected: "outside of the passed descriptors",
            });
        }
        Ok(Some(claims))
    }

    fn listeners(&self) -> impl Iterator<Item = RawFd> + use<> {
        (FIRST_LISTEN_FD..).take(self.listener_names.len())
    }

    fn stored(&self) -> impl Iterator<Item = RawFd> + use<> {
        (FIRST_LISTEN_FD..).skip(self.listener_names.len()).take(self.stored_names.len())
    }

    /// Checks every descriptor, then owns all of them; on an error none.
    pub(crate) fn take(self) -> Result<Inherited, Error> {
        let channel = "a unix socket that keeps record boundaries (the channel)";
        checked(self.channel, channel, check_channel)?;
        for listener in self.listeners() {
            checked(listener, "a listening stream socket or one for datagrams", check_passed)?;
        }
        for stored in self.stored() {
            checked(stored, "open, though a stored one of this number is announced", |_| Ok(()))?;
        }
        let stored = self.stored().map(sys::own_inherited);
        Ok(Inherited {
            channel: Some(sys::own_inherited(self.channel)),
            listeners: self.listeners().map(sys::own_inherited).collect(),
            listener_names: self.listener_names,
            stored: self.stored_names.into_iter().zip(stored).collect(),
            generation: self.generation,
            name: self.name,
            notify: self.notify,
        })
    }
}

/// An error unless this is a listening stream socket.
pub(crate) fn check_listener(socket: BorrowedFd<'_>) -> io::Result<()> {
    if getsockopt(&socket, sockopt::SockType)? != SockType::Stream {
        return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
    }
    if !getsockopt(&socket, sockopt::AcceptConn)? {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Ok(())
}

/// An error unless clients can come in by this: one at a time, or in datagrams.
fn check_passed(socket: BorrowedFd<'_>) -> io::Result<()> {
    if is_for_datagrams(socket) { Ok(()) } else { check_listener(socket) }
}

/// Whether this has nothing to accept, because its clients' datagrams come to itself.
pub(crate) fn is_for_datagrams(socket: BorrowedFd<'_>) -> bool {
    getsockopt(&socket, sockopt::SockType).is_ok_and(|kind| kind == SockType::Datagram)
}

fn check_channel(socket: BorrowedFd<'_>) -> io::Result<()> {
    if getsockopt(&socket, sockopt::SockType)? != SockType::SeqPacket {
        return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
    }
    // The name is of no interest: it can be read as a unix one only on a unix socket.
    getsockname::<UnixAddr>(socket.as_raw_fd())?;
    Ok(())
}

fn checked(
    descriptor: RawFd,
    expected: &'static str,
    check: fn(BorrowedFd<'_>) -> io::Result<()>,
) -> Result<(), Error> {
    sys::with_inherited(descriptor, check).map_err(|source| Error::Inherited { descriptor, expected, source })
}

fn listener_names(count: usize, names: Option<OsString>) -> Result<Vec<String>, Error> {
    // "unknown" is what systemd's convention says of a socket that nobody named.
    let Some(value) = names else {
        return Ok(vec!["unknown".to_owned(); count]);
    };
    let names: Vec<String> = text(LISTEN_FDNAMES, value.clone())?.split(':').map(str::to_owned).collect();
    if names.len() != count {
        let expected = "one name for each of LISTEN_FDS";
        return Err(Error::Variable { variable: LISTEN_FDNAMES, value, expected });
    }
    Ok(names)
}

fn number<N: FromStr + PartialOrd>(variable: &'static str, value: &OsStr, least: N, most: N) -> Result<N, Error> {
    // FromStr also takes a sign, which no supervisor writes.
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(number) if number >= least && number <= most => Ok(number),
        Some(_) | None => Err(Error::Variable { variable, value: value.to_owned(), expected: "a number in range" }),
    }
}

fn text(variable: &'static str, value: OsString) -> Result<String, Error> {
    value.into_string().map_err(|value| Error::Variable { variable, value, expected: "text in UTF-8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables = &'static [(&'static str, &'static str)];

    const CONNECTIONS: Variables =
        &[("SOCKET_PROTECTOR_CHANNEL", "9"), ("SOCKET_PROTECTOR_GENERATION", "3"), ("SOCKET_PROTECTOR_NAME", "4321")];

    fn read(base: Variables, more: Variables) -> Result<Option<Claims>, Error> {
        let all = [base, more].concat();
        Claims::read(|name| all.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.into()), 77)
    }

    #[test]
    fn outside_a_supervisor_there_are_no_claims() {
        assert_eq!(read(&[], &[]).unwrap(), None);
        let of_somebody_else: Variables = &[("LISTEN_FDS", "1"), ("LISTEN_PID", "77")];
        assert_eq!(read(of_somebody_else, &[]).unwrap(), None);
    }

    #[test]
    fn both_ways_of_passing_are_read() {
        let claims = read(CONNECTIONS, &[]).unwrap().unwrap();
        let names = Vec::new();
        let stored_names = Vec::new();
        let name = "4321".to_owned();
        let expected = Claims { channel: 9, listener_names: names, stored_names, generation: 3, name, notify: None };
        assert_eq!(claims, expected);
        let listeners: Variables = &[("LISTEN_FDS", "2"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "web:admin")];
        let claims = read(CONNECTIONS, listeners).unwrap().unwrap();
        assert_eq!(claims.listener_names, ["web", "admin"]);
        assert_eq!(claims.listeners().collect::<Vec<_>>(), [3, 4]);
        let claims = read(CONNECTIONS, &listeners[..2]).unwrap().unwrap();
        assert_eq!(claims.listener_names, ["unknown", "unknown"]);
    }

    #[test]
    fn what_is_stored_follows_the_listeners() {
        let passed: Variables = &[("LISTEN_FDS", "3"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "web:state:log")];
        let with = |listeners| [passed, &[("SOCKET_PROTECTOR_LISTENERS", listeners)]].concat().leak() as Variables;
        let claims = read(CONNECTIONS, with("1")).unwrap().unwrap();
        assert_eq!((claims.listener_names.len(), claims.stored_names.len()), (1, 2));
        assert_eq!(claims.listeners().collect::<Vec<_>>(), [3]);
        assert_eq!(claims.stored().collect::<Vec<_>>(), [4, 5]);
        let claims = read(CONNECTIONS, with("0")).unwrap().unwrap();
        assert_eq!(claims.listeners().count(), 0);
        assert_eq!(claims.stored_names, ["web", "state", "log"]);
        let error = read(CONNECTIONS, with("4")).unwrap_err().to_string();
        assert_eq!(error, "environment variable SOCKET_PROTECTOR_LISTENERS is \"4\", which is not a number in range");
        assert!(read(CONNECTIONS, &[("SOCKET_PROTECTOR_LISTENERS", "0")]).is_ok());
    }

    #[test]
    fn a_bad_environment_is_named() {
        let cases: &[(Variables, &str)] = &[
            (
                &[("SOCKET_PROTECTOR_CHANNEL", "x")],
                "environment variable SOCKET_PROTECTOR_CHANNEL is \"x\", which is not a number in range",
            ),
            (
                &[("SOCKET_PROTECTOR_CHANNEL", "-1")],
                "environment variable SOCKET_PROTECTOR_CHANNEL is \"-1\", which is not a number in range",
            ),
            (
                &[("SOCKET_PROTECTOR_CHANNEL", "")],
                "environment variable SOCKET_PROTECTOR_CHANNEL is \"\", which is not a number in range",
            ),
            (
                &[("SOCKET_PROTECTOR_GENERATION", "99999999999999999999")],
                "environment variable SOCKET_PROTECTOR_GENERATION is \"99999999999999999999\", which is not a number in \
                 range",
            ),
            (&[("LISTEN_FDS", "1")], "environment variable LISTEN_PID is missing"),
            (
                &[("LISTEN_FDS", "1"), ("LISTEN_PID", "78")],
                "the listening sockets are meant for process 78 and not for this one, 77; a wrapper has to exec",
            ),
            (
                &[("LISTEN_FDS", "3000"), ("LISTEN_PID", "77")],
                "environment variable LISTEN_FDS is \"3000\", which is not a number in range",
            ),
            (
                &[("LISTEN_FDS", "2"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "web")],
                "environment variable LISTEN_FDNAMES is \"web\", which is not one name for each of LISTEN_FDS",
            ),
            (
                &[("LISTEN_FDS", "7"), ("LISTEN_PID", "77")],
                "environment variable SOCKET_PROTECTOR_CHANNEL is \"9\", which is not outside of the passed descriptors",
            ),
        ];
        for (variables, message) in cases {
            assert_eq!(read(CONNECTIONS, variables).unwrap_err().to_string(), *message);
        }
        let message = read(&CONNECTIONS[..2], &[]).unwrap_err().to_string();
        assert_eq!(message, "environment variable SOCKET_PROTECTOR_NAME is missing");
    }
}
