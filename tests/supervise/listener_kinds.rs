//! Unix and UDP sockets, sockets that were inherited, and listeners that children shut down.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::harness::client::{Client, ask};
use crate::harness::process::{Exit, descriptors_of, processor_time, send};
use crate::harness::{PATIENCE, Scene, Setup, Supervisor, eventually, trials};

trials![
    unix_sockets_serve_in_both_ways_of_passing,
    abstract_names_serve_in_both_ways_of_passing,
    the_client_library_serves_unix_clients,
    the_mode_is_as_asked_whatever_the_umask,
    a_stale_socket_is_replaced,
    what_is_not_a_stale_socket_is_refused_and_kept,
    nothing_at_the_place_of_the_lock_holds_a_start_up,
    a_name_that_is_too_long_is_wrong_use,
    the_file_is_ours_until_we_end,
    a_file_that_is_not_ours_any_more_is_kept,
    a_killed_supervisor_leaves_a_stale_socket,
    of_many_that_start_at_once_one_wins,
    relative_paths_are_the_callers,
    the_instance_is_called_like_the_file,
    datagrams_are_answered_through_reloads,
    datagrams_are_no_connections,
    inherited_sockets_are_adopted,
    inherited_sockets_serve_by_connections,
    an_inherited_socket_for_datagrams_serves,
    a_socket_as_standard_input_is_adopted,
    an_adopted_socket_file_stays,
    what_cannot_be_adopted_is_told,
    a_unix_listener_that_is_shut_down_is_replaced,
    a_replaced_listener_is_served_even_if_the_reload_fails_at_first,
    a_listener_that_is_shut_down_at_a_given_port_listens_again,
    an_inherited_listener_that_is_shut_down_listens_again,
    an_abstract_listener_that_is_shut_down_is_told_of_once,
    a_child_that_shuts_down_all_the_time_keeps_nobody_busy,
    connections_to_a_lent_listener_wake_nobody,
];

/// The endpoint of a unix socket in a scene's directory.
fn unix(scene: &Scene, name: &str) -> String {
    format!("unix:{}", scene.path(name).display())
}

fn listener(supervisor: &Supervisor, index: usize) -> Value {
    supervisor.status()["listeners"][index].clone()
}

/// Connects to an address as `status` shows it.
fn connect(address: &str) -> std::io::Result<UnixStream> {
    match address.strip_prefix('@') {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => UnixStream::connect(address.strip_prefix("unix:").unwrap()),
    }
}

/// One connection, one request; the generation that answered.
fn try_ask_unix(address: &str) -> std::io::Result<u64> {
    let stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    (&stream).write_all(b"0 hello\n")?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        [generation, _, _, "hello"] => Ok(generation.parse().unwrap()),
        _ => Err(std::io::Error::other(format!("an odd answer: {line:?}"))),
    }
}

#[track_caller]
fn ask_unix(address: &str) -> u64 {
    try_ask_unix(address).unwrap_or_else(|error| panic!("no answer from {address}: {error}"))
}

/// Serves, reloads and stops with the first listener at `address`.
fn serves(setup: Setup, endpoint: &str, address: &str, name: &str) {
    let mut supervisor = setup.start();
    let seen = listener(&supervisor, 0);
    assert_eq!((&seen["endpoint"], &seen["address"], &seen["name"]), (&endpoint.into(), &address.into(), &name.into()));
    assert_eq!(ask_unix(address), 1);
    supervisor.reload().expect(0);
    assert_eq!(ask_unix(address), 2);
    supervisor.wait_settled();
    assert_eq!(ask_unix(address), 2);
    supervisor.scene.cli(&["stop", "t"]).expect(0);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    connect(address).unwrap_err();
}

fn unix_sockets_serve_in_both_ways_of_passing() {
    for pass in ["listener", "connections"] {
        for daemon in [false, true] {
            let setup = Setup::alone().with("--pass").with(pass);
            let endpoint = unix(setup.scene(), "app.sock");
            let setup = setup.listen(&[&endpoint]);
            let scene = setup.scene().clone();
            serves(if daemon { setup.daemon() } else { setup }, &endpoint, &endpoint, "app.sock");
            assert!(!scene.path("app.sock").exists());
        }
    }
}

fn abstract_names_serve_in_both_ways_of_passing() {
    for pass in ["listener", "connections"] {
        let name = format!("@sp/{}-{pass}", std::process::id());
        let setup = Setup::alone().listen(&[&name]).with("--pass").with(pass);
        serves(setup, &format!("unix:{name}"), &name, name.strip_prefix("@sp/").unwrap());
    }
}

fn the_client_library_serves_unix_clients() {
    for pass in ["listener", "connections"] {
        let setup = Setup::alone().role("echo_library").with("--pass").with(pass);
        let endpoint = unix(setup.scene(), "app.sock");
        serves(setup.listen(&[&endpoint]), &endpoint, &endpoint, "app.sock");
    }
}

fn the_mode_is_as_asked_whatever_the_umask() {
    for (umask, mode, found) in [("077", ":mode=660", 0o660), ("000", ":mode=600", 0o600), ("077", "", 0o666)] {
        let setup = Setup::alone().wrap("umask").wrap(umask);
        let endpoint = format!("{}{mode}", unix(setup.scene(), "s"));
        let supervisor = setup.listen(&[&endpoint]).start();
        let file = fs::metadata(supervisor.scene.path("s")).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o7777, found, "umask {umask}, {endpoint}");
        // Whatever else we make is made as before.
        let own = fs::metadata(supervisor.scene.path("run/t.sock")).unwrap();
        assert_eq!(own.permissions().mode() & 0o7777, 0o600);
        ask_unix(&unix(&supervisor.scene, "s"));
    }
}

fn a_stale_socket_is_replaced() {
    let setup = Setup::alone();
    drop(UnixListener::bind(setup.scene().path("s")).unwrap());
    // What a start that was killed in the middle of it has left.
    setup.scene().write(".s.socket-protector.lock", "");
    let endpoint = unix(setup.scene(), "s");
    let supervisor = setup.listen(&[&endpoint]).start();
    ask_unix(&endpoint);
    // And nothing of the replacement is left.
    let names = fs::read_dir(supervisor.scene.path(".")).unwrap().map(|file| file.unwrap().file_name());
    let hidden: Vec<_> = names.filter(|name| name.to_str().unwrap().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

fn what_is_not_a_stale_socket_is_refused_and_kept() {
    let scene = Scene::new();
    let refused = |endpoint: &str, words: &str| {
        let ran = scene.setup().listen(&[endpoint]).run().expect(1).complains();
        ran.says(&format!("cannot listen on {endpoint}: {words}"));
    };
    let _live = UnixListener::bind(scene.path("live")).unwrap();
    refused(&unix(&scene, "live"), "another process listens there");
    let before = fs::symlink_metadata(scene.path("live")).unwrap().ino();
    refused(&unix(&scene, "live"), "another process listens there");
    assert_eq!(fs::symlink_metadata(scene.path("live")).unwrap().ino(), before);
    let _datagrams = std::os::unix::net::UnixDatagram::bind(scene.path("datagrams")).unwrap();
    refused(&unix(&scene, "datagrams"), "another process listens there");

    let other = "there is something that is not a socket";
    scene.write("file", "precious");
    refused(&unix(&scene, "file"), other);
    assert_eq!(scene.read("file"), "precious");
    fs::create_dir(scene.path("directory")).unwrap();
    refused(&unix(&scene, "directory"), other);
    assert!(scene.path("directory").is_dir());
    symlink("nowhere", scene.path("link")).unwrap();
    refused(&unix(&scene, "link"), other);
    assert_eq!(fs::read_link(scene.path("link")).unwrap(), Path::new("nowhere"));
    refused(&unix(&scene, "missing/s"), "No such file or directory");

    let name = format!("@sp-live-{}", std::process::id());
    let _live = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
    let ran = scene.setup().listen(&[&name]).run().expect(1).complains();
    ran.says(&format!("cannot listen on unix:{name}: another process listens there"));
}

fn nothing_at_the_place_of_the_lock_holds_a_start_up() {
    let scene = Scene::new();
    let endpoint = unix(&scene, "s");
    let lock = scene.path(".s.socket-protector.lock");
    let refused = |words: &str| {
        let ran = scene.setup().listen(&[&endpoint]).run().expect(1).complains();
        ran.says(&format!("cannot listen on {endpoint}: {words}, {}", lock.display()));
        assert!(!scene.path("s").exists());
    };
    let other = "the place of its lock is taken by what is no plain file";
    mkfifo(&lock, Mode::S_IRWXU).unwrap();
    refused(other);
    // With a reader, a FIFO can be opened.
    let reader = fs::File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&lock).unwrap();
    refused(other);
    drop(reader);
    assert!(fs::symlink_metadata(&lock).unwrap().file_type().is_fifo());
    fs::remove_file(&lock).unwrap();
    symlink("precious", &lock).unwrap();
    refused(other);
    assert!(!scene.path("precious").exists());
    fs::remove_file(&lock).unwrap();
    // What somebody has written is nothing of ours, and a lock nevertheless.
    let file = Flock::lock(fs::File::create(&lock).unwrap(), FlockArg::LockExclusive).map_err(|(_, it)| it).unwrap();
    refused("another process has its lock");
    assert!(lock.exists());
    drop(file);
    fs::write(&lock, "precious").unwrap();
    let supervisor = scene.setup().listen(&[&endpoint]).start();
    ask_unix(&endpoint);
    drop(supervisor);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "precious");
}

fn a_name_that_is_too_long_is_wrong_use() {
    for endpoint in [format!("unix:/{}", "n".repeat(107)), format!("@{}", "n".repeat(108))] {
        Setup::alone().listen(&[&endpoint]).run().expect(2).complains().says("at most 107 bytes long");
    }
}

fn the_file_is_ours_until_we_end() {
    let setup = Setup::alone().with("--respawn-delay 10ms..50ms");
    let endpoint = unix(setup.scene(), "s");
    let mut supervisor = setup.listen(&[&endpoint]).start();
    let before = fs::metadata(supervisor.scene.path("s")).unwrap().ino();
    // Neither the end of an old child nor a crash of the serving one removes it.
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    send(supervisor.serving_pid(), Signal::SIGKILL);
    eventually("another child answers", || try_ask_unix(&endpoint).is_ok_and(|generation| generation == 3));
    assert_eq!(fs::metadata(supervisor.scene.path("s")).unwrap().ino(), before);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(!supervisor.scene.path("s").exists());
    // A start that fails later on leaves none either.
    let scene = supervisor.scene.clone();
    scene.setup().listen(&[&endpoint, "192.0.2.1:80"]).run().expect(1);
    assert!(!scene.path("s").exists());
    scene.setup().listen(&[&endpoint]).command(&["/nonexistent"]).run().expect(127);
    assert!(!scene.path("s").exists());
}

fn a_file_that_is_not_ours_any_more_is_kept() {
    let setup = Setup::alone();
    let endpoint = unix(setup.scene(), "s");
    let mut supervisor = setup.listen(&[&endpoint]).start();
    let scene = supervisor.scene.clone();
    fs::remove_file(scene.path("s")).unwrap();
    let _other = UnixListener::bind(scene.path("s")).unwrap();
    let before = fs::metadata(scene.path("s")).unwrap().ino();
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert_eq!(fs::metadata(scene.path("s")).unwrap().ino(), before);
}

fn a_killed_supervisor_leaves_a_stale_socket() {
    let setup = Setup::alone().connections();
    let endpoint = unix(setup.scene(), "s");
    let mut supervisor = setup.listen(&[&endpoint]).start();
    let scene = supervisor.scene.clone();
    supervisor.kill();
    assert!(scene.path("s").exists());
    let again = scene.setup().connections().listen(&[&endpoint]).start();
    ask_unix(&endpoint);
    drop(again);
}

/// All find the same stale socket; whoever comes second must not take the first one's fresh one away.
fn of_many_that_start_at_once_one_wins() {
    const STARTS: usize = 8;
    for _ in 0..3 {
        let scene = Scene::new();
        scene.role("echo");
        let endpoint = unix(&scene, "s");
        drop(UnixListener::bind(scene.path("s")).unwrap());
        let child = scene.child();
        let mut running: Vec<_> = (0..STARTS)
            .map(|number| {
                let name = format!("n{number}");
                let mut words = vec!["-f", "--name", &name, &endpoint, "--"];
                words.extend(child.iter().map(String::as_str));
                scene.begin(&words)
            })
            .collect();
        eventually("all but one have ended", || {
            running.iter_mut().map(|it| usize::from(it.runs())).sum::<usize>() <= 1
        });
        let winner = running.iter_mut().position(|it| it.runs()).expect("a winner");
        let winner = running.swap_remove(winner);
        for loser in running {
            loser.finish(PATIENCE).expect(1).complains().says("another process listens there");
        }
        eventually("the winner serves", || try_ask_unix(&endpoint).is_ok());
        send(winner.pid(), Signal::SIGTERM);
        winner.finish(PATIENCE).expect(0);
        assert!(!scene.path("s").exists());
    }
}

fn relative_paths_are_the_callers() {
    for daemon in [false, true] {
        let setup = Setup::alone();
        let here = setup.scene().path(".").canonicalize().unwrap();
        let setup = setup.cwd(here.clone()).listen(&["unix:s"]);
        let mut supervisor = if daemon { setup.daemon() } else { setup }.start();
        let seen = listener(&supervisor, 0);
        assert_eq!(seen["endpoint"], "unix:s");
        let address = format!("unix:{}/s", here.display());
        assert_eq!(seen["address"], address.as_str());
        ask_unix(&address);
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
        assert!(!here.join("s").exists());
    }
}

fn the_instance_is_called_like_the_file() {
    let scene = Scene::new();
    scene.role("echo");
    let endpoint = unix(&scene, "my app.sock");
    let child = scene.child();
    let mut words = vec!["-f", &endpoint, "--"];
    words.extend(child.iter().map(String::as_str));
    let running = scene.begin(&words);
    eventually("it serves", || try_ask_unix(&endpoint).is_ok());
    let status = scene.cli(&["status", "my_app.sock", "--json"]).expect(0).json();
    assert_eq!((&status["name"], &status["listeners"][0]["name"]), (&"my_app.sock".into(), &"my_app.sock".into()));
    scene.cli(&["stop", "my_app.sock"]).expect(0);
    running.finish(PATIENCE).expect(0);
    let endpoint = unix(&scene, "forward");
    let ran = scene.setup().name(None).listen(&[&endpoint]).run().expect(2).complains();
    ran.says("'forward' is the forwarder's").says("--name");
}

/// Asks until told to stop: every datagram is answered, and by a generation not older than `oldest` when it was sent.
fn ask_by_datagrams(address: std::net::SocketAddr, stop: &AtomicBool, answered: &AtomicU64, oldest: &AtomicU64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for count in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let least = oldest.load(Ordering::SeqCst);
        socket.send(&count.to_be_bytes()).unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("datagram {count}: {error}"));
        let space = buffer.iter().position(|byte| *byte == b' ').unwrap();
        assert_eq!(&buffer[space + 1..length], count.to_be_bytes());
        let generation: u64 = std::str::from_utf8(&buffer[..space]).unwrap().parse().unwrap();
        assert!(generation >= least, "generation {generation} answers, which was gone");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn datagrams_are_answered_through_reloads() {
    let supervisor = Setup::alone().role("datagrams").listen(&["udp:0:interface=127.0.0.1"]).start();
    let address = supervisor.address();
    let (stop, answered, oldest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(1));
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| ask_by_datagrams(address, &stop, &answered, &oldest))).collect();
        for _ in 0..10 {
            let before = answered.load(Ordering::SeqCst);
            supervisor.reload().expect(0);
            supervisor.wait_settled();
            oldest.fetch_add(1, Ordering::SeqCst);
            eventually("some more are answered", || answered.load(Ordering::SeqCst) > before + 50);
        }
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

fn datagrams_are_no_connections() {
    let ran = Setup::alone().connections().listen(&["127.0.0.1:0", "udp:0"]).run().expect(2).complains();
    ran.says("udp:0 receives datagrams");
    let ran = Setup::alone().connections().wrap("udp4 3").listen(&["fd:3"]).run().expect(2).complains();
    ran.says("fd:3 receives datagrams");
}

fn inherited_sockets_are_adopted() {
    for daemon in [false, true] {
        let scene = Scene::new();
        let file = scene.path("probe.json");
        let setup = scene.setup().role(&format!("probe {}", file.display())).name(Some("t"));
        let sockets = format!("tcp4 3 tcp6 4 unix 5:{} tcp4 9", scene.path("s").display());
        let setup = setup.wrap(&sockets).wrap("passed 3:web:web:local");
        let setup = setup.listen(&[
            "systemd:domain=INET6:name=web",
            "mine=systemd:domain=INET:index=0",
            "systemd:domain=UNIX:name=local",
            "fd:9",
            "127.0.0.1:0",
        ]);
        let supervisor = if daemon { setup.daemon() } else { setup }.start();
        let status = supervisor.status();
        let listeners = status["listeners"].as_array().unwrap();
        assert_eq!(listeners[0]["endpoint"], "systemd:domain=INET6:name=web");
        assert!(listeners[0]["address"].as_str().unwrap().starts_with("[::1]:"), "{status}");
        assert_eq!(listeners[3]["endpoint"], "fd:9");
        let port = listeners[3]["address"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        let names: Vec<_> = listeners.iter().map(|listener| listener["name"].as_str().unwrap()).collect();
        assert_eq!(names[..4], ["web", "mine", "local", &port]);
        for index in [0, 1, 3, 4] {
            ask(listeners[index]["address"].as_str().unwrap().parse().unwrap());
        }
        assert_eq!(listeners[2]["address"], unix(&scene, "s"));
        ask_unix(&unix(&scene, "s"));
        let probe: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(probe["environment"]["LISTEN_FDS"], "5");
        assert_eq!(probe["environment"]["LISTEN_PID"], probe["pid"].to_string());
        assert_eq!(probe["environment"]["LISTEN_FDNAMES"], names.join(":"));
        // Five listeners, the channel, and nothing else of what was inherited.
        let sockets =
            probe["descriptors"].as_object().unwrap().keys().filter(|number| number.parse::<u32>().unwrap() > 2);
        assert_eq!(sockets.count(), 6, "{probe}");
        supervisor.reload().expect(0);
        ask_unix(&unix(&scene, "s"));
    }
}

fn inherited_sockets_serve_by_connections() {
    let supervisor = Setup::alone().connections().wrap("tcp4 3 passed 1").listen(&["systemd:INET:0"]).start();
    ask(supervisor.address());
    supervisor.reload().expect(0);
    ask(supervisor.address());
    assert_eq!(supervisor.status()["listeners"][0]["accepted"], 2);
}

fn an_inherited_socket_for_datagrams_serves() {
    let supervisor = Setup::alone().role("datagrams").wrap("udp4 9").listen(&["fd:9"]).start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for generation in 1..3 {
        socket.send_to(b"x", supervisor.address()).unwrap();
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *format!("{generation} x").as_bytes());
        supervisor.reload().expect(0);
        supervisor.wait_settled();
    }
}

/// Standard input itself is the null device then, so that the socket closes when it shall.
fn a_socket_as_standard_input_is_adopted() {
    for daemon in [false, true] {
        let setup = Setup::alone().connections().wrap("tcp4 0").listen(&["fd:0"]);
        let supervisor = if daemon { setup.daemon() } else { setup }.start();
        ask(supervisor.address());
        assert_eq!(descriptors_of(supervisor.pid())[&0], "/dev/null");
    }
}

/// It is whoever made it that knows when it shall go.
fn an_adopted_socket_file_stays() {
    let scene = Scene::new();
    let setup = scene.setup().wrap(&format!("unix 7:{}", scene.path("s").display())).listen(&["fd:7"]);
    let mut supervisor = setup.start();
    ask_unix(&unix(&scene, "s"));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(scene.path("s").exists());
}

fn what_cannot_be_adopted_is_told() {
    for (surroundings, endpoints, words) in [
        ("", "fd:77", "cannot adopt fd:77: descriptor 77 is not open"),
        ("stray 7", "fd:7", "cannot adopt fd:7: descriptor 7 is no socket"),
        ("connected 7", "fd:7", "cannot adopt fd:7: descriptor 7 is neither a listening stream socket nor"),
        ("tcp4 7", "fd:7 fd:7", "cannot adopt fd:7: descriptor 7 is adopted twice"),
        ("tcp4 3 passed 1", "fd:3 systemd:INET:0", "descriptor 3 is adopted twice"),
        ("", "systemd:INET:0", "no sockets were passed: LISTEN_FDS is not set"),
        ("tcp4 3 passed 1@1", "systemd:INET:0", "the sockets were passed to process 1 and not to this one"),
        ("tcp4 3 passed 1", "systemd:INET:1", "there is no socket 1: 1 were passed"),
        ("tcp4 3 passed 1", "systemd:INET:name=web", "no socket was passed by the name web"),
        ("tcp4 3 tcp4 4 passed 2:web", "systemd:INET:0", "LISTEN_FDNAMES has 1 names for 2 sockets"),
        ("tcp6 3 passed 1:web", "systemd:INET:name=web", "descriptor 3 is a socket of domain INET6, not INET"),
        ("passed 1", "systemd:INET:0", "descriptor 3 "),
    ] {
        for daemon in [false, true] {
            let setup = Setup::alone().wrap(surroundings);
            let setup = setup.listen(&endpoints.split(' ').collect::<Vec<_>>());
            let ran = if daemon { setup.daemon() } else { setup }.run().expect(1).complains();
            ran.says(words);
        }
    }
}

fn a_unix_listener_that_is_shut_down_is_replaced() {
    let setup = Setup::alone().role("shuts_listener_down");
    let endpoint = unix(setup.scene(), "s");
    let mut supervisor = setup.listen(&[&endpoint]).start();
    let before = fs::metadata(supervisor.scene.path("s")).unwrap().ino();
    ask_unix(&endpoint);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    // The second one has the socket that the first one has shut down, so there is a third one.
    supervisor.wait_status("a generation with the new socket serves alone", |status| {
        let generations = status["generations"].as_array().unwrap();
        generations.len() == 1 && generations[0]["number"] == 3 && generations[0]["phase"] == "serving"
    });
    assert_ne!(fs::metadata(supervisor.scene.path("s")).unwrap().ino(), before);
    assert_eq!(ask_unix(&endpoint), 3);
    supervisor.reload().expect(0);
    assert_eq!(ask_unix(&endpoint), 4);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(!supervisor.scene.path("s").exists());
}

fn a_replaced_listener_is_served_even_if_the_reload_fails_at_first() {
    let setup = Setup::alone().role("shuts_listener_down");
    let endpoint = unix(setup.scene(), "s");
    let supervisor = setup.listen(&[&endpoint]).start();
    ask_unix(&endpoint);
    supervisor.scene.role("slow_start 1000");
    let reload = supervisor.begin_reload();
    supervisor.wait_status("the second one starts", |status| status["generations"].as_array().unwrap().len() == 2);
    thread::sleep(Duration::from_millis(500));
    // It knows by now what it is.
    supervisor.scene.role("crash_before_ready 0 3");
    reload.finish(PATIENCE).expect(0);
    supervisor.wait_status("the reload has failed twice", |status| {
        status["counters"]["reloads_failed"].as_u64().unwrap() >= 2
    });
    supervisor.scene.role("echo");
    eventually("a generation with the new socket serves", || try_ask_unix(&endpoint).is_ok_and(|it| it >= 5));
    supervisor.wait_settled();
    let generation = supervisor.generation();
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(supervisor.generation(), generation, "there was nothing left to reload for");
}

fn a_listener_that_is_shut_down_at_a_given_port_listens_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let supervisor = Setup::alone().role("shuts_listener_down").listen(&[&format!("127.0.0.1:{port}")]).start();
    let address = supervisor.address();
    for _ in 0..3 {
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        eventually("it listens again", || {
            Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
        });
    }
    let told = supervisor.scene.read("stderr").matches("was shut down by a child; it listens again").count();
    assert!((1..=3).contains(&told), "told {told} times");
}

fn an_inherited_listener_that_is_shut_down_listens_again() {
    let supervisor = Setup::alone().role("shuts_listener_down").wrap("tcp4 7").listen(&["fd:7"]).start();
    let address = supervisor.address();
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    eventually("it listens again", || {
        Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
    });
}

/// Its name cannot be had again before everybody has closed it, and we do not.
fn an_abstract_listener_that_is_shut_down_is_told_of_once() {
    let name = format!("@sp-shut-{}", std::process::id());
    let supervisor =
        Setup::alone().role("shuts_listener_down").with("--ready alive:200ms").listen(&["127.0.0.1:0", &name]).start();
    let address = listener(&supervisor, 0)["address"].as_str().unwrap().parse().unwrap();
    // This one would look for connections where none can come from any more.
    supervisor.scene.role("listener_plain");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    thread::sleep(Duration::from_millis(2500));
    let told = supervisor.scene.read("stderr").matches("cannot listen again").count();
    assert_eq!(told, 1);
    ask(address);
}

fn a_child_that_shuts_down_all_the_time_keeps_nobody_busy() {
    let supervisor = Setup::alone().role("shuts_listener_down_for 3000").start();
    let address = supervisor.address();
    let before = processor_time(supervisor.pid());
    eventually("it listens again", || {
        Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
    });
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_millis(600), "{used:?} of processor time");
    let told = supervisor.scene.read("stderr").matches("it listens again").count();
    assert!((2..=6).contains(&told), "told {told} times");
}

/// The supervisor sleeps through all of them: nothing wakes it, so nothing is asked of the kernel.
fn connections_to_a_lent_listener_wake_nobody() {
    let setup = Setup::alone();
    let endpoint = unix(setup.scene(), "s");
    let supervisor = setup.listen(&["127.0.0.1:0", &endpoint]).start();
    let address = listener(&supervisor, 0)["address"].as_str().unwrap().parse().unwrap();
    eventually("its clients have been let go", || supervisor.control_clients() == 0);
    let woken = || {
        let status = fs::read_to_string(format!("/proc/{}/status", supervisor.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    thread::sleep(Duration::from_millis(200));
    let before = woken();
    for _ in 0..200 {
        ask(address);
        ask_unix(&endpoint);
    }
    let times = woken() - before;
    assert!(times < 5, "woken {times} times by 400 connections");
}
