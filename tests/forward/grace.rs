//! What users of grace rely on, each behaviour by its number in the order of grace's own tests.

use super::place::{Backend, Client, MOMENT, Place, client, free_source, row, unix_backend};
use crate::harness::{eventually, stays, trials};
use nix::sys::signal::Signal;

trials![
    b01_start_returns_when_everything_works,
    b01_many_starts_at_once_are_one_forwarder,
    b01_a_second_setup_takes_the_place_of_the_first,
    b02_after_stop_the_log_tells_and_the_pid_file_is_gone,
    b03_ls_after_start_is_one_active_row,
    b04_rows_come_and_go_with_connections,
    b05_every_pair_of_tcp_and_unix_carries_bytes_both_ways,
    b06_a_running_client_keeps_its_destination,
    b07_a_destination_is_drained_only_when_it_is_a_former_one,
    b08_switching_back_keeps_the_count,
    b09_wait_without_former_connections_succeeds_at_once,
    b10_wait_covers_all_earlier_destinations,
    b11_flapping_keeps_counts_by_destination,
    b12_several_who_wait_are_all_told,
    b13_a_drained_destination_begins_anew,
    b14_ls_is_sorted_by_source,
    b15_a_stopped_rule_listens_no_more_and_is_forgotten,
    b16_wait_answers_only_when_it_is_so,
];

fn b01_start_returns_when_everything_works() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    // No wait for anything: what start promised holds at once.
    client(address, "a");
    for file in ["forward.pid", "forward.sock", "forward.json", "forward.log"] {
        assert!(place.path(file).exists(), "{file} is missing");
    }
    assert!(crate::harness::process::alive(place.pid()));
}

fn b01_many_starts_at_once_are_one_forwarder() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let sources = (0..4).map(|_| free_source()).collect::<Vec<_>>();
    let starts = sources.iter().map(|(source, _)| place.begin(&["start", source, &a.endpoint()]));
    for start in starts.collect::<Vec<_>>() {
        assert_eq!(start.finish(crate::harness::PATIENCE).expect(0).out, "Started\n");
    }
    sources.iter().for_each(|(_, address)| drop(client(*address, "a")));
    assert_eq!(place.rows().len(), 4);
}

fn b01_a_second_setup_takes_the_place_of_the_first() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.run(&["stop"]).expect(0);
    let (other, other_address) = free_source();
    place.start(&other, &b.endpoint());
    assert_eq!(place.rows(), [row(&other, &b.endpoint(), 0, "active")]);
    client(other_address, "b");
    assert!(std::net::TcpStream::connect(address).is_err(), "the first rule is served still");
    assert!(place.file("forward.json.previous").contains(&source), "what was before is not kept");
}

fn b02_after_stop_the_log_tells_and_the_pid_file_is_gone() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    place.start(&source, &a.endpoint());
    let pid = place.pid();
    let ran = place.run(&["stop"]).expect(0);
    assert_eq!(ran.out, "Stopped\n");
    // It returns when all of that is so, and not before.
    assert!(!place.path("forward.pid").exists() && !place.path("forward.sock").exists());
    assert!(!crate::harness::process::alive(pid));
    assert!(place.file("forward.log").contains("stopped"), "{}", place.file("forward.log"));
}

fn b03_ls_after_start_is_one_active_row() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    place.start(&source, &a.endpoint());
    let ran = place.run(&["ls"]).expect(0);
    assert_eq!(ran.out, format!("src dst connections status\n{source} {} 0 active\n", a.endpoint()));
}

fn b04_rows_come_and_go_with_connections() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.switch(&source, &b.endpoint());
    assert_eq!(place.rows(), [row(&source, &b.endpoint(), 0, "active")], "nothing ran on the old one");
    let first = client(address, "b");
    place.switch(&source, &a.endpoint());
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active"), row(&source, &b.endpoint(), 1, "inactive")]);
    drop(first);
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active")]);
}

fn b05_every_pair_of_tcp_and_unix_carries_bytes_both_ways() {
    let (place, tcp) = (Place::new(), Backend::new("tcp"));
    let path = place.scene.path("backend.sock");
    unix_backend(&path, "unix");
    let unix = format!("unix:{}", path.display());
    for (destination, name) in [(&tcp.endpoint(), "tcp"), (&unix, "unix")] {
        let (source, address) = free_source();
        place.start(&source, destination);
        client(address, name).ask(name);
        let listens = place.scene.path(&format!("to-{name}.sock"));
        place.start(&format!("unix:{}", listens.display()), destination);
        let mut client = Client::connect_unix(&listens);
        client.ask(name);
        client.ask(name);
    }
}

fn b06_a_running_client_keeps_its_destination() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut old = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut new = client(address, "b");
    for _ in 0..3 {
        old.ask("a");
        new.ask("b");
    }
    assert_eq!((a.accepted(), b.accepted()), (1, 1));
}

fn b07_a_destination_is_drained_only_when_it_is_a_former_one() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    drop(client(address, "a"));
    // Its count is 0, and it is there: it is the current one.
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active")]);
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut one = place.begin(&["wait", &source]);
    let mut two = place.begin(&["wait", &source]);
    eventually("both are there", || place.control_clients() == 2);
    stays("both wait, since something runs on it still", MOMENT, || one.runs() && two.runs());
    drop(held);
    one.finish(crate::harness::PATIENCE).expect(0);
    two.finish(crate::harness::PATIENCE).expect(0);
}

fn b08_switching_back_keeps_the_count() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (on_a, _more) = (client(address, "a"), client(address, "a"));
    place.switch(&source, &b.endpoint());
    let on_b = client(address, "b");
    // Another spelling means the same destination.
    place.switch(&source, &a.other_spelling());
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 2, "active"), row(&source, &b.endpoint(), 1, "inactive")]);
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    drop(on_a);
    // What ends on the current destination is not waited for, and b is in use.
    stays("it waits", MOMENT, || waits.runs());
    drop(on_b);
    waits.finish(crate::harness::PATIENCE).expect(0);
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active")]);
}

fn b09_wait_without_former_connections_succeeds_at_once() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.quietly(&["wait", &source]);
    let _runs = client(address, "a");
    place.quietly(&["wait", &source]);
    place.quietly(&["w", &source]);
    place.quietly(&["wait"]);
}

fn b10_wait_covers_all_earlier_destinations() {
    let (place, a, b, c) = (Place::new(), Backend::new("a"), Backend::new("b"), Backend::new("c"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let on_a = client(address, "a");
    place.switch(&source, &b.endpoint());
    let on_b = client(address, "b");
    place.switch(&source, &c.endpoint());
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    drop(on_b);
    place.wait_rows(&[row(&source, &c.endpoint(), 0, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    assert!(waits.runs(), "a is in use");
    drop(on_a);
    waits.finish(crate::harness::PATIENCE).expect(0);
}

fn b11_flapping_keeps_counts_by_destination() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (mut on_a, mut on_b) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        on_a.push(client(address, "a"));
        place.switch(&source, &b.endpoint());
        on_b.push(client(address, "b"));
        place.run(&["x", &source, &a.endpoint()]).expect(0);
    }
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 10, "active"), row(&source, &b.endpoint(), 10, "inactive")]);
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    drop(on_a);
    on_b.truncate(1);
    place.wait_rows(&[row(&source, &a.endpoint(), 0, "active"), row(&source, &b.endpoint(), 1, "inactive")]);
    assert!(waits.runs());
    drop(on_b);
    waits.finish(crate::harness::PATIENCE).expect(0);
}

fn b12_several_who_wait_are_all_told() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    for _ in 0..2 {
        let held = client(address, "a");
        place.switch(&source, &b.endpoint());
        let waits = (0..3).map(|_| place.begin(&["wait", &source])).collect::<Vec<_>>();
        drop(held);
        waits.into_iter().for_each(|wait| drop(wait.finish(crate::harness::PATIENCE).expect(0)));
        place.switch(&source, &a.endpoint());
    }
}

fn b13_a_drained_destination_begins_anew() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    drop(client(address, "a"));
    place.switch(&source, &b.endpoint());
    place.quietly(&["wait", &source]);
    place.switch(&source, &a.endpoint());
    let list = place.list();
    assert_eq!(list["rules"][0]["destinations"][0]["total"], 0, "{list}");
    let _runs = client(address, "a");
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active")]);
}

fn b14_ls_is_sorted_by_source() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let mut sources = (0..5).map(|_| free_source().0).collect::<Vec<_>>();
    sources.sort();
    sources.dedup();
    sources.rotate_left(2);
    sources.iter().for_each(|source| place.start(source, &a.endpoint()));
    sources.sort();
    let rows = sources.iter().map(|source| row(source, &a.endpoint(), 0, "active")).collect::<Vec<_>>();
    assert_eq!(place.rows(), rows);
}

fn b15_a_stopped_rule_listens_no_more_and_is_forgotten() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let ((one, address), (two, other)) = (free_source(), free_source());
    place.start(&one, &a.endpoint());
    place.start(&two, &a.endpoint());
    let ran = place.run(&["stop", &one]).expect(0);
    assert_eq!(ran.out, "Stopped\n");
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(place.rows(), [row(&two, &a.endpoint(), 0, "active")]);
    client(other, "a");
    place.run(&["switch", &one, &a.endpoint()]).expect(1).complains().says("no rule");
    assert!(!place.file("forward.json").contains(&one), "it is saved still");
}

fn b16_wait_answers_only_when_it_is_so() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    stays("it waits", MOMENT, || waits.runs());
    // Switching back empties what is waited for, too.
    place.switch(&source, &a.endpoint());
    waits.finish(crate::harness::PATIENCE).expect(0);
    // And one who waits while the forwarder dies is told so.
    place.switch(&source, &b.endpoint());
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    stays("it waits", MOMENT, || waits.runs());
    let pid = place.pid();
    crate::harness::process::send(pid, Signal::SIGKILL);
    place.wait_end(pid);
    waits.finish(crate::harness::PATIENCE).expect(1).complains().says("gone");
    drop(held);
}
