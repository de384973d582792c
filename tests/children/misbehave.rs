//! Children that do what children should not.

use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};

use super::echo::serve;
use super::serve::Service;
use super::wire::{Channel, VERSION, Word, generation, listeners};
use crate::sys::ignore;

/// Stays until it is killed.
pub(super) fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Starts a process that nobody here will ever wait for.
#[expect(clippy::zombie_processes, reason = "init collects what outlives these children")]
pub(super) fn leave_behind(command: &mut Command) {
    command.spawn().unwrap();
}

/// Decides whether programs started from now on get what we inherited.
fn pass_on(flag: FdFlag) {
    for number in 3..10 {
        let kept = std::mem::ManuallyDrop::new(crate::sys::adopt(number));
        // There need not be that many.
        let _ = fcntl(&*kept, FcntlArg::F_SETFD(flag));
    }
}

fn channel() -> Channel {
    Channel::from_env().expect("a channel")
}

fn ready_channel() -> Channel {
    let channel = channel();
    channel.hello(VERSION);
    channel.ready();
    channel
}

/// Greets, and is never ready.
pub(super) fn never_ready() -> ! {
    let channel = channel();
    channel.hello(VERSION);
    park()
}

/// Says why on stderr and exits.
pub(super) fn crash_before_ready(after: Duration, code: u8) -> ExitCode {
    eprintln!("reading the configuration");
    eprintln!("no such database: accounts");
    thread::sleep(after);
    ExitCode::from(code)
}

/// Is ready, and exits with 7 a little later.
pub(super) fn crash_after_ready(after: Duration) -> ExitCode {
    let _channel = ready_channel();
    thread::sleep(after);
    ExitCode::from(7)
}

/// Serves, but neither end of file nor TERM moves it; and the process it started is no better.
pub(super) fn ignores_drain() -> ! {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        ignore(signal);
    }
    pass_on(FdFlag::FD_CLOEXEC);
    leave_behind(Command::new(std::env::current_exe().unwrap()).args(["child", "silent_alive"]));
    let service = Service::new(generation());
    serve(&ready_channel(), &listeners(), |connection| service.take(connection));
    park()
}

/// Serves, and takes its time after the drain.
pub(super) fn slow_drain(extra: Duration) -> ExitCode {
    let service = Service::new(generation());
    serve(&ready_channel(), &listeners(), |connection| service.take(connection));
    service.finish();
    thread::sleep(extra);
    ExitCode::SUCCESS
}

/// Is ready, and never reads its channel.
pub(super) fn stops_reading() -> ! {
    let _channel = ready_channel();
    park()
}

/// Reads and serves the first `count` records, then reads no more.
pub(super) fn reads(count: usize) -> ! {
    let channel = ready_channel();
    let service = Service::new(generation());
    for _ in 0..count {
        if let Word::Connections(connections) = channel.receive() {
            connections.into_iter().for_each(|connection| service.take(connection));
        }
    }
    park()
}

/// Shuts the shared listener down before it serves, and again at its end.
pub(super) fn shuts_listener_down() -> ExitCode {
    let listeners = listeners();
    let channel = ready_channel();
    let service = Service::new(generation());
    serve(&channel, &listeners, |connection| service.take(connection));
    for listener in &listeners {
        shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    }
    service.finish();
    ExitCode::SUCCESS
}

/// Shuts the listeners down again and again for a while, then serves.
pub(super) fn shuts_listener_down_for(time: Duration) -> ExitCode {
    let listeners = listeners();
    let channel = ready_channel();
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        for listener in &listeners {
            // There is nothing to shut down before it listens again.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        thread::sleep(Duration::from_millis(1));
    }
    let service = Service::new(generation());
    serve(&channel, &listeners, |connection| service.take(connection));
    ExitCode::SUCCESS
}

/// Serves, and leaves descriptors open in a process that outlives it: the channel and the listeners too.
pub(super) fn leaks_fd() -> ExitCode {
    pass_on(FdFlag::empty());
    leave_behind(Command::new(std::env::current_exe().unwrap()).args(["child", "silent_alive"]));
    super::echo::run()
}

/// Serves, and has a process in its group that outlives it.
pub(super) fn grandchild() -> ExitCode {
    pass_on(FdFlag::FD_CLOEXEC);
    leave_behind(Command::new(std::env::current_exe().unwrap()).args(["child", "silent_alive"]));
    super::echo::run()
}

/// Starts a process in its group that ignores TERM, and fails at once.
pub(super) fn leader_leaves() -> ExitCode {
    leave_behind(Command::new("sh").args(["-c", "trap '' TERM; while :; do sleep 1000; done"]));
    ExitCode::from(9)
}

/// Greets in a version that nobody knows.
pub(super) fn wrong_version() -> ! {
    let channel = channel();
    channel.hello(999);
    channel.ready();
    park()
}

/// Sends what is no record at all.
pub(super) fn garbage(what: &str) -> ! {
    let channel = channel();
    match what {
        "unknown" => channel.send(&[0xff; 64]),
        "short" => channel.send(&[0x81]),
        "long" => channel.send(&[0x82; 60_000]),
        "empty" => channel.send(&[]),
        "x" => channel.send(b"x"),
        // A hello, were it a stream.
        "bytewise" => [0x81, 0x01, 0x00].iter().for_each(|byte| channel.send_lonely(*byte)),
        // A hello with as many descriptors as the kernel passes.
        "descriptors" => channel.send_with(&[0x81, 0x01, 0x00], 253),
        "flood" => loop {
            channel.send(&[0xfe; 128]);
        },
        _ => panic!("no such garbage: {what}"),
    }
    park()
}
