//! The good child: takes listeners and connections alike, serves, and drains on end of file.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, accept4};
use socket_protector_client::Protector;

use super::misbehave::leave_behind;
use super::serve::Service;
use super::wire::{Channel, VERSION, Word, generation, listeners};

/// Says hello and ready, serves until the channel ends, then finishes what it has.
pub(super) fn run() -> ExitCode {
    let channel = Channel::from_env().expect("a channel");
    channel.hello(VERSION);
    channel.ready();
    let service = Service::new(generation());
    serve(&channel, &listeners(), |connection| service.take(connection));
    service.finish();
    ExitCode::SUCCESS
}

/// Starts slowly, and takes no new connection before it has served those it has.
pub(super) fn one_by_one(start: Duration) -> ExitCode {
    std::thread::sleep(start);
    let channel = Channel::from_env().expect("a channel");
    channel.hello(VERSION);
    channel.ready();
    let service = Service::new(generation());
    while let Word::Connections(connections) = channel.receive() {
        connections.into_iter().for_each(|it| service.take(it));
        service.finish();
    }
    ExitCode::SUCCESS
}

/// Gives each connection to a process of its own, and at the drain leaves them alone with their work.
pub(super) fn process_per_connection() -> ExitCode {
    let channel = Channel::from_env().expect("a channel");
    channel.hello(VERSION);
    channel.ready();
    let start = |connection: OwnedFd| {
        let mut worker = Command::new(std::env::current_exe().unwrap());
        leave_behind(worker.args(["child", "serve_stdin"]).stdin(connection));
    };
    serve(&channel, &listeners(), start);
    ExitCode::SUCCESS
}

/// Serves the connection that is its stdin.
pub(super) fn serve_stdin() -> ExitCode {
    let service = Service::new(generation());
    service.take(crate::sys::adopt(0));
    service.finish();
    ExitCode::SUCCESS
}

/// The same as `run` on the client library.
pub(super) fn with_library() -> ExitCode {
    let protector = Protector::from_env().unwrap().expect("a supervisor");
    let service = Service::new(protector.generation());
    for connection in protector.incoming() {
        match connection {
            Ok(connection) => service.take(connection.into()),
            // Short of descriptors: until connections that end make room.
            Err(error) => {
                eprintln!("cannot take a connection: {error}");
                service.wait_for_an_end();
            }
        }
    }
    service.finish();
    ExitCode::SUCCESS
}

/// Serves until the drain.
pub(super) fn serve(channel: &Channel, listeners: &[OwnedFd], mut take: impl FnMut(OwnedFd)) {
    // The old and the new generation wake for the same connection; only one gets it.
    for listener in listeners {
        fcntl(listener, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).unwrap();
    }
    loop {
        let mut sources = vec![PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        sources.extend(listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("cannot poll: {error}"),
        }
        let ready: Vec<bool> = sources.iter().map(|source| source.any() == Some(true)).collect();
        if ready[0] {
            match channel.receive() {
                Word::Drain => return,
                Word::Connections(connections) => connections.into_iter().for_each(&mut take),
                Word::Unknown => {}
            }
        }
        for (listener, _) in listeners.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            if let Some(connection) = accept(listener) {
                take(connection);
            }
        }
    }
}

/// Accepts one connection, unless somebody else has.
fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        Ok(fd) => Some(crate::sys::adopt(fd)),
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => None,
        // Somebody has shut the shared socket down; until it listens again there is nothing to accept.
        Err(Errno::EINVAL) => {
            std::thread::sleep(Duration::from_millis(20));
            None
        }
        Err(error) => panic!("cannot accept: {error}"),
    }
}
