//! Many requests at once: what is coalesced, what is superseded, what waits.

use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::children;
use crate::harness::client::ask;
use crate::harness::process::Exit;
use crate::harness::{PATIENCE, Setup, Supervisor, trials};

trials![
    a_thousand_hups_in_one_burst,
    a_hup_before_the_first_child_is_ready,
    a_hup_in_the_first_moments_never_kills,
    a_hup_during_a_stop_changes_nothing,
    a_superseded_reload_says_so,
    a_reload_that_is_waited_for_too_long,
    an_unready_generation_gives_way_to_the_next_request,
    but_never_two_in_succession,
    reloads_one_after_the_other_number_the_generations,
    a_reload_with_a_new_command,
    a_reload_during_a_stop_is_refused,
    every_request_gets_its_answer,
    a_client_that_dies_while_it_waits_changes_nothing,
];

fn highest(supervisor: &Supervisor) -> u64 {
    let status = supervisor.status();
    let numbers = status["generations"].as_array().unwrap().iter().map(|it| it["number"].as_u64().unwrap());
    numbers.max().unwrap_or(0)
}

#[track_caller]
/// A generation starts, and its child is what it was told to be by then.
fn wait_starting(supervisor: &Supervisor) {
    supervisor.wait_status("a generation starts", |status| {
        let mut starting = status["generations"].as_array().unwrap().iter().filter(|it| it["phase"] == "starting");
        starting.any(|it| children::has_its_role(it["workers"][0]["pid"].as_u64().unwrap()))
    });
}

fn a_thousand_hups_in_one_burst() {
    let supervisor = Setup::alone().start();
    // Starting takes longer than the burst, so that the burst is one.
    supervisor.scene.role("slow_start 800");
    for sent in 0..1000 {
        supervisor.hup();
        if sent % 250 == 0 {
            supervisor.status();
        }
    }
    supervisor.status();
    supervisor.wait_status("the reloads are done", |status| {
        let generations = status["generations"].as_array().unwrap();
        status["counters"]["reloads"].as_u64().is_some_and(|count| count >= 1)
            && generations.iter().all(|it| it["phase"] != "starting")
    });
    supervisor.wait_status("nothing is pending", |status| {
        let reloads = status["counters"]["reloads"].as_u64().unwrap();
        let last = status["last_reload"]["generation"].as_u64().unwrap();
        status["generations"].as_array().unwrap().len() == 1 && reloads + 1 >= last
    });
    let generations = highest(&supervisor) - 1;
    assert!((1..=2).contains(&generations), "{generations} new generations");
    ask(supervisor.address());
}

fn a_hup_before_the_first_child_is_ready() {
    let mut supervisor = Setup::alone().role("slow_start 600").launch();
    crate::harness::until("there is a status", PATIENCE, || supervisor.try_status());
    supervisor.hup();
    supervisor.wait_serving();
    supervisor.wait_status("the reload is done", |status| status["counters"]["reloads"] == 1);
    supervisor.wait_settled();
    assert_eq!(highest(&supervisor), 2);
    ask(supervisor.address());
}

/// Who starts it with HUP blocked keeps the signals that come before its first instruction.
fn a_hup_in_the_first_moments_never_kills() {
    for turn in 0..10 {
        let mut held = SigSet::empty();
        held.add(Signal::SIGHUP);
        held.thread_block().unwrap();
        let mut supervisor = Setup::alone().launch();
        held.thread_unblock().unwrap();
        for _ in 0..50 {
            supervisor.hup();
        }
        supervisor.wait_serving();
        ask(supervisor.address());
        assert!(supervisor.ended().is_none(), "ended in turn {turn}");
        // A blocked signal that we were started with must not stay blocked.
        supervisor.hup();
        supervisor.wait_status("there was a reload", |status| status["counters"]["reloads"].as_u64() > Some(0));
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    }
}

fn a_hup_during_a_stop_changes_nothing() {
    let mut supervisor = Setup::alone().role("slow_drain 1000").start();
    supervisor.signal(Signal::SIGTERM);
    for _ in 0..20 {
        supervisor.hup();
    }
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(supervisor.scene.processes().is_empty(), "a child was started during the stop");
}

fn a_superseded_reload_says_so() {
    let supervisor = Setup::alone().start();
    supervisor.scene.role("slow_start 1500");
    let first = supervisor.begin_reload();
    wait_starting(&supervisor);
    let second = supervisor.begin_reload();
    // Only once the second waits can the third replace it.
    crate::harness::eventually("the second reload is connected", || supervisor.control_clients() >= 2);
    let third = supervisor.begin_reload();
    second.finish(PATIENCE).expect(1).complains().says("replaced by a later reload");
    first.finish(PATIENCE).expect(0);
    third.finish(PATIENCE).expect(0);
    supervisor.wait_settled();
    assert_eq!(highest(&supervisor), 3, "one in flight, one pending");
}

fn a_reload_that_is_waited_for_too_long() {
    let supervisor = Setup::alone().start();
    supervisor.scene.role("slow_start 2500");
    let ran = supervisor.scene.cli(&["reload", "t", "--timeout", "300ms"]).expect(3).complains();
    assert!(ran.took < Duration::from_millis(2400), "{ran:?}");
    // Who waits no longer does not undo what was asked.
    supervisor.wait_status("the reload is done all the same", |status| status["counters"]["reloads"] == 1);
    supervisor.scene.role("echo");
    supervisor.scene.cli(&["reload", "t", "--timeout", "15s"]).expect(0);
}

fn an_unready_generation_gives_way_to_the_next_request() {
    let supervisor = Setup::alone().with("--ready channel").start();
    let old = supervisor.serving_pid();
    supervisor.scene.role("never_ready");
    let first = supervisor.begin_reload();
    wait_starting(&supervisor);
    supervisor.scene.role("echo");
    let second = supervisor.begin_reload().finish(PATIENCE).expect(0);
    assert!(second.took < Duration::from_secs(15), "{second:?}");
    first.finish(PATIENCE).expect(1).complains();
    supervisor.wait_settled();
    assert_ne!(ask(supervisor.address()).pid, old.as_raw());
}

fn but_never_two_in_succession() {
    let supervisor = Setup::alone().with("--ready channel --ready-timeout 4s").start();
    supervisor.scene.role("never_ready");
    let first = supervisor.begin_reload();
    wait_starting(&supervisor);
    let second = supervisor.begin_reload();
    first.finish(PATIENCE).expect(1).complains();
    wait_starting(&supervisor);
    let third = supervisor.begin_reload();
    supervisor.wait_status("the second start is there", |status| {
        status["generations"].as_array().unwrap().iter().any(|it| it["number"] == 3)
    });
    supervisor.scene.role("echo");
    // The second gave the first one two seconds; it gets its own four, whoever waits.
    let second = second.finish(PATIENCE).expect(1).complains();
    assert!(second.took >= Duration::from_millis(5500), "{second:?}");
    third.finish(PATIENCE).expect(0);
    supervisor.wait_settled();
}

fn reloads_one_after_the_other_number_the_generations() {
    let supervisor = Setup::alone().start();
    for number in 2..6 {
        assert_eq!(ask(supervisor.address()).generation, number - 1);
        let ran = supervisor.reload().expect(0);
        assert!(ran.out.contains(&number.to_string()), "the result names the generation: {ran:?}");
        assert_eq!(supervisor.generation(), number);
    }
}

fn a_reload_with_a_new_command() {
    let supervisor = Setup::alone().start();
    let scene = &supervisor.scene;
    let mut command = vec!["reload".to_owned(), "t".to_owned(), "--".to_owned()];
    let new = [scene.child()[0].clone(), "child".to_owned(), "slow_start".to_owned(), "1".to_owned()];
    command.extend(new.iter().cloned());
    scene.cli(&command.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    supervisor.wait_settled();
    assert_eq!(supervisor.status()["generations"][0]["command"], serde_json::json!(new));
    // It is the command from now on.
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(supervisor.status()["generations"][0]["command"], serde_json::json!(new));
}

fn a_reload_during_a_stop_is_refused() {
    let mut supervisor = Setup::alone().role("slow_drain 1500").start();
    supervisor.signal(Signal::SIGTERM);
    let ran = supervisor.reload();
    // Whether it came before or after the socket was closed, it fails and says so.
    ran.expect(1).complains();
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
}

fn every_request_gets_its_answer() {
    const REQUESTS: usize = 30;
    let supervisor = Setup::alone().start();
    supervisor.scene.role("slow_start 300");
    let requests: Vec<_> = (0..REQUESTS).map(|_| supervisor.begin_reload()).collect();
    let mut switched = 0;
    for request in requests {
        let ran = request.finish(PATIENCE);
        if ran.exit == Exit::Code(0) {
            switched += 1;
        } else {
            ran.expect(1).complains().says("replaced by a later reload");
        }
    }
    assert!(switched >= 2, "{switched} of {REQUESTS} switched");
    let status = supervisor.status();
    assert_eq!(status["counters"]["reloads"], switched, "{status}");
}

fn a_client_that_dies_while_it_waits_changes_nothing() {
    let supervisor = Setup::alone().start();
    supervisor.scene.role("slow_start 800");
    let waiting = supervisor.begin_reload();
    wait_starting(&supervisor);
    crate::harness::process::send(waiting.pid(), Signal::SIGKILL);
    assert_eq!(waiting.finish(PATIENCE).exit, Exit::Signal(Signal::SIGKILL));
    supervisor.wait_status("the reload is done all the same", |status| status["counters"]["reloads"] == 1);
    supervisor.wait_settled();
    ask(supervisor.address());
}
