//! The control socket of a forwarder.

use super::place::{Backend, Place, client, free_source, row};
use crate::harness::process::{Exit, send, stopped};
use crate::harness::{PATIENCE, eventually, stays, trials, trials_of_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

trials![
    a_socket_that_was_removed_is_made_again,
    a_directory_that_was_removed_is_made_again,
    a_directory_that_has_another_forwarder_by_now_is_left_to_it,
    a_directory_that_cannot_be_made_is_told_of_once,
    a_directory_that_is_not_safe_any_more_gets_nothing,
    what_another_forwarder_has_saved_is_left_to_it,
    what_was_removed_while_everything_drains_is_saved_again,
    garbage_harms_nobody,
    a_crowd_of_silent_clients_harms_nobody,
    status_shows_the_forwarder_too,
    what_is_asked_by_hand_is_answered_as_documented,
];
trials_of_root![strangers_are_turned_away];

/// Those and the trials that need another user.
pub(super) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

/// One who speaks the wire by hand.
pub(super) struct Wire(BufReader<UnixStream>);

impl Wire {
    pub(super) fn connect(place: &Place) -> Wire {
        let stream = UnixStream::connect(place.path("forward.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire(BufReader::new(stream))
    }

    pub(super) fn ask(&mut self, request: &Value) -> Value {
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

/// Rules without what changes by itself.
fn ageless(rules: &Value) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().unwrap() {
        for destination in rule["destinations"].as_array_mut().unwrap() {
            destination["age_seconds"] = 0.into();
        }
    }
    rules
}

fn a_socket_that_was_removed_is_made_again() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let waits = place.begin(&["wait"]);
    eventually("it waits", || place.control_clients() == 1);
    for replaced in [false, true] {
        std::fs::remove_file(place.path("forward.sock")).unwrap();
        if replaced {
            std::fs::write(place.path("forward.sock"), "something else").unwrap();
        }
        eventually("it is there again", || UnixStream::connect(place.path("forward.sock")).is_ok());
        assert_eq!(place.rows()[0], row(&source, &b.endpoint(), 0, "active"));
    }
    let pid = place.pid();
    std::fs::remove_file(place.path("forward.pid")).unwrap();
    eventually("the pid file is there again, too", || place.file("forward.pid") == format!("{pid}\n"));
    drop(held);
    waits.finish(PATIENCE).expect(0);
    place.run(&["stop"]).expect(0);
    assert!(!place.path("forward.sock").exists());
}

fn a_directory_that_was_removed_is_made_again() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (mut held, pid, directory) = (client(address, "a"), place.pid(), place.path(""));
    std::fs::remove_dir_all(&directory).unwrap();
    eventually("it is there again", || UnixStream::connect(place.path("forward.sock")).is_ok());
    let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, mode);
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active")]);
    held.ask("a");
    // With all that was in it.
    assert_eq!(place.pid(), pid);
    place.run(&["start"]).expect(1).complains();
    assert!(place.file("forward.json").contains(&source));
    // A look that comes later has more to tell, and nothing of the directory.
    std::fs::remove_file(place.path("forward.sock")).unwrap();
    place.wait_log("the control socket was gone and is there again");
    let log = place.file("forward.log");
    assert_eq!(log.matches(directory.to_str().unwrap().trim_end_matches('/')).count(), 1, "{log}");
    place.kill();
    place.run(&["start"]).expect(0);
    client(address, "a");
}

fn a_directory_that_has_another_forwarder_by_now_is_left_to_it() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let ((first, address), (second, _)) = (free_source(), free_source());
    place.start(&first, &a.endpoint());
    let pid = place.pid();
    send(pid, Signal::SIGSTOP);
    eventually("it is stopped", || stopped(pid));
    std::fs::remove_dir_all(place.path("")).unwrap();
    place.start(&second, &a.endpoint());
    let other = place.pid();
    send(pid, Signal::SIGCONT);
    client(address, "a");
    // It looks every second.
    let rows = [row(&second, &a.endpoint(), 0, "active")];
    stays("the other one answers", Duration::from_millis(2500), || place.rows() == rows);
    assert_eq!(place.pid(), other);
    send(pid, Signal::SIGTERM);
    place.wait_end(pid);
    assert_eq!(place.rows(), rows);
    place.run(&["stop"]).expect(0);
}

fn a_directory_that_cannot_be_made_is_told_of_once() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (pid, directory, aside) = (place.pid(), place.scene.path("run"), place.scene.path("aside"));
    std::fs::rename(&directory, &aside).unwrap();
    std::fs::write(&directory, "in its place").unwrap();
    let told = || place.scene.read("aside/forward.log").matches("trying again until it works").count();
    eventually("it is told", || told() == 1);
    // That is looked for every second.
    stays("it is told once", Duration::from_millis(2500), || told() == 1);
    client(address, "a");
    std::fs::remove_file(&directory).unwrap();
    eventually("it is there", || UnixStream::connect(place.path("forward.sock")).is_ok());
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active")]);
    assert_eq!(place.pid(), pid);
}

/// One that others may write to has come to its path, and then a link to another one.
fn a_directory_that_is_not_safe_any_more_gets_nothing() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let [directory, aside, other] = ["run", "aside", "other"].map(|name| place.scene.path(name));
    place.quietly(&["switch", &source, &b.endpoint(), "--guard", "5s", "--no-wait"]);
    std::fs::rename(&directory, &aside).unwrap();
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let told = |words: &str| eventually("it is told", || place.scene.read("aside/forward.log").contains(words));
    let is_empty = |directory| std::fs::read_dir(directory).unwrap().next().is_none();
    told("may be written by others (mode 0777, expected 0700); trying again");
    // And what is to be saved.
    told("switched");
    told("may be written by others (mode 0777, expected 0700); what was saved before");
    assert!(is_empty(&directory));
    std::fs::remove_dir(&directory).unwrap();
    std::fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&other, &directory).unwrap();
    told("is not a directory; trying again");
    assert!(is_empty(&other));
    client(address, "b");
    std::fs::remove_file(&directory).unwrap();
    eventually("it is there again", || UnixStream::connect(place.path("forward.sock")).is_ok());
    assert!(place.file("forward.json").contains(&b.endpoint()));
    assert!(is_empty(&other));
}

fn what_another_forwarder_has_saved_is_left_to_it() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((first, address), (second, _)) = (free_source(), free_source());
    let log = place.scene.path("first.log");
    place.run(&["start", "--log-file", log.to_str().unwrap(), &first, &a.endpoint()]).expect(0);
    place.quietly(&["switch", &first, &b.endpoint(), "--guard", "5s", "--no-wait"]);
    let pid = place.pid();
    send(pid, Signal::SIGSTOP);
    eventually("it is stopped", || stopped(pid));
    std::fs::remove_dir_all(place.path("")).unwrap();
    place.start(&second, &a.endpoint());
    let (other, saved) = (place.pid(), place.file("forward.json"));
    send(pid, Signal::SIGCONT);
    // What stands then is to be saved.
    eventually("the guard has ended", || place.scene.read("first.log").contains("switched"));
    let held = format!("is held by a running process (pid {other}); what was saved before");
    eventually("it is told", || place.scene.read("first.log").contains(&held));
    assert_eq!(place.file("forward.json"), saved);
    client(address, "b");
    // And what is to be kept at its end.
    send(pid, Signal::SIGTERM);
    assert_eq!(place.wait_end(pid), Exit::Code(1));
    assert_eq!((place.pid(), place.file("forward.json")), (other, saved));
    assert!(!place.path("forward.json.previous").exists());
    assert_eq!(place.rows(), [row(&second, &a.endpoint(), 0, "active")]);
}

fn what_was_removed_while_everything_drains_is_saved_again() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    let stops = place.begin(&["stop", "--drain"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "inactive")]);
    std::fs::remove_dir_all(place.path("")).unwrap();
    eventually("it is there again", || place.file("forward.json").contains(&source));
    // Also if the end is faster than the next look.
    std::fs::remove_dir_all(place.path("")).unwrap();
    drop(held);
    assert_eq!(stops.finish(PATIENCE).expect(0).err, "");
    place.run(&["start"]).expect(0);
    client(address, "a");
}

fn garbage_harms_nobody() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    for garbage in [&b"\n"[..], b"{}\n", b"{\"request\":\"dance\"}\n", b"\xff\xfe\n", b"{\"request\":\"switch\"}\n"] {
        let mut wire = Wire::connect(&place);
        wire.0.get_mut().write_all(garbage).unwrap();
        let mut line = String::new();
        wire.0.read_line(&mut line).unwrap();
        assert!(line.contains("\"ok\":false"), "{line}");
    }
    let mut wire = Wire::connect(&place);
    for (request, error) in [
        (json!({"request":"switch","source":"tcp:x","destination":"tcp:h:1"}), "not an endpoint"),
        (json!({"request":"switch","source":source,"destination":"x"}), "not an endpoint"),
        (json!({"request":"switch","source":source,"destination":"tcp:h:1","probe":"dance"}), "not a probe"),
        (json!({"request":"start","source":"udp:0","destination":"tcp:h:1"}), "datagrams"),
        (json!({"request":"start","source":"fd:3","destination":"tcp:h:1"}), "adopt"),
        (json!({"request":"start","source":"tcp:0","destination":"x"}), "not an endpoint"),
    ] {
        let reply = wire.ask(&request);
        assert_eq!(reply["ok"], false, "{request}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains(error), "{request}: {reply}");
    }
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active")]);
    client(address, "a");
}

fn a_crowd_of_silent_clients_harms_nobody() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut crowd = Vec::new();
    for number in 0..1000 {
        // Those beyond what the kernel queues are not worth a wait.
        let Ok(mut stream) = UnixStream::connect(place.path("forward.sock")) else {
            continue;
        };
        if number % 2 == 0 {
            let _ = stream.write_all(b"{\"request\":");
        }
        crowd.push(stream);
    }
    client(address, "a");
    assert_eq!(place.rows().len(), 1);
    place.switch(&source, &a.endpoint());
}

fn status_shows_the_forwarder_too() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let _held = client(address, "a");
    let supervisor = place.scene.setup().start();
    let all = place.scene.cli(&["status"]).expect(0).out;
    assert!(all.contains("supervise") && all.contains("forward"), "{all}");
    assert!(all.contains(&address.to_string()) && all.contains("1 connection"), "{all}");
    let one = place.scene.cli(&["status", "forward"]).expect(0).out;
    assert!(one.contains(&source) && one.contains(&place.pid().to_string()), "{one}");
    let json = place.scene.cli(&["status", "forward", "--json"]).expect(0).json();
    assert_eq!((&json["role"], &json["schema"]), (&"forward".into(), &1.into()));
    assert_eq!(ageless(&json["rules"]), ageless(&place.list()["rules"]));
    let all = place.scene.cli(&["status", "--json"]).expect(0).json();
    assert_eq!(all["instances"].as_array().unwrap().len(), 2);
    place.run(&["stop"]).expect(0);
    place.scene.cli(&["status", "forward"]).expect(1).complains();
    drop(supervisor);
}

fn what_is_asked_by_hand_is_answered_as_documented() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, _) = free_source();
    place.start(&source, &a.endpoint());
    let mut wire = Wire::connect(&place);
    let listed = wire.ask(&json!({"request":"list"}));
    assert_eq!(ageless(&listed["result"]["rules"]), ageless(&place.list()["rules"]));
    assert_eq!(listed["result"]["pid"], place.pid().as_raw());
    let rule = &listed["result"]["rules"][0];
    for key in ["source", "address", "paused", "draining", "parked", "destinations"] {
        assert!(!rule[key].is_null(), "{key} is missing: {rule}");
    }
    for key in
        ["endpoint", "status", "connections", "bytes_in", "bytes_out", "failures", "age_seconds", "total", "weight"]
    {
        assert!(!rule["destinations"][0][key].is_null(), "{key} is missing: {rule}");
    }
    let switch = json!({"request":"switch","source":source,"destination":b.endpoint(),"guard_ms":60000,"wait":false});
    assert_eq!(wire.ask(&switch), json!({"ok":true,"result":{}}));
    let (new, _) = free_source();
    let started = wire.ask(&json!({"request":"start","source":new,"destination":b.endpoint()}));
    assert_eq!(started, json!({"ok":true,"result":{}}));
    assert_eq!(wire.ask(&json!({"request":"wait"})), json!({"ok":true,"result":{}}));
    assert_eq!(wire.ask(&json!({"request":"pause","source":new})), json!({"ok":true,"result":{}}));
    assert_eq!(wire.ask(&json!({"request":"stop","source":new})), json!({"ok":true,"result":{}}));
    assert_eq!(wire.ask(&json!({"request":"stop","drain":true,"limit_ms":5000})), json!({"ok":true,"result":{}}));
}

fn strangers_are_turned_away() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.scene.open_to_all();
    // Even where the file modes would let them in.
    use std::os::unix::fs::PermissionsExt;
    for (name, mode) in [("run", 0o777), ("run/forward.sock", 0o777)] {
        std::fs::set_permissions(place.scene.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = place.scene.copy(crate::harness::scene::binary(), "program");
    let mut command = Command::new(crate::harness::scene::suite());
    command.args(["child", "wrap", "user", "65533", "--"]).arg(&program).args(["forward", "ls"]);
    let ran = crate::harness::ran::Running::start(place.scene.mark(&mut command)).finish(PATIENCE);
    ran.expect(1).complains();
    place.wait_log("another user");
    client(address, "a");
}
