//! What LISTEN may be, and how children see it.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::free_port;
use crate::harness::{Setup, trials};

trials![
    every_form_of_a_tcp_endpoint,
    a_bare_port_listens_on_all_addresses_of_both_families,
    an_ephemeral_port_is_reported_and_kept,
    two_listeners_with_names,
    connections_of_several_listeners,
    the_backlog_is_as_asked,
    an_ipv6_only_listener_leaves_ipv4_alone,
    forty_listeners_keep_their_order,
];

fn every_form_of_a_tcp_endpoint() {
    for text in [
        "0",
        "127.0.0.1:0",
        "[::1]:0",
        "tcp:0",
        "tcp:0:interface=127.0.0.1",
        "tcp:0:interface=127.0.0.1:backlog=16",
        "tcp:port=0:interface=127.0.0.1",
        "tcp6:0",
        "tcp6:0:interface=\\:\\:1",
        "localhost:0",
        "web=127.0.0.1:0",
    ] {
        let supervisor = Setup::alone().listen(&[text]).start();
        let seen = supervisor.listener(0);
        // As text that can be given again, whatever the form it was given in.
        let endpoint = seen["endpoint"].as_str().unwrap().to_owned();
        ask(Setup::alone().listen(&[&endpoint]).start().address());
        if text.starts_with("web=") {
            assert_eq!(seen["name"], "web");
        }
        ask(supervisor.address());
    }
}

fn a_bare_port_listens_on_all_addresses_of_both_families() {
    let port = free_port();
    let supervisor = Setup::alone().listen(&[&port.to_string()]).start();
    assert_eq!(supervisor.listener(0)["address"], format!("[::]:{port}"));
    for address in [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))] {
        ask(address);
    }
    // Twice in a row: nothing that was left open keeps the port.
    drop(supervisor);
    ask(Setup::alone().listen(&[&port.to_string()]).start().address());
}

fn an_ephemeral_port_is_reported_and_kept() {
    let supervisor = Setup::alone().listen(&["0"]).start();
    let address = supervisor.address();
    assert_ne!(address.port(), 0);
    supervisor.reload().expect(0);
    assert_eq!(supervisor.address(), address);
    assert_eq!(ask(address).generation, 2);
}

fn two_listeners_with_names() {
    for daemon in [false, true] {
        let setup = Setup::alone().listen(&["web=127.0.0.1:0", "127.0.0.1:0", "admin=[::1]:0"]);
        let setup = if daemon { setup.daemon() } else { setup };
        let file = setup.scene().path("probe.json");
        let supervisor = setup.role(&format!("probe {}", file.display())).start();
        let probe: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let environment = &probe["environment"];
        assert_eq!(environment["LISTEN_FDS"], "3", "{environment}");
        assert_eq!(environment["LISTEN_PID"], probe["pid"].to_string(), "{environment}");
        let names: Vec<_> = environment["LISTEN_FDNAMES"].as_str().unwrap().split(':').collect();
        assert_eq!((names.len(), names[0], names[2]), (3, "web", "admin"), "{environment}");
        let status = supervisor.status();
        for (index, name) in names.into_iter().enumerate() {
            assert_eq!(status["listeners"][index]["name"], name, "{status}");
        }
        for (index, address) in supervisor.addresses().into_iter().enumerate() {
            ask(address);
            let number = (index + 3).to_string();
            let target = &probe["descriptors"][&number]["target"];
            assert!(target.as_str().is_some_and(|target| target.starts_with("socket:")), "{number}: {probe}");
        }
    }
}

fn connections_of_several_listeners() {
    let supervisor = Setup::alone().connections().listen(&["127.0.0.1:0", "[::1]:0"]).start();
    for address in supervisor.addresses() {
        ask(address);
        ask(address);
    }
    let status = supervisor.status();
    assert_eq!(status["listeners"][0]["accepted"], 2, "{status}");
    assert_eq!(status["listeners"][1]["accepted"], 2, "{status}");
}

/// The queue limit of a listening socket, as the kernel shows it: without a reader it fills up.
fn the_backlog_is_as_asked() {
    let supervisor = Setup::alone().role("silent_alive").with("--backlog 5 --ready alive:50ms").start();
    let address = supervisor.address();
    let patience = std::time::Duration::from_millis(700);
    let taken: Vec<_> = (0..20).map_while(|_| TcpStream::connect_timeout(&address, patience).ok()).collect();
    assert!((5..=7).contains(&taken.len()), "{} connections in a backlog of 5", taken.len());
}

fn an_ipv6_only_listener_leaves_ipv4_alone() {
    let port = free_port();
    let supervisor = Setup::alone().listen(&[&format!("[::1]:{port}"), &format!("127.0.0.1:{port}")]).start();
    for address in supervisor.addresses() {
        ask(address);
    }
}

/// More descriptors than the supervisor itself has: each must be moved out of another's way.
fn forty_listeners_keep_their_order() {
    const LISTENERS: usize = 40;
    let setup = Setup::alone().listen(&["127.0.0.1:0"; LISTENERS]);
    let file = setup.scene().path("probe.json");
    let supervisor = setup.role(&format!("probe {}", file.display())).start();
    let probe: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (index, address) in supervisor.addresses().into_iter().enumerate() {
        let seen = &probe["descriptors"][&(index + 3).to_string()];
        assert_eq!(seen["address"], address.to_string(), "listener {index}: {probe}");
        // Blocking, as systemd passes them, and kept over an exec.
        let flags = u32::from_str_radix(seen["flags"].as_str().unwrap(), 8).unwrap();
        assert_eq!(flags & (0o4000 | 0o2_000_000), 0, "listener {index}: {seen}");
    }
    assert_eq!(probe["environment"]["LISTEN_FDS"], LISTENERS.to_string());
    ask(supervisor.addresses()[LISTENERS - 1]);
}
