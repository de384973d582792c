//! Children that give connections back in other ways than the example `line_counter`, whose state they write.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use socket_protector_client::wire::MAX_STATE;
use socket_protector_client::{Connection, Protector, descriptors};

use super::serve::Service;

/// What `line_counter` takes for so many lines, and nothing unsent.
fn lines(count: u64) -> [u8; 8] {
    count.to_le_bytes()
}

/// In milliseconds, between two looks for a file.
const LOOK: u8 = 5;

/// Waits until something can be done with it.
fn wait(descriptor: BorrowedFd<'_>, what: PollFlags, patience: PollTimeout) {
    poll(&mut [PollFd::new(descriptor, what)], patience).unwrap();
}

fn protector() -> Protector {
    Protector::from_env().unwrap().expect("a supervisor")
}

/// Holds what it accepts, until there is a file of that name; then gives all back, as after 41 lines, and is killed.
pub(super) fn gives_all_and_dies(file: &Path) -> ExitCode {
    let protector = protector();
    protector.set_nonblocking(true).unwrap();
    let mut held = Vec::new();
    while !file.exists() {
        match protector.accept() {
            Ok(Some(connection)) => held.push(connection),
            Ok(None) => return ExitCode::SUCCESS,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(protector.as_fd(), PollFlags::POLLIN, LOOK.into())
            }
            Err(error) => panic!("cannot accept: {error}"),
        }
        protector.open_connections(u32::try_from(held.len()).unwrap()).unwrap();
    }
    held.into_iter().for_each(|connection| protector.give_back(connection, &lines(41)).unwrap());
    raise(Signal::SIGKILL).unwrap();
    unreachable!("killed")
}

/// Gives the first connections back at once, as after 41 lines, and serves the others.
pub(super) fn gives_first(count: usize) -> ExitCode {
    let protector = protector();
    let service = Service::new(protector.generation());
    for (number, connection) in protector.incoming().enumerate() {
        match connection.unwrap() {
            first if number < count => protector.give_back(first, &lines(41)).unwrap(),
            other => service.take(other.into()),
        }
    }
    service.finish();
    ExitCode::SUCCESS
}

/// Holds what it accepts, and at the drain gives all back with as much state as there may be.
pub(super) fn gives_heavy() -> ExitCode {
    let protector = protector();
    let held: Vec<Connection> = protector.incoming().map(Result::unwrap).collect();
    let mut state = lines(41).to_vec();
    state.resize(MAX_STATE, b'.');
    held.into_iter().for_each(|connection| protector.give_back(connection, &state).unwrap());
    ExitCode::SUCCESS
}

/// Gives a connection back that no supervisor has passed, by a record of its own.
pub(super) fn give_one(connection: BorrowedFd<'_>) {
    descriptors::send(channel().as_fd(), b"\x85\0\0", &[connection]).unwrap();
}

/// Sends records with wrong numbers of descriptors so many times, and serves.
pub(super) fn gives_badly(count: usize) -> ExitCode {
    let protector = protector();
    protector.ready().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let channel = channel();
    for _ in 0..count {
        for (record, carried) in [(&b"\x85\0\0"[..], 0), (b"\x85\0\0", 2), (b"\x85", 1), (b"\x83x", 1), (b"\xfe", 200)]
        {
            let files: Vec<BorrowedFd<'_>> = (0..carried).map(|_| file.as_fd()).collect();
            while let Err(error) = descriptors::send(channel.as_fd(), record, &files) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                wait(channel.as_fd(), PollFlags::POLLOUT, PollTimeout::NONE);
            }
        }
    }
    protector.status("done").unwrap();
    let service = Service::new(protector.generation());
    protector.incoming().for_each(|connection| service.take(connection.unwrap().into()));
    service.finish();
    ExitCode::SUCCESS
}

/// Another descriptor of the channel, which the library keeps to itself; it is the only socket of its kind.
fn channel() -> OwnedFd {
    let is_channel = |number: &i32| {
        let socket = std::mem::ManuallyDrop::new(crate::sys::adopt(*number));
        getsockopt(&*socket, sockopt::SockType) == Ok(SockType::SeqPacket)
    };
    let number = (3..32).find(is_channel).expect("a channel");
    std::mem::ManuallyDrop::new(crate::sys::adopt(number)).try_clone().unwrap()
}

/// Says what it is about as fast as it can, while it serves.
pub(super) fn tells_much() -> ExitCode {
    let protector = protector();
    let service = Service::new(protector.generation());
    thread::scope(|threads| {
        threads.spawn(|| {
            for number in 0.. {
                if protector.is_draining() {
                    return;
                }
                // A full channel is no reason to stop.
                let _ = protector.status(&format!("busy\u{7} {number}"));
                let _ = protector.open_connections(number);
            }
        });
        protector.incoming().for_each(|connection| service.take(connection.unwrap().into()));
    });
    service.finish();
    ExitCode::SUCCESS
}
