//! The commands that ask a server, and its control socket.

use super::client::{Client, Said};
use super::destination::Destination;
use super::place::Place;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, trials, until};
use serde_json::json;
use socket_protector::session::frame::{Closed, Detached, Frame, Mode};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

trials![
    status_tells_of_every_session,
    status_of_all_instances_has_the_server_too,
    a_session_is_closed_by_the_first_letters_of_its_id,
    a_client_is_detached_and_may_come_again,
    a_server_is_found_by_any_of_its_addresses,
    status_is_shown_again_until_the_server_ends,
    a_reload_is_refused_and_told_what_to_use_instead,
    nonsense_on_the_control_socket_harms_nobody,
];

fn status_tells_of_every_session() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["--buffer", "64KiB", "--ttl", "90s"]);
    let (mut client, ticket) = Client::create(place.address);
    let local = client.stream().local_addr().unwrap().to_string();
    client.type_in(b"hello");
    client.expect("hello");
    client.say(&Frame::Ping([0; 8]));
    client.until("an answer", |said| matches!(said, Said::Pong(_)));
    let (other, gone) = Client::create(place.address);
    drop(other);
    place.wait_state(&gone, "detached");
    let status = place.status();
    assert_eq!(status["schema"], 1);
    assert_eq!(status["role"], "session");
    assert_eq!(status["destination"], destination.endpoint());
    assert_eq!(status["pid"], place.pid().as_raw());
    assert_eq!(status["listeners"][0]["address"], place.address.to_string());
    let session = place.session(&ticket).unwrap();
    let age = session["age_seconds"].as_u64().unwrap();
    let idle = session["idle_seconds"].as_u64().unwrap();
    assert!(idle <= age && age < 60, "{session}");
    assert_eq!(
        session,
        json!({"id": ticket.short(), "state": "attached", "age_seconds": age, "idle_seconds": idle, "peer": local, "epoch": 1,
            "bytes_in": 5, "bytes_out": 5, "buffered": 0, "limit": 65536, "blocked_seconds": 0, "destination": "open",
            "expires_seconds": null})
    );
    let session = place.session(&gone).unwrap();
    let expires = session["expires_seconds"].as_u64().unwrap();
    assert!((1..=90).contains(&expires) && session["peer"].is_null(), "{session}");
    let text = place.run("status", &[]).expect(0).out;
    let row = text.lines().find(|line| line.starts_with(&ticket.short())).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        (cells[1], cells[4], &cells[5..]),
        ("attached", local.as_str(), &["5", "5", "0/65536", "0s", "open", "-"][..])
    );
}

fn status_of_all_instances_has_the_server_too() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let name = format!("session-{}", place.address.port());
    let all = place.scene.cli(&["status"]).expect(0).out;
    let row = all.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{all}"));
    assert!(row.contains("session ") && row.contains(&place.address.to_string()), "{row}");
    let all = place.scene.cli(&["status", "--json"]).expect(0).json();
    assert_eq!(all["instances"][0]["role"], "session");
    let one = place.scene.cli(&["status", &name]).expect(0).out;
    assert!(one.starts_with(&format!("{name} (pid {})", place.pid())), "{one}");
    let one = place.scene.cli(&["status", &name, "--json"]).expect(0).json();
    assert_eq!(one, place.status());
}

fn a_session_is_closed_by_the_first_letters_of_its_id() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let (mut other, _other) = Client::create(place.address);
    for wrong in ["zz", "", "0123456789abcdef"] {
        place.run("close", &[wrong]).expect(1).complains().says("cannot close");
    }
    place.run("close", &[&ticket.short()]).expect(0);
    client.until("the end", |said| *said == Said::Closed(Closed::ByAdministrator));
    destination.wait_open(1);
    other.type_in(b"still here");
    other.expect("still here");
    place.run("close", &[&ticket.short()]).expect(1).says("no session has an id");
    // Letters that several begin with name none of them.
    let mut all = Vec::new();
    until("two begin alike", PATIENCE, || {
        all.push(Client::create(place.address));
        let begins = |letter: char| all.iter().filter(|(_, ticket)| ticket.short().starts_with(letter)).count() > 1;
        "0123456789abcdef".chars().find(|letter| begins(*letter)).map_or(Err("not yet".to_owned()), |letter| {
            place.run("close", &[&letter.to_string()]).expect(1).says("several sessions");
            Ok(())
        })
    });
}

fn a_client_is_detached_and_may_come_again() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    place.run("detach", &[&ticket.id.to_string()]).expect(0);
    client.until("the last words", |said| *said == Said::Detached(Detached::ByAdministrator));
    place.wait_state(&ticket, "detached");
    let mut client = Client::come(place.address, &ticket, 0, Mode::Refuse);
    client.type_in(b"again");
    client.expect("again");
    assert_eq!(destination.accepted(), 1);
}

fn a_server_is_found_by_any_of_its_addresses() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let named = Place::in_scene(Arc::clone(&scene), "localhost:0", &destination.endpoint(), &["--name", "other"]);
    let second = Place::in_scene(Arc::clone(&scene), "127.0.0.1:0", &destination.endpoint(), &[]);
    let (port, pid) = (named.address.port(), named.pid().as_raw());
    for proxy in [
        format!(":{port}"),
        port.to_string(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        format!("tcp:{port}"),
    ] {
        let status = scene.cli(&["session", "status", "--json", &format!("--proxy={proxy}")]).expect(0).json();
        assert_eq!((&status["pid"], &status["name"]), (&json!(pid), &json!("other")), "{proxy}");
    }
    for proxy in ["127.0.0.9", ":1", "unix:/no/where", "@nobody"] {
        scene
            .cli(&["session", "status", &format!("--proxy={proxy}")])
            .expect(1)
            .complains()
            .says("no server of sessions at");
    }
    scene.cli(&["session", "status", "--proxy=:x"]).expect(2).complains().says("at character 11");
    assert_ne!(second.status()["name"], "other");
}

fn status_is_shown_again_until_the_server_ends() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let mut command = Command::new(binary());
    place.scene.mark(&mut command).args(["session", "status", "--json", "--watch", &place.proxy()]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..2 {
        let line = lines.next().unwrap();
        assert!(line.starts_with("{\"schema\":1,"), "{line}");
    }
    let mut unread = command.spawn().unwrap();
    BufReader::new(unread.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    assert!(unread.wait().unwrap().success(), "it ends when nobody reads any more");
    place.run("drain", &[]).expect(0);
    lines.for_each(drop);
    assert!(watch.wait().unwrap().success());
}

fn a_reload_is_refused_and_told_what_to_use_instead() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["--name", "chat"]);
    let (mut client, _ticket) = Client::create(place.address);
    for more in [&[][..], &["--timeout", "30s", "--", "true"]] {
        let ran = place.scene.cli(&[&["reload", "chat"], more].concat()).expect(1);
        ran.complains().says("cannot reload chat").says("has no generations; 'upgrade'");
    }
    client.type_in(b"hello");
    client.expect("hello");
}

fn nonsense_on_the_control_socket_harms_nobody() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["--name", "chat"]);
    let path = place.scene.path("run/chat.sock");
    for (line, answer) in [
        ("{\"request\":\"dance\"}", "not a request"),
        ("nonsense", "not a request"),
        ("{\"request\":\"close\",\"id\":\"\"}", "is not empty"),
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(stream).read_line(&mut said).unwrap();
        assert!(said.contains("\"ok\":false") && said.contains(answer), "{said}");
    }
    std::fs::remove_file(&path).unwrap();
    until("the socket is there again", PATIENCE, || if path.exists() { Ok(()) } else { Err("it is gone".to_owned()) });
    place.run("status", &[]).expect(0);
}
