//! What of a process group still runs when its leader has gone.

use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

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
    use super::{lives_in_group, survivors};
    use nix::unistd::{Pid, getpgrp, getpid};

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_is() {
        let group = Pid::from_raw(77);
        assert!(lives_in_group("12 (a) Z) b) S 1 77 77 0 -1", group));
        assert!(!lives_in_group("12 (a) Z 1 77 77 0 -1", group), "a zombie does not live");
        assert!(!lives_in_group("12 (77) S 1 78 77 0 -1", group));
        assert!(!lives_in_group("garbage", group));
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
