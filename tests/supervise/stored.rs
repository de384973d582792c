//! What children store by sd_notify(3) for those that come after them.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::notify::status_of;
use crate::harness::client::{Client, ask};
use crate::harness::load::Load;
use crate::harness::process::{self, descriptors_of};
use crate::harness::{Setup, Supervisor, eventually, trials, trials_with};

trials![
    what_is_stored_comes_back,
    the_client_library_stores_and_takes,
    what_is_stored_can_be_removed,
    what_has_hung_up_is_not_kept_unless_asked_for,
    there_is_an_end_to_what_is_stored,
    a_child_has_descriptors_left_whatever_was_stored,
    there_is_room_to_store_when_held_connections_have_taken_all,
];
trials_with!["python3 -V" => the_counter_of_the_page_goes_on_counting];

/// Those that need another program, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

fn what_is_stored_comes_back() {
    for (pass, listeners) in [("listener", "web:127.0.0.1:"), ("connections", "")] {
        let setup = Setup::alone().listen(&["web=127.0.0.1:0"]).with("--respawn-delay 10ms..1s --pass").with(pass);
        let seen = setup.scene().path("seen");
        let role = |say: &str| format!("notifies stored:{} {say} say:READY=1 serve", seen.display());
        let names = if listeners.is_empty() { String::new() } else { "web:".to_owned() };
        let supervisor = setup.role(&role("store:state:first store:more:second")).start();
        let empty = supervisor.scene.read("seen");
        assert_eq!(empty, format!("names {}\n", names.trim_end_matches(':')));
        let expected = format!("state first\nmore second\nnames {names}state:more\n");
        supervisor.scene.role(&role("say:STATUS=again"));
        for turn in 0..3 {
            fs::remove_file(&seen).unwrap();
            if turn == 1 {
                process::send(supervisor.serving_pid(), Signal::SIGKILL);
                supervisor.wait_status("another one serves", |status| status["counters"]["respawns"] == 1);
            } else {
                supervisor.reload().expect(0);
            }
            eventually("the next one has looked", || seen.exists());
            assert_eq!(supervisor.scene.read("seen"), expected);
            supervisor.wait_settled();
            ask(supervisor.address());
        }
    }
}

fn the_client_library_stores_and_takes() {
    for (pass, listeners) in [("listener", 1), ("connections", 0)] {
        let setup = Setup::alone().with("--respawn-delay 10ms..1s --pass").with(pass);
        let seen = setup.scene().path("seen");
        let supervisor = setup.role(&format!("keeps_by_library {}", seen.display())).start();
        assert_eq!(supervisor.scene.read("seen"), format!("names [] listeners {listeners}\n"));
        ask(supervisor.address());
        for turn in 1..4 {
            if turn == 2 {
                process::send(supervisor.serving_pid(), Signal::SIGKILL);
                supervisor.wait_status("another one serves", |status| {
                    status["counters"]["respawns"] == 1 && crate::harness::supervisor::serving(status).is_some()
                });
            } else {
                supervisor.reload().expect(0);
            }
            supervisor.wait_settled();
            let text = supervisor.scene.read("seen");
            assert_eq!(text, format!("names [\"state\"] listeners {listeners}\nkept"));
            ask(supervisor.address());
        }
    }
}

fn the_counter_of_the_page_goes_on_counting() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/notify.md")).unwrap();
    let program = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let setup = Setup::alone().with("--ready notify --respawn-delay 10ms..1s");
    let script = setup.scene().write("counter.py", program);
    let supervisor = setup.command(&["python3", script.to_str().unwrap()]).start();
    let count = || {
        let mut answer = String::new();
        TcpStream::connect(supervisor.address()).unwrap().read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(count(), "1\n");
    for number in 1..4 {
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(count(), format!("{}\n", 2 * number));
        process::send(supervisor.serving_pid(), Signal::SIGKILL);
        supervisor.wait_status("another one serves", |status| {
            status["counters"]["respawns"] == number && crate::harness::supervisor::serving(status).is_some()
        });
        assert_eq!(count(), format!("{}\n", 2 * number + 1));
        assert_eq!(status_of(&supervisor), format!("served {}", 2 * number + 1));
    }
}

fn what_is_stored_can_be_removed() {
    let setup = Setup::alone();
    let seen = setup.scene().path("seen");
    let steps = "store:a:1 store:b:2 store:a:3 say:FDSTOREREMOVE=1 say:FDSTOREREMOVE=1;FDNAME=a say:FDSTORE=1;FDNAME=b";
    let supervisor = setup.role(&format!("notifies {steps} say:READY=1 serve")).start();
    supervisor.scene.role(&format!("notifies stored:{} say:READY=1 serve", seen.display()));
    supervisor.reload().expect(0);
    let seen = supervisor.scene.read("seen");
    assert!(seen.starts_with("b 2\nnames ") && seen.ends_with(":b\n"), "{seen}");
}

fn what_has_hung_up_is_not_kept_unless_asked_for() {
    let setup = Setup::alone();
    let seen = setup.scene().path("seen");
    let supervisor = setup.role("notifies store_hung_up:gone:1 store_hung_up:kept:0 say:READY=1 serve").start();
    eventually("it is told of", || supervisor.scene.read("stderr").contains("named gone has hung up"));
    supervisor.scene.role(&format!("notifies stored:{} say:READY=1 serve", seen.display()));
    supervisor.reload().expect(0);
    let seen = supervisor.scene.read("seen");
    assert!(seen.starts_with("kept \nnames ") && seen.ends_with(":kept\n"), "{seen}");
}

fn kept(supervisor: &Supervisor) -> usize {
    descriptors_of(supervisor.pid()).values().filter(|target| target.starts_with("/memfd:stored")).count()
}

fn there_is_an_end_to_what_is_stored() {
    let setup = Setup::alone();
    let seen = setup.scene().path("seen");
    let supervisor = setup.role("notifies say:READY=1 serve").start();
    let before = supervisor.census();
    // As many at once as a datagram carries, and more of them than there is room for.
    supervisor.scene.role("notifies store_many:x:253:4 say:READY=1 serve");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(kept(&supervisor), 512);
    supervisor.scene.role(&format!("notifies stored:{} say:READY=1 serve", seen.display()));
    let load = Load::on(supervisor.address());
    supervisor.reload().expect(0);
    let text = supervisor.scene.read("seen");
    assert_eq!(text.lines().filter(|line| line.starts_with("x ")).count(), 512);
    assert!(text.starts_with("x 0.0\n") && text.contains("\nx 1.252\n"), "in the order in which they came");
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
    supervisor.scene.role("notifies say:FDSTOREREMOVE=1;FDNAME=x say:READY=1 serve");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(kept(&supervisor), 0);
    assert_eq!(supervisor.census(), before);
    let log = supervisor.scene.read("stderr");
    assert!(log.contains("are not stored: there are 512 already"), "{log}");
}

fn a_child_has_descriptors_left_whatever_was_stored() {
    let setup = Setup::alone().wrap("nofile_soft 64").role("notifies store_many:x:20:4 say:READY=1 serve");
    let supervisor = setup.start();
    eventually("all that may be is stored", || kept(&supervisor) == 32);
    supervisor.scene.role("notifies say:READY=1 serve");
    for _ in 0..2 {
        supervisor.reload().expect(0);
        ask(supervisor.address());
    }
    assert_eq!(kept(&supervisor), 32);
}

fn there_is_room_to_store_when_held_connections_have_taken_all() {
    let setup = Setup::alone().connections().wrap("nofile 128").with("--ready notify --respawn-delay 10ms..1s");
    let (go, seen) = (setup.scene().path("go"), setup.scene().path("seen"));
    let supervisor = setup.role("notifies say:READY=1 serve").start();
    let store = "store:state:first store_hung_up:gone:1 store_many:more:10:1";
    supervisor.scene.role(&format!("notifies until:{} {store} say:READY=1 serve", go.display()));
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(supervisor.address()).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "held").unwrap());
    eventually("no descriptor is free", || supervisor.scene.read("stderr").contains("cannot accept on tcp:"));
    fs::write(&go, "").unwrap();
    while !clients.is_empty() {
        clients.remove(0).receive("held").unwrap();
    }
    assert_eq!(kept(&supervisor), 11);
    eventually("it is told of", || supervisor.scene.read("stderr").contains("named gone has hung up"));
    supervisor.scene.role(&format!("notifies stored:{} say:READY=1 serve", seen.display()));
    supervisor.reload().expect(0);
    assert!(supervisor.scene.read("seen").starts_with("state first\n"), "{}", supervisor.scene.read("seen"));
    // And there is room to start another one.
    supervisor.scene.role(&format!("notifies until:{} say:READY=1 serve", go.display()));
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(supervisor.address()).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "held").unwrap());
    fs::write(&go, "").unwrap();
    while !clients.is_empty() {
        clients.remove(0).receive("held").unwrap();
    }
}
