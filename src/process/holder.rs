//! Which processes there are below another, and which of them has a socket. From /proc; see proc_pid_fd(5).

use nix::unistd::{Pid, getpgid};
use std::fs;
use std::io;

/// More processes than that are not looked for below one.
const MOST: usize = 4096;
/// Of all processes together no more descriptors than that are looked at.
const MOST_DESCRIPTORS: usize = 32_768;

/// A process with all its descendants, itself first. Where the kernel does not tell who they are, itself alone.
pub fn tree(root: Pid) -> Vec<Pid> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw);
            all.extend(children.take(MOST.saturating_sub(all.len())));
        }
    }
    all
}

/// All processes of a process group.
pub fn group(leader: Pid) -> Vec<Pid> {
    all().filter(|pid| getpgid(Some(*pid)) == Ok(leader)).take(MOST).collect()
}

fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
}

/// Whether no process but these has the socket with this inode, as far as we may look. False also when there is too
/// much to look at.
pub fn nobody_else_has(inode: u64, these: &[Pid]) -> bool {
    let mut left = MOST_DESCRIPTORS;
    for pid in all().filter(|pid| !these.contains(pid)) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            if left == 0 || socket_at(&entry) == Some(inode) {
                return false;
            }
            left -= 1;
        }
    }
    true
}

/// What a search for a socket has found.
#[derive(Debug, Default)]
pub struct Search {
    /// The inode that was found first.
    pub found: Option<u64>,
    /// A process whose descriptors we could not read, and why.
    pub unreadable: Option<(Pid, io::Error)>,
}

/// Looks whether one of these processes has a socket with one of these inodes, among the first `most` descriptors of
/// each.
pub fn search(pids: &[Pid], inodes: &[u64], most: usize) -> Search {
    let mut search = Search::default();
    for pid in pids {
        match held_by(*pid, inodes, most) {
            Ok(None) => {}
            Ok(found) => return Search { found, unreadable: None },
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => search.unreadable = Some((*pid, error)),
        }
    }
    search
}

fn held_by(pid: Pid, inodes: &[u64], most: usize) -> io::Result<Option<u64>> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.take(most) {
        let inode = entry.ok().as_ref().and_then(socket_at);
        if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
            return Ok(Some(inode));
        }
    }
    Ok(None)
}

/// The inode of the socket that a descriptor is for; none if it is for something else, or was closed while we looked.
fn socket_at(descriptor: &fs::DirEntry) -> Option<u64> {
    let target = fs::read_link(descriptor.path()).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{group, nobody_else_has, search, tree};
    use nix::sys::stat::fstat;
    use nix::unistd::{Pid, getpgrp, getpid};
    use std::io::{BufRead, BufReader};
    use std::net::UdpSocket;
    use std::process::{Command, Stdio};

    #[test]
    fn a_socket_is_found_with_whoever_has_it() {
        let sockets = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [one, other] = sockets.each_ref().map(|socket| fstat(socket).unwrap().st_ino);
        let absent = one + 1_000_000_000;
        let all = |pids: &[Pid], inodes: &[u64]| search(pids, inodes, usize::MAX);
        assert_eq!(all(&[getpid()], &[absent, other]).found, Some(other));
        assert_eq!(all(&[Pid::from_raw(i32::MAX), getpid()], &[one]).found, Some(one));
        let none = all(&[getpid()], &[absent]);
        assert!(none.found.is_none() && none.unreadable.is_none());
        assert!(all(&[Pid::from_raw(i32::MAX)], &[one]).unreadable.is_none(), "one that has ended has nothing");
        assert_eq!(search(&[getpid()], &[one, other], 1).found, None, "the first is no socket of these");
    }

    #[test]
    fn it_is_told_whether_another_has_a_socket_too() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        assert!(nobody_else_has(inode, &[getpid()]));
        assert!(!nobody_else_has(inode, &[]), "we have it");
        let other = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("1000").stdin(other).spawn().unwrap();
        assert!(!nobody_else_has(inode, &[getpid()]));
        assert!(nobody_else_has(inode, &[getpid(), Pid::from_raw(child.id() as i32)]));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn grandchildren_are_below_and_in_the_group() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo $$; read line'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let grandchild = Pid::from_raw(line.trim().parse().unwrap());
        let below = tree(Pid::from_raw(child.id() as i32));
        assert_eq!(below, [Pid::from_raw(child.id() as i32), grandchild]);
        let all = group(getpgrp());
        assert!(all.contains(&getpid()) && all.contains(&grandchild));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!group(getpgrp()).contains(&grandchild));
    }
}
