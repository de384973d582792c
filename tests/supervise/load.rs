//! The promise itself: under load, no client notices.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::load::{Load, Report};
use crate::harness::process::{self, census};
use crate::harness::supervisor::{serving, worker_pid};
use crate::harness::{Failure, PATIENCE, Setup, Supervisor, trials, until};

trials![
    a_hundred_reloads_with_listeners,
    a_hundred_reloads_with_connections,
    a_hundred_reloads_with_the_library_and_listeners,
    a_hundred_reloads_with_the_library_and_connections,
    reloads_of_a_daemon_that_knows_only_systemd,
    hup_in_quick_succession,
    kill_9_of_the_serving_child_with_connections,
    kill_9_of_the_serving_child_with_listeners,
    reloads_good_and_bad_with_listeners,
    reloads_good_and_bad_with_connections,
    a_daemon_under_load,
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

/// Kills the serving child again and again; answers how often, and what the clients saw.
fn kill_under_load(supervisor: &Supervisor, worth_killing: impl Fn(&Value) -> bool) -> (u64, Report) {
    let load = Load::on(supervisor.address());
    let mut killed = 0;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(8) {
        let status = supervisor
            .wait_status("a child serves that is worth killing", |status| serving(status).is_some_and(&worth_killing));
        process::send(worker_pid(serving(&status).unwrap()), Signal::SIGKILL);
        killed += 1;
        supervisor.wait_status("the child was replaced", |status| status["counters"]["respawns"] == killed);
    }
    let report = load.finish();
    assert!(killed >= 3, "{killed} killed");
    // What a dead child had read is lost: at most one connection of each client at each kill. But nobody is
    // refused, nobody waits in vain, nobody gets what is another's.
    let most = killed * u64::try_from(crate::harness::load::CLIENTS).unwrap();
    assert!(report.failed() <= most, "{} lost with {killed} kills: {report:?}", report.failed());
    for failure in [Failure::Refused, Failure::TimedOut, Failure::Wrong, Failure::Other] {
        assert_eq!(report.failures.get(&failure), None, "{report:?}");
    }
    (killed, report)
}

fn kill_9_of_the_serving_child_with_connections() {
    let supervisor = Setup::alone().connections().with("--respawn-delay 10ms..200ms").start();
    let (_, report) = kill_under_load(&supervisor, |generation| {
        generation["workers"][0]["connections_passed"].as_u64().is_some_and(|count| count > 100)
    });
    let status = supervisor.status();
    let counters = &status["counters"];
    assert_eq!(counters["accepted"].as_u64().unwrap(), report.connections, "{status}");
    let net = counters["passed"].as_u64().unwrap() - counters["reclaimed"].as_u64().unwrap();
    assert_eq!(net, report.connections, "every connection is accounted for: {status}");
}

fn kill_9_of_the_serving_child_with_listeners() {
    let supervisor = Setup::alone().with("--respawn-delay 10ms..200ms").start();
    kill_under_load(&supervisor, |_| true);
}

/// Reloads of which most fail, each in another way, and requests that overtake each other.
fn reloads_good_and_bad(setup: Setup) {
    const ROLES: [&str; 6] =
        ["echo", "crash_before_ready 0 1", "never_ready", "echo_library", "crash_before_ready 60 2", "wrong_version"];
    let supervisor = setup.with("--ready channel --ready-timeout 200ms").start();
    let load = Load::on(supervisor.address());
    let mut requests = Vec::new();
    let begin = Instant::now();
    for role in ROLES.into_iter().cycle() {
        if begin.elapsed() > Duration::from_secs(8) {
            break;
        }
        supervisor.scene.role(role);
        requests.push(supervisor.begin_reload());
        supervisor.hup();
        requests.push(supervisor.begin_reload());
        // Their answers pace the requests; the next role begins when the last but one is answered.
        while requests.len() > 2 {
            requests.remove(0).finish(PATIENCE);
        }
    }
    requests.into_iter().for_each(|request| drop(request.finish(PATIENCE)));
    load.finish().expect_nothing_noticed();
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let status = supervisor.status();
    assert!(status["counters"]["reloads_failed"].as_u64() > Some(3), "{status}");
    assert_eq!(status["counters"]["respawns"], 0, "{status}");
}

fn reloads_good_and_bad_with_listeners() {
    reloads_good_and_bad(Setup::alone());
}

fn reloads_good_and_bad_with_connections() {
    reloads_good_and_bad(Setup::alone().connections());
}

fn a_daemon_under_load() {
    let daemon = Setup::alone().connections().daemon().start();
    let load = Load::on(daemon.address());
    for _ in 0..20 {
        daemon.reload().expect(0);
        daemon.signal(Signal::SIGUSR1);
    }
    load.finish().expect_nothing_noticed();
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
