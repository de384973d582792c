//! Children that misuse their channel.

use crate::harness::client::{Client, ask};
use crate::harness::load::Load;
use crate::harness::{Setup, eventually, trials};
use std::time::Duration;

trials![
    a_wrong_version_is_refused,
    versions_and_protocols_alternate,
    garbage_before_ready_never_becomes_ready,
    garbage_after_the_switch_harms_nobody,
    a_flood_of_records_harms_nobody,
    a_leaked_channel_does_not_keep_a_dead_child_alive,
    a_listener_that_a_child_shut_down_listens_again,
];

fn a_wrong_version_is_refused() {
    let supervisor = Setup::alone().start();
    let old = supervisor.serving_pid().as_raw();
    supervisor.scene.role("wrong_version");
    let ran = supervisor.reload().expect(1).complains().says("version");
    assert!(ran.took < Duration::from_secs(15), "a hang, not a refusal: {ran:?}");
    assert_eq!(ask(supervisor.address()).pid, old);
    let ran = Setup::alone().role("wrong_version").run();
    ran.expect(1).complains().says("version");
}

/// Children that speak ours, ones that speak another version or none, and ones of the original library, in turns.
fn versions_and_protocols_alternate() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let supervisor = Setup::alone().listen(&[&listen]).connections().with("--ready-timeout 3s").start();
    let original = format!("original {port} 0");
    let foreign = [
        ("wrong_version", "speaks version 999 of the channel's protocol and not 1"),
        ("garbage short", "broke the channel's protocol"),
        ("garbage bytewise", "broke the channel's protocol"),
        ("garbage descriptors", "broke the channel's protocol"),
        ("garbage long", "broke the channel's protocol"),
        // What a child of the original's would send, were it to send anything: no type that we know.
        ("garbage x", "not ready"),
    ];
    let load = Load::on(supervisor.address());
    for ((bad, reason), good) in foreign.into_iter().zip(["echo", &original, "echo_library"].into_iter().cycle()) {
        let (generation, serving) = (supervisor.generation(), supervisor.serving_pid());
        supervisor.scene.role(bad);
        supervisor.reload().expect(1).complains().says(reason);
        assert_eq!((supervisor.generation(), supervisor.serving_pid()), (generation, serving), "{bad}");
        supervisor.scene.role(good);
        supervisor.reload().expect(0);
    }
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
    let counters = &supervisor.status()["counters"];
    assert_eq!((&counters["reloads"], &counters["respawns"]), (&6.into(), &0.into()), "{counters}");
}

fn garbage_before_ready_never_becomes_ready() {
    let supervisor = Setup::alone().with("--ready channel --ready-timeout 800ms").start();
    let old = supervisor.serving_pid().as_raw();
    for what in ["unknown", "short", "long", "empty"] {
        supervisor.scene.role(&format!("garbage {what}"));
        supervisor.reload().expect(1).complains();
        assert_eq!(ask(supervisor.address()).pid, old, "{what}");
    }
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
}

fn garbage_after_the_switch_harms_nobody() {
    for what in ["unknown", "short", "long", "empty"] {
        let supervisor = Setup::alone().with("--ready alive:50ms --respawn-delay 10ms..50ms").start();
        supervisor.scene.role(&format!("garbage {what}"));
        // It counts as alive or is thrown out; either way the next reload mends it.
        let _ = supervisor.reload();
        supervisor.scene.role("echo");
        supervisor.reload().expect(0);
        supervisor.wait_status("echo serves", |status| status["counters"]["reloads"].as_u64() > Some(0));
        ask(supervisor.address());
    }
}

fn a_flood_of_records_harms_nobody() {
    let supervisor = Setup::alone().with("--ready alive:100ms --respawn-delay 10ms..50ms").start();
    supervisor.scene.role("garbage flood");
    let _ = supervisor.reload();
    supervisor.status();
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn a_leaked_channel_does_not_keep_a_dead_child_alive() {
    for pass in ["listener", "connections"] {
        let setup = Setup::alone().role("leaks_fd").with("--drain-timeout 500ms --pass").with(pass);
        let supervisor = setup.start();
        ask(supervisor.address());
        let mut client = Client::connect(supervisor.address()).unwrap();
        client.ask(Duration::ZERO, "before").unwrap();
        supervisor.scene.role("echo");
        // The drain arrives although another process holds the channel too.
        supervisor.reload().expect(0);
        client.ask(Duration::ZERO, "after").unwrap();
        drop(client);
        supervisor.wait_settled();
        eventually("supervisor and one child are left", || supervisor.scene.processes().len() == 2);
        ask(supervisor.address());
    }
}

fn a_listener_that_a_child_shut_down_listens_again() {
    // A port that was chosen, not given by the kernel, which would take it back with the shutdown.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let supervisor = Setup::alone().listen(&[&free]).role("shuts_listener_down").start();
    let address = supervisor.address();
    ask(address);
    supervisor.scene.role("echo");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    // Between the shutdown and its repair a client may be refused; after it none may.
    eventually("it listens again", || {
        Client::connect(address).is_ok_and(|mut it| it.ask(Duration::ZERO, "again").is_ok())
    });
    for _ in 0..20 {
        ask(address);
    }
}
