//! Connections that are cut after any number of bytes, either way: the streams are the same at both ends.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::place::{Chaos, Cut, Destination, Place, Random, Talk, WHOLE, in_memory, pattern, place_of, read};
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
struct Cutting {
    chaos: Chaos,
    stream: TcpStream,
    place: Place,
    destination: Destination,
    memory: TempDir,
}

impl Cutting {
    fn new() -> Cutting {
        let destination = Destination::new();
        let place = Place::new(&destination.endpoint());
        let memory = in_memory();
        let chaos = Chaos::new(place.port);
        let state = memory.path().join("state");
        place.poll_by(place.port, state.to_str().unwrap(), "\n").expect(0);
        let stream = destination.accept();
        Cutting { chaos, stream, place, destination, memory }
    }

    fn client(&self, port: u16, ways: &[&str]) -> Talk {
        let state = self.memory.path().join("state");
        self.place.start(self.place.command(port, state.to_str().unwrap(), ways))
    }

    fn through(&self) -> Talk {
        self.client(self.chaos.port(), &[])
    }
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
    let scene = Cutting::new();
    let pattern = pattern(length);
    let speaker = says(&scene.stream, pattern.clone());
    let mut client = scene.through();
    client.say(&"\n".repeat(cuts.len()));
    scene.chaos.plan(cuts);
    let out = drain(&mut client, &scene.chaos, length);
    assert!(out == pattern, "{} bytes of {length}", out.len());
    speaker.join().unwrap();
    client.kill();
    assert!(scene.destination.is_alone(), "the destination saw one connection");
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
    let scene = Cutting::new();
    let mut stream = scene.stream.try_clone().unwrap();
    let lines: Vec<_> = (0..cuts.len()).map(line).collect();
    let sent = |line: &String| if line.is_empty() { String::new() } else { format!("{line}\r\n") };
    let wanted: String = lines.iter().map(sent).collect();
    let length = wanted.len();
    stream.set_read_timeout(None).unwrap();
    let listener = thread::spawn(move || read(&mut stream, length));
    scene.chaos.plan(cuts);
    let mut client = scene.through();
    for line in lines {
        client.say(&format!("{line}\n"));
    }
    until("all has arrived", PATIENCE * 6, || {
        client.say("\n");
        if listener.is_finished() { Ok(()) } else { Err(format!("{} cuts are to come", scene.chaos.left())) }
    });
    assert!(listener.join().unwrap() == wanted);
    // Nothing comes behind it.
    client.say("end\n");
    let mut stream = scene.stream.try_clone().unwrap();
    stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
    assert_eq!(read(&mut stream, 5), "end\r\n");
    client.kill();
    assert!(scene.destination.is_alone());
}

fn input_arrives_once_wherever_connections_are_cut() {
    // Each is followed by one that is whole, so that the next line is alone again. Each byte of what comes before the line
    // and around its beginning, and every eighth of those within it.
    let places: Vec<_> = (0..400).chain((400..EVERY).step_by(8)).collect();
    let cuts = places.iter().flat_map(|up| [Cut { up: *up, ..WHOLE }, WHOLE]).collect();
    let line = |number: usize| match number % 2 {
        0 => format!("{number:05} {}", "x".repeat(places[number / 2].saturating_sub(120))),
        _ => String::new(),
    };
    input_is_cut(cuts, line);
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
    let mut client = place.start(place.command(chaos.port(), "state", &[]));
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
    let scene = Cutting::new();
    let (chaos, mut stream) = (&scene.chaos, &scene.stream);
    stream.write_all(b"what is to be printed").unwrap();
    // Somewhere in ACCEPT.
    chaos.plan((0..100).map(|number| Cut { down: 70 + number % 80, ..WHOLE }));
    let mut client = scene.through();
    client.say("a line\n");
    client.say(&"\n".repeat(99));
    eventually("all are lost", || chaos.left() == 0);
    client.say("\n");
    assert_eq!(read(&mut stream.try_clone().unwrap(), 8), "a line\r\n");
    eventually("it is printed", || {
        client.say("\n");
        client.out() == b"what is to be printed"
    });
    let ended = client.end().expect(0);
    assert!(!ended.err.contains("others have sent input"), "nobody else was there: {}", ended.err);
    assert!(scene.destination.is_alone());
}

/// What was printed and not kept when it was killed comes again: not more than was written within a moment.
fn a_killed_client_repeats_little_and_misses_nothing() {
    const LENGTH: usize = 12_000_000;
    const CHUNK: usize = 64 * 1024 + 4096;
    let scene = Cutting::new();
    let pattern = pattern(LENGTH);
    let speaker = says(&scene.stream, pattern.clone());
    let mut random = Random::new(3);
    let mut end = 0;
    let mut kills = 0;
    while end < LENGTH {
        let client = scene.client(scene.place.port, &["--follow"]);
        let wanted = 20_000 + random.below(800_000);
        eventually("so much is printed", || client.out().len() >= wanted.min(LENGTH - end));
        let out = client.kill().out;
        kills += 1;
        let start = place_of(&out, &pattern);
        assert!(start <= end, "bytes {end} to {start} are missing");
        assert!(end - start <= CHUNK, "{} bytes came again", end - start);
        end = start + out.len();
    }
    // How much more it prints before it dies is the machine's affair.
    assert!(kills > 2, "{kills}");
    speaker.join().unwrap();
    assert!(scene.destination.is_alone());
}
