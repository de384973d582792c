//! What a relay does for every connection or every byte, without a detour; and a unix socket's file that is its owner's from birth.

use nix::sys::stat::{Mode as Permissions, fchmod};
use socket2::{SockAddr, Socket};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

/// Whether calls on a socket wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Blocking,
    NonBlocking,
}

/// The next connection of a listener, close-on-exec and in the mode asked for, whatever the listener's own is. Whose it
/// is is not asked: whoever needs that can ask later, and here it would only be copied. See accept4(2).
///
/// # Errors
/// Those of accept4(2).
pub(crate) fn accept(listener: BorrowedFd<'_>, mode: Mode) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | if mode == Mode::NonBlocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: without a place for an address the kernel writes none; on success the result is a new descriptor, which
    // nobody else owns.
    unsafe {
        match libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) {
            -1 => Err(io::Error::last_os_error()),
            number => Ok(OwnedFd::from_raw_fd(number)),
        }
    }
}

/// Moves up to `most` bytes from a socket into a pipe or out of it, within the kernel; never waits for the pipe. 0 is
/// the end of file. See splice(2).
///
/// # Errors
/// Those of splice(2).
pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: both are open descriptors, and without offsets nothing of ours is read or written.
    let moved = unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), most, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Binds a unix socket to a path where there is nothing. The file is for its owner alone (0600) from birth, and not by a chmod that comes
/// too late: Linux gives it the mode of its socket, see unix(7). The umask would be the whole process', in which other threads may make
/// files.
///
/// # Errors
/// Those of fchmod(2) and bind(2).
pub(crate) fn bind_for_owner(socket: &Socket, path: &Path) -> io::Result<()> {
    fchmod(socket, Permissions::S_IRUSR | Permissions::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)
}
