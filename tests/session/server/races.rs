//! Several clients of one session: races, a client that is gone without a word, writers, and late bytes.

use super::client::{Client, Said};
use super::destination::{Destination, read_all};
use super::place::Place;
use crate::harness::{PATIENCE, trials};
use socket_protector::session::frame::{Detached, Frame, Mode, Refusal};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

trials![
    of_two_who_come_at_once_one_is_the_client,
    whoever_is_fenced_off_says_nothing_more,
    refuse_does_not_disturb_whoever_is_attached,
    a_client_and_a_writer_both_get_their_bytes_through,
    a_request_that_is_made_twice_at_once_counts_once,
    a_request_that_is_made_again_does_no_harm,
];

/// How often two come at once.
const ROUNDS: u64 = 300;

fn of_two_who_come_at_once_one_is_the_client() {
    let (told, heard) = channel();
    let destination = Destination::new(move |stream| told.send(read_all(&stream)).unwrap());
    let place = Place::to(&destination.endpoint());
    let (client, ticket) = Client::create(place.address);
    drop(client);
    let (ticket, address) = (Arc::new(ticket), place.address);
    let mut epoch = 1;
    let mut written = 0;
    for _ in 0..ROUNDS {
        let barrier = Arc::new(Barrier::new(2));
        let racers: Vec<_> = (0..2)
            .map(|_| {
                let (barrier, ticket) = (Arc::clone(&barrier), Arc::clone(&ticket));
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    barrier.wait();
                    client.ask(&ticket, 0, Mode::Steal);
                    match client.hear() {
                        Said::Accept(accept) => {
                            client.prove();
                            (client, accept.epoch)
                        }
                        other => panic!("{other:?}"),
                    }
                })
            })
            .collect();
        let mut came: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        came.sort_by_key(|(_, epoch)| *epoch);
        let epochs: Vec<u64> = came.iter().map(|(_, epoch)| *epoch).collect();
        assert_eq!(epochs, [epoch + 1, epoch + 2], "one is the client of each epoch");
        epoch += 2;
        let (mut last, _) = came.pop().unwrap();
        let (mut first, _) = came.pop().unwrap();
        first.until("the last words", |said| *said == Said::Detached(Detached::TakenOver));
        // Each says its word at the place that it knows; only the one that is attached is heard.
        last.until("where the input is", |said| matches!(said, Said::Ack(_)));
        last.say(&Frame::Data { offset: written, bytes: b"." });
        written += 1;
        last.until("it has arrived", |said| matches!(said, Said::Ack(ack) if ack.next == written));
    }
    let mut client = Client::come(address, &ticket, 0, Mode::Steal);
    client.say(&Frame::Fin { offset: written });
    client.finish();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), vec![b'.'; written as usize]);
    assert_eq!(destination.accepted(), 1);
}

fn whoever_is_fenced_off_says_nothing_more() {
    let (told, heard) = channel();
    let destination = Destination::new(move |stream| told.send(read_all(&stream)).unwrap());
    let place = Place::to(&destination.endpoint());
    // It neither reads nor leaves, as one whose network is gone.
    let (mut old, ticket) = Client::create(place.address);
    old.type_in(b"old ");
    old.until("it has arrived", |said| matches!(said, Said::Ack(ack) if ack.next == 4));
    let mut new = Client::come(place.address, &ticket, 0, Mode::Steal);
    assert_eq!(new.next, 4);
    // What it has sent too late is not heard.
    let mut late = Vec::new();
    Frame::Data { offset: 4, bytes: b"late" }.encode(&mut late);
    Frame::Fin { offset: 8 }.encode(&mut late);
    Frame::Close.encode(&mut late);
    old.write(&late);
    new.type_in(b"new");
    new.say(&Frame::Fin { offset: 7 });
    new.finish();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"old new");
    old.until("the last words", |said| *said == Said::Detached(Detached::TakenOver));
}

fn refuse_does_not_disturb_whoever_is_attached() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut other = Client::connect(place.address);
    assert!(matches!(other.resume(&ticket, 0, Mode::Refuse), Err(Refusal::InUse { .. })));
    client.type_in(b"still here");
    client.expect("still here");
    assert_eq!(place.session(&ticket).unwrap()["epoch"], 1);
}

fn a_client_and_a_writer_both_get_their_bytes_through() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut writer = Client::come(place.address, &ticket, 0, Mode::Input);
    // Both are at byte 0, and neither knows of the other.
    writer.type_in(b"[writer]");
    writer.until("it has arrived", |said| matches!(said, Said::Ack(ack) if ack.next == 8));
    client.type_in(b"[client]");
    client.expect("[writer][client]");
    client.cut();
    let mut client = Client::connect(place.address);
    client.ask(&ticket, 16, Mode::Steal);
    assert!(matches!(client.hear(), Said::Accept(accept) if accept.input_next == 16));
    assert_eq!(client.hear(), Said::Input(16, 8), "eight of them were the client's");
}

/// Both are let in before either has said what it brings.
fn a_request_that_is_made_twice_at_once_counts_once() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut both = [(); 2].map(|()| Client::come(place.address, &ticket, 0, Mode::Input));
    let mut other = Client::come(place.address, &ticket, 0, Mode::Input);
    for request in &mut both {
        request.say(&Frame::Append { offset: 0, bytes: b"once" });
        request.until("it has arrived", |said| {
            matches!(said, Said::Ack(ack) if ack.next == 4) || matches!(said, Said::Input(4, 4))
        });
    }
    other.say(&Frame::Append { offset: 0, bytes: b"other" });
    other.until("that others were faster", |said| *said == Said::Detached(Detached::Conflict));
    client.type_in(b"!");
    client.expect("once!");
    assert_eq!(client.output, b"once!");
}

fn a_request_that_is_made_again_does_no_harm() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    for _ in 0..3 {
        let mut request = Client::come(place.address, &ticket, 0, Mode::Input);
        request.say(&Frame::Data { offset: 0, bytes: b"once" });
        request.until("it has arrived", |said| matches!(said, Said::Ack(ack) if ack.next == 4));
    }
    let mut other = Client::come(place.address, &ticket, 0, Mode::Input);
    other.say(&Frame::Data { offset: 0, bytes: b"other" });
    other.until("that others were faster", |said| *said == Said::Detached(Detached::Conflict));
    client.expect("once");
    client.type_in(b"!");
    client.expect("once!");
    assert_eq!(client.output, b"once!");
}
