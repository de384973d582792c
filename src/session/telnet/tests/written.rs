//! Telnet goes to another process between any two bytes and goes on there.

use super::{Random, receive, send, spoken, sub};
use crate::session::telnet::words::{DO, DONT, IAC, SB, SE, WILL, WONT};
use crate::session::telnet::{Mode, Received, Telnet, Terminal};
use crate::session::written::{Form, FormError, Reader, Writer};
use std::time::Instant;

fn written(telnet: &Telnet) -> (Vec<u8>, Instant) {
    let now = Instant::now();
    let mut to = Writer::new(now);
    telnet.write(&mut to);
    (to.into_bytes(), now)
}

fn read((bytes, now): (&[u8], Instant)) -> Result<Telnet, FormError> {
    let mut from = Reader::new(bytes, now)?;
    let telnet = Telnet::read(&mut from)?;
    from.end().map(|()| telnet)
}

fn handed_over(telnet: &Telnet) -> Telnet {
    let (bytes, now) = written(telnet);
    let next = read((&bytes, now)).unwrap();
    assert_eq!(format!("{next:?}"), format!("{telnet:?}"));
    next
}

#[test]
fn a_destination_notices_nothing_wherever_it_is() {
    let words = [IAC, IAC, IAC, WILL, WONT, DO, DONT, SB, SE, 0, 1, 3, 13, 10, 24, 31, 39, 42, b'a', b';'];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mode = random.pick(&[Mode::Auto, Mode::Auto, Mode::On, Mode::Off]);
        let (mut stays, mut moves) = (Telnet::new(mode, Terminal::default()), Telnet::new(mode, Terminal::default()));
        for _ in 0..200 {
            if random.below(20) == 0 {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                let columns = random.below(300) as u16;
                stays.resize(columns, 24, &mut one);
                moves.resize(columns, 24, &mut other);
                assert_eq!(one, other);
            }
            let byte = random.pick(&words);
            assert_eq!(receive(&mut stays, &[byte]), receive(&mut moves, &[byte]));
            let byte = random.pick(&[13, 10, 255, b'x']);
            assert_eq!(send(&mut stays, &[byte]), send(&mut moves, &[byte]));
            moves = handed_over(&moves);
        }
        let (mut one, mut other) = (Received::default(), Received::default());
        stays.release(&mut one);
        moves.release(&mut other);
        assert_eq!(one, other);
    }
}

#[test]
fn what_is_cut_short_or_too_long_is_refused() {
    let mut telnet = spoken();
    receive(&mut telnet, &sub(24, &[1]));
    receive(&mut telnet, &[IAC, SB, 24, 1, 2]);
    let (bytes, now) = written(&telnet);
    for length in 0..bytes.len() {
        assert!(read((&bytes[..length], now)).is_err(), "{length}");
    }
    telnet.sub = vec![0; 4097];
    let (bytes, now) = written(&telnet);
    assert_eq!(read((&bytes, now)).unwrap_err(), FormError::Unfit("a sub-negotiation"));
}

#[test]
fn changed_bytes_are_refused_or_make_telnet_that_does_no_harm() {
    let mut telnet = Telnet::new(Mode::Auto, Terminal::default());
    receive(&mut telnet, &[b'x', IAC, DO]);
    let (bytes, now) = written(&telnet);
    for (at, value) in (1..bytes.len()).flat_map(|at| (0..=255).map(move |value| (at, value))) {
        let mut changed = bytes.clone();
        changed[at] = value;
        if let Ok(mut telnet) = read((&changed, now)) {
            receive(&mut telnet, &[1, IAC, DO, 31, 13, 0, IAC, SB, 24, 1, IAC, SE, b'x']);
            send(&mut telnet, b"\r\n\xff");
        }
    }
}
