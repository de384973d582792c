//! `Protector::from_env` in a real child process: this binary starts itself as the daemon, with descriptors and
//! variables as a supervisor sets them. Without the test harness, because a daemon calls it before it has threads.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::process::{self, CONNECTIONS, LISTENER, says_hello_and_ready};
use common::{Supervisor, clients, listener};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use socket_protector_client::Protector;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Output, Stdio};

const DAEMON: &str = "SOCKET_PROTECTOR_TEST_DAEMON";

fn main() {
    if std::env::var_os(DAEMON).is_some() {
        return daemon();
    }
    listeners_are_taken();
    connections_are_taken();
    what_is_stored_is_taken_with_connections();
    a_channel_that_is_none_is_left_alone();
    a_listener_that_is_none_is_left_alone();
    a_wrapper_without_exec_is_told_so();
    outside_a_supervisor_there_is_nothing();
}

fn daemon() {
    prctl::set_pdeathsig(Signal::SIGTERM).unwrap();
    let protector = match Protector::from_env() {
        Ok(Some(protector)) => protector,
        Ok(None) => return eprint("none\n"),
        Err(error) => {
            eprint(&format!("{error}\n"));
            // What was not taken is still open, and as it was.
            return eprint(&format!("{}\n", fcntl(std::io::stdin(), FcntlArg::F_GETFD).unwrap()));
        }
    };
    is_taken();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        assert!(name == DAEMON || !name.starts_with("SOCKET_PROTECTOR_") && !name.starts_with("LISTEN_"), "{name}");
    }
    assert_eq!(prctl::get_pdeathsig().unwrap(), None);
    assert_eq!((protector.generation(), protector.name()), (12, "web.1"));
    for listener in protector.listeners() {
        assert_eq!(protector.listener_names(), ["web"]);
        let flags = OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NONBLOCK));
    }
    for descriptor in [3, 9] {
        let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        let flags = flags.map(|octal| i32::from_str_radix(octal, 8).unwrap());
        assert!(flags.is_none_or(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_CLOEXEC)));
    }
    assert!(protector.take_stored("web").is_empty());
    if !protector.stored_names().is_empty() {
        let stored = protector.take_stored("state");
        let flags = fcntl(&stored[0], FcntlArg::F_GETFD).unwrap();
        eprint(&format!("stored {flags}\n"));
    }
    for connection in protector.incoming() {
        connection.unwrap().write_all(b"served").unwrap();
    }
    drop(protector);
    is_taken();
    eprint("drained\n");
}

fn is_taken() {
    let error = Protector::from_env().unwrap_err();
    assert_eq!(
        error.to_string(),
        "what the supervisor passed to this process has been taken already; it can be taken once"
    );
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ResourceBusy);
}

fn eprint(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Starts this binary as the daemon.
fn start(line: &str, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Child {
    process::daemon(&std::env::current_exe().unwrap(), line, input, output).env(DAEMON, "1").spawn().unwrap()
}

fn ends_with(child: Child, last: &str) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stderr == last, "{status}: {stderr}");
}

fn listeners_are_taken() {
    let (listener, address) = listener();
    let (supervisor, channel) = Supervisor::new();
    let child = start(LISTENER, OwnedFd::from(listener), channel);
    says_hello_and_ready(&supervisor);
    let mut answer = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
    drop(supervisor);
    ends_with(child, "drained\n");
}

fn connections_are_taken() {
    let (supervisor, channel) = Supervisor::new();
    let child = start(CONNECTIONS, Stdio::null(), channel);
    let (mut client, server) = clients(1).remove(0);
    supervisor.pass(&[(0, server.as_fd())]);
    drop(server);
    says_hello_and_ready(&supervisor);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
    drop(supervisor);
    ends_with(child, "drained\n");
}

fn what_is_stored_is_taken_with_connections() {
    let (supervisor, channel) = Supervisor::new();
    let line = "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=state SOCKET_PROTECTOR_LISTENERS=0 SOCKET_PROTECTOR_CHANNEL=9 \
                exec \"$0\" 3<&0 9<&1 0</dev/null 1>&2";
    let child = start(line, std::fs::File::open("/proc/self/stat").unwrap(), channel);
    drop(supervisor);
    ends_with(child, "stored 1\ndrained\n");
}

fn a_channel_that_is_none_is_left_alone() {
    let line = "SOCKET_PROTECTOR_CHANNEL=0 exec \"$0\" 1>&2";
    let child = start(line, Stdio::null(), Stdio::null());
    ends_with(child, "descriptor 0 is not a unix socket that keeps record boundaries (the channel)\n0\n");
    let line = "SOCKET_PROTECTOR_CHANNEL=44 exec \"$0\" 1>&2";
    let child = start(line, Stdio::null(), Stdio::null());
    ends_with(child, "descriptor 44 is not a unix socket that keeps record boundaries (the channel)\n0\n");
}

fn a_listener_that_is_none_is_left_alone() {
    let (_supervisor, channel) = Supervisor::new();
    let child = start(LISTENER, OwnedFd::from(clients(1).remove(0).0), channel);
    ends_with(child, "descriptor 3 is not a listening stream socket or one for datagrams\n0\n");
}

fn a_wrapper_without_exec_is_told_so() {
    let (_supervisor, channel) = Supervisor::new();
    let child = start(&LISTENER.replace("$$", "1"), OwnedFd::from(listener().0), channel);
    let own = child.id();
    let problem = "the listening sockets are meant for process 1 and not for this one";
    ends_with(child, &format!("{problem}, {own}; a wrapper has to exec\n0\n"));
}

fn outside_a_supervisor_there_is_nothing() {
    ends_with(start("exec \"$0\"", Stdio::null(), Stdio::null()), "none\n");
}
