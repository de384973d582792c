//! How a session comes to its end, and what its client says of that.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use nix::sys::signal::Signal;
use socket2::SockRef;

use super::place::{Destination, Place, free_port, read};
use crate::harness::process::send;
use crate::harness::{eventually, trials};

trials![
    a_destination_that_closes_ends_the_session_well,
    a_destination_that_resets_is_told,
    a_destination_that_refuses_is_told,
    an_end_is_kept_for_a_client_that_is_away,
    the_end_of_standard_input_ends_the_input_only_when_wanted,
    a_session_that_is_closed_from_outside_is_told,
    nobody_who_reads_is_no_error,
];

fn a_destination_that_closes_ends_the_session_well() {
    for ways in [&[][..], &["--follow"]] {
        let destination = Destination::new();
        let place = Place::new(&destination.endpoint());
        let mut client = place.client(ways);
        client.say("bye\n");
        let mut stream = destination.accept();
        read(&mut stream, if ways.is_empty() { 5 } else { 4 });
        stream.write_all(b"good bye\n").unwrap();
        drop(stream);
        if ways.is_empty() {
            // Enter until it says so.
            eventually("it has ended", || client.try_say(b"\n").is_err() || client.err().contains("has closed"));
        }
        let ended = client.finish().expect(0).says("the destination has closed the connection");
        assert_eq!(ended.text(), "good bye\n");
        assert!(!place.state().exists(), "nothing is left to be kept");
    }
}

fn a_destination_that_resets_is_told() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let client = place.client(&["--follow"]);
    let mut stream = destination.accept();
    stream.write_all(b"so far").unwrap();
    client.prints("so far");
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    let ended = client.finish().expect(1).says("the connection to the destination broke: Connection reset by peer");
    assert_eq!(ended.text(), "so far");
    assert!(!place.state().exists());
}

fn a_destination_that_refuses_is_told() {
    let place = Place::new(&format!("127.0.0.1:{}", free_port()));
    let mut client = place.client(&["--follow"]);
    client.say("hello\n");
    let ended = client.finish().expect(1).says("the destination refused the connection");
    assert_eq!(ended.text(), "");
    // One that polls is told at a later Enter.
    let mut client = place.client(&[]);
    eventually("it has ended", || client.try_say(b"\n").is_err());
    client.finish().expect(1).says("the destination refused the connection");
}

fn an_end_is_kept_for_a_client_that_is_away() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    let mut stream = destination.accept();
    stream.write_all(b"last words").unwrap();
    drop(stream);
    let proxy = format!("--proxy={}", place.proxy());
    let status = || place.scene.cli(&["session", "status", &proxy, "--json"]).expect(0).json();
    eventually("the server has seen it", || status()["sessions"][0]["state"] == "ended");
    let ended = place.poll("\n").expect(0).says("the destination has closed the connection");
    assert_eq!(ended.text(), "last words");
    assert!(!place.state().exists());
    eventually("the session is over", || status()["sessions"].as_array().unwrap().is_empty());
}

fn the_end_of_standard_input_ends_the_input_only_when_wanted() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut client = place.client(&["--follow"]);
    client.say("one\n");
    client.close_input();
    let mut stream = destination.accept();
    assert_eq!(read(&mut stream, 4), "one\n", "as it is: nobody has typed it");
    stream.write_all(b"first\n").unwrap();
    client.prints("first\n");
    send(client.pid(), Signal::SIGTERM);
    client.finish();
    let mut client = place.client(&["--follow", "-N"]);
    client.say("two\n");
    client.close_input();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stream, &mut rest).unwrap();
    assert_eq!(rest, "two\n");
    // The other way goes on.
    stream.write_all(b"second\n").unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(client.finish().expect(0).text(), "second\n");

    let mut client = place.client(&["-N"]);
    client.say("three\n");
    client.end().expect(0);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut destination.accept(), &mut rest).unwrap();
    assert_eq!(rest, "three\r\n");
}

fn a_session_that_is_closed_from_outside_is_told() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let client = place.client(&["--follow"]);
    let _stream = destination.accept();
    let proxy = format!("--proxy={}", place.proxy());
    let status = || place.scene.cli(&["session", "status", &proxy, "--json"]).expect(0).json();
    eventually("it is attached", || status()["sessions"][0]["state"] == "attached");
    let id = status()["sessions"][0]["id"].as_str().unwrap().to_owned();
    place.scene.cli(&["session", "detach", &id, &proxy]).expect(0);
    client.finish().expect(1).says("the server's administrator has detached this client");
    assert!(place.state().exists(), "the session goes on");
    let client = place.client(&["--follow"]);
    eventually("it is attached", || status()["sessions"][0]["state"] == "attached");
    place.scene.cli(&["session", "close", &id, &proxy]).expect(0);
    client.finish().expect(1).says("the session was closed by the server's administrator");
    assert!(!place.state().exists());
}

/// As `… | head -1` does it.
fn nobody_who_reads_is_no_error() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    let mut stream = destination.accept();
    for ways in [&["--follow"][..], &[]] {
        let mut command = place.command(place.port, "state", ways);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let err = place.scene.path("err");
        command.stdin(std::process::Stdio::piped()).stdout(writer).stderr(std::fs::File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        stream.write_all(b"x").unwrap();
        std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
        drop(reader);
        let mut status = None;
        eventually("it has ended", || {
            let (_, _) = (stdin.write_all(b"\n"), stream.write_all(b"y"));
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}: {}", std::fs::read_to_string(err).unwrap());
    }
    // What was not printed is there still.
    stream.write_all(b"more").unwrap();
    let mut seen = String::new();
    eventually("it is printed", || {
        seen += &place.poll("\n").expect(0).text();
        seen.ends_with("more")
    });
}
