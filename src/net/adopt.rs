//! Sockets that we were started with: by systemd's convention, or by the number of a descriptor.
//!
//! They are taken in the process that was started, first of all: LISTEN_PID names that process, and what is not taken is
//! a stray. A socket that is taken gets close-on-exec, which is our descriptor's own, and nothing else: its flags and
//! options are shared with whoever passed it. Its file is theirs too, and stays when we end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use socket_protector_client::environment::{FIRST_LISTEN_FD, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID};
use socket2::{SockRef, Type};
use thiserror::Error;

use super::endpoint::{Adopt, Domain, Listen, Which};
use super::listener::{Address, ListenError, Traffic};
use crate::sys;

/// What is wrong with what we were started with.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// There is no outer manager.
    #[error("no sockets were passed: {variable} is not set")]
    NothingPassed {
        /// The variable that is missing.
        variable: &'static str,
    },
    /// The outer manager's sockets are another's.
    #[error("the sockets were passed to process {meant} and not to this one, {own}; a wrapper has to exec")]
    OtherProcess {
        /// The process that LISTEN_PID names.
        meant: u32,
        /// This process.
        own: u32,
    },
    /// A variable says something that cannot be.
    #[error("{variable} is {value:?}, which is not {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What it says.
        value: OsString,
        /// What it should say.
        expected: &'static str,
    },
    /// Which name is whose cannot be known.
    #[error("LISTEN_FDNAMES has {names} names for {count} sockets, so none of them is used")]
    Names {
        /// How many names there are.
        names: usize,
        /// How many sockets there are.
        count: usize,
    },
    /// Too few sockets.
    #[error("there is no socket {index}: {count} were passed, counted from 0")]
    NoIndex {
        /// The one asked for.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// No such name.
    #[error("no socket was passed by the name {name}")]
    NoName {
        /// The one asked for.
        name: String,
    },
    /// No such descriptor.
    #[error("descriptor {descriptor} is not open")]
    NotOpen {
        /// Its number.
        descriptor: RawFd,
    },
    /// One that we opened ourselves.
    #[error("descriptor {descriptor} was not inherited: it is one of our own")]
    Ours {
        /// Its number.
        descriptor: RawFd,
    },
    /// One that was taken already.
    #[error("descriptor {descriptor} is adopted twice")]
    Twice {
        /// Its number.
        descriptor: RawFd,
    },
    /// Not a socket, or none that can be asked what it is.
    #[error("descriptor {descriptor} is no socket")]
    NoSocket {
        /// Its number.
        descriptor: RawFd,
        /// What the kernel says.
        source: io::Error,
    },
    /// A socket of a kind that nothing comes in by.
    #[error("descriptor {descriptor} is neither a listening stream socket nor one for datagrams")]
    NotListening {
        /// Its number.
        descriptor: RawFd,
    },
    /// A socket of another family than asked for.
    #[error("descriptor {descriptor} is a socket of domain {found}, not {expected}")]
    Domain {
        /// Its number.
        descriptor: RawFd,
        /// What it is.
        found: Domain,
        /// What was asked for.
        expected: Domain,
    },
    /// A socket of a family that we know nothing of.
    #[error("descriptor {descriptor} is a socket of a domain other than INET, INET6 and UNIX")]
    UnknownDomain {
        /// Its number.
        descriptor: RawFd,
    },
    /// The endpoint was not among those that were taken at the start.
    #[error("it was not taken at the start")]
    NotTaken,
}

/// The sockets that we were started with and that an endpoint names.
#[derive(Debug, Default)]
pub struct Inherited {
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    adopt: Adopt,
    /// Its number when it was passed.
    number: RawFd,
    socket: OwnedFd,
    address: Address,
    traffic: Traffic,
}

impl Inherited {
    /// Takes what these endpoints name, each for one of them.
    ///
    /// # Errors
    /// The endpoint that cannot be had, and why.
    pub fn take<'a>(endpoints: impl Iterator<Item = &'a Listen>) -> Result<Inherited, ListenError> {
        let mut inherited = Inherited::default();
        for endpoint in endpoints {
            if let Listen::Adopt(adopt) = endpoint.socket() {
                let taken = inherited.take_one(adopt);
                let about = |source| ListenError::Adopt { endpoint: endpoint.clone(), source };
                inherited.taken.push(taken.map_err(about)?);
            }
        }
        Ok(inherited)
    }

    /// Where the first socket of an endpoint is bound.
    pub fn address(&self, adopt: &Adopt) -> Option<&Address> {
        self.taken.iter().find(|taken| taken.adopt == *adopt).map(|taken| &taken.address)
    }

    /// Whether it is for datagrams, or, where several are named alike, any of them.
    pub fn is_for_datagrams(&self, adopt: &Adopt) -> bool {
        self.taken.iter().any(|taken| taken.adopt == *adopt && taken.traffic == Traffic::Datagrams)
    }

    /// Hands over the socket of an endpoint.
    pub(super) fn give(&mut self, adopt: &Adopt) -> Result<(OwnedFd, Address, Traffic), AdoptError> {
        let place = self.taken.iter().position(|taken| taken.adopt == *adopt).ok_or(AdoptError::NotTaken)?;
        let taken = self.taken.remove(place);
        Ok((taken.socket, taken.address, taken.traffic))
    }

    fn take_one(&self, adopt: &Adopt) -> Result<Taken, AdoptError> {
        let (number, expected) = match adopt {
            Adopt::Descriptor(number) => (*number, None),
            Adopt::Systemd { domain, which } => {
                let passed = Passed::read(std::env::var_os, std::process::id())?;
                (self.choose(&passed.candidates(which)?, *domain), Some(*domain))
            }
        };
        if self.has(number) {
            return Err(AdoptError::Twice { descriptor: number });
        }
        let (domain, traffic) = examine(number)?;
        if let Some(expected) = expected.filter(|expected| *expected != domain) {
            return Err(AdoptError::Domain { descriptor: number, found: domain, expected });
        }
        let taken = sys::take_over(number).and_then(|socket| Ok((Address::of(socket.as_fd())?, socket)));
        let (address, socket) = taken.map_err(|source| AdoptError::NoSocket { descriptor: number, source })?;
        Ok(Taken { adopt: adopt.clone(), number, socket, address, traffic })
    }

    fn has(&self, number: RawFd) -> bool {
        self.taken.iter().any(|taken| taken.number == number)
    }

    /// An outer manager may give several sockets one name: of those, the first that is still to be had and fits.
    fn choose(&self, candidates: &[RawFd], domain: Domain) -> RawFd {
        let fits = |number: &&RawFd| !self.has(**number) && examine(**number).is_ok_and(|(found, _)| found == domain);
        candidates.iter().find(fits).or(candidates.first()).copied().unwrap_or(-1)
    }
}

/// What an outer manager passed to this process: how many sockets, and their names.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    count: usize,
    names: Option<Vec<String>>,
}

impl Passed {
    fn read(variable: impl Fn(&'static str) -> Option<OsString>, own: u32) -> Result<Passed, AdoptError> {
        let required =
            |variable_name| variable(variable_name).ok_or(AdoptError::NothingPassed { variable: variable_name });
        let count = number(LISTEN_FDS, &required(LISTEN_FDS)?)?;
        let meant = number(LISTEN_PID, &required(LISTEN_PID)?)?;
        if meant != own {
            return Err(AdoptError::OtherProcess { meant, own });
        }
        let count = count as usize;
        let names = variable(LISTEN_FDNAMES)
            .map(|names| names.to_string_lossy().split(':').map(str::to_owned).collect::<Vec<_>>());
        match names.as_ref().map(Vec::len).filter(|names| *names != count) {
            Some(names) => Err(AdoptError::Names { names, count }),
            None => Ok(Passed { count, names }),
        }
    }

    /// The descriptors that are meant, at least one.
    fn candidates(&self, which: &Which) -> Result<Vec<RawFd>, AdoptError> {
        let descriptor = |place: usize| RawFd::try_from(place).map_or(RawFd::MAX, |place| FIRST_LISTEN_FD + place);
        match which {
            Which::Index(index) if (*index as usize) < self.count => Ok(vec![descriptor(*index as usize)]),
            Which::Index(index) => Err(AdoptError::NoIndex { index: *index, count: self.count }),
            Which::Name(wanted) => {
                let names = self.names.iter().flatten().enumerate().filter(|(_, name)| *name == wanted);
                let found: Vec<_> = names.map(|(place, _)| descriptor(place)).collect();
                if found.is_empty() { Err(AdoptError::NoName { name: wanted.clone() }) } else { Ok(found) }
            }
        }
    }
}

fn number(variable: &'static str, value: &OsStr) -> Result<u32, AdoptError> {
    // FromStr also takes a sign, which nobody writes. A count beyond what fits a descriptor's number is nonsense.
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok()).filter(|number| *number < i32::MAX.unsigned_abs() - 3);
    number.ok_or_else(|| AdoptError::Variable { variable, value: value.to_owned(), expected: "a number in range" })
}

/// What an inherited descriptor is, if it is a socket that something comes in by.
fn examine(descriptor: RawFd) -> Result<(Domain, Traffic), AdoptError> {
    // What comes over an exec is not close-on-exec, and what we make always is.
    if sys::survives_exec(descriptor) == Some(false) {
        return Err(AdoptError::Ours { descriptor });
    }
    let asked = sys::look_at(descriptor, ask).ok_or(AdoptError::NotOpen { descriptor })?;
    let (domain, kind, listens) = asked.map_err(|source| AdoptError::NoSocket { descriptor, source })?;
    let domain = match domain {
        socket2::Domain::IPV4 => Domain::Inet,
        socket2::Domain::IPV6 => Domain::Inet6,
        socket2::Domain::UNIX => Domain::Unix,
        _ => return Err(AdoptError::UnknownDomain { descriptor }),
    };
    match kind {
        Type::STREAM if listens => Ok((domain, Traffic::Connections)),
        Type::DGRAM => Ok((domain, Traffic::Datagrams)),
        _ => Err(AdoptError::NotListening { descriptor }),
    }
}

fn ask(socket: BorrowedFd<'_>) -> io::Result<(socket2::Domain, Type, bool)> {
    let socket = SockRef::from(&socket);
    Ok((socket.domain()?, socket.r#type()?, socket.is_listener()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    type Variables = &'static [(&'static str, &'static str)];

    fn read(variables: Variables) -> Result<Passed, AdoptError> {
        Passed::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()), 77)
    }

    fn refusal(variables: Variables) -> String {
        read(variables).expect_err("nothing is to be had").to_string()
    }

    fn candidates(variables: Variables, which: Which) -> Result<Vec<RawFd>, String> {
        read(variables).and_then(|passed| passed.candidates(&which)).map_err(|error| error.to_string())
    }

    const TWO: Variables = &[("LISTEN_FDS", "2"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "web:admin")];
    const NAMELESS: Variables = &[("LISTEN_FDS", "2"), ("LISTEN_PID", "77")];
    const SAME: Variables = &[("LISTEN_FDS", "3"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "web:x:web")];

    #[test]
    fn sockets_are_found_by_place_and_by_name() {
        assert_eq!(candidates(TWO, Which::Index(0)), Ok(vec![3]));
        assert_eq!(candidates(TWO, Which::Index(1)), Ok(vec![4]));
        assert_eq!(candidates(TWO, Which::Name("admin".into())), Ok(vec![4]));
        assert_eq!(candidates(SAME, Which::Name("web".into())), Ok(vec![3, 5]));
        assert_eq!(candidates(NAMELESS, Which::Index(1)), Ok(vec![4]));
        let none = Err("there is no socket 2: 2 were passed, counted from 0".into());
        assert_eq!(candidates(TWO, Which::Index(2)), none);
        let none = Err("no socket was passed by the name web".into());
        assert_eq!(candidates(NAMELESS, Which::Name("web".into())), none);
    }

    #[test]
    fn what_was_not_passed_to_this_process_is_not_taken() {
        assert_eq!(refusal(&[]), "no sockets were passed: LISTEN_FDS is not set");
        assert_eq!(refusal(&[("LISTEN_FDS", "1")]), "no sockets were passed: LISTEN_PID is not set");
        assert_eq!(
            refusal(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "78")]),
            "the sockets were passed to process 78 and not to this one, 77; a wrapper has to exec"
        );
    }

    #[test]
    fn variables_that_cannot_be_are_refused() {
        for value in ["", "x", "-1", "+1", "1 ", "2147483647", "99999999999999999999"] {
            let refused = number(LISTEN_FDS, OsStr::new(value)).expect_err("no count").to_string();
            assert_eq!(refused, format!("LISTEN_FDS is {value:?}, which is not a number in range"));
        }
        assert_eq!(
            refusal(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "77"), ("LISTEN_FDNAMES", "web")]),
            "LISTEN_FDNAMES has 1 names for 2 sockets, so none of them is used"
        );
    }

    #[test]
    fn descriptors_that_are_ours_or_not_open_are_refused() {
        let ours = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let refused = |number| examine(number).expect_err("not inherited").to_string();
        let number = ours.as_raw_fd();
        assert_eq!(refused(number), format!("descriptor {number} was not inherited: it is one of our own"));
        assert_eq!(refused(1_000_000), "descriptor 1000000 is not open");
        assert_eq!(refused(-1), "descriptor -1 is not open");
    }
}
