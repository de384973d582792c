//! Sessions, whatever they are doing, and what is kept of them.

use super::site::{NAME, Site};
use crate::harness::process::{Exit, alive, census, send};
use crate::harness::{PATIENCE, Scene, eventually, trials, until};
use crate::session::server::client::{Client, Said, Ticket};
use crate::session::server::destination::{Destination, pattern};
use crate::session::server::stops::{speaks_before_it_listens, words};
use nix::sys::signal::Signal;
use socket_protector::session::frame::{self, Frame, Mode, event};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

trials![
    an_attached_client_and_its_destination_notice_nothing,
    output_and_input_that_wait_go_on,
    a_destination_that_has_ended_is_told_later,
    half_closed_streams_go_on,
    a_destination_that_is_still_to_read_does_so,
    a_session_that_nobody_knows_of_goes_on_and_expires,
    a_connection_that_is_being_made_is_made,
    telnet_goes_on_between_two_bytes,
    times_counters_and_names_are_kept,
    it_can_be_done_again_and_again,
    everything_is_in_its_place_after_a_stop,
    a_unix_listener_keeps_its_file,
];

/// A destination whose connections the trial has.
fn puppet() -> (Destination, Receiver<TcpStream>) {
    let (told, heard) = channel();
    let told: Mutex<Sender<TcpStream>> = Mutex::new(told);
    let destination = Destination::new(move |stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        told.lock().unwrap().send(stream).unwrap();
    });
    (destination, heard)
}

#[track_caller]
fn hears(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

fn an_attached_client_and_its_destination_notice_nothing() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(site.address);
    client.type_in(b"before ");
    client.expect("before ");
    for word in ["once ", "twice "] {
        site.upgrade();
        client.type_in(word.as_bytes());
        client.expect(word);
    }
    assert_eq!(client.output, b"before once twice ");
    let session = site.wait_state(&ticket, "attached");
    assert_eq!((&session["epoch"], &session["bytes_in"]), (&1.into(), &18.into()));
    assert_eq!(destination.accepted(), 1, "nobody has connected again");
    client.say(&Frame::Fin { offset: client.next });
    client.finish();
}

fn output_and_input_that_wait_go_on() {
    let (destination, streams) = puppet();
    let options = ["--buffer", "64KiB", "--scrollback", "16KiB"];
    let site = Site::with(Scene::new(), "127.0.0.1:0", &destination.endpoint(), &options);
    let (mut client, ticket) = Client::create(site.address);
    let there = streams.recv_timeout(PATIENCE).unwrap();
    // More output than it may have, and more input than anybody takes.
    let says = there.try_clone().unwrap();
    let wrote = std::thread::spawn(move || (&says).write_all(&pattern(0, 4_000_000)).unwrap());
    site.wait_session(&ticket, "it has all that it may have", |session| session["buffered"] == 64 * 1024);
    let typed = pattern(7, 3_000_000);
    let mut sent = 0;
    let mut granted = 0;
    let mut stuck = 0;
    while stuck < 50 && sent < typed.len() {
        // What the window allows, as far as sockets take it.
        let session = site.session(&ticket).unwrap();
        let arrived = session["bytes_in"].as_u64().unwrap() as usize;
        stuck = if arrived == granted { stuck + 1 } else { 0 };
        granted = arrived;
        let part = &typed[sent..(arrived + 16 * 1024).min(typed.len())];
        if !part.is_empty() {
            client.say(&Frame::Data { offset: sent as u64, bytes: part });
            sent += part.len();
        }
        if sent >= 256 * 1024 {
            break;
        }
    }
    drop(client);
    site.wait_state(&ticket, "detached");
    site.upgrade();
    let mut client = Client::come(site.address, &ticket, 0, Mode::Steal);
    site.upgrade();
    client.output_to(4_000_000);
    assert!(client.output == pattern(0, 4_000_000), "other output came");
    wrote.join().unwrap();
    let arrived = client.next as usize;
    assert!(arrived > 100_000, "{arrived} bytes of input");
    let mut heard = vec![0; arrived];
    (&there).read_exact(&mut heard).unwrap();
    assert!(heard == typed[..arrived], "other input came");
    assert_eq!(destination.accepted(), 1);
}

fn a_destination_that_has_ended_is_told_later() {
    let destination = Destination::says(100_000);
    let site = Site::to(&destination.endpoint());
    let (client, ticket) = Client::create(site.address);
    drop(client);
    site.wait_state(&ticket, "ended");
    // And one that cannot be reached.
    let address = destination.address;
    drop(destination);
    until("nobody listens there", PATIENCE, || match TcpStream::connect(address) {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody does".to_owned()),
    });
    let (client, failed) = Client::create(site.address);
    drop(client);
    site.wait_state(&failed, "failed");
    site.upgrade();
    let mut client = Client::come(site.address, &ticket, 0, Mode::Steal);
    client.say(&Frame::Fin { offset: client.next });
    client.finish();
    assert!(client.output == pattern(0, 100_000));
    let mut client = Client::come(site.address, &failed, 0, Mode::Steal);
    client.until("why", |said| *said == Said::Destination(frame::Destination::Refused));
}

fn a_destination_that_is_still_to_read_does_so() {
    let (destination, go, heard) = speaks_before_it_listens();
    let options = ["--buffer", "64KiB", "--telnet", "off"];
    let site = Site::with(Scene::new(), "127.0.0.1:0", &destination.endpoint(), &options);
    let (mut client, ticket) = Client::create(site.address);
    client.type_in(&words());
    site.wait_session(&ticket, "no more is read", |session| session["buffered"].as_u64() >= session["limit"].as_u64());
    client.say(&Frame::Close);
    client.until("the end", |said| matches!(said, Said::Closed(_)));
    let old = site.pid();
    let ran = site.scene.cli(&["upgrade", NAME]).expect(0);
    // The new process serves, and the old one stays until that destination has read.
    let (_client, _ticket) = Client::create(site.address);
    assert!(alive(old) && site.pid() != old);
    go.send(()).unwrap();
    let read = heard.recv_timeout(PATIENCE).unwrap();
    assert!(read == Ok(words()), "{:?}", read.map(|bytes| bytes.len()));
    site.upgraded(old, &ran);
}

fn half_closed_streams_go_on() {
    let (destination, streams) = puppet();
    let site = Site::to(&destination.endpoint());
    let (mut up, _ticket) = Client::create(site.address);
    let mut up_there = streams.recv_timeout(PATIENCE).unwrap();
    let (mut down, ticket) = Client::create(site.address);
    let mut down_there = streams.recv_timeout(PATIENCE).unwrap();
    up.type_in(b"question");
    up.say(&Frame::Fin { offset: up.next });
    let mut heard = Vec::new();
    up_there.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"question");
    down_there.write_all(b"answer").unwrap();
    down_there.shutdown(Shutdown::Write).unwrap();
    down.until("the end of the output", |said| *said == Said::Fin(6));
    site.upgrade();
    assert_eq!(site.session(&ticket).unwrap()["destination"], "eof");
    up_there.write_all(b"late answer").unwrap();
    drop(up_there);
    up.finish();
    assert_eq!(up.output, b"late answer");
    down.type_in(b"late question");
    down.say(&Frame::Fin { offset: down.next });
    heard.clear();
    down_there.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"late question", "and one end, once");
}

fn a_session_that_nobody_knows_of_goes_on_and_expires() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let mut client = Client::connect(site.address);
    let nonce = client.said.client;
    client.say(&Frame::New(frame::New { nonce, ttl: 0 }));
    let Said::Accept(accept) = client.hear() else { panic!("no ACCEPT") };
    site.upgrade();
    // The proof is made of what the old process has said.
    let mac = accept.secret.as_ref().unwrap().key().confirm(&client.said, accept.id);
    client.say(&Frame::Confirm(mac));
    client.prove();
    client.until("the destination", |said| *said == Said::Destination(frame::Destination::Open));
    client.type_in(b"hello");
    client.expect("hello");
    // And another one of which nobody ever hears.
    let mut other = Client::connect(site.address);
    let nonce = other.said.client;
    other.say(&Frame::New(frame::New { nonce, ttl: 0 }));
    site.upgrade();
    until("it has expired", PATIENCE, || {
        let status = site.status();
        if status["sessions"].as_array().unwrap().len() == 1 { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(destination.accepted(), 1);
}

fn a_connection_that_is_being_made_is_made() {
    let scene = Scene::new();
    let path = scene.path("destination.sock");
    // Its backlog is full, so whoever comes waits.
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _fills = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let options = ["--connect-timeout", "60s"];
    let site = Site::with(scene, "127.0.0.1:0", &format!("unix:{}", path.display()), &options);
    let (mut client, ticket) = Client::create(site.address);
    client.type_in(b"hello");
    assert_eq!(site.session(&ticket).unwrap()["destination"], "connecting");
    site.upgrade();
    assert_eq!(site.session(&ticket).unwrap()["destination"], "connecting");
    listener.accept().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut heard = [0; 5];
    (&stream).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    client.until("the destination", |said| *said == Said::Destination(frame::Destination::Open));
}

fn telnet_goes_on_between_two_bytes() {
    let (destination, streams) = puppet();
    let site = Site::to(&destination.endpoint());
    let (client, ticket) = Client::create(site.address);
    let mut there = streams.recv_timeout(PATIENCE).unwrap();
    drop(client);
    there.write_all(b"Password: \xff\xfb\x01").unwrap();
    hears(&mut there, b"\xff\xfd\x01");
    // The question for the terminal's name, cut in the middle.
    there.write_all(b"\xff\xfd\x18\xff\xfa\x18").unwrap();
    hears(&mut there, b"\xff\xfb\x18");
    site.upgrade();
    there.write_all(b"\x01\xff\xf0").unwrap();
    hears(&mut there, b"\xff\xfa\x18\0XTERM-256COLOR\xff\xf0");
    let mut client = Client::come(site.address, &ticket, 0, Mode::Steal);
    client.until("echo is off", |said| *said == Said::Event(10, event::ECHO, vec![1]));
    assert_eq!(client.output, b"Password: ");
    // Telnet is spoken still: 255 is doubled, and what is on is not agreed on again.
    client.type_in(b"x\xff");
    hears(&mut there, b"x\xff\xff");
    there.write_all(b"\xff\xfb\x01\xff\xfc\x01.").unwrap();
    hears(&mut there, b"\xff\xfe\x01");
    client.until("echo is on", |said| *said == Said::Event(10, event::ECHO, vec![0]));
}

fn times_counters_and_names_are_kept() {
    let destination = Destination::echo();
    let options = ["--ttl", "90s"];
    let site = Site::with(Scene::new(), "127.0.0.1:0", &destination.endpoint(), &options);
    let (mut client, ticket) = Client::create(site.address);
    client.type_in(b"hello");
    client.expect("hello");
    drop(client);
    let mut client = Client::come(site.address, &ticket, 5, Mode::Steal);
    client.type_in(b"again");
    client.expect("again");
    client.say(&Frame::Ping([0; 8]));
    client.until("an answer", |said| matches!(said, Said::Pong(_)));
    drop(client);
    let before = site.wait_state(&ticket, "detached");
    let uptime = site.status()["uptime_seconds"].as_u64().unwrap();
    eventually("time has passed", || site.session(&ticket).unwrap()["age_seconds"].as_u64() >= Some(2));
    site.upgrade();
    let (after, status) = (site.session(&ticket).unwrap(), site.status());
    for key in ["id", "state", "epoch", "bytes_in", "bytes_out", "buffered", "limit", "destination"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert!(after["age_seconds"].as_u64() >= Some(2), "{after}");
    assert!(after["expires_seconds"].as_u64() <= Some(89), "{after}");
    assert!(status["uptime_seconds"].as_u64() > Some(uptime), "{status}");
    assert_eq!((&status["name"], &status["role"]), (&NAME.into(), &"session".into()));
    assert_eq!(status["pid"], site.pid().as_raw());
    let mut client = Client::connect(site.address);
    assert_eq!(client.resume(&ticket, 10, Mode::Refuse).unwrap().epoch, 3);
    assert_eq!(client.said.boot, ticket.boot, "it is the same start of a server");
}

fn it_can_be_done_again_and_again() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(site.address);
    // The first process was not started by another one.
    site.upgrade();
    let first = census(site.pid());
    for round in 0..8 {
        site.upgrade();
        client.type_in(format!("{round} ").as_bytes());
        client.expect(&format!("{round} "));
    }
    // The first look may have met one who was just asking.
    until("it holds no more than the first one held", PATIENCE, || {
        let now = census(site.pid());
        let most = |kind| first.descriptors.get(kind).copied().unwrap_or_default();
        let more = now.descriptors.iter().any(|(kind, count)| *count > most(kind.as_str()));
        if more || now.children > 0 { Err(format!("{now:?}, not {first:?}")) } else { Ok(()) }
    });
    assert_eq!(site.wait_state(&ticket, "attached")["epoch"], 1);
    std::fs::remove_file(site.scene.path("run/kept.sock")).unwrap();
    eventually("the control socket is there again", || site.scene.path("run/kept.sock").exists());
    site.status();
}

fn everything_is_in_its_place_after_a_stop() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(site.address);
    let new = site.upgrade();
    send(new, Signal::SIGTERM);
    client.until("that it stops", |said| matches!(said, Said::GoAway(_)));
    assert_eq!(site.wait_end(new), Exit::Code(0));
    let left = std::fs::read_dir(site.scene.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), Vec::<std::ffi::OsString>::new());
    assert!(!site.scene.path("pid").exists());
}

fn a_unix_listener_keeps_its_file() {
    let (scene, destination) = (Scene::new(), Destination::echo());
    let path = scene.path("front.sock");
    let site = Site::with(scene, &format!("unix:{}", path.display()), &destination.endpoint(), &[]);
    let connect = || {
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::over(stream)
    };
    let mut client = connect();
    let ticket: Ticket = client.make();
    let new = site.upgrade();
    client.type_in(b"hello");
    client.expect("hello");
    let mut client = connect();
    client.resume(&ticket, 5, Mode::Steal).unwrap();
    send(new, Signal::SIGTERM);
    site.wait_end(new);
    assert!(!path.exists(), "the file is left behind");
}
