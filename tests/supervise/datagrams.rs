//! Listeners for datagrams.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::{PATIENCE, Setup, eventually, trials};

trials![datagrams_are_answered_through_reloads, datagrams_are_no_connections, an_inherited_socket_for_datagrams_serves,];

/// Asks until told to stop: every datagram is answered, and by a generation not older than `oldest` when it was sent.
fn ask_by_datagrams(address: std::net::SocketAddr, stop: &AtomicBool, answered: &AtomicU64, oldest: &AtomicU64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for count in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let least = oldest.load(Ordering::SeqCst);
        socket.send(&count.to_be_bytes()).unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("datagram {count}: {error}"));
        let space = buffer.iter().position(|byte| *byte == b' ').unwrap();
        assert_eq!(&buffer[space + 1..length], count.to_be_bytes());
        let generation: u64 = std::str::from_utf8(&buffer[..space]).unwrap().parse().unwrap();
        assert!(generation >= least, "generation {generation} answers, which was gone");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn datagrams_are_answered_through_reloads() {
    let supervisor = Setup::alone().role("datagrams").listen(&["udp:0:interface=127.0.0.1"]).start();
    let address = supervisor.address();
    let (stop, answered, oldest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(1));
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| ask_by_datagrams(address, &stop, &answered, &oldest))).collect();
        for _ in 0..10 {
            let before = answered.load(Ordering::SeqCst);
            supervisor.reload().expect(0);
            supervisor.wait_settled();
            oldest.fetch_add(1, Ordering::SeqCst);
            eventually("some more are answered", || answered.load(Ordering::SeqCst) > before + 50);
        }
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

fn datagrams_are_no_connections() {
    let ran = Setup::alone().connections().listen(&["127.0.0.1:0", "udp:0"]).run().expect(2).complains();
    ran.says("udp:0 receives datagrams");
    let ran = Setup::alone().connections().wrap("udp4 3").listen(&["fd:3"]).run().expect(2).complains();
    ran.says("fd:3 receives datagrams");
}

fn an_inherited_socket_for_datagrams_serves() {
    let supervisor = Setup::alone().role("datagrams").wrap("udp4 9").listen(&["fd:9"]).start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for generation in 1..3 {
        socket.send_to(b"x", supervisor.address()).unwrap();
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *format!("{generation} x").as_bytes());
        supervisor.reload().expect(0);
        supervisor.wait_settled();
    }
}
