//! A session goes to another process at any moment and goes on there; what is no session does not.

use super::world::Random;
use super::{Bench, ONE, SECOND, TWO, ack_end, pattern, policy};
use crate::session::frame::{Frame, Mode};
use crate::session::state::{Allowance, Input, Policy, Session};
use crate::session::written::{FORM, FormError, Reader, Writer};
use std::time::Instant;

pub(super) fn written(session: &Session, now: Instant) -> Vec<u8> {
    let mut to = Writer::new(now);
    session.write(&mut to);
    to.into_bytes()
}

fn read(bytes: &[u8], now: Instant, policy: &Policy, allowance: Allowance) -> Result<Session, FormError> {
    let mut from = Reader::new(bytes, now)?;
    let session = Session::read(&mut from, policy, allowance)?;
    from.end().map(|()| session)
}

/// The session as the next process has it.
pub(super) fn handed_over(session: &Session, now: Instant) -> Session {
    let next = read(&written(session, now), now, &policy(), policy().allowance).unwrap();
    assert_eq!(format!("{next:?}"), format!("{session:?}"));
    next
}

/// Much of everything is in it.
fn full() -> Bench {
    let mut bench = Bench::attached();
    bench.output(300);
    bench.on(Input::Event { kind: 1, body: b"\x01" });
    bench.attach(TWO, Mode::Observe, 0).0.unwrap();
    bench.says(ONE, Frame::Data { offset: 0, bytes: &pattern(0, 100, 1) });
    bench.says(ONE, Frame::Ping([7; 8]));
    bench.output(700);
    bench.on(Input::Event { kind: 3, body: b"" });
    bench.on(Input::GoAway(9));
    bench.later(SECOND);
    bench.on(Input::Eof);
    bench
}

#[test]
fn what_is_cut_short_or_goes_on_is_refused() {
    let Bench { session, now } = full();
    handed_over(&session, now);
    let bytes = written(&session, now);
    for length in 0..bytes.len() {
        let read = read(&bytes[..length], now, &policy(), policy().allowance);
        assert!(read.is_err(), "{length} of {}", bytes.len());
    }
    let more = read(&[&bytes[..], b"x"].concat(), now, &policy(), policy().allowance);
    assert_eq!(more.unwrap_err(), FormError::Long(1));
}

#[test]
fn what_another_version_has_written_is_refused() {
    let Bench { session, now } = full();
    let mut bytes = written(&session, now);
    bytes[0] = 9;
    assert_eq!(read(&bytes, now, &policy(), policy().allowance).unwrap_err(), FormError::Form(9));
}

/// Whoever changes what is written gives it another number, so that no process reads what another one means otherwise.
#[test]
fn what_is_written_has_not_changed_without_its_number() {
    let Bench { session, now } = full();
    let bytes = written(&session, now);
    // FNV-1a.
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!((FORM, bytes.len(), sum), (2, 1509, 11_843_060_483_712_336_372));
}

#[test]
fn a_session_that_is_over_is_not_handed_over() {
    let mut bench = full();
    bench.on(Input::Close);
    let read = read(&written(&bench.session, bench.now), bench.now, &policy(), policy().allowance);
    assert!(matches!(read, Err(FormError::Unfit(_))));
}

#[test]
fn times_are_counted_on_in_the_other_process() {
    let mut bench = full();
    bench.says(ONE, ack_end(1000));
    bench.on(Input::Left(ONE));
    bench.on(Input::Left(TWO));
    let before = bench.session.expiry().unwrap().duration_since(bench.now);
    // Its clock begins elsewhere.
    let there = bench.now + 1000 * SECOND;
    let next = read(&written(&bench.session, bench.now), there, &policy(), policy().allowance).unwrap();
    assert_eq!(next.expiry().unwrap().duration_since(there), before);
}

/// Whatever the bytes are: what is taken for a session can be used as one.
#[test]
fn changed_bytes_are_refused_or_make_a_session_that_does_no_harm() {
    let Bench { session, now } = full();
    let bytes = written(&session, now);
    let (mut random, mut taken, mut refused) = (Random::new(7), 0, 0);
    for round in 0..20_000 {
        let mut changed = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(changed.len() as u64) as usize;
            // Mostly what is no byte of a stream.
            let at = if round % 3 == 0 { at } else { [at % 60, changed.len() - 1 - at % 400][round % 2] };
            changed[at] = [random.below(256) as u8, 0, 1, 255][random.below(4) as usize];
        }
        let Ok(session) = read(&changed, now, &policy(), policy().allowance) else {
            refused += 1;
            continue;
        };
        taken += 1;
        use_it(Bench { session, now });
    }
    assert!(taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
}

/// Does what may happen to a session.
fn use_it(mut bench: Bench) {
    let clients = bench.session.connections().collect::<Vec<_>>();
    for connection in clients {
        let mut out = Vec::new();
        while bench.session.transmit(connection, 500, &mut out) && out.len() < 10_000 {}
        let (next, _) = bench.session.bytes_in();
        bench.says(connection, Frame::Data { offset: next, bytes: b"more" });
        bench.says(connection, Frame::Fin { offset: next });
    }
    bench.on(Input::Connected);
    bench.output(10);
    bench.on(Input::Event { kind: 2, body: b"x" });
    bench.on(Input::Wrote(usize::MAX));
    let _ = bench.attach(super::Connection(77), Mode::Steal, 0);
    for _ in 0..4 {
        if let Some(deadline) = bench.session.deadline() {
            bench.now = bench.now.max(deadline);
            bench.on(Input::Deadline);
        }
    }
    let (_, _) = (bench.session.memory(), bench.session.blocked(bench.now));
    bench.on(Input::Reset(104));
    bench.on(Input::Close);
}
