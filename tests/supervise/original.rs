//! Programs that are linked with the original library, and whoever pretends to be one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, bind, listen, socket};

use crate::children::original::{Channel, name};
use crate::harness::client::{Client, ask};
use crate::harness::free_port;
use crate::harness::load::Load;
use crate::harness::process;
use crate::harness::supervisor::serving;
use crate::harness::{PATIENCE, Scene, Setup, Supervisor, eventually, trials, trials_of_root};

trials![
    reloads_under_load,
    reloads_under_load_where_nothing_can_be_taken_back,
    kinds_of_daemon_alternate,
    what_a_killed_child_had_not_read_goes_to_the_next,
    what_cannot_be_taken_back_is_counted,
    a_descendant_may_connect,
    one_that_connects_late_gets_what_was_passed_before,
    more_than_its_channel_takes_is_held,
    held_connections_do_not_keep_it_from_connecting,
    it_is_told_from_which_listener_when_the_next_asks,
    strangers_are_turned_away,
    a_second_channel_is_refused,
    a_taken_name_is_a_warning_and_is_had_later,
    the_listener_pass_gives_a_hint,
    a_stop_lets_it_read_the_rest,
    what_another_gave_back_reaches_it_without_its_state,
    it_ends_when_we_are_killed_and_drains_when_orphans_are_kept,
];

trials_of_root![a_descendant_of_another_user_is_turned_away, a_child_that_drops_its_rights_may_connect];

/// Trials that need another user, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

fn setup(port: u16) -> Setup {
    Setup::alone().listen(&[&format!("127.0.0.1:{port}")]).connections()
}

fn log(supervisor: &Supervisor) -> String {
    supervisor.scene.read("stderr")
}

#[track_caller]
fn logs(supervisor: &Supervisor, what: &str) {
    eventually(&format!("the log says {what:?}"), || log(supervisor).contains(what));
}

fn many_reloads(role: &str, port: u16) {
    let supervisor = setup(port).role(role).start();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let before = supervisor.census();
    let load = Load::on(supervisor.address());
    for _ in 0..20 {
        supervisor.reload().expect(0);
    }
    let report = load.finish();
    report.expect_nothing_noticed();
    assert!(report.children.len() > 5, "the load hardly met the reloads: {report:?}");
    supervisor.wait_settled();
    eventually("descriptors and processes are as they were", || supervisor.census() == before);
    let counters = &supervisor.status()["counters"];
    assert_eq!(counters["accepted"].as_u64().unwrap(), report.connections);
    let passed = counters["passed"].as_u64().unwrap() - counters["reclaimed"].as_u64().unwrap();
    assert_eq!(passed, report.connections, "each passed once, but for those taken back: {counters}");
    let log = log(&supervisor);
    assert!(!log.contains("that it had not read"), "{log}");
    assert!(!log.contains("turned away"), "{log}");
}

fn reloads_under_load() {
    let port = free_port();
    many_reloads(&format!("original {port} 0"), port);
}

fn reloads_under_load_where_nothing_can_be_taken_back() {
    let port = free_port();
    many_reloads(&format!("original_hidden {port}"), port);
}

fn kinds_of_daemon_alternate() {
    let port = free_port();
    let supervisor = setup(port).start();
    let load = Load::on(supervisor.address());
    for turn in 0..12 {
        let roles = [format!("original {port} 0"), "echo_library".into(), format!("original_hidden {port}")];
        supervisor.scene.role(&roles[turn % 3]);
        supervisor.reload().expect(0);
    }
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
}

/// Clients of which the child reads the first and no more, and then dies.
fn killed_with_five(role: &str) -> (Supervisor, Client, Vec<Client>) {
    let port = free_port();
    let supervisor = setup(port).role(&role.replace("PORT", &port.to_string())).start();
    let mut first = Client::connect(supervisor.address()).unwrap();
    first.ask(Duration::ZERO, "first").unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(supervisor.address()).unwrap();
        client.send(Duration::ZERO, "other").unwrap();
        others.push(client);
    }
    supervisor.wait_status("all are passed", |status| status["counters"]["passed"] == 5);
    let pid = supervisor.serving_pid();
    supervisor.scene.role(&format!("original {port} 0"));
    process::send(pid, Signal::SIGKILL);
    supervisor.wait_status("another serves", |status| serving(status).is_some_and(|it| it["number"] == 2));
    (supervisor, first, others)
}

fn what_a_killed_child_had_not_read_goes_to_the_next() {
    let (supervisor, mut first, others) = killed_with_five("original_reads PORT 1");
    assert!(first.receive("more").is_err(), "what was read is lost");
    for mut client in others {
        assert_eq!(client.receive("other").unwrap().generation, 2);
    }
    let status = supervisor.status();
    assert_eq!(status["counters"]["reclaimed"], 4, "{status}");
    assert!(!log(&supervisor).contains("that it had not read"));
}

fn what_cannot_be_taken_back_is_counted() {
    let (supervisor, mut first, others) = killed_with_five("original_hidden_reads PORT 1");
    assert!(first.receive("more").is_err());
    for mut client in others {
        assert!(client.receive("other").is_err(), "nobody can have it");
    }
    logs(&supervisor, "generation 1: what it leaves unread when it dies can only be counted");
    logs(&supervisor, "generation 1 took up to 4 connections with it that it had not read (4 so far)");
    let status = supervisor.status();
    assert_eq!(status["counters"]["reclaimed"], 0, "{status}");
    ask(supervisor.address());
}

fn a_descendant_may_connect() {
    let port = free_port();
    let suite = crate::harness::scene::suite();
    let command = ["/bin/sh".to_owned(), "-c".to_owned(), format!("{suite} child original {port} 0; exit")];
    let supervisor = setup(port).command(&command).start();
    ask(supervisor.address());
    let load = Load::on(supervisor.address());
    for _ in 0..5 {
        supervisor.reload().expect(0);
    }
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
}

fn one_that_connects_late_gets_what_was_passed_before() {
    let port = free_port();
    let supervisor = setup(port).role(&format!("original {port} 700")).with("--ready alive:50ms").start();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(supervisor.address()).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "early").unwrap());
    let places: Vec<u64> = clients.iter_mut().map(|client| client.receive("early").unwrap().place).collect();
    assert!(places.is_sorted(), "the order of arrival is lost: {places:?}");
    assert_eq!(supervisor.generation(), 1);
}

fn more_than_its_channel_takes_is_held() {
    const CLIENTS: usize = 600;
    let port = free_port();
    let supervisor = setup(port).role(&format!("original_reads {port} 0")).start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(supervisor.address()).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "late").unwrap());
    let status = supervisor.wait_status("all are accepted", |status| status["counters"]["accepted"] == CLIENTS);
    let held = status["listeners"][0]["held"].as_u64().unwrap();
    assert!(held > 0 && held < CLIENTS as u64, "{status}");
    // The channel is full and nobody reads: nothing else waits for it.
    supervisor.scene.role(&format!("original {port} 0"));
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    for mut client in clients {
        assert_eq!(client.receive("late").unwrap().generation, 2);
    }
    // As one that reads makes room, the rest follows.
    let load = Load::on(supervisor.address());
    supervisor.reload().expect(0);
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
}

fn held_connections_do_not_keep_it_from_connecting() {
    let port = free_port();
    let setup = setup(port).wrap("nofile 64").with("--ready channel --respawn-delay 10ms..1s");
    let supervisor = setup.role(&format!("original_one_by_one {port} 0")).start();
    supervisor.scene.role(&format!("original_one_by_one {port} 2000"));
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| serving(status).is_none());
    // Held, they take every descriptor that is to be had.
    let mut clients: Vec<Client> = (0..150).map(|_| Client::connect(supervisor.address()).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "held").unwrap());
    logs(&supervisor, "cannot accept on tcp:");
    while !clients.is_empty() {
        let mut client = clients.remove(0);
        client.receive("held").unwrap();
    }
    assert!(!log(&supervisor).contains("can only be counted"), "there was a descriptor for the duplicate");
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn it_is_told_from_which_listener_when_the_next_asks() {
    let port = free_port();
    let (one, other) = (format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}"));
    let listeners = [one.as_str(), "127.0.0.1:0", other.as_str()];
    let supervisor = Setup::alone().listen(&listeners).connections().role(&format!("original_reads {port} 0")).start();
    let addresses = supervisor.addresses();
    let mut clients: Vec<Client> = addresses.iter().map(|at| Client::connect(*at).unwrap()).collect();
    clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "any").unwrap());
    supervisor.wait_status("all are passed", |status| status["counters"]["passed"] == 3);
    // Taken back while nothing serves, each is held for the listener that it came from.
    supervisor.scene.role("slow_start 700");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("each listener holds its own", |status| {
        status["listeners"].as_array().unwrap().iter().all(|listener| listener["held"] == 1)
    });
    for client in &mut clients {
        client.receive("any").unwrap();
    }
}

fn strangers_are_turned_away() {
    let port = free_port();
    let supervisor = setup(port).role(&format!("original {port} 0")).start();
    let before = supervisor.census();
    for _ in 0..200 {
        // Turned away at once, or not let in at all while too many wait.
        if let Ok(channel) = Channel::connect(port) {
            assert!(channel.accept().is_none(), "a connection was given to a stranger");
        }
        ask(supervisor.address());
    }
    logs(&supervisor, "is no child of ours: it was turned away from the original library's name");
    let lines = log(&supervisor).matches("is no child of ours").count();
    assert!(lines < 100, "{lines} lines for 200 strangers");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    ask(supervisor.address());
    eventually("descriptors and processes are as they were", || supervisor.census() == before);
    // It is before the child, too, and between two children.
    supervisor.scene.role(&format!("original {port} 500"));
    let mut reload = supervisor.begin_reload();
    while reload.runs() {
        assert!(Channel::connect(port).is_ok_and(|channel| channel.accept().is_none()));
    }
    reload.finish(PATIENCE).expect(0);
    ask(supervisor.address());
}

fn a_second_channel_is_refused() {
    let port = free_port();
    let supervisor = setup(port).role(&format!("original_twice {port}")).start();
    ask(supervisor.address());
    logs(&supervisor, "it connects to the original library's name and has a channel already");
    supervisor.reload().expect(0);
    ask(supervisor.address());
    // Nor does one get it that uses the channel which it inherited.
    supervisor.scene.role(&format!("original_has_one {port}"));
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn a_taken_name_is_a_warning_and_is_had_later() {
    let port = free_port();
    let squatter = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(squatter.as_raw_fd(), &name(port)).unwrap();
    listen(&squatter, Backlog::new(1).unwrap()).unwrap();
    let supervisor = setup(port).start();
    ask(supervisor.address());
    let said =
        format!("cannot listen on the original library's name sock_srv_{port}: Address already in use (os error 98)");
    logs(&supervisor, &said);
    logs(&supervisor, "hint: only programs linked with that library need it");
    supervisor.reload().expect(0);
    assert_eq!(log(&supervisor).matches(&said).count(), 1, "said once");
    drop(squatter);
    supervisor.scene.role(&format!("original {port} 0"));
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn the_listener_pass_gives_a_hint() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let supervisor = Setup::alone().listen(&[&listen]).role(&format!("original_mistaken {port}")).start();
    ask(supervisor.address());
    logs(&supervisor, "a program that uses the original library needs --pass connections");
}

fn a_stop_lets_it_read_the_rest() {
    for role in ["original PORT 0", "original_hidden PORT"] {
        let port = free_port();
        let mut supervisor = setup(port).role(&role.replace("PORT", &port.to_string())).start();
        let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(supervisor.address()).unwrap()).collect();
        clients.iter_mut().for_each(|client| client.send(Duration::from_millis(200), "last").unwrap());
        supervisor.signal(Signal::SIGTERM);
        for client in &mut clients {
            client.receive("last").unwrap();
        }
        drop(clients);
        assert_eq!(supervisor.wait_exit(), process::Exit::Code(0));
        assert!(Channel::connect(port).is_err(), "the name is free");
    }
}

fn what_another_gave_back_reaches_it_without_its_state() {
    let port = free_port();
    let supervisor = setup(port).role("line_counter").start();
    let mut client = BufReader::new(TcpStream::connect(supervisor.address()).unwrap());
    client.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut say = |line: &[u8]| {
        client.get_mut().write_all(line).unwrap();
        let mut answer = String::new();
        client.read_line(&mut answer).unwrap();
        answer
    };
    assert_eq!(say(b"a line\n"), "1\n");
    supervisor.scene.role(&format!("original {port} 0"));
    supervisor.reload().expect(0);
    // Until then the old one may go on with it.
    supervisor.wait_status("it is given back", |status| status["counters"]["given_back"] == 1);
    let answer = say(b"0 hello\n");
    assert!(answer.starts_with("2 ") && answer.ends_with(" hello\n"), "{answer}");
}

fn it_ends_when_we_are_killed_and_drains_when_orphans_are_kept() {
    for keep in [false, true] {
        let port = free_port();
        let setup = setup(port).role(&format!("original {port} 0"));
        let setup = if keep { setup.with("--orphans keep").with_path("--child-log", "child-log") } else { setup };
        let mut supervisor = setup.start();
        let child = supervisor.serving_pid();
        let mut client = Client::connect(supervisor.address()).unwrap();
        client.ask(Duration::ZERO, "before").unwrap();
        supervisor.kill();
        if keep {
            client.ask(Duration::from_millis(300), "after").unwrap();
            assert!(process::alive(child));
        }
        drop(client);
        eventually("it has ended", || !process::alive(child));
    }
}

/// A supervisor of what a shell makes of `script`, in which SUITE and PORT stand for what they are.
fn scripted(script: &str) -> Supervisor {
    let port = free_port();
    let scene = Scene::new();
    scene.open_to_all();
    let suite = scene.copy(crate::harness::scene::suite().as_ref(), "suite");
    let script = script.replace("SUITE", suite.to_str().unwrap()).replace("PORT", &port.to_string());
    let command = ["/bin/sh", "-c", script.as_str()];
    scene.setup().listen(&[&format!("127.0.0.1:{port}")]).connections().command(&command).start()
}

fn a_descendant_of_another_user_is_turned_away() {
    let as_nobody = "setpriv --reuid 65534 --clear-groups SUITE child original_refused PORT";
    let supervisor = scripted(&format!("{as_nobody} && exec SUITE child echo"));
    ask(supervisor.address());
    logs(&supervisor, "of user 65534 is no child of ours");
}

fn a_child_that_drops_its_rights_may_connect() {
    let supervisor = scripted("exec setpriv --reuid 65534 --clear-groups SUITE child original PORT 0");
    ask(supervisor.address());
    let load = Load::on(supervisor.address());
    for _ in 0..5 {
        supervisor.reload().expect(0);
    }
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
}
