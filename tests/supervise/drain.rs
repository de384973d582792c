//! How an old generation leaves.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::client::{Client, ask};
use crate::harness::process::{self, alive, stopped};
use crate::harness::{PATIENCE, Setup, eventually, trials, until};

trials![
    requests_in_progress_are_finished,
    children_without_a_channel_get_the_drain_signal,
    children_that_spoke_get_no_signal,
    the_drain_timeout_ends_with_term,
    the_drain_timeout_ends_with_kill_to_the_group,
    a_stopped_child_is_woken_to_be_ended,
    reloads_go_on_while_an_old_one_drains,
    a_grandchild_does_not_outlive_the_drain_timeout,
    workers_finish_after_their_leader_has_left,
];

fn requests_in_progress_are_finished() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--pass").with(pass).start();
        let old = supervisor.serving_pid();
        let mut idle = Client::connect(supervisor.address()).unwrap();
        idle.ask(Duration::ZERO, "before").unwrap();
        let mut busy = Client::connect(supervisor.address()).unwrap();
        busy.ask(Duration::ZERO, "before").unwrap();
        busy.send(Duration::from_millis(1500), "meanwhile").unwrap();
        supervisor.reload().expect(0);
        assert_ne!(ask(supervisor.address()).pid, old.as_raw());
        assert_eq!(busy.receive("meanwhile").unwrap().pid, old.as_raw());
        // Not only the request, the connection is kept until the client has done.
        assert_eq!(busy.ask(Duration::ZERO, "after").unwrap().pid, old.as_raw());
        assert_eq!(idle.ask(Duration::ZERO, "after").unwrap().pid, old.as_raw());
        let status = supervisor.status();
        assert_eq!(status["generations"][0]["phase"], "draining", "{status}");
        drop((idle, busy));
        supervisor.wait_settled();
        assert!(!alive(old));
    }
}

fn children_without_a_channel_get_the_drain_signal() {
    for signal in ["TERM", "USR2"] {
        let supervisor = Setup::alone().with("--ready alive:50ms --drain-signal").with(signal);
        let mark = supervisor.scene().path("mark").to_str().unwrap().to_owned();
        let body = "trap 'echo USR2 > \"$0\"; exit 0' USR2; trap 'echo TERM > \"$0\"; exit 0' TERM; while :; do sleep 0.05; done";
        let supervisor = supervisor.command(&["/bin/sh", "-c", body, &mark]).start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(supervisor.scene.read("mark"), format!("{signal}\n"));
    }
}

fn children_that_spoke_get_no_signal() {
    // Were it sent, its default action would cut the connection off.
    let supervisor = Setup::alone().with("--drain-signal INT").start();
    let mut busy = Client::connect(supervisor.address()).unwrap();
    let old = busy.ask(Duration::ZERO, "before").unwrap().pid;
    supervisor.reload().expect(0);
    assert_eq!(busy.ask(Duration::from_millis(300), "after").unwrap().pid, old);
}

fn the_drain_timeout_ends_with_term() {
    let supervisor = Setup::alone().with("--drain-timeout 400ms").start();
    let mut busy = Client::connect(supervisor.address()).unwrap();
    busy.ask(Duration::ZERO, "before").unwrap();
    let old = supervisor.serving_pid();
    let begin = Instant::now();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert!(begin.elapsed() >= Duration::from_millis(400) && !alive(old), "{:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(9), "TERM would have been enough: {:?}", begin.elapsed());
}

fn the_drain_timeout_ends_with_kill_to_the_group() {
    let supervisor = Setup::alone().role("ignores_drain").with("--drain-timeout 300ms").start();
    let old = supervisor.serving_pid();
    assert_eq!(supervisor.scene.processes().len(), 3, "supervisor, child and grandchild");
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    // Further reloads work meanwhile.
    supervisor.reload().expect(0);
    assert!(alive(old), "TERM is ignored, KILL comes 10 seconds later");
    supervisor.wait_settled();
    eventually("supervisor and one child are left", || supervisor.scene.processes().len() == 2);
}

fn a_stopped_child_is_woken_to_be_ended() {
    let supervisor = Setup::alone().with("--drain-timeout 300ms").start();
    let old = supervisor.serving_pid();
    process::send(old, Signal::SIGSTOP);
    eventually("the child is stopped", || stopped(old));
    supervisor.reload().expect(0);
    ask(supervisor.address());
    supervisor.wait_settled();
    assert!(!alive(old));
}

fn reloads_go_on_while_an_old_one_drains() {
    let supervisor = Setup::alone().connections().start();
    let mut held = Vec::new();
    for number in 0..5 {
        let mut client = Client::connect(supervisor.address()).unwrap();
        let answer = client.ask(Duration::ZERO, "begin").unwrap();
        held.push((client, answer.pid));
        assert_eq!(supervisor.status()["generations"].as_array().unwrap().len(), number + 1);
        supervisor.reload().expect(0);
    }
    for (client, pid) in &mut held {
        assert_eq!(client.ask(Duration::ZERO, "end").unwrap().pid, *pid);
    }
    drop(held);
    supervisor.wait_settled();
}

fn a_grandchild_does_not_outlive_the_drain_timeout() {
    let supervisor = Setup::alone().role("grandchild").with("--drain-timeout 300ms").start();
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    until("the group is gone", PATIENCE, || {
        let left = supervisor.scene.processes();
        if left.len() == 2 { Ok(()) } else { Err(left.iter().map(|&pid| process::describe(pid)).collect()) }
    });
}

fn workers_finish_after_their_leader_has_left() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().role("process_per_connection").with("--pass").with(pass).start();
        let mut client = Client::connect(supervisor.address()).unwrap();
        let worker = client.ask(Duration::ZERO, "before").unwrap().pid;
        let leader = supervisor.serving_pid();
        assert_ne!(worker, leader.as_raw());
        supervisor.reload().expect(0);
        eventually("the leader has left", || !alive(leader));
        assert_eq!(client.ask(Duration::from_millis(300), "after").unwrap().pid, worker);
        let status = supervisor.status();
        assert_eq!(status["generations"][0]["phase"], "draining", "{status}");
        drop(client);
        supervisor.wait_settled();
        // The same at a stop.
        let mut client = Client::connect(supervisor.address()).unwrap();
        client.ask(Duration::ZERO, "before").unwrap();
        let leader = supervisor.serving_pid();
        let stop = supervisor.scene.begin(&["stop", "t"]);
        eventually("the leader has left", || !alive(leader));
        client.ask(Duration::from_millis(300), "after").unwrap();
        drop(client);
        stop.finish(PATIENCE).expect(0);
    }
}
