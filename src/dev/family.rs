//! The processes of one generation: those of its group, and those that have left it and still carry its mark.
//!
//! A mark is a variable in the environment that everything below the first process inherits. One that wipes its environment
//! and leaves the group as well, and whose parent has ended, comes to us, since we are the reaper of what is below us
//! (prctl(2), PR_SET_CHILD_SUBREAPER).

use super::gate::Generation;
use crate::process::holder;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The variable.
const NAME: &str = "SOCKET_PROTECTOR_DEV";

/// What our processes are known by.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    token: String,
}

impl Mark {
    /// One that no other instance has.
    pub(super) fn new() -> Mark {
        let mut bytes = [0; 8];
        // Without random numbers the pid has to do.
        let _ = getrandom::fill(&mut bytes);
        Mark { token: format!("{}-{:016x}", std::process::id(), u64::from_ne_bytes(bytes)) }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The variable for what a generation starts.
    pub(super) fn variable(&self, part: Part) -> (OsString, OsString) {
        (NAME.into(), format!("{}.{}", self.token, part.suffix()).into())
    }

    /// What the variable of each server begins with.
    pub(super) fn of_servers(token: &str) -> Vec<u8> {
        format!("{NAME}={token}.server.").into_bytes()
    }

    fn of_builds(&self) -> Vec<u8> {
        format!("{NAME}={}.build.", self.token).into_bytes()
    }
}

/// What of a generation a process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Build(Generation),
    Server(Generation),
}

impl Part {
    fn suffix(self) -> String {
        match self {
            Part::Build(generation) => format!("build.{}", generation.0),
            Part::Server(generation) => format!("server.{}", generation.0),
        }
    }
}

/// The living processes whose environment has a variable that begins so.
pub(super) fn carriers(prefix: &[u8]) -> Vec<Pid> {
    let carries = |pid: &Pid| has_variable(*pid, |variable| variable.starts_with(prefix));
    holder::all().filter(carries).filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.lives)).collect()
}

fn has_variable(pid: Pid, is_it: impl Fn(&[u8]) -> bool) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| text.split(|byte| *byte == 0).any(is_it))
}

/// The processes of one part.
#[derive(Clone, Debug)]
pub(super) struct Family {
    leader: Pid,
    /// The whole variable; a build has none: what it leaves outside of its group is meant to stay, as a compiler's cache is.
    variable: Option<Vec<u8>>,
}

impl Family {
    pub(super) fn new(leader: Pid, mark: &Mark, part: Part) -> Family {
        let variable = match part {
            Part::Build(_) => None,
            Part::Server(_) => {
                let (name, value) = mark.variable(part);
                Some([name.as_bytes(), b"=", value.as_bytes()].concat())
            }
        };
        Family { leader, variable }
    }

    /// The first process, and the number of the group.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// The living members. The leader must not have been reaped.
    pub(super) fn members(&self) -> Vec<Pid> {
        holder::all().filter(|pid| self.has(*pid)).collect()
    }

    fn has(&self, pid: Pid) -> bool {
        Stat::of(pid).is_some_and(|stat| stat.lives && (stat.group == self.leader || self.marks(pid)))
    }

    fn marks(&self, pid: Pid) -> bool {
        self.variable.as_ref().is_some_and(|ours| has_variable(pid, |variable| variable == ours.as_slice()))
    }

    /// Sends a signal to all of them.
    pub(super) fn signal(&self, signal: Signal) {
        // The group first and at once: one of its members may end the others in its own time.
        let _ = killpg(self.leader, signal);
        for pid in self.members() {
            if nix::unistd::getpgid(Some(pid)) != Ok(self.leader) {
                let _ = kill(pid, signal);
            }
        }
    }
}

/// What the kernel tells of a process; see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    lives: bool,
    group: Pid,
}

impl Stat {
    fn of(pid: Pid) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Stat> {
        // The name, in brackets, may hold anything.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let lives = !matches!(fields.next()?, "Z" | "X");
        let group = Pid::from_raw(fields.nth(1)?.parse().ok()?);
        Some(Stat { lives, group })
    }
}

/// Our living children that nobody knows: those whose parent has ended, but for what a build has detached. The dead ones are
/// reaped.
pub(super) fn orphans(known: &[Pid], mark: &Mark) -> Vec<Pid> {
    let lives = |pid: &Pid| {
        let waited = waitpid(*pid, Some(WaitPidFlag::WNOHANG));
        matches!(waited, Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
    };
    let unknown = children().into_iter().filter(|pid| !known.contains(pid));
    let detached = mark.of_builds();
    unknown.filter(lives).filter(|pid| !has_variable(*pid, |variable| variable.starts_with(&detached))).collect()
}

/// The children of all our threads.
pub(super) fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    texts
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Mark, Part, Stat};
    use crate::dev::gate::Generation;
    use nix::unistd::{Pid, getpgrp};

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_is() {
        let pid = Pid::from_raw;
        assert_eq!(Stat::parse("12 (a) Z) b) S 3 77 1"), Some(Stat { lives: true, group: pid(77) }));
        assert!(!Stat::parse("12 (a) Z 3 77 1").unwrap().lives);
        assert_eq!(Stat::parse("garbage"), None);
        assert_eq!(Stat::of(Pid::this()).unwrap().group, getpgrp());
    }

    #[test]
    fn each_part_has_a_mark_of_its_own_under_the_same_token() {
        let mark = Mark::new();
        assert_ne!(mark.token(), Mark::new().token());
        let [build, server] = [Part::Build(Generation(7)), Part::Server(Generation(7))].map(|part| mark.variable(part));
        assert_ne!(build.1, server.1);
        let whole = format!("{}={}", server.0.display(), server.1.display());
        assert!(whole.as_bytes().starts_with(&Mark::of_servers(mark.token())));
    }
}
