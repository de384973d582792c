//! The supervisor is killed: what becomes of the children, and how soon another can take over.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::client::{Client, ask};
use crate::harness::process::{self, alive};
use crate::harness::{PATIENCE, Setup, eventually, trials, until};

trials![
    children_with_a_channel_drain,
    children_without_a_channel_get_the_drain_signal,
    another_supervisor_binds_at_once,
    a_child_that_writes_survives_the_death_of_its_reader,
    a_child_that_starts_when_the_supervisor_dies_does_not_stay,
    kept_orphans_serve_on,
];

fn children_with_a_channel_drain() {
    for pass in ["listener", "connections"] {
        let mut supervisor = Setup::alone().with("--pass").with(pass).start();
        let child = supervisor.serving_pid();
        let mut client = Client::connect(supervisor.address()).unwrap();
        client.ask(Duration::ZERO, "before").unwrap();
        client.send(Duration::from_millis(300), "meanwhile").unwrap();
        supervisor.kill();
        client.receive("meanwhile").unwrap();
        client.ask(Duration::ZERO, "after").unwrap();
        assert!(alive(child));
        drop(client);
        eventually("the child has drained", || !alive(child));
    }
}

fn children_without_a_channel_get_the_drain_signal() {
    let mut supervisor = Setup::alone().role("listener_plain").with("--ready alive:50ms").start();
    let child = supervisor.serving_pid();
    let mut client = Client::connect(supervisor.address()).unwrap();
    client.ask(Duration::ZERO, "before").unwrap();
    supervisor.kill();
    client.ask(Duration::from_millis(100), "after").unwrap();
    drop(client);
    eventually("the child has ended", || !alive(child));
}

fn another_supervisor_binds_at_once() {
    for pass in ["listener", "connections"] {
        let mut first = Setup::alone().with("--pass").with(pass).with_path("--pid-file", "pid").start();
        let scene = std::sync::Arc::clone(&first.scene);
        let address = first.address();
        let mut client = Client::connect(address).unwrap();
        let old = client.ask(Duration::ZERO, "before").unwrap().pid;
        first.kill();
        // The listener of pass listener closes when the child has seen its end of file.
        until("the address is free", PATIENCE, || match TcpStream::connect(address) {
            Err(_) => Ok(()),
            Ok(_) => Err("somebody listens".to_owned()),
        });
        let second = scene
            .setup()
            .listen(&[&address.to_string()])
            .with("--pass")
            .with(pass)
            .with_path("--pid-file", "pid")
            .start();
        assert_ne!(ask(address).pid, old);
        assert_eq!(client.ask(Duration::ZERO, "after").unwrap().pid, old);
        drop(second);
    }
}

fn a_child_that_writes_survives_the_death_of_its_reader() {
    let mut supervisor = Setup::alone().role("prints while_serving 200000").start();
    let child = supervisor.serving_pid();
    let mut client = Client::connect(supervisor.address()).unwrap();
    client.ask(Duration::ZERO, "before").unwrap();
    supervisor.kill();
    client.ask(Duration::from_millis(500), "after").unwrap();
    assert!(alive(child));
    drop(client);
    eventually("the child has drained", || !alive(child));
}

fn a_child_that_starts_when_the_supervisor_dies_does_not_stay() {
    let mut supervisor = Setup::alone().start();
    supervisor.scene.role("never_ready");
    let reload = supervisor.begin_reload();
    supervisor.wait_status("a generation starts", |status| status["generations"].as_array().unwrap().len() == 2);
    supervisor.kill();
    reload.finish(PATIENCE).expect(1).complains();
    // `never_ready` has greeted, and then looks at nothing: an end of file is all it gets.
    let scene = std::sync::Arc::clone(&supervisor.scene);
    eventually("the serving child has drained", || scene.processes().len() <= 1);
    scene.clear();
}

fn kept_orphans_serve_on() {
    let setup = Setup::alone().with("--orphans keep").with_path("--child-log", "child-log");
    let mut supervisor = setup.start();
    let (address, child) = (supervisor.address(), supervisor.serving_pid());
    supervisor.kill();
    for _ in 0..10 {
        assert_eq!(ask(address).pid, child.as_raw());
    }
    assert!(alive(child));
    process::send(child, Signal::SIGKILL);
    eventually("the child is gone", || !alive(child));
    // The same for one that knows no channel.
    let setup = Setup::alone().with("--orphans keep --ready alive:50ms").role("listener_plain");
    let mut supervisor = setup.with_path("--child-log", "child-log").start();
    let (address, child) = (supervisor.address(), supervisor.serving_pid());
    supervisor.kill();
    assert_eq!(ask(address).pid, child.as_raw());
    // A stop is a stop, keep or not.
    supervisor.scene.clear();
    let setup = Setup::alone().with("--orphans keep").with_path("--child-log", "child-log");
    drop(setup.start());
}
