//! A client that stays: connected, connected again by itself, and looking on.

use std::io::Write;
use std::thread;

use nix::sys::signal::Signal;

use super::place::{Chaos, Cut, Destination, Place, Random, WHOLE, pattern, read};
use crate::harness::process::{Exit, census, send};
use crate::harness::{eventually, trials};

trials![
    what_comes_is_printed_at_once_and_what_goes_is_as_it_is,
    it_connects_again_by_itself_and_says_so,
    what_is_typed_while_it_is_cut_arrives_once,
    both_streams_are_whole_through_cuts,
    a_server_that_is_not_there_is_told_at_once,
    it_waits_for_a_server_that_comes_back,
    signals_end_it_and_the_session_goes_on,
    one_who_looks_on_sees_all_that_there_is_and_disturbs_nobody,
    a_reader_that_is_slow_holds_the_client_up_and_loses_nothing,
];

fn what_comes_is_printed_at_once_and_what_goes_is_as_it_is() {
    let destination = Destination::new();
    let place = Place::with(&["--telnet", "off", &destination.endpoint()]);
    let mut client = place.client(&["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(b"login: ").unwrap();
    client.prints("login: ");
    let bytes: Vec<u8> = (0..=255).collect();
    client.try_say(&bytes).unwrap();
    let mut got = vec![0; 256];
    std::io::Read::read_exact(&mut stream, &mut got).unwrap();
    assert_eq!(got, bytes);
    stream.write_all(&bytes).unwrap();
    eventually("all bytes are printed", || client.out() == [b"login: ".as_slice(), &bytes].concat());
    client.kill();
}

fn it_connects_again_by_itself_and_says_so() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    chaos.plan([Cut { down: 400, ..WHOLE }]);
    let client = place.start(place.command(chaos.port(), "state", &["--follow"]));
    let mut stream = destination.accept();
    stream.write_all(&[b'x'; 500]).unwrap();
    client.tells("has closed the connection; connecting again");
    client.tells("connected again");
    client.prints(&"x".repeat(500));
    let held = || {
        let mut census = census(client.pid());
        // One that is about to take the place of the state file is there for a moment.
        census.descriptors.retain(|name, _| !name.ends_with(".new"));
        census
    };
    let before = held();
    stream.write_all(b"more").unwrap();
    client.prints(&format!("{}more", "x".repeat(500)));
    assert_eq!(held(), before);
    client.kill();
    assert!(destination.is_alone());
}

fn what_is_typed_while_it_is_cut_arrives_once() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    let mut client = place.start(place.command(chaos.port(), "state", &["--follow"]));
    let mut stream = destination.accept();
    client.say("one\n");
    assert_eq!(read(&mut stream, 4), "one\n");
    eventually("that is known", || std::fs::read_to_string(place.state()).unwrap().contains("input 4\n"));
    // Nothing gets through any more.
    chaos.freeze(true);
    client.say("two\n");
    client.say("three\n");
    eventually("it is kept", || {
        let text = std::fs::read_to_string(place.state()).unwrap();
        text.contains("queued 74776f0a74687265650a\n")
    });
    // Killed like this, they are its successor's to bring; what is still under way comes too late.
    client.kill();
    let mut client = place.client(&["--follow"]);
    assert_eq!(read(&mut stream, 10), "two\nthree\n");
    chaos.freeze(false);
    client.say("four\n");
    assert_eq!(read(&mut stream, 5), "four\n");
    client.kill();
}

fn both_streams_are_whole_through_cuts() {
    const LENGTH: usize = 200 * 1024;
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    let mut random = Random::new(7);
    chaos.plan((0..8).map(|_| Cut { up: 3000 + random.below(60_000), down: 3000 + random.below(60_000) }));
    let mut client = place.start(place.command(chaos.port(), "state", &["--follow", "-N"]));
    let mut stream = destination.accept();
    let pattern = pattern(LENGTH);
    let speaker = {
        let (mut stream, pattern) = (stream.try_clone().unwrap(), pattern.clone());
        thread::spawn(move || stream.write_all(&pattern).unwrap())
    };
    let wanted = String::from_utf8(pattern.clone()).unwrap();
    let typist = thread::spawn(move || {
        client.say(&wanted);
        client.close_input();
        client
    });
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut got).unwrap();
    assert!(got == pattern, "{} bytes arrived", got.len());
    speaker.join().unwrap();
    drop(stream);
    let ended = typist.join().unwrap().finish().expect(0);
    assert!(ended.out == pattern, "{} bytes were printed", ended.out.len());
    assert!(destination.is_alone());
}

fn a_server_that_is_not_there_is_told_at_once() {
    let destination = Destination::new();
    let mut place = Place::new(&destination.endpoint());
    place.kill_server();
    let client = place.client(&["--follow"]);
    client.finish().expect(1).says("cannot connect to").says("hint: 'socket-protector session server' starts one");
    assert!(!place.state().exists());
}

fn it_waits_for_a_server_that_comes_back() {
    let destination = Destination::new();
    let mut place = Place::new(&destination.endpoint());
    let client = place.client(&["--follow"]);
    let _stream = destination.accept();
    place.kill_server();
    client.tells("connecting again");
    client.tells("Connection refused");
    place.serve(&[&destination.endpoint()]);
    // That is another one, which knows of no session.
    client.finish().expect(1).says("the session is gone: the server was started anew").says("hint: --new");
}

fn signals_end_it_and_the_session_goes_on() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut stream = None;
    for ways in [&["--follow"][..], &[]] {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let mut client = place.client(ways);
            client.say("\n");
            let stream = stream.get_or_insert_with(|| destination.accept());
            read(stream, usize::from(!ways.is_empty()));
            stream.write_all(b".").unwrap();
            eventually("it runs", || {
                if ways.is_empty() {
                    client.say("\n");
                }
                client.out() == b"."
            });
            send(client.pid(), signal);
            assert_eq!(client.finish().exit, Exit::Signal(signal));
        }
    }
    assert!(destination.is_alone());
}

fn one_who_looks_on_sees_all_that_there_is_and_disturbs_nobody() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.client(&["--observe"]).finish().expect(1).says("no session is kept in");
    let mut client = place.client(&["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(b"before\n").unwrap();
    client.prints("before\n");
    let kept = std::fs::read(place.state()).unwrap();
    let observers = [place.client(&["--observe"]), place.client(&["--observe"])];
    observers.iter().for_each(|observer| observer.prints("before\n"));
    stream.write_all(b"after\n").unwrap();
    client.prints("before\nafter\n");
    observers.iter().for_each(|observer| observer.prints("before\nafter\n"));
    client.say("still mine\n");
    assert_eq!(read(&mut stream, 11), "still mine\n");
    // The destination may have it before the client is told of it.
    eventually("it is the other one's to write", || std::fs::read(place.state()).unwrap() != kept);
    drop(stream);
    for observer in observers {
        observer.finish().expect(0).says("the destination has closed the connection");
    }
    client.finish().expect(0);
}

fn a_reader_that_is_slow_holds_the_client_up_and_loses_nothing() {
    const LENGTH: usize = 3_000_000;
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut command = place.command(place.port, "state", &["--follow"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    command.stdin(std::process::Stdio::null()).stdout(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut stream = destination.accept();
    let pattern = pattern(LENGTH);
    let speaker = {
        let pattern = pattern.clone();
        thread::spawn(move || stream.write_all(&pattern).map(|()| stream))
    };
    // The pipe is full, and then the client, and then the server.
    let proxy = format!("--proxy={}", place.proxy());
    eventually("the server holds the destination up", || {
        let status = place.scene.cli(&["session", "status", &proxy, "--json"]).expect(0).json();
        status["sessions"][0]["buffered"].as_u64().is_some_and(|bytes| bytes > 500_000)
    });
    let rss = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).unwrap();
    let pages: usize = rss.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(pages * 4096 < 64 << 20, "{pages} pages");
    let mut got = vec![0; LENGTH];
    std::io::Read::read_exact(&mut reader, &mut got).unwrap();
    assert!(got == pattern);
    drop(speaker.join().unwrap().unwrap());
    eventually("it has ended", || child.try_wait().unwrap().is_some_and(|status| status.success()));
}
