//! The examples `handoff` and `self_restart`, as real processes.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/examples.rs"]
mod examples;
#[path = "common/files.rs"]
mod files;

use examples::{Running, eventually, example};
use files::{Files, identity as identity_of};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use socket_protector_client::handoff;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A server of these files, that listens.
fn serve(path: &Path, files: &[&Path], options: &[&str]) -> Running {
    let mut command = Command::new(example("handoff"));
    let running = Running::start(command.arg("serve").arg(path).args(files).args(options));
    eventually("it listens", || UnixStream::connect(path).is_ok());
    running
}

fn receive(path: &Path, options: &[&str]) -> Output {
    Command::new(example("handoff")).arg("receive").arg(path).args(options).output().unwrap()
}

/// The lines of a receiver that must succeed.
fn received(path: &Path) -> Vec<String> {
    let ran = receive(path, &["--timeout", "20s"]);
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The message of a program that must fail with 1.
fn refused(ran: Output) -> String {
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    let message = String::from_utf8(ran.stderr).unwrap();
    assert!(message.starts_with("handoff: ") || message.starts_with("usage: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn identity(path: &Path) -> String {
    let found = fs::metadata(path).unwrap();
    format!("{}:{}", found.dev(), found.ino())
}

#[test]
fn it_serves_and_receives_in_every_style() {
    let folder = Files::new(1);
    let (file, odd) = (folder.path("0"), folder.path("two words"));
    fs::write(&odd, "").unwrap();
    let shown = |path: &Path| path.to_str().unwrap().replace(' ', "\\x20");
    for (options, before) in [(&[][..], "name="), (&["--gob"], "name="), (&["--raw"], ""), (&["--no-meta"], "")] {
        let path = folder.path("socket");
        let server = serve(&path, &[&file, &odd, &file], options);
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        for _ in 0..2 {
            let lines = received(&path);
            let expected = [&file, &odd, &file].map(|path| match options {
                ["--no-meta"] => format!("fd {} -", identity(path)),
                _ => format!("fd {} {before}{}", identity(path), shown(path)),
            });
            assert_eq!(lines, expected);
        }
        drop(server);
        // It was killed, so its socket is stale, and the next one replaces it.
        assert!(path.exists());
    }
}

#[test]
fn a_directory_and_a_pipe_that_nobody_writes_to_are_served_too() {
    let folder = Files::new(0);
    let (path, pipe) = (folder.path("socket"), folder.path("pipe"));
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let _server = serve(&path, &[&pipe, &folder.path("")], &["--no-meta"]);
    let mut found = Vec::new();
    handoff::receive(&path, |descriptor, _| {
        let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
        found.push((identity_of(&descriptor), flags.contains(OFlag::O_NONBLOCK)));
        Ok(())
    })
    .unwrap();
    let expected = [&pipe, &folder.path("")].map(|path| fs::metadata(path).unwrap());
    assert_eq!(found, expected.map(|found| ((found.dev(), found.ino()), false)));
}

#[test]
fn bad_input_is_one_message_and_exit_code_1() {
    let folder = Files::new(1);
    let handoff = |words: &[&str]| Command::new(example("handoff")).args(words).output().unwrap();
    let socket = folder.path("socket");
    let [socket, file] = [socket.to_str().unwrap(), "/dev/null"];
    for words in [
        &[][..],
        &["hand"],
        &["serve"],
        &["serve", socket],
        &["serve", socket, file, "--yaml"],
        &["receive"],
        &["receive", socket, "other"],
        &["receive", socket, "--timeout"],
    ] {
        assert!(refused(handoff(words)).contains("usage: "), "{words:?}");
    }
    let message = refused(handoff(&["receive", socket, "--timeout", "soon"]));
    assert_eq!(message, "handoff: soon is no time such as 250ms, 10s, 5m or 1h\n");
    let message = refused(handoff(&["serve", socket, "/nonexistent"]));
    assert!(message.starts_with("handoff: cannot open /nonexistent: No such file"), "{message}");
    let message = refused(handoff(&["receive", socket]));
    assert!(message.starts_with(&format!("handoff: cannot connect to {socket}: No such file")), "{message}");
    let long = "x".repeat(120);
    assert!(refused(handoff(&["receive", &long])).starts_with("handoff: cannot connect to xxx"));
    assert!(refused(handoff(&["serve", &long, file])).starts_with("handoff: cannot listen on xxx"));
    // Something else is there: a file, or a program that listens, and then says nothing.
    fs::write(socket, "precious").unwrap();
    let message = refused(handoff(&["serve", socket, file]));
    assert_eq!(message, format!("handoff: cannot listen on {socket}: there is something that is no socket\n"));
    assert_eq!(fs::read_to_string(socket).unwrap(), "precious");
    fs::remove_file(socket).unwrap();
    let _listener = UnixListener::bind(socket).unwrap();
    let message = refused(handoff(&["serve", socket, file]));
    assert_eq!(message, format!("handoff: cannot listen on {socket}: another program does\n"));
    let message = refused(handoff(&["receive", socket, "--timeout", "50ms"]));
    assert_eq!(message, "handoff: cannot receive descriptors: timed out\n");
}

/// Asks and gets the number of the process that answers.
fn ask(address: SocketAddr) -> Result<Pid, String> {
    let told = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = told().map_err(|error| error.to_string())?;
    let body = answer.strip_prefix("HTTP/1.1 200 OK\r\n").and_then(|rest| rest.split("\r\n\r\n").nth(1));
    let pid = body.and_then(|body| body.strip_suffix('\n')).and_then(|pid| pid.parse().ok());
    pid.map(Pid::from_raw).ok_or(answer)
}

/// Ends whichever process serves, should the test fail.
struct Last(SocketAddr);

impl Drop for Last {
    fn drop(&mut self) {
        while let Ok(pid) = ask(self.0) {
            let _ = kill(pid, Signal::SIGKILL);
            thread::yield_now();
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_server_that_restarts_itself_under_load_loses_nobody() {
    const RESTARTS: usize = 10;
    let address = free_address();
    let mut first = Running::start(Command::new(example("self_restart")).arg(address.to_string()));
    let _last = Last(address);
    eventually("it serves", || ask(address).is_ok());
    let over = AtomicBool::new(false);
    let met = thread::scope(|scope| {
        let load = || {
            let mut met = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                met.insert(ask(address).expect("a client was lost"));
            }
            met
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        let mut serving = ask(address).unwrap();
        for _ in 0..RESTARTS {
            kill(serving, Signal::SIGHUP).unwrap();
            let before = serving;
            eventually("another process answers", || {
                serving = ask(address).unwrap();
                serving != before
            });
            eventually("the one before it has ended", || has_ended(before));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<BTreeSet<_>>()
    });
    assert!(met.len() > RESTARTS / 2, "{met:?}");
    first.ends();
    kill(ask(address).unwrap(), Signal::SIGTERM).unwrap();
    eventually("nobody serves", || ask(address).is_err());
}

#[test]
fn a_successor_that_does_not_serve_is_removed_and_the_old_one_serves_on() {
    let folder = Files::new(0);
    let program = folder.path("self_restart");
    fs::copy(example("self_restart"), &program).unwrap();
    let address = free_address();
    let mut server = Running::start(Command::new(&program).arg(address.to_string()));
    let _last = Last(address);
    eventually("it serves", || ask(address).is_ok());
    let pid = ask(address).unwrap();
    // The new version ends at once.
    fs::remove_file(&program).unwrap();
    fs::copy("/bin/false", &program).unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    let said = server.says();
    assert!(said.ends_with("the old process serves on"), "{said}");
    assert_eq!(ask(address).unwrap(), pid);
    kill(pid, Signal::SIGTERM).unwrap();
    server.ends();
}

/// Whether a process is gone, or a zombie that its parent has not looked after.
fn has_ended(pid: Pid) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z')),
        Err(_) => true,
    }
}
