//! How a server comes up: where it listens, what it refuses, in the background, and under an outer manager.

use super::client::{Client, Said};
use super::destination::Destination;
use super::place::Place;
use super::secure::Certificate;
use crate::harness::process::{Exit, alive};
use crate::harness::scene::{binary, suite};
use crate::harness::{PATIENCE, Scene, eventually, trials, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use socket_protector::session::frame::{Closed, Mode};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;

trials![
    localhost_is_every_address_that_the_name_has,
    it_listens_for_nobody_else_in_the_clear,
    with_tls_it_may_be_reached_from_elsewhere,
    a_unix_socket_serves_as_well,
    a_socket_of_an_outer_manager_is_taken,
    in_the_background_it_is_there_when_the_command_returns,
    two_do_not_have_one_name,
    an_outer_manager_is_told,
    the_systemd_unit_starts_what_its_comment_says,
    changed_tls_files_are_looked_at_on_hang_up,
    wrong_words_are_told_with_their_place,
    the_help_is_complete,
];

fn localhost_is_every_address_that_the_name_has() {
    let destination = Destination::echo();
    let place = Place::at("localhost:0", &destination.endpoint(), &[]);
    let port = place.address.port();
    let mut found = Vec::new();
    for address in ("localhost", port).to_socket_addrs().unwrap() {
        // An address of the list that the machine does not have is nobody's.
        if TcpListener::bind((address.ip(), 0)).is_err() {
            continue;
        }
        let (mut client, _ticket) = Client::create(address);
        client.type_in(b"hello");
        client.expect("hello");
        found.push(address.to_string());
    }
    let status = place.status();
    let mut listeners: Vec<_> =
        status["listeners"].as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap().to_owned()).collect();
    found.sort();
    listeners.sort();
    found.dedup();
    assert_eq!(listeners, found);
    assert_eq!(status["name"], format!("session-{port}"));
}

fn it_listens_for_nobody_else_in_the_clear() {
    let scene = Scene::new();
    for proxy in ["0.0.0.0:0", "tcp:0", "[::]:0"] {
        let ran = scene.cli(&["session", "server", &format!("--proxy={proxy}"), "127.0.0.1:1"]);
        ran.expect(2).complains().says("in the clear").says("hint: use --proxy=ssl:").says("--insecure");
    }
    scene.cli(&["session", "server", "--proxy=udp:0", "127.0.0.1:1"]).expect(2).complains().says("only connections");
    scene.cli(&["session", "server", "--proxy=haproxy:tcp:0", "127.0.0.1:1"]).expect(2).complains();
    assert!(!scene.path("run").read_dir().unwrap().any(|_| true), "nothing is left");
    let destination = Destination::echo();
    let place = Place::at("0.0.0.0:0", &destination.endpoint(), &["--insecure"]);
    Client::create(([127, 0, 0, 1], place.address.port()).into());
}

fn with_tls_it_may_be_reached_from_elsewhere() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let files = Certificate::new(&scene, "here");
    let place = Place::in_scene(Arc::clone(&scene), &files.listen(0, "0.0.0.0"), &destination.endpoint(), &[]);
    let address: SocketAddr = ([127, 0, 0, 1], place.address.port()).into();
    let before = place.census();
    let dial = || files.connect(super::client::dial(address));
    let mut client = Client::over(dial());
    let ticket = client.make();
    client.type_in(&vec![b'x'; 300_000]);
    client.output_to(300_000);
    drop(client);
    let mut client = Client::over(dial());
    client.resume(&ticket, 200_000, Mode::Steal).unwrap();
    client.output_to(300_000);
    // Who speaks in the clear is no client; who says nothing is not waited for.
    let mut plain = super::client::dial(address);
    std::io::Write::write_all(&mut plain, b"\xd3\x53\x4b\x54\x00\x0d\x0a\x1a\x01\x01").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!answer.starts_with(b"\x01"), "{answer:?}");
    place.run("close", &[&ticket.short()]).expect(0);
    client.until("the end", |said| *said == Said::Closed(Closed::ByAdministrator));
    client.until("the end of the connection", |said| *said == Said::End);
    place.wait_census(&before);
    // Found by what its clients call it.
    let tls = format!("--proxy=tls:127.0.0.1:{}", address.port());
    scene.cli(&["session", "status", &tls]).expect(0);
    let bad = format!("--proxy=ssl:0:privateKey={}", scene.path("none.key").display());
    scene.cli(&["session", "server", &bad, "127.0.0.1:1"]).expect(1).complains().says("none.key");
}

fn a_unix_socket_serves_as_well() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let path = scene.path("chat.sock");
    let proxy = format!("--proxy=unix:{}:mode=600", path.display());
    let mut command = Command::new(binary());
    scene.mark(&mut command).args(["session", "server", &proxy, &destination.endpoint()]);
    let mut child = command.spawn().unwrap();
    eventually("it listens", || path.exists());
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(stream);
    client.make();
    client.type_in(b"hello");
    client.expect("hello");
    let status = scene.cli(&["session", "status", "--json", &proxy]).expect(0).json();
    assert_eq!(status["name"], "session-chat.sock");
    assert_eq!(status["sessions"][0]["state"], "attached");
    crate::harness::process::send(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM);
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    assert!(child.wait().unwrap().success());
    assert!(!path.exists());
}

fn a_socket_of_an_outer_manager_is_taken() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let mut command = Command::new(suite());
    scene.mark(&mut command).args(["child", "wrap", "tcp4", "3", "passed", "1:", "--"]).arg(binary());
    command.args([
        "session",
        "server",
        "--proxy=systemd:domain=INET:index=0",
        "--name",
        "chat",
        &destination.endpoint(),
    ]);
    let mut child = command.spawn().unwrap();
    let address = until("it can be asked", PATIENCE, || {
        let ran = scene.cli(&["status", "chat", "--json"]);
        if ran.exit != Exit::Code(0) {
            return Err(ran.err);
        }
        Ok(ran.json()["listeners"][0]["address"].as_str().unwrap().parse::<SocketAddr>().unwrap())
    });
    let (mut client, _ticket) = Client::create(address);
    client.type_in(b"hello");
    client.expect("hello");
    scene.cli(&["session", "drain", &format!("--proxy={address}")]).expect(0);
    assert!(child.wait().unwrap().success());
}

fn in_the_background_it_is_there_when_the_command_returns() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let (log, pid_file) = (scene.path("log"), scene.path("pid"));
    let files = [log.to_str().unwrap(), pid_file.to_str().unwrap()];
    let options = ["--daemon", "--log-file", files[0], "--pid-file", files[1]];
    let to = destination.endpoint();
    let ran = scene.cli(&[&["session", "server", "--proxy=127.0.0.1:0"], &options[..], &[&to]].concat()).expect(0);
    let address: SocketAddr = ran.out.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
    let pid = Pid::from_raw(std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap());
    assert!(alive(pid));
    let (mut client, _ticket) = Client::create(address);
    client.type_in(b"hello");
    client.expect("hello");
    // A second one fails with the reason, in the command that was started.
    let taken = format!("--proxy={address}");
    let again = scene.cli(&["session", "server", "--daemon", "--log-file", files[0], &taken, &to]);
    again.expect(1).complains().says("cannot listen on");
    scene.cli(&["session", "drain", &taken]).expect(0);
    eventually("it has ended", || !alive(pid));
    assert!(!pid_file.exists());
    assert!(std::fs::read_to_string(&log).unwrap().contains("made by 127.0.0.1"));
    crate::harness::process::reap(pid);
}

fn two_do_not_have_one_name() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["--name", "chat"]);
    let ran = place.scene.cli(&["session", "server", "--proxy=127.0.0.1:0", "--name", "chat", &destination.endpoint()]);
    ran.expect(1).complains().says("an instance named chat is already running").says("--name");
    place.run("status", &[]).expect(0);
    let long = "n".repeat(65);
    place
        .scene
        .cli(&["session", "server", "--proxy=127.0.0.1:0", "--name", &long, "127.0.0.1:1"])
        .expect(2)
        .complains();
}

fn an_outer_manager_is_told() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let socket = UnixDatagram::bind(scene.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new(binary());
    scene.mark(&mut command).env("NOTIFY_SOCKET", scene.path("notify"));
    command.args(["session", "server", "--proxy=127.0.0.1:0", &destination.endpoint()]);
    let mut place = Place::started(Arc::clone(&scene), &mut command);
    let hear = || {
        let mut words = [0; 64];
        let length = socket.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    };
    assert_eq!(hear(), "READY=1");
    place.signal(Signal::SIGTERM);
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn the_systemd_unit_starts_what_its_comment_says() {
    let unit = include_str!("../../../packaging/systemd/socket-protector-session.service");
    let value =
        |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    let destination = Destination::echo();
    let scene = Scene::new();
    let socket = UnixDatagram::bind(scene.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let words = value("ExecStart=").replace("/usr/local/bin/socket-protector", &binary().display().to_string());
    let mut command = Command::new("sh");
    // As systemd does with variables that stand alone: each word is an argument.
    scene.mark(&mut command).args(["-c", &format!("exec {words}")]).env("NOTIFY_SOCKET", scene.path("notify"));
    let options = unit.lines().find_map(|line| line.strip_prefix("#   OPTIONS=")).unwrap();
    command.env("OPTIONS", format!("{options} --proxy=127.0.0.1:0")).env("DEST", destination.endpoint());
    let mut place = Place::started(Arc::clone(&scene), &mut command);
    let mut said = [0; 64];
    let length = socket.recv(&mut said).unwrap();
    assert_eq!((value("Type="), &said[..length]), ("notify", &b"READY=1"[..]));
    let (client, ticket) = Client::create(place.address);
    drop(client);
    let expires = place.wait_state(&ticket, "detached")["expires_seconds"].as_u64().unwrap();
    assert!(expires > 3 * 3600, "{expires}: the options hold");
    assert_eq!(value("ExecReload="), "/bin/kill -HUP $MAINPID");
    place.signal(Signal::SIGHUP);
    place.run("status", &[]).expect(0);
    place.signal(Signal::SIGTERM);
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn changed_tls_files_are_looked_at_on_hang_up() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let files = Certificate::new(&scene, "here");
    let place = Place::in_scene(Arc::clone(&scene), &files.listen(0, "127.0.0.1"), &destination.endpoint(), &[]);
    std::fs::write(scene.path("here.crt"), "garbage").unwrap();
    place.signal(Signal::SIGHUP);
    place.wait_log("the former ones stay");
    let mut client = Client::over(files.connect(super::client::dial(place.address)));
    client.make();
}

fn wrong_words_are_told_with_their_place() {
    let scene = Scene::new();
    for (words, why) in [
        (&["--proxy=:70000", "127.0.0.1:1"][..], "at character 11"),
        (&["--proxy=tls:host:1", "127.0.0.1:1"], "unknown kind of endpoint 'tls'"),
        (&["127.0.0.1:1:1"], "unknown kind of endpoint '127.0.0.1'"),
        (&["--buffer", "1MB", "127.0.0.1:1"], "not a size: '1MB'"),
        (&["--ttl", "soon", "127.0.0.1:1"], "not a time: 'soon'"),
        (&["--linger", "0", "127.0.0.1:1"], "--linger must be longer than nothing"),
        (&["--max-sessions", "0", "127.0.0.1:1"], "'0'"),
        (&["--telnet", "maybe", "127.0.0.1:1"], "'maybe'"),
        (&[], "<DEST>"),
    ] {
        let ran = scene.cli(&[&["session", "server"], words].concat());
        assert_eq!(ran.exit, Exit::Code(2), "{words:?}: {}", ran.err);
        ran.complains().says(why);
    }
}

fn the_help_is_complete() {
    let scene = Scene::new();
    let help = scene.cli(&["session", "server", "--help"]).expect(0).out;
    for option in [
        "--proxy",
        "--ttl",
        "--linger",
        "--buffer",
        "--scrollback",
        "--max-sessions",
        "--memory",
        "--telnet",
        "--connect-timeout",
        "--stop-timeout",
        "--insecure",
        "--name",
        "--daemon",
        "--pid-file",
        "--log-file",
        "--run-dir",
        "localhost:9009",
    ] {
        assert!(help.contains(option), "{option} is not in {help}");
    }
    let help = scene.cli(&["session", "--help"]).expect(0).out;
    for command in ["server", "status", "close", "detach", "drain", "Exit codes"] {
        assert!(help.contains(command), "{command} is not in {help}");
    }
}
