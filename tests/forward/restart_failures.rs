//! New processes that come to nothing: the old one goes on, and says why.

use super::control::Wire;
use super::place::{Backend, Client, Place, client, free_source, row};
use crate::children::successor::line;
use crate::harness::process::{Exit, alive, send};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, eventually, scene, trials, until};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use socket_protector_client::handoff::{Sender, key_value};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

trials![
    a_program_that_cannot_run_changes_nothing,
    a_program_that_says_nothing_or_nonsense_changes_nothing,
    a_process_that_is_killed_at_any_step_changes_nothing,
    a_rule_that_drains_goes_on_draining,
    a_process_that_may_have_begun_takes_its_connections_along_and_no_more,
    the_reason_has_what_the_new_process_has_written,
    what_is_saved_by_a_later_version_is_left_to_it,
    two_at_once_are_one_and_a_refusal,
    a_stop_ends_a_restart_that_is_under_way,
    the_new_process_goes_on_when_the_old_one_dies_at_the_commit,
    one_signal_to_both_processes_lets_connections_finish,
    the_new_process_touches_nothing_when_the_old_one_dies_before_that,
    in_the_foreground_it_is_refused,
    an_outer_manager_is_told_which_process_is_the_main_one,
];

fn a_program_that_cannot_run_changes_nothing() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let mut held = client(address, "a");
    std::fs::rename(&program, place.scene.path("aside")).unwrap();
    place.restart_in_vain("cannot find");
    std::fs::write(&program, "no program").unwrap();
    place.restart_in_vain("cannot execute");
    held.ask("a");
    client(address, "a");
    // And at once it works again, with what is installed then.
    std::fs::rename(place.scene.path("aside"), &program).unwrap();
    let new = place.restart();
    held.ask("a");
    assert_eq!(std::fs::read_link(format!("/proc/{new}/exe")).unwrap(), program);
}

fn a_program_that_says_nothing_or_nonsense_changes_nothing() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start_copy(&source, &a.endpoint());
    let mut held = client(address, "a");
    place.scene.script("program", "exec sleep 1000");
    let restarts = place.begin(&["restart"]);
    // Nothing stands still meanwhile.
    eventually("it waits", || place.scene.processes().len() > 2);
    held.ask("a");
    client(address, "a");
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "active")]);
    restarts.finish(PATIENCE).expect(1).complains().says("said nothing for 10s");
    held.ask("a");
    for (words, reason) in [
        ("garbage\n", "not understood"),
        ("{\"ready\":2}\n", "speaks version 2"),
        ("\"taken\"\n", "out of turn"),
        ("{\"failed\":\"no room\"}\n", "cannot take over: no room"),
        ("{\"ready\":1}\n\"taken\"\n", "cannot restart"),
        ("{\"ready\":1}\n\"registered\"\n\"what?\"\n", "not understood"),
    ] {
        place.scene.write("words", words);
        let script = format!(
            "exec {} child successor_says \"$(cat {})\n\"",
            scene::suite(),
            place.scene.path("words").display()
        );
        place.scene.script("program", &script);
        place.restart_in_vain(reason);
        held.ask("a");
        client(address, "a");
    }
}

fn a_rule_that_drains_goes_on_draining() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start_copy(&source, &a.endpoint());
    let (other, _) = free_source();
    place.start(&other, &a.endpoint());
    let mut held = client(address, "a");
    let mut stops = place.begin(&["stop", &source, "--drain"]);
    place.wait_list("it drains", |list| list.to_string().contains("\"draining\":true"));
    // After everything was taken out.
    let suite = scene::suite();
    place.scene.script("program", &format!("exec {suite} child successor 4 \"$@\""));
    place.run(&["restart"]).expect(1).complains().says("was ended by SIGKILL");
    held.ask("a");
    assert!(stops.runs(), "nothing has ended");
    drop(held);
    assert_eq!(stops.finish(PATIENCE).expect(0).out, "Stopped\n");
}

fn a_process_that_is_killed_at_any_step_changes_nothing() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    let (other, paused) = free_source();
    place.start_copy(&source, &a.endpoint());
    place.start(&other, &a.endpoint());
    place.quietly(&["pause", &other]);
    let mut on_a = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut on_b = client(address, "b");
    let mut parked = Client::connect(paused);
    parked.send("hello\n");
    place.wait_list("one is parked", |list| list.to_string().contains("\"parked\":1"));
    // The last one stays silent, and is ended.
    for last in 0..=6 {
        let suite = scene::suite();
        place.scene.script("program", &format!("exec {suite} child successor {last} \"$@\""));
        place.restart_in_vain(if last == 6 { "said nothing" } else { "was ended by SIGKILL" });
        on_a.ask("a");
        on_b.ask("b");
        let rows = [row(&source, &b.endpoint(), 1, "active"), row(&source, &a.endpoint(), 1, "inactive")];
        assert_eq!(place.rows().into_iter().filter(|row| row.starts_with(&source)).collect::<Vec<_>>(), rows);
        assert!(place.list().to_string().contains("\"parked\":1"));
        client(address, "b");
    }
    // What was put back is still known to drain.
    drop(on_a);
    place.quietly(&["wait", "--timeout", "10s"]);
    on_b.ask("b");
    place.quietly(&["resume", &other]);
    assert_eq!(parked.line(), "a hello");
    let left = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with(".pid")), "{left:?}");
}

/// Nobody can know what it has read of them.
fn a_process_that_may_have_begun_takes_its_connections_along_and_no_more() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start_copy(&source, &a.endpoint());
    let mut held = client(address, "a");
    // It is ended for the third word, and has said the fourth by then.
    place.scene.write("words", "{\"ready\":1}\n\"registered\"\n\"what?\"\n\"taken\"\n");
    let words = place.scene.path("words");
    let script = format!("exec {} child successor_says \"$(cat {})\n\"", scene::suite(), words.display());
    place.scene.script("program", &script);
    place.restart_in_vain("not understood");
    place.wait_log("connections that went to it are lost");
    held.ends();
    client(address, "a");
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active")]);
}

fn the_reason_has_what_the_new_process_has_written() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start_copy(&free_source().0, &a.endpoint());
    place.scene.script("program", "seq 1 30; echo no licence >&2; exit 7");
    let ran = place.run(&["restart"]).expect(1).complains();
    let ran = ran.says("the new process exited with status 7").says("no licence").says("22");
    assert!(!ran.err.contains("  21\n") && !ran.err.contains("| 21\n"), "the last lines only: {}", ran.err);
    place.wait_log("the restart has failed, and this process goes on");
}

fn what_is_saved_by_a_later_version_is_left_to_it() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    std::fs::write(place.path("forward.json"), "{\"schema\":99,\"rules\":[]}").unwrap();
    place.restart_in_vain("version 99");
    client(address, "a");
}

fn two_at_once_are_one_and_a_refusal() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let mut held = client(address, "a");
    std::fs::rename(&program, place.scene.path("aside")).unwrap();
    let go = place.scene.path("go");
    let slow =
        format!("while [ ! -e {} ]; do sleep 0.05; done; exec {} \"$@\"", go.display(), scene::binary().display());
    place.scene.script("program", &slow);
    let first = place.begin(&["restart"]);
    place.wait_log("is getting ready");
    place.run(&["restart"]).expect(1).complains().says("under way");
    std::fs::write(go, "").unwrap();
    first.finish(PATIENCE).expect(0);
    held.ask("a");
    client(address, "a");
}

fn a_stop_ends_a_restart_that_is_under_way() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start_copy(&free_source().0, &a.endpoint());
    place.scene.script("program", "exec sleep 1000");
    let restarts = place.begin(&["restart"]);
    place.wait_log("is getting ready");
    let pid = place.pid();
    place.run(&["stop"]).expect(0);
    assert_eq!(place.wait_end(pid), Exit::Code(0));
    restarts.finish(PATIENCE).expect(1).complains();
    until("nothing is left", PATIENCE, || {
        let left = place.scene.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// This test as the old process, with what a real one would hand over.
struct Old {
    place: Place,
    plan: serde_json::Value,
    stream: UnixStream,
    new: Child,
    listener: TcpListener,
    control: UnixListener,
    pid_file: OwnedFd,
}

impl Old {
    fn begin(destination: &str) -> Old {
        let place = Place::new();
        let source = free_source().0;
        place.start_copy(&source, destination);
        let file = place.scene.path("plan");
        let suite = scene::suite();
        place.scene.script("program", &format!("exec {suite} child successor_records {}", file.display()));
        place.run(&["restart"]).expect(1);
        place.kill();
        let plan: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(scene::binary());
        place.scene.mark(&mut command).args(["forward", "start", "--take-over"]);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let new = command.spawn().unwrap();
        drop(command);
        std::fs::remove_file(place.path("forward.sock")).unwrap();
        let control = UnixListener::bind(place.path("forward.sock")).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(place.path("forward.pid")).unwrap();
        let pid_file = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let pid_file = pid_file.as_fd().try_clone_to_owned().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Old { place, plan, stream, new, listener, control, pid_file }
    }

    fn say(&self, what: &serde_json::Value) {
        (&self.stream).write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    /// Comes as far as that the new process has everything, a connection of these two sockets too.
    fn offer(&mut self, client: TcpStream, peer: TcpStream) {
        self.plan["descriptors"] = 0.into();
        self.say(&self.plan);
        assert_eq!(line(&self.stream), serde_json::json!({"ready": 1}));
        self.plan["descriptors"] = 5.into();
        self.say(&self.plan);
        let rule = &self.plan["rules"][0];
        let destination = rule["destinations"][0]["id"].as_u64().unwrap();
        let way = serde_json::json!({"unsent": [], "end": "Open"});
        let time = serde_json::json!({"secs": 1, "nanos": 0});
        let state = serde_json::json!({
            "listener": rule["listener"], "destination": destination, "age": time, "idle": time,
            "bytes_in": 0, "bytes_out": 0, "up": way, "down": way,
        });
        let number = rule["listener"].to_string();
        let label = |pairs: &[(&str, &[u8])]| {
            let mut bytes = Vec::new();
            key_value::encode(pairs, &mut bytes).unwrap();
            bytes
        };
        let sent = label(&[("kind", b"client"), ("state", state.to_string().as_bytes()), ("up", b"un"), ("down", b"")]);
        let all = [
            (self.listener.as_fd(), label(&[("kind", b"listener"), ("of", number.as_bytes())])),
            (self.control.as_fd(), label(&[("kind", b"control"), ("of", b"")])),
            (self.pid_file.as_fd(), label(&[("kind", b"pid-file"), ("of", b"")])),
            (client.as_fd(), sent),
            (peer.as_fd(), label(&[("kind", b"peer"), ("of", b"")])),
        ];
        Sender::new().send_to(&self.stream, &all).unwrap();
        assert_eq!(line(&self.stream), "registered");
    }
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    outer.set_read_timeout(Some(PATIENCE)).unwrap();
    (outer, listener.accept().unwrap().0)
}

fn the_new_process_goes_on_when_the_old_one_dies_at_the_commit() {
    let a = Backend::new("a");
    let mut old = Old::begin(&a.endpoint());
    let ((user, client_side), (server, peer_side)) = (connection(), connection());
    old.offer(client_side, peer_side);
    let address = old.listener.local_addr().unwrap();
    old.say(&"commit".into());
    // As kill -9 right after the commit: everything of the old process is closed.
    let Old { place, stream, mut new, listener, control, pid_file, .. } = old;
    drop((stream, listener, control, pid_file));
    client(address, "a");
    (&user).write_all(b"sent bytes").unwrap();
    let mut heard = [0; 12];
    (&server).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"unsent bytes", "what the old process had received comes first");
    assert_eq!(place.pid().as_raw().cast_unsigned(), new.id(), "the pid file is its own");
    assert_eq!(place.rows().len(), 1);
    send(place.pid(), Signal::SIGTERM);
    drop((user, server));
    assert!(new.wait().unwrap().success());
    assert!(!place.path("forward.pid").exists());
}

/// As an outer manager sends it that stops all processes of a service.
fn one_signal_to_both_processes_lets_connections_finish() {
    for passed_on_first in [true, false] {
        let a = Backend::new("a");
        let mut old = Old::begin(&a.endpoint());
        let ((user, client_side), (server, peer_side)) = (connection(), connection());
        old.offer(client_side, peer_side);
        old.say(&"commit".into());
        assert_eq!(line(&old.stream), "taken");
        let new = nix::unistd::Pid::from_raw(old.new.id().cast_signed());
        // Without a command in between: what is passed on, and comes much later, is another signal.
        let mut wire = Wire::connect(&old.place);
        let mut drains = || {
            eventually("it drains", || {
                wire.ask(&serde_json::json!({"request": "list"})).to_string().contains("\"draining\":true")
            });
        };
        if passed_on_first {
            old.say(&"stop".into());
            drains();
            send(new, Signal::SIGTERM);
        } else {
            send(new, Signal::SIGTERM);
            drains();
            old.say(&"stop".into());
        }
        // It has heard both before it answers to this.
        drains();
        (&user).write_all(b"goes on").unwrap();
        let mut heard = [0; 9];
        (&server).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"ungoes on");
        // And a second one cuts.
        old.say(&"stop".into());
        if !passed_on_first {
            send(new, Signal::SIGTERM);
        }
        assert_eq!((&user).read(&mut heard).unwrap_or_default(), 0);
        assert!(old.new.wait().unwrap().success());
    }
}

fn the_new_process_touches_nothing_when_the_old_one_dies_before_that() {
    let a = Backend::new("a");
    let mut old = Old::begin(&a.endpoint());
    let ((user, client_side), (server, peer_side)) = (connection(), connection());
    let (kept_client, kept_peer) = (client_side.try_clone().unwrap(), peer_side.try_clone().unwrap());
    old.offer(client_side, peer_side);
    (&user).write_all(b"untouched").unwrap();
    let waits = TcpStream::connect(old.listener.local_addr().unwrap()).unwrap();
    let Old { place, stream, mut new, listener, .. } = old;
    drop(stream);
    assert_eq!(new.wait().unwrap().code(), Some(1));
    let mut heard = [0; 9];
    (&kept_client).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"untouched");
    drop((kept_client, kept_peer, server));
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), waits.local_addr().unwrap(), "it waited in the backlog");
    assert!(place.path("forward.sock").exists() && place.path("forward.pid").exists());
}

fn in_the_foreground_it_is_refused() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    let runs = place.begin(&["start", "-f", &source, &a.endpoint()]);
    eventually("it serves", || place.path("forward.json").exists());
    place.run(&["restart"]).expect(1).complains().says("foreground").says("NOTIFY_SOCKET");
    send(runs.pid(), Signal::SIGTERM);
    runs.finish(PATIENCE).expect(0);
    Place::new().run(&["restart"]).expect(1).complains().says("no forwarder is running");
}

fn an_outer_manager_is_told_which_process_is_the_main_one() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let path = place.scene.path("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = notify.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut command = Command::new(scene::binary());
    place.scene.mark(&mut command).args(["forward", "start", "-f", &source, &a.endpoint()]).env("NOTIFY_SOCKET", &path);
    let first = Running::start(&mut command);
    assert_eq!(told(), "READY=1");
    let mut held = client(address, "a");
    place.quietly(&["restart"]);
    let new = place.pid();
    assert_eq!(told(), format!("MAINPID={new}"));
    held.ask("a");
    // And again, by the new one.
    place.quietly(&["restart"]);
    assert_eq!(told(), format!("MAINPID={}", place.pid()));
    assert!(alive(place.pid()));
    held.ask("a");
    place.run(&["stop"]).expect(0);
    // What the new ones log goes where the first one's went: this is read to its end.
    let ran = first.finish(PATIENCE).expect(0);
    let said = |words: &str| ran.err.lines().filter(|line| line.ends_with(words)).count();
    assert_eq!((said("INFO  taken over"), said("INFO  stopped")), (2, 1), "{}", ran.err);
}
