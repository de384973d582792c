//! Listeners on unix sockets: their files, their names, their modes.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::process::{Exit, send};
use crate::harness::unix::{ask_unix, connect, try_ask_unix, unix};
use crate::harness::{PATIENCE, Scene, Setup, eventually, trials};

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
];

/// Serves, reloads and stops with the first listener at `address`.
fn serves(setup: Setup, endpoint: &str, address: &str, name: &str) {
    let mut supervisor = setup.start();
    let seen = supervisor.listener(0);
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
        let seen = supervisor.listener(0);
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
