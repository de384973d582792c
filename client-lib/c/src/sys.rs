//! What is Linux's own, and the calls that nix does not offer in the form needed here.
#![allow(unsafe_code, reason = "foreign functions; each use says why it is sound")]

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::Uid;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor that is readable once it is set.
#[derive(Debug)]
pub(crate) struct Event(EventFd);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        Ok(Event(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Async-signal-safe: one write.
    pub(crate) fn set(&self) {
        // It counts up to 2^64 times; at its end it would be readable, too.
        let _ = self.0.write(1);
    }

    pub(crate) fn reset(&self) {
        // That it was not set is no error.
        let _ = self.0.read();
    }

    /// Puts a new one in its place, with the same number, for this process only.
    pub(crate) fn renew(&self) -> io::Result<()> {
        replace(self.as_fd(), Event::new()?.as_fd())
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that is readable when one of two is, as long as it is.
#[derive(Debug)]
pub(crate) struct Either(Epoll);

impl Either {
    pub(crate) fn of(sources: [BorrowedFd<'_>; 2]) -> io::Result<Either> {
        let all = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for source in sources {
            all.add(source, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        Ok(Either(all))
    }

    /// Puts a new one in its place, with the same number, for this process only.
    pub(crate) fn renew(&self, sources: [BorrowedFd<'_>; 2]) -> io::Result<()> {
        replace(self.as_fd(), Either::of(sources)?.as_fd())
    }
}

impl AsFd for Either {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// Lets a number stand for what another stands for.
fn replace(number: BorrowedFd<'_>, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open and stay so. Whoever owns the number owns it as before; only what it stands for has changed,
    // and what waits by it already goes on with what it was.
    let replaced = unsafe { libc::dup3(by.as_raw_fd(), number.as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The original gives the whole `sun_path` to the kernel, so the zeros after the text belong to the name.
const RENDEZVOUS: usize = 107;

/// Connects to the abstract name of an original supervisor, and says whose it is.
pub(crate) fn call(name: &str) -> io::Result<(OwnedFd, Uid)> {
    let mut padded = [0; RENDEZVOUS];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    let address = UnixAddr::new_abstract(&padded)?;
    let channel = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    while let Err(errno) = connect(channel.as_raw_fd(), &address) {
        if errno != nix::Error::EINTR {
            return Err(errno.into());
        }
    }
    let user = Uid::from_raw(getsockopt(&channel, PeerCredentials)?.uid());
    Ok((channel, user))
}

/// One line in the system's log, with the facility and name that the daemon has chosen by openlog.
pub(crate) fn log(priority: i32, line: &CStr) {
    // SAFETY: the format takes one string, which is given and ends with a zero byte.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), line.as_ptr()) };
}
