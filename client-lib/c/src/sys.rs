//! The two calls that nix does not offer in the form needed here.
#![allow(unsafe_code, reason = "foreign functions; each use says why it is sound")]

use nix::sys::eventfd::EventFd;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

/// Puts `new` in the place of `old`, which keeps its number, for this process only.
pub(crate) fn replace(old: &EventFd, new: EventFd) -> io::Result<()> {
    // SAFETY: both numbers are open and owned by their event; `old` owns the number as before, and only what the number
    // stands for has changed. What waits by it already goes on with what it was.
    let replaced = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One line in the system's log, with the facility and name that the daemon has chosen by openlog.
pub(crate) fn log(priority: i32, line: &CStr) {
    // SAFETY: the format takes one string, which is given and ends with a zero byte.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
}
