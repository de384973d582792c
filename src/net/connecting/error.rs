//! Why there is no connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use crate::net::endpoint::{Connect, Family};
use crate::net::listener::Address;
use crate::net::resolve::LookupError;
use crate::time::Time;

/// Why a destination cannot be connected to.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Its host has no addresses, or nobody could say which.
    #[error("cannot look up the host of {destination}")]
    Lookup {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// What the resolver says.
        source: LookupError,
    },
    /// Its host exists, and has no address that we could connect to.
    #[error("cannot connect to {destination}: its host has no address{}", of_family(*family))]
    NoAddress {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// The family that was asked for, by the address to connect from.
        family: Option<Family>,
    },
    /// The zone of a link-local address is no network interface of this host.
    #[error("cannot find the network interface of {destination}")]
    Zone {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// The kernel's reason.
        source: io::Error,
    },
    /// All of its addresses failed.
    #[error("cannot connect to {destination}{}", At(address, destination))]
    Failed {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// The last address that failed.
        address: Address,
        /// How it failed.
        source: io::Error,
    },
    /// It took too long.
    #[error("cannot connect to {destination}: {stage} within {}", Time::of(*limit))]
    TimedOut {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// How long it was given.
        limit: Duration,
        /// What it was waited for.
        stage: Stage,
    },
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The addresses of the host.
    Lookup,
    /// An answer from any of them.
    Answer,
}

/// In one word, what is wrong with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its name leads to no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// There is no way to it.
    Unreachable,
    /// It does not answer.
    TimedOut,
    /// Something else, most likely on our side.
    Other,
}

impl ConnectError {
    /// In one word.
    pub fn reason(&self) -> Reason {
        match self {
            ConnectError::Lookup { .. } | ConnectError::NoAddress { .. } => Reason::Unresolved,
            ConnectError::Zone { .. } => Reason::Unreachable,
            ConnectError::Failed { source, .. } => Reason::of(source),
            ConnectError::TimedOut { stage: Stage::Lookup, .. } => Reason::Unresolved,
            ConnectError::TimedOut { stage: Stage::Answer, .. } => Reason::TimedOut,
        }
    }
}

impl Reason {
    /// What an error of connect(2) means.
    fn of(error: &io::Error) -> Reason {
        match error.raw_os_error().map(Errno::from_raw) {
            // Where there is no file, nobody listens either.
            Some(Errno::ECONNREFUSED | Errno::ENOENT) => Reason::Refused,
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN) => Reason::Unreachable,
            Some(Errno::ETIMEDOUT) => Reason::TimedOut,
            _ => Reason::Other,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Lookup => "its host was not looked up",
            Stage::Answer => "no answer",
        })
    }
}

/// The address, where the destination does not name it itself.
struct At<'a>(&'a Address, &'a Connect);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::net::endpoint::{Host, Peer};
        match (&self.1.place, self.0) {
            (Peer::Tcp(place), Address::Internet(address)) if matches!(place.host, Host::Name(_)) => {
                write!(f, " at {}", address.ip())
            }
            _ => Ok(()),
        }
    }
}

fn of_family(family: Option<Family>) -> String {
    family.map_or_else(String::new, |family| format!(" of the family of its bind address, IPv{family}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_have_a_reason() {
        for (errno, reason) in [
            (Errno::ECONNREFUSED, Reason::Refused),
            (Errno::ENOENT, Reason::Refused),
            (Errno::ENETUNREACH, Reason::Unreachable),
            (Errno::EHOSTUNREACH, Reason::Unreachable),
            (Errno::ETIMEDOUT, Reason::TimedOut),
            (Errno::EADDRNOTAVAIL, Reason::Other),
            (Errno::EACCES, Reason::Other),
        ] {
            assert_eq!(Reason::of(&errno.into()), reason, "{errno}");
        }
    }

    #[test]
    fn errors_name_the_destination_and_where_it_was_looked_for() {
        let to = |text: &str| Arc::new(text.parse::<Connect>().expect("an endpoint"));
        let refused = |text: &str, address| {
            let source = Errno::ECONNREFUSED.into();
            crate::chain(&ConnectError::Failed { destination: to(text), address, source })
        };
        let address = || Address::Internet(([10, 0, 0, 1], 80).into());
        let reason = "Connection refused (os error 111)";
        assert_eq!(refused("db:80", address()), format!("cannot connect to tcp:db:80 at 10.0.0.1: {reason}"));
        assert_eq!(refused("10.0.0.1:80", address()), format!("cannot connect to tcp:10.0.0.1:80: {reason}"));
        assert_eq!(refused("unix:/x", Address::Path("/x".into())), format!("cannot connect to unix:/x: {reason}"));
        let late = |stage| ConnectError::TimedOut { destination: to("db:80"), limit: Duration::from_secs(30), stage };
        assert_eq!(late(Stage::Answer).to_string(), "cannot connect to tcp:db:80: no answer within 30s");
        assert_eq!(
            late(Stage::Lookup).to_string(),
            "cannot connect to tcp:db:80: its host was not looked up within 30s"
        );
        let none = |family| ConnectError::NoAddress { destination: to("db:80"), family }.to_string();
        assert_eq!(none(None), "cannot connect to tcp:db:80: its host has no address");
        assert_eq!(
            none(Some(Family::V6)),
            "cannot connect to tcp:db:80: its host has no address of the family of its bind address, IPv6"
        );
        let source = LookupError::from(io::Error::other("no such name"));
        let lookup = ConnectError::Lookup { destination: to("db:80"), source };
        assert_eq!(crate::chain(&lookup), "cannot look up the host of tcp:db:80: no such name");
    }
}
