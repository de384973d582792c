//! Waiting that ends for a reason of the daemon's own.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, asleep, clients, listener};
use nix::sys::eventfd::{EfdFlags, EventFd};
use socket_protector_client::{Connection, Protector};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

fn stop() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap()
}

fn is_stopped(taken: io::Result<Option<Connection>>) -> bool {
    matches!(taken, Err(error) if error.kind() == io::ErrorKind::Interrupted)
}

#[test]
fn what_is_there_comes_before_the_stop() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let clients = clients(3);
    let batch: Vec<(u16, BorrowedFd<'_>)> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    supervisor.pass(&batch);
    let stop = stop();
    stop.write(1).unwrap();
    assert_eq!(protector.queued(), 0);
    for left in [2, 1, 0] {
        assert!(protector.accept_until(stop.as_fd(), usize::MAX).unwrap().is_some());
        assert_eq!(protector.queued(), left);
    }
    assert!(is_stopped(protector.accept_until(stop.as_fd(), usize::MAX)));
    drop(supervisor);
    assert!(protector.accept_until(stop.as_fd(), usize::MAX).unwrap().is_none());
}

#[test]
fn without_a_supervisor_too() {
    let (listener, address) = listener();
    let protector = Protector::standalone(listener).unwrap();
    let stop = stop();
    let _client = TcpStream::connect(address).unwrap();
    assert!(protector.accept_until(stop.as_fd(), usize::MAX).unwrap().is_some());
    stop.write(1).unwrap();
    assert!(is_stopped(protector.accept_until(stop.as_fd(), usize::MAX)));
}

#[test]
fn it_ends_the_wait_of_every_thread_and_nothing_else() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let (protector, stop) = (Arc::new(protector), Arc::new(stop()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (protector, stop) = (Arc::clone(&protector), Arc::clone(&stop));
            asleep(move || is_stopped(protector.accept_until(stop.as_fd(), usize::MAX)))
        })
        .collect();
    stop.write(1).unwrap();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    let clients = clients(1);
    supervisor.pass(&[(0, clients[0].1.as_fd())]);
    assert!(protector.accept().unwrap().is_some());
}
