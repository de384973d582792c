//! What programs written for other supervisors find, and how they say that they are ready.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::{PATIENCE, Setup, Supervisor, eventually, trials};

trials![
    every_convention_tells_of_the_same_listeners,
    listeners_of_every_kind_have_a_key,
    without_listeners_nobody_is_told_of_any,
    the_generation_is_the_same_by_every_name,
    einhorns_ack_is_readiness,
    einhorns_ack_of_a_stranger_is_nothing,
    whatever_else_is_said_to_einhorn_is_answered_and_let_go,
    silent_clients_of_einhorn_cost_nothing,
];

/// A supervisor whose child describes its environment, and that environment.
fn probed(setup: Setup) -> (Supervisor, Value) {
    let file = setup.scene().path("probe.json");
    let supervisor = setup.role(&format!("probe {}", file.display())).start();
    let environment = environment(&supervisor);
    (supervisor, environment)
}

fn environment(supervisor: &Supervisor) -> Value {
    let seen: Value = serde_json::from_str(&supervisor.scene.read("probe.json")).unwrap();
    seen["environment"].clone()
}

fn einhorn_socket(supervisor: &Supervisor) -> PathBuf {
    supervisor.scene.path("run").join(format!("{}.child/einhorn", supervisor.name()))
}

fn every_convention_tells_of_the_same_listeners() {
    let (supervisor, environment) = probed(Setup::alone().listen(&["web=127.0.0.1:0", "tcp:0", "[::1]:0"]));
    let ports: Vec<u16> = supervisor.addresses().iter().map(std::net::SocketAddr::port).collect();
    assert_eq!(environment["LISTEN_FDS"], "3");
    let starter = format!("127.0.0.1:{}=3;{}=4;[::1]:{}=5", ports[0], ports[1], ports[2]);
    assert_eq!(environment["SERVER_STARTER_PORT"], starter);
    assert_eq!(environment["EINHORN_FD_COUNT"], "3");
    for (index, fd) in ["3", "4", "5"].iter().enumerate() {
        assert_eq!(environment[format!("EINHORN_FD_{index}")], *fd);
    }
    assert_eq!(environment["EINHORN_FD_3"], Value::Null);
    assert_eq!(environment["EINHORN_FDS"], "3 4 5");
    assert_eq!(environment["EINHORN_CHILD_INDEX"], "0");
    assert_eq!(environment["EINHORN_MASTER_PID"], supervisor.pid().to_string());
    assert_eq!(environment["EINHORN_SOCK_PATH"], einhorn_socket(&supervisor).to_str().unwrap());
    // They lead to the sockets that they claim to be.
    let seen: Value = serde_json::from_str(&supervisor.scene.read("probe.json")).unwrap();
    for (fd, port) in (3..).zip(&ports) {
        let address = seen["descriptors"][fd.to_string()]["address"].as_str().unwrap();
        assert!(address.ends_with(&format!(":{port}")), "{fd}: {address}, and not {port}");
    }
}

fn listeners_of_every_kind_have_a_key() {
    let setup = Setup::alone();
    let path = setup.scene().path("web.sock");
    let (tcp, unix) = ("127.0.0.1:0", format!("unix:{}", path.display()));
    let (supervisor, environment) = probed(setup.listen(&[tcp, &unix, "udp:0:interface=127.0.0.1"]));
    let status = supervisor.status();
    let address = |index: usize| status["listeners"][index]["address"].as_str().unwrap();
    let expected = format!("{}=3;{}=4;{}=5", address(0), path.display(), address(2));
    assert_eq!(environment["SERVER_STARTER_PORT"], expected);
    assert_eq!(environment["EINHORN_FDS"], "3 4 5");
    assert_eq!(environment["LISTEN_FDS"], "3");
}

fn without_listeners_nobody_is_told_of_any() {
    let (supervisor, environment) = probed(Setup::alone().connections());
    let names = ["SERVER_STARTER_PORT", "SERVER_STARTER_GENERATION", "EINHORN_FD_COUNT", "EINHORN_FD_0", "EINHORN_FDS"];
    for name in names {
        assert_eq!(environment[name], Value::Null, "{name}: {environment}");
    }
    assert_eq!(environment["EINHORN_MASTER_PID"], supervisor.pid().to_string());
    assert_eq!(environment["EINHORN_CHILD_INDEX"], "0");
    assert!(einhorn_socket(&supervisor).exists());
}

fn the_generation_is_the_same_by_every_name() {
    let (supervisor, _) = probed(Setup::alone());
    for _ in 0..3 {
        supervisor.reload().expect(0);
        let environment = environment(&supervisor);
        assert_eq!(environment["SERVER_STARTER_GENERATION"], environment["SOCKET_PROTECTOR_GENERATION"]);
        assert_eq!(environment["SERVER_STARTER_GENERATION"], supervisor.generation().to_string());
    }
}

fn einhorns_ack_is_readiness() {
    for (form, from) in [("json", "itself"), ("yaml", "itself"), ("json", "descendant")] {
        let supervisor = Setup::alone().role(&format!("einhorn 0 {form} {from}")).start();
        ask(supervisor.address());
        // The next one is waited for, and its ACK makes the switch.
        supervisor.scene.role(&format!("einhorn 1500 {form} {from}"));
        let ran = supervisor.reload().expect(0);
        assert!(ran.took >= Duration::from_millis(1500), "ready by being alive, not by its ACK: {ran:?}");
        supervisor.scene.role("silent_alive");
        let mut reload = supervisor.begin_reload();
        std::thread::sleep(Duration::from_millis(1300));
        assert!(reload.runs(), "a second of life is not enough for the successor of one that spoke");
        supervisor.scene.role(&format!("einhorn 0 {form} {from}"));
        supervisor.reload().expect(0);
        reload.finish(PATIENCE);
        ask(supervisor.address());
        supervisor.wait_settled();
    }
}

fn einhorns_ack_of_a_stranger_is_nothing() {
    let supervisor = Setup::alone().with("--ready-timeout 1500ms").start();
    supervisor.scene.role("silent_alive");
    let mut reload = supervisor.begin_reload();
    let mut answered = 0;
    while reload.runs() {
        let mut stream = UnixStream::connect(einhorn_socket(&supervisor)).unwrap();
        let pid = supervisor.serving_pid();
        let _ = stream.write_all(format!("{{\"command\":\"worker:ack\",\"pid\":{pid}}}\n").as_bytes());
        answered += stream.read(&mut [0; 16]).unwrap_or(0);
    }
    reload.finish(PATIENCE).expect(1).says("ready");
    assert_eq!(answered, 0);
    let log = supervisor.scene.read("stderr");
    assert!(log.contains("is no child of ours: it was turned away from einhorn's socket"), "{log}");
    ask(supervisor.address());
}

fn whatever_else_is_said_to_einhorn_is_answered_and_let_go() {
    let supervisor = Setup::alone().start();
    let before = supervisor.census();
    for what in ["ping", "twice", "pieces", "state", "nonsense", "long", "half", "flood"] {
        supervisor.scene.role(&format!("einhorn_says {what}"));
        supervisor.reload().expect(0);
        ask(supervisor.address());
        supervisor.wait_settled();
    }
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    eventually("descriptors and processes are as they were", || supervisor.census() == before);
}

fn silent_clients_of_einhorn_cost_nothing() {
    let supervisor = Setup::alone().start();
    let before = supervisor.census().descriptors.values().sum::<usize>();
    supervisor.scene.role("einhorn_says nothing");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let with_them = supervisor.census().descriptors.values().sum::<usize>();
    // 32 of them, and whatever a child that is just going still has.
    assert!(with_them <= before + 40, "{with_them} descriptors, {before} before");
    eventually("they are let go", || supervisor.census().descriptors.values().sum::<usize>() == before);
}
