//! How the supervisor itself ends.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::client::Client;
use crate::harness::process::{self, Exit, alive};
use crate::harness::{Failure, PATIENCE, Setup, Supervisor, eventually, trials};

trials![
    each_stop_signal_drains_and_exits_0,
    the_listeners_close_before_the_drain_ends,
    the_second_signal_terminates,
    the_third_signal_kills,
    the_stop_timeout_ends_the_drain,
    stop_waits_until_it_is_over,
    stop_says_when_children_were_killed,
    a_stop_during_a_reload_ends_both_generations,
    a_stop_before_the_first_child_is_ready,
    a_stop_while_an_older_generation_drains,
    a_stop_during_the_back_off,
    held_connections_are_served_before_the_end,
    a_stop_leaves_no_grandchild,
    a_stop_after_a_failed_reload_is_like_any_other,
];

fn each_stop_signal_drains_and_exits_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        for pass in ["listener", "connections"] {
            let mut supervisor = Setup::alone().with("--pass").with(pass).start();
            let mut client = Client::connect(supervisor.address()).unwrap();
            client.ask(Duration::ZERO, "before").unwrap();
            client.send(Duration::from_millis(300), "meanwhile").unwrap();
            supervisor.signal(signal);
            client.receive("meanwhile").unwrap();
            client.ask(Duration::ZERO, "after").unwrap();
            drop(client);
            assert_eq!(supervisor.wait_exit(), Exit::Code(0), "after {signal}");
            assert!(supervisor.scene.processes().is_empty());
        }
    }
}

/// A supervisor whose child is kept draining by a connection, and that connection.
fn kept_busy(setup: Setup) -> (Supervisor, Client) {
    let supervisor = setup.start();
    let mut client = Client::connect(supervisor.address()).unwrap();
    client.ask(Duration::ZERO, "keep").unwrap();
    (supervisor, client)
}

fn the_listeners_close_before_the_drain_ends() {
    for pass in ["listener", "connections"] {
        let (mut supervisor, mut client) = kept_busy(Setup::alone().with("--pass").with(pass));
        let address = supervisor.address();
        supervisor.signal(Signal::SIGTERM);
        eventually("new connections are refused", || {
            TcpStream::connect(address).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        assert!(supervisor.ended().is_none(), "it did not wait for the child");
        client.ask(Duration::ZERO, "still").unwrap();
        drop(client);
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    }
}

/// Waits until the stop has begun, which closes the listeners.
fn stopping(supervisor: &Supervisor, address: std::net::SocketAddr) {
    eventually("the stop has begun", || TcpStream::connect(address).is_err());
    assert!(alive(supervisor.pid()));
}

fn the_second_signal_terminates() {
    let (mut supervisor, mut client) = kept_busy(Setup::alone());
    let address = supervisor.address();
    supervisor.signal(Signal::SIGTERM);
    stopping(&supervisor, address);
    client.ask(Duration::ZERO, "still").unwrap();
    supervisor.signal(Signal::SIGINT);
    let begin = Instant::now();
    supervisor.wait_exit();
    assert!(begin.elapsed() < Duration::from_secs(8), "it took {:?}", begin.elapsed());
    assert_eq!(client.receive("anything"), Err(Failure::Unanswered));
}

fn the_third_signal_kills() {
    let setup = Setup::alone().role("ignores_drain");
    let mut supervisor = setup.start();
    let address = supervisor.address();
    supervisor.signal(Signal::SIGINT);
    stopping(&supervisor, address);
    supervisor.signal(Signal::SIGINT);
    // TERM is ignored; that it was sent shows in nothing but the log, so give it a status to pass by.
    let _ = supervisor.try_status();
    assert!(supervisor.ended().is_none());
    supervisor.signal(Signal::SIGINT);
    let begin = Instant::now();
    assert_eq!(supervisor.wait_exit(), Exit::Code(1), "children were killed");
    assert!(begin.elapsed() < Duration::from_secs(8), "it took {:?}", begin.elapsed());
    eventually("the group is gone", || supervisor.scene.processes().is_empty());
}

fn the_stop_timeout_ends_the_drain() {
    let (mut supervisor, _client) = kept_busy(Setup::alone().with("--stop-timeout 400ms"));
    let begin = Instant::now();
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_exit();
    assert!(begin.elapsed() >= Duration::from_millis(400), "it took {:?}", begin.elapsed());
    // With one that ignores TERM it takes ten seconds more, and says so.
    let mut supervisor = Setup::alone().role("ignores_drain").with("--stop-timeout 100ms").start();
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(1));
}

fn stop_waits_until_it_is_over() {
    let mut supervisor = Setup::alone().role("slow_drain 700").start();
    let ran = supervisor.scene.cli(&["stop", "t"]).expect(0);
    assert!(ran.took >= Duration::from_millis(700), "{ran:?}");
    assert_eq!(supervisor.ended(), Some(Exit::Code(0)), "stop returned before the end");
    assert!(supervisor.scene.processes().is_empty());
    supervisor.scene.cli(&["stop", "t"]).expect(1).complains();
}

fn stop_says_when_children_were_killed() {
    let mut supervisor = Setup::alone().role("ignores_drain").with("--stop-timeout 100ms").start();
    supervisor.scene.cli(&["stop", "t"]).expect(1).complains();
    assert_eq!(supervisor.wait_exit(), Exit::Code(1));
}

fn a_stop_during_a_reload_ends_both_generations() {
    for role in ["slow_start 1500", "never_ready"] {
        let mut supervisor = Setup::alone().start();
        supervisor.scene.role(role);
        let reload = supervisor.begin_reload();
        supervisor.wait_status("a generation starts", |status| status["generations"].as_array().unwrap().len() == 2);
        supervisor.signal(Signal::SIGTERM);
        let begin = Instant::now();
        assert_eq!(supervisor.wait_exit(), Exit::Code(0), "{role}");
        assert!(begin.elapsed() < Duration::from_secs(15), "it took {:?}", begin.elapsed());
        reload.finish(PATIENCE).expect(1).complains();
        assert!(supervisor.scene.processes().is_empty());
    }
}

fn a_stop_before_the_first_child_is_ready() {
    for role in ["slow_start 3000", "never_ready"] {
        let mut supervisor = Setup::alone().role(role).launch();
        crate::harness::until("there is a status", PATIENCE, || supervisor.try_status());
        supervisor.signal(Signal::SIGTERM);
        let begin = Instant::now();
        // Asked to end before it began: that is no failure of the child.
        supervisor.wait_exit();
        assert!(begin.elapsed() < Duration::from_secs(15), "it took {:?}", begin.elapsed());
        assert!(supervisor.scene.processes().is_empty());
    }
}

fn a_stop_while_an_older_generation_drains() {
    let (mut supervisor, mut client) = kept_busy(Setup::alone());
    supervisor.reload().expect(0);
    supervisor.signal(Signal::SIGTERM);
    client.ask(Duration::from_millis(300), "after").unwrap();
    drop(client);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
}

fn a_stop_during_the_back_off() {
    let mut supervisor = Setup::alone().with("--respawn-delay 60s..60s").start();
    // The first respawn may come at once; it fails, and the next one waits.
    supervisor.scene.role("crash_before_ready 0 1");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    supervisor.signal(Signal::SIGTERM);
    let begin = Instant::now();
    supervisor.wait_exit();
    assert!(begin.elapsed() < Duration::from_secs(15), "it took {:?}", begin.elapsed());
}

fn held_connections_are_served_before_the_end() {
    let mut supervisor = Setup::alone().connections().role("slow_start 1").start();
    let address = supervisor.address();
    let clients: Vec<_> = (0..50)
        .map(|number| {
            let mut client = Client::connect(address).unwrap();
            client.send(Duration::from_millis(200), &number.to_string()).unwrap();
            client
        })
        .collect();
    supervisor.signal(Signal::SIGTERM);
    for (number, mut client) in clients.into_iter().enumerate() {
        client.receive(&number.to_string()).unwrap_or_else(|failure| panic!("client {number}: {failure:?}"));
    }
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
}

fn a_stop_leaves_no_grandchild() {
    let mut supervisor = Setup::alone().role("grandchild").with("--stop-timeout 1s").start();
    assert_eq!(supervisor.scene.processes().len(), 3);
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_exit();
    eventually("the group is gone", || supervisor.scene.processes().is_empty());
}

fn a_stop_after_a_failed_reload_is_like_any_other() {
    for pass in ["listener", "connections"] {
        let mut supervisor = Setup::alone().with("--ready channel --ready-timeout 100ms --pass").with(pass).start();
        for role in ["crash_before_ready 0 1", "never_ready", "exec /no/such/program"] {
            supervisor.scene.role(role);
            supervisor.reload().expect(1);
        }
        supervisor.signal(Signal::SIGTERM);
        let begin = Instant::now();
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
        assert!(begin.elapsed() < Duration::from_secs(15), "it took {:?}", begin.elapsed());
    }
}
