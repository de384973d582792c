//! The child's end of the channel, from docs/protocol.md alone, and the environment's conventions.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, send, sendmsg};

use crate::sys::adopt;

/// Most descriptors in one record.
const BATCH: usize = 16;

const HELLO: u8 = 0x81;
const READY: u8 = 0x82;
const CONNECTIONS: u8 = 0x01;

/// The version of the wire that we speak.
pub(super) const VERSION: u16 = 1;

/// Our end of the channel.
pub(super) struct Channel(OwnedFd);

/// What the supervisor said.
pub(super) enum Word {
    Connections(Vec<OwnedFd>),
    Drain,
    /// A record of a kind that this program does not know, to be skipped.
    Unknown,
}

impl Channel {
    /// The channel that the environment names, if there is a supervisor.
    pub(super) fn from_env() -> Option<Channel> {
        let number = std::env::var("SOCKET_PROTECTOR_CHANNEL").ok()?;
        // The end of file replaces the signal of a parent's death.
        nix::sys::prctl::set_pdeathsig(None).unwrap();
        Some(Channel(take(number.parse().expect("a number in SOCKET_PROTECTOR_CHANNEL"))))
    }

    /// Sends one record.
    pub(super) fn send(&self, record: &[u8]) {
        send(self.0.as_raw_fd(), record, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// Sends one byte as a record, to a supervisor that may have gone.
    pub(super) fn send_lonely(&self, byte: u8) {
        let _ = send(self.0.as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL);
    }

    /// Sends one record with so many descriptors.
    pub(super) fn send_with(&self, record: &[u8], count: usize) {
        let descriptors = vec![self.0.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(record)], &rights, MsgFlags::MSG_NOSIGNAL, None).unwrap();
    }

    pub(super) fn hello(&self, version: u16) {
        let [low, high] = version.to_le_bytes();
        self.send(&[HELLO, low, high]);
    }

    pub(super) fn ready(&self) {
        self.send(&[READY]);
    }

    /// Waits for the next word.
    pub(super) fn receive(&self) -> Word {
        let mut record = [0_u8; 4096];
        let mut control = nix::cmsg_space!([RawFd; BATCH]);
        let mut buffers = [IoSliceMut::new(&mut record)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, cut, received) = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut buffers, Some(&mut control), flags) {
                Ok(message) => {
                    let received: Vec<OwnedFd> = message
                        .cmsgs()
                        .unwrap()
                        .filter_map(
                            |part| {
                                if let ControlMessageOwned::ScmRights(fds) = part { Some(fds) } else { None }
                            },
                        )
                        .flatten()
                        .map(adopt)
                        .collect();
                    break (message.bytes, message.flags.contains(MsgFlags::MSG_CTRUNC), received);
                }
                // Told once, when the supervisor ended without reading all that we sent.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(error) => panic!("cannot read the channel: {error}"),
            }
        };
        assert!(!cut, "descriptors were cut off");
        match record[..length] {
            [] => Word::Drain,
            [CONNECTIONS, count, ref indexes @ ..] => {
                assert_eq!(usize::from(count), received.len(), "count and descriptors differ");
                assert_eq!(indexes.len(), 2 * received.len(), "one listener index per descriptor");
                assert!(received.len() <= BATCH, "a batch of {}", received.len());
                Word::Connections(received)
            }
            _ => Word::Unknown,
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes over what was inherited, and keeps it from the programs that this one starts.
fn take(number: RawFd) -> OwnedFd {
    let taken = adopt(number);
    fcntl(&taken, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    taken
}

fn number(name: &str) -> Option<i32> {
    std::env::var(name).ok()?.parse().ok()
}

fn passed_to_us() -> bool {
    number("LISTEN_PID") == Some(i32::try_from(std::process::id()).unwrap())
}

/// The listening sockets by systemd's convention; none if they are meant for another process.
pub(super) fn listeners() -> Vec<OwnedFd> {
    let count = if passed_to_us() { number("SOCKET_PROTECTOR_LISTENERS").unwrap_or(0) } else { 0 };
    (3..3 + count).map(take).collect()
}

/// What earlier generations stored, with the names.
pub(super) fn stored() -> Vec<(String, OwnedFd)> {
    if !passed_to_us() {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap();
    let names: Vec<_> = names.split(':').collect();
    assert_eq!(Some(names.len()), number("LISTEN_FDS").map(|count| usize::try_from(count).unwrap()));
    let stored = (3..).zip(names).skip(usize::try_from(number("SOCKET_PROTECTOR_LISTENERS").unwrap()).unwrap());
    stored.map(|(descriptor, name)| (name.to_owned(), take(descriptor))).collect()
}

/// Our generation; 0 without a supervisor.
pub(super) fn generation() -> u64 {
    std::env::var("SOCKET_PROTECTOR_GENERATION").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
