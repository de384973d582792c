//! Both ends of a channel in one process.

use super::{Channel, Heard, Passed, fit_longest_record, let_go};
use crate::reactor::Reactor;
use crate::supervise::hold::{Held, Hold};
use crate::supervise::state::Number;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket_protector_client::descriptors;
use socket_protector_client::wire::{DecodeError, FromChild, MAX_RECORD, MAX_STATE, ToChild, encode_give_back};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A channel and its child's end.
fn channel() -> (Channel, OwnedFd) {
    let mut reactor = Reactor::new().unwrap();
    let channel = Channel::open(&mut reactor, Number(1)).unwrap();
    let child = channel.child_end().unwrap().try_clone_to_owned().unwrap();
    (channel, child)
}

/// A client and its server's socket.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn given(listener: u16, state: &[u8], connection: TcpStream) -> Held<OwnedFd> {
    Held { listener, state: Some(state.to_vec()), connection: connection.into() }
}

fn say(child: &OwnedFd, record: &[u8], sockets: &[&TcpStream]) {
    let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    descriptors::send(child.as_fd(), record, &sockets).unwrap();
}

/// What the child reads, with the number of connections.
fn read(child: &OwnedFd) -> Option<(ToChild, usize)> {
    let (mut record, mut sockets) = (vec![0; MAX_RECORD], Vec::new());
    let received = descriptors::receive(child.as_fd(), &mut record, &mut sockets, false).ok()?;
    Some((ToChild::decode(&record[..received.bytes]).unwrap(), sockets.len()))
}

/// Whether the client's connection is closed on the other side.
fn is_closed(mut client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    match client.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn what_was_given_back_goes_in_records_of_its_own_and_the_order_is_kept() {
    let (mut channel, child) = channel();
    let mut hold = Hold::new(1, 100);
    (0..18).for_each(|_| hold.push(0, connection().1.into()));
    hold.give_back(given(1, b"one", connection().1));
    hold.give_back(given(2, b"", connection().1));
    hold.push(3, connection().1.into());
    let mut passed = 0;
    assert_eq!(channel.pass(&mut hold, &mut passed).unwrap(), Passed::All);
    assert_eq!((passed, hold.len()), (21, 0));
    let with_state = |listener, state: &[u8]| ToChild::ConnectionWithState { listener, state: state.to_vec() };
    for (record, sockets) in [
        (ToChild::Connections(vec![0; 16]), 16),
        (ToChild::Connections(vec![0; 2]), 2),
        (with_state(1, b"one"), 1),
        (with_state(2, b""), 1),
        (ToChild::Connections(vec![3]), 1),
    ] {
        assert_eq!(read(&child), Some((record, sockets)));
    }
    assert_eq!(read(&child), None);
}

#[test]
fn the_longest_record_fits_whatever_the_systems_default_is() {
    let (channel, child) = channel();
    let (_client, server) = connection();
    for end in [channel.ours.as_fd(), child.as_fd()] {
        SockRef::from(&end).set_send_buffer_size(4096).unwrap();
        let longest = vec![0x85; 3 + MAX_STATE];
        assert!(descriptors::send(end, &longest, &[server.as_fd()]).is_err());
        fit_longest_record(&end.try_clone_to_owned().unwrap()).unwrap();
        descriptors::send(end, &longest, &[server.as_fd()]).unwrap();
    }
}

#[test]
fn a_full_channel_keeps_the_rest_and_what_was_not_read_comes_back_once_with_its_state() {
    let (mut channel, child) = channel();
    let mut hold = Hold::new(1, 100);
    let clients: Vec<_> = (0..20_u16)
        .map(|number| {
            let (client, server) = connection();
            hold.give_back(given(number, &number.to_le_bytes().repeat(20_000), server));
            client
        })
        .collect();
    let mut passed = 0;
    assert_eq!(channel.pass(&mut hold, &mut passed).unwrap(), Passed::Full);
    assert!(passed > 2 && hold.len() == 20 - passed as usize);
    assert!(matches!(read(&child), Some((ToChild::ConnectionWithState { listener: 0, .. }, 1))));
    channel.close();
    let mut back = Vec::new();
    while let Some(taken) = channel.take_back() {
        back.extend(taken);
    }
    assert!(channel.is_empty());
    assert_eq!(back.len() as u64, passed - 1);
    hold.put_back(back);
    for (number, held) in (1..).zip(hold.release(100)) {
        assert_eq!(held.listener, number);
        assert_eq!(held.state, Some(number.to_le_bytes().repeat(20_000)));
        assert_eq!(
            TcpStream::from(held.connection).peer_addr().unwrap(),
            clients[usize::from(number)].local_addr().unwrap()
        );
    }
}

#[test]
fn a_connection_is_taken_in_with_its_state_and_in_blocking_mode() {
    let (mut channel, child) = channel();
    let (client, server) = connection();
    server.set_nonblocking(true).unwrap();
    let mut record = Vec::new();
    encode_give_back(7, b"state", &mut record);
    say(&child, &record, &[&server]);
    drop(server);
    let Heard::GivenBack(held) = channel.receive(true) else { panic!("not given back") };
    assert_eq!((held.listener, held.state.as_deref()), (7, Some(&b"state"[..])));
    let flags = OFlag::from_bits_retain(fcntl(&held.connection, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK));
    assert_eq!(TcpStream::from(held.connection).peer_addr().unwrap(), client.local_addr().unwrap());
}

#[test]
fn one_that_is_not_to_be_taken_in_stays_in_the_channel_and_other_words_do_not() {
    let (mut channel, child) = channel();
    let (client, server) = connection();
    say(&child, &FromChild::Ready.encode(), &[]);
    say(&child, &[0x85, 0, 0], &[&server]);
    say(&child, &FromChild::OpenConnections(0).encode(), &[]);
    drop((server, child));
    assert!(matches!(channel.receive(false), Heard::Record(FromChild::Ready)));
    channel.end();
    for _ in 0..3 {
        assert!(matches!(channel.receive(false), Heard::Later));
        assert!(!channel.is_silent());
    }
    let Heard::GivenBack(held) = channel.receive(true) else { panic!("not given back") };
    assert!(!is_closed(&client));
    drop(held);
    assert!(is_closed(&client));
    assert!(matches!(channel.receive(false), Heard::Record(FromChild::OpenConnections(0))));
    assert!(!channel.is_silent());
    assert!(matches!(channel.receive(false), Heard::Nothing));
    assert!(channel.is_silent());
}

#[test]
fn after_the_end_nothing_can_be_given_back_any_more() {
    let (mut channel, child) = channel();
    let (_client, server) = connection();
    say(&child, &[0x85, 0, 0], &[&server]);
    channel.end();
    let error = descriptors::send(child.as_fd(), &[0x85, 0, 0], &[server.as_fd()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(matches!(channel.receive(true), Heard::GivenBack(_)));
    assert!(matches!(channel.receive(true), Heard::Nothing));
    assert!(channel.is_silent());
}

#[test]
fn descriptors_that_do_not_belong_to_a_record_are_closed() {
    let (mut channel, child) = channel();
    let wrong = |kind, expected, found| DecodeError::Descriptors { kind, expected, found };
    for (record, count, error) in [
        (FromChild::Hello { version: 1 }.encode(), 1, wrong(0x81, 0, 1)),
        (FromChild::Ready.encode(), 2, wrong(0x82, 0, 2)),
        (FromChild::Status("x".into()).encode(), 1, wrong(0x83, 0, 1)),
        (FromChild::OpenConnections(3).encode(), 16, wrong(0x84, 0, 16)),
        (vec![0x85, 0, 0], 0, wrong(0x85, 1, 0)),
        (vec![0x85, 0, 0], 2, wrong(0x85, 1, 2)),
        (vec![0x85], 1, DecodeError::Range { kind: 0x85, least: 3, most: 65_539, found: 1 }),
    ] {
        let (client, server) = connection();
        say(&child, &record, &vec![&server; count]);
        drop(server);
        assert_eq!(is_closed(&client), count == 0, "{error}");
        let Heard::Malformed(found) = channel.receive(true) else { panic!("not {error}") };
        assert_eq!(found, error);
        assert!(is_closed(&client), "{error}");
    }
    let (client, server) = connection();
    say(&child, &[0xfe], &[&server]);
    drop(server);
    assert!(matches!(channel.receive(false), Heard::Record(FromChild::Unknown(0xfe))));
    assert!(is_closed(&client));
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_the_closing_of_its_connection() {
    let (_client, server) = connection();
    SockRef::from(&server).set_linger(Some(Duration::from_secs(20))).unwrap();
    server.set_nonblocking(true).unwrap();
    while (&server).write(&[0; 65_536]).is_ok() {}
    let begin = Instant::now();
    let_go(server);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_probe_is_taken_once_the_child_has_read_it() {
    let (mut channel, child) = channel();
    assert!(!channel.has_taken_probe(), "none was passed");
    for listener in [0, 3] {
        let (_client, probe) = connection();
        channel.pass_probe(listener, probe.into()).unwrap();
        assert!(!channel.has_taken_probe());
        assert_eq!(read(&child), Some((ToChild::Connections(vec![listener]), 1)));
        assert!(channel.has_taken_probe());
    }
}

#[test]
fn a_probe_that_comes_back_is_closed_and_what_came_with_it_is_not() {
    let (mut channel, child) = channel();
    let (client, served) = connection();
    let (given_client, given_back) = connection();
    let mut hold = Hold::new(1, 100);
    hold.push(0, served.into());
    for probe in [given_back.try_clone().unwrap(), connection().1] {
        channel.pass_probe(0, probe.into()).unwrap();
    }
    channel.pass(&mut hold, &mut 0).unwrap();
    // The first is read, and given back; the second is not, nor is the client's behind it.
    assert!(read(&child).is_some());
    let mut record = Vec::new();
    encode_give_back(0, b"state", &mut record);
    say(&child, &record, &[&given_back]);
    drop(given_back);
    assert!(matches!(channel.receive(true), Heard::Record(FromChild::GiveBack { .. })));
    assert!(is_closed(&given_client));
    channel.close();
    assert_eq!(channel.take_back().map(|held| held.len()), Some(1));
    assert!(channel.take_back().is_none() && channel.is_empty());
    assert!(is_closed(&client), "it was taken back, and dropped by this test");
}

#[test]
fn a_probe_waits_for_no_room() {
    let (mut channel, _child) = channel();
    let mut passed = 0;
    let error = loop {
        match channel.pass_probe(0, connection().1.into()) {
            Ok(()) => passed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(passed > 0 && !channel.has_taken_probe());
}
