//! Processes as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(Signal),
}

/// Daemons whose starter has gone come to us, so that their exit codes can be seen.
pub(crate) fn become_subreaper() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
}

/// Thousands of clients need thousands of descriptors.
pub(crate) fn raise_descriptor_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// Collects the exit of a process that is ours, if it has ended.
pub(crate) fn reap(pid: Pid) -> Option<Exit> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => Some(Exit::Code(code)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal)),
        Ok(_) => None,
        Err(error) => panic!("cannot wait for {pid}: {error}"),
    }
}

/// Sends a signal; a process that is already gone is no error.
pub(crate) fn send(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot send {signal} to {pid}: {error}"),
    }
}

/// The fields of `/proc/PID/stat` after the command: state, ppid, pgrp, session, …
fn stat(pid: Pid) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Whether the process runs; one that only waits to be reaped does not.
pub(crate) fn alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// Whether the process is stopped.
pub(crate) fn stopped(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// Whether the process is in this system call.
pub(crate) fn calls(pid: Pid, number: libc::c_long) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(&number.to_string())
}

/// The parent, while the process is there.
pub(crate) fn parent(pid: Pid) -> Option<Pid> {
    stat(pid)?[1].parse().ok().map(Pid::from_raw)
}

/// Processor time used so far, user and system together.
pub(crate) fn processor_time(pid: Pid) -> Duration {
    let fields = stat(pid).unwrap_or_else(|| panic!("{pid} is gone"));
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap();
    Duration::from_millis(ticks * 1000 / u64::try_from(per_second).unwrap())
}

/// Every process there is.
fn all() -> Vec<Pid> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .collect()
}

/// The living processes that have `NAME=VALUE` in the environment they were started with.
pub(crate) fn tagged(tag: &str) -> Vec<Pid> {
    let carries = |pid: &Pid| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|&b| b == 0).any(|entry| entry == tag.as_bytes()))
    };
    all().into_iter().filter(carries).filter(|&pid| alive(pid)).collect()
}

/// The living children of a process.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    all().into_iter().filter(|&other| parent(other) == Some(pid) && alive(other)).collect()
}

/// Everything that a process holds, to be compared with what it held before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// How many descriptors there are of each kind; files by their path, the rest by type.
    pub(crate) descriptors: BTreeMap<String, usize>,
    /// How many children, dead ones that nobody reaped included.
    pub(crate) children: usize,
}

/// Whether the process waits for something to happen.
pub(crate) fn sleeps(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "S")
}

/// Counts what `pid` holds now.
pub(crate) fn census(pid: Pid) -> Census {
    let mut descriptors = BTreeMap::new();
    for target in descriptors_of(pid).into_values() {
        let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
        *descriptors.entry(kind).or_insert(0) += 1;
    }
    let children = all().into_iter().filter(|&other| parent(other) == Some(pid)).count();
    Census { descriptors, children }
}

/// Descriptor numbers with what they refer to.
pub(crate) fn descriptors_of(pid: Pid) -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// One line for a failed test's report.
pub(crate) fn describe(pid: Pid) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline"))
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .unwrap_or_default();
    match stat(pid) {
        Some(fields) => format!("{pid} state {} ppid {} group {}: {command}", fields[0], fields[1], fields[2]),
        None => format!("{pid} gone"),
    }
}
