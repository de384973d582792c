//! What is under way at a restart goes on in the new process: waits, guards, probes, drains; and what could not go.

use super::place::{Backend, Place, client, free_source, row};
use super::tls::certificate;
use crate::harness::process::{Exit, alive, send};
use crate::harness::{PATIENCE, eventually, trials, until};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

trials![
    a_guard_goes_on_and_undoes_a_switch_in_the_new_process,
    a_guard_goes_on_and_is_over_in_the_new_process,
    a_probe_is_made_again,
    a_drain_goes_on,
    a_request_that_is_half_said_is_answered,
    connections_with_tls_end_in_the_old_process,
    connections_that_stayed_are_cut_with_the_rule_and_with_the_forwarder,
    the_old_process_may_be_killed_later,
    a_connection_that_was_being_made_is_made,
];

fn a_guard_goes_on_and_undoes_a_switch_in_the_new_process() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut switches = place.begin(&["switch", &source, &b.endpoint(), "--guard", "60s"]);
    place.wait_list("it is switched", |list| list.to_string().contains(&b.endpoint()));
    place.restart();
    assert!(switches.runs(), "it waits still");
    client(address, "b");
    b.close();
    client_that_fails(address);
    switches.finish(PATIENCE).expect(1).complains().says("switched back");
    client(address, "a");
}

fn client_that_fails(address: std::net::SocketAddr) {
    super::place::Client::connect(address).ends();
}

fn a_guard_goes_on_and_is_over_in_the_new_process() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let switches = place.begin(&["switch", &source, &b.endpoint(), "--guard", "4s"]);
    place.wait_list("it is switched", |list| list.to_string().contains(&b.endpoint()));
    place.restart();
    switches.finish(PATIENCE).expect(0);
    client(address, "b");
    until("it is saved", PATIENCE, || {
        let saved = place.file("forward.json");
        if saved.contains(&b.endpoint()) { Ok(()) } else { Err(saved) }
    });
}

fn a_probe_is_made_again() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    // It answers only the second time that it is asked.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port());
    let probe = "--probe=send:who\\n,expect:b";
    let switches = place.begin(&["switch", &source, &to, probe, "--probe-timeout", "60s"]);
    let (first, _) = listener.accept().unwrap();
    place.restart();
    let (second, _) = listener.accept().unwrap();
    let mut asked = String::new();
    BufReader::new(&second).read_line(&mut asked).unwrap();
    assert_eq!(asked, "who\n");
    (&second).write_all(b"b\n").unwrap();
    switches.finish(PATIENCE).expect(0);
    drop(first);
    let client = super::place::Client::connect(address);
    listener.accept().unwrap();
    drop(client);
}

fn a_drain_goes_on() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let ((source, address), (other, other_at)) = (free_source(), free_source());
    place.start(&source, &a.endpoint());
    place.start(&other, &a.endpoint());
    let (mut first, mut second) = (client(address, "a"), client(address, "a"));
    let mut stops = place.begin(&["stop", &source, "--drain"]);
    place.wait_list("it drains", |list| list.to_string().contains("\"draining\":true"));
    let mut waits = place.begin(&["wait", &source]);
    eventually("both wait", || place.control_clients() == 2);
    place.restart();
    assert!(stops.runs() && waits.runs());
    first.ask("a");
    drop(first);
    second.ask("a");
    let rows = place.rows();
    assert!(rows.contains(&row(&source, &a.endpoint(), 1, "inactive")), "{rows:?}");
    drop(second);
    stops.finish(PATIENCE).expect(0);
    waits.finish(PATIENCE).expect(0);
    client(other_at, "a");
    assert_eq!(place.rows().len(), 1);
}

fn a_request_that_is_half_said_is_answered() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start(&free_source().0, &a.endpoint());
    let mut client = UnixStream::connect(place.path("forward.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"{\"request\":").unwrap();
    eventually("it is there", || place.control_clients() == 1);
    place.restart();
    client.write_all(b"\"list\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&client).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"ok\":true"), "{answer}");
}

/// A forwarder to one that speaks TLS: its connections cannot be handed over.
struct Chain {
    outer: Place,
    inner: Place,
    source: String,
    address: std::net::SocketAddr,
    to: String,
}

fn chain(a: &Backend) -> Chain {
    let (outer, inner) = (Place::new(), Place::new());
    let files = certificate(&inner.scene, "one");
    let ((source, address), (middle, secret)) = (free_source(), free_source());
    inner.start(&files.listen(&middle), &a.endpoint());
    let to = files.destination(secret);
    outer.start(&source, &to);
    Chain { outer, inner, source, address, to }
}

fn connections_with_tls_end_in_the_old_process() {
    let (a, b) = (Backend::new("a"), Backend::new("b"));
    let Chain { outer, inner, source, address, to } = chain(&a);
    let (mut first, mut second) = (client(address, "a"), client(address, "a"));
    let old = outer.pid();
    outer.quietly(&["restart"]);
    assert!(alive(old), "it has connections still");
    assert_eq!(outer.rows(), [row(&source, &to, 2, "active")], "they are counted in the new one");
    first.ask("a");
    let mut third = client(address, "a");
    outer.wait_list("bytes are counted, too", |list| {
        list["rules"][0]["destinations"][0]["bytes_in"].as_u64() == Some(24)
    });
    outer.switch(&source, &b.endpoint());
    let mut waits = outer.begin(&["wait"]);
    // Another one: now three processes have connections.
    let middle = outer.pid();
    outer.quietly(&["restart"]);
    assert!(alive(old) && alive(middle));
    outer.wait_rows(&[row(&source, &b.endpoint(), 0, "active"), row(&source, &to, 3, "inactive")]);
    first.end();
    outer.wait_rows(&[row(&source, &b.endpoint(), 0, "active"), row(&source, &to, 2, "inactive")]);
    third.end();
    // The oldest one has started it, and waits for it.
    eventually("the middle one has ended", || !alive(middle));
    second.ask("a");
    assert!(waits.runs(), "one is left");
    second.end();
    waits.finish(PATIENCE).expect(0);
    assert_eq!(outer.wait_end(old), Exit::Code(0));
    outer.wait_rows(&[row(&source, &b.endpoint(), 0, "active")]);
    drop(inner);
}

fn connections_that_stayed_are_cut_with_the_rule_and_with_the_forwarder() {
    let a = Backend::new("a");
    let Chain { outer, inner, source, address, to } = chain(&a);
    let mut held = client(address, "a");
    let old = outer.pid();
    outer.quietly(&["restart"]);
    // A drain waits for it.
    let mut stops = outer.begin(&["stop", &source, "--drain"]);
    outer.wait_rows(&[row(&source, &to, 1, "inactive")]);
    assert!(stops.runs() && alive(old));
    outer.run(&["stop", &source]).expect(0);
    held.ends();
    stops.finish(PATIENCE).expect(0);
    assert_eq!(outer.wait_end(old), Exit::Code(0));
    outer.start(&source, &to);
    let mut held = client(address, "a");
    let old = outer.pid();
    outer.quietly(&["restart"]);
    held.ask("a");
    // However the new one ends.
    send(outer.pid(), Signal::SIGKILL);
    held.ends();
    assert_eq!(outer.wait_end(old), Exit::Code(0));
    drop(inner);
}

fn the_old_process_may_be_killed_later() {
    let a = Backend::new("a");
    let Chain { outer, inner, source, address, to } = chain(&a);
    let mut held = client(address, "a");
    let old = outer.pid();
    outer.quietly(&["restart"]);
    outer.wait_rows(&[row(&source, &to, 1, "active")]);
    send(old, Signal::SIGKILL);
    held.ends();
    outer.wait_rows(&[row(&source, &to, 0, "active")]);
    client(address, "a");
    drop(inner);
}

fn a_connection_that_was_being_made_is_made() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (source, address) = free_source();
    // It sends a PROXY header first, so the connection is not established before that has come.
    place.start(&format!("haproxy:{source}"), &format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let mut client = super::place::Client::connect(address);
    client.send("PROXY TCP4 192.0.2.1 192.0.2.2 ");
    place.wait_list("it is counted", |list| list.to_string().contains("\"connections\":1"));
    let old = place.pid();
    place.quietly(&["restart"]);
    place.wait_list("it is counted still", |list| list.to_string().contains("\"connections\":1"));
    client.send("1 2\r\nhello\n");
    let (peer, _) = listener.accept().unwrap();
    let mut heard = String::new();
    BufReader::new(&peer).read_line(&mut heard).unwrap();
    assert_eq!(heard, "hello\n");
    (&peer).write_all(b"answer\n").unwrap();
    assert_eq!(client.line(), "answer");
    assert!(alive(old));
    drop((client, peer));
    assert_eq!(place.wait_end(old), Exit::Code(0));
}
