//! docs/protocol.md says what the code does: its golden vectors, and its child in another language.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
mod needs;

use common::{Supervisor, clients, eventually};
use needs::needs;
use socket_protector_client::wire::{FromChild, ToChild, encode_connection_with_state, encode_connections};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap()
}

/// The records in the section's table, as bytes.
fn vectors(page: &str) -> Vec<Vec<u8>> {
    let section = page.split("## Golden vectors").nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(|cell| cell.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()).collect()
}

#[test]
fn the_golden_vectors_are_what_is_sent() {
    let mut connections = [Vec::new(), Vec::new()];
    encode_connections(&[0], &mut connections[0]);
    encode_connections(&[0, 1, 4660], &mut connections[1]);
    let [one, three] = connections;
    let mut with_state = Vec::new();
    encode_connection_with_state(1, b"ok", &mut with_state);
    let from_child = [
        FromChild::Hello { version: 1 },
        FromChild::Ready,
        FromChild::Status("tätig".to_owned()),
        FromChild::OpenConnections(70_000),
        FromChild::GiveBack { listener: 1, state: b"ok".to_vec() },
    ];
    let expected = [one, three.clone(), with_state].into_iter().chain(from_child.iter().map(FromChild::encode));
    assert!(vectors(&page()).into_iter().eq(expected));
    assert_eq!(ToChild::decode(&three), Ok(ToChild::Connections(vec![0, 1, 4660])));
}

#[test]
fn the_child_in_python_serves_and_drains() {
    let page = page();
    let program = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let (supervisor, channel) = Supervisor::new();
    if !needs(Command::new("python3").arg("-V").output().is_ok(), "python3") {
        return;
    }
    let mut child = Command::new("python3")
        .args(["-c", program])
        .env("SOCKET_PROTECTOR_CHANNEL", "0")
        .stdin(channel)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for expected in [FromChild::Hello { version: 1 }, FromChild::Ready] {
        let mut heard = None;
        eventually(|| {
            heard = supervisor.heard();
            heard.is_some()
        });
        assert_eq!(heard, Some(expected));
    }
    let (mut seen, passed): (Vec<_>, Vec<_>) = clients(4).into_iter().unzip();
    supervisor.pass(&[(0, passed[0].as_fd()), (1, passed[1].as_fd())]);
    supervisor.pass(&[(0, passed[2].as_fd())]);
    supervisor.pass_with_state(0, b"state", passed[3].as_fd());
    drop((supervisor, passed));
    for client in &mut seen {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "served\n");
    }
    assert!(child.wait().unwrap().success());
}
