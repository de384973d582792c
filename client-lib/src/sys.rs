//! What is Linux's own, and the system calls that nix does not offer in the form needed here; the only unsafe code of
//! this crate.
#![allow(unsafe_code, reason = "system calls on raw buffers and inherited descriptors; each use says why it is sound")]

mod forks;
mod pollable;
#[cfg(feature = "tokio")]
mod readiness;

pub(crate) use forks::Unshared;
pub(crate) use pollable::Pollable;
#[cfg(feature = "tokio")]
pub(crate) use pollable::end_of;
#[cfg(feature = "tokio")]
pub(crate) use readiness::Readiness;

use crate::descriptors::MAX_DESCRIPTORS;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::fs::MetadataExt;
use std::ptr;

/// Room for the descriptors of one record, aligned as `struct cmsghdr` wants it.
type Control = [MaybeUninit<u64>; CONTROL_WORDS];
const CONTROL_WORDS: usize = CONTROL_BYTES.div_ceil(size_of::<u64>());
// SAFETY: arithmetic only, on a constant.
const CONTROL_BYTES: usize = unsafe {
    // The credentials come only where they were asked for on the socket.
    libc::CMSG_SPACE((MAX_DESCRIPTORS * mem::size_of::<RawFd>()) as u32) as usize
        + libc::CMSG_SPACE(mem::size_of::<libc::ucred>() as u32) as usize
};

/// One `sendmsg` without waiting and without SIGPIPE: how many bytes it took. At most [`MAX_DESCRIPTORS`] descriptors.
pub(crate) fn send_message(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut control: Control = [MaybeUninit::uninit(); CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = message(&mut part);
    if !descriptors.is_empty() {
        let payload = mem::size_of_val(descriptors) as u32;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the caller keeps to MAX_DESCRIPTORS, so header and payload lie within `control`, which is aligned
        // for them; BorrowedFd has the layout of RawFd (its documentation says so).
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(payload) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(payload) as _;
            ptr::copy_nonoverlapping(descriptors.as_ptr().cast(), libc::CMSG_DATA(header), payload as usize);
        }
    }
    // SAFETY: `message` points to `part`, `bytes` and `control`, which all outlive the call; nothing is written to them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// One `recvmsg`: how many bytes came, whether bytes or descriptors were cut off, and who sent it, where the socket has
/// `SO_PASSCRED`.
pub(crate) fn receive_message(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<(usize, bool, Option<libc::ucred>)> {
    let mut control: Control = [MaybeUninit::uninit(); CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = message(&mut part);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_CMSG_CLOEXEC | if wait { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: `message` points to `part`, `buffer` and `control`, which all outlive the call and may be written to.
    let bytes = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
    if bytes < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut sender = None;
    // SAFETY: the kernel filled `control` up to msg_controllen with whole control messages, which the CMSG functions
    // walk; the descriptors in them were made for this process by this call, so nobody else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let payload = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let first: *const RawFd = libc::CMSG_DATA(header).cast();
                for index in 0..payload / mem::size_of::<RawFd>() {
                    descriptors.push(OwnedFd::from_raw_fd(first.add(index).read_unaligned()));
                }
            }
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_CREDENTIALS {
                sender = Some(libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned());
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Ok((bytes as usize, message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0, sender))
}

/// Takes the next connection of a listener, close-on-exec and in blocking mode whatever the listener's own mode is.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: no address is asked for, so the kernel writes nowhere; the descriptor is new and nobody else's.
    unsafe {
        let socket = libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), libc::SOCK_CLOEXEC);
        if socket < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(socket)) }
    }
}

/// A descriptor to [`poll`], with what is asked and answered.
pub(crate) type Watched = libc::pollfd;

/// A socket whose other end closes, or stops sending, has an answer besides what there is to read.
const CLOSED: i16 = libc::POLLRDHUP | libc::POLLHUP;

/// An entry that is answered when there is something to read, be it end of file.
pub(crate) fn watch(descriptor: BorrowedFd<'_>) -> Watched {
    Watched { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// An entry that is answered when there is room to send, or the socket has failed.
pub(crate) fn watch_for_room(socket: BorrowedFd<'_>) -> Watched {
    Watched { events: libc::POLLOUT, ..watch(socket) }
}

/// An entry that is answered when a socket has failed, or was shut down both ways.
pub(crate) fn watch_for_failure(socket: BorrowedFd<'_>) -> Watched {
    Watched { events: 0, ..watch(socket) }
}

/// An entry that is never answered.
pub(crate) const UNWATCHED: Watched = Watched { fd: -1, events: 0, revents: 0 };

/// Whether the other end of a socket has closed or shut down its side. Reads nothing.
pub(crate) fn is_closed(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut watched = [Watched { events: libc::POLLRDHUP, ..watch(socket) }];
    poll(&mut watched, 0)?;
    Ok(watched[0].revents & CLOSED != 0)
}

/// Waits until there is room to send, or the socket has failed, at most so long.
pub(crate) fn wait_for_room(socket: BorrowedFd<'_>, milliseconds: i32) -> io::Result<()> {
    poll(&mut [watch_for_room(socket)], milliseconds)
}

/// An option of a socket that is a number (socket(7)).
pub(crate) fn socket_option(socket: BorrowedFd<'_>, name: i32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    let mut length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`, for which there is room.
    let asked =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut length) };
    if asked < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The end of the channel tells this process that its supervisor has died; a signal is not wanted for it.
pub(crate) fn switch_parent_death_signal_off() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(None)?)
}

/// Waits until one of the entries has an event, at most `milliseconds` or, with -1, for ever. nix's poll hides the
/// answer as soon as it carries POLLRDHUP, which is the one that matters here.
pub(crate) fn poll(watched: &mut [Watched], milliseconds: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice, whose entries the kernel updates in place. A number
    // that is no descriptor any more would only be answered with POLLNVAL.
    let answered = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, milliseconds) };
    if answered < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Looks at an inherited descriptor that is only a number yet, if it is open.
pub(crate) fn with_inherited<T>(number: RawFd, look: fn(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
    // SAFETY: asking for the flags of a number that is no descriptor fails and does nothing else.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (just seen, and not -1), and the borrow ends with this call.
    look(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Owns an inherited descriptor that was looked at with [`with_inherited`].
pub(crate) fn own_inherited(number: RawFd) -> OwnedFd {
    // SAFETY: it is open and is what the supervisor put there for this process; the environment that tells its number
    // is taken only once, so there is one owner.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Lets a number stand for what another stands for.
pub(crate) fn replace(number: BorrowedFd<'_>, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open and stay so. Whoever owns the number owns it as before; only what it stands for changes.
    let replaced = unsafe { libc::dup3(by.as_raw_fd(), number.as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Removes variables from the environment, if nobody can be reading it: with a second thread they stay.
pub(crate) fn remove_variables(names: &[&str]) {
    // A directory has two links and one more for each directory in it, here one for each thread.
    let alone = std::fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.st_nlink() == 3);
    if alone {
        for name in names {
            // SAFETY: this is the only thread, so no other can read or change the environment meanwhile.
            unsafe { std::env::remove_var(name) };
        }
    }
}

fn message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: a msghdr is numbers and pointers, for all of which zero is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}
