//! One session, one row of offsets, by whatever way it is read.

use super::http::Events;
use super::socket::Socket;
use super::stage::{Stage, pattern};
use crate::harness::trials;
use std::io::Write;

trials![a_client_changes_its_way_in_mid_stream];

fn a_client_changes_its_way_in_mid_stream() {
    const ALL: usize = 4 * 1024 * 1024;
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let writer = std::thread::spawn(move || {
        destination.write_all(&pattern(0, ALL)).unwrap();
        destination
    });
    let mut all: Vec<u8> = Vec::with_capacity(ALL);
    for round in 0.. {
        let from = all.len() as u64;
        if all.len() >= ALL {
            break;
        }
        // Not to a round number of anything, and never more than there is.
        let until = (from + 77_777).min(ALL as u64);
        match round % 4 {
            0 | 3 => {
                let answer = stage.get(&session, &format!("/output?from={from}&wait=50"));
                all.extend(answer.expect_output(from));
            }
            1 => {
                let last = from.to_string();
                let headers = [session.header(), ("Last-Event-ID", last.as_str())];
                let mut events = Events::follow(stage.client(), &session.path("/events"), &headers).unwrap();
                all.extend(events.output(until));
            }
            _ => {
                let mut socket = Socket::open(&stage, &session, &[]).unwrap();
                socket.resume(&session, from);
                all.extend(socket.output(from, until));
            }
        }
    }
    assert!(all == pattern(0, ALL), "{} of {ALL} bytes", all.len());
    stage.destination.expect_no_more();
    drop(writer.join().unwrap());
    let last = stage.get(&session, &format!("/output?from={ALL}&wait=50"));
    assert_eq!(last.header("stream-fin"), Some("true"));
}
