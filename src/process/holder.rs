//! Which processes there are below another, and which of them has a socket. From /proc; see proc_pid_fd(5).
//!
//! A process may have tens of thousands of descriptors, and a look at each takes from a microsecond to a tenth of a
//! millisecond. So a search can be broken off anywhere, and gone on with after others had their turn.

use nix::unistd::{Pid, getpgid};
use std::fs::{self, DirEntry, ReadDir};
use std::io;

/// More processes than that are not looked for below one.
const MOST: usize = 4096;

/// All processes of a process group.
pub fn group(leader: Pid) -> Vec<Pid> {
    all().filter(|pid| getpgid(Some(*pid)) == Ok(leader)).take(MOST).collect()
}

/// All processes that there are.
pub fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
}

/// A search for sockets among the descriptors of processes.
#[derive(Debug)]
pub struct Search {
    inodes: Vec<u64>,
    /// Those that were looked at, and those that will be.
    pids: Vec<Pid>,
    /// How many of them it began with.
    roots: usize,
    /// Whether those below them are looked at too.
    descends: bool,
    next: usize,
    place: Place,
    of_each: usize,
    of_all: usize,
    unreadable: Option<(Pid, io::Error)>,
}

/// Where a search is.
#[derive(Debug)]
enum Place {
    /// Between two processes.
    Between,
    /// At the descriptors of one, of which so many more are looked at.
    Descriptors { of: Pid, entries: ReadDir, left: usize },
    /// At its threads, each of which may have children.
    Threads(ReadDir),
}

/// What has come of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was broken off.
    NotYet,
    /// The inode that was found first.
    Found(u64),
    /// None of the sockets was found.
    Nothing,
    /// There was more to look at than may be.
    TooMuch,
}

impl Search {
    /// For a socket with one of these inodes, at these processes and all that are below them.
    pub fn below(roots: Vec<Pid>, inodes: Vec<u64>) -> Search {
        Search { descends: true, ..Search::at(roots, inodes) }
    }

    /// At these processes alone.
    pub fn at(pids: Vec<Pid>, inodes: Vec<u64>) -> Search {
        let (of_each, of_all) = (usize::MAX, usize::MAX);
        let (roots, place) = (pids.len(), Place::Between);
        Search { inodes, pids, roots, descends: false, next: 0, place, of_each, of_all, unreadable: None }
    }

    /// At no more than so many descriptors of each process, the first ones.
    #[must_use]
    pub fn of_each(mut self, most: usize) -> Search {
        self.of_each = most;
        self
    }

    /// At no more than so many descriptors of all processes together; then it ends.
    #[must_use]
    pub fn of_all(mut self, most: usize) -> Search {
        self.of_all = most;
        self
    }

    /// Goes on until it ends, or for as long as this is not enough; one step at least.
    pub fn go_on(&mut self, mut enough: impl FnMut() -> bool) -> Outcome {
        loop {
            if let Some(outcome) = self.step() {
                return outcome;
            }
            if enough() {
                return Outcome::NotYet;
            }
        }
    }

    /// The processes that were found so far, those that it began with first.
    pub fn pids(&self) -> &[Pid] {
        &self.pids
    }

    /// A process whose descriptors we could not read, and why.
    pub fn unreadable(&self) -> Option<&(Pid, io::Error)> {
        self.unreadable.as_ref()
    }

    /// Looks at one descriptor or one thread.
    fn step(&mut self) -> Option<Outcome> {
        match &mut self.place {
            Place::Between => {
                let Some(pid) = self.pids.get(self.next).copied() else {
                    return Some(Outcome::Nothing);
                };
                self.next += 1;
                self.begin(pid);
            }
            Place::Descriptors { of, entries, left } => match entries.next().filter(|_| *left > 0) {
                None => self.place = if self.descends { threads(*of) } else { Place::Between },
                Some(_) if self.of_all == 0 => return Some(Outcome::TooMuch),
                Some(entry) => {
                    (*left, self.of_all) = (*left - 1, self.of_all - 1);
                    let inode = entry.ok().as_ref().and_then(socket_at);
                    return inode.filter(|inode| self.inodes.contains(inode)).map(Outcome::Found);
                }
            },
            Place::Threads(entries) => match entries.next() {
                None => self.place = Place::Between,
                Some(thread) => self.add_children(thread.ok()),
            },
        }
        None
    }

    fn begin(&mut self, pid: Pid) {
        match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => self.place = Place::Descriptors { of: pid, entries, left: self.of_each },
            Err(error) => {
                // Otherwise it has ended meanwhile.
                if error.kind() != io::ErrorKind::NotFound {
                    self.unreadable = Some((pid, error));
                }
                if self.descends {
                    self.place = threads(pid);
                }
            }
        }
    }

    /// Takes in the children of a thread. Where the kernel does not tell who they are, there are none.
    fn add_children(&mut self, thread: Option<DirEntry>) {
        let children = thread.and_then(|thread| fs::read_to_string(thread.path().join("children")).ok());
        for pid in children.iter().flat_map(|children| children.split_whitespace()) {
            let pid = pid.parse().map(Pid::from_raw).ok().filter(|pid| !self.pids[..self.roots].contains(pid));
            if self.pids.len() < self.roots + MOST {
                self.pids.extend(pid);
            }
        }
    }
}

fn threads(pid: Pid) -> Place {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(Place::Between, Place::Threads)
}

/// The inode of the socket that a descriptor is for; none if it is for something else, or was closed while we looked.
fn socket_at(descriptor: &DirEntry) -> Option<u64> {
    let target = fs::read_link(descriptor.path()).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Search, all, group};
    use nix::sys::stat::fstat;
    use nix::unistd::{Pid, getpgrp, getpid};
    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::net::UdpSocket;
    use std::process::{Child, Command, Stdio};

    fn whole(search: &mut Search) -> Outcome {
        search.go_on(|| false)
    }

    #[test]
    fn a_socket_is_found_with_whoever_has_it() {
        let sockets = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [one, other] = sockets.each_ref().map(|socket| fstat(socket).unwrap().st_ino);
        let absent = one + 1_000_000_000;
        let gone = Pid::from_raw(i32::MAX);
        assert_eq!(whole(&mut Search::at(vec![getpid()], vec![absent, other])), Outcome::Found(other));
        assert_eq!(whole(&mut Search::at(vec![gone, getpid()], vec![one])), Outcome::Found(one));
        let mut nothing = Search::at(vec![getpid()], vec![absent]);
        assert_eq!(whole(&mut nothing), Outcome::Nothing);
        assert!(nothing.unreadable().is_none());
        let mut nobody = Search::below(vec![gone], vec![one]);
        assert_eq!(whole(&mut nobody), Outcome::Nothing);
        assert!(nobody.unreadable().is_none(), "one that has ended has nothing");
        let mut first = Search::at(vec![getpid()], vec![one, other]).of_each(1);
        assert_eq!(whole(&mut first), Outcome::Nothing, "the first is no socket of these");
        let mut little = Search::at(vec![getpid()], vec![absent]).of_all(2);
        assert_eq!(whole(&mut little), Outcome::TooMuch);
    }

    #[test]
    fn a_search_that_is_broken_off_at_every_step_comes_to_the_same() {
        let many = [0; 500].map(|_| File::open("/dev/null").unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        let mut search = Search::below(vec![getpid()], vec![inode]);
        let mut steps = 0;
        let outcome = loop {
            steps += 1;
            match search.go_on(|| true) {
                Outcome::NotYet => {}
                outcome => break outcome,
            }
        };
        assert_eq!(outcome, Outcome::Found(inode));
        assert!(steps > many.len(), "{steps}");
    }

    #[test]
    fn it_is_told_whether_another_has_a_socket_too() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        let but = |these: &[Pid]| {
            let others = all().filter(|pid| !these.contains(pid)).collect();
            whole(&mut Search::at(others, vec![inode]))
        };
        // A child of another test has what we have until it executes its program.
        let nobody_but = |these: &[Pid]| (0..1000).any(|_| but(these) == Outcome::Nothing);
        assert!(nobody_but(&[getpid()]));
        assert_eq!(but(&[]), Outcome::Found(inode), "we have it");
        let other = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("1000").stdin(other).spawn().unwrap();
        assert_eq!(but(&[getpid()]), Outcome::Found(inode));
        assert!(nobody_but(&[getpid(), Pid::from_raw(child.id() as i32)]));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A shell with one below it, which ends with its input; and the number of that one.
    fn two_shells() -> (Child, Pid) {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo $$; read line'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, Pid::from_raw(line.trim().parse().unwrap()))
    }

    #[test]
    fn grandchildren_are_below_and_in_the_group() {
        let (mut child, grandchild) = two_shells();
        let root = Pid::from_raw(child.id() as i32);
        let mut search = Search::below(vec![root], vec![0]);
        assert_eq!(whole(&mut search), Outcome::Nothing);
        assert_eq!(search.pids(), [root, grandchild]);
        let mut both = Search::below(vec![root, grandchild], vec![0]);
        assert_eq!(whole(&mut both), Outcome::Nothing);
        assert_eq!(both.pids(), [root, grandchild], "none is looked at twice");
        let all = group(getpgrp());
        assert!(all.contains(&getpid()) && all.contains(&grandchild));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!group(getpgrp()).contains(&grandchild));
    }
}
