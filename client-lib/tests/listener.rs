//! Listening sockets passed, and one of the daemon's own.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, asleep, listener};
use nix::sys::socket::{Shutdown, shutdown};
use socket_protector_client::Protector;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
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
fn a_listener_that_another_process_shut_down_is_waited_for() {
    let (listener, _) = listener();
    let (_supervisor, protector) = Supervisor::with(vec![listener.try_clone().unwrap().into()]);
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    let waiting = asleep(move || protector.accept());
    // As the supervisor does.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(16).unwrap()).unwrap();
    // A port that the kernel had chosen is another one now.
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    answers(waiting.join().unwrap().unwrap().unwrap(), &mut client);
}

#[test]
fn a_listener_that_was_shut_down_keeps_no_event_loop_awake() {
    let (listener, _) = listener();
    let (other, other_address) = common::listener();
    let passed = vec![listener.try_clone().unwrap().into(), other.into()];
    let (supervisor, protector) = Supervisor::with(passed);
    protector.set_nonblocking(true).unwrap();
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    assert!(common::is_readable(&protector));
    let would_wait = || matches!(protector.accept(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    // Left out, until a timer says to look again.
    common::eventually(|| would_wait() && !common::is_readable(&protector));
    common::eventually(|| common::is_readable(&protector));
    common::eventually(|| would_wait() && !common::is_readable(&protector));
    // Others are served meanwhile.
    let mut client = TcpStream::connect(other_address).unwrap();
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.listener(), 1);
    answers(connection, &mut client);
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(16).unwrap()).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut taken = None;
    common::eventually(|| {
        if common::is_readable(&protector) {
            taken = protector.accept().ok().flatten();
        }
        taken.is_some()
    });
    assert_eq!(taken.as_ref().unwrap().listener(), 0);
    answers(taken.unwrap(), &mut client);
    // And it is as it was: nothing to do, and the drain is told.
    common::eventually(|| would_wait() && !common::is_readable(&protector));
    drop(supervisor);
    assert!(common::is_readable(&protector) && protector.accept().unwrap().is_none());
}

#[test]
fn a_listener_that_was_shut_down_keeps_no_thread_awake() {
    let (listener, _) = listener();
    let (other, other_address) = common::listener();
    let (supervisor, protector) = Supervisor::with(vec![listener.try_clone().unwrap().into(), other.into()]);
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    let waiting = asleep(move || protector.incoming().map(|connection| connection.unwrap().listener()).collect());
    for _ in 0..3 {
        // The end of the connection says that it was taken.
        TcpStream::connect(other_address).unwrap().read_to_end(&mut Vec::new()).unwrap();
    }
    drop(supervisor);
    let taken: Vec<usize> = waiting.join().unwrap();
    assert_eq!(taken, [1, 1, 1]);
}

#[test]
fn a_listener_of_ones_own_that_was_shut_down_is_an_error_with_its_number() {
    let (listener, _) = listener();
    let protector = Protector::standalone(listener.try_clone().unwrap()).unwrap();
    shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    assert_eq!(protector.accept().unwrap_err().kind(), io::ErrorKind::InvalidInput);
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

/// A listener with a path that is gone again.
fn unix_listener(name: &str) -> (UnixListener, impl Fn() -> UnixStream) {
    let address = SocketAddr::from_abstract_name(format!("socket-protector-client-{}-{name}", std::process::id()));
    let address = address.unwrap();
    (UnixListener::bind_addr(&address).unwrap(), move || UnixStream::connect_addr(&address).unwrap())
}

#[test]
fn a_connection_becomes_a_stream_of_its_own_kind_only() {
    let (unix, connect) = unix_listener("kind");
    let (tcp, address) = listener();
    let (_supervisor, protector) = Supervisor::with(vec![unix.into(), tcp.into()]);
    for _ in 0..2 {
        let mut client = connect();
        let connection = protector.accept().unwrap().unwrap();
        assert_eq!(connection.listener(), 0);
        connection.into_unix_stream().unwrap().write_all(b"unix").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "unix");
    }
    let _client = connect();
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.into_tcp_stream().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let _client = TcpStream::connect(address).unwrap();
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.into_unix_stream().unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn unix_connections_are_passed_too() {
    let (supervisor, channel) = Supervisor::new();
    let protector = common::child(channel, Vec::new());
    let (mut client, served) = UnixStream::pair().unwrap();
    supervisor.pass(&[(3, served.as_fd())]);
    drop(served);
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.listener(), 3);
    connection.into_unix_stream().unwrap().write_all(b"unix").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "unix");
}

#[test]
fn sockets_for_datagrams_are_given_and_not_accepted_from() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = udp.local_addr().unwrap();
    let (tcp, address) = listener();
    let (supervisor, protector) = Supervisor::with(vec![udp.into(), tcp.into()]);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"hello", to).unwrap();
    protector.set_nonblocking(true).unwrap();
    assert!(!common::is_readable(&protector));
    assert_eq!(protector.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let mut client = TcpStream::connect(address).unwrap();
    let connection = protector.accept().unwrap().unwrap();
    assert_eq!(connection.listener(), 1);
    answers(connection, &mut client);
    assert_eq!(protector.listener_names(), ["listener0", "listener1"]);
    let received = UdpSocket::from(protector.listeners()[0].try_clone().unwrap());
    assert_eq!(received.recv(&mut [0; 16]).unwrap(), 5);
    assert_eq!(received.recv(&mut [0; 16]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(supervisor);
    assert!(protector.is_draining() && common::is_readable(&protector));
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn a_socket_that_does_not_listen_is_refused() {
    let (listener, address) = listener();
    let error = Protector::standalone(TcpStream::connect(address).unwrap()).unwrap_err();
    assert!(error.to_string().ends_with("is not a listening stream socket"), "{error}");
    drop::<TcpListener>(listener);
}
