//! Listening sockets passed, and one of the daemon's own.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, asleep, listener};
use nix::sys::socket::{Shutdown, shutdown};
use socket_protector_client::Protector;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

#[test]
fn a_client_of_any_listener_is_served() {
    let (first, first_address) = listener();
    let (second, second_address) = listener();
    let (_supervisor, protector) = Supervisor::with(vec![first.into(), second.into()]);
    for (index, address) in [(1, second_address), (0, first_address)] {
        let mut client = TcpStream::connect(address).unwrap();
        let connection = protector.accept().unwrap().unwrap();
        assert_eq!(connection.listener(), index);
        answers(connection, &mut client);
    }
    assert_eq!(protector.listener_names(), ["listener0", "listener1"]);
    assert_eq!(protector.listeners().len(), 2);
}

#[test]
fn a_drain_ends_the_wait() {
    let (supervisor, protector) = Supervisor::with(vec![listener().0.into()]);
    let waiting = asleep(move || protector.accept());
    drop(supervisor);
    assert!(waiting.join().unwrap().unwrap().is_none());
}

#[test]
fn a_drain_ends_the_wait_of_every_thread() {
    let (supervisor, protector) = Supervisor::with(vec![listener().0.into()]);
    let protector = Arc::new(protector);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let protector = Arc::clone(&protector);
            asleep(move || protector.accept())
        })
        .collect();
    drop(supervisor);
    for thread in threads {
        assert!(thread.join().unwrap().unwrap().is_none());
    }
}

#[test]
fn what_was_not_accepted_at_a_drain_is_left_to_the_next_generation() {
    let (listener, address) = listener();
    let kept = listener.try_clone().unwrap();
    let (supervisor, protector) = Supervisor::with(vec![listener.into()]);
    let client = TcpStream::connect(address).unwrap();
    shutdown(supervisor.end.as_raw_fd(), Shutdown::Write).unwrap();
    assert!(protector.is_draining());
    assert!(protector.accept().unwrap().is_none());
    drop(protector);
    let (_, peer) = kept.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
}

#[test]
fn a_connection_that_another_process_took_does_not_hide_the_drain() {
    const ROUNDS: usize = 300;
    let (listener, address) = listener();
    let other = listener.try_clone().unwrap();
    let (supervisor, protector) = Supervisor::with(vec![listener.into()]);
    let waiting = asleep(move || protector.incoming().map(Result::unwrap).count());
    let mut stolen = 0;
    let clients: Vec<TcpStream> = (0..ROUNDS)
        .map(|_| {
            let client = TcpStream::connect(address).unwrap();
            match other.accept() {
                Ok(_) => stolen += 1,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            client
        })
        .collect();
    drop(supervisor);
    let mut served = waiting.join().unwrap();
    // What neither took before the drain is still there.
    while other.accept().is_ok() {
        served += 1;
    }
    assert_eq!(served + stolen, clients.len());
}

#[test]
fn a_client_that_resets_before_it_is_accepted_disturbs_nobody() {
    let (listener, address) = listener();
    let (_supervisor, protector) = Supervisor::with(vec![listener.into()]);
    let reset = TcpStream::connect(address).unwrap();
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&reset, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    drop(reset);
    let mut client = TcpStream::connect(address).unwrap();
    let mut connection = protector.accept().unwrap().unwrap();
    if connection.into_tcp_stream().unwrap().peer_addr().is_err() {
        connection = protector.accept().unwrap().unwrap();
        answers(connection, &mut client);
    }
}

#[test]
fn nonblocking_means_the_listener_and_not_its_connections() {
    let (listener, address) = listener();
    let (supervisor, protector) = Supervisor::with(vec![listener.into()]);
    protector.set_nonblocking(true).unwrap();
    assert_eq!(protector.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let client = TcpStream::connect(address).unwrap();
    let mut connection = protector.accept().unwrap().unwrap();
    let reading = asleep(move || io::Read::read(&mut connection, &mut [0]).unwrap());
    drop(client);
    assert_eq!(reading.join().unwrap(), 0);
    drop(supervisor);
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn a_listener_that_was_shut_down_is_an_error_with_its_number() {
    let (listener, _) = listener();
    let kept = listener.try_clone().unwrap();
    let (_supervisor, protector) = Supervisor::with(vec![listener.into()]);
    shutdown(kept.as_raw_fd(), Shutdown::Both).unwrap();
    let error = protector.accept().unwrap_err();
    assert_eq!(error.to_string(), "cannot accept a connection from listener 0");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn without_a_supervisor_a_listener_of_ones_own_serves() {
    let (listener, address) = listener();
    let protector = Protector::standalone(listener).unwrap();
    assert!(!protector.is_draining());
    protector.ready().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    answers(protector.accept().unwrap().unwrap(), &mut client);
    protector.set_nonblocking(true).unwrap();
    assert_eq!(protector.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!((protector.generation(), protector.name()), (0, "standalone"));
}

#[test]
fn a_connection_that_is_no_tcp_stream_does_not_become_one() {
    let directory = std::env::temp_dir().join(format!("socket-protector-client-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let protector = Protector::standalone(UnixListener::bind(&path).unwrap()).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.into_tcp_stream().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let (listener, address) = listener();
    let error = Protector::standalone(TcpStream::connect(address).unwrap()).unwrap_err();
    assert!(error.to_string().ends_with("is not a listening stream socket"), "{error}");
    drop::<TcpListener>(listener);
}
