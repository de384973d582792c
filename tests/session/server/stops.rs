//! How a server ends, and signals.

use super::client::{Client, Said, Ticket};
use super::destination::{Destination, pattern, read_all};
use super::place::Place;
use crate::harness::process::Exit;
use crate::harness::{PATIENCE, trials, until};
use nix::sys::signal::Signal;
use socket_protector::session::frame::{Closed, Frame, Mode, New, Refusal};
use std::io::{ErrorKind, Read as _, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

trials![
    term_tells_clients_and_lets_them_have_what_there_is,
    what_there_is_for_a_client_that_is_away_waits_for_it,
    a_stop_takes_no_longer_than_it_may,
    a_second_signal_ends_it_now,
    input_is_with_its_destination_before_the_end,
    output_that_nobody_reads_takes_no_input_along,
    a_destination_that_does_not_end_holds_up_no_stop,
    a_stop_that_waits_says_for_whom,
    a_session_that_is_closed_takes_no_input_along_either,
    drain_is_the_same_and_waits_for_the_end,
    stop_is_as_good,
    hang_up_does_no_harm_and_the_log_is_opened_afresh,
];

fn term_tells_clients_and_lets_them_have_what_there_is() {
    let destination = Destination::says(400_000);
    let mut place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    // It has seen the window that is open before the first acknowledgement, and then is asked to go.
    place.wait_state(&ticket, "ended");
    place.signal(Signal::SIGTERM);
    let grace = client.until("that the server goes", |said| matches!(said, Said::GoAway(_)));
    assert!(matches!(grace, Said::GoAway(1..=30)), "{grace:?}");
    let mut other = Client::connect(place.address);
    other.say(&Frame::New(New { nonce: other.said.client, ttl: 0 }));
    assert_eq!(other.hear(), Said::Reject(Refusal::Stopping { retry_after: 10 }));
    client.output_to(400_000);
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    assert!(client.output == pattern(0, 400_000));
    assert_eq!(place.wait_exit(), Exit::Code(0));
    assert!(
        !place
            .scene
            .path("run")
            .read_dir()
            .unwrap()
            .any(|file| file.is_ok_and(|file| file.path().extension().is_some_and(|kind| kind == "sock")))
    );
}

fn what_there_is_for_a_client_that_is_away_waits_for_it() {
    let destination = Destination::says(1000);
    let mut place = Place::to(&destination.endpoint());
    let (client, ticket) = Client::create(place.address);
    drop(client);
    place.wait_state(&ticket, "ended");
    place.signal(Signal::SIGTERM);
    place.wait_log("stopping");
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.output_to(1000);
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn a_stop_takes_no_longer_than_it_may() {
    let destination = Destination::says(1000);
    let mut place = Place::with(&destination.endpoint(), &["--stop-timeout", "1s"]);
    let (client, ticket) = Client::create(place.address);
    drop(client);
    place.wait_state(&ticket, "ended");
    place.signal(Signal::SIGTERM);
    assert_eq!(place.wait_exit(), Exit::Code(0));
    assert!(place.log().contains("not everything has arrived"), "{}", place.log());
}

fn a_second_signal_ends_it_now() {
    let destination = Destination::says(1000);
    let mut place = Place::with(&destination.endpoint(), &["--stop-timeout", "1h"]);
    let (client, ticket) = Client::create(place.address);
    drop(client);
    place.wait_state(&ticket, "ended");
    place.signal(Signal::SIGINT);
    place.wait_log("stopping");
    place.signal(Signal::SIGINT);
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn input_is_with_its_destination_before_the_end() {
    let (told, heard) = channel();
    let (go, gone) = channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let destination = Destination::new(move |stream| {
        gone.lock().unwrap().recv().unwrap();
        told.send(read_all(&stream)).unwrap();
    });
    let mut place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut sent = Vec::new();
    // More than the sockets take.
    until("input waits here", PATIENCE, || {
        let part = pattern(sent.len() as u64, 64 * 1024);
        client.type_in(&part);
        sent.extend_from_slice(&part);
        client.say(&Frame::Ping([0; 8]));
        let mut waits = false;
        loop {
            match client.take() {
                Said::Ack(ack) => {
                    waits = ack.written < Some(sent.len() as u64 - 32 * 1024) && ack.next == sent.len() as u64
                }
                Said::Pong(_) => break,
                _ => {}
            }
        }
        if waits { Ok(()) } else { Err(format!("{} bytes", sent.len())) }
    });
    drop(client);
    place.wait_state(&ticket, "detached");
    place.signal(Signal::SIGTERM);
    place.wait_log("stopping");
    go.send(()).unwrap();
    assert_eq!(place.wait_exit(), Exit::Code(0));
    assert!(heard.recv_timeout(PATIENCE).unwrap() == sent);
}

/// What a destination has read to the end.
pub(super) type Read = Result<Vec<u8>, ErrorKind>;

/// Says more than a session with a buffer of 64 KiB takes, reads nothing before it is asked to, and tells then what it was
/// sent, if it was.
pub(super) fn speaks_before_it_listens() -> (Destination, Sender<()>, Receiver<Read>) {
    let (told, heard) = channel();
    let (go, gone) = channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let destination = Destination::new(move |mut stream| {
        stream.peek(&mut [0]).unwrap();
        stream.write_all(&pattern(0, 200 * 1024)).unwrap();
        gone.lock().unwrap().recv().unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).map_err(|error| error.kind());
        told.send(read.map(|_| bytes)).unwrap();
    });
    (destination, go, heard)
}

/// A session of such a destination, which has got its input; what it says waits in the server's socket.
pub(super) fn told_something(place: &Place) -> (Client, Ticket) {
    let (mut client, ticket) = Client::create(place.address);
    client.type_in(&words());
    // No output is acknowledged.
    let full = |session: &serde_json::Value| session["buffered"].as_u64() >= session["limit"].as_u64();
    place.wait_session(&ticket, "no more is read", full);
    (client, ticket)
}

/// More than a destination takes that does not read: the rest waits in the server's socket, where a reset would drop it.
pub(super) fn words() -> Vec<u8> {
    pattern(7, 200 * 1024)
}

fn output_that_nobody_reads_takes_no_input_along() {
    let (destination, go, heard) = speaks_before_it_listens();
    let mut place = Place::with(&destination.endpoint(), &["--buffer", "64KiB", "--telnet", "off"]);
    let (client, ticket) = told_something(&place);
    drop(client);
    place.signal(Signal::SIGTERM);
    place.wait_log("stopping");
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    let late = Client::connect(place.address).resume(&ticket, 0, Mode::Steal);
    assert!(matches!(late, Err(Refusal::Stopping { .. })), "{late:?}");
    assert!(client.output.len() < 200 * 1024, "the rest waits in the server's socket");
    go.send(()).unwrap();
    let read = heard.recv_timeout(PATIENCE).unwrap();
    assert!(read == Ok(words()), "{:?}", read.map(|bytes| bytes.len()));
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

/// Says five bytes back, then reads the end of its input and does not care.
fn never_ends() -> Destination {
    Destination::new(|mut stream| {
        let mut word = [0; 5];
        if stream.read_exact(&mut word).is_ok() {
            stream.write_all(&word).unwrap();
        }
        read_all(&stream);
        loop {
            std::thread::park();
        }
    })
}

fn a_stop_that_waits_says_for_whom() {
    let destination = never_ends();
    let mut place = Place::with(&destination.endpoint(), &["--stop-timeout", "1h"]);
    let (mut client, ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.cut();
    place.wait_session(&ticket, "its echo is kept", |session| session["buffered"] == 5);
    place.signal(Signal::SIGTERM);
    // First for the client, which is to come for that, and then for the destination.
    let id = ticket.short();
    place.wait_log(&format!("stopping waits for what has not arrived of session {id};"));
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    place.wait_log(&format!("stopping waits for destinations, which have not ended, of session {id};"));
    place.signal(Signal::SIGTERM);
    assert_eq!(place.wait_exit(), Exit::Code(0));
    assert_eq!(place.log().matches("stopping waits for").count(), 2, "each once: {}", place.log());
}

fn a_destination_that_does_not_end_holds_up_no_stop() {
    let destination = never_ends();
    let mut place = Place::with(&destination.endpoint(), &["--stop-timeout", "1s"]);
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("hello");
    place.signal(Signal::SIGTERM);
    assert_eq!(place.wait_exit(), Exit::Code(0));
    // Where it got nothing there is nothing to wait for.
    let mut place = Place::with(&destination.endpoint(), &["--stop-timeout", "1h"]);
    let (mut client, _ticket) = Client::create(place.address);
    client.until("the destination", |said| matches!(said, Said::Destination(_)));
    place.signal(Signal::SIGTERM);
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn a_session_that_is_closed_takes_no_input_along_either() {
    let (destination, go, heard) = speaks_before_it_listens();
    let place = Place::with(&destination.endpoint(), &["--buffer", "64KiB", "--telnet", "off"]);
    let before = place.census();
    let (mut client, ticket) = told_something(&place);
    client.say(&Frame::Close);
    client.until("the end", |said| *said == Said::Closed(Closed::ByClient));
    assert_eq!(place.session(&ticket), None);
    go.send(()).unwrap();
    let read = heard.recv_timeout(PATIENCE).unwrap();
    assert!(read == Ok(words()), "{:?}", read.map(|bytes| bytes.len()));
    drop(client);
    place.wait_census(&before);
}

fn drain_is_the_same_and_waits_for_the_end() {
    let destination = Destination::echo();
    let mut place = Place::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("hello");
    let ran = place.run("drain", &[]).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    place.run("status", &[]).expect(1).complains().says("no server of sessions");
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn stop_is_as_good() {
    let destination = Destination::echo();
    let mut place = Place::with(&destination.endpoint(), &["--name", "chat"]);
    place.scene.cli(&["stop", "chat"]).expect(0);
    assert_eq!(place.wait_exit(), Exit::Code(0));
}

fn hang_up_does_no_harm_and_the_log_is_opened_afresh() {
    let destination = Destination::echo();
    let scene = crate::harness::Scene::new();
    let log = scene.path("own.log").display().to_string();
    let mut place = Place::in_scene(scene, "127.0.0.1:0", &destination.endpoint(), &["--log-file", &log]);
    let (mut client, _ticket) = Client::create(place.address);
    std::fs::rename(&log, format!("{log}.1")).unwrap();
    for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGPIPE, Signal::SIGCHLD, Signal::SIGUSR1] {
        place.signal(signal);
    }
    until("there is a new log", PATIENCE, || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        if log.contains("opened afresh") { Ok(()) } else { Err(log) }
    });
    client.type_in(b"still here");
    client.expect("still here");
    place.signal(Signal::SIGTERM);
    client.until("the end", |said| *said == Said::Closed(Closed::Stopped));
    assert_eq!(place.wait_exit(), Exit::Code(0));
}
