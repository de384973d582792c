//! Daemons in C and C++ as real processes. This test is their supervisor, or the original's.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../../../tests/common/mod.rs"]
mod common;
mod forks;
mod keeping;
mod original;
mod pages;
mod serving;
#[path = "../toolchain/mod.rs"]
mod toolchain;

use common::{Supervisor, clients, eventually, listener};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, socket};
use nix::unistd::Pid;
use socket_protector_client::wire::{FromChild, MAX_STATE};
use socket_protector_client::{Connection, descriptors};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;
use toolchain::{Standard, client_lib, program};

/// The channel as 9, a listener as 3, and then `exec`, which keeps the process number that LISTEN_PID names.
const CONNECTIONS: &str = "SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" 9<&1 0</dev/null 1>&2";
const LISTENER: &str = "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" \
                        3<&0 9<&1 0</dev/null 1>&2";
const ALONE: &str = "exec \"$0\" \"$@\" 1>&2";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// The program in C, once with the shared library and once with the static one; none without a compiler.
fn in_c() -> Vec<PathBuf> {
    let link = |library: &str| program(&source("daemon.c"), Standard::C11, &[library]);
    ["-lsocket_protector", "-l:libsocket_protector.a"].into_iter().filter_map(link).collect()
}

/// The program for the original library, as C++ of its time and of now.
fn of_the_original() -> Vec<PathBuf> {
    let link = |standard| program(&source("original.cpp"), standard, &["-lSocketProtector"]);
    [Standard::Cpp98, Standard::Cpp17].into_iter().filter_map(link).collect()
}

/// A daemon under way, and what it says.
struct Daemon {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts it by a shell line whose standard input and output are these descriptors.
    fn start(line: &str, program: &Path, word: &str, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Daemon {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).arg(program).arg(word).stdin(input).stdout(output).stderr(Stdio::piped());
        if line != ALONE {
            command.envs([("SOCKET_PROTECTOR_GENERATION", "12"), ("SOCKET_PROTECTOR_NAME", "web.1")]);
        }
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Daemon { child, said }
    }

    /// With its channel, for connections.
    fn on(channel: OwnedFd, program: &Path, word: &str) -> Daemon {
        Daemon::start(CONNECTIONS, program, word, Stdio::null(), channel)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    /// The rest of what it says, which ends with its success.
    #[track_caller]
    fn ends(mut self, expected: &str) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() && rest == expected, "{status}:\n{rest}");
    }

    /// Waits until it sleeps in a system call for waiting.
    fn asleep(&self) {
        eventually(|| {
            let waits = std::fs::read_to_string(format!("/proc/{}/wchan", self.pid())).unwrap_or_default();
            ["poll", "futex"].iter().any(|place| waits.contains(place))
        });
    }
}

fn answered(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
}

/// Passes so many connections in one record; their servers' sockets are closed here.
fn pass(supervisor: &Supervisor, count: usize) -> Vec<TcpStream> {
    let all = clients(count);
    let record: Vec<(u16, BorrowedFd<'_>)> =
        all.iter().enumerate().map(|(index, (_, server))| (index as u16, server.as_fd())).collect();
    supervisor.pass(&record);
    all.into_iter().map(|(client, _)| client).collect()
}

/// Passes a connection that was given back.
fn pass_with_state(supervisor: &Supervisor, listener: u16, state: &[u8]) -> TcpStream {
    let (client, server) = clients(1).remove(0);
    supervisor.pass_with_state(listener, state, server.as_fd());
    client
}

#[track_caller]
fn hears(supervisor: &Supervisor, expected: FromChild) {
    let mut heard = None;
    eventually(|| {
        heard = supervisor.heard();
        heard.is_some()
    });
    assert_eq!(heard, Some(expected));
}
