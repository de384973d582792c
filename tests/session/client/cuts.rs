//! Connections that are cut after any number of bytes, either way: the streams are the same at both ends.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::place::{Chaos, Cut, Destination, Place, Random, Talk, WHOLE, pattern, place_of, read};
use crate::harness::{PATIENCE, eventually, trials, until};

trials![
    output_is_whole_wherever_connections_are_cut,
    output_is_whole_after_a_thousand_cuts,
    input_arrives_once_wherever_connections_are_cut,
    input_arrives_once_after_a_thousand_cuts,
    a_new_session_whose_answer_is_lost_leaves_one_behind,
    answers_that_are_lost_a_hundred_times_change_nothing,
    a_killed_client_repeats_little_and_misses_nothing,
];

/// So many bytes, and a little more than two connections have, one by one.
const EVERY: usize = 2048;

/// A destination that says this.
fn says(stream: &TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    stream.set_write_timeout(None).unwrap();
    thread::spawn(move || stream.write_all(&bytes).unwrap())
}

/// A server, with a session that exists, behind a relay.
fn scene() -> (Destination, Place, Chaos, TcpStream) {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    let stream = destination.accept();
    let chaos = Chaos::new(place.port);
    (destination, place, chaos, stream)
}

fn through(place: &Place, chaos: &Chaos) -> Talk {
    place.start(place.command(chaos.port(), "state", &[]))
}

/// Presses Enter until all cuts are made and this much has been printed.
fn drain(client: &mut Talk, chaos: &Chaos, length: usize) -> Vec<u8> {
    until("all is printed", PATIENCE * 6, || {
        client.say("\n");
        let out = client.out();
        if out.len() >= length && chaos.left() == 0 { Ok(out) } else { Err(format!("{} bytes", out.len())) }
    })
}

fn output_is_cut(cuts: Vec<Cut>, length: usize, says: impl Fn(&TcpStream, Vec<u8>) -> thread::JoinHandle<()>) {
    let (destination, place, chaos, stream) = scene();
    let pattern = pattern(length);
    let speaker = says(&stream, pattern.clone());
    let mut client = through(&place, &chaos);
    client.say(&"\n".repeat(cuts.len()));
    chaos.plan(cuts);
    let out = drain(&mut client, &chaos, length);
    assert!(out == pattern, "{} bytes of {length}", out.len());
    speaker.join().unwrap();
    client.kill();
    assert!(destination.is_alone(), "the destination saw one connection");
}

fn output_is_whole_wherever_connections_are_cut() {
    // In pieces, each of which is a frame: a connection that brings none brings nothing.
    let in_pieces = |stream: &TcpStream, bytes: Vec<u8>| {
        let mut stream = stream.try_clone().unwrap();
        stream.set_write_timeout(None).unwrap();
        stream.set_nodelay(true).unwrap();
        thread::spawn(move || {
            let mut random = Random::new(5);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.len().min(1 + random.below(900)));
                stream.write_all(piece).unwrap();
                rest = left;
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    output_is_cut((0..EVERY).map(|down| Cut { down, ..WHOLE }).collect(), 1_500_000, in_pieces);
}

fn output_is_whole_after_a_thousand_cuts() {
    let mut random = Random::new(1);
    let cuts = (0..1000).map(|_| Cut { down: EVERY + random.below(16_000), ..WHOLE }).collect();
    output_is_cut(cuts, 8_000_000, says);
}

/// A client that sends a line on each of these connections; the destination has to get each once and in order.
fn input_is_cut(cuts: Vec<Cut>, line: impl Fn(usize) -> String) {
    let (destination, place, chaos, mut stream) = scene();
    let lines: Vec<_> = (0..cuts.len()).map(line).collect();
    let wanted: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = wanted.len();
    stream.set_read_timeout(None).unwrap();
    let listener = thread::spawn(move || {
        let got = read(&mut stream, length);
        (got, stream)
    });
    chaos.plan(cuts);
    let mut client = through(&place, &chaos);
    for line in lines {
        client.say(&format!("{line}\n"));
    }
    until("all has arrived", PATIENCE * 6, || {
        client.say("\n");
        if listener.is_finished() { Ok(()) } else { Err(format!("{} cuts are to come", chaos.left())) }
    });
    let (got, mut stream) = listener.join().unwrap();
    assert!(got == wanted);
    // Nothing comes behind it.
    client.say("end\n");
    assert_eq!(read(&mut stream, 5), "end\r\n");
    client.kill();
    assert!(destination.is_alone());
}

fn input_arrives_once_wherever_connections_are_cut() {
    input_is_cut((0..EVERY).map(|up| Cut { up, ..WHOLE }).collect(), |number| format!("line {number:07}"));
}

fn input_arrives_once_after_a_thousand_cuts() {
    let mut random = Random::new(2);
    let cuts = (0..1000).map(|_| Cut { up: 110 + random.below(1500), down: 300 + random.below(300) }).collect();
    input_is_cut(cuts, |number| format!("{number:07} {}", "x".repeat(number % 400)));
}

/// The server forgets the first one, to whose destination nobody was connected.
fn a_new_session_whose_answer_is_lost_leaves_one_behind() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    // Behind HELLO, in ACCEPT.
    chaos.plan([Cut { down: 100, ..WHOLE }]);
    let mut client = through(&place, &chaos);
    client.say("lost\n");
    client.tells("Enter goes on");
    assert!(!std::fs::read_to_string(place.state()).unwrap().contains("secret"), "there is nothing to be kept");
    client.say("found\n");
    let mut stream = destination.accept();
    assert_eq!(read(&mut stream, 13), "lost\r\nfound\r\n");
    client.end().expect(0);
    let proxy = format!("--proxy={}", place.proxy());
    eventually("only one session is left", || {
        let status = place.scene.cli(&["session", "status", &proxy, "--json"]).expect(0).json();
        status["sessions"].as_array().unwrap().len() == 1
    });
    assert!(destination.is_alone());
}

fn answers_that_are_lost_a_hundred_times_change_nothing() {
    let (destination, place, chaos, mut stream) = scene();
    stream.write_all(b"what is to be printed").unwrap();
    // Somewhere in ACCEPT.
    chaos.plan((0..100).map(|number| Cut { down: 70 + number % 80, ..WHOLE }));
    let mut client = through(&place, &chaos);
    client.say("a line\n");
    client.say(&"\n".repeat(99));
    eventually("all are lost", || chaos.left() == 0);
    client.say("\n");
    assert_eq!(read(&mut stream, 8), "a line\r\n");
    eventually("it is printed", || {
        client.say("\n");
        client.out() == b"what is to be printed"
    });
    let ended = client.end().expect(0);
    assert!(!ended.err.contains("others have sent input"), "nobody else was there: {}", ended.err);
    assert!(destination.is_alone());
}

/// What was printed and not kept when it was killed comes again: not more than was written within a moment.
fn a_killed_client_repeats_little_and_misses_nothing() {
    const LENGTH: usize = 12_000_000;
    const CHUNK: usize = 64 * 1024 + 16 * 1024;
    let (destination, place, _chaos, stream) = scene();
    let pattern = pattern(LENGTH);
    let speaker = says(&stream, pattern.clone());
    let mut random = Random::new(3);
    let mut end = 0;
    let mut kills = 0;
    while end < LENGTH {
        let client = place.client(&["--follow"]);
        let wanted = 20_000 + random.below(800_000);
        eventually("so much is printed", || client.out().len() >= wanted.min(LENGTH - end));
        let out = client.kill().out;
        kills += 1;
        let start = place_of(&out, &pattern);
        assert!(start <= end, "bytes {end} to {start} are missing");
        assert!(end - start <= CHUNK, "{} bytes came again", end - start);
        end = start + out.len();
    }
    assert!(kills > 10, "{kills}");
    speaker.join().unwrap();
    assert!(destination.is_alone());
}
