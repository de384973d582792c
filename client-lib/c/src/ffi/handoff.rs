//! The functions of `socket_protector.h` for handoffs between programs.

use super::{guarded, panics_go_to_the_log};
use crate::failure::Failure;
use nix::errno::Errno;
use socket_protector_client::handoff::key_value::{self, KeyValue};
use socket_protector_client::handoff::{CallbackError, Descriptor, Error, Receiver, Sender};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use std::{ptr, slice};

/// `struct SocketProtectorDescriptor`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ToSend {
    descriptor: c_int,
    metadata: *const c_void,
    length: usize,
}

/// `struct SocketProtectorPair`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pair {
    key: *const c_char,
    value: *const c_void,
    length: usize,
}

/// `SocketProtectorTake`.
type Take = unsafe extern "C" fn(fd: c_int, metadata: *const c_void, length: usize, context: *mut c_void) -> c_int;

/// What [`Take`] answers when it keeps the descriptor.
const KEPT: c_int = 1;

/// That a callback of C has refused a descriptor, with the errno that it left.
#[derive(Debug, thiserror::Error)]
#[error("the callback refused it")]
struct Refused {
    errno: i32,
}

/// # Safety
/// `path` is NULL or a string; `count` elements can be read from `all` on, or it is NULL, and `length` bytes from the
/// `metadata` of each, or it is NULL; every descriptor is the caller's, who keeps it open during this call.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_send(
    path: *const c_char,
    all: *const ToSend,
    count: usize,
    milliseconds: c_int,
) -> c_int {
    called(|| {
        // SAFETY: as the caller promises.
        let (path, all) = unsafe { (path_of(path)?, to_send(all, count)?) };
        sender(milliseconds).send(path, &all)?;
        Ok(0)
    })
}

/// # Safety
/// As [`socket_protector_send`]; `stream` is the caller's, who keeps it open during this call.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_send_to(
    stream: c_int,
    all: *const ToSend,
    count: usize,
    milliseconds: c_int,
) -> c_int {
    called(|| {
        // SAFETY: as the caller promises.
        let (stream, all) = unsafe { (borrowed(stream)?, to_send(all, count)?) };
        sender(milliseconds).send_to(stream, &all)?;
        Ok(0)
    })
}

/// # Safety
/// `path` is NULL or a string; `take` may be called with `context`, and does not unwind.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_receive(
    path: *const c_char,
    take: Option<Take>,
    context: *mut c_void,
    milliseconds: c_int,
) -> isize {
    called(|| {
        // SAFETY: as the caller promises.
        let path = unsafe { path_of(path)? };
        // SAFETY: as the caller promises.
        Ok(receiver(milliseconds).receive(path, unsafe { taking(take, context)? })? as isize)
    })
}

/// # Safety
/// `stream` is the caller's, who keeps it open during this call; `take` may be called with `context`, and does not
/// unwind.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_receive_from(
    stream: c_int,
    take: Option<Take>,
    context: *mut c_void,
    milliseconds: c_int,
) -> isize {
    called(|| {
        // SAFETY: as the caller promises.
        let stream = unsafe { borrowed(stream)? };
        // SAFETY: as the caller promises.
        Ok(receiver(milliseconds).receive_from(stream, unsafe { taking(take, context)? })? as isize)
    })
}

/// # Safety
/// As [`socket_protector_receive_from`].
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_receive_all_from(
    stream: c_int,
    take: Option<Take>,
    context: *mut c_void,
    milliseconds: c_int,
) -> isize {
    called(|| {
        // SAFETY: as the caller promises.
        let stream = unsafe { borrowed(stream)? };
        // SAFETY: as the caller promises.
        Ok(receiver(milliseconds).receive_all_from(stream, unsafe { taking(take, context)? })? as isize)
    })
}

/// # Safety
/// `count` elements can be read from `pairs` on, or it is NULL; the `key` of each is NULL or a string, and `length` bytes
/// can be read from its `value`, or it is NULL; `size` bytes can be written from `buffer` on, or it is NULL.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_metadata_map(
    pairs: *const Pair,
    count: usize,
    buffer: *mut c_void,
    size: usize,
) -> isize {
    called(|| {
        if (pairs.is_null() && count > 0) || buffer.is_null() {
            return Err(Failure::Argument);
        }
        let pair = |index: usize| {
            // SAFETY: there are so many, and else as the caller promises.
            let Pair { key, value, length } = unsafe { *pairs.add(index) };
            if key.is_null() {
                return Err(Failure::Argument);
            }
            // SAFETY: it is not NULL, and else as the caller promises.
            Ok(unsafe { (CStr::from_ptr(key).to_bytes(), bytes(value, length)?) })
        };
        let pairs = (0..count).map(pair).collect::<Result<Vec<_>, _>>()?;
        let mut map = Vec::new();
        key_value::encode(&pairs, &mut map).map_err(|_| Failure::Argument)?;
        if map.len() > size {
            return Err(Failure::NoRoom { length: map.len(), size });
        }
        // SAFETY: it is not NULL, there is room, and what was just made is not the caller's memory.
        unsafe { ptr::copy_nonoverlapping(map.as_ptr(), buffer.cast(), map.len()) };
        Ok(map.len() as isize)
    })
}

/// # Safety
/// `length` bytes can be read from `metadata` on, or it is NULL; `key` is NULL or a string; `value_length` is NULL or can
/// be written to.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket_protector_metadata_get(
    metadata: *const c_void,
    length: usize,
    key: *const c_char,
    value_length: *mut usize,
) -> *const c_void {
    guarded(ptr::null(), || {
        if key.is_null() || value_length.is_null() {
            return Err(Failure::Argument);
        }
        // SAFETY: it is not NULL, and else as the caller promises.
        let (metadata, key) = unsafe { (bytes(metadata, length)?, CStr::from_ptr(key)) };
        let map = KeyValue::decode(metadata).map_err(|source| Failure::NoMap { source })?;
        let value = map.get(key.to_bytes()).ok_or(Failure::NoKey)?;
        // SAFETY: it is not NULL, and else as the caller promises.
        unsafe { value_length.write(value.len()) };
        Ok(value.as_ptr().cast())
    })
}

/// # Safety
/// `length` bytes can be read from `start` on as long as the answer is used, or it is NULL.
unsafe fn bytes<'b>(start: *const c_void, length: usize) -> Result<&'b [u8], Failure> {
    match (start.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::Argument),
        // More than an object can have, which no caller can promise.
        (false, length) if isize::try_from(length).is_err() => Err(Failure::Argument),
        // SAFETY: it is not NULL, and else as the caller promises.
        (false, length) => Ok(unsafe { slice::from_raw_parts(start.cast(), length) }),
    }
}

/// The boundary of these functions, which need no `p` to have been opened.
fn called<N: From<i8>>(call: impl FnOnce() -> Result<N, Failure>) -> N {
    panics_go_to_the_log();
    guarded(N::from(-1), call)
}

/// A negative time is for ever.
fn limit(milliseconds: c_int) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

fn sender(milliseconds: c_int) -> Sender {
    Sender::new().time_limit(limit(milliseconds))
}

fn receiver(milliseconds: c_int) -> Receiver {
    Receiver::new().time_limit(limit(milliseconds))
}

/// # Safety
/// `path` is NULL or a string that lives as long as the answer is used.
unsafe fn path_of<'p>(path: *const c_char) -> Result<&'p Path, Failure> {
    if path.is_null() {
        return Err(Failure::Argument);
    }
    // SAFETY: it is not NULL, and else as the caller promises.
    Ok(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes())))
}

/// # Safety
/// The descriptor is the caller's, who keeps it open as long as the answer is used.
unsafe fn borrowed<'d>(descriptor: c_int) -> Result<BorrowedFd<'d>, Failure> {
    if descriptor < 0 {
        return Err(Failure::Descriptor { descriptor, source: Errno::EBADF.into() });
    }
    // SAFETY: it is not -1, and whether it is open its use tells; else as the caller promises.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

/// # Safety
/// As for [`socket_protector_send`], as long as the answer is used.
unsafe fn to_send<'a>(all: *const ToSend, count: usize) -> Result<Vec<(BorrowedFd<'a>, &'a [u8])>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if all.is_null() {
        return Err(Failure::Argument);
    }
    // SAFETY: it is not NULL, and else as the caller promises.
    let all = unsafe { slice::from_raw_parts(all, count) };
    let one = |one: &ToSend| {
        // SAFETY: as the caller promises.
        let descriptor = unsafe { borrowed(one.descriptor)? };
        // SAFETY: as the caller promises.
        let metadata = unsafe { bytes(one.metadata, one.length)? };
        Ok((descriptor, metadata))
    };
    all.iter().map(one).collect()
}

/// # Safety
/// `take` may be called with `context` as long as the answer is used, and does not unwind.
unsafe fn taking(
    take: Option<Take>,
    context: *mut c_void,
) -> Result<impl FnMut(Descriptor, &[u8]) -> Result<(), CallbackError>, Failure> {
    let take = take.ok_or(Failure::Argument)?;
    Ok(move |descriptor: Descriptor, metadata: &[u8]| {
        let descriptor = OwnedFd::from(descriptor);
        Errno::set_raw(0);
        // SAFETY: as the caller promises; the metadata is there until it returns.
        let answer = unsafe { take(descriptor.as_raw_fd(), metadata.as_ptr().cast(), metadata.len(), context) };
        match answer {
            KEPT => drop(descriptor.into_raw_fd()),
            0 => drop(descriptor),
            _ => {
                let errno = Errno::last_raw();
                drop(descriptor);
                return Err(Refused { errno: if errno == 0 { libc::ECANCELED } else { errno } }.into());
            }
        }
        Ok(())
    })
}

/// What errno is for an error of a handoff.
pub(crate) fn number(error: &Error) -> i32 {
    match error {
        Error::Connect { source, .. }
        | Error::Listen { source, .. }
        | Error::Peer { source }
        | Error::Accept { source }
        | Error::Send { source }
        | Error::Receive { source } => crate::failure::number(source),
        Error::Stranger { .. } => libc::EACCES,
        Error::MetadataTooLong { .. } => libc::EMSGSIZE,
        Error::CutOff { .. } => libc::EMFILE,
        Error::NoDescriptor { .. } | Error::Surplus { .. } | Error::Frame { .. } => libc::EBADMSG,
        Error::Ended { .. } => libc::ECONNABORTED,
        Error::Callback { source, .. } => source.downcast_ref::<Refused>().map_or(libc::EIO, |refused| refused.errno),
        // The client library may learn to fail in more ways.
        _ => libc::EIO,
    }
}
