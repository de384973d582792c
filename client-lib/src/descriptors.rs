//! Records with descriptors over a unix socket that keeps record boundaries.
//!
//! Neither side allocates for a call; the receiver owns every descriptor that arrives, also those of a record that it
//! then refuses, so none can leak. What the bytes mean is not known here.

use crate::sys;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The most descriptors that the kernel passes in one record (`SCM_MAX_FD`, unix(7)).
pub const MAX_DESCRIPTORS: usize = 253;

/// What one call of [`receive`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes of the buffer were filled; 0 is end of file.
    pub bytes: usize,
    /// Whether bytes or descriptors were cut off: the buffer was too short, or this process has no descriptor left.
    pub truncated: bool,
}

/// Sends one record and waits for nothing: a full socket is [`io::ErrorKind::WouldBlock`], and a closed peer an error
/// instead of a signal. On a `SOCK_SEQPACKET` socket a record goes out as a whole or not at all.
///
/// `ETOOMANYREFS` (this user has too many descriptors under way) is passed on as it is.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    send_some(socket, bytes, descriptors).map(drop)
}

/// Sends like [`send`], on a stream, which may take the first bytes only: how many. The descriptors, at most
/// [`MAX_DESCRIPTORS`], go with them.
pub(crate) fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    retry(|| sys::send_message(socket, bytes, descriptors))
}

/// Receives one record, appends its descriptors (close-on-exec) to `descriptors`, and waits for one only if told so.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<Received> {
    let (bytes, truncated, _) = retry(|| sys::receive_message(socket, buffer, descriptors, wait))?;
    Ok(Received { bytes, truncated })
}

/// Who sent a datagram, as the kernel vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The process; it may have ended since.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// Receives one datagram without waiting, like [`receive`], on a socket with `SO_PASSCRED`, and tells who sent it.
pub fn receive_from(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<(Received, Option<Sender>)> {
    let (bytes, truncated, sender) = retry(|| sys::receive_message(socket, buffer, descriptors, false))?;
    let sender = sender.map(|sender| Sender { pid: sender.pid, uid: sender.uid });
    Ok((Received { bytes, truncated }, sender))
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::sys::stat::fstat;
    use std::fs::File;
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn descriptors_arrive_in_order_owned_and_close_on_exec() {
        let (here, there) = pair();
        let files: Vec<File> = (0..MAX_DESCRIPTORS).map(|_| File::open("/proc/self/stat").unwrap()).collect();
        let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        send(here.as_fd(), b"record", &borrowed).unwrap();
        let mut buffer = [0; 16];
        let mut arrived = Vec::new();
        let received = receive(there.as_fd(), &mut buffer, &mut arrived, true).unwrap();
        assert_eq!(received, Received { bytes: 6, truncated: false });
        assert_eq!(&buffer[..6], b"record");
        assert_eq!(arrived.len(), files.len());
        for (sent, arrived) in files.iter().zip(&arrived) {
            assert_eq!(fstat(sent).unwrap().st_ino, fstat(arrived).unwrap().st_ino);
            let flags = FdFlag::from_bits_retain(fcntl(arrived, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
    }

    #[test]
    fn one_descriptor_too_many_is_refused_before_anything_is_sent() {
        let (here, there) = pair();
        let error = send(here.as_fd(), b"record", &[here.as_fd(); MAX_DESCRIPTORS + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = receive(there.as_fd(), &mut [0; 16], &mut Vec::new(), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_record_longer_than_the_buffer_is_reported_as_truncated() {
        let (here, there) = pair();
        send(here.as_fd(), b"record", &[]).unwrap();
        let received = receive(there.as_fd(), &mut [0; 3], &mut Vec::new(), true).unwrap();
        assert_eq!(received, Received { bytes: 3, truncated: true });
    }

    #[test]
    fn a_full_socket_blocks_nobody_and_loses_nothing() {
        let (here, there) = pair();
        let file = File::open("/proc/self/stat").unwrap();
        let mut sent = 0;
        let error = loop {
            match send(here.as_fd(), b"record", &[file.as_fd()]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(here);
        let mut arrived = Vec::new();
        while receive(there.as_fd(), &mut [0; 16], &mut arrived, false).unwrap().bytes > 0 {}
        assert_eq!(arrived.len(), sent);
    }

    #[test]
    fn a_closed_peer_is_an_error_for_the_sender_and_end_of_file_for_the_receiver() {
        let (here, there) = pair();
        drop(there);
        let error = send(here.as_fd(), b"record", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let received = receive(here.as_fd(), &mut [0; 16], &mut Vec::new(), true).unwrap();
        assert_eq!(received, Received { bytes: 0, truncated: false });
    }
}
