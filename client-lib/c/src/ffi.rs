//! The functions of `socket_protector.h`, which says what each does. Here a pointer becomes a [`Handle`], a failure
//! errno and syslog, and a panic an error: nothing unwinds into C.
#![allow(unsafe_code, reason = "the boundary to C: its pointers and its symbols; each use says why it is sound")]

pub(crate) mod handoff;

use crate::failure::Failure;
use crate::handle::Handle;
use crate::sys;
use nix::errno::Errno;
use socket_protector_client::descriptors::MAX_DESCRIPTORS;
use socket_protector_client::wire::MAX_STATE;
use socket_protector_client::{Connection, Error};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::{ptr, slice};

/// What C has a pointer to and cannot look into.
#[derive(Debug)]
pub struct PrivSocketProtector(Handle);

/// What the header calls SOCKET_PROTECTOR_NO_STATE.
const NO_STATE: usize = usize::MAX;

/// What several threads of C use at a time.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<PrivSocketProtector>();
};

#[unsafe(no_mangle)]
extern "C" fn socket_protector_create(port: u16) -> *mut PrivSocketProtector {
    opened("socket_protector_create", || Handle::create(port))
}

#[unsafe(no_mangle)]
extern "C" fn socket_protector_open() -> *mut PrivSocketProtector {
    opened("socket_protector_open", Handle::open)
}

#[unsafe(no_mangle)]
extern "C" fn socket_protector_standalone(listener: c_int) -> *mut PrivSocketProtector {
    opened("socket_protector_standalone", || {
        let failed = |source| Failure::Descriptor { descriptor: listener, source };
        if listener < 0 {
            return Err(failed(Errno::EBADF.into()));
        }
        // SAFETY: it is not -1, and whether it is open the duplication tells; the caller, who knows the number, keeps it
        // open during this call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(listener) };
        Handle::standalone(borrowed.try_clone_to_owned().map_err(failed)?)
    })
}

/// # Safety
/// `p` is NULL or came from a function that opens, and is not used by anybody from now on.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_destroy(p: *mut PrivSocketProtector) {
    guarded((), || {
        if !p.is_null() {
            // SAFETY: it came from Box::into_raw in `opened`, and the caller gives it back.
            drop(unsafe { Box::from_raw(p) });
        }
        Ok(())
    });
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed. May be called in a signal handler.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_terminate(p: *mut PrivSocketProtector) {
    let errno = Errno::last_raw();
    // Not `with`, which makes an error of NULL and tells errno. Neither this nor what it calls allocates or locks.
    guarded((), || {
        // SAFETY: as the caller promises.
        if let Some(protector) = unsafe { p.as_ref() } {
            protector.0.terminate();
        }
        Ok(())
    });
    Errno::set_raw(errno);
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_is_terminated(p: *mut PrivSocketProtector) -> bool {
    // SAFETY: as the caller promises.
    unsafe { with(p, true, |handle| Ok(handle.is_terminated())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_accept(p: *mut PrivSocketProtector) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| Ok(number(handle.accept(usize::MAX)?))) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `listener` is NULL or can be written to.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_accept_from(p: *mut PrivSocketProtector, listener: *mut usize) -> c_int {
    let accept = |handle: &Handle| {
        let connection = handle.accept(usize::MAX)?;
        if !listener.is_null() {
            // SAFETY: as the caller promises.
            unsafe { listener.write(connection.listener()) };
        }
        Ok(number(connection))
    };
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, accept) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `listener` is NULL or can be written to, and so
/// can `length`, and `size` bytes from `state` on, which is not NULL unless `size` is 0.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_accept_state(
    p: *mut PrivSocketProtector,
    listener: *mut usize,
    state: *mut c_void,
    size: usize,
    length: *mut usize,
) -> c_int {
    let accept = |handle: &Handle| {
        if length.is_null() || (state.is_null() && size > 0) {
            return Err(Failure::Argument);
        }
        let mut connection = handle.accept(size).inspect_err(|failure| {
            if let Failure::Client(Error::NoRoom { length: needed }) = failure {
                // SAFETY: it is not NULL, and else as the caller promises.
                unsafe { length.write(*needed) };
            }
        })?;
        let left = connection.take_state();
        // SAFETY: it is not NULL, and else as the caller promises.
        unsafe { length.write(left.as_ref().map_or(NO_STATE, Vec::len)) };
        if let Some(left) = left.filter(|left| !left.is_empty()) {
            // SAFETY: there is room for it, or it would not have been taken, and so `state` is not NULL; else as the
            // caller promises. What was just received is not the caller's memory.
            unsafe { ptr::copy_nonoverlapping(left.as_ptr(), state.cast(), left.len()) };
        }
        if !listener.is_null() {
            // SAFETY: as the caller promises.
            unsafe { listener.write(connection.listener()) };
        }
        Ok(number(connection))
    };
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, accept) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `fd` is the caller's, who keeps it open during
/// this call, and not any longer after success; `length` bytes can be read from `state` on, or `state` is NULL.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_give_back(
    p: *mut PrivSocketProtector,
    fd: c_int,
    listener: usize,
    state: *const c_void,
    length: usize,
) -> c_int {
    let give_back = |handle: &Handle| {
        if state.is_null() && length > 0 {
            return Err(Failure::Argument);
        }
        if length > MAX_STATE {
            return Err(Error::StateTooLong { length }.into());
        }
        if fd < 0 {
            return Err(Failure::Descriptor { descriptor: fd, source: Errno::EBADF.into() });
        }
        let state = match state.is_null() {
            true => &[][..],
            // SAFETY: it is not NULL and the length is not beyond what a slice may have; else as the caller promises.
            false => unsafe { slice::from_raw_parts(state.cast::<u8>(), length) },
        };
        // SAFETY: it is not -1, and whether it is open the sending tells; the caller keeps it open during this call.
        handle.give_back(unsafe { BorrowedFd::borrow_raw(fd) }, listener, state)?;
        // SAFETY: it is open, or it could not have been sent, and the caller leaves it to us.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(0)
    };
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, give_back) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `text` is NULL or a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_status(p: *mut PrivSocketProtector, text: *const c_char) -> c_int {
    let status = |handle: &Handle| {
        if text.is_null() {
            return Err(Failure::Argument);
        }
        // SAFETY: it is not NULL, and else as the caller promises.
        let text = unsafe { CStr::from_ptr(text) };
        handle.status(&text.to_string_lossy()).map(|()| 0)
    };
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, status) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_open_connections(p: *mut PrivSocketProtector, count: u32) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| handle.open_connections(count).map(|()| 0)) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_fd(p: *mut PrivSocketProtector) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, Handle::readable) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_set_nonblocking(p: *mut PrivSocketProtector, nonblocking: bool) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| handle.set_nonblocking(nonblocking).map(|()| 0)) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_ready(p: *mut PrivSocketProtector) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| handle.ready().map(|()| 0)) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_is_draining(p: *mut PrivSocketProtector) -> bool {
    // SAFETY: as the caller promises.
    unsafe { with(p, true, |handle| Ok(handle.is_draining())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_generation(p: *const PrivSocketProtector) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { with(p, 0, |handle| Ok(handle.generation())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_name(p: *const PrivSocketProtector) -> *const c_char {
    // SAFETY: as the caller promises.
    unsafe { with(p, ptr::null(), |handle| Ok(handle.name().as_ptr())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_listener_count(p: *const PrivSocketProtector) -> usize {
    // SAFETY: as the caller promises.
    unsafe { with(p, 0, |handle| Ok(handle.listener_names().len())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_listener_name(p: *const PrivSocketProtector, index: usize) -> *const c_char {
    let name = |handle: &Handle| handle.listener_names().get(index).map(|name| name.as_ptr()).ok_or(Failure::Argument);
    // SAFETY: as the caller promises.
    unsafe { with(p, ptr::null(), name) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_listener_fd(p: *const PrivSocketProtector, index: usize) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| handle.listener(index)) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `name` is NULL or a string; `count` numbers can be
/// read from `fds` on, or `fds` is NULL, and the caller keeps those descriptors open during this call.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_store(
    p: *mut PrivSocketProtector,
    name: *const c_char,
    fds: *const c_int,
    count: usize,
) -> c_int {
    let store = |handle: &Handle| {
        if fds.is_null() || !(1..=MAX_DESCRIPTORS).contains(&count) {
            return Err(Failure::Argument);
        }
        // SAFETY: it is not NULL and the length is not beyond what a slice may have; else as the caller promises.
        let numbers = unsafe { slice::from_raw_parts(fds, count) };
        if let Some(&descriptor) = numbers.iter().find(|&&number| number < 0) {
            return Err(Failure::Descriptor { descriptor, source: Errno::EBADF.into() });
        }
        // SAFETY: none is -1, and whether they are open the sending tells; the caller keeps them open during this call.
        let borrowed: Vec<_> = numbers.iter().map(|&number| unsafe { BorrowedFd::borrow_raw(number) }).collect();
        // SAFETY: as the caller promises.
        handle.store(unsafe { text(name) }?, &borrowed).map(|()| 0)
    };
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, store) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `name` is NULL or a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_unstore(p: *mut PrivSocketProtector, name: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| handle.unstore(text(name)?).map(|()| 0)) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed; `name` is NULL or a string.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_take_stored(p: *mut PrivSocketProtector, name: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { with(p, -1, |handle| Ok(handle.take_stored(text(name)?)?.into_raw_fd())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_stored_count(p: *const PrivSocketProtector) -> usize {
    // SAFETY: as the caller promises.
    unsafe { with(p, 0, |handle| Ok(handle.stored_names().len())) }
}

/// # Safety
/// `p` is NULL or came from a function that opens and was not destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_stored_name(p: *const PrivSocketProtector, index: usize) -> *const c_char {
    let name = |handle: &Handle| handle.stored_names().get(index).map(|name| name.as_ptr()).ok_or(Failure::Argument);
    // SAFETY: as the caller promises.
    unsafe { with(p, ptr::null(), name) }
}

#[unsafe(no_mangle)]
extern "C" fn socket_protector_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// A name that C gives; bytes that are no UTF-8 are in none.
///
/// # Safety
/// `text` is NULL or a string that outlives what is made of it.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Argument);
    }
    // SAFETY: it is not NULL, and else as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Failure::Argument)
}

/// A connection as C has it, without what state it came with.
fn number(connection: Connection) -> c_int {
    OwnedFd::from(connection).into_raw_fd()
}

/// Opens a source. Here failures go to the system's log, too: a daemon that cannot start has no other place.
fn opened(function: &'static str, open: impl FnOnce() -> Result<Handle, Failure>) -> *mut PrivSocketProtector {
    panics_go_to_the_log();
    guarded(ptr::null_mut(), || match open() {
        Ok(handle) => Ok(Box::into_raw(Box::new(PrivSocketProtector(handle)))),
        Err(failure) => {
            if !matches!(failure, Failure::NoSupervisor) {
                log(libc::LOG_ERR, &format!("{function}: {}", failure.in_full()));
            }
            Err(failure)
        }
    })
}

/// Calls with the handle behind a pointer of C.
///
/// # Safety
/// `p` is NULL or came from `opened` and was not destroyed.
unsafe fn with<T>(p: *const PrivSocketProtector, failed: T, call: impl FnOnce(&Handle) -> Result<T, Failure>) -> T {
    // SAFETY: as the caller promises.
    let protector = unsafe { p.as_ref() };
    guarded(failed, || call(&protector.ok_or(Failure::Argument)?.0))
}

/// The boundary: a failure is told by errno, and a panic is one.
fn guarded<T>(failed: T, call: impl FnOnce() -> Result<T, Failure>) -> T {
    // What a panic leaves behind is used again only to destroy it.
    let errno = match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return value,
        Ok(Err(failure)) => failure.errno(),
        Err(_) => libc::ENOTRECOVERABLE,
    };
    Errno::set_raw(errno);
    failed
}

/// Standard error may be anything in a daemon, even a client's connection.
fn panics_go_to_the_log() {
    static SET: Once = Once::new();
    SET.call_once(|| panic::set_hook(Box::new(|panic| log(libc::LOG_CRIT, &format!("libsocket_protector: {panic}")))));
}

fn log(priority: c_int, text: &str) {
    // A message has one line and no zero byte, except for what it cites.
    let line = text.replace(['\0', '\n'], " ");
    sys::log(priority, &CString::new(line).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_stops_at_the_boundary() {
        panics_go_to_the_log();
        Errno::set_raw(0);
        let answer = guarded(-1, || panic!("a defect"));
        assert_eq!((answer, Errno::last_raw()), (-1, libc::ENOTRECOVERABLE));
    }

    #[test]
    fn a_failure_is_told_by_errno() {
        assert_eq!(guarded(-1, || Err(Failure::Drained)), -1);
        assert_eq!(Errno::last_raw(), libc::ESHUTDOWN);
        assert_eq!(guarded(-1, || Ok(7)), 7);
    }
}
