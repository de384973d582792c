//! The one descriptor for event loops.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, clients, is_readable, listener};
use socket_protector_client::Protector;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

fn would_wait(protector: &Protector) -> bool {
    matches!(protector.accept(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn connections_already_read_keep_it_readable() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    protector.set_nonblocking(true).unwrap();
    assert!(!is_readable(&protector));
    let clients = clients(3);
    let batch: Vec<(u16, BorrowedFd<'_>)> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    supervisor.pass(&batch);
    for _ in &clients {
        assert!(is_readable(&protector));
        assert!(protector.accept().unwrap().is_some());
    }
    assert!(!is_readable(&protector));
    assert!(would_wait(&protector));
    drop(supervisor);
    for _ in 0..2 {
        assert!(is_readable(&protector));
        assert!(protector.accept().unwrap().is_none());
    }
}

#[test]
fn asked_for_late_it_knows_of_what_was_read_before() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let clients = clients(2);
    supervisor.pass(&[(0, clients[0].1.as_fd()), (0, clients[1].1.as_fd())]);
    assert!(protector.accept().unwrap().is_some());
    assert!(is_readable(&protector));
    assert!(protector.accept().unwrap().is_some());
    assert!(!is_readable(&protector));
}

#[test]
fn listeners_and_the_drain_make_it_readable() {
    let (first, _) = listener();
    let (second, address) = listener();
    let (supervisor, protector) = Supervisor::with(vec![first.into(), second.into()]);
    protector.set_nonblocking(true).unwrap();
    assert!(!is_readable(&protector));
    let _client = TcpStream::connect(address).unwrap();
    assert!(is_readable(&protector));
    assert_eq!(protector.accept().unwrap().unwrap().listener(), 1);
    assert!(!is_readable(&protector));
    drop(supervisor);
    assert!(is_readable(&protector));
    assert!(protector.accept().unwrap().is_none());
    assert!(is_readable(&protector));
}

#[test]
fn it_serves_without_a_supervisor_too() {
    let (listener, address) = listener();
    let protector = Protector::standalone(listener).unwrap();
    protector.set_nonblocking(true).unwrap();
    assert!(!is_readable(&protector));
    let _client = TcpStream::connect(address).unwrap();
    assert!(is_readable(&protector));
    assert!(protector.accept().unwrap().is_some());
    assert!(would_wait(&protector));
    protector.set_nonblocking(false).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    assert!(protector.accept().unwrap().is_some());
}

#[test]
fn threads_that_accept_at_the_same_time_do_not_hide_connections_from_each_other() {
    const THREADS: usize = 4;
    const EACH: usize = 25;
    let (listener, address) = listener();
    let (_supervisor, protector) = Supervisor::with(vec![listener.into()]);
    protector.set_nonblocking(true).unwrap();
    for _ in 0..20 {
        let _clients: Vec<_> = (0..THREADS * EACH).map(|_| TcpStream::connect(address).unwrap()).collect();
        thread::scope(|threads| {
            for _ in 0..THREADS {
                // There is one for each call, so no call may say that there is nothing.
                threads.spawn(|| (0..EACH).for_each(|_| drop(protector.accept().unwrap().unwrap())));
            }
        });
        assert!(would_wait(&protector));
    }
}
