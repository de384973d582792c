//! What becomes of destinations: refused, silent, unknown, reset, half-closed; and how they are reached.

use super::client::{Client, Said};
use super::destination::{Destination, pattern, read_all};
use super::place::Place;
use super::secure::Certificate;
use crate::harness::{PATIENCE, Scene, trials};
use socket_protector::session::frame::{Closed, Destination as State, Frame, Mode, event};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// As the protocol numbers it.
const ECONNRESET: u32 = 104;

trials![
    a_destination_that_refuses_is_told_and_kept_until_somebody_has_heard,
    a_destination_that_does_not_answer_is_given_up_in_time_and_delays_nobody,
    a_name_without_an_address_is_told,
    a_reset_comes_behind_the_bytes_before_it,
    input_that_a_destination_does_not_take_is_told,
    a_half_closed_destination_still_answers_and_sees_one_end,
    the_client_can_break_its_destination_off,
    a_unix_socket_is_a_destination,
    a_destination_with_tls_is_reached_and_told_its_end,
    a_session_that_is_closed_ends_tls_and_hears_its_end,
    a_destination_that_is_not_trusted_gets_nothing,
    what_a_destination_endpoint_cannot_say_here_is_refused,
];

/// The whole of a session that fails: told to the client that made it, and to one that comes later.
fn fails(place: &Place, state: State, word: &str) {
    let (mut client, ticket) = Client::create(place.address);
    client.until("the failure", |said| *said == Said::Destination(state));
    assert_eq!(place.wait_state(&ticket, "failed")["destination"], *word);
    client.cut();
    let mut client = Client::connect(place.address);
    let accept = client.resume(&ticket, 0, Mode::Steal).unwrap();
    assert!(accept.output_ended && accept.destination == state);
    assert_eq!(client.hear(), Said::Destination(state));
    client.acknowledge(true);
    assert_eq!(client.hear(), Said::Closed(Closed::Complete));
    place.wait_sessions(0);
}

fn a_destination_that_refuses_is_told_and_kept_until_somebody_has_heard() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = Place::to(&gone.to_string());
    let before = place.census();
    fails(&place, State::Refused, "refused");
    place.wait_census(&before);
    place.wait_log("cannot connect to tcp:127.0.0.1");
}

fn a_destination_that_does_not_answer_is_given_up_in_time_and_delays_nobody() {
    // A backlog that is full: what is sent to connect is dropped.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&silent, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    let full: Vec<_> =
        (0..8).map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()).collect();
    let place = Place::with(&address.to_string(), &["--connect-timeout", "1s"]);
    fails(&place, State::Timeout, "timeout");
    drop(full);
}

fn a_name_without_an_address_is_told() {
    fails(&Place::to("no-such-host.invalid:80"), State::Unresolved, "unresolved");
}

fn a_reset_comes_behind_the_bytes_before_it() {
    let destination = Destination::new(|mut stream| {
        stream.write_all(&pattern(0, 5000)).unwrap();
        // Only what has arrived comes before a reset.
        let mut word = [0];
        stream.read_exact(&mut word).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    client.output_to(5000);
    client.type_in(b"x");
    client.cut();
    let session = place.wait_state(&ticket, "ended");
    assert_eq!((session["destination"].as_str(), session["buffered"].as_u64()), (Some("reset"), Some(0)));
    let mut client = Client::come(place.address, &ticket, 4000, Mode::Steal);
    let reset = client.until("the reset", |said| matches!(said, Said::Reset(..)));
    assert_eq!(reset, Said::Reset(5000, ECONNRESET));
    assert_eq!(client.output.len(), 1000);
    client.acknowledge(true);
    client.until("the end", |said| *said == Said::Closed(Closed::Complete));
}

fn input_that_a_destination_does_not_take_is_told() {
    let destination = Destination::new(|mut stream| {
        let mut word = [0; 3];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(b"no more").unwrap();
    });
    let place = Place::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"abc");
    client.until("the end of its output", |said| matches!(said, Said::Fin(7)));
    // The connection is closed there: what is sent now is answered by a reset.
    client.type_in(b"lost");
    client.until("the loss", |said| matches!(said, Said::Event(7, event::INPUT_LOST, _)));
    client.say(&Frame::Data { offset: 7, bytes: b"more" });
    client.until("that it has not arrived", |said| matches!(said, Said::Ack(ack) if ack.next == 7 && ack.window == 0));
    client.acknowledge(true);
    client.until("the end", |said| *said == Said::Closed(Closed::Complete));
}

fn a_half_closed_destination_still_answers_and_sees_one_end() {
    let destination = Destination::new(|mut stream| {
        let input = read_all(&stream);
        stream.write_all(format!("{} bytes\n", input.len()).as_bytes()).unwrap();
    });
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    client.type_in(b"all of it");
    client.say(&Frame::Fin { offset: 9 });
    // Cut between the end and its acknowledgement, and said again.
    client.cut();
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    let next = client.next;
    client.say(&Frame::Fin { offset: next });
    client.expect("9 bytes\n");
    client.finish();
    assert_eq!(destination.accepted(), 1);
    place.wait_sessions(0);
}

fn the_client_can_break_its_destination_off() {
    let (told, heard) = channel();
    let destination = Destination::new(move |mut stream| {
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).map_err(|error| error.kind());
        told.send((bytes, end)).unwrap();
    });
    let place = Place::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"abc");
    client.until("it is written", |said| matches!(said, Said::Ack(ack) if ack.next == 3));
    client.say(&Frame::Reset { offset: 3, errno: 0 });
    let (bytes, end) = heard.recv_timeout(PATIENCE).unwrap();
    assert!(b"abc".starts_with(&bytes), "{bytes:?}");
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    client.until("the reset", |said| matches!(said, Said::Reset(0, _)));
}

fn a_unix_socket_is_a_destination() {
    let scene = Scene::new();
    let listener = UnixListener::bind(scene.path("there")).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let _ = std::io::copy(&mut &stream, &mut &stream);
    });
    let to = format!("unix:{}", scene.path("there").display());
    let place = Place::in_scene(scene, "127.0.0.1:0", &to, &[]);
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("hello");
    client.say(&Frame::Fin { offset: 5 });
    client.finish();
}

fn a_destination_with_tls_is_reached_and_told_its_end() {
    let scene = Scene::new();
    let files = Certificate::new(&scene, "there");
    let (told, heard) = channel();
    let destination = {
        let files = files.clone();
        Destination::new(move |stream| {
            let mut stream = files.accept(stream);
            let mut input = Vec::new();
            // An end without the end of TLS would be an error.
            let end = stream.read_to_end(&mut input).map_err(|error| error.to_string());
            stream.write_all(&pattern(0, 300_000)).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            told.send(end.map(|_| input)).unwrap();
        })
    };
    let place = Place::in_scene(Arc::clone(&scene), "127.0.0.1:0", &files.destination(destination.address), &[]);
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(&pattern(0, 500_000));
    client.say(&Frame::Fin { offset: 500_000 });
    client.output_to(300_000);
    client.finish();
    assert!(client.output == pattern(0, 300_000));
    assert!(heard.recv_timeout(PATIENCE).unwrap().unwrap() == pattern(0, 500_000));
}

fn a_session_that_is_closed_ends_tls_and_hears_its_end() {
    let scene = Scene::new();
    let files = Certificate::new(&scene, "there");
    let (told, heard) = channel();
    let destination = {
        let files = files.clone();
        Destination::new(move |stream| {
            let mut stream = files.accept(stream);
            let mut input = vec![0; 5];
            stream.read_exact(&mut input).and_then(|()| stream.write_all(b"heard")).unwrap();
            // An end without the end of TLS would be an error.
            let end = stream.read_to_end(&mut input).map_err(|error| error.to_string());
            // It is still heard, and its own end of TLS as well: nothing of that is answered by a reset.
            let last = stream.write_all(&pattern(0, 300_000)).and_then(|()| {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)?;
                stream.sock.read(&mut [0])
            });
            told.send((end.map(|_| input), last.map_err(|error| error.to_string()))).unwrap();
        })
    };
    let place = Place::in_scene(Arc::clone(&scene), "127.0.0.1:0", &files.destination(destination.address), &[]);
    let before = place.census();
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"hello");
    client.expect("heard");
    client.say(&Frame::Close);
    client.until("the end", |said| *said == Said::Closed(Closed::ByClient));
    let (input, last) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!((input, last), (Ok(b"hello".to_vec()), Ok(0)));
    drop(client);
    place.wait_census(&before);
}

fn a_destination_that_is_not_trusted_gets_nothing() {
    let scene = Scene::new();
    let (files, other) = (Certificate::new(&scene, "there"), Certificate::new(&scene, "other"));
    let destination = Destination::new(move |stream| {
        let mut input = Vec::new();
        assert!(files.accept(stream).read_to_end(&mut input).is_err() && input.is_empty());
    });
    let place = Place::in_scene(Arc::clone(&scene), "127.0.0.1:0", &other.destination(destination.address), &[]);
    let (mut client, _ticket) = Client::create(place.address);
    client.type_in(b"secret");
    client.until("the failure", |said| *said == Said::Destination(State::Refused));
    place.wait_log("TLS handshake failed");
    destination.wait_open(0);
}

fn what_a_destination_endpoint_cannot_say_here_is_refused() {
    let scene = Scene::new();
    for (to, why) in [
        ("tcp:127.0.0.1:1:proxy=v1", "proxy="),
        ("tcp:127.0.0.1:1:idleTimeout=5", "idleTimeout="),
        ("127.0.0.1:0", "a port to connect to"),
        ("nonsense", "the port is missing"),
        ("tls:127.0.0.1:1:trustRoots=/no/such/dir", "/no/such/dir"),
    ] {
        let ran = scene.cli(&["session", "server", "--proxy=:0", to]);
        assert_ne!(ran.exit, crate::harness::process::Exit::Code(0));
        ran.complains().says(why);
    }
}
