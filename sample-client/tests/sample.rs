//! The sample with real processes: started by hand and under a channel.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use socket_protector_client::{descriptors, wire};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

fn sample() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample-client"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(child: &mut Child) -> BufReader<ChildStdout> {
    BufReader::new(child.stdout.take().unwrap())
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

#[test]
fn wrong_use_is_explained_with_exit_code_2() {
    for words in [&[][..], &["port"], &["70000"], &["4321", "-1"], &["4321", "soon"], &["4321", "0", "0"]] {
        let output = sample().args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stderr.starts_with(b"sample-client: usage: "), "{words:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn started_by_hand_it_listens_itself_and_ends_on_term() {
    let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let mut child = sample().arg(port.to_string()).spawn().unwrap();
    let mut output = output(&mut child);
    assert_eq!(line(&mut output), format!("Starting client up on port {port}\n"));
    TcpStream::connect(("127.0.0.1", port)).unwrap().write_all(b"Hello, World\n").unwrap();
    assert_eq!(line(&mut output), "new connection: 1\n");
    assert_eq!(line(&mut output), "Hello, World\n");
    assert_eq!(line(&mut output), "\n");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = sample().arg(port.to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with(&format!("sample-client: cannot listen on port {port}: ")), "{message}");
}

#[test]
fn a_connection_in_progress_blocks_no_other_and_outlives_the_drain() {
    let (here, there) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" 4321 0.01 9<&0 0</dev/null"])
        .arg(env!("CARGO_BIN_EXE_sample-client"))
        .envs([("SOCKET_PROTECTOR_GENERATION", "1"), ("SOCKET_PROTECTOR_NAME", "4321")])
        .stdin(there)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = output(&mut child);
    assert_eq!(line(&mut output), "Starting client up on port 4321\n");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut record = Vec::new();
        wire::encode_connections(&[0], &mut record);
        descriptors::send(here.as_fd(), &record, &[listener.accept().unwrap().0.as_fd()]).unwrap();
        client
    };
    let mut slow = connect();
    assert_eq!(line(&mut output), "new connection: 1\n");
    let quick = connect();
    assert_eq!(line(&mut output), "new connection: 2\n");
    drop(quick);
    assert_eq!(line(&mut output), "\n");

    drop(here);
    slow.write_all(b"still here\n").unwrap();
    assert_eq!(line(&mut output), "still here\n");
    assert!(child.try_wait().unwrap().is_none());
    drop(slow);
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\n");
}
