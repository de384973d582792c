//! Listeners that a child shuts down, and how they are watched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::client::{Client, ask};
use crate::harness::process::{Exit, processor_time};
use crate::harness::unix::{ask_unix, try_ask_unix, unix};
use crate::harness::{PATIENCE, Setup, eventually, trials};

trials![
    a_unix_listener_that_is_shut_down_is_replaced,
    a_replaced_listener_is_served_even_if_the_reload_fails_at_first,
    a_listener_that_is_shut_down_at_a_given_port_listens_again,
    an_inherited_listener_that_is_shut_down_listens_again,
    an_abstract_listener_that_is_shut_down_is_told_of_once,
    a_child_that_shuts_down_all_the_time_keeps_nobody_busy,
    connections_to_a_lent_listener_wake_nobody,
];

fn a_unix_listener_that_is_shut_down_is_replaced() {
    let setup = Setup::alone().role("shuts_listener_down");
    let endpoint = unix(setup.scene(), "s");
    let mut supervisor = setup.listen(&[&endpoint]).start();
    let before = fs::metadata(supervisor.scene.path("s")).unwrap().ino();
    ask_unix(&endpoint);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    // The second one has the socket that the first one has shut down, so there is a third one.
    supervisor.wait_status("a generation with the new socket serves alone", |status| {
        let generations = status["generations"].as_array().unwrap();
        generations.len() == 1 && generations[0]["number"] == 3 && generations[0]["phase"] == "serving"
    });
    assert_ne!(fs::metadata(supervisor.scene.path("s")).unwrap().ino(), before);
    assert_eq!(ask_unix(&endpoint), 3);
    supervisor.reload().expect(0);
    assert_eq!(ask_unix(&endpoint), 4);
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(!supervisor.scene.path("s").exists());
}

fn a_replaced_listener_is_served_even_if_the_reload_fails_at_first() {
    let setup = Setup::alone().role("shuts_listener_down");
    let endpoint = unix(setup.scene(), "s");
    let supervisor = setup.listen(&[&endpoint]).start();
    ask_unix(&endpoint);
    supervisor.scene.role("slow_start 1000");
    let reload = supervisor.begin_reload();
    supervisor.wait_status("the second one starts", |status| status["generations"].as_array().unwrap().len() == 2);
    thread::sleep(Duration::from_millis(500));
    // It knows by now what it is.
    supervisor.scene.role("crash_before_ready 0 3");
    reload.finish(PATIENCE).expect(0);
    supervisor.wait_status("the reload has failed twice", |status| {
        status["counters"]["reloads_failed"].as_u64().unwrap() >= 2
    });
    supervisor.scene.role("echo");
    eventually("a generation with the new socket serves", || try_ask_unix(&endpoint).is_ok_and(|it| it >= 5));
    supervisor.wait_settled();
    let generation = supervisor.generation();
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(supervisor.generation(), generation, "there was nothing left to reload for");
}

fn a_listener_that_is_shut_down_at_a_given_port_listens_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let supervisor = Setup::alone().role("shuts_listener_down").listen(&[&format!("127.0.0.1:{port}")]).start();
    let address = supervisor.address();
    for _ in 0..3 {
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        eventually("it listens again", || {
            Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
        });
    }
    let told = supervisor.scene.read("stderr").matches("was shut down by a child; it listens again").count();
    assert!((1..=3).contains(&told), "told {told} times");
}

fn an_inherited_listener_that_is_shut_down_listens_again() {
    let supervisor = Setup::alone().role("shuts_listener_down").wrap("tcp4 7").listen(&["fd:7"]).start();
    let address = supervisor.address();
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    eventually("it listens again", || {
        Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
    });
}

/// Its name cannot be had again before everybody has closed it, and we do not.
fn an_abstract_listener_that_is_shut_down_is_told_of_once() {
    let name = format!("@sp-shut-{}", std::process::id());
    let supervisor =
        Setup::alone().role("shuts_listener_down").with("--ready alive:200ms").listen(&["127.0.0.1:0", &name]).start();
    let address = supervisor.listener(0)["address"].as_str().unwrap().parse().unwrap();
    // This one would look for connections where none can come from any more.
    supervisor.scene.role("listener_plain");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    thread::sleep(Duration::from_millis(2500));
    let told = supervisor.scene.read("stderr").matches("cannot listen again").count();
    assert_eq!(told, 1);
    ask(address);
}

fn a_child_that_shuts_down_all_the_time_keeps_nobody_busy() {
    let supervisor = Setup::alone().role("shuts_listener_down_for 3000").start();
    let address = supervisor.address();
    let before = processor_time(supervisor.pid());
    eventually("it listens again", || {
        Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
    });
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_millis(600), "{used:?} of processor time");
    let told = supervisor.scene.read("stderr").matches("it listens again").count();
    assert!((2..=6).contains(&told), "told {told} times");
}

/// The supervisor sleeps through all of them: nothing wakes it, so nothing is asked of the kernel.
fn connections_to_a_lent_listener_wake_nobody() {
    let setup = Setup::alone();
    let endpoint = unix(setup.scene(), "s");
    let supervisor = setup.listen(&["127.0.0.1:0", &endpoint]).start();
    let address = supervisor.listener(0)["address"].as_str().unwrap().parse().unwrap();
    eventually("its clients have been let go", || supervisor.control_clients() == 0);
    let woken = || {
        let status = fs::read_to_string(format!("/proc/{}/status", supervisor.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    thread::sleep(Duration::from_millis(200));
    let before = woken();
    for _ in 0..200 {
        ask(address);
        ask_unix(&endpoint);
    }
    let times = woken() - before;
    assert!(times < 5, "woken {times} times by 400 connections");
}
