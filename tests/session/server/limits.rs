//! How many may come, and that good clients get in whatever the others do.

use super::client::{Client, Said, dial};
use super::destination::Destination;
use super::place::Place;
use super::stops::{speaks_before_it_listens, told_something, words};
use crate::harness::island::{ISLAND, on_an_island, shell};
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, process, trials, trials_with, until};
use nix::sys::signal::Signal;
use socket_protector::session::frame::{Frame, New, Refusal};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

trials![
    there_are_no_more_sessions_than_allowed,
    destinations_that_are_still_to_read_count_as_sessions,
    clients_that_say_nothing_or_little_keep_nobody_out,
    a_client_that_is_too_slow_is_told,
    a_crowd_of_provisional_sessions_is_bounded,
    without_a_free_descriptor_it_waits_and_does_not_spin,
    thousands_of_sessions_cost_little,
];
trials_with![ISLAND => provisional_sessions_of_one_host_leave_room_for_others];

/// Those that need a network of their own, too.
pub(super) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

#[track_caller]
fn refused(place: &Place) -> Refusal {
    let mut client = Client::connect(place.address);
    client.say(&Frame::New(New { nonce: client.said.client, ttl: 0 }));
    match client.hear() {
        Said::Reject(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn there_are_no_more_sessions_than_allowed() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["--max-sessions", "3"]);
    let mut all: Vec<_> = (0..3).map(|_| Client::create(place.address)).collect();
    assert_eq!(refused(&place), Refusal::Busy { retry_after: 10 });
    let (mut client, _ticket) = all.pop().unwrap();
    client.say(&Frame::Close);
    client.until("the end", |said| matches!(said, Said::Closed(_)));
    Client::create(place.address);
}

fn destinations_that_are_still_to_read_count_as_sessions() {
    let (destination, go, heard) = speaks_before_it_listens();
    let options = ["--buffer", "64KiB", "--telnet", "off", "--max-sessions", "1"];
    let place = Place::with(&destination.endpoint(), &options);
    let (mut client, ticket) = told_something(&place);
    client.say(&Frame::Close);
    client.until("the end", |said| matches!(said, Said::Closed(_)));
    assert_eq!(place.session(&ticket), None, "it is no session any more");
    assert_eq!(refused(&place), Refusal::Busy { retry_after: 10 });
    go.send(()).unwrap();
    assert!(heard.recv_timeout(PATIENCE).unwrap() == Ok(words()));
    until("there is room again", PATIENCE, || {
        let mut client = Client::connect(place.address);
        client.say(&Frame::New(New { nonce: client.said.client, ttl: 0 }));
        match client.hear() {
            Said::Reject(refusal) => Err(refusal.to_string()),
            _ => Ok(()),
        }
    });
}

fn clients_that_say_nothing_or_little_keep_nobody_out() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let before = place.census();
    // More than may be attached to nothing, some of which have said a byte.
    let mut crowd: Vec<_> = (0..1500).map(|_| dial(place.address)).collect();
    for stream in crowd.iter_mut().step_by(2) {
        // It may be closed already.
        let _ = stream.write_all(b"\xd3");
    }
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("hello");
    let unattached = place.status()["unattached"].as_u64().unwrap();
    assert!((1..=1024).contains(&unattached), "{unattached}");
    client.say(&Frame::Close);
    client.until("the end", |said| matches!(said, Said::Closed(_)));
    // Nobody waits for them longer than 5 s; those who said nothing get no answer.
    place.wait_sessions(0);
    place.wait_census(&before);
    drop(crowd);
}

fn a_client_that_is_too_slow_is_told() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let mut client = Client::connect(place.address);
    assert_eq!(client.hear(), Said::Reject(Refusal::TooSlow));
    assert_eq!(client.hear(), Said::End);
}

fn a_crowd_of_provisional_sessions_is_bounded() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect(place.address);
        client.say(&Frame::New(New { nonce: client.said.client, ttl: 0 }));
        assert!(matches!(client.hear(), Said::Accept(_)));
        crowd.push(client);
    }
    assert_eq!(refused(&place), Refusal::Busy { retry_after: 10 });
    assert_eq!(destination.accepted(), 0);
}

/// Makes a session from this address, and shows not that it knows of it.
#[track_caller]
fn half_made(place: &Place, from: &str) -> (Client, Said) {
    let socket = Socket::new(Domain::for_address(place.address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&place.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(stream);
    client.say(&Frame::New(New { nonce: client.said.client, ttl: 0 }));
    let said = client.hear();
    (client, said)
}

fn provisional_sessions_of_one_host_leave_room_for_others() {
    on_an_island(|| {
        // Of the network fd00:0:0:1 two addresses, and of another one, one.
        for address in ["192.0.2.1/32", "192.0.2.2/32", "fd00:0:0:1::1/128", "fd00:0:0:1::2/128", "fd00:0:0:2::1/128"] {
            shell(&format!("ip address add {address} dev lo nodad"));
        }
        let destination = Destination::echo();
        let busy = Said::Reject(Refusal::Busy { retry_after: 10 });
        for (host, [first, neighbour, other]) in [
            ("192.0.2.1", ["192.0.2.1", "192.0.2.1", "192.0.2.2"]),
            ("[fd00:0:0:1::1]", ["fd00:0:0:1::1", "fd00:0:0:1::2", "fd00:0:0:2::1"]),
        ] {
            let place = Place::at(&format!("{host}:0"), &destination.endpoint(), &["--insecure"]);
            let mut crowd = Vec::new();
            for _ in 0..10 {
                let (client, said) = half_made(&place, first);
                assert!(matches!(said, Said::Accept(_)), "{said:?}");
                crowd.push(client);
            }
            assert_eq!(half_made(&place, neighbour).1, busy, "{neighbour}");
            let (_other, said) = half_made(&place, other);
            assert!(matches!(said, Said::Accept(_)), "{other}: {said:?}");
        }
    });
}

/// A server that may have so many files open.
fn short_of_descriptors(scene: &Arc<Scene>, limit: u32, destination: &Destination) -> Place {
    let mut command = Command::new("sh");
    let line = format!("ulimit -n {limit}; exec \"$0\" session server --proxy=127.0.0.1:0 \"$1\"");
    scene.mark(&mut command).args(["-c", &line]).arg(binary()).arg(destination.endpoint());
    Place::started(Arc::clone(scene), &mut command)
}

fn without_a_free_descriptor_it_waits_and_does_not_spin() {
    let destination = Destination::echo();
    let scene = Scene::new();
    let place = short_of_descriptors(&scene, 128, &destination);
    let mut kept = Vec::new();
    // As many sessions as there is room for: the last one is refused, and not broken.
    let refusal = loop {
        let mut client = Client::connect(place.address);
        client.say(&Frame::New(New { nonce: client.said.client, ttl: 0 }));
        match client.hear() {
            Said::Accept(accept) => {
                let mac = accept.secret.as_ref().unwrap().key().confirm(&client.said, accept.id);
                client.say(&Frame::Confirm(mac));
                client.until("the destination", |said| matches!(said, Said::Destination(_)));
                kept.push(client);
            }
            Said::Reject(refusal) => break refusal,
            other => panic!("{other:?}"),
        }
        assert!(kept.len() < 128);
    };
    assert_eq!(refusal, Refusal::Busy { retry_after: 10 });
    assert!(kept.len() > 5, "{}", kept.len());
    // More clients than there are descriptors: good ones still get in, to sessions that there are.
    let mut crowd: Vec<_> = (0..200).map(|_| dial(place.address)).collect();
    let used = process::processor_time(place.pid());
    for client in &mut kept {
        client.type_in(b"hello");
        client.expect("hello");
    }
    assert_eq!(place.status()["sessions"].as_array().unwrap().len(), kept.len(), "and it can be asked");
    // Those who wait in the backlog would keep a loop busy that spins, until the last of the first has been given up.
    let last = &mut crowd[199];
    assert!(matches!(last.read(&mut [0]), Ok(0) | Err(_)), "it has said nothing for long enough");
    let used = process::processor_time(place.pid()) - used;
    assert!(used < Duration::from_secs(1), "{used:?}");
    drop((crowd, kept));
}

/// How many sessions are made; more by the environment.
fn many() -> usize {
    std::env::var("SESSION_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

fn thousands_of_sessions_cost_little() {
    let count = many();
    let destination = Destination::new(|mut stream| {
        let _ = stream.write_all(b"login: ");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let place = Place::with(&destination.endpoint(), &["--max-sessions", &count.to_string()]);
    let before = place.memory();
    for _ in 0..count {
        let (mut client, _ticket) = Client::create(place.address);
        client.type_in(b"somebody\r\n");
        client.expect("login: ");
    }
    place.wait_sessions(count);
    until("everything is quiet", PATIENCE, || {
        match place.status()["sessions"].as_array().unwrap().iter().all(|session| session["state"] == "detached") {
            true => Ok(()),
            false => Err("some are attached".to_owned()),
        }
    });
    let each = (place.memory() - before) / count as u64;
    println!("{count} detached sessions: {each} bytes each");
    assert!(each < 32 * 1024, "{each} bytes each");
    place.signal(Signal::SIGKILL);
}
