//! What of a process group still runs when its leader has gone.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The living processes of a group other than its leader.
#[derive(Debug)]
pub struct Survivors {
    pids: Vec<i32>,
    /// Something could not be looked at, so there may be more.
    uncertain: bool,
}

/// Looks for them.
///
/// There is no system call for this while the leader is a zombie, which holds the group; so /proc is read. Where it is
/// missing there are none.
pub fn survivors(leader: Pid) -> Survivors {
    let mut survivors = Survivors { pids: Vec::new(), uncertain: false };
    let entries = match fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => {
            survivors.uncertain = !has_gone(&error);
            return survivors;
        }
    };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != leader.as_raw()) else {
            continue;
        };
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if lives_in_group(&stat, leader) => survivors.pids.push(pid),
            Ok(_) => {}
            Err(error) => survivors.uncertain |= !has_gone(&error),
        }
    }
    survivors
}

impl Survivors {
    /// Whether there is certainly none.
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty() && !self.uncertain
    }

    /// For each of them a descriptor that becomes readable when it exits; none for those that have gone.
    pub fn exit_descriptors(&self) -> Vec<OwnedFd> {
        self.pids.iter().filter_map(|pid| crate::sys::pidfd_open(Pid::from_raw(*pid)).ok()).collect()
    }

    /// Whether one of them has the socket with this inode open.
    pub fn hold_socket(&self, inode: u64) -> bool {
        let name = PathBuf::from(format!("socket:[{inode}]"));
        self.pids.iter().any(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == name)
        })
    }
}

/// Waits until all of these are readable, which tells of an exit, or until so much time is over in all; how many are
/// left.
pub fn wait_for_exits(mut left: Vec<OwnedFd>, limit: Duration) -> usize {
    let deadline = Instant::now() + limit;
    while !left.is_empty() {
        let time = deadline.saturating_duration_since(Instant::now());
        let mut polled = left.iter().map(|exit| PollFd::new(exit.as_fd(), PollFlags::POLLIN)).collect::<Vec<_>>();
        match poll(&mut polled, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => continue,
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let exited = polled.iter().map(|exit| exit.any().unwrap_or(true)).collect::<Vec<_>>();
        let mut exited = exited.into_iter();
        left.retain(|_| !exited.next().unwrap_or(true));
    }
    left.len()
}

/// ENOENT or ESRCH: the process went away while we looked.
fn has_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn lives_in_group(stat: &str, group: Pid) -> bool {
    // The name, in brackets, may hold anything; see proc_pid_stat(5).
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_whitespace();
    let state = fields.next();
    let group_of = fields.nth(1).and_then(|number| number.parse().ok());
    !matches!(state, Some("Z" | "X")) && group_of == Some(group.as_raw())
}

#[cfg(test)]
mod tests {
    use super::{lives_in_group, survivors, wait_for_exits};
    use nix::unistd::{Pid, getpgrp, getpid};
    use std::time::Duration;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_is() {
        let group = Pid::from_raw(77);
        assert!(lives_in_group("12 (a) Z) b) S 1 77 77 0 -1", group));
        assert!(!lives_in_group("12 (a) Z 1 77 77 0 -1", group), "a zombie does not live");
        assert!(!lives_in_group("12 (77) S 1 78 77 0 -1", group));
        assert!(!lives_in_group("garbage", group));
    }

    #[test]
    fn all_exits_are_waited_for_within_one_time() {
        let pair = || std::os::unix::net::UnixStream::pair().unwrap();
        let ((one, ends), (two, stays), (three, later)) = (pair(), pair(), pair());
        drop(ends);
        let all = |three: std::os::unix::net::UnixStream| vec![one.try_clone().unwrap().into(), three.into()];
        let ending = std::thread::spawn(move || drop(later));
        assert_eq!(wait_for_exits(all(three), Duration::from_secs(60)), 0);
        ending.join().unwrap();
        let left = vec![two.try_clone().unwrap().into(), one.into(), two.into()];
        assert_eq!(wait_for_exits(left, Duration::from_millis(1)), 2);
        drop(stays);
        assert_eq!(wait_for_exits(Vec::new(), Duration::from_secs(60)), 0);
    }

    #[test]
    fn this_process_is_found_in_its_group_with_its_socket() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = nix::sys::stat::fstat(&socket).unwrap().st_ino;
        let found = survivors(getpgrp());
        if getpgrp() != getpid() {
            assert!(!found.is_empty() && found.hold_socket(inode));
        }
        assert!(!found.hold_socket(inode + 1_000_000_000));
        let own = survivors(getpid());
        assert!(!own.hold_socket(inode), "a leader is no survivor of itself");
    }
}
