//! A process that is to take over from a forwarder and comes so far: by docs/forward.md, not by the program's own code.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use socket_protector_client::handoff::Receiver;

/// What it has done when it ends: 0 nothing, 1 heard the plan, 2 said ready, 3 got descriptors, 4 said registered,
/// 5 heard commit. With a step of 6 it stays there, silent.
pub(super) fn run(last: u32) -> ExitCode {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let (mut descriptors, mut held) = (0, Vec::new());
    for step in 1..=last {
        match step {
            1 => drop(line(&stream)),
            2 => (&stream).write_all(b"\"ready\"\n").unwrap(),
            3 => {
                descriptors = line(&stream)["descriptors"].as_u64().unwrap();
                let mut receiver = Receiver::new().most_bytes(8 * 1024 * 1024);
                while held.len() as u64 != descriptors {
                    let take = |descriptor, _: &[u8]| {
                        held.push(descriptor);
                        Ok(())
                    };
                    receiver.receive_from(&stream, take).unwrap();
                }
            }
            4 => (&stream).write_all(b"\"registered\"\n").unwrap(),
            5 => assert_eq!(line(&stream), "commit"),
            _ => std::thread::sleep(Duration::from_secs(1000)),
        }
    }
    assert_eq!(held.len() as u64, descriptors);
    ExitCode::FAILURE
}

/// A line, and not a byte more.
fn line(mut stream: &UnixStream) -> Value {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    serde_json::from_slice(&text).unwrap()
}
