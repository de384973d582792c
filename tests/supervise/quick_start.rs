//! The README's first commands, with the program that a user reads first.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use nix::sys::signal::Signal;

use crate::harness::free_port;
use crate::harness::process::Exit;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, Setup, eventually, ran::Running, trials, until};

trials![
    in_the_foreground,
    as_a_daemon_with_a_pid_file,
    with_connections_passed,
    the_sample_runs_without_a_supervisor,
    the_sample_finishes_what_it_has_before_it_leaves,
];

/// The sample, built as the program under test was.
fn sample_client() -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| {
        let folder = binary().parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "sample-client", "--target-dir"]).arg(folder.parent().unwrap());
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        let built = build.output().unwrap();
        assert!(built.status.success(), "cannot build the sample: {}", String::from_utf8_lossy(&built.stderr));
        folder.join("sample-client")
    });
    path.to_str().unwrap().to_owned()
}

/// What `echo WORDS | nc localhost PORT` does.
fn say(port: u16, words: &str) {
    let mut stream = TcpStream::connect(("localhost", port)).unwrap();
    writeln!(stream, "{words}").unwrap();
}

fn in_the_foreground() {
    let port = free_port().to_string();
    let setup = Setup::alone().name(None).listen(&[&port]);
    let scene = Arc::clone(setup.scene());
    let mut supervisor = setup.command(&[&sample_client(), &port]).start();
    assert_eq!(supervisor.status()["name"], port, "the first port is the name");
    say(port.parse().unwrap(), "Hello, World");
    eventually("the sample prints what it was sent", || scene.read("stdout").contains("Hello, World"));
    let first = supervisor.serving_pid();
    supervisor.hup();
    supervisor.wait_status("a second generation serves", |status| status["counters"]["reloads"] == 1);
    supervisor.wait_settled();
    assert_ne!(supervisor.serving_pid(), first);
    say(port.parse().unwrap(), "Hello again");
    eventually("the new sample prints, too", || scene.read("stdout").contains("Hello again"));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(TcpStream::connect(("localhost", port.parse().unwrap())).is_err(), "the port is still open");
}

fn as_a_daemon_with_a_pid_file() {
    let port = free_port().to_string();
    let setup = Setup::alone().name(None).listen(&[&port]).daemon();
    let mut daemon = setup.command(&[&sample_client(), &port]).launch();
    let scene = Arc::clone(&daemon.scene);
    say(port.parse().unwrap(), "Hello, World");
    eventually("the log has what was sent", || scene.read("log").contains("Hello, World"));
    let hup = format!("kill -HUP $(cat {})", scene.path("pid").display());
    Running::start(Command::new("sh").args(["-c", &hup])).finish(PATIENCE).expect(0);
    daemon.wait_status("a second generation serves", |status| status["counters"]["reloads"] == 1);
    daemon.wait_settled();
    say(port.parse().unwrap(), "Hello again");
    eventually("the log has the second greeting", || scene.read("log").contains("Hello again"));
    scene.cli(&["stop", &port]).expect(0);
    assert_eq!(daemon.wait_exit(), Exit::Code(0));
}

fn with_connections_passed() {
    let port = free_port().to_string();
    let setup = Setup::alone().name(None).listen(&[&port]).connections();
    let supervisor = setup.command(&[&sample_client(), &port]).start();
    let scene = Arc::clone(&supervisor.scene);
    for turn in 0..3 {
        say(port.parse().unwrap(), &format!("Hello {turn}"));
        eventually("the sample prints what it was sent", || scene.read("stdout").contains(&format!("Hello {turn}")));
        supervisor.reload().expect(0);
    }
    let status = supervisor.status();
    assert_eq!(status["counters"]["passed"], 3, "{status}");
}

fn the_sample_runs_without_a_supervisor() {
    let scene = Scene::new();
    let port = free_port();
    let out = std::fs::File::create(scene.path("out")).unwrap();
    let mut command = Command::new(sample_client());
    let mut sample = scene.mark(command.arg(port.to_string()).stdout(out)).spawn().unwrap();
    until("the sample listens", PATIENCE, || {
        TcpStream::connect(("localhost", port)).map(drop).map_err(|error| error.to_string())
    });
    say(port, "Hello, alone");
    eventually("the sample prints what it was sent", || scene.read("out").contains("Hello, alone"));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sample.id()).unwrap());
    crate::harness::process::send(pid, Signal::SIGTERM);
    let ended = sample.wait().unwrap();
    assert!(ended.success() || ended.signal() == Some(libc::SIGTERM), "{ended}");
}

fn the_sample_finishes_what_it_has_before_it_leaves() {
    for pass in ["listener", "connections"] {
        let port = free_port().to_string();
        let setup = Setup::alone().listen(&[&port]).with("--pass").with(pass);
        let supervisor = setup.command(&[&sample_client(), &port]).start();
        let scene = Arc::clone(&supervisor.scene);
        let mut stream = TcpStream::connect(("localhost", port.parse().unwrap())).unwrap();
        stream.write_all(b"first half, ").unwrap();
        eventually("the sample has the connection", || scene.read("stdout").contains("first half, "));
        supervisor.reload().expect(0);
        stream.write_all(b"second half\n").unwrap();
        drop(stream);
        eventually("the old sample prints the rest", || scene.read("stdout").contains("second half"));
        supervisor.wait_settled();
    }
}
