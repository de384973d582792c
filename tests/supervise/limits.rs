//! Where the machine gives no more: descriptors, processes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::client::{Client, ask};
use crate::harness::process::{self, processor_time};
use crate::harness::ran::Running;
use crate::harness::scene::{binary, suite};
use crate::harness::{Failure, PATIENCE, Scene, Setup, eventually, trials, trials_of_root};

trials![
    short_of_descriptors_it_waits_and_goes_on,
    short_of_descriptors_it_can_still_be_asked,
    our_soft_limit_is_raised_and_the_childs_is_the_callers,
    a_reload_while_short_of_descriptors_loses_nothing,
    a_child_short_of_descriptors_loses_no_connection,
];
trials_of_root![
    a_fork_that_fails_leaves_the_old_one_serving,
    too_many_descriptors_in_flight_are_a_full_channel,
    too_many_descriptors_in_flight_and_none_free_are_no_end,
];

/// Trials that need another user, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

/// Clients that ask at once, each of which goes as soon as it has its answer.
fn crowd(address: SocketAddr, count: usize, hold: Duration) -> Vec<JoinHandle<Result<(), Failure>>> {
    let client = |number: usize| {
        let mut client = Client::connect(address).unwrap();
        client.send(hold, &number.to_string()).unwrap();
        std::thread::spawn(move || client.receive(&number.to_string()).map(drop))
    };
    (0..count).map(client).collect()
}

#[track_caller]
fn all_answered(crowd: Vec<JoinHandle<Result<(), Failure>>>) {
    let failures: Vec<_> = crowd.into_iter().filter_map(|client| client.join().unwrap().err()).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

fn short_of_descriptors_it_waits_and_goes_on() {
    let setup = Setup::alone().connections().wrap("nofile 64").with("--respawn-delay 10ms..1s");
    let supervisor = setup.start();
    let address = supervisor.address();
    supervisor.scene.role("one_by_one 3000");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let (begin, before) = (Instant::now(), processor_time(supervisor.pid()));
    // Whoever waits for the slow start waits for a supervisor that has no descriptors left.
    all_answered(crowd(address, 150, Duration::ZERO));
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_millis(800), "it spins: {used:?} of processor time");
    let (log, seconds) = (supervisor.scene.read("stderr"), begin.elapsed().as_secs());
    let told = log.matches("cannot accept on tcp:").count() as u64;
    assert!((1..=seconds + 1).contains(&told), "told {told} times in {seconds} s");
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    ask(address);
}

fn short_of_descriptors_it_can_still_be_asked() {
    let setup = Setup::alone().connections().role("stops_reading").wrap("nofile 64");
    let supervisor = setup.start();
    let crowd = crowd(supervisor.address(), 150, Duration::ZERO);
    // The child will never serve them; only a request can help.
    for _ in 0..5 {
        supervisor.status();
    }
    supervisor.scene.role("one_by_one 1");
    supervisor.reload().expect(0);
    all_answered(crowd);
}

fn our_soft_limit_is_raised_and_the_childs_is_the_callers() {
    let setup = Setup::alone().wrap("nofile_soft 100");
    let file = setup.scene().path("probe.json");
    let supervisor = setup.role(&format!("probe {}", file.display())).start();
    let soft = |limits: &str| {
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    let own = fs::read_to_string(format!("/proc/{}/limits", supervisor.pid())).unwrap();
    let line = own.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "soft is hard: {line}");
    let probe: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(soft(probe["limits"].as_str().unwrap()), "100");
}

fn a_reload_while_short_of_descriptors_loses_nothing() {
    let setup = Setup::alone().connections().wrap("nofile 64").with("--respawn-delay 10ms..1s");
    let supervisor = setup.start();
    let address = supervisor.address();
    supervisor.scene.role("one_by_one 1500");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let crowd = crowd(address, 100, Duration::ZERO);
    // Whatever becomes of this one, nothing is lost and the instance lives.
    supervisor.hup();
    all_answered(crowd);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    ask(address);
}

/// A supervisor to be of a user without rights, from copies of both programs that this user may execute.
pub(super) fn of_user(user: u32, surroundings: &str) -> Setup {
    let scene = Scene::new();
    scene.open_to_all();
    chown(scene.path("run"), Some(user), Some(user)).unwrap();
    let (program, child) = (scene.copy(binary(), "program"), scene.copy(suite().as_ref(), "child"));
    let mut command = scene.child();
    command[0] = child.to_str().unwrap().to_owned();
    let setup = scene.setup().wrap(surroundings).wrap(&format!("user {user}"));
    setup.program(&program).command(&command)
}

/// The kernel lets a user have only so many descriptors in flight, as many as it may have open.
fn too_many_descriptors_in_flight_are_a_full_channel() {
    let setup = of_user(61_235, "nofile 100").connections().role("stops_reading");
    let supervisor = setup.with("--respawn-delay 10ms..1s").start();
    let before = processor_time(supervisor.pid());
    let crowd = crowd(supervisor.address(), 300, Duration::ZERO);
    supervisor.wait_status("they are taken in as far as there is room", |status| {
        status["counters"]["accepted"].as_u64().is_some_and(|count| count > 30)
    });
    supervisor.scene.role("one_by_one 1");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    all_answered(crowd);
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_secs(2), "{used:?} of processor time");
}

/// A record's descriptors are counted when it has gone, so there may be more in flight than are allowed; and what was taken back
/// one by one has left no descriptors for a record of many.
fn too_many_descriptors_in_flight_and_none_free_are_no_end() {
    let setup = of_user(61_236, "nofile 100").connections().role("stops_reading");
    let supervisor = setup.with("--respawn-delay 10ms..1s").start();
    let accepted = |at_least: u64| {
        supervisor.wait_status("so many are accepted", |status| {
            status["counters"]["accepted"].as_u64().is_some_and(|count| count >= at_least)
        });
    };
    let mut clients = Vec::new();
    for count in 1..=10 {
        clients.extend(crowd(supervisor.address(), 1, Duration::ZERO));
        accepted(count);
    }
    // One that stands still cannot be asked who and where it is.
    let (pid, address) = (supervisor.pid(), supervisor.address());
    process::send(pid, Signal::SIGSTOP);
    eventually("it stands still", || process::stopped(pid));
    clients.extend(crowd(address, 300, Duration::ZERO));
    process::send(pid, Signal::SIGCONT);
    supervisor.wait_status("no descriptor is left", |status| status["listeners"][0]["held"].as_u64() >= Some(40));
    supervisor.scene.role("one_by_one 1");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    all_answered(clients);
}

fn a_fork_that_fails_leaves_the_old_one_serving() {
    const USER: u32 = 61_234;
    let supervisor = of_user(USER, "").start();
    let old = supervisor.serving_pid();
    let limit = |processes: u64| {
        let words = format!("user {USER} processes {}:{processes}", supervisor.pid());
        let mut command = Command::new(suite());
        command.args(["child", "wrap"]).args(words.split(' ')).args(["--", "true"]);
        Running::start(supervisor.scene.mark(&mut command)).finish(PATIENCE).expect(0);
    };
    limit(1);
    let ran = supervisor.reload().expect(1).complains();
    ran.says("(os error 11)");
    assert_eq!(ask(supervisor.address()).pid, old.as_raw());
    limit(10_000);
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_ne!(ask(supervisor.address()).pid, old.as_raw());
    // A crash while no process can be made is tried again until one can.
    limit(1);
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    limit(10_000);
    crate::harness::until("a child serves again", PATIENCE, || {
        let status = supervisor.try_status()?;
        crate::harness::supervisor::serving(&status).map(drop).ok_or_else(|| status.to_string())
    });
    ask(supervisor.address());
}

fn a_child_short_of_descriptors_loses_no_connection() {
    let setup = Setup::alone().connections().role("echo_library");
    let supervisor = setup.wrap("nofile_soft 40").with("--respawn-delay 10ms..50ms").start();
    let address = supervisor.address();
    // What does not fit stays in its channel until there is room.
    all_answered(crowd(address, 80, Duration::from_millis(50)));
    ask(address);
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    ask(address);
    let left = process::descriptors_of(supervisor.serving_pid());
    assert!(left.len() < 12, "it keeps what it could not take: {left:?}");
}
