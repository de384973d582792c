//! Output that nobody takes: the destination waits, memory does not grow, and everything arrives in the end.

use super::client::{Client, Said};
use super::destination::{Destination, pattern};
use super::place::Place;
use crate::harness::trials;
use socket_protector::session::frame::{Detached, Frame, Mode};

trials![
    what_is_said_while_nobody_is_there_waits_and_arrives_in_order,
    a_client_that_does_not_read_holds_up_its_destination_and_nobody_else,
    an_observer_that_does_not_read_holds_up_nobody,
    when_memory_is_short_no_session_is_made_and_nothing_is_lost,
];

/// Room for what a process needs beside its buffers.
const SLACK: u64 = 8 << 20;

/// How much is said in all, in MiB; more by the environment.
fn length() -> u64 {
    let asked = std::env::var("SESSION_FLOOD_MIB").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(64) << 20
}

fn what_is_said_while_nobody_is_there_waits_and_arrives_in_order() {
    let length = length();
    let destination = Destination::says(length);
    let place = Place::to(&destination.endpoint());
    let before = place.memory();
    let (client, ticket) = Client::create(place.address);
    client.cut();
    let full = |session: &serde_json::Value| session["buffered"].as_u64() >= session["limit"].as_u64();
    let session = place.wait_session(&ticket, "the buffer is full", full);
    assert_eq!((session["limit"].as_u64(), session["state"].as_str()), (Some(1 << 20), Some("detached")));
    place.wait_session(&ticket, "it has waited", |session| session["blocked_seconds"].as_u64() > Some(0));
    assert_eq!(place.session(&ticket).unwrap()["bytes_out"].as_u64(), Some(1 << 20), "not a byte more was read");
    assert!(place.memory() < before + SLACK, "{} bytes, before: {before}", place.memory());
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    while client.start < length {
        client.output_to(length.min(client.start + (1 << 20)));
        let part = std::mem::take(&mut client.output);
        assert!(part == pattern(client.start, part.len()), "the stream is another behind byte {}", client.start);
        client.start += part.len() as u64;
    }
    client.say(&Frame::Fin { offset: 0 });
    client.finish();
    assert!(place.memory() < before + SLACK, "{} bytes, before: {before}", place.memory());
}

fn a_client_that_does_not_read_holds_up_its_destination_and_nobody_else() {
    let destination = Destination::new(|mut stream| {
        use std::io::{Read, Write};
        let mut word = [0];
        stream.read_exact(&mut word).unwrap();
        if word[0] == b'f' {
            let part = pattern(0, 64 * 1024);
            while stream.write_all(&part).is_ok() {}
        } else {
            let _ = std::io::copy(&mut &stream, &mut &stream);
        }
    });
    let place = Place::to(&destination.endpoint());
    let (mut deaf, ticket) = Client::create(place.address);
    let (mut other, _other_ticket) = Client::create(place.address);
    other.type_in(b"e");
    let before = place.memory();
    deaf.type_in(b"f");
    let full = |session: &serde_json::Value| session["buffered"].as_u64() >= session["limit"].as_u64();
    place.wait_session(&ticket, "the buffer is full", full);
    for round in 0..100 {
        let word = format!("word {round};");
        other.type_in(word.as_bytes());
        other.expect(&word);
    }
    assert!(place.memory() < before + SLACK, "{} bytes, before: {before}", place.memory());
    // It does not keep others from its session either.
    let mut thief = Client::come(place.address, &ticket, 0, Mode::Steal);
    thief.output_to(3 << 20);
    deaf.until("the last words", |said| *said == Said::Detached(Detached::TakenOver));
}

fn an_observer_that_does_not_read_holds_up_nobody() {
    let length = 16 << 20;
    let destination = Destination::says(length);
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut observer = Client::come(place.address, &ticket, 0, Mode::Observe);
    client.output_to(length);
    observer.until("a gap", |said| {
        matches!(said, Said::Gap(..)) || matches!(said, Said::Data(offset, _) if *offset > 1 << 20)
    });
}

fn when_memory_is_short_no_session_is_made_and_nothing_is_lost() {
    let destination = Destination::says(1 << 20);
    let place = Place::with(&destination.endpoint(), &["--memory", "2MiB"]);
    let (client, ticket) = Client::create(place.address);
    client.cut();
    let (client, second) = Client::create(place.address);
    client.cut();
    for ticket in [&ticket, &second] {
        let full = |session: &serde_json::Value| session["blocked_seconds"].as_u64() > Some(0);
        place.wait_session(ticket, "it waits", full);
    }
    let mut refused = Client::connect(place.address);
    refused.say(&Frame::New(socket_protector::session::frame::New { nonce: refused.said.client, ttl: 0 }));
    assert!(matches!(refused.hear(), Said::Reject(refusal) if refusal.retry_after() == Some(10)));
    for ticket in [&ticket, &second] {
        let mut client = Client::come(place.address, ticket, 0, Mode::Steal);
        client.output_to(1 << 20);
        assert!(client.output == pattern(0, 1 << 20));
    }
    // There is room again.
    Client::create(place.address);
}
