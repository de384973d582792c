//! Swapping the running process for another while connections run.

use super::place::{Backend, Client, Place, client, free_source, row, unix_backend};
use super::tls::certificate;
use crate::harness::process::{Exit, alive, send};
use crate::harness::{PATIENCE, eventually, scene, trials, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use socket_protector_client::handoff::{Sender, key_value};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;

trials![
    established_connections_go_on_in_the_new_process,
    what_was_counted_and_saved_goes_on,
    clients_that_wait_and_those_who_ask_go_on,
    unix_listeners_keep_their_file,
    it_can_be_done_again_and_again,
    a_program_that_cannot_run_changes_nothing,
    a_program_that_says_nothing_changes_nothing,
    a_process_that_fails_at_any_step_changes_nothing,
    two_at_once_are_one_and_a_refusal,
    what_cannot_be_handed_over_now_is_refused,
    in_the_foreground_it_is_refused,
    many_connections_survive_it,
    connections_with_tls_end_in_the_old_process,
    the_new_process_has_room_for_as_many,
    the_new_process_goes_on_without_the_old_one,
];

impl Place {
    /// The forwarder by a copy of the program that can be replaced.
    fn start_copy(&self, source: &str, destination: &str) -> PathBuf {
        let program = self.scene.copy(scene::binary(), "program");
        let mut command = std::process::Command::new(&program);
        self.scene.mark(&mut command).args(["forward", "start", source, destination]);
        crate::harness::ran::Running::start(&mut command).finish(PATIENCE).expect(0);
        program
    }

    /// `restart`, which must work; the new process.
    #[track_caller]
    fn restart(&self) -> Pid {
        let old = self.pid();
        self.quietly(&["restart"]);
        let new = self.pid();
        assert_ne!(old, new, "the pid file names the old process");
        assert_eq!(self.wait_end(old), Exit::Code(0));
        assert!(alive(new));
        new
    }

    /// `restart`, which must fail and change nothing.
    #[track_caller]
    fn restart_in_vain(&self, words: &str) {
        let old = self.pid();
        self.run(&["restart"]).expect(1).complains().says("cannot restart").says(words);
        assert_eq!(self.pid(), old);
        assert!(alive(old));
        until("nothing is left of the other process", PATIENCE, || {
            let all = self.scene.processes();
            if all == [old] { Ok(()) } else { Err(format!("{all:?}")) }
        });
    }
}

fn established_connections_go_on_in_the_new_process() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut on_a = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut on_b = client(address, "b");
    on_a.send("half a ");
    place.restart();
    on_a.send("line\n");
    assert_eq!(on_a.line(), "a half a line");
    on_b.ask("b");
    assert_eq!(place.rows(), [row(&source, &b.endpoint(), 1, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    client(address, "b");
    assert_eq!((a.accepted(), b.accepted()), (1, 2), "nobody has connected again");
    drop(on_a);
    place.wait_rows(&[row(&source, &b.endpoint(), 1, "active")]);
    place.switch(&source, &a.endpoint());
    client(address, "a");
    place.run(&["stop"]).expect(0);
    on_b.ends();
}

fn what_was_counted_and_saved_goes_on() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    drop(client(address, "a"));
    place.quietly(&["switch", &source, &b.endpoint(), "--weight", "10"]);
    let (before, saved) = (place.list(), place.file("forward.json"));
    place.restart();
    let after = place.list();
    for key in ["total", "bytes_in", "bytes_out", "failures", "connections", "weight", "endpoint"] {
        let of = |list: &serde_json::Value| list["rules"][0]["destinations"][0][key].clone();
        assert_eq!(of(&before), of(&after), "{key}: {after}");
    }
    assert_eq!(place.file("forward.json"), saved);
    held.ask("a");
    let bytes = place.list()["rules"][0]["destinations"][0]["bytes_in"].as_u64();
    assert_eq!(bytes, Some(18));
    place.kill();
    place.run(&["start"]).expect(0);
    assert_eq!(place.rows().len(), 2);
}

fn clients_that_wait_and_those_who_ask_go_on() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((source, address), (other, paused)) = (free_source(), free_source());
    place.start(&source, &a.endpoint());
    place.start(&other, &a.endpoint());
    place.quietly(&["pause", &other]);
    let mut parked = Client::connect(paused);
    parked.send("hello\n");
    place.wait_list("one is parked", |list| list.to_string().contains("\"parked\":1"));
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let (mut all, mut one) = (place.begin(&["wait"]), place.begin(&["wait", &source]));
    eventually("both wait", || place.control_clients() == 2);
    place.restart();
    assert!(all.runs() && one.runs(), "they wait still");
    assert!(place.list().to_string().contains("\"parked\":1"));
    place.quietly(&["resume", &other]);
    assert_eq!(parked.line(), "a hello");
    drop(held);
    all.finish(PATIENCE).expect(0);
    one.finish(PATIENCE).expect(0);
}

fn unix_listeners_keep_their_file() {
    let place = Place::new();
    let (front, back) = (place.scene.path("front.sock"), place.scene.path("back.sock"));
    unix_backend(&back, "unix");
    place.start(&format!("unix:{}", front.display()), &format!("unix:{}", back.display()));
    let mut held = Client::connect_unix(&front);
    held.ask("unix");
    place.restart();
    held.ask("unix");
    Client::connect_unix(&front).ask("unix");
    place.run(&["stop"]).expect(0);
    assert!(!front.exists(), "the file is left behind");
}

fn it_can_be_done_again_and_again() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let first = crate::harness::process::census(place.pid());
    for _ in 0..4 {
        place.restart();
        held.ask("a");
    }
    eventually("it holds no more than the first one", || {
        let now = crate::harness::process::census(place.pid());
        now.descriptors.values().sum::<usize>() <= first.descriptors.values().sum::<usize>() + 3
    });
    std::fs::remove_file(place.path("forward.sock")).unwrap();
    eventually("the control socket is there again", || place.path("forward.sock").exists());
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active")]);
    place.run(&["stop"]).expect(0);
    assert!(!place.path("forward.sock").exists() && !place.path("forward.pid").exists());
}

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
    place.restart();
    held.ask("a");
}

fn a_program_that_says_nothing_changes_nothing() {
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
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active")]);
    restarts.finish(PATIENCE).expect(1).complains().says("cannot restart");
    held.ask("a");
    client(address, "a");
    place.scene.script("program", "read plan; echo garbage >&0; exit 1");
    place.restart_in_vain("not understood");
}

fn a_process_that_fails_at_any_step_changes_nothing() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start_copy(&source, &a.endpoint());
    let mut on_a = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut on_b = client(address, "b");
    // The last one stays silent, and is ended.
    for last in 0..=6 {
        let suite = scene::suite();
        place.scene.script("program", &format!("exec {suite} child successor {last} \"$@\""));
        place.restart_in_vain("cannot restart");
        on_a.ask("a");
        on_b.ask("b");
        assert_eq!(
            place.rows(),
            [row(&source, &b.endpoint(), 1, "active"), row(&source, &a.endpoint(), 1, "inactive")]
        );
        client(address, "b");
    }
    // What was put back is still known to drain.
    drop(on_a);
    place.quietly(&["wait", "--timeout", "10s"]);
    on_b.ask("b");
}

fn two_at_once_are_one_and_a_refusal() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let mut held = client(address, "a");
    let slow = format!("sleep 1; exec {} \"$@\"", scene::binary().display());
    std::fs::rename(&program, place.scene.path("aside")).unwrap();
    place.scene.script("program", &slow);
    let first = place.begin(&["restart"]);
    place.wait_log("is getting ready");
    place.run(&["restart"]).expect(1).complains().says("under way");
    first.finish(PATIENCE).expect(0);
    held.ask("a");
    client(address, "a");
}

fn what_cannot_be_handed_over_now_is_refused() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.quietly(&["switch", &source, &b.endpoint(), "--guard", "60s", "--no-wait"]);
    place.restart_in_vain("not decided");
    place.switch(&source, &a.endpoint());
    let stops = place.begin(&["stop", &source, "--drain"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "inactive")]);
    place.run(&["restart"]).expect(1).complains().says("being stopped");
    drop(held);
    stops.finish(PATIENCE).expect(0);
    place.restart();
}

fn in_the_foreground_it_is_refused() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    let runs = place.begin(&["start", "-f", &source, &a.endpoint()]);
    eventually("it serves", || place.path("forward.json").exists());
    place.run(&["restart"]).expect(1).complains().says("foreground");
    send(runs.pid(), Signal::SIGTERM);
    runs.finish(PATIENCE).expect(0);
    Place::new().run(&["restart"]).expect(1).complains().says("no forwarder is running");
}

fn many_connections_survive_it() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut all = (0..500).map(|_| client(address, "a")).collect::<Vec<_>>();
    let busy = (0..8).map(|_| {
        std::thread::spawn(move || {
            let mut client = client(address, "a");
            for number in 0..3000 {
                let text = format!("{number}-{}", "x".repeat(number % 3000));
                client.send(&format!("{text}\n"));
                assert_eq!(client.line(), format!("a {text}"));
            }
        })
    });
    let busy = busy.collect::<Vec<_>>();
    for _ in 0..3 {
        place.restart();
    }
    busy.into_iter().for_each(|client| client.join().unwrap());
    all.iter_mut().for_each(|client| client.ask("a"));
    assert_eq!(a.accepted(), 508);
    drop(all);
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active")]);
}

fn connections_with_tls_end_in_the_old_process() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let files = certificate(&inner.scene, "one");
    let ((front, address), (middle, secret)) = (free_source(), free_source());
    inner.start(&files.listen(&middle), &a.endpoint());
    outer.start(&front, &files.destination(secret));
    let mut held: Vec<(Pid, Client<_>)> = Vec::new();
    for _ in 0..3 {
        held.push((outer.pid(), client(address, "a")));
        outer.quietly(&["restart"]);
        for (process, client) in &mut held {
            assert!(alive(*process), "it has a connection still");
            client.ask("a");
        }
    }
    client(address, "a");
    // Each ends with its last connection, also with others before and behind it.
    let (second, mut client_of_second) = held.remove(1);
    client_of_second.end();
    let entry = format!("/proc/{second}");
    eventually("it is gone, and no zombie", || !std::path::Path::new(&entry).exists());
    held.iter_mut().for_each(|(_, client)| client.ask("a"));
    outer.run(&["stop"]).expect(0);
    // What was stopped is stopped there, too.
    for (_, client) in &mut held {
        client.ends();
    }
    until("nothing is left", PATIENCE, || {
        let left = outer.scene.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

fn the_new_process_has_room_for_as_many() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let mut command = std::process::Command::new(scene::suite());
    command.args(["child", "wrap", "nofile", "300", "--"]).arg(scene::binary());
    place.scene.mark(&mut command).args(["forward", "start", &source, &a.endpoint()]);
    crate::harness::ran::Running::start(&mut command).finish(PATIENCE).expect(0);
    let mut held = (0..80).map(|_| client(address, "a")).collect::<Vec<_>>();
    for _ in 0..2 {
        place.restart();
        held.iter_mut().for_each(|client| client.ask("a"));
        // There was room for one more, and is.
        client(address, "a");
    }
    assert!(!place.file("forward.log").contains("out of descriptors"), "{}", place.file("forward.log"));
    // Beyond that clients wait, we can be asked, and whoever waits comes in when others leave.
    let more = (0..100).map(|_| Client::connect(address)).collect::<Vec<_>>();
    place.wait_log("out of descriptors");
    assert_eq!(place.rows().len(), 1);
    held.iter_mut().for_each(|client| client.ask("a"));
    drop(held);
    for mut client in more.into_iter().take(10) {
        client.ask("a");
    }
}

/// Here the trial is the old process, by docs/forward.md, and goes right after *commit*.
fn the_new_process_goes_on_without_the_old_one() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (here, there) = UnixStream::pair().unwrap();
    let mut command = std::process::Command::new(scene::binary());
    command.args(["forward", "-d", place.path(".").to_str().unwrap(), "start", "--take-over"]);
    let mut child = place.scene.mark(&mut command).stdin(Stdio::from(OwnedFd::from(there))).spawn().unwrap();
    drop(command);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let control = UnixListener::bind(place.path("forward.sock")).unwrap();
    std::fs::write(place.path("forward.pid"), "1\n").unwrap();
    let pid_file = std::fs::File::open(place.path("forward.pid")).unwrap();
    let mut client = Client::connect(address);
    client.send("hello\n");
    let plan = serde_json::json!({
        "schema": 1, "options": {}, "descriptors": 3,
        "rules": [{
            "listener": 7, "source": format!("tcp:{}:interface=127.0.0.1", address.port()), "chosen": false,
            "paused": false, "active": 0, "share": null,
            "destinations": [{
                "number": 4, "endpoint": a.endpoint(), "age_ms": 5000, "total": 3, "bytes_in": 1, "bytes_out": 2,
                "failures": 0,
            }],
        }],
    });
    let label = |kind: &str, of: &str| {
        let mut bytes = Vec::new();
        key_value::encode(&[("kind", kind), ("of", of)], &mut bytes).unwrap();
        bytes
    };
    let mut said = BufReader::new(&here);
    let mut hear = || {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        line
    };
    (&here).write_all(format!("{plan}\n").as_bytes()).unwrap();
    assert_eq!(hear(), "\"ready\"\n");
    (&here).write_all(format!("{plan}\n").as_bytes()).unwrap();
    let all = [
        (control.as_fd(), label("control", "")),
        (listener.as_fd(), label("listener", "7")),
        (pid_file.as_fd(), label("pid-file", "")),
    ];
    Sender::new().send_to(&here, &all).unwrap();
    assert_eq!(hear(), "\"registered\"\n");
    (&here).write_all(b"\"commit\"\n").unwrap();
    drop((here, control, listener, pid_file));
    assert_eq!(client.line(), "a hello");
    let list = place.list();
    assert_eq!(list["rules"][0]["destinations"][0]["total"], 4, "{list}");
    eventually("the pid file is its own", || place.pid().as_raw() == i32::try_from(child.id()).unwrap());
    place.run(&["stop"]).expect(0);
    assert!(child.wait().unwrap().success());
}
