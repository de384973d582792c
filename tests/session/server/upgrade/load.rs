//! Many sessions in all states, under load.

use super::site::Site;
use crate::harness::process::census;
use crate::harness::{PATIENCE, Scene, trials, until};
use crate::session::server::client::{Client, Said, Ticket};
use crate::session::server::destination::{Destination, pattern};
use socket_protector::session::frame::{Frame, Mode};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

trials![a_hundred_sessions_in_all_states_lose_no_byte];

/// Whether all is over, for those who wait for that.
type Over = Arc<(Mutex<bool>, Condvar)>;

/// What a session's destination does, by the first byte that it gets.
fn treat(mut stream: std::net::TcpStream, over: &Over) {
    let mut what = [0];
    if stream.read_exact(&mut what).is_err() {
        return;
    }
    match &what {
        b"e" => drop(std::io::copy(&mut &stream, &mut &stream)),
        // More than anybody has room for.
        b"f" => drop(stream.write_all(&pattern(0, FLOOD))),
        b"s" => {
            drop(stream.write_all(&pattern(0, SAID)));
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        // Nothing is ever taken.
        _ => drop(over.1.wait_while(over.0.lock().unwrap(), |over| !*over)),
    }
}

const FLOOD: usize = 1_000_000;
const SAID: usize = 30_000;
const STUCK: u64 = 100_000;

/// Exchanges bytes with an echo until it is told to end; how many.
fn exchanges(address: SocketAddr, more: &AtomicBool) -> (usize, Ticket) {
    let (mut client, ticket) = Client::create(address);
    client.type_in(b"e");
    let mut sent = 0;
    while more.load(Ordering::Relaxed) {
        client.type_in(&pattern(sent as u64, 4000));
        sent += 4000;
        // One that comes again now and then, as after a cut.
        if sent % 40_000 == 0 {
            let got = client.start + client.output.len() as u64;
            let output = std::mem::take(&mut client.output);
            drop(client);
            client = Client::come(address, &ticket, got, Mode::Steal);
            // What was under way may have arrived or not: it is sent again from where the session is.
            sent = client.next as usize - 1;
            assert!(output == pattern(got - output.len() as u64, output.len()), "other bytes came back");
        }
    }
    let until = client.next - 1;
    client.output_to(until);
    let from = client.start;
    assert!(client.output == pattern(from, (until - from) as usize), "other bytes came back");
    (until as usize, ticket)
}

fn with(address: SocketAddr, first: &[u8]) -> (Client, Ticket) {
    let (mut client, ticket) = Client::create(address);
    client.type_in(first);
    (client, ticket)
}

fn a_hundred_sessions_in_all_states_lose_no_byte() {
    let over = Over::default();
    let destination = {
        let over = Arc::clone(&over);
        Destination::new(move |stream| treat(stream, &over))
    };
    let options = ["--buffer", "128KiB"];
    let site = Site::with(Scene::new(), "127.0.0.1:0", &destination.endpoint(), &options);
    let address = site.address;
    let more = Arc::new(AtomicBool::new(true));
    let busy = (0..10).map(|_| {
        let more = Arc::clone(&more);
        std::thread::spawn(move || exchanges(address, &more))
    });
    let busy = busy.collect::<Vec<_>>();
    let mut attached = (0..30).map(|_| with(address, b"e")).collect::<Vec<_>>();
    let away = |first: &[u8]| {
        let (client, ticket) = with(address, first);
        drop(client);
        ticket
    };
    let flooded = (0..15).map(|_| away(b"f")).collect::<Vec<_>>();
    let ended = (0..25).map(|_| away(b"s")).collect::<Vec<_>>();
    let stuck = (0..20).map(|_| {
        let (mut client, ticket) = with(address, &[&b"n"[..], &pattern(0, STUCK as usize)].concat());
        // One that leaves with answers unread resets its connection, and what had not been taken would be lost.
        client.until("all is taken", |said| matches!(said, Said::Ack(ack) if ack.next == STUCK + 1));
        ticket
    });
    let stuck = stuck.collect::<Vec<_>>();
    flooded.iter().for_each(|ticket| drop(site.wait_session(ticket, "it is full", |one| one["buffered"] == 131_072)));
    ended.iter().for_each(|ticket| drop(site.wait_state(ticket, "ended")));
    let before = site.status();
    for round in 0..3 {
        let begun = std::time::Instant::now();
        site.upgrade();
        eprintln!("{} sessions went over in {:?}", before["sessions"].as_array().unwrap().len(), begun.elapsed());
        for (client, _) in &mut attached {
            client.type_in(&[b'0' + round]);
        }
    }
    more.store(false, Ordering::Relaxed);
    let moved = busy.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>();
    assert!(moved.iter().all(|(bytes, _)| *bytes > 0));
    for (client, ticket) in &mut attached {
        client.expect("012");
        assert_eq!(site.session(ticket).unwrap()["epoch"], 1);
    }
    for ticket in &flooded {
        let mut client = Client::come(address, ticket, 0, Mode::Steal);
        client.output_to(FLOOD as u64);
        assert!(client.output == pattern(0, FLOOD), "other bytes came");
    }
    for ticket in &ended {
        let mut client = Client::come(address, ticket, 0, Mode::Steal);
        client.say(&Frame::Fin { offset: client.next });
        client.finish();
        assert!(client.output == pattern(0, SAID), "other bytes came");
    }
    for ticket in &stuck {
        assert_eq!(site.wait_state(ticket, "detached")["bytes_in"], STUCK + 1);
    }
    assert_eq!(destination.accepted(), 100, "each session has connected once");
    *over.0.lock().unwrap() = true;
    over.1.notify_all();
    all_is_given_back(&site, attached);
}

fn all_is_given_back(site: &Site, attached: Vec<(Client, Ticket)>) {
    drop(attached);
    let status = site.status();
    for session in status["sessions"].as_array().unwrap() {
        let id = session["id"].as_str().unwrap();
        site.scene.cli(&["session", "close", &format!("--proxy={}", site.address), id]).expect(0);
    }
    until("no connection is left", PATIENCE, || {
        let sockets = census(site.pid()).descriptors.get("socket").copied().unwrap_or_default();
        // The listener, the control socket, and those of signals.
        if sockets <= 4 { Ok(()) } else { Err(format!("{:?}", census(site.pid()))) }
    });
}
