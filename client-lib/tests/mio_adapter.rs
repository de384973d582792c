//! The adapter for mio.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, asleep, clients, eventually, listener};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket_protector_client::{Connection, Protector};
use std::io::{self, Read, Write};
use std::net::TcpStream as Client;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream as UnixClient};
use std::time::Duration;

const PROTECTOR: Token = Token(7);

/// A loop, and whether it wakes.
struct Loop(Poll);

impl Loop {
    fn of(source: &mut impl Source) -> Loop {
        let poll = Poll::new().unwrap();
        poll.registry().register(source, PROTECTOR, Interest::READABLE).unwrap();
        Loop(poll)
    }

    /// Whether there is an event within the time, which is one of `token` then.
    fn wakes(&mut self, token: Token, time: Duration) -> bool {
        let mut events = Events::with_capacity(8);
        self.0.poll(&mut events, Some(time)).unwrap();
        assert!(events.iter().all(|event| event.token() == token && event.is_readable()));
        !events.is_empty()
    }

    fn wakes_soon(&mut self) {
        assert!(self.wakes(PROTECTOR, Duration::from_secs(20)));
    }

    fn sleeps(&mut self) {
        assert!(!self.wakes(PROTECTOR, Duration::ZERO));
    }
}

fn next(protector: &Protector) -> Connection {
    protector.accept().unwrap().unwrap()
}

fn would_wait(protector: &Protector) -> bool {
    matches!(protector.accept(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn passed_connections_and_the_drain_are_events() {
    let (supervisor, mut protector) = Supervisor::with(Vec::new());
    let mut events = Loop::of(&mut protector);
    protector.ready().unwrap();
    events.sleeps();
    let clients = clients(3);
    let batch: Vec<(u16, BorrowedFd<'_>)> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    for _ in 0..3 {
        supervisor.pass(&batch);
        supervisor.pass(&batch);
        events.wakes_soon();
        (0..6).for_each(|_| drop(next(&protector)));
        assert!(would_wait(&protector));
    }
    supervisor.pass(&batch);
    drop(supervisor);
    events.wakes_soon();
    (0..3).for_each(|_| drop(next(&protector)));
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn clients_of_listeners_and_the_drain_are_events() {
    let ((first, first_address), (second, second_address)) = (listener(), listener());
    let (supervisor, mut protector) = Supervisor::with(vec![first.into(), second.into()]);
    let mut events = Loop::of(&mut protector);
    events.sleeps();
    for (index, address) in [(1, second_address), (0, first_address), (1, second_address)] {
        let mut client = Client::connect(address).unwrap();
        events.wakes_soon();
        let connection = next(&protector);
        assert_eq!(connection.listener(), index);
        answers(connection, &mut client);
        assert!(would_wait(&protector));
    }
    drop(supervisor);
    events.wakes_soon();
    assert!(protector.is_draining());
    assert!(protector.accept().unwrap().is_none());
}

#[test]
fn the_drain_is_an_event_also_while_connections_are_left() {
    let (listener, address) = listener();
    let (supervisor, mut protector) = Supervisor::with(vec![listener.into()]);
    let mut events = Loop::of(&mut protector);
    let _client = Client::connect(address).unwrap();
    events.wakes_soon();
    events.sleeps();
    drop(supervisor);
    events.wakes_soon();
    assert!(protector.is_draining());
}

#[test]
fn what_was_read_before_the_registration_is_an_event() {
    let (supervisor, mut protector) = Supervisor::with(Vec::new());
    supervisor.pass(&[(0, clients(1)[0].1.as_fd()); 2]);
    drop(next(&protector));
    let mut events = Loop::of(&mut protector);
    events.wakes_soon();
    drop(next(&protector));
    // Registering has made it non-blocking.
    let accepting = asleep(move || would_wait(&protector));
    eventually(|| accepting.is_finished());
    assert!(accepting.join().unwrap());
}

#[test]
fn it_can_be_registered_anew_and_no_longer() {
    let (supervisor, mut protector) = Supervisor::with(Vec::new());
    let mut events = Loop::of(&mut protector);
    let other = Token(8);
    events.0.registry().reregister(&mut protector, other, Interest::READABLE).unwrap();
    supervisor.pass(&[(0, clients(1)[0].1.as_fd())]);
    assert!(events.wakes(other, Duration::from_secs(20)));
    events.0.registry().deregister(&mut protector).unwrap();
    drop(supervisor);
    events.sleeps();
    drop(next(&protector));
    assert!(protector.accept().unwrap().is_none());
    events.0.registry().register(&mut protector, PROTECTOR, Interest::READABLE).unwrap();
    events.wakes_soon();
}

fn is_nonblocking(socket: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

#[test]
fn a_connection_becomes_a_stream_to_register() {
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let (mut client, server) = clients(1).remove(0);
    supervisor.pass(&[(0, server.as_fd())]);
    drop(server);
    let connection = next(&protector);
    assert!(!is_nonblocking(&connection));
    let mut stream = TcpStream::try_from(connection).unwrap();
    assert!(is_nonblocking(&stream));
    let mut events = Loop::of(&mut stream);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    client.write_all(b"x").unwrap();
    events.wakes_soon();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
}

#[test]
fn a_connection_over_a_unix_socket_becomes_a_unix_stream_only() {
    let name = format!("socket-protector-client-mio-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let protector = Protector::standalone(UnixListener::bind_addr(&address).unwrap()).unwrap();
    let clients = [(); 2].map(|()| UnixClient::connect_addr(&address).unwrap());
    let error = TcpStream::try_from(next(&protector)).unwrap_err();
    assert_eq!(error.to_string(), "the connection is not a TCP stream");
    let mut stream = UnixStream::try_from(next(&protector)).unwrap();
    assert!(is_nonblocking(&stream));
    drop(clients);
    eventually(|| matches!(stream.read(&mut [0]), Ok(0)));
    let (listener, address) = listener();
    let protector = Protector::standalone(listener).unwrap();
    let _client = Client::connect(address).unwrap();
    let error = UnixStream::try_from(next(&protector)).unwrap_err();
    assert_eq!(error.to_string(), "the connection is not a unix stream");
}
