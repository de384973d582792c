//! The few calls of the suite that the compiler cannot check.
#![allow(unsafe_code, reason = "inherited descriptors and calls that nix does not offer")]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::thread::RawPthread;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;

/// Takes over a descriptor that this process inherited and that nothing else in it owns.
pub(crate) fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the environment named this number as ours, and each number is adopted once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

extern "C" fn nothing(_signal: libc::c_int) {}

/// Makes `signal` interrupt system calls and do nothing else.
pub(crate) fn interrupt_on(signal: Signal) {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing at all.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// Ignores `signal`, also in the programs executed afterwards.
pub(crate) fn ignore(signal: Signal) {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// Sends `signal` to one thread of this process.
pub(crate) fn signal_thread(thread: RawPthread, signal: Signal) {
    // SAFETY: the thread is the main one, which lives as long as the process.
    unsafe { libc::pthread_kill(thread, signal as libc::c_int) };
}

/// The calling thread, for `signal_thread`.
pub(crate) fn this_thread() -> RawPthread {
    // SAFETY: pthread_self cannot fail.
    unsafe { libc::pthread_self() }
}

/// Sets the soft limit of processes that another process may have.
pub(crate) fn limit_processes(pid: Pid, soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both pointers are valid for the call or null.
    let read = unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_NPROC, std::ptr::null(), &raw mut limit) };
    assert_eq!(read, 0, "prlimit: {}", std::io::Error::last_os_error());
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: as above.
    let set = unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_NPROC, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "prlimit: {}", std::io::Error::last_os_error());
}

/// Leaves the network that this process shares with others, for one without anything in it.
pub(crate) fn own_network() {
    // SAFETY: a system call on a value.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "unshare: {}", std::io::Error::last_os_error());
}

/// Leaves an inheritable duplicate at a number that nothing in this process owns.
pub(crate) fn duplicate_to(file: &impl AsFd, number: RawFd) {
    // SAFETY: dup2 touches no memory.
    let made = unsafe { libc::dup2(file.as_fd().as_raw_fd(), number) };
    assert_eq!(made, number, "dup2: {}", std::io::Error::last_os_error());
}

/// Gives the calling thread, and those that it starts, a table of descriptors of their own.
pub(crate) fn unshare_descriptors() {
    // SAFETY: copies the table of descriptors and touches no memory.
    let done = unsafe { libc::unshare(libc::CLONE_FILES) };
    assert_eq!(done, 0, "unshare: {}", std::io::Error::last_os_error());
}

/// Sets a variable for the program that this process is about to become.
pub(crate) fn set_variable(name: &str, value: &str) {
    // SAFETY: the process has one thread.
    unsafe { std::env::set_var(name, value) };
}
