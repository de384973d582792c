//! Ends: of a rule, of everything, by command and by signal.

use super::place::{Backend, Client, MOMENT, Place, client, free_source, row};
use crate::harness::process::{Exit, alive, send, stopped};
use crate::harness::{PATIENCE, eventually, stays, trials};
use nix::sys::signal::Signal;

trials![
    parked_clients_are_served_before_a_drain_ends,
    parked_clients_of_a_drain_go_on_at_a_restart,
    stop_cuts_what_runs,
    stop_of_a_rule_cuts_only_that,
    a_drain_that_takes_too_long_is_cut_and_that_is_told,
    the_last_word_on_a_stop_holds,
    term_drains_and_a_second_one_cuts,
    term_gives_up_after_the_stop_timeout,
    in_the_foreground_it_says_started_and_ends_on_int,
    signals_that_mean_nothing_change_nothing,
    a_stopped_process_that_goes_on_has_lost_nothing,
    a_log_that_was_moved_is_opened_afresh,
    a_socket_file_of_a_listener_goes_with_its_rule,
];

fn stop_cuts_what_runs() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let pid = place.pid();
    assert_eq!(place.run(&["stop"]).expect(0).out, "Stopped\n");
    held.ends();
    assert_eq!(place.wait_end(pid), Exit::Code(0));
}

fn stop_of_a_rule_cuts_only_that() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((one, address), (two, other)) = (free_source(), free_source());
    place.start(&one, &a.endpoint());
    place.start(&two, &a.endpoint());
    let mut former = client(address, "a");
    place.switch(&one, &b.endpoint());
    let mut cut = client(address, "b");
    let mut stays = client(other, "a");
    place.run(&["stop", &one]).expect(0);
    former.ends();
    cut.ends();
    stays.ask("a");
    assert_eq!(place.rows(), [row(&two, &a.endpoint(), 1, "active")]);
}

fn a_drain_that_takes_too_long_is_cut_and_that_is_told() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = [client(address, "a"), client(address, "a")];
    let ran = place.run(&["stop", &source, "--drain", "300ms"]).expect(3).complains().says("2 connections were cut");
    assert_eq!(ran.out, "Stopped\n");
    for client in &mut held {
        client.ends();
    }
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let ran = place.run(&["stop", "--drain", "300ms"]).expect(3).complains().says("1 connection was cut");
    assert_eq!(ran.out, "Stopped\n");
    held.ends();
}

fn the_last_word_on_a_stop_holds() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let mut drains = place.begin(&["stop", "--drain"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "inactive")]);
    assert!(drains.runs());
    place.run(&["start", &free_source().0, &a.endpoint()]).expect(1).complains().says("stopping");
    place.run(&["stop"]).expect(0);
    held.ends();
    drains.finish(PATIENCE).expect(0);
    // Its rules are kept all the same.
    place.run(&["start"]).expect(0);
    client(address, "a");
}

fn term_drains_and_a_second_one_cuts() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (mut held, pid) = (client(address, "a"), place.pid());
    send(pid, Signal::SIGTERM);
    eventually("the listener is closed", || std::net::TcpStream::connect(address).is_err());
    held.ask("a");
    assert!(alive(pid));
    send(pid, Signal::SIGTERM);
    held.ends();
    assert_eq!(place.wait_end(pid), Exit::Code(0));
    assert!(!place.path("forward.pid").exists());
    place.run(&["start"]).expect(0);
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 0, "active")]);
}

fn term_gives_up_after_the_stop_timeout() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.run(&["start", "--stop-timeout", "300ms", &source, &a.endpoint()]).expect(0);
    let (mut held, pid) = (client(address, "a"), place.pid());
    send(pid, Signal::SIGTERM);
    held.ends();
    assert_eq!(place.wait_end(pid), Exit::Code(0));
    // The option is saved with the rules.
    place.run(&["start"]).expect(0);
    let (mut held, pid) = (client(address, "a"), place.pid());
    send(pid, Signal::SIGINT);
    held.ends();
    assert_eq!(place.wait_end(pid), Exit::Code(0));
}

fn in_the_foreground_it_says_started_and_ends_on_int() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let runs = place.begin(&["start", "-f", &source, &a.endpoint()]);
    eventually("it listens", || std::net::TcpStream::connect(address).is_ok());
    eventually("there is a pid file", || place.path("forward.json").exists());
    assert_eq!(place.pid(), runs.pid());
    client(address, "a");
    send(runs.pid(), Signal::SIGINT);
    let ran = runs.finish(PATIENCE).expect(0);
    assert_eq!(ran.out, "Started\n");
    assert!(ran.err.contains("forwarding tcp:"), "the log goes to stderr: {}", ran.err);
    assert!(!place.path("forward.log").exists() && !place.path("forward.pid").exists());
}

fn signals_that_mean_nothing_change_nothing() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGUSR2, Signal::SIGCHLD] {
        send(place.pid(), signal);
    }
    held.ask("a");
    client(address, "a");
    assert!(alive(place.pid()));
}

fn a_stopped_process_that_goes_on_has_lost_nothing() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let (mut held, pid) = (client(address, "a"), place.pid());
    send(pid, Signal::SIGSTOP);
    eventually("it is stopped", || stopped(pid));
    let mut new = Client::connect(address);
    new.send("hello\n");
    let mut switches = place.begin(&["switch", &source, &b.endpoint()]);
    stays("nobody answers", MOMENT, || switches.runs());
    send(pid, Signal::SIGCONT);
    switches.finish(PATIENCE).expect(0);
    held.ask("a");
    assert!(["a hello", "b hello"].contains(&new.line().as_str()));
    client(address, "b");
}

fn a_log_that_was_moved_is_opened_afresh() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, _) = free_source();
    place.start(&source, &a.endpoint());
    std::fs::rename(place.path("forward.log"), place.path("old.log")).unwrap();
    send(place.pid(), Signal::SIGUSR1);
    eventually("there is a new log", || place.path("forward.log").exists());
    place.switch(&source, &b.endpoint());
    place.wait_log("switched");
    assert!(!place.file("old.log").contains("switched"));
}

fn a_socket_file_of_a_listener_goes_with_its_rule() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let path = place.scene.path("front.sock");
    let source = format!("unix:{}:mode=600", path.display());
    place.start(&source, &a.endpoint());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    Client::connect_unix(&path).ask("a");
    let plain = format!("unix:{}", path.display());
    place.run(&["stop", &plain]).expect(0);
    assert!(!path.exists(), "the file stays behind");
    place.start(&source, &a.endpoint());
    place.kill();
    place.run(&["start"]).expect(0);
    Client::connect_unix(&path).ask("a");
    std::fs::write(place.scene.path("file"), "precious").unwrap();
    let taken = format!("unix:{}", place.scene.path("file").display());
    place.run(&["start", &taken, &a.endpoint()]).expect(1).complains().says("not a socket");
    assert_eq!(place.scene.read("file"), "precious");
}

/// A rule with so many clients that wait.
fn paused(place: &Place, a: &Backend, count: usize) -> (String, Vec<Client<std::net::TcpStream>>) {
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.quietly(&["pause", &source]);
    let clients = (0..count).map(|_| {
        let mut client = Client::connect(address);
        client.send("hello\n");
        client
    });
    let clients = clients.collect();
    place.wait_list("all are parked", |list| list.to_string().contains(&format!("\"parked\":{count}")));
    (source, clients)
}

fn parked_clients_are_served_before_a_drain_ends() {
    for all in [false, true] {
        let (place, a) = (Place::new(), Backend::new("a"));
        let (source, mut parked) = paused(&place, &a, 200);
        let stop = if all { vec!["stop", "--drain"] } else { vec!["stop", &source, "--drain"] };
        let mut stops = place.begin(&stop);
        for client in &mut parked {
            assert_eq!(client.line(), "a hello");
        }
        assert!(stops.runs(), "it ends before its connections");
        drop(parked);
        assert_eq!(stops.finish(PATIENCE).expect(0).out, "Stopped\n");
        assert_eq!(a.accepted(), 200);
    }
}

fn parked_clients_of_a_drain_go_on_at_a_restart() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, mut parked) = paused(&place, &a, 200);
    let (other, _) = free_source();
    place.start(&other, &a.endpoint());
    let stops = place.begin(&["stop", &source, "--drain"]);
    place.wait_list("it drains", |list| list.to_string().contains("\"draining\":true"));
    place.quietly(&["restart"]);
    for client in &mut parked {
        assert_eq!(client.line(), "a hello");
    }
    drop(parked);
    assert_eq!(stops.finish(PATIENCE).expect(0).out, "Stopped\n");
}
