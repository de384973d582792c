//! Connections that a daemon gives back, and those that come with the state of an earlier one.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, asleep, clients, is_readable, listener};
use nix::sys::socket::{Shutdown, shutdown};
use socket_protector_client::wire::{FromChild, MAX_STATE, MAX_STATUS};
use socket_protector_client::{Connection, Error, GiveBackError, Protector};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A supervisor that has read its child's hello, and the child, in both ways of passing.
fn both_ways() -> [(Supervisor, Protector); 2] {
    [Vec::new(), vec![OwnedFd::from(listener().0)]].map(|listeners| {
        let (supervisor, protector) = Supervisor::with(listeners);
        assert_eq!(supervisor.heard(), Some(FromChild::Hello { version: 1 }));
        (supervisor, protector)
    })
}

fn given(supervisor: &Supervisor) -> (u16, Vec<u8>, OwnedFd) {
    let (record, mut sockets) = supervisor.heard_with_sockets().unwrap();
    let FromChild::GiveBack { listener, state } = record else {
        panic!("{record:?}");
    };
    assert_eq!(sockets.len(), 1);
    (listener, state, sockets.remove(0))
}

#[test]
fn a_connection_and_its_state_go_to_the_supervisor_whether_it_drains_or_not() {
    for (supervisor, protector) in both_ways() {
        for drains in [false, true] {
            let (mut client, server) = clients(1).remove(0);
            protector.give_back(Connection::new(server, 3), b"so far").unwrap();
            let (listener, state, socket) = given(&supervisor);
            assert_eq!((listener, &state[..]), (3, &b"so far"[..]));
            answers(Connection::new(socket, 3), &mut client);
            if !drains {
                shutdown(supervisor.end.as_raw_fd(), Shutdown::Write).unwrap();
            }
        }
        assert!(protector.is_draining());
    }
}

#[test]
fn a_connection_comes_with_its_state_and_in_order() {
    for (supervisor, protector) in both_ways() {
        protector.set_nonblocking(true).unwrap();
        let clients = clients(5);
        let server = |index: usize| clients[index].1.as_fd();
        let full = vec![7; MAX_STATE];
        supervisor.pass(&[(0, server(0)), (1, server(1))]);
        supervisor.pass_with_state(2, &full, server(2));
        supervisor.pass_with_state(3, b"", server(3));
        supervisor.pass(&[(4, server(4))]);
        for (index, state) in [None, None, Some(&full[..]), Some(&[][..]), None].into_iter().enumerate() {
            assert!(is_readable(&protector));
            let mut connection = protector.accept().unwrap().unwrap();
            assert_eq!((connection.listener(), connection.state()), (index, state));
            assert_eq!(connection.take_state().as_deref(), state);
            assert_eq!(connection.state(), None);
            let stream = connection.into_tcp_stream().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), clients[index].0.local_addr().unwrap());
        }
        assert!(!is_readable(&protector));
    }
}

#[test]
fn a_state_for_which_there_is_no_room_stays_with_its_connection_and_first() {
    for (supervisor, protector) in both_ways() {
        protector.set_nonblocking(true).unwrap();
        let all = clients(2);
        let (_never, stop) = UnixStream::pair().unwrap();
        supervisor.pass_with_state(1, b"a state", all[0].1.as_fd());
        supervisor.pass(&[(2, all[1].1.as_fd())]);
        for room in [0, 6] {
            let error = protector.accept_until(stop.as_fd(), room).unwrap_err();
            let error = error.get_ref().unwrap().downcast_ref().unwrap();
            assert!(matches!(error, Error::NoRoom { length: 7 }));
            assert!(is_readable(&protector));
            assert_eq!(protector.queued(), 1);
        }
        let connection = protector.accept_until(stop.as_fd(), 7).unwrap().unwrap();
        assert_eq!((connection.listener(), connection.state()), (1, Some(&b"a state"[..])));
        let connection = protector.accept_until(stop.as_fd(), 0).unwrap().unwrap();
        assert_eq!((connection.listener(), connection.state()), (2, None));
        assert!(!is_readable(&protector));
    }
}

#[test]
fn listeners_and_the_channel_are_served_together() {
    let (socket, address) = listener();
    let (supervisor, protector) = Supervisor::with(vec![socket.into()]);
    let (_client, server) = clients(1).remove(0);
    let _direct = TcpStream::connect(address).unwrap();
    supervisor.pass_with_state(0, b"state", server.as_fd());
    let states: Vec<_> = (0..2).map(|_| protector.accept().unwrap().unwrap().take_state()).collect();
    assert_eq!(states, [Some(b"state".to_vec()), None]);
    let waiting = asleep(move || protector.accept().unwrap().unwrap().take_state());
    supervisor.pass_with_state(0, b"later", server.as_fd());
    assert_eq!(waiting.join().unwrap(), Some(b"later".to_vec()));
}

#[test]
fn the_most_state_fits_and_more_is_refused_with_the_connection() {
    let [(supervisor, protector), _] = both_ways();
    let (mut client, server) = clients(1).remove(0);
    let error = protector.give_back(Connection::new(server, 0), &vec![1; MAX_STATE + 1]).unwrap_err();
    assert_eq!(error.source.to_string(), "its state has 65537 bytes, 65536 are the most");
    let error = protector.give_back(Connection::new(error.connection, 65_536), b"").unwrap_err();
    assert!(matches!(error.source, Error::NoListener { listener: 65_536 }));
    protector.give_back(Connection::new(error.connection, 65_535), &vec![1; MAX_STATE]).unwrap();
    let (listener, state, socket) = given(&supervisor);
    assert_eq!((listener, state), (65_535, vec![1; MAX_STATE]));
    answers(Connection::new(socket, 0), &mut client);
}

#[test]
fn without_a_supervisor_the_connection_comes_back() {
    let (mut client, server) = clients(1).remove(0);
    let alone = Protector::standalone(listener().0).unwrap();
    alone.status("alone").unwrap();
    alone.open_connections(1).unwrap();
    let GiveBackError { connection, source } = alone.give_back(Connection::new(server, 0), b"state").unwrap_err();
    assert!(matches!(source, Error::NoSupervisor));
    // The same when the supervisor is gone.
    for (supervisor, protector) in both_ways() {
        let duplicate = Connection::new(connection.as_fd().try_clone_to_owned().unwrap(), 0);
        drop(supervisor);
        let error = protector.give_back(duplicate, b"state").unwrap_err();
        assert_eq!(io::Error::from(error.source).kind(), io::ErrorKind::BrokenPipe);
        drop(error.connection);
        protector.status("gone").unwrap();
    }
    answers(connection, &mut client);
}

#[test]
fn a_full_channel_is_waited_for_and_nothing_is_lost() {
    const COUNT: u16 = 600;
    for (supervisor, protector) in both_ways() {
        let (mut client, server) = clients(1).remove(0);
        let giving = asleep(move || {
            for number in 0..COUNT {
                let duplicate = server.try_clone().unwrap();
                protector.give_back(Connection::new(duplicate, 0), &number.to_le_bytes().repeat(2000)).unwrap();
            }
            protector
        });
        let mut last = None;
        for number in 0..COUNT {
            common::eventually(|| is_readable(&supervisor.end));
            let (_, state, socket) = given(&supervisor);
            assert_eq!(state, number.to_le_bytes().repeat(2000));
            last = Some(socket);
        }
        let protector = giving.join().unwrap();
        assert_eq!(supervisor.heard(), None);
        drop(protector);
        answers(Connection::new(last.unwrap(), 0), &mut client);
    }
}

#[test]
fn a_supervisor_that_reads_nothing_is_not_waited_for_forever() {
    let [(supervisor, protector), _] = both_ways();
    let (mut client, server) = clients(1).remove(0);
    let error = loop {
        let duplicate = server.try_clone().unwrap();
        if let Err(error) = protector.give_back(Connection::new(duplicate, 0), &[0; 60_000]) {
            break error;
        }
    };
    assert_eq!(io::Error::from(error.source).kind(), io::ErrorKind::TimedOut);
    let busy = protector.status("busy").unwrap_err();
    assert_eq!(io::Error::from(busy).kind(), io::ErrorKind::WouldBlock);
    while supervisor.heard_with_sockets().is_some() {}
    // What has to arrive waits for room, too.
    while protector.status("busy").is_ok() {}
    let ready = asleep(move || protector.ready().map(|()| protector));
    let mut heard = Vec::new();
    while !ready.is_finished() {
        heard.extend(supervisor.heard());
    }
    heard.extend(std::iter::from_fn(|| supervisor.heard()));
    drop(ready.join().unwrap().unwrap());
    assert_eq!(heard.last(), Some(&FromChild::Ready));
    drop(server);
    answers(error.connection, &mut client);
}

#[test]
fn status_and_count_are_told() {
    let [(supervisor, protector), _] = both_ways();
    protector.status("warming up").unwrap();
    protector.open_connections(12).unwrap();
    protector.status(&"ä".repeat(MAX_STATUS)).unwrap();
    assert_eq!(supervisor.heard(), Some(FromChild::Status("warming up".to_owned())));
    assert_eq!(supervisor.heard(), Some(FromChild::OpenConnections(12)));
    assert_eq!(supervisor.heard(), Some(FromChild::Status("ä".repeat(MAX_STATUS / 2))));
}

#[test]
fn unread_records_with_state_are_served_after_the_end_of_the_supervisor() {
    let [(supervisor, protector), _] = both_ways();
    let clients = clients(3);
    let batch: Vec<(u16, BorrowedFd<'_>)> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    supervisor.pass(&batch[..1]);
    supervisor.pass_with_state(0, b"one", batch[1].1);
    supervisor.pass_with_state(0, b"two", batch[2].1);
    drop(supervisor);
    let states: Vec<_> = protector.incoming().map(|connection| connection.unwrap().take_state()).collect();
    assert_eq!(states, [None, Some(b"one".to_vec()), Some(b"two".to_vec())]);
}
