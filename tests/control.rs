//! The control socket: what `status` answers, and clients that mean no good.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::process::{self, Exit, processor_time};
use crate::harness::{Scene, Setup, Supervisor, trials, trials_of_root};

trials![
    the_status_has_the_agreed_shape,
    the_status_for_people_names_what_matters,
    the_status_of_all_instances_lists_them,
    a_dead_instance_does_not_hide_the_others,
    the_counters_count,
    the_socket_is_ours_alone,
    garbage_is_answered_or_cut_off,
    an_endless_line_costs_no_memory,
    clients_that_never_finish_their_line_delay_nobody,
    clients_that_never_read_delay_nobody,
    many_silent_clients_delay_nobody,
    requests_a_byte_at_a_time_are_understood,
];
trials_of_root![strangers_are_turned_away];

/// Trials that need another user, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

fn connect(supervisor: &Supervisor) -> UnixStream {
    let stream = UnixStream::connect(supervisor.scene.path("run/t.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[track_caller]
fn keys(value: &Value, wanted: &[&str]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for key in wanted {
        assert!(object.contains_key(*key), "{key} is missing: {value}");
    }
}

fn the_status_has_the_agreed_shape() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--pass").with(pass).start();
        ask(supervisor.address());
        let status = supervisor.status();
        keys(
            &status,
            &[
                "schema",
                "role",
                "name",
                "pid",
                "version",
                "uptime_seconds",
                "pass",
                "paused",
                "listeners",
                "generations",
                "counters",
                "last_reload",
            ],
        );
        assert_eq!(status["schema"], 1);
        assert_eq!(status["role"], "supervise");
        assert_eq!(status["name"], "t");
        assert_eq!(status["pid"], supervisor.pid().as_raw());
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["pass"], pass);
        assert_eq!(status["paused"], false);
        assert!(status["uptime_seconds"].is_number());
        let listener = &status["listeners"][0];
        keys(listener, &["name", "endpoint", "address", "held", "accepted"]);
        assert_eq!(listener["held"], 0);
        let address: std::net::SocketAddr = listener["address"].as_str().unwrap().parse().unwrap();
        assert_ne!(address.port(), 0, "the ephemeral port is reported");
        let generation = &status["generations"][0];
        keys(generation, &["number", "phase", "command", "age_seconds", "workers"]);
        assert_eq!(generation["number"], 1);
        assert_eq!(generation["phase"], "serving");
        assert_eq!(generation["command"], serde_json::json!(supervisor.scene.child()));
        let worker = &generation["workers"][0];
        keys(worker, &["index", "pid", "status", "connections_passed", "connections_open"]);
        assert_eq!(worker["index"], 0);
        let counters = &status["counters"];
        keys(counters, &["reloads", "reloads_failed", "respawns", "accepted", "passed", "reclaimed", "given_back"]);
        for (name, count) in counters.as_object().unwrap() {
            let expected = u64::from(pass == "connections" && (name == "accepted" || name == "passed"));
            assert_eq!(count, expected, "{name} in {status}");
        }
        assert_eq!(status["last_reload"], Value::Null);
        supervisor.reload().expect(0);
        let status = supervisor.status();
        let last = &status["last_reload"];
        keys(last, &["generation", "ok", "reason", "milliseconds"]);
        assert_eq!((&last["generation"], &last["ok"]), (&Value::from(2), &Value::from(true)), "{status}");
        assert!(last["milliseconds"].is_number(), "{status}");
    }
}

fn the_status_for_people_names_what_matters() {
    let supervisor = Setup::alone().start();
    let said = supervisor.scene.cli(&["status", "t"]).expect(0).out;
    for word in ["t", "serving", &supervisor.address().to_string(), &supervisor.serving_pid().to_string()] {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
    assert!(!said.contains('{') && !said.contains("null"), "that is for machines: {said}");
}

fn the_status_of_all_instances_lists_them() {
    let scene = Scene::new();
    let first = scene.setup().name(Some("first")).start();
    let second = scene.setup().name(Some("second")).start();
    let said = scene.cli(&["status"]).expect(0).out;
    for supervisor in [&first, &second] {
        assert!(said.contains(supervisor.name()), "{said}");
    }
    let all = scene.cli(&["status", "--json"]).expect(0);
    for supervisor in [&first, &second] {
        assert!(
            all.out.contains(&format!("\"pid\":{}", supervisor.pid()))
                || all.out.contains(&format!("\"pid\": {}", supervisor.pid())),
            "{}",
            all.out
        );
    }
}

fn a_dead_instance_does_not_hide_the_others() {
    let scene = Scene::new();
    let alive = scene.setup().name(Some("alive")).start();
    drop(std::os::unix::net::UnixListener::bind(scene.path("run/dead.sock")).unwrap());
    let said = scene.cli(&["status"]).expect(0).out;
    assert!(said.contains("alive"), "{said}");
    drop(alive);
    // A name left behind by a crash can be used again.
    let again = scene.setup().name(Some("dead")).start();
    ask(again.address());
}

fn the_counters_count() {
    let supervisor = Setup::alone().connections().start();
    let address = supervisor.address();
    for _ in 0..10 {
        ask(address);
    }
    supervisor.reload().expect(0);
    supervisor.scene.role("crash_before_ready 0 1");
    supervisor.reload().expect(1);
    supervisor.scene.role("echo");
    let serving = supervisor.serving_pid();
    crate::harness::process::send(serving, nix::sys::signal::Signal::SIGKILL);
    supervisor.wait_status("another child serves", |status| {
        crate::harness::supervisor::serving(status)
            .is_some_and(|generation| crate::harness::supervisor::worker_pid(generation) != serving)
    });
    ask(address);
    let status = supervisor.status();
    let counters = &status["counters"];
    let expected =
        [("reloads", 1), ("reloads_failed", 1), ("respawns", 1), ("accepted", 11), ("passed", 11), ("reclaimed", 0)];
    for (name, count) in expected {
        assert_eq!(counters[name], count, "{name} in {status}");
    }
    assert_eq!(status["listeners"][0]["accepted"], 11, "{status}");
}

fn the_socket_is_ours_alone() {
    let scene = Scene::new();
    let fresh = scene.path("fresh");
    let supervisor = scene.setup().with_path("--run-dir", "fresh").wrap("umask 0").launch();
    crate::harness::eventually("the socket is there", || fresh.join("t.sock").exists());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    crate::harness::eventually("the socket is for us alone", || mode(&fresh.join("t.sock")) == 0o600);
    let folder = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    assert_eq!(mode(&fresh), folder, "{:o}", mode(&fresh));
    drop(supervisor);
    assert!(!fresh.join("t.sock").exists(), "the socket stays behind");
}

/// What must hold after whatever a client did.
#[track_caller]
fn unimpressed(supervisor: &Supervisor) {
    let begin = Instant::now();
    supervisor.status();
    ask(supervisor.address());
    supervisor.reload().expect(0);
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
}

fn garbage_is_answered_or_cut_off() {
    let supervisor = Setup::alone().start();
    let samples: [&[u8]; 12] = [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"{\"command\":1}\n",
        b"{\"a\":{\"a\":{\"a\":\n",
        b"\0\0\0\n",
        b"\xff\xfe\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"{\"request\":\"no-such-request\"}\n",
        b"\"\\ud800\"\n",
        b"}\n",
    ];
    for sample in samples {
        let mut stream = connect(&supervisor);
        let _ = stream.write_all(sample);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // An answer or a closed connection, but not silence.
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{sample:?}"),
        }
        for line in answer.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<Value>(line).unwrap_or_else(|error| panic!("{sample:?} → {line:?}: {error}"));
        }
    }
    // Nested more deeply than any stack.
    let mut stream = connect(&supervisor);
    let _ = stream.write_all("[".repeat(50_000).as_bytes());
    let _ = stream.write_all(b"\n");
    unimpressed(&supervisor);
}

fn an_endless_line_costs_no_memory() {
    let supervisor = Setup::alone().start();
    unimpressed(&supervisor);
    let before = resident(&supervisor);
    for _ in 0..4 {
        let mut stream = connect(&supervisor);
        let block = vec![b'x'; 1 << 20];
        for _ in 0..32 {
            if stream.write_all(&block).is_err() {
                break;
            }
        }
    }
    unimpressed(&supervisor);
    let grown = resident(&supervisor).saturating_sub(before);
    assert!(grown < 16 << 20, "it grew by {grown} bytes");
}

fn resident(supervisor: &Supervisor) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", supervisor.pid())).unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn clients_that_never_finish_their_line_delay_nobody() {
    let supervisor = Setup::alone().start();
    let halves: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(&supervisor);
            stream.write_all(b"{\"request\":").unwrap();
            stream
        })
        .collect();
    unimpressed(&supervisor);
    drop(halves);
    unimpressed(&supervisor);
}

fn clients_that_never_read_delay_nobody() {
    let supervisor = Setup::alone().start();
    // Whatever the request is called: every line is answered, and no answer is read.
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(&supervisor);
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let block = "{\"request\":\"status\"}\n{\"command\":\"status\"}\n".repeat(1000);
            for _ in 0..100 {
                if stream.write_all(block.as_bytes()).is_err() {
                    break;
                }
            }
            stream
        })
        .collect();
    let before = processor_time(supervisor.pid());
    unimpressed(&supervisor);
    assert!(resident(&supervisor) < 128 << 20, "{} bytes resident", resident(&supervisor));
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_secs(5), "{used:?} of processor time");
    drop(streams);
    unimpressed(&supervisor);
}

fn many_silent_clients_delay_nobody() {
    let supervisor = Setup::alone().wrap("nofile 512").start();
    let path = supervisor.scene.path("run/t.sock");
    let silent: Vec<_> = (0..200).map_while(|_| UnixStream::connect(&path).ok()).collect();
    assert!(silent.len() >= 100, "{} clients", silent.len());
    // Those that say nothing make room for the one that does.
    unimpressed(&supervisor);
    let held = process::census(supervisor.pid()).descriptors["socket"];
    assert!(held < 150, "{held} sockets held for silent clients");
    drop(silent);
    assert!(supervisor.census().descriptors["socket"] < 20, "sockets of clients that are gone");
}

fn requests_a_byte_at_a_time_are_understood() {
    let supervisor = Setup::alone().start();
    let mut stream = connect(&supervisor);
    for byte in b"{\"request\":\"no-such-thing\"}\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert!(line.is_empty() || serde_json::from_str::<Value>(&line).is_ok(), "{line:?}");
    unimpressed(&supervisor);
}

fn strangers_are_turned_away() {
    let supervisor = Setup::alone().start();
    let scene = &supervisor.scene;
    scene.open_to_all();
    // Even where the file modes would let them in, the credentials do not.
    for (path, mode) in [("run", 0o777), ("run/t.sock", 0o777)] {
        std::fs::set_permissions(scene.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = scene.copy(crate::harness::scene::binary(), "program");
    for args in [&["status", "t"][..], &["reload", "t"], &["stop", "t"]] {
        let mut command = Command::new(crate::harness::scene::suite());
        command.args(["child", "wrap", "user", "65532", "--"]).arg(&program).args(args);
        let ran = crate::harness::ran::Running::start(scene.mark(&mut command)).finish(crate::harness::PATIENCE);
        assert_eq!(ran.exit, Exit::Code(1), "{ran:?}");
        ran.complains();
    }
    let status = supervisor.status();
    assert_eq!(status["counters"]["reloads"], 0, "{status}");
    unimpressed(&supervisor);
}
