//! A serving child that dies: respawn with back-off, and nobody is refused meanwhile.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::client::{Client, ask};
use crate::harness::process::{self, Exit, processor_time};
use crate::harness::{Setup, eventually, trials};

trials![
    connections_wait_for_the_respawn,
    the_back_off_is_bounded_both_ways,
    a_good_run_resets_the_back_off,
    max_respawns_gives_up,
    a_reload_ends_a_crash_loop,
    a_clean_exit_of_the_serving_child_is_a_crash,
    a_dead_childs_group_is_cleared,
    a_crash_during_a_reload_is_covered_by_the_new_one,
    a_crash_of_a_draining_child_is_nobodys_business,
];

fn connections_wait_for_the_respawn() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--respawn-delay 700ms..1s --pass").with(pass).start();
        let (address, old) = (supervisor.address(), supervisor.serving_pid());
        supervisor.scene.role("slow_start 700");
        process::send(old, Signal::SIGKILL);
        eventually("the child is gone", || !process::alive(old));
        let clients: Vec<_> = (0..20).map(|_| std::thread::spawn(move || ask(address))).collect();
        for client in clients {
            assert_ne!(client.join().unwrap().pid, old.as_raw());
        }
        assert_eq!(supervisor.status()["counters"]["respawns"], 1);
    }
}

fn the_back_off_is_bounded_both_ways() {
    let supervisor = Setup::alone().with("--respawn-delay 100ms..400ms").start();
    supervisor.scene.role("crash_before_ready 0 1");
    let cpu = processor_time(supervisor.pid());
    let begin = Instant::now();
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    let status = supervisor.wait_status("it was tried six times", |status| {
        status["counters"]["respawns"].as_u64().is_some_and(|count| count >= 6)
    });
    // 100, 200, 400, 400, 400 ms lie between the first and the sixth.
    assert!(begin.elapsed() >= Duration::from_millis(1400), "{:?}: {status}", begin.elapsed());
    let used = processor_time(supervisor.pid()) - cpu;
    assert!(used < Duration::from_secs(1), "{used:?} of processor time");
    supervisor.scene.role("echo");
    ask(supervisor.address());
    let late = supervisor.status()["counters"]["respawns"].as_u64().unwrap();
    let most = u64::try_from(begin.elapsed().as_millis() / 100).unwrap();
    assert!(late <= most, "{late} respawns in {:?}", begin.elapsed());
}

fn a_good_run_resets_the_back_off() {
    let supervisor = Setup::alone().with("--respawn-delay 20ms..30s").start();
    // Were it never reset, the twelfth delay would be 40 seconds.
    for turn in 1..=8 {
        process::send(supervisor.serving_pid(), Signal::SIGKILL);
        supervisor.wait_status("another child serves", |status| {
            status["counters"]["respawns"] == turn && crate::harness::supervisor::serving(status).is_some()
        });
        ask(supervisor.address());
        supervisor.reload().expect(0);
        supervisor.wait_settled();
    }
}

fn max_respawns_gives_up() {
    for (role, respawns) in [("crash_before_ready 0 4", 3), ("crash_after_ready 0", 3)] {
        let setup = Setup::alone().with("--respawn-delay 10ms..50ms --max-respawns").with(&respawns.to_string());
        let mut supervisor = setup.start();
        supervisor.scene.role(role);
        process::send(supervisor.serving_pid(), Signal::SIGKILL);
        assert_eq!(supervisor.wait_exit(), Exit::Code(1));
        let said = supervisor.scene.read("stderr");
        assert!(said.lines().any(|line| line.starts_with("socket-protector: ")), "{said}");
    }
}

fn a_reload_ends_a_crash_loop() {
    let supervisor = Setup::alone().with("--respawn-delay 20s..30s").start();
    supervisor.scene.role("crash_before_ready 0 1");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    let address = supervisor.address();
    let waiting = std::thread::spawn(move || ask(address));
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    supervisor.scene.role("echo");
    let ran = supervisor.reload().expect(0);
    assert!(ran.took < Duration::from_secs(15), "it waited for the back-off: {ran:?}");
    waiting.join().unwrap();
}

fn a_clean_exit_of_the_serving_child_is_a_crash() {
    let supervisor = Setup::alone().with("--respawn-delay 10ms..1s --ready alive:50ms").role("listener_plain").start();
    let old = supervisor.serving_pid();
    // Told by somebody else to end, it does so with 0; but nobody asked us to stop.
    process::send(old, Signal::SIGTERM);
    supervisor.wait_status("another child serves", |status| status["counters"]["respawns"] == 1);
    assert_ne!(ask(supervisor.address()).pid, old.as_raw());
}

fn a_dead_childs_group_is_cleared() {
    let supervisor = Setup::alone().with("--respawn-delay 10ms..1s").role("grandchild").start();
    let old = supervisor.serving_pid();
    assert_eq!(supervisor.scene.processes().len(), 3);
    supervisor.scene.role("echo");
    process::send(old, Signal::SIGKILL);
    supervisor.wait_status("another child serves", |status| status["counters"]["respawns"] == 1);
    ask(supervisor.address());
    eventually("supervisor and one child are left", || supervisor.scene.processes().len() == 2);
}

fn a_crash_during_a_reload_is_covered_by_the_new_one() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--respawn-delay 100ms..1s --pass").with(pass).start();
        supervisor.scene.role("slow_start 800");
        let reload = supervisor.begin_reload();
        supervisor.wait_status("a generation starts", |status| status["generations"].as_array().unwrap().len() == 2);
        process::send(supervisor.serving_pid(), Signal::SIGKILL);
        let answer = ask(supervisor.address());
        reload.finish(Duration::from_secs(20)).expect(0);
        supervisor.wait_settled();
        assert_eq!(ask(supervisor.address()).pid, supervisor.serving_pid().as_raw());
        assert!(answer.generation >= 2);
    }
}

fn a_crash_of_a_draining_child_is_nobodys_business() {
    let supervisor = Setup::alone().start();
    let old = supervisor.serving_pid();
    let mut busy = Client::connect(supervisor.address()).unwrap();
    busy.ask(Duration::ZERO, "first").unwrap();
    supervisor.reload().expect(0);
    supervisor.wait_status("the old one drains", |status| status["generations"].as_array().unwrap().len() == 2);
    process::send(old, Signal::SIGKILL);
    supervisor.wait_settled();
    let status = supervisor.status();
    assert_eq!(status["counters"]["respawns"], 0, "{status}");
    assert_eq!(status["counters"]["reloads_failed"], 0, "{status}");
    ask(supervisor.address());
}
