//! The promise itself: under load, no client notices.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::load::Load;
use crate::harness::process::{self, census};
use crate::harness::supervisor::{serving, worker_pid};
use crate::harness::{PATIENCE, Setup, Supervisor, trials, until};

trials![
    a_hundred_reloads_with_listeners,
    a_hundred_reloads_with_connections,
    a_hundred_reloads_with_the_library_and_listeners,
    a_hundred_reloads_with_the_library_and_connections,
    reloads_of_a_daemon_that_knows_only_systemd,
    hup_in_quick_succession,
    kill_9_of_the_serving_child_with_connections,
    both_kinds_of_daemon_alternate,
];

/// Reloads as fast as `reload` returns, and counts everything before and after.
fn hundred_reloads(setup: Setup) {
    const RELOADS: u64 = 100;
    let supervisor = setup.start();
    let address = supervisor.address();
    // One reload first: what is made once and kept counts as the beginning.
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let before = supervisor.census();
    let child_before = census(supervisor.serving_pid());
    let load = Load::on(address);
    for _ in 0..RELOADS {
        supervisor.reload().expect(0);
    }
    let report = load.finish();
    report.expect_nothing_noticed();
    assert!(report.children.len() > 10, "the load hardly met the reloads: {report:?}");
    supervisor.wait_settled();
    same_census(&supervisor, &before);
    assert_eq!(child_before, census(supervisor.serving_pid()), "the child holds other things than its predecessor");
    let status = supervisor.status();
    assert_eq!(status["counters"]["reloads"], RELOADS + 1, "{status}");
    assert_eq!(status["counters"]["reloads_failed"], 0, "{status}");
    assert_eq!(status["counters"]["respawns"], 0, "{status}");
    if status["pass"] == "connections" {
        let counters = &status["counters"];
        assert_eq!(counters["accepted"].as_u64().unwrap(), report.connections, "{status}");
        let passed = counters["passed"].as_u64().unwrap() - counters["reclaimed"].as_u64().unwrap();
        assert_eq!(passed, report.connections, "each passed once, but for those taken back: {status}");
    }
}

#[track_caller]
fn same_census(supervisor: &Supervisor, before: &process::Census) {
    until("descriptors and processes are as they were", PATIENCE, || {
        let now = supervisor.census();
        if now == *before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
}

fn a_hundred_reloads_with_listeners() {
    hundred_reloads(Setup::alone());
}

fn a_hundred_reloads_with_connections() {
    hundred_reloads(Setup::alone().connections());
}

fn a_hundred_reloads_with_the_library_and_listeners() {
    hundred_reloads(Setup::alone().role("echo_library"));
}

fn a_hundred_reloads_with_the_library_and_connections() {
    hundred_reloads(Setup::alone().role("echo_library").connections());
}

fn reloads_of_a_daemon_that_knows_only_systemd() {
    let supervisor = Setup::alone().role("listener_plain").with("--ready alive:50ms").start();
    let load = Load::on(supervisor.address());
    for _ in 0..20 {
        supervisor.reload().expect(0);
    }
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
}

fn hup_in_quick_succession() {
    let supervisor = Setup::alone().connections().start();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let before = supervisor.census();
    let load = Load::on(supervisor.address());
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < Duration::from_secs(6) {
        supervisor.hup();
        sent += 1;
        // The answer of the instance paces the signals.
        supervisor.status();
    }
    load.finish().expect_nothing_noticed();
    let status = supervisor.wait_status("the last reload is done", |status| {
        let generations = status["generations"].as_array().unwrap();
        generations.len() == 1 && generations[0]["phase"] == "serving"
    });
    let reloads = status["counters"]["reloads"].as_u64().unwrap();
    assert!(reloads >= 5 && reloads <= sent + 1, "{reloads} reloads for {sent} signals");
    same_census(&supervisor, &before);
}

fn kill_9_of_the_serving_child_with_connections() {
    let supervisor = Setup::alone().connections().with("--respawn-delay 10ms..200ms").start();
    let address = supervisor.address();
    let load = Load::on(address);
    let mut killed = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        let status = supervisor.wait_status("a child serves that has taken connections", |status| {
            serving(status).is_some_and(|it| it["workers"][0]["connections_passed"].as_u64().is_some_and(|n| n > 100))
        });
        process::send(worker_pid(serving(&status).unwrap()), Signal::SIGKILL);
        killed += 1;
        supervisor.wait_status("the child was replaced", |status| status["counters"]["respawns"] == killed);
    }
    let report = load.finish();
    assert!(killed >= 3, "{killed} killed");
    // Those that a dead child had read are lost: at most all clients at each kill. No other, and none refused.
    let lost = report.failed();
    let most = killed * u64::try_from(crate::harness::load::CLIENTS).unwrap();
    assert!(lost <= most, "{lost} lost with {killed} kills: {report:?}");
    assert_eq!(report.failures.get(&crate::harness::Failure::Refused), None, "{report:?}");
    assert_eq!(report.failures.get(&crate::harness::Failure::TimedOut), None, "{report:?}");
    assert_eq!(report.failures.get(&crate::harness::Failure::Wrong), None, "{report:?}");
    let status = supervisor.status();
    let counters = &status["counters"];
    let net = counters["passed"].as_u64().unwrap() - counters["reclaimed"].as_u64().unwrap();
    assert_eq!(net, counters["accepted"].as_u64().unwrap(), "every connection is accounted for: {status}");
}

fn both_kinds_of_daemon_alternate() {
    let supervisor = Setup::alone().with("--ready alive:100ms").start();
    let load = Load::on(supervisor.address());
    for turn in 0..10 {
        supervisor.scene.role(["listener_plain", "echo", "echo_library"][turn % 3]);
        supervisor.reload().expect(0);
    }
    load.finish().expect_nothing_noticed();
}
