//! The supervisor's side of a channel, and clients, for the tests of the daemon's side.
#![allow(dead_code, reason = "every test file uses its part of it")]

pub(crate) mod process;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, gettid};
use socket_protector_client::wire::{self, FromChild};
use socket_protector_client::{Connection, Inherited, Protector, descriptors};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The supervisor's end of a channel.
pub(crate) struct Supervisor {
    pub(crate) end: OwnedFd,
}

impl Supervisor {
    /// A supervisor and its child's end.
    pub(crate) fn new() -> (Supervisor, OwnedFd) {
        let (end, child) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (Supervisor { end }, child)
    }

    /// A supervisor and a child that was given these listeners.
    pub(crate) fn with(listeners: Vec<OwnedFd>) -> (Supervisor, Protector) {
        let (supervisor, channel) = Supervisor::new();
        (supervisor, child(channel, listeners))
    }

    /// Passes connections in one record, each from the listener with its index.
    pub(crate) fn pass(&self, connections: &[(u16, BorrowedFd<'_>)]) {
        let (listeners, sockets): (Vec<u16>, Vec<BorrowedFd<'_>>) = connections.iter().copied().unzip();
        let mut record = Vec::new();
        assert_eq!(wire::encode_connections(&listeners, &mut record), listeners.len());
        descriptors::send(self.end.as_fd(), &record, &sockets).unwrap();
    }

    /// Passes a connection that was given back.
    pub(crate) fn pass_with_state(&self, listener: u16, state: &[u8], connection: BorrowedFd<'_>) {
        let mut record = Vec::new();
        wire::encode_connection_with_state(listener, state, &mut record);
        descriptors::send(self.end.as_fd(), &record, &[connection]).unwrap();
    }

    /// The next record from the child, which must have been sent already; `None` if there is none.
    pub(crate) fn heard(&self) -> Option<FromChild> {
        let (record, sockets) = self.heard_with_sockets()?;
        assert!(sockets.is_empty());
        Some(record)
    }

    /// The same for a record that may carry descriptors.
    pub(crate) fn heard_with_sockets(&self) -> Option<(FromChild, Vec<OwnedFd>)> {
        let mut buffer = vec![0; wire::MAX_RECORD];
        let mut sockets = Vec::new();
        match descriptors::receive(self.end.as_fd(), &mut buffer, &mut sockets, false) {
            Ok(received) => Some((FromChild::decode(&buffer[..received.bytes]).unwrap(), sockets)),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                None
            }
        }
    }
}

/// A child with this end of a channel, and these listeners.
pub(crate) fn child(channel: OwnedFd, listeners: Vec<OwnedFd>) -> Protector {
    let listener_names = (0..listeners.len()).map(|index| format!("listener{index}")).collect();
    let channel = Some(channel);
    let inherited = Inherited {
        channel,
        listeners,
        listener_names,
        stored: Vec::new(),
        generation: 7,
        name: "test".to_owned(),
        notify: None,
    };
    Protector::from_inherited(inherited).unwrap()
}

/// A listener on a free port of this machine.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Connected clients with their servers' sockets.
pub(crate) fn clients(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let (listener, address) = listener();
    (0..count).map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0)).collect()
}

/// Answers the connection with one word and ends it; the client must get just that.
pub(crate) fn answers(connection: Connection, client: &mut TcpStream) {
    (&connection).write_all(b"served").unwrap();
    drop(connection);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
}

/// Runs `wait` in a thread and returns when it sleeps in there.
pub(crate) fn asleep<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        tell.send(gettid()).unwrap();
        wait()
    });
    let id = told.recv().unwrap();
    eventually(|| state_of(id) == 'S' || thread.is_finished());
    thread
}

/// The state letter of /proc/PID/stat, which follows the name in brackets.
fn state_of(thread: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?')
}

/// Waits for a condition that nothing announces.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true within 20 s");
        thread::yield_now();
    }
}

/// Whether a descriptor is readable now.
pub(crate) fn is_readable(descriptor: impl AsFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).unwrap() > 0
}
