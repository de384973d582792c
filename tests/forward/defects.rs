//! What grace does wrong, each by its number, and what is right instead.

use super::place::{Backend, Client, MOMENT, Place, client, free_source, row};
use crate::harness::process::alive;
use crate::harness::{PATIENCE, eventually, stays, trials};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

trials![
    d01_a_dead_destination_ends_its_clients_and_leaks_nothing,
    d02_half_closed_connections_work_and_resets_are_resets,
    d03_garbage_and_unknown_rules_are_refused,
    d04_a_busy_port_is_told_at_once,
    d04_a_stale_socket_does_not_pass_for_a_start,
    d05_a_second_start_changes_nothing,
    d05_a_pid_file_of_somebody_else_is_no_obstacle,
    d05_a_pid_file_that_names_a_zombie_is_no_obstacle,
    d06_a_switch_outlasts_a_restart,
    d07_the_control_socket_is_ours_alone,
    d08_errors_go_to_stderr_in_words,
    d09_relative_paths_are_the_callers,
    d10_stop_can_drain_and_wait_has_a_limit,
    d10_a_long_list_is_shown_whole,
    d11_a_destination_with_tls_is_verified,
    d12_a_stopped_rule_that_drains_is_shown,
];

fn d01_a_dead_destination_ends_its_clients_and_leaks_nothing() {
    let (place, a, dead) = (Place::new(), Backend::new("a"), Backend::new("dead"));
    dead.close();
    let (source, address) = free_source();
    place.start(&source, &dead.endpoint());
    for _ in 0..6 {
        Client::connect(address).ends();
    }
    place.wait_rows(&[row(&source, &dead.endpoint(), 0, "active")]);
    assert_eq!(place.list()["rules"][0]["destinations"][0]["failures"], 6);
    place.switch(&source, &a.endpoint());
    place.quietly(&["wait", &source, "--timeout", "10s"]);
    client(address, "a");
    let log = place.file("forward.log");
    assert_eq!(log.matches("cannot connect to").count(), 6, "one line each: {log}");
    assert!(log.contains("refused"), "{log}");
}

fn d02_half_closed_connections_work_and_resets_are_resets() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (source, address) = free_source();
    place.start(&source, &format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port()));
    // The client has said everything; the answer comes after that.
    let client = TcpStream::connect(address).unwrap();
    let (mut backend, _) = listener.accept().unwrap();
    (&client).write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    backend.read_to_string(&mut heard).unwrap();
    backend.write_all(b"answer").unwrap();
    drop(backend);
    let mut answer = String::new();
    (&client).read_to_string(&mut answer).unwrap();
    assert_eq!((heard.as_str(), answer.as_str()), ("question", "answer"));
    // A reset of either side is one at the other.
    for client_resets in [true, false] {
        let client = TcpStream::connect(address).unwrap();
        let (mut backend, _) = listener.accept().unwrap();
        // To us it is connected only now; before, a reset says that it could not be.
        backend.write_all(b"x").unwrap();
        (&client).read_exact(&mut [0]).unwrap();
        let (resets, hears) = if client_resets { (client, backend) } else { (backend, client) };
        socket2::SockRef::from(&resets).set_linger(Some(Duration::ZERO)).unwrap();
        drop(resets);
        hears.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = (&hears).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "client resets: {client_resets}");
    }
}

fn d03_garbage_and_unknown_rules_are_refused() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    for bad in ["garbage", "tcp:127.0.0.1:port", "tcp:", "", "spdy:h:1"] {
        place.run(&["start", &source, bad]).expect(2).complains().says("not an endpoint").says("^");
    }
    place.run(&["start", "tcp:99999", &a.endpoint()]).expect(2).complains().says("^");
    assert!(!place.path("forward.json").exists());
    place.start(&source, &a.endpoint());
    place.run(&["switch", &source, "garbage"]).expect(2).complains();
    place.run(&["switch", "tcp:1", &a.endpoint()]).expect(1).complains().says("no rule for tcp:1");
    client(address, "a");
}

fn d04_a_busy_port_is_told_at_once() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("tcp:{}:interface=127.0.0.1", busy.local_addr().unwrap().port());
    let ran = place.run(&["start", &source, &a.endpoint()]).expect(1).complains();
    ran.says("cannot listen on").says("Address already in use").says("hint:");
    assert!(!place.path("forward.json").exists() && !place.path("forward.pid").exists());
    place.run(&["start", "-f", &source, &a.endpoint()]).expect(1).complains().says("in use");
    // So it is for a further rule.
    let (first, address) = free_source();
    place.start(&first, &a.endpoint());
    place.run(&["start", &source, &a.endpoint()]).expect(1).complains().says("in use").says("hint:");
    assert_eq!(place.rows(), [row(&first, &a.endpoint(), 0, "active")]);
    client(address, "a");
}

fn d04_a_stale_socket_does_not_pass_for_a_start() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.kill();
    assert!(place.path("forward.sock").exists() && place.path("forward.pid").exists(), "that is what is stale");
    place.run(&["ls"]).expect(1).complains().says("no forwarder is running");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp:{}:interface=127.0.0.1", busy.local_addr().unwrap().port());
    place.run(&["start", &taken, &a.endpoint()]).expect(1).complains().says("in use");
    place.start(&source, &a.endpoint());
    client(address, "a");
}

fn d05_a_second_start_changes_nothing() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (pid, saved) = (place.pid(), place.file("forward.json"));
    place.run(&["start", &source, &b.endpoint()]).expect(1).complains().says("forwarded already");
    place
        .run(&["start", "-f", &source, &b.endpoint()])
        .expect(1)
        .complains()
        .says("already running")
        .says(&pid.to_string());
    place.run(&["start"]).expect(1).complains().says("already running");
    assert_eq!((place.pid(), place.file("forward.json")), (pid, saved));
    client(address, "a");
}

fn d05_a_pid_file_of_somebody_else_is_no_obstacle() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    // It lives, but it is a stranger; the next ones are none.
    for text in [format!("{}\n", std::process::id()), "1\n".into(), String::new(), "garbage".into()] {
        std::fs::write(place.path("forward.pid"), text).unwrap();
        place.start(&source, &a.endpoint());
        client(address, "a");
        place.run(&["stop"]).expect(0);
    }
}

fn d06_a_switch_outlasts_a_restart() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.switch(&source, &b.endpoint());
    for kill in [true, false] {
        if kill {
            place.kill()
        } else {
            drop(place.run(&["stop"]).expect(0))
        }
        assert_eq!(place.run(&["start"]).expect(0).out, "Started\n");
        assert_eq!(place.rows(), [row(&source, &b.endpoint(), 0, "active")]);
        client(address, "b");
    }
}

fn d07_the_control_socket_is_ours_alone() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start(&free_source().0, &a.endpoint());
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("forward.sock"), mode("forward.json")), (0o600, 0o600));
}

fn d08_errors_go_to_stderr_in_words() {
    let place = Place::new();
    for (args, code) in [
        (&[][..], 2),
        (&["dance"], 2),
        (&["switch"], 2),
        (&["switch", "tcp:1"], 2),
        (&["start", "tcp:1"], 2),
        (&["ls"], 1),
        (&["switch", "tcp:1", "tcp:h:1"], 1),
        (&["wait"], 1),
        (&["stop"], 1),
        (&["stop", "tcp:1"], 1),
        (&["pause", "tcp:1"], 1),
        (&["start"], 1),
    ] {
        let ran = place.run(args).expect(code).complains();
        assert_eq!(ran.out, "", "{args:?}");
    }
}

fn d09_relative_paths_are_the_callers() {
    let place = Place::new();
    let folder = place.scene.path("folder");
    std::fs::create_dir(&folder).unwrap();
    super::place::unix_backend(&folder.join("backend.sock"), "unix");
    place.run_in(folder.clone(), &["start", "unix:front.sock", "unix:backend.sock"]).expect(0);
    Client::connect_unix(&folder.join("front.sock")).ask("unix");
    // From elsewhere the same place is another path.
    place.run(&["pause", "unix:front.sock"]).expect(1).complains().says("no rule");
    place.run_in(folder.clone(), &["pause", "unix:./front.sock"]).expect(0);
    place.quietly(&["resume", &format!("unix:{}/front.sock", folder.display())]);
    Client::connect_unix(&folder.join("front.sock")).ask("unix");
}

fn d10_stop_can_drain_and_wait_has_a_limit() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let mut stops = place.begin(&["stop", "--drain"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "inactive")]);
    // A connection runs.
    stays("it drains", MOMENT, || stops.runs());
    held.ask("a");
    drop(held);
    let ran = stops.finish(PATIENCE).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("Stopped\n", ""));
}

/// To kill(2) it is there, and it runs no more.
fn d05_a_pid_file_that_names_a_zombie_is_no_obstacle() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(zombie.id()).unwrap());
    eventually("it is a zombie", || !alive(pid));
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path("forward.pid"), format!("{pid}\n")).unwrap();
    place.run(&["ls"]).expect(1).complains().says("no forwarder is running");
    place.start(&source, &a.endpoint());
    assert_ne!(place.pid(), pid);
    client(address, "a");
    zombie.wait().unwrap();
}

/// AMP values end at 64 KiB.
fn d10_a_long_list_is_shown_whole() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    place.start(&source, &a.endpoint());
    let folder = place.scene.path(&"long".repeat(10));
    std::fs::create_dir(&folder).unwrap();
    let long = "destination.".repeat(18);
    for number in 0..300 {
        let front = folder.join(format!("{number}"));
        place.start(&format!("unix:{}", front.display()), &format!("tcp:{long}example:{}", number + 1));
    }
    let ran = place.run(&["ls"]).expect(0);
    assert!(ran.out.len() > 64 * 1024 && ran.out.lines().count() == 302, "{} bytes", ran.out.len());
}

fn d11_a_destination_with_tls_is_verified() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    // What is there speaks no TLS at all, so nothing may come through in the clear.
    place.start(&source, &format!("tls:127.0.0.1:{}", a.endpoint().rsplit('=').next().unwrap()));
    let mut client = Client::connect(address);
    client.send("secret\n");
    client.ends();
    place.wait_log("cannot connect to tls:");
    place
        .run(&["switch", &source, "tls:127.0.0.1:1:trustRoots=/no/such/folder"])
        .expect(1)
        .complains()
        .says("/no/such");
}

fn d12_a_stopped_rule_that_drains_is_shown() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let stops = place.begin(&["stop", &source, "--drain"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "inactive")]);
    held.ask("a");
    // The place is free for another rule meanwhile.
    let b = Backend::new("b");
    place.start(&source, &b.endpoint());
    client(address, "b");
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    drop(held);
    stops.finish(PATIENCE).expect(0);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active")]);
    assert!(place.file("forward.json").contains(&b.endpoint()), "the new rule is saved");
}
