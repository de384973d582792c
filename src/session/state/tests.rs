//! The session machine: its table, its rules one by one, a walk through everything, and cuts at every byte.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use super::{Action, Allowance, Connection, Farewell, Input, Phase, Policy, Session};
use crate::session::frame::{Accept, Ack, Decoder, Destination, Frame, Mode, Refusal};
use std::time::{Duration, Instant};

mod cut;
mod hostile;
mod observers;
mod rules;
mod senders;
mod table;
mod walk;
mod world;
mod written;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const ONE: Connection = Connection(1);
const TWO: Connection = Connection(2);

/// Small limits, so that they are reached.
pub(crate) fn policy() -> Policy {
    Policy {
        allowance: Allowance { output: 1000, scrollback: 300, input: 200 },
        window: 600,
        max_payload: 128,
        ttl: Some(Duration::from_secs(100)),
        linger: Duration::from_secs(50),
        ..Policy::default()
    }
}

/// The byte at an offset of a stream: no short period, so that a shift shows.
fn byte(offset: u64, salt: u64) -> u8 {
    ((offset ^ salt << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn pattern(from: u64, length: usize, salt: u64) -> Vec<u8> {
    (from..from + length as u64).map(|offset| byte(offset, salt)).collect()
}

/// A session and its time.
struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    /// Made by connection one.
    fn provisional() -> Self {
        let now = Instant::now();
        Bench { session: Session::new(now, policy(), ONE), now }
    }

    fn connecting() -> Self {
        let mut bench = Bench::provisional();
        bench.on(Input::Confirmed(ONE));
        bench
    }

    fn attached() -> Self {
        let mut bench = Bench::connecting();
        bench.on(Input::Connected);
        bench.sent(ONE);
        bench
    }

    fn on(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.session.on(self.now, input, &mut actions);
        actions
    }

    fn says(&mut self, connection: Connection, frame: Frame<'_>) -> Vec<Action> {
        self.on(Input::Said(connection, &frame))
    }

    fn attach(&mut self, connection: Connection, mode: Mode, next: u64) -> (Result<Accept, Refusal>, Vec<Action>) {
        let mut actions = Vec::new();
        let answer = self.session.attach(self.now, (connection, mode), next, &mut actions);
        (answer, actions)
    }

    fn output(&mut self, length: usize) -> Vec<Action> {
        let bytes = pattern(self.session.bytes_out().0, length, 0);
        self.on(Input::Output(&bytes))
    }

    /// Everything that is sent to this client now, frame by frame as text.
    fn sent(&mut self, connection: Connection) -> Vec<String> {
        let mut bytes = Vec::new();
        while self.session.transmit(connection, 500, &mut bytes) {}
        let mut decoder = Decoder::new();
        decoder.proved();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            rest = &rest[decoder.feed(rest)..];
            while let Some(frame) = decoder.frame().unwrap() {
                frames.push(match frame {
                    Frame::Data { offset, bytes } => {
                        assert_eq!(bytes, pattern(offset, bytes.len(), 0));
                        format!("DATA {offset}+{}", bytes.len())
                    }
                    Frame::Ack(Ack { next, window, end, written }) => {
                        format!("ACK {next}+{window}{} {}", if end { " end" } else { "" }, written.unwrap())
                    }
                    other => format!("{other:?}"),
                });
            }
        }
        frames
    }

    fn later(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.on(Input::Deadline)
    }
}

fn ack(next: u64, window: u32) -> Frame<'static> {
    Frame::Ack(Ack { next, window, end: false, written: None })
}

fn ack_end(next: u64) -> Frame<'static> {
    Frame::Ack(Ack { next, window: 600, end: true, written: None })
}

fn dismissed(connection: Connection, farewell: Farewell) -> Action {
    Action::Dismiss(connection, farewell)
}

#[test]
fn the_destination_is_connected_to_once_somebody_is_known_to_know() {
    let mut bench = Bench::provisional();
    assert_eq!((bench.session.phase(), bench.session.epoch()), (Phase::Provisional, 1));
    assert_eq!(bench.sent(ONE), ["ACK 0+200 0"]);
    assert_eq!(bench.on(Input::Confirmed(ONE)), [Action::Connect]);
    assert_eq!(bench.on(Input::Confirmed(ONE)), []);
    assert_eq!(bench.session.destination(), Destination::Connecting);
    assert_eq!(bench.on(Input::Connected), [Action::Send(ONE)]);
    assert_eq!(bench.sent(ONE), ["Destination(Open)"]);
    assert_eq!(bench.session.phase(), Phase::Attached);
}

#[test]
fn a_session_without_bytes_costs_little() {
    let mut bench = Bench::attached();
    bench.on(Input::Left(ONE));
    assert_eq!(bench.session.memory(), 0);
    assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
}
