//! The processes of one generation: all that are below its keeper, or, of a build, those of its group.
//!
//! Each also carries a mark, a variable in its environment, by which it is found if somebody has killed the keeper.

use super::gate::Generation;
use crate::process::holder;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The variable.
const NAME: &str = "SOCKET_PROTECTOR_DEV";

/// From one look to the next whether those are gone whose keeper was killed.
pub(super) const LOOK: Duration = Duration::from_millis(10);

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

    /// The whole variable, as it is in an environment.
    fn text(&self, part: Part) -> Vec<u8> {
        let (name, value) = self.variable(part);
        [name.as_bytes(), b"=", value.as_bytes()].concat()
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

/// The living processes that carry the mark of a part.
pub(super) fn carriers(mark: &Mark, part: Part) -> Vec<Pid> {
    let text = mark.text(part);
    let carries = |pid: &Pid| {
        let environment = fs::read(format!("/proc/{pid}/environ"));
        environment.is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == text))
    };
    holder::all().filter(carries).filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.lives)).collect()
}

/// Kills the living processes that carry the mark of a part; whether there were any. What they have started meanwhile is found the
/// next time.
pub(super) fn kill_carriers(mark: &Mark, part: Part) -> bool {
    let left = carriers(mark, part);
    for pid in &left {
        let _ = kill(*pid, Signal::SIGKILL);
    }
    !left.is_empty()
}

/// The processes of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// All that are below this one, which is not one of them.
    Below(Pid),
    /// Those of this group.
    Group(Pid),
}

impl Family {
    pub(super) fn below(keeper: Pid) -> Family {
        Family::Below(keeper)
    }

    pub(super) fn group(leader: Pid) -> Family {
        Family::Group(leader)
    }

    /// The living members. One that loses its parent while we look may be missed.
    pub(super) fn members(self) -> Vec<Pid> {
        let all = holder::all().filter_map(|pid| Some((pid, Stat::of(pid)?)));
        let living = all.filter(|(_, stat)| stat.lives);
        match self {
            Family::Below(keeper) => below(keeper, &living.map(|(pid, stat)| (pid, stat.parent)).collect::<Vec<_>>()),
            Family::Group(leader) => living.filter(|(_, stat)| stat.group == leader).map(|(pid, _)| pid).collect(),
        }
    }
}

/// Whoever is below `root`, of pairs of a process and its parent.
fn below(root: Pid, parents: &[(Pid, Pid)]) -> Vec<Pid> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for (pid, parent) in parents {
        children.entry(*parent).or_default().push(*pid);
    }
    let (mut found, mut left) = (BTreeSet::new(), vec![root]);
    while let Some(parent) = left.pop() {
        // Numbers may have been given anew while we looked, so a circle is possible.
        let inner = children.get(&parent).into_iter().flatten();
        left.extend(inner.filter(|pid| **pid != root && found.insert(**pid)));
    }
    found.into_iter().collect()
}

/// Whether a process is in this group.
pub(super) fn is_in_group(pid: Pid, group: Pid) -> bool {
    nix::unistd::getpgid(Some(pid)) == Ok(group)
}

/// What the kernel tells of a process; see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    lives: bool,
    parent: Pid,
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
        let mut pid = || Some(Pid::from_raw(fields.next()?.parse().ok()?));
        Some(Stat { lives, parent: pid()?, group: pid()? })
    }
}

/// Reaps those of our children that have ended and that nobody waits for: what a shell that has become this program has left
/// us, and, for the first process of a container, whatever has lost its parent there. The living ones are none of our business.
pub(super) fn reap_others(known: &[Pid]) {
    for pid in children().into_iter().filter(|pid| !known.contains(pid)) {
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// The children of all our threads.
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    texts
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Mark, Part, Stat, below};
    use crate::dev::gate::Generation;
    use nix::unistd::{Pid, getpgrp, getppid};

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number)
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_is() {
        let stat = Stat { lives: true, parent: pid(3), group: pid(77) };
        assert_eq!(Stat::parse("12 (a) Z) b) S 3 77 1"), Some(stat));
        assert!(!Stat::parse("12 (a) Z 3 77 1").unwrap().lives);
        assert_eq!(Stat::parse("12 (a) S 3"), None);
        assert_eq!(Stat::parse("garbage"), None);
        let ours = Stat::of(Pid::this()).unwrap();
        assert_eq!((ours.parent, ours.group), (getppid(), getpgrp()));
    }

    #[test]
    fn a_family_is_all_that_is_below_and_nothing_beside() {
        let parents = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1), (9, 8), (10, 0), (11, 10), (12, 7)];
        let parents = parents.map(|(child, parent)| (pid(child), pid(parent)));
        assert_eq!(below(pid(5), &parents), [6, 7, 12].map(pid));
        assert_eq!(below(pid(12), &parents), []);
        // Seen in a state that there never was.
        assert_eq!(below(pid(2), &[(pid(2), pid(3)), (pid(3), pid(4)), (pid(4), pid(2))]), [3, 4].map(pid));
    }

    #[test]
    fn each_part_has_a_mark_of_its_own_under_the_same_token() {
        let mark = Mark::new();
        assert_ne!(mark.token(), Mark::new().token());
        let [build, server] = [Part::Build(Generation(7)), Part::Server(Generation(7))].map(|part| mark.text(part));
        assert_ne!(build, server);
    }
}
