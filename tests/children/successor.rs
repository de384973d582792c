//! A process that is to take over from a forwarder or a server of sessions and comes so far: by docs/forward.md and
//! docs/session.md, not by the program's own code.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use serde_json::Value;
use socket_protector_client::handoff::{Descriptor, Receiver};

/// Kills itself after so many steps: 0 nothing, 1 heard the plan, 2 said ready, 3 got descriptors, 4 said registered,
/// 5 heard commit. With a step of 6 it stays there, silent.
pub(super) fn run(last: u32) -> ExitCode {
    let stream = stdin();
    let (mut held, mut plan) = (Vec::new(), Value::Null);
    for step in 1..=last {
        match step {
            1 => plan = line(&stream),
            2 => says_ready(&stream, &plan),
            3 => held = descriptors(&stream, &line(&stream)),
            4 => (&stream).write_all(b"\"registered\"\n").unwrap(),
            5 => assert_eq!(line(&stream), "commit"),
            _ => std::thread::sleep(Duration::from_secs(1000)),
        }
    }
    raise(Signal::SIGKILL).unwrap();
    drop(held);
    ExitCode::FAILURE
}

/// Says these words, whatever it hears, and stays.
pub(super) fn says(words: &str) -> ExitCode {
    let stream = stdin();
    (&stream).write_all(words.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(1000));
    ExitCode::FAILURE
}

/// Writes down the plan that comes with the descriptors, and goes.
pub(super) fn records(file: &Path) -> ExitCode {
    let stream = stdin();
    says_ready(&stream, &line(&stream));
    let plan = line(&stream);
    std::fs::write(file, plan.to_string()).unwrap();
    drop(descriptors(&stream, &plan));
    ExitCode::FAILURE
}

/// Takes everything, and writes down the lines that the old process says then, without ever serving.
pub(super) fn hears(file: &Path) -> ExitCode {
    let stream = stdin();
    says_ready(&stream, &line(&stream));
    let held = descriptors(&stream, &line(&stream));
    (&stream).write_all(b"\"registered\"\n").unwrap();
    assert_eq!(line(&stream), "commit");
    (&stream).write_all(b"\"taken\"\n").unwrap();
    let mut heard = String::new();
    while heard.matches("\"stop\"").count() < 2 {
        heard += &format!("{}\n", line(&stream));
        std::fs::write(file, &heard).unwrap();
    }
    drop(held);
    ExitCode::SUCCESS
}

/// It understands a plan of that schema.
fn says_ready(mut stream: &UnixStream, plan: &Value) {
    writeln!(stream, "{{\"ready\":{}}}", plan["schema"]).unwrap();
}

fn stdin() -> UnixStream {
    UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap())
}

fn descriptors(stream: &UnixStream, plan: &Value) -> Vec<Descriptor> {
    // A server of sessions says first what all of them have in common, then each, then its clients.
    if let (Some(sessions), Some(clients)) = (plan["sessions"].as_u64(), plan["clients"].as_u64()) {
        (0..1 + sessions + clients).for_each(|_| counted(stream));
    }
    let count = usize::try_from(plan["descriptors"].as_u64().unwrap()).unwrap();
    let mut held = Vec::new();
    let mut receiver = Receiver::new().most_bytes(8 * 1024 * 1024);
    while held.len() < count {
        let take = |descriptor, _: &[u8]| {
            held.push(descriptor);
            Ok(())
        };
        assert_ne!(receiver.receive_from(stream, take).unwrap(), 0);
    }
    held
}

/// Bytes with their number before them.
fn counted(mut stream: &UnixStream) {
    let mut length = [0; 8];
    stream.read_exact(&mut length).unwrap();
    stream.read_exact(&mut vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap()]).unwrap();
}

/// A line, and not a byte more.
pub(crate) fn line(mut stream: &UnixStream) -> Value {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    serde_json::from_slice(&text).unwrap()
}
