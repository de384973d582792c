//! That a restart costs the thousandth time what it costs the first time.
//!
//! In a network namespace of its own: elsewhere the closed connections of all others are in the table of sockets, which is read
//! at each start.

use std::time::{Duration, Instant};

use super::stage::{Proxy, Setup};
use crate::harness::guest::guests;
use crate::harness::process::{Census, census};
use crate::harness::{PATIENCE, until};

guests![
    "unshare --user --map-root-user --net ip link set lo up";
    restarts_on_one_port_leave_nothing_behind,
    restarts_with_overlap_leave_nothing_behind,
];

/// Until then caches fill and threads come.
const WARM: u32 = 10;
/// More than allocators keep for later, and less than a thousand restarts would lose by 2 KiB each.
const GROWTH_KIB: u64 = 2000;
/// Threads that wait for a disk come when there is something to do, and go when they have had nothing for a while.
const MORE_THREADS: u64 = 4;

/// A number of `/proc/PID/status`.
fn in_status(proxy: &Proxy, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

fn restarts_on_one_port_leave_nothing_behind() {
    restart_often(Setup::new().fixed());
}

fn restarts_with_overlap_leave_nothing_behind() {
    restart_often(Setup::new().with(&["--overlap"]));
}

/// `DEV_RESTARTS=1000 cargo test --test suite -- dev::restarts --nocapture` restarts it as often as that, and tells how long it took.
fn restart_often(setup: Setup) {
    let rounds = std::env::var("DEV_RESTARTS").map_or(30, |count| count.parse::<u32>().unwrap());
    let alone = "ip link set lo up && exec \"$@\"";
    let setup = setup.wrap(&["unshare", "--user", "--map-root-user", "--net", "sh", "-c", alone, "sh"]);
    let proxy = setup.with(&["--name", "often"]).start();
    let restart = || {
        let since = Instant::now();
        // Done once the new server has answered.
        proxy.scene.cli(&["reload", "often"]).expect(0);
        since.elapsed()
    };
    let first: Vec<_> = (0..WARM).map(|_| restart()).collect();
    let settled = |what: &str, holds: &dyn Fn(&Census) -> bool| {
        until(what, PATIENCE, || {
            let seen = census(proxy.pid());
            if proxy.servers().len() == 1 && holds(&seen) { Ok(seen) } else { Err(format!("{seen:?}")) }
        })
    };
    let before = settled("one server is left", &|seen| seen.children == 1);
    let (memory, threads) = (in_status(&proxy, "VmRSS"), in_status(&proxy, "Threads"));
    let last: Vec<_> = (0..rounds).map(|_| restart()).collect();
    settled(&format!("all is as before: {before:?}"), &|seen| *seen == before);
    let grown = in_status(&proxy, "VmRSS").saturating_sub(memory);
    let tail = &last[last.len().saturating_sub(10)..];
    let (begin, end) = (mean(&first), mean(tail));
    eprintln!("{rounds} restarts: {begin:?} each at first, {end:?} at last; {grown} KiB more than {memory}");
    assert!(in_status(&proxy, "Threads") <= threads + MORE_THREADS);
    assert!(grown < GROWTH_KIB, "{grown} KiB more than {memory}");
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap()
}
