//! Connections that break anywhere: what arrives is what was sent, once and in order.

use super::client::{Client, Said, Ticket, dial};
use super::destination::{Destination, pattern, read_all};
use super::place::Place;
use crate::harness::{eventually, trials};
use socket_protector::session::frame::{Frame, Mode};
use std::io::Read;
use std::sync::{Arc, Mutex};

trials![
    output_is_whole_wherever_the_connection_breaks,
    input_is_whole_wherever_the_connection_breaks,
    a_session_whose_answer_was_lost_leaves_nothing_behind,
    an_answer_to_a_resume_may_be_lost_a_hundred_times,
    what_was_not_acknowledged_comes_again,
];

/// xorshift: the same walk on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Where connections break: behind each of the first bytes, then anywhere.
fn places() -> impl Iterator<Item = usize> {
    let mut random = Random(7);
    (0..700).chain((0..150).map(move |_| 700 + random.below(60_000) as usize))
}

/// Something that breaks behind so many bytes that are read.
struct Cut<S> {
    stream: S,
    left: usize,
}

impl<S: Read> Read for Cut<S> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let most = room.len().min(self.left);
        let count = if most == 0 { 0 } else { self.stream.read(&mut room[..most])? };
        self.left -= count;
        Ok(count)
    }
}

impl<S: std::io::Write> std::io::Write for Cut<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn output_is_whole_wherever_the_connection_breaks() {
    const LENGTH: u64 = 4 << 20;
    // As the page has it: HELLO and ACCEPT.
    const BEFORE: usize = 65 + 90;
    let destination = Destination::says(LENGTH);
    let place = Place::to(&destination.endpoint());
    let before = place.census();
    let (client, ticket) = Client::create(place.address);
    client.cut();
    let mut received: Vec<u8> = Vec::new();
    for cut in places() {
        let mut client = Client::over(Cut { stream: dial(place.address), left: BEFORE + cut });
        client.ask(&ticket, received.len() as u64, Mode::Steal);
        client.start = received.len() as u64;
        assert!(matches!(client.hear(), Said::Accept(_)));
        client.prove();
        while client.hear_output() {}
        received.append(&mut client.output);
    }
    let mut client = Client::come(place.address, &ticket, received.len() as u64, Mode::Steal);
    client.output_to(LENGTH);
    received.append(&mut client.output);
    assert!(received == pattern(0, LENGTH as usize), "the stream is another");
    (client.start, client.fin) = (LENGTH, None);
    client.say(&Frame::Fin { offset: 0 });
    client.finish();
    assert_eq!(destination.accepted(), 1);
    place.wait_sessions(0);
    place.wait_census(&before);
}

impl Client<Cut<std::net::TcpStream>> {
    /// Takes output in without a word; false at the end.
    fn hear_output(&mut self) -> bool {
        match self.hear() {
            Said::Data(offset, bytes) => {
                assert_eq!(offset, self.start + self.output.len() as u64);
                self.output.extend_from_slice(&bytes);
                true
            }
            Said::End => false,
            _ => true,
        }
    }
}

fn input_is_whole_wherever_the_connection_breaks() {
    let got = Arc::new(Mutex::new(None));
    let destination = {
        let got = Arc::clone(&got);
        Destination::new(move |stream| *got.lock().unwrap() = Some(read_all(&stream)))
    };
    let place = Place::to(&destination.endpoint());
    let (client, ticket) = Client::create(place.address);
    client.cut();
    let mut sent = 0;
    for cut in places() {
        let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
        assert!(client.next >= sent, "what has arrived stays");
        sent = client.next;
        // Frames of a few lengths; then the connection breaks somewhere in them.
        let (mut bytes, mut at) = (Vec::new(), client.next);
        for length in [1, 3, 50, 700, 8000] {
            Frame::Data { offset: at, bytes: &pattern(at, length) }.encode(&mut bytes);
            at += length as u64;
        }
        client.write(&bytes[..cut.min(bytes.len())]);
        client.cut();
    }
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    let rest = pattern(client.next, 1000);
    client.type_in(&rest);
    let length = client.next;
    client.say(&Frame::Fin { offset: length });
    client.finish();
    eventually("the destination has everything", || got.lock().unwrap().is_some());
    assert!(got.lock().unwrap().take().unwrap() == pattern(0, length as usize), "the stream is another");
    assert_eq!(destination.accepted(), 1);
}

fn a_session_whose_answer_was_lost_leaves_nothing_behind() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let before = place.census();
    for _ in 0..5 {
        let mut client = Client::connect(place.address);
        let nonce = client.said.client;
        client.say(&Frame::New(socket_protector::session::frame::New { nonce, ttl: 0 }));
        assert!(matches!(client.hear(), Said::Accept(_)));
        client.cut();
    }
    let status = place.status();
    assert_eq!(status["sessions"].as_array().unwrap().len(), 5);
    assert!(status["sessions"].as_array().unwrap().iter().all(|session| session["state"] == "provisional"));
    place.wait_sessions(0);
    assert_eq!(destination.accepted(), 0, "nothing was connected to");
    place.wait_census(&before);
}

fn an_answer_to_a_resume_may_be_lost_a_hundred_times() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("hello");
    client.cut();
    for _ in 0..100 {
        let mut lost = Client::connect(place.address);
        lost.ask(&ticket, 5, Mode::Steal);
        // The request has arrived when the server has let go of it.
        lost.stream().shutdown(std::net::Shutdown::Write).unwrap();
        while lost.hear() != Said::End {}
    }
    let mut client = Client::connect(place.address);
    let accept = client.resume(&ticket, 5, Mode::Steal).unwrap();
    assert_eq!((accept.epoch, accept.input_next, accept.output_next), (102, 5, 5));
    client.type_in(b" again");
    client.expect(" again");
    assert_eq!(destination.accepted(), 1);
}

fn what_was_not_acknowledged_comes_again() {
    let destination = Destination::says(100);
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket): (Client, Ticket) = Client::create(place.address);
    // It reads all, deals with ten bytes, and is killed.
    let mut bytes = Vec::new();
    while bytes.len() < 100 {
        if let Said::Data(_, mut part) = client.hear() {
            bytes.append(&mut part);
        }
    }
    client.cut();
    let mut client = Client::come(place.address, &ticket, 10, Mode::Steal);
    client.output_to(100);
    assert!(client.output == pattern(10, 90));
}
