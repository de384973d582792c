//! Connections that outlive their daemon: given back by one generation, with its state, and taken on by the next.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::client::{Client, ask};
use crate::harness::process::{self, Exit};
use crate::harness::{PATIENCE, Setup, Supervisor, eventually, trials, until};

trials![
    connection_and_count_are_kept_over_reloads,
    what_a_killed_child_had_not_read_is_kept_with_its_state,
    what_a_killed_child_held_is_lost_and_nothing_else,
    what_a_dying_child_gave_back_is_kept,
    what_the_serving_child_gives_back_is_kept_until_the_switch,
    what_the_serving_child_gives_back_leaves_room_for_new_clients,
    a_stop_offers_it_to_whoever_serves,
    a_stop_closes_what_nobody_will_serve,
    state_without_bound_holds_its_giver_up_and_loses_nothing,
    short_of_descriptors_the_giver_waits_and_nothing_is_lost,
    records_with_wrong_descriptors_leave_nothing_behind,
    a_child_that_tells_much_harms_nobody,
];

const CLIENTS: usize = 50;
/// What a heavy state has besides the count.
const FILLING: usize = 65_536 - 8;

/// A client of `line_counter`.
pub(crate) struct Counted {
    stream: BufReader<TcpStream>,
    /// How many lines its servers have been sent by it.
    lines: u64,
}

impl Counted {
    fn connect(address: SocketAddr) -> Counted {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        Counted { stream: BufReader::new(stream), lines: 0 }
    }

    pub(crate) fn crowd(address: SocketAddr, count: usize) -> Vec<Counted> {
        (0..count).map(|_| Counted::connect(address)).collect()
    }

    fn send(&mut self) {
        self.lines += 1;
        self.stream.get_mut().write_all(b"a line\n").unwrap();
    }

    /// Reads an answer, or what ended the connection instead.
    fn receive(&mut self) -> Result<u64, String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err("end of file".to_owned()),
            Ok(_) => line.trim_end().parse().map_err(|_| format!("no count: {line:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The next line must be answered with the next number.
    #[track_caller]
    pub(crate) fn count(&mut self) {
        self.send();
        assert_eq!(self.receive(), Ok(self.lines));
    }
}

fn both_ways(setup: impl Fn() -> Setup) -> [Setup; 2] {
    [setup(), setup().connections()]
}

fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {status}"))
}

fn wait_counter(supervisor: &Supervisor, name: &str, count: u64) -> Value {
    supervisor.wait_status(&format!("{name} is {count}"), |status| counter(status, name) == count)
}

/// Waits until the serving child says that it has so many connections.
fn wait_open(supervisor: &Supervisor, count: usize) -> Value {
    supervisor.wait_status("the child has them all", |status| {
        let serving = crate::harness::supervisor::serving(status);
        serving.is_some_and(|it| it["workers"][0]["connections_open"] == count)
    })
}

fn connection_and_count_are_kept_over_reloads() {
    are_kept_over_reloads(|| Setup::alone().role("line_counter"));
}

/// Clients of a counter of lines, in whichever language, keep their connection and count in both ways of passing.
pub(crate) fn are_kept_over_reloads(counter_of_lines: impl Fn() -> Setup) {
    const RELOADS: u64 = 20;
    for setup in both_ways(counter_of_lines) {
        let supervisor = setup.start();
        let mut clients = Counted::crowd(supervisor.address(), CLIENTS);
        clients.iter_mut().for_each(Counted::count);
        wait_open(&supervisor, CLIENTS);
        // What is made once and kept counts as the beginning.
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        clients.iter_mut().for_each(Counted::count);
        let (before, child_before) = (supervisor.census(), process::census(supervisor.serving_pid()));
        let stop = AtomicBool::new(false);
        thread::scope(|threads| {
            let talk = |client: &mut Counted| {
                while !stop.load(Ordering::Relaxed) {
                    client.count();
                    thread::sleep(Duration::from_millis(2));
                }
            };
            clients.iter_mut().for_each(|client| drop(threads.spawn(move || talk(client))));
            let reloads = || {
                for _ in 0..RELOADS {
                    supervisor.reload().expect(0);
                    // The old one has no client any more, so it goes although all of them stay.
                    supervisor.wait_settled();
                }
            };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(reloads));
            stop.store(true, Ordering::Relaxed);
            done.unwrap();
        });
        clients.iter_mut().for_each(Counted::count);
        let status = wait_open(&supervisor, CLIENTS);
        assert_eq!(counter(&status, "given_back"), (RELOADS + 1) * CLIENTS as u64, "{status}");
        assert!(clients.iter().all(|client| client.lines > RELOADS), "the clients hardly talked");
        assert_eq!(supervisor.census(), before);
        assert_eq!(process::census(supervisor.serving_pid()), child_before);
        let text = supervisor.scene.cli(&["status", "t"]).expect(0).out;
        assert!(text.contains(&format!("given back {}\n", (RELOADS + 1) * CLIENTS as u64)), "{text}");
        drop(clients);
        wait_open(&supervisor, 0);
    }
}

fn what_a_killed_child_had_not_read_is_kept_with_its_state() {
    for setup in both_ways(|| Setup::alone().role("line_counter").with("--respawn-delay 10ms..1s")) {
        let supervisor = setup.start();
        let mut clients = Counted::crowd(supervisor.address(), CLIENTS);
        for turn in 1..=3 {
            clients.iter_mut().for_each(Counted::count);
            supervisor.scene.role("stops_reading");
            supervisor.reload().expect(0);
            wait_counter(&supervisor, "given_back", turn * CLIENTS as u64);
            // Those that wait in the channel of a child that will never read them.
            clients.iter_mut().for_each(Counted::send);
            supervisor.scene.role("line_counter");
            process::send(supervisor.serving_pid(), Signal::SIGKILL);
            for client in &mut clients {
                assert_eq!(client.receive(), Ok(client.lines));
            }
        }
        let status = supervisor.status();
        assert!(counter(&status, "reclaimed") >= 3 * CLIENTS as u64, "{status}");
    }
}

fn what_a_killed_child_held_is_lost_and_nothing_else() {
    let supervisor = Setup::alone().connections().role("line_counter").with("--respawn-delay 10ms..1s").start();
    let mut lost = Counted::crowd(supervisor.address(), CLIENTS);
    lost.iter_mut().for_each(Counted::count);
    let old = supervisor.serving_pid();
    process::send(old, Signal::SIGSTOP);
    eventually("the child is stopped", || process::stopped(old));
    // These wait in its channel.
    let mut kept = Counted::crowd(supervisor.address(), CLIENTS);
    wait_counter(&supervisor, "passed", 2 * CLIENTS as u64);
    process::send(old, Signal::SIGKILL);
    for _ in 0..5 {
        kept.iter_mut().for_each(Counted::count);
        supervisor.reload().expect(0);
    }
    kept.iter_mut().for_each(Counted::count);
    for client in &mut lost {
        let answer = client.receive();
        assert!(answer.is_err(), "{answer:?}");
    }
    supervisor.wait_settled();
}

fn what_a_dying_child_gave_back_is_kept() {
    // More than we read in one go, so that its end is seen before all of it; few enough for a channel that nobody reads.
    const GIVEN: usize = 150;
    for setup in both_ways(|| Setup::alone().with("--respawn-delay 10ms..1s")) {
        let go = setup.scene().path("go");
        let supervisor = setup.role(&format!("gives_all_and_dies {}", go.display())).start();
        let mut clients = Counted::crowd(supervisor.address(), GIVEN);
        wait_open(&supervisor, GIVEN);
        let giver = supervisor.serving_pid();
        supervisor.scene.role("line_counter");
        // We learn of its end and of what it gave back at the same time.
        supervisor.signal(Signal::SIGSTOP);
        fs::write(go, "").unwrap();
        eventually("the giver is dead", || !process::alive(giver));
        supervisor.signal(Signal::SIGCONT);
        for client in &mut clients {
            client.lines = 41;
            client.count();
        }
        let status = supervisor.status();
        assert_eq!(counter(&status, "given_back"), GIVEN as u64, "{status}");
        assert_eq!(counter(&status, "respawns"), 1, "{status}");
        supervisor.reload().expect(0);
        clients.iter_mut().for_each(Counted::count);
    }
}

fn what_the_serving_child_gives_back_is_kept_until_the_switch() {
    for setup in both_ways(|| Setup::alone().role("gives_first 3").with("--hold-limit 3")) {
        let supervisor = setup.start();
        let (address, old) = (supervisor.address(), supervisor.serving_pid().as_raw());
        let mut clients = Counted::crowd(address, 3);
        let status = wait_counter(&supervisor, "given_back", 3);
        assert_eq!(status["listeners"][0]["held"], 3, "{status}");
        // They are in nobody's way.
        (0..10).for_each(|_| assert_eq!(ask(address).pid, old));
        supervisor.scene.role("line_counter");
        supervisor.reload().expect(0);
        for client in &mut clients {
            client.lines = 41;
            client.count();
        }
        assert_eq!(supervisor.status()["listeners"][0]["held"], 0);
    }
}

fn what_the_serving_child_gives_back_leaves_room_for_new_clients() {
    // A quarter of the limit of open files.
    const KEPT: u64 = 128 / 4;
    const GIVEN: usize = 90;
    for setup in both_ways(|| Setup::alone().role(&format!("gives_first {GIVEN}")).wrap("nofile 128")) {
        let supervisor = setup.start();
        let (address, old) = (supervisor.address(), supervisor.serving_pid().as_raw());
        let mut clients = Counted::crowd(address, GIVEN);
        (0..10).for_each(|_| assert_eq!(ask(address).pid, old));
        wait_counter(&supervisor, "given_back", KEPT);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(counter(&supervisor.status(), "given_back"), KEPT);
        (0..10).for_each(|_| assert_eq!(ask(address).pid, old));
        supervisor.scene.role("line_counter");
        supervisor.reload().expect(0);
        for client in &mut clients {
            client.lines = 41;
            client.count();
        }
        supervisor.wait_settled();
        assert_eq!(counter(&supervisor.status(), "given_back"), GIVEN as u64);
    }
}

fn a_stop_offers_it_to_whoever_serves() {
    for setup in both_ways(|| Setup::alone().role("gives_first 3")) {
        let mut supervisor = setup.start();
        let (address, old) = (supervisor.address(), supervisor.serving_pid().as_raw());
        let mut clients: Vec<_> = (0..3).map(|_| Client::connect(address).unwrap()).collect();
        clients.iter_mut().for_each(|client| client.send(Duration::ZERO, "stop").unwrap());
        wait_counter(&supervisor, "given_back", 3);
        supervisor.signal(Signal::SIGTERM);
        for mut client in clients {
            assert_eq!(client.receive("stop").map(|answer| answer.pid), Ok(old));
        }
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    }
}

fn a_stop_closes_what_nobody_will_serve() {
    for setup in both_ways(|| Setup::alone().role("line_counter")) {
        let mut supervisor = setup.start();
        let mut clients = Counted::crowd(supervisor.address(), CLIENTS);
        clients.iter_mut().for_each(Counted::count);
        supervisor.signal(Signal::SIGTERM);
        for client in &mut clients {
            assert_eq!(client.receive(), Err("end of file".to_owned()));
        }
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
        let log = supervisor.scene.read("stderr");
        assert!(log.contains(&format!("{CLIENTS} connections that children gave back are closed")), "{log}");
    }
}

/// A child that holds so many clients, which it gives back with heavy states to one that never reads them.
fn heavy(setup: Setup, count: usize) -> (Supervisor, Vec<Counted>) {
    let supervisor = setup.role("gives_heavy").with("--respawn-delay 10ms..1s").start();
    let clients = Counted::crowd(supervisor.address(), count);
    supervisor.scene.role("stops_reading");
    (supervisor, clients)
}

/// All are served by the next child, which got the whole state.
fn all_go_on(supervisor: &Supervisor, clients: &mut [Counted]) {
    supervisor.scene.role("line_counter");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    for (number, client) in clients.iter_mut().enumerate() {
        let mut filling = vec![0; FILLING];
        client.stream.read_exact(&mut filling).unwrap_or_else(|error| panic!("client {number}: {error}"));
        assert!(filling.iter().all(|byte| *byte == b'.'));
        client.lines = 41;
        client.count();
    }
    supervisor.wait_settled();
    assert_eq!(counter(&supervisor.status(), "given_back"), clients.len() as u64);
}

fn resident_kilobytes(supervisor: &Supervisor) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", supervisor.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn state_without_bound_holds_its_giver_up_and_loses_nothing() {
    const GIVEN: usize = 1300;
    let (supervisor, mut clients) = heavy(Setup::alone(), GIVEN);
    supervisor.reload().expect(0);
    // 1024 of them are 64 MiB; a few more are in the channels.
    let status = supervisor.wait_status("as much is held as may be", |status| counter(status, "given_back") >= 1024);
    assert!(counter(&status, "given_back") < 1040, "{status}");
    assert_eq!(status["generations"][0]["phase"], "draining", "{status}");
    let resident = resident_kilobytes(&supervisor);
    assert!(resident < 110 * 1024, "{resident} kB");
    all_go_on(&supervisor, &mut clients);
}

fn short_of_descriptors_the_giver_waits_and_nothing_is_lost() {
    let (supervisor, mut clients) = heavy(Setup::alone().wrap("nofile 64"), 45);
    let before = supervisor.census();
    supervisor.reload().expect(0);
    let status = until("it holds as many as it can", PATIENCE, || {
        let status = supervisor.status();
        let given = counter(&status, "given_back");
        thread::sleep(Duration::from_millis(300));
        let later = supervisor.status();
        if given > 0 && counter(&later, "given_back") == given { Ok(later) } else { Err(later.to_string()) }
    });
    assert!(counter(&status, "given_back") < 45, "there were enough descriptors: {status}");
    // And it can still start a child.
    all_go_on(&supervisor, &mut clients);
    until("descriptors are as they were", PATIENCE, || {
        let now = supervisor.census();
        if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
}

fn records_with_wrong_descriptors_leave_nothing_behind() {
    for setup in both_ways(Setup::alone) {
        let supervisor = setup.start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        let before = supervisor.census();
        supervisor.scene.role("gives_badly 100");
        supervisor.reload().expect(0);
        supervisor.wait_status("all was read", |status| {
            let serving = crate::harness::supervisor::serving(status);
            serving.is_some_and(|it| it["workers"][0]["status"] == "done")
        });
        ask(supervisor.address());
        supervisor.wait_settled();
        assert_eq!(supervisor.census(), before);
        assert_eq!(counter(&supervisor.status(), "given_back"), 0);
    }
}

fn a_child_that_tells_much_harms_nobody() {
    for setup in both_ways(|| Setup::alone().role("tells_much")) {
        let supervisor = setup.start();
        supervisor.wait_status("it says something", |status| {
            let worker = &status["generations"][0]["workers"][0];
            worker["status"].as_str().is_some_and(|text| text.starts_with("busy\u{7} "))
                && worker["connections_open"].is_u64()
        });
        let text = supervisor.scene.cli(&["status", "t"]).expect(0).out;
        assert!(text.contains("generation 1 says: busy\u{fffd} "), "{text}");
        ask(supervisor.address());
        supervisor.reload().expect(0);
        ask(supervisor.address());
        supervisor.scene.role("echo");
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(supervisor.status()["generations"][0]["workers"][0]["status"], Value::Null);
    }
}
