//! All sessions go to another process and go on there.

use super::{BOOT, Server, id};
use crate::session::frame::Refusal;
use crate::session::sessions::{Denial, Limits, Sessions};
use crate::session::state::tests::{SECOND, policy};
use crate::session::state::{Connection, Input, Phase};
use crate::session::written::{FormError, Reader, Writer};
use std::time::Duration;

/// What one process says to the next.
struct Said {
    common: Vec<u8>,
    each: Vec<Vec<u8>>,
}

fn said(server: &Server) -> Said {
    let each = server.sessions.iter().map(|(id, _)| {
        let mut to = Writer::new(server.now);
        server.sessions.write_one(id, &mut to);
        to.put(b"appended");
        to.into_bytes()
    });
    Said { common: server.sessions.written(server.now), each: each.collect() }
}

fn heard(said: &Said, server: &Server) -> Result<Sessions<u8>, FormError> {
    let limits = Limits { memory: 1_000_000, ..Limits::default() };
    let mut sessions = Sessions::read((&said.common, server.now), [1; 32], policy(), limits)?;
    for bytes in &said.each {
        let mut from = Reader::new(bytes, server.now)?;
        sessions.read_one(&mut from)?;
        assert_eq!(from.take(8)?, b"appended");
        from.end()?;
    }
    Ok(sessions)
}

fn several() -> Server {
    let mut server = Server::new(policy(), Limits { memory: 1_000_000, ..Limits::default() });
    server.create(1, 1).unwrap();
    server.open(2);
    let left = server.open(3);
    server.on(3, Input::Output(&[9; 700]));
    server.now += SECOND;
    let mut actions = Vec::new();
    server.sessions.left(server.now, left, &mut actions);
    server.open(4);
    server.on(4, Input::Eof);
    server.resume(2, 2, BOOT).0.unwrap();
    assert!(server.resume(2, 3, BOOT).0.is_err(), "a wrong guess");
    server.check();
    server
}

#[test]
fn all_of_them_go_on_with_their_secrets_clients_and_times() {
    let mut server = several();
    let before = server.sessions.deadlines.clone();
    server.sessions = heard(&said(&server), &server).unwrap();
    server.check();
    assert_eq!(server.sessions.deadlines, before);
    let phases = [Phase::Provisional, Phase::Attached, Phase::Detached, Phase::Ended];
    assert!(server.sessions.iter().map(|(_, session)| session.phase()).eq(phases));
    assert_eq!(server.sessions.session(id(2)).unwrap().epoch(), 2);
    let attached = server.sessions.session(id(2)).unwrap().client().unwrap();
    assert_eq!(server.sessions.of(attached), Some(id(2)));
    for number in 1..=4 {
        let (accept, _) = server.resume(number, number, BOOT);
        assert_eq!(accept.unwrap().output_next, [0, 0, 700, 0][number as usize - 1]);
    }
    // Who has guessed before has not begun anew.
    let denial = Denial { refusal: Refusal::Denied, delay: Duration::from_millis(500) };
    assert_eq!(server.resume(2, 3, BOOT).0, Err(denial));
    server.check();
}

#[test]
fn a_client_that_did_not_come_along_has_left() {
    let mut server = several();
    server.sessions = heard(&said(&server), &server).unwrap();
    let mut actions = Vec::new();
    for connection in server.sessions.connections().collect::<Vec<_>>() {
        server.sessions.left(server.now, connection, &mut actions);
    }
    assert_eq!(server.sessions.session(id(2)).unwrap().phase(), Phase::Detached);
    assert_eq!(server.sessions.connections().count(), 0);
    server.check();
}

#[test]
fn what_is_short_of_memory_is_so_in_the_other_process() {
    let mut server = several();
    server.sessions.short = true;
    let sessions = heard(&said(&server), &server).unwrap();
    assert!(sessions.short);
    assert_eq!(sessions.session(id(3)).unwrap().limit(), sessions.allowance().output);
}

#[test]
fn no_session_and_no_client_comes_twice() {
    let server = several();
    let mut twice = said(&server);
    twice.each.push(twice.each[2].clone());
    assert_eq!(heard(&twice, &server).err(), Some(FormError::Unfit("two sessions")));
    // Another session with the same client.
    let mut twice = said(&server);
    let mut other = twice.each[1].clone();
    other[1] = 77;
    twice.each.push(other);
    assert_eq!(heard(&twice, &server).err(), Some(FormError::Unfit("two sessions")));
    assert!(server.sessions.of(Connection(1)).is_some());
}

#[test]
fn what_is_cut_short_is_refused() {
    let server = several();
    let whole = said(&server);
    for length in 0..whole.common.len() {
        let short = Said { common: whole.common[..length].to_vec(), each: Vec::new() };
        assert!(heard(&short, &server).is_err(), "{length}");
    }
    for length in 0..whole.each[2].len() {
        let short = Said { common: whole.common.clone(), each: vec![whole.each[2][..length].to_vec()] };
        assert!(heard(&short, &server).is_err(), "{length}");
    }
}
