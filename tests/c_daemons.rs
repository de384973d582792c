//! Daemons in C and C++, linked with our library, under a real supervisor.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::harness::load::Load;
use crate::harness::process::{Exit, alive, descriptors_of, send};
use crate::harness::supervisor::{serving, worker_pid};
use crate::harness::{PATIENCE, Setup, eventually, trials};
use crate::supervise::give_back::{Counted, are_kept_over_reloads};
use crate::toolchain::{Standard, client_lib, program};

trials![
    reloads_under_load_lose_nothing,
    a_daemon_that_is_told_to_end_loses_nothing,
    the_sample_of_the_original,
    an_event_loop_finishes_what_it_has,
    connection_and_count_are_kept_over_reloads,
    connection_and_count_are_kept_from_one_language_to_the_other,
    a_program_without_a_supervisor_says_so,
];

/// As many as the contract promises for every kind of daemon.
const RELOADS: usize = 20;

/// The suite's daemon in C, and as it would be written for the original, with what each is linked by.
const SERVICES: [(&str, Standard, &str); 2] =
    [("service.c", Standard::C11, "-l:libsocket_protector.a"), ("service.cpp", Standard::Cpp17, "-lSocketProtector")];

const PASSES: [&str; 2] = ["--pass listener", "--pass connections"];

/// A test program, compiled; `None` without a compiler.
fn built(name: &str, standard: Standard, library: &str) -> Option<String> {
    let program = program(&client_lib().join("c/tests/programs").join(name), standard, &[library])?;
    Some(program.to_str().unwrap().to_owned())
}

/// A supervisor of each service in each way of passing.
fn services() -> impl Iterator<Item = Setup> {
    let programs = SERVICES.into_iter().filter_map(|(name, standard, library)| built(name, standard, library));
    let with = |program: String| PASSES.map(|pass| Setup::alone().with(pass).command(&[program.as_str(), "4321"]));
    programs.flat_map(with)
}

fn reloads_under_load_lose_nothing() {
    for setup in services() {
        let supervisor = setup.with("--respawn-delay 10ms..50ms").start();
        let before = supervisor.census();
        let of_first = descriptors_of(supervisor.serving_pid()).len();
        let load = Load::on(supervisor.address());
        for _ in 0..RELOADS {
            supervisor.reload().expect(0);
        }
        let report = load.finish();
        report.expect_nothing_noticed();
        // Not each of them lives long enough to meet a client.
        assert!(report.children.len() > 2, "{report:?}");
        supervisor.wait_settled();
        assert_eq!(supervisor.census(), before);
        let child = supervisor.serving_pid();
        eventually("the child holds no more than the first did", || descriptors_of(child).len() == of_first);
        assert_eq!(supervisor.status()["counters"]["respawns"], 0);
    }
}

fn a_daemon_that_is_told_to_end_loses_nothing() {
    for setup in services() {
        let supervisor = setup.with("--respawn-delay 10ms..50ms").start();
        let load = Load::on(supervisor.address());
        let child = supervisor.serving_pid();
        eventually("it serves", || descriptors_of(child).len() > 10);
        send(child, Signal::SIGTERM);
        eventually("it has ended", || !alive(child));
        supervisor.wait_status("another serves", |status| serving(status).is_some_and(|it| worker_pid(it) != child));
        let report = load.finish();
        report.expect_nothing_noticed();
        assert!(report.children.len() >= 2, "{report:?}");
    }
}

fn the_sample_of_the_original() {
    let Some(program) = built("original.cpp", Standard::Cpp98, "-lSocketProtector") else {
        return;
    };
    for pass in PASSES {
        let setup = Setup::alone().with(pass).command(&[program.as_str(), "4321"]);
        let scene = Arc::clone(setup.scene());
        let mut supervisor = setup.start();
        let first = supervisor.serving_pid();
        writeln!(TcpStream::connect(supervisor.address()).unwrap(), "Hello, World").unwrap();
        eventually("it prints what it was sent", || scene.read("stdout").contains("Hello, World\n"));
        // A client in the middle of something keeps its daemon, and the others get the next.
        let mut slow = TcpStream::connect(supervisor.address()).unwrap();
        write!(slow, "first half, ").unwrap();
        eventually("it prints the first half", || scene.read("stdout").contains("first half, "));
        supervisor.hup();
        supervisor.wait_status("a second generation serves", |status| status["counters"]["reloads"] == 1);
        writeln!(TcpStream::connect(supervisor.address()).unwrap(), "Hello again").unwrap();
        eventually("the next one prints, too", || scene.read("stdout").contains("Hello again\n"));
        assert!(alive(first), "it left in the middle of a connection");
        write!(slow, "second half").unwrap();
        drop(slow);
        eventually("the first one ends by itself", || scene.read("stdout").contains("ended, drained"));
        assert!(scene.read("stdout").contains("second half"));
        supervisor.wait_settled();
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    }
}

fn an_event_loop_finishes_what_it_has() {
    let source = client_lib().join("examples/c/echo_poll.c");
    let Some(program) = program(&source, Standard::C11, &["-lsocket_protector"]) else {
        return;
    };
    for pass in PASSES {
        let supervisor = Setup::alone().with(pass).command(&[program.to_str().unwrap()]).start();
        let echoes = |mut client: &TcpStream, words: &[u8]| {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(words).unwrap();
            let mut echoed = vec![0; words.len()];
            client.read_exact(&mut echoed).unwrap();
            assert_eq!(echoed, words);
        };
        let first = supervisor.serving_pid();
        let old = TcpStream::connect(supervisor.address()).unwrap();
        echoes(&old, b"before");
        supervisor.reload().expect(0);
        echoes(&old, b"after");
        let new = TcpStream::connect(supervisor.address()).unwrap();
        echoes(&new, b"new");
        assert!(alive(first));
        drop(old);
        supervisor.wait_settled();
        // Told to end while a client is there, it lets that one finish.
        let second = supervisor.serving_pid();
        send(second, Signal::SIGTERM);
        echoes(&new, b"still there");
        drop(new);
        eventually("it has ended", || !alive(second));
    }
}

fn connection_and_count_are_kept_over_reloads() {
    let source = client_lib().join("examples/c/line_counter.c");
    if let Some(program) = program(&source, Standard::C11, &["-lsocket_protector"]) {
        are_kept_over_reloads(|| Setup::alone().command(&[program.to_str().unwrap()]));
    }
}

fn connection_and_count_are_kept_from_one_language_to_the_other() {
    let source = client_lib().join("examples/c/line_counter.c");
    let Some(program) = program(&source, Standard::C11, &["-lsocket_protector"]) else {
        return;
    };
    for pass in PASSES {
        let setup = Setup::alone().role("line_counter").with(pass);
        let scene = Arc::clone(setup.scene());
        let commands = [scene.child().join(" "), program.to_str().unwrap().to_owned()];
        let command = scene.write("command", &commands[0]);
        let line = format!("exec $(cat {})", command.display());
        let supervisor = setup.command(&["/bin/sh", "-c", line.as_str()]).start();
        let mut clients = Counted::crowd(supervisor.address(), 5);
        clients.iter_mut().for_each(Counted::count);
        for command in commands.iter().rev().cycle().take(4) {
            scene.write("command", command);
            supervisor.reload().expect(0);
            clients.iter_mut().for_each(Counted::count);
            supervisor.wait_settled();
        }
    }
}

fn a_program_without_a_supervisor_says_so() {
    let Some(program) = built("original.cpp", Standard::Cpp98, "-lSocketProtector") else {
        return;
    };
    // The port of no supervisor: nobody can have bound an abstract name with port 0.
    let output = std::process::Command::new(program).arg("0").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "port 0\nended, terminated\n");
}
