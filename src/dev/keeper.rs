//! Sees to it that nothing outlives us, however we end: a process of its own that waits for our end and kills what we had
//! started. A parent-death signal reaches the leader of a group alone, and only a leader that has not asked for another.
//!
//! It is told by its standard input which groups there are: `+PID` and `-PID`, a line each. End of file is our death; when we
//! end well and have left nothing, we kill it first.

use super::family::{self, Mark};
use crate::process::spawn::{self, Launch, Process, SpawnError, null_device};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;

/// The word by which a keeper is started; no command of users.
pub const COMMAND: &str = "dev-keeper";

/// How often it looks whether all that it has killed is gone.
const LOOKS: usize = 200;
const BETWEEN: std::time::Duration = std::time::Duration::from_millis(10);

/// Our end of a keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    pipe: File,
    process: Option<Process>,
}

impl Keeper {
    /// Starts one for what carries this mark.
    ///
    /// # Errors
    /// What went wrong; nothing is left behind.
    pub(super) fn start(mark: &Mark) -> Result<Keeper, SpawnError> {
        let program = OsString::from("/proc/self/exe");
        let failed = |source: io::Error| SpawnError::Process { program: program.clone().into(), source };
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let null = null_device().map_err(failed)?;
        let process = spawn::spawn(&Launch {
            command: &[program.clone(), COMMAND.into(), mark.token().into()],
            environment: &std::env::vars_os().collect::<Vec<_>>(),
            listen_pid: false,
            descriptors: &[(read.as_fd(), 0), (null.as_fd(), 1), (null.as_fd(), 2)],
            directory: None,
            open_files: None,
            death_signal: None,
        })?;
        Ok(Keeper { pipe: write.into(), process: Some(process) })
    }

    /// The process.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(Process::pid)
    }

    /// A group has begun.
    pub(super) fn add(&mut self, group: Pid) {
        self.tell(&format!("+{group}\n"));
    }

    /// A group is gone; its number is not anybody else's before this returns.
    pub(super) fn remove(&mut self, group: Pid) {
        self.tell(&format!("-{group}\n"));
    }

    fn tell(&mut self, line: &str) {
        // A keeper that somebody has killed is missed when we are killed as well, and not before.
        let _ = self.pipe.write_all(line.as_bytes());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            spawn::signal_leader(&process, Signal::SIGKILL);
            process.reap();
        }
    }
}

/// What a keeper knows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    groups: BTreeSet<i32>,
}

impl Known {
    fn hear(&mut self, line: &str) {
        match line.split_at_checked(1) {
            Some(("+", pid)) => self.groups.extend(pid.parse::<i32>().ok().filter(|pid| *pid > 1)),
            Some(("-", pid)) => {
                pid.parse().map(|pid: i32| self.groups.remove(&pid)).ok();
            }
            Some(_) | None => {}
        }
    }
}

/// Is a keeper for the mark with this token, until its standard input ends.
pub fn run(token: &str) {
    let mut known = Known::default();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        known.hear(&line);
    }
    for group in known.groups {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    // What is forked while it is looked for is found the next time.
    for _ in 0..LOOKS {
        let left = family::carriers(&Mark::of_servers(token));
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(BETWEEN);
    }
}

#[cfg(test)]
mod tests {
    use super::Known;

    #[test]
    fn groups_come_and_go() {
        let mut known = Known::default();
        ["+12", "+13", "-12", "", "+x", "-", "+1", "+-5", "\u{fc}"].iter().for_each(|line| known.hear(line));
        assert_eq!(known, Known { groups: [13].into() });
    }
}
