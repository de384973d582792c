//! Where the machine gives no more: descriptors, processes.

use std::fs;
use std::os::unix::fs::chown;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::client::{Client, ask};
use crate::harness::process::{self, processor_time};
use crate::harness::scene::{binary, suite};
use crate::harness::{Failure, PATIENCE, Scene, Setup, trials, trials_of_root};

trials![
    short_of_descriptors_it_waits_and_goes_on,
    our_soft_limit_is_raised_and_the_childs_is_the_callers,
    a_reload_while_short_of_descriptors_loses_nothing,
    a_child_short_of_descriptors_mixes_no_connections_up,
];
trials_of_root![a_fork_that_fails_leaves_the_old_one_serving, too_many_descriptors_in_flight_are_a_full_channel,];

/// Trials that need another user, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

fn short_of_descriptors_it_waits_and_goes_on() {
    let setup = Setup::alone().connections().wrap("nofile 64").with("--respawn-delay 10ms..1s");
    let supervisor = setup.start();
    let address = supervisor.address();
    supervisor.scene.role("slow_start 3000");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let before = processor_time(supervisor.pid());
    let mut clients: Vec<_> = (0..150)
        .map(|number| {
            let mut client = Client::connect(address).unwrap();
            client.send(Duration::ZERO, &number.to_string()).unwrap();
            client
        })
        .collect();
    // Whoever waits for the first answer has waited for the slow start, short of descriptors all along.
    for (number, client) in clients.iter_mut().enumerate() {
        client.receive(&number.to_string()).unwrap_or_else(|failure| panic!("client {number}: {failure:?}"));
    }
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_millis(600), "it spins: {used:?} of processor time");
    drop(clients);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    ask(address);
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
    let setup = Setup::alone().connections().wrap("nofile 40").role("stops_reading").with("--respawn-delay 10ms..1s");
    let supervisor = setup.start();
    let address = supervisor.address();
    supervisor.scene.role("slow_start 1500");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let mut clients: Vec<_> = (0..60)
        .map(|number| {
            let mut client = Client::connect(address).unwrap();
            client.send(Duration::ZERO, &number.to_string()).unwrap();
            client
        })
        .collect();
    // Whatever becomes of this one, nothing is lost and the instance lives.
    supervisor.hup();
    for (number, client) in clients.iter_mut().enumerate() {
        client.receive(&number.to_string()).unwrap_or_else(|failure| panic!("client {number}: {failure:?}"));
    }
    drop(clients);
    supervisor.scene.role("echo");
    supervisor.wait_settled();
    supervisor.reload().expect(0);
}

/// A supervisor to be of a user without rights, from copies of both programs that this user may execute.
fn of_user(user: u32, surroundings: &str) -> Setup {
    let scene = Scene::new();
    scene.open_to_all();
    chown(scene.path("run"), Some(user), Some(user)).unwrap();
    let (program, child) = (scene.path("program"), scene.path("child"));
    fs::copy(binary(), &program).unwrap();
    fs::copy(suite(), &child).unwrap();
    let mut command = scene.child();
    command[0] = child.to_str().unwrap().to_owned();
    let setup = scene.setup().wrap(surroundings).wrap(&format!("user {user}"));
    setup.program(&program).command(&command)
}

/// The kernel lets a user have only so many descriptors in flight, as many as it may have open.
fn too_many_descriptors_in_flight_are_a_full_channel() {
    const CLIENTS: usize = 300;
    let setup = of_user(61_235, "nofile 100").connections().role("stops_reading");
    let supervisor = setup.with("--respawn-delay 10ms..1s").start();
    let address = supervisor.address();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = Client::connect(address).unwrap();
            client.send(Duration::ZERO, &number.to_string()).unwrap();
            client
        })
        .collect();
    supervisor.wait_status("the limit is reached", |status| {
        status["counters"]["accepted"].as_u64().is_some_and(|count| count > 100)
    });
    let before = processor_time(supervisor.pid());
    supervisor.scene.role("echo");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.receive(&number.to_string());
        let place = answer.unwrap_or_else(|failure| panic!("client {number}: {failure:?}")).place;
        assert_eq!(usize::try_from(place).unwrap(), number + 1, "not in order");
    }
    let used = processor_time(supervisor.pid()) - before;
    assert!(used < Duration::from_secs(2), "{used:?} of processor time");
}

fn a_fork_that_fails_leaves_the_old_one_serving() {
    const USER: u32 = 61_234;
    let supervisor = of_user(USER, "").start();
    let old = supervisor.serving_pid();
    crate::sys::limit_processes(supervisor.pid(), 1);
    let ran = supervisor.reload().expect(1).complains();
    ran.says("(os error 11)");
    assert_eq!(ask(supervisor.address()).pid, old.as_raw());
    crate::sys::limit_processes(supervisor.pid(), 10_000);
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_ne!(ask(supervisor.address()).pid, old.as_raw());
    // A crash while no process can be made is tried again until one can.
    crate::sys::limit_processes(supervisor.pid(), 1);
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    crate::sys::limit_processes(supervisor.pid(), 10_000);
    crate::harness::until("a child serves again", PATIENCE, || {
        let status = supervisor.try_status()?;
        crate::harness::supervisor::serving(&status).map(drop).ok_or_else(|| status.to_string())
    });
    ask(supervisor.address());
}

fn a_child_short_of_descriptors_mixes_no_connections_up() {
    let setup = Setup::alone().connections().role("echo_library");
    let supervisor = setup.wrap("nofile_soft 24").with("--respawn-delay 10ms..50ms").start();
    let address = supervisor.address();
    let mut clients: Vec<_> = (0..60)
        .map(|number| {
            let mut client = Client::connect(address).unwrap();
            client.send(Duration::from_millis(100), &number.to_string()).unwrap();
            client
        })
        .collect();
    let mut answered = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        match client.receive(&number.to_string()) {
            Ok(_) => answered += 1,
            // One that did not fit is closed; that is a loss, but no confusion.
            Err(Failure::Reset | Failure::Unanswered) => {}
            Err(failure) => panic!("client {number}: {failure:?}"),
        }
    }
    assert!(answered > 0);
    drop(clients);
    ask(address);
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    ask(address);
    let left = process::descriptors_of(supervisor.serving_pid());
    assert!(left.len() < 12, "it keeps what it could not take: {left:?}");
}
