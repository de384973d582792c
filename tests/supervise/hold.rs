//! Connections that no child can take now, and those that a child never read.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::client::{Answer, Client, ask};
use crate::harness::process::{self, processor_time};
use crate::harness::{Setup, Supervisor, trials};

trials![
    what_a_dead_child_had_not_read_is_served_once_and_in_order,
    what_a_draining_child_had_not_read_is_served_by_the_next,
    a_child_that_stops_reading_blocks_nobody,
    past_the_hold_limit_the_kernel_keeps_them,
    a_slow_new_child_serves_what_was_held,
    a_held_client_that_goes_away_harms_nobody,
    clients_that_reset_at_once_harm_nobody,
    held_connections_are_counted,
    a_hold_of_one_still_passes_everything,
];

/// Clients that have connected one after the other and asked, but have no answer yet.
struct Queue(Vec<Client>);

impl Queue {
    fn of(address: SocketAddr, count: usize) -> Queue {
        let queue = (0..count).map(|number| {
            let mut client = Client::connect(address).unwrap();
            client.send(Duration::ZERO, &number.to_string()).unwrap();
            client
        });
        Queue(queue.collect())
    }

    /// All answers, in the order of connecting.
    #[track_caller]
    fn answers(self) -> Vec<Answer> {
        let answer = |(number, mut client): (usize, Client)| {
            client.receive(&number.to_string()).unwrap_or_else(|failure| panic!("client {number}: {failure:?}"))
        };
        self.0.into_iter().enumerate().map(answer).collect()
    }
}

/// All by the same child, in the order in which they came, none twice.
#[track_caller]
fn in_order(answers: &[Answer]) {
    for pair in answers.windows(2) {
        assert_eq!(pair[0].pid, pair[1].pid);
        assert_eq!(pair[0].place + 1, pair[1].place, "not in order: {answers:?}");
    }
}

fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {status}"))
}

#[track_caller]
fn wait_accepted(supervisor: &Supervisor, count: u64) -> Value {
    supervisor.wait_status("all are accepted", |status| counter(status, "accepted") >= count)
}

fn what_a_dead_child_had_not_read_is_served_once_and_in_order() {
    const CLIENTS: usize = 100;
    let supervisor = Setup::alone().connections().role("stops_reading").with("--respawn-delay 10ms..1s").start();
    let queue = Queue::of(supervisor.address(), CLIENTS);
    wait_accepted(&supervisor, 100);
    supervisor.scene.role("echo");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    let answers = queue.answers();
    in_order(&answers);
    assert_eq!(answers[0].place, 1);
    let status = supervisor.status();
    let taken_back = counter(&status, "reclaimed");
    assert!(taken_back > 0 && taken_back <= 100, "{status}");
    assert_eq!(counter(&status, "passed") - taken_back, 100, "{status}");
    assert_eq!(counter(&status, "accepted"), 100, "{status}");
}

fn what_a_draining_child_had_not_read_is_served_by_the_next() {
    let supervisor = Setup::alone().connections().role("stops_reading").with("--drain-timeout 200ms").start();
    let queue = Queue::of(supervisor.address(), 50);
    wait_accepted(&supervisor, 50);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    let answers = queue.answers();
    in_order(&answers);
    assert_eq!(answers[0].generation, 2);
    // What the old one had read is its own.
    supervisor.scene.role("reads 1");
    supervisor.reload().expect(0);
    let first = ask(supervisor.address());
    let queue = Queue::of(supervisor.address(), 30);
    wait_accepted(&supervisor, 81);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    let answers = queue.answers();
    in_order(&answers);
    assert_eq!((first.generation, answers[0].generation), (3, 4));
}

fn a_child_that_stops_reading_blocks_nobody() {
    const CLIENTS: usize = 3000;
    let setup = Setup::alone().connections().role("stops_reading").with("--respawn-delay 10ms..1s");
    let supervisor = setup.start();
    let used = processor_time(supervisor.pid());
    let queue = Queue::of(supervisor.address(), CLIENTS);
    wait_accepted(&supervisor, 3000);
    let used = processor_time(supervisor.pid()) - used;
    assert!(used < Duration::from_secs(4), "{used:?} of processor time");
    supervisor.scene.role("echo");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    in_order(&queue.answers());
    ask(supervisor.address());
}

fn past_the_hold_limit_the_kernel_keeps_them() {
    const LIMIT: u64 = 20;
    let setup = Setup::alone().connections().role("stops_reading");
    let supervisor = setup.with("--hold-limit 20 --backlog 32 --respawn-delay 10ms..1s").start();
    let address = supervisor.address();
    let mut queue = Queue(Vec::new());
    // Until the channel, the hold and the backlog are full: then a connect is not answered.
    while queue.0.len() < 9000 {
        let Ok(mut client) = Client::connect_within(address, Duration::from_millis(1500)) else {
            break;
        };
        client.send(Duration::ZERO, &queue.0.len().to_string()).unwrap();
        queue.0.push(client);
    }
    let count = u64::try_from(queue.0.len()).unwrap();
    assert!(count < 9000, "nothing is bounded");
    let status = supervisor.status();
    assert_eq!(status["listeners"][0]["held"], LIMIT, "{status}");
    let accepted = counter(&status, "accepted");
    assert!(accepted < count, "some wait in the backlog: {status}");
    let used = processor_time(supervisor.pid());
    supervisor.status();
    supervisor.scene.role("echo");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    let answers = queue.answers();
    assert_eq!(u64::try_from(answers.len()).unwrap(), count);
    in_order(&answers[..usize::try_from(accepted).unwrap()]);
    let used = processor_time(supervisor.pid()) - used;
    assert!(used < Duration::from_secs(4), "{used:?} of processor time");
    ask(address);
    assert_eq!(supervisor.status()["listeners"][0]["held"], 0);
}

fn a_slow_new_child_serves_what_was_held() {
    let supervisor = Setup::alone().connections().with("--respawn-delay 10ms..1s").start();
    supervisor.scene.role("slow_start 2000");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let queue = Queue::of(supervisor.address(), 200);
    let status = wait_accepted(&supervisor, 200);
    assert_eq!(status["listeners"][0]["held"], 200, "{status}");
    // A reload while they wait.
    supervisor.hup();
    let answers = queue.answers();
    in_order(&answers);
    assert_eq!(supervisor.status()["listeners"][0]["held"], 0);
}

fn a_held_client_that_goes_away_harms_nobody() {
    let supervisor = Setup::alone().connections().role("stops_reading").with("--respawn-delay 10ms..1s").start();
    let address = supervisor.address();
    let mut stay = Vec::new();
    for number in 0..90 {
        let mut client = Client::connect(address).unwrap();
        client.send(Duration::ZERO, &number.to_string()).unwrap();
        match number % 3 {
            0 => stay.push((number, client)),
            1 => client.reset(),
            _ => drop(client),
        }
    }
    wait_accepted(&supervisor, 60);
    supervisor.scene.role("echo");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    for (number, mut client) in stay {
        client.receive(&number.to_string()).unwrap_or_else(|failure| panic!("client {number}: {failure:?}"));
    }
    ask(address);
}

fn clients_that_reset_at_once_harm_nobody() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--pass").with(pass).start();
        let address = supervisor.address();
        let before = supervisor.census();
        for _ in 0..300 {
            Client::connect(address).unwrap().reset();
        }
        ask(address);
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(supervisor.census(), before);
    }
}

fn held_connections_are_counted() {
    let setup = Setup::alone().connections().with("--respawn-delay 10ms..1s");
    let supervisor = setup.listen(&["a=127.0.0.1:0", "b=127.0.0.1:0"]).start();
    let addresses = supervisor.addresses();
    supervisor.scene.role("slow_start 1500");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("nothing serves", |status| crate::harness::supervisor::serving(status).is_none());
    let (one, two) = (Queue::of(addresses[0], 3), Queue::of(addresses[1], 5));
    let status = wait_accepted(&supervisor, 8);
    let held: Vec<_> = status["listeners"].as_array().unwrap().iter().map(|it| it["held"].clone()).collect();
    assert_eq!(held, [Value::from(3), Value::from(5)], "{status}");
    let accepted: Vec<_> = status["listeners"].as_array().unwrap().iter().map(|it| it["accepted"].clone()).collect();
    assert_eq!(accepted, [Value::from(3), Value::from(5)], "{status}");
    assert_eq!((one.answers().len(), two.answers().len()), (3, 5));
}

fn a_hold_of_one_still_passes_everything() {
    let supervisor = Setup::alone().connections().with("--hold-limit 1 --respawn-delay 10ms..1s").start();
    let address = supervisor.address();
    in_order(&Queue::of(address, 100).answers());
    supervisor.scene.role("slow_start 300");
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    in_order(&Queue::of(address, 30).answers());
    supervisor.reload().expect(0);
    ask(address);
}
