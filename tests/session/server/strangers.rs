//! Those who have no business here: wrong secrets, other protocols, broken frames. Nobody else notices.

use super::client::{Client, Said, Ticket, dial};
use super::destination::Destination;
use super::place::Place;
use crate::harness::trials;
use socket_protector::session::credential::{Mac, SessionId};
use socket_protector::session::frame::{Frame, Mode, Refusal, Resume};
use std::io::{ErrorKind, Read, Write};

trials![
    a_wrong_secret_and_an_unknown_id_are_answered_alike_and_disturb_nobody,
    a_proof_is_good_once,
    other_protocols_are_closed_before_anything_is_made,
    what_is_no_frame_costs_the_connection_alone,
    no_secret_is_to_be_seen_anywhere,
];

fn a_wrong_secret_and_an_unknown_id_are_answered_alike_and_disturb_nobody() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let (_other, other) = Client::create(place.address);
    let unknown = Ticket { id: SessionId([9; 16]), text: ticket.text.clone(), boot: ticket.boot };
    let wrong = Ticket { id: ticket.id, text: other.text, boot: ticket.boot };
    for guess in [&wrong, &unknown] {
        let mut guesser = Client::connect(place.address);
        assert_eq!(guesser.resume(guess, 0, Mode::Steal).err(), Some(Refusal::Denied));
        assert_eq!(guesser.hear(), Said::End);
    }
    // Guesses wait; the right proof does not, and neither does anybody else.
    let mut waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut guesser = Client::connect(place.address);
            guesser.ask(&wrong, 0, Mode::Steal);
            guesser
        })
        .collect();
    client.type_in(b"hello");
    client.expect("hello");
    let mut observer = Client::come(place.address, &ticket, 0, Mode::Observe);
    observer.expect("hello");
    for guesser in &mut waiting {
        assert_eq!(guesser.hear(), Said::Reject(Refusal::Denied));
    }
    assert_eq!(place.session(&ticket).unwrap()["epoch"], 1);
    // Another boot that was seen: the same for both.
    let gone = Ticket { boot: socket_protector::session::credential::BootId([1; 16]), ..unknown };
    let mut guesser = Client::connect(place.address);
    assert_eq!(guesser.resume(&gone, 0, Mode::Steal).err(), Some(Refusal::Gone));
}

fn a_proof_is_good_once() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (_client, ticket) = Client::create(place.address);
    let (mut first, mut second) = (Client::connect(place.address), Client::connect(place.address));
    let secret = socket_protector::session::credential::Secret::from_text(&ticket.text).unwrap();
    let mac = secret.key().resume(&first.said, ticket.id, 0, 0);
    let resume = |nonce, mac| {
        Frame::Resume(Resume { id: ticket.id, boot_seen: ticket.boot, nonce, next: 0, mode: Mode::Steal, mac })
    };
    let nonce = first.said.client;
    second.say(&resume(nonce, Mac(mac.0)));
    assert_eq!(second.hear(), Said::Reject(Refusal::Denied), "it was made for another connection");
    first.say(&resume(nonce, mac));
    assert!(matches!(first.hear(), Said::Accept(_)));
}

fn other_protocols_are_closed_before_anything_is_made() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let before = place.census();
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let zeros = vec![0; 1 << 20];
    let almost = b"\xd3\x53\x4b\x54\x00\x0d\x0a\x1b\x01\x01";
    for words in [&b"GET / HTTP/1.1\r\nHost: localhost:9009\r\n\r\n"[..], &hello, &zeros, almost, b"\n"] {
        let mut stream = dial(place.address);
        // It may be closed before all is written.
        let _ = stream.write_all(words);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert_eq!(answer, b"", "no answer");
    }
    // One byte after the other, and wrong at the last.
    let mut stream = dial(place.address);
    for byte in b"\xd3\x53\x4b\x54\x00\x0d" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(b"x").unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    // A version that nobody speaks.
    let mut stream = dial(place.address);
    stream.write_all(b"\xd3\x53\x4b\x54\x00\x0d\x0a\x1a\x02\x07").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"\x06\0\0\x03\x01\x01\x01");
    place.wait_sessions(0);
    assert_eq!(destination.accepted(), 0);
    place.wait_census(&before);
}

fn what_is_no_frame_costs_the_connection_alone() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    // Before a proof: a frame of another kind, one that is too long, too many of those that are skipped.
    let skipped = [0xf0, 0, 0, 100].into_iter().chain([0; 100]).collect::<Vec<_>>().repeat(12);
    for words in [&b"\x10\0\0\x09\0\0\0\0\0\0\0\0x"[..], b"\xf0\0\x10\0", &skipped, b"\x7f\0\0\0"] {
        let mut client = Client::connect(place.address);
        let _ = client.stream().write_all(words);
        assert!(matches!(client.hear(), Said::Reject(Refusal::Malformed) | Said::End));
    }
    // After it: the session goes on without that client.
    let (mut client, ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("hello");
    for words in [
        &b"\x7f\0\0\0"[..],
        b"\x10\0\0\x09\0\0\0\0\0\0\xff\0x",
        b"\x11\0\0\x0c\0\0\0\0\0\0\xff\0\0\0\0\0",
        b"\x20\x40\0\0",
    ] {
        client.write(words);
        let broke = socket_protector::session::frame::Detached::Broke;
        client.until("the last words", |said| *said == Said::Detached(broke));
        place.wait_state(&ticket, "detached");
        client = Client::come(place.address, &ticket, 5, Mode::Steal);
    }
    client.type_in(b" again");
    client.expect(" again");
    assert_eq!(destination.accepted(), 1);
}

fn no_secret_is_to_be_seen_anywhere() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["-vv"]);
    let (mut client, ticket) = Client::create(place.address);
    client.type_in(b"the words of its user");
    client.expect("user");
    drop(client);
    let wrong =
        Ticket { id: ticket.id, text: format!("{}A", &ticket.text[..ticket.text.len() - 1]), boot: ticket.boot };
    let mut guesser = Client::connect(place.address);
    let _ = guesser.resume(&wrong, 0, Mode::Steal);
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.expect("user");
    place.run("detach", &[&ticket.short()]).expect(0);
    let shown = [
        place.log(),
        place.status().to_string(),
        place.run("status", &[]).expect(0).out,
        place.scene.cli(&["status"]).expect(0).out,
        std::fs::read_to_string(format!("/proc/{}/cmdline", place.pid())).unwrap(),
    ];
    let secret = &ticket.text["sks_".len()..];
    for text in shown {
        assert!(!text.contains("sks_") && !text.contains(&secret[..12]), "{text}");
        assert!(!text.contains("words of its user"), "{text}");
        assert!(!text.contains(&ticket.id.to_string()), "the whole id is nobody's business either: {text}");
    }
    assert!(place.log().contains("no such session, or not its secret"));
}
