//! Where something runs out: ports, room on the disk, time.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use serde_json::json;

use crate::forward::control::Wire;
use crate::forward::place::{Backend, Client, MOMENT, Place, client, free_source};
use crate::harness::island::{ISLAND, on_an_island, shell};
use crate::harness::process::{processor_time, raise_descriptor_limit, send, stopped};
use crate::harness::ran::Running;
use crate::harness::scene::{binary, suite};
use crate::harness::{PATIENCE, eventually, stays, trials, trials_with, until};

trials![
    bytes_that_came_while_it_was_stopped_count_before_the_time,
    a_storm_of_clients_that_do_not_read_harms_nobody,
    a_path_too_long_for_the_socket_is_refused,
    many_rules_and_few_descriptors_cost_no_client,
];
trials_with![
    ISLAND => without_a_port_to_connect_from_only_that_connection_fails,
    ISLAND => a_full_disk_is_told_and_saved_when_there_is_room,
];

/// A whole process that stands still for longer than its connections may be idle, and has more to be told then than one wait
/// for events can tell.
fn bytes_that_came_while_it_was_stopped_count_before_the_time() {
    const CLIENTS: usize = 300;
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let options = ["start", "--threads", "1", "--idle-timeout", "6s", "--half-closed-timeout", "6s"];
    place.run(&[&options[..], &[&source, &a.endpoint()]].concat()).expect(0);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| client(address, "a")).collect();
    let pid = place.pid();
    send(pid, Signal::SIGSTOP);
    eventually("it is stopped", || stopped(pid));
    clients.iter_mut().for_each(|client| client.send("hello\n"));
    stays("it is stopped", Duration::from_secs(10), || stopped(pid));
    send(pid, Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(client.line(), "a hello");
    }
    client(address, "a");
    let list = place.list();
    assert_eq!(list["rules"][0]["destinations"][0]["failures"], 0, "{list}");
}

/// A rule has its listener twice: for its loop, and for whoever takes over.
fn many_rules_and_few_descriptors_cost_no_client() {
    const RULES: usize = 40;
    const CLIENTS: usize = 150;
    raise_descriptor_limit();
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let mut command = Command::new(suite());
    command.args(["child", "wrap", "nofile", "256", "--"]).arg(binary());
    place.scene.mark(command.args(["forward", "start", &source, &a.endpoint()]));
    Running::start(&mut command).finish(PATIENCE).expect(0);
    let mut wire = Wire::connect(&place);
    for _ in 1..RULES {
        let answer = wire.ask(&json!({"request":"start","source":free_source().0,"destination":a.endpoint()}));
        assert_eq!(answer["ok"], true, "{answer}");
    }
    let accepted = |count| {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(address)).collect();
        clients.iter_mut().for_each(|client| client.send("hello\n"));
        // Each that ends makes room for another one. Those that come first are in no order here.
        while !clients.is_empty() {
            clients.retain_mut(|client| {
                let answered = client.has_answer();
                if answered {
                    assert_eq!(client.line(), "a hello");
                }
                !answered
            });
        }
        place.wait_log("out of descriptors");
        assert_eq!(a.accepted(), count);
        let list = place.list();
        let rules = list["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["source"] == source).unwrap();
        assert_eq!(rule["destinations"][0]["failures"], 0, "{rule}");
    };
    accepted(CLIENTS);
    // The one that takes over counts as well.
    drop(wire);
    place.quietly(&["restart"]);
    accepted(2 * CLIENTS);
    assert!(!place.file("forward.log").contains("Too many open files"));
}

/// Each leaves with a reset while its answer is under way: writing to it fails, over and over.
fn a_storm_of_clients_that_do_not_read_harms_nobody() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let long = format!("{}\n", "x".repeat(20_000));
    for _ in 0..300 {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(long.as_bytes()).unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    held.ask("a");
    drop(held);
    place.wait_list("all are gone", |list| list["rules"][0]["destinations"][0]["connections"] == 0);
    client(address, "a");
    place.run(&["stop"]).expect(0);
}

fn a_path_too_long_for_the_socket_is_refused() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let long = place.scene.path(&"d".repeat(107));
    let (source, _) = free_source();
    let ran = place.run(&["-d", long.to_str().unwrap(), "start", &source, &a.endpoint()]).expect(2).complains();
    ran.says("at most 107");
    assert!(!long.exists(), "nothing was made");
}

fn without_a_port_to_connect_from_only_that_connection_fails() {
    on_an_island(|| {
        const PORTS: usize = 4;
        shell("echo '40000 40003' > /proc/sys/net/ipv4/ip_local_port_range");
        let (place, a) = (Place::new(), Backend::new("a"));
        std::fs::create_dir(place.scene.path("sockets")).unwrap();
        let path = place.scene.path("sockets/front");
        let source = format!("unix:{}", path.display());
        place.start(&source, &a.endpoint());
        let connected = || {
            let mut client = Client::<UnixStream>::connect_unix(&path);
            client.try_ask("a").then_some(client)
        };
        let mut held: Vec<_> = std::iter::from_fn(connected).collect();
        assert!(!held.is_empty() && held.len() <= PORTS, "{} connections", held.len());
        place.wait_log("os error 99");
        let failed = place.list()["rules"][0]["destinations"][0]["failures"].as_u64().unwrap();
        assert!(failed >= 1);
        // Nobody turns in circles over it, and the others go on.
        let used = processor_time(place.pid());
        let pid = place.pid();
        stays("it has little to do", MOMENT, || processor_time(pid) - used < MOMENT / 2);
        held.iter_mut().for_each(|client| client.ask("a"));
        // As soon as there is a port again, it is used.
        held.clear();
        until("one is connected again", crate::harness::PATIENCE * 5, || connected().ok_or("not yet".to_owned()));
    });
}

fn a_full_disk_is_told_and_saved_when_there_is_room() {
    on_an_island(|| {
        let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
        let folder = place.path(".");
        shell(&format!("mount -t tmpfs -o size=64k,mode=700 tmpfs {}", folder.display()));
        let (source, address) = free_source();
        place.start(&source, &a.endpoint());
        let before = place.file("forward.json");
        shell(&format!("! dd if=/dev/zero of={}/stone bs=4k 2> /dev/null", folder.display()));
        let ran = place.run(&["switch", &source, &b.endpoint()]).expect(0).complains();
        ran.says("cannot save the rules").says("os error 28");
        client(address, "b");
        assert_eq!(place.file("forward.json"), before, "the file that was there is whole");
        std::fs::remove_file(place.path("stone")).unwrap();
        // It is tried again without being asked.
        eventually("it is saved", || place.file("forward.json").contains(&b.endpoint()));
        place.kill();
        place.run(&["start"]).expect(0);
        client(address, "b");
        place.run(&["stop"]).expect(0);
    });
}
