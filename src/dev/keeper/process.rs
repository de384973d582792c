//! The keeper itself: a program with one child, that child's descendants, and a thread that hears orders.

use super::word::{Step, Word};
use super::{ALL, GROUP};
use crate::dev::family::{self, Family};
use crate::process::group::survivors;
use crate::process::spawn::{self, Exit, Launch, Process, null_device};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// From one kill to the next, of what is left: at first, and of what cannot be killed.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the group of a build is empty.
const LOOK: Duration = Duration::from_millis(5);
/// What is forked while it is looked for is found the next time.
const ROUNDS: usize = 3;

/// Whether the first process has been reaped: its group's number may be another's from then on.
static REAPED: AtomicBool = AtomicBool::new(false);

/// Is a keeper of this kind, until nothing is left. The only thing that it says is said to the socket that is its standard input.
pub fn run(kind: &OsStr) {
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else { return };
    let Ok(mut orders) = socket.try_clone().map(BufReader::new) else { return };
    let Ok(command) = command(&mut orders) else { return };
    let whole = kind == ALL;
    if !whole && kind != GROUP {
        return;
    }
    let leader = match start(&command, whole) {
        Ok(leader) => leader,
        Err((step, errno)) => return say(&socket, Word::Failed(step, errno)),
    };
    say(&socket, Word::Started(leader.pid()));
    let (pid, family) = (leader.pid(), if whole { Family::below(Pid::this()) } else { Family::group(leader.pid()) });
    std::thread::spawn(move || obey(orders, pid, &family));
    if whole {
        attend_all(&socket, pid)
    } else {
        attend_group(&socket, leader)
    }
    say(&socket, Word::Gone);
}

/// Whoever does not hear it is gone, which the end of the orders tells.
fn say(mut socket: &UnixStream, word: Word) {
    let _ = socket.write_all(format!("{word}\n").as_bytes());
}

fn command(orders: &mut impl BufRead) -> io::Result<Vec<OsString>> {
    let mut count = String::new();
    orders.read_line(&mut count)?;
    let count: usize = count.trim_end().parse().map_err(|_| io::ErrorKind::InvalidData)?;
    (0..count)
        .map(|_| {
            let mut word = Vec::new();
            orders.read_until(0, &mut word)?;
            // An end of file before the last word leaves one without its NUL.
            word.pop_if(|last| *last == 0).ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(OsString::from_vec(word))
        })
        .collect()
}

fn start(command: &[OsString], whole: bool) -> Result<Process, (Step, i32)> {
    if whole {
        nix::sys::prctl::set_child_subreaper(true).map_err(|errno| (Step::Other, errno as i32))?;
    }
    let null: OwnedFd = null_device().map_err(|error| (Step::Other, error.raw_os_error().unwrap_or(0)))?;
    let process = spawn::spawn(&Launch {
        command,
        environment: &std::env::vars_os().collect::<Vec<_>>(),
        listen_pid: false,
        descriptors: &[(null.as_fd(), 0)],
        directory: None,
        open_files: None,
        // Somebody may kill a keeper; and then this is all that can be done.
        death_signal: Some(Signal::SIGKILL),
        // The terminal's foreground is ours. Another group that used it would be stopped; in another session it is not, and
        // finds no terminal to ask (setsid(2), "Access control" in credentials(7)).
        session: true,
    });
    // What reads the command's output waits for its end, and not for ours.
    let _ = (dup2_stdout(&null), dup2_stderr(&null));
    process.map_err(|error| Step::of(&error))
}

/// Reaps all that is below, until there is nothing. What loses its parent comes to us, so without a child there is no descendant.
fn attend_all(socket: &UnixStream, leader: Pid) {
    loop {
        let ended = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => status.pid(),
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        // Before it is reaped: nobody may signal its group by a number that is another's.
        REAPED.fetch_or(ended == Some(leader), Ordering::SeqCst);
        match waitpid(ended, None) {
            Ok(status) if ended == Some(leader) => say(socket, Word::Exited(exit_of(status))),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits for the first process, and for what it leaves in its group; it holds the group's number until then.
fn attend_group(socket: &UnixStream, leader: Process) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(leader.pid()), flags) == Err(Errno::EINTR) {}
    say(socket, Word::Exited(leader.exit().unwrap_or(Exit::UnnamedSignal)));
    while !survivors(leader.pid()).is_empty() {
        std::thread::sleep(LOOK);
    }
    REAPED.store(true, Ordering::SeqCst);
    leader.reap();
}

fn exit_of(status: WaitStatus) -> Exit {
    match status {
        WaitStatus::Exited(_, status) => Exit::Status(status),
        WaitStatus::Signaled(_, signal, _) => Exit::Signal(signal),
        _ => Exit::UnnamedSignal,
    }
}

/// Does what it is asked, until it is to kill; then it kills until we end.
fn obey(orders: impl BufRead, leader: Pid, family: &Family) {
    for line in orders.lines() {
        let signal = line.ok().and_then(|line| signal_in(&line));
        match signal {
            Some(signal) => signal_all(leader, family, signal),
            None => break,
        }
    }
    let mut pause = PAUSE;
    loop {
        signal_all(leader, family, Signal::SIGKILL);
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn signal_in(line: &str) -> Option<Signal> {
    Signal::try_from(line.strip_prefix("signal ")?.parse::<i32>().ok()?).ok()
}

/// Sends a signal to all, and to each once.
fn signal_all(leader: Pid, family: &Family, signal: Signal) {
    // The group first and at once: one of its members may end the others in its own time.
    let group_has_it = !REAPED.load(Ordering::SeqCst) && killpg(leader, signal).is_ok();
    let mut have_it = BTreeSet::new();
    for _ in 0..ROUNDS {
        let members = family.members();
        let others = members.into_iter().filter(|pid| !(group_has_it && family::is_in_group(*pid, leader)));
        let fresh: Vec<_> = others.filter(|pid| have_it.insert(*pid)).collect();
        if fresh.is_empty() {
            return;
        }
        for pid in fresh {
            let _ = kill(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{command, signal_in};
    use nix::sys::signal::Signal;

    #[test]
    fn a_command_comes_word_by_word() {
        let words = |bytes: &[u8]| command(&mut &bytes[..]).ok();
        assert_eq!(words(b"3\nsh\0-c\0a\nb\0rest"), Some(vec!["sh".into(), "-c".into(), "a\nb".into()]));
        assert_eq!(words(b"2\nsh\0\0"), Some(vec!["sh".into(), "".into()]));
        for broken in [&b"2\nsh\0cut"[..], b"2\nsh\0", b"x\n", b""] {
            assert_eq!(words(broken), None);
        }
    }

    #[test]
    fn anything_but_a_signal_is_the_order_to_kill() {
        assert_eq!(signal_in("signal 15"), Some(Signal::SIGTERM));
        for line in ["kill", "signal", "signal 0", "signal x", ""] {
            assert_eq!(signal_in(line), None, "{line}");
        }
    }
}
