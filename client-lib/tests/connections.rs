//! Connections passed over the channel.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, asleep, child, clients};
use nix::sys::socket::{Shutdown, shutdown};
use socket_protector_client::wire::{FromChild, MAX_CONNECTIONS};
use socket_protector_client::{Error, descriptors};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

#[test]
fn a_passed_connection_is_served() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let mut clients = clients(1);
    let (mut client, server) = clients.remove(0);
    supervisor.pass(&[(2, server.as_fd())]);
    drop(server);
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.listener(), 2);
    answers(connection, &mut client);
    assert_eq!((protector.generation(), protector.name()), (7, "test"));
    assert!(protector.listener_names().is_empty());
}

#[test]
fn a_full_batch_comes_in_order_and_then_the_end() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let clients = clients(MAX_CONNECTIONS);
    let batch: Vec<(u16, BorrowedFd<'_>)> =
        clients.iter().enumerate().map(|(index, (_, server))| (index as u16, server.as_fd())).collect();
    supervisor.pass(&batch);
    drop(supervisor);
    for (index, (client, _)) in clients.iter().enumerate() {
        let connection = protector.accept().unwrap().unwrap();
        assert_eq!(connection.listener(), index);
        let stream = connection.into_tcp_stream().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
    }
    assert!(protector.accept().unwrap().is_none());
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn records_unread_at_the_end_are_served_first() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let clients = clients(5);
    for (_, server) in &clients {
        supervisor.pass(&[(0, server.as_fd())]);
    }
    // The child's hello was never read: the kernel then announces the end with a reset before the records.
    drop(supervisor);
    assert!(protector.is_draining());
    assert_eq!(protector.incoming().map(Result::unwrap).count(), 5);
}

#[test]
fn a_channel_that_is_only_shut_down_ends_too() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let clients = clients(1);
    supervisor.pass(&[(0, clients[0].1.as_fd())]);
    assert!(!protector.is_draining());
    shutdown(supervisor.end.as_raw_fd(), Shutdown::Write).unwrap();
    assert!(protector.is_draining());
    assert!(protector.accept().unwrap().is_some());
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn a_drain_ends_the_wait() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let waiting = asleep(move || protector.accept());
    drop(supervisor);
    assert!(waiting.join().unwrap().unwrap().is_none());
}

#[test]
fn a_record_that_the_supervisor_took_back_is_not_waited_for() {
    let (supervisor, channel) = Supervisor::new();
    let duplicate = channel.try_clone().unwrap();
    let protector = child(channel, Vec::new());
    let clients = clients(2);
    for (_, server) in &clients {
        supervisor.pass(&[(0, server.as_fd())]);
    }
    assert!(protector.accept().unwrap().is_some());
    let mut reclaimed = Vec::new();
    descriptors::receive(duplicate.as_fd(), &mut [0; 64], &mut reclaimed, false).unwrap();
    assert_eq!(reclaimed.len(), 1);
    let waiting = asleep(move || protector.accept());
    drop(supervisor);
    assert!(waiting.join().unwrap().unwrap().is_none());
}

#[test]
fn every_waiting_thread_gets_its_connection_and_the_drain() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let protector = Arc::new(protector);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let protector = Arc::clone(&protector);
            // Holds what it takes, as a daemon's thread does that serves for long.
            asleep(move || (protector.accept().unwrap(), protector.accept().unwrap()))
        })
        .collect();
    let clients = clients(6);
    let batch: Vec<(u16, BorrowedFd<'_>)> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    supervisor.pass(&batch);
    drop(supervisor);
    let taken = threads.into_iter().map(|thread| thread.join().unwrap());
    let taken: usize = taken.map(|(one, two)| usize::from(one.is_some()) + usize::from(two.is_some())).sum();
    assert_eq!(taken, 6);
}

#[test]
fn readiness_is_told_once_and_at_the_latest_by_the_first_accept() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    assert_eq!(supervisor.heard(), Some(FromChild::Hello { version: 1 }));
    assert_eq!(supervisor.heard(), None);
    protector.set_nonblocking(true).unwrap();
    assert_eq!(protector.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(supervisor.heard(), Some(FromChild::Ready));
    protector.ready().unwrap();
    protector.accept().unwrap_err();
    assert_eq!(supervisor.heard(), None);
}

#[test]
fn a_supervisor_that_is_gone_does_not_fail_ready() {
    let (supervisor, channel) = Supervisor::new();
    drop(supervisor);
    let protector = child(channel, Vec::new());
    protector.ready().unwrap();
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn unknown_records_are_skipped_and_their_descriptors_closed() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    descriptors::send(supervisor.end.as_fd(), &[0x05; 9000], &[there.as_fd()]).unwrap();
    drop(there);
    let clients = clients(1);
    supervisor.pass(&[(0, clients[0].1.as_fd())]);
    assert!(protector.accept().unwrap().is_some());
    assert_eq!(io::Read::read(&mut &here, &mut [0]).unwrap(), 0);
}

#[test]
fn a_malformed_record_is_an_error_and_the_next_one_is_served() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let clients = clients(1);
    descriptors::send(supervisor.end.as_fd(), &[0x01, 0x02, 0, 0], &[clients[0].1.as_fd()]).unwrap();
    descriptors::send(supervisor.end.as_fd(), &[0x01, 0x01, 0, 0], &[clients[0].1.as_fd(); 2]).unwrap();
    supervisor.pass(&[(0, clients[0].1.as_fd())]);
    let error = protector.accept().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "the supervisor sent a malformed record");
    let error = protector.accept().unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(inner, Some(Error::Count { expected: 1, found: 2 })), "{error}");
    assert!(protector.accept().unwrap().is_some());
}
