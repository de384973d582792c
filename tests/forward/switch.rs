//! Switching with care: tried first, undone by itself, for a share, and under load.

use super::place::{Backend, Client, Place, client, free_source, row};
use crate::harness::{PATIENCE, trials};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

trials![
    a_probe_that_fails_changes_nothing,
    a_probe_that_passes_switches,
    a_probe_takes_no_longer_than_it_may,
    a_probe_can_talk,
    a_destination_that_dies_while_it_is_probed_is_not_switched_to,
    a_guard_that_sees_no_failure_commits,
    a_guard_switches_back_when_a_connection_fails,
    a_destination_that_dies_within_the_guard_is_left,
    nobody_needs_to_wait_for_the_end_of_a_guard,
    a_later_switch_takes_the_place_of_a_guarded_one,
    a_share_gets_its_share,
    a_share_ends_with_a_switch_without_weight,
    a_share_for_the_active_destination_is_refused,
    a_paused_rule_keeps_its_clients_waiting,
    a_rule_is_known_by_any_spelling,
    a_thousand_flaps_under_load_go_unnoticed,
];

fn a_probe_that_fails_changes_nothing() {
    let (place, a, dead) = (Place::new(), Backend::new("a"), Backend::new("dead"));
    dead.close();
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let saved = place.file("forward.json");
    let ran = place.run(&["switch", &source, &dead.endpoint(), "--probe"]).expect(1).complains();
    ran.says("cannot switch").says("refused");
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active")]);
    assert_eq!(place.file("forward.json"), saved);
    client(address, "a");
}

fn a_probe_that_passes_switches() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.quietly(&["switch", &source, &b.endpoint(), "--probe=connect"]);
    client(address, "b");
    assert_eq!(b.accepted(), 2, "the probe and the client");
}

fn a_probe_takes_no_longer_than_it_may() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let probe = ["switch", &source, &b.endpoint(), "--probe=expect:never", "--probe-timeout", "300ms"];
    place.run(&probe).expect(1).complains().says("too long");
    client(address, "a");
    // What speaks no TLS does not pass for it.
    let probe = ["switch", &source, &b.endpoint(), "--probe=tls", "--probe-timeout", "2s"];
    place.run(&probe).expect(1).complains().says("probe");
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active")]);
}

fn a_probe_can_talk() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let wrong = ["switch", &source, &b.endpoint(), "--probe=send:ping\\n,expect:pong", "--probe-timeout", "500ms"];
    place.run(&wrong).expect(1).complains().says("b ping");
    place.quietly(&["switch", &source, &b.endpoint(), "--probe=send:ping\\n,expect:b ping"]);
    client(address, "b");
    place.run(&["switch", &source, &a.endpoint(), "--probe=dance"]).expect(2).complains().says("not a probe");
}

fn a_destination_that_dies_while_it_is_probed_is_not_switched_to() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let dies = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = dies.local_addr().unwrap().to_string();
    let probe = ["switch", &source, &destination, "--probe=expect:never", "--probe-timeout", "60s"];
    let switches = place.begin(&probe);
    let (connection, _) = dies.accept().unwrap();
    // Nobody else is held up meanwhile.
    client(address, "a");
    drop((connection, dies));
    switches.finish(PATIENCE).expect(1).complains().says("the answer was empty");
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active")]);
    // One that asks for the switch and does not wait for it is answered at once.
    let b = Backend::new("b");
    place.quietly(&["switch", &source, &b.endpoint(), "--probe", "--no-wait"]);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active")]);
}

fn a_guard_that_sees_no_failure_commits() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut switches = place.begin(&["switch", &source, &b.endpoint(), "--guard", "1s"]);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active"), row(&source, &a.endpoint(), 0, "inactive")]);
    assert!(switches.runs(), "it waits for the end of the guard");
    assert!(place.file("forward.json").contains(&a.endpoint()), "until then the old one is what would be served");
    client(address, "b");
    switches.finish(PATIENCE).expect(0);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active")]);
    assert!(place.file("forward.json").contains(&b.endpoint()));
}

fn a_guard_switches_back_when_a_connection_fails() {
    let (place, a, dead) = (Place::new(), Backend::new("a"), Backend::new("dead"));
    dead.close();
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let switches = place.begin(&["switch", &source, &dead.endpoint(), "--guard", "60s"]);
    place.wait_rows(&[row(&source, &dead.endpoint(), 0, "active"), row(&source, &a.endpoint(), 0, "inactive")]);
    Client::connect(address).ends();
    switches.finish(PATIENCE).expect(1).complains().says("switched back").says("refused");
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active")]);
    client(address, "a");
}

fn a_destination_that_dies_within_the_guard_is_left() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut on_a = client(address, "a");
    let switches = place.begin(&["switch", &source, &b.endpoint(), "--probe", "--guard", "60s"]);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    let mut on_b = client(address, "b");
    b.close();
    Client::connect(address).ends();
    switches.finish(PATIENCE).expect(1).complains().says("switched back");
    // What ran there goes on, on either.
    on_a.ask("a");
    on_b.ask("b");
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active"), row(&source, &b.endpoint(), 1, "inactive")]);
    assert!(place.file("forward.json").contains(&a.endpoint()));
}

fn nobody_needs_to_wait_for_the_end_of_a_guard() {
    let (place, a, dead) = (Place::new(), Backend::new("a"), Backend::new("dead"));
    dead.close();
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.quietly(&["switch", &source, &dead.endpoint(), "--guard", "60s", "--no-wait"]);
    Client::connect(address).ends();
    place.wait_log("is switched back from");
    client(address, "a");
}

fn a_later_switch_takes_the_place_of_a_guarded_one() {
    let (place, a, b, c) = (Place::new(), Backend::new("a"), Backend::new("b"), Backend::new("c"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let first = place.begin(&["switch", &source, &b.endpoint(), "--guard", "60s"]);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active"), row(&source, &a.endpoint(), 0, "inactive")]);
    place.switch(&source, &c.endpoint());
    first.finish(PATIENCE).expect(1).complains().says("replaced by a later switch");
    place.wait_rows(&[row(&source, &c.endpoint(), 0, "active")]);
    client(address, "c");
}

fn a_share_gets_its_share() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.quietly(&["switch", &source, &b.endpoint(), "--weight", "20"]);
    let rows = [row(&source, &a.endpoint(), 0, "active"), row(&source, &b.endpoint(), 0, "active")];
    place.wait_rows(&rows);
    for _ in 0..50 {
        let mut client = Client::connect(address);
        client.send("hello\n");
        client.line();
    }
    assert_eq!((a.accepted(), b.accepted()), (40, 10));
    let list = place.list();
    let weights = [0, 1].map(|index| list["rules"][0]["destinations"][index]["weight"].as_u64().unwrap());
    assert_eq!(weights, [80, 20], "{list}");
    // It outlasts the process.
    place.kill();
    place.run(&["start"]).expect(0);
    place.wait_rows(&rows);
}

fn a_share_ends_with_a_switch_without_weight() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.quietly(&["switch", &source, &b.endpoint(), "--weight", "50"]);
    let on_both = [Client::connect(address), Client::connect(address)];
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "active"), row(&source, &b.endpoint(), 1, "active")]);
    place.switch(&source, &b.endpoint());
    place.wait_rows(&[row(&source, &b.endpoint(), 1, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    place.quietly(&["switch", &source, &a.endpoint(), "--weight", "50"]);
    place.switch(&source, &b.endpoint());
    place.wait_rows(&[row(&source, &b.endpoint(), 1, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    drop(on_both);
    place.wait_rows(&[row(&source, &b.endpoint(), 0, "active")]);
}

fn a_share_for_the_active_destination_is_refused() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    place.start(&source, &a.endpoint());
    place.run(&["switch", &source, &a.endpoint(), "--weight", "5"]).expect(1).complains().says("--weight");
    for bad in ["0", "101", "-1", "half"] {
        place.run(&["switch", &source, &a.endpoint(), "--weight", bad]).expect(2).complains();
    }
    place.quietly(&["switch", &source, &a.endpoint(), "--weight", "100"]);
}

fn a_paused_rule_keeps_its_clients_waiting() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut runs = client(address, "a");
    place.quietly(&["pause", &source]);
    place.quietly(&["pause", &source]);
    let mut waiting = (0..2).map(|_| Client::connect(address)).collect::<Vec<_>>();
    waiting.iter_mut().for_each(|client| client.send("hello\n"));
    let leaves = Client::connect(address);
    place.wait_list("three wait", |list| list["rules"][0]["parked"] == 3);
    assert_eq!(place.list()["rules"][0]["paused"], true);
    runs.ask("a");
    // One who leaves is noticed.
    drop(leaves);
    place.wait_list("two wait", |list| list["rules"][0]["parked"] == 2);
    // They go where the rule leads when it is resumed, also to another process.
    place.switch(&source, &b.endpoint());
    place.quietly(&["resume", &source]);
    waiting.iter_mut().for_each(|client| assert_eq!(client.line(), "b hello"));
    client(address, "b");
    place.quietly(&["pause", &source]);
    place.kill();
    place.run(&["start"]).expect(0);
    assert_eq!(place.list()["rules"][0]["paused"], true);
}

fn a_rule_is_known_by_any_spelling() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let port = address.port();
    for spelling in [format!("127.0.0.1:{port}"), format!("tcp:port={port}:interface=127.0.0.1:backlog=7")] {
        place.switch(&spelling, &b.endpoint());
        place.switch(&spelling, &a.other_spelling());
        place.quietly(&["wait", &spelling]);
        place.run(&["start", &spelling, &b.endpoint()]).expect(1).complains().says("forwarded already");
    }
    assert_eq!(place.rows(), [row(&source, &a.other_spelling(), 0, "active")]);
    place.run(&["switch", &format!("127.0.0.2:{port}"), &b.endpoint()]).expect(1).complains();
    // A port that was left open is known by what it became.
    let ran = place.run(&["start", "127.0.0.1:0", &a.endpoint()]).expect(0);
    let chosen = ran.out.lines().next().unwrap().strip_prefix("listening on ").unwrap().parse::<SocketAddr>().unwrap();
    assert!(ran.out.ends_with("\nStarted\n"), "{}", ran.out);
    client(chosen, "a");
    place.switch(&chosen.to_string(), &b.endpoint());
    client(chosen, "b");
}

fn a_thousand_flaps_under_load_go_unnoticed() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let stop = Arc::new(AtomicBool::new(false));
    let load = (0..4).map(|_| {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut asked = 0;
            while !stop.load(Ordering::SeqCst) {
                let mut client = Client::connect(address);
                for _ in 0..3 {
                    client.send("hello\n");
                    let line = client.line();
                    assert!(line == "a hello" || line == "b hello", "{line:?}");
                }
                asked += 1;
            }
            asked
        })
    });
    let load = load.collect::<Vec<_>>();
    let mut control = super::control::Wire::connect(&place);
    for _ in 0..500 {
        for backend in [&b, &a] {
            let request = serde_json::json!({"request": "switch", "source": source, "destination": backend.endpoint()});
            assert_eq!(control.ask(&request)["ok"], true);
        }
    }
    stop.store(true, Ordering::SeqCst);
    let asked: usize = load.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(asked > 10, "{asked} connections");
    place.quietly(&["wait", "--timeout", "20s"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active")]);
    assert_eq!(a.accepted() + b.accepted(), asked);
}
