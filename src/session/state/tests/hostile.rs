//! Clients that know the secret and nothing of manners: frames of every kind with any numbers, in any order.

use super::world::Random;
use super::{Bench, ONE, policy};
use crate::session::credential::{BootId, Mac, Nonce, SessionId};
use crate::session::frame::{Ack, Command, Destination, Frame, Mode, New, OLDEST, Resume};
use crate::session::state::{Action, Connection, Input, Phase};

const MODES: [Mode; 4] = [Mode::Steal, Mode::Refuse, Mode::Observe, Mode::Input];

/// A number that is about right, or wrong by one, or absurd.
fn number(random: &mut Random, about: u64) -> u64 {
    match random.below(8) {
        0 => random.below(about + 2),
        1 => about.saturating_sub(1),
        2 => about + 1,
        3 => [0, u64::MAX, u64::MAX - 1, 1 << 63][random.below(4) as usize],
        _ => about,
    }
}

/// What the session's streams have come to is known to whoever asks.
fn frame<'a>(random: &mut Random, bench: &Bench, bytes: &'a [u8]) -> Frame<'a> {
    let (input, output) = (bench.session.bytes_in().0, bench.session.bytes_out().0);
    let (id, boot_seen, nonce) = (SessionId([1; 16]), BootId([1; 16]), Nonce([1; 32]));
    match random.below(18) {
        0..4 => {
            let offset = number(random, input);
            let most = 1 + random.below(bytes.len() as u64) as usize;
            let bytes = &bytes[..most.min(usize::try_from(u64::MAX - offset).unwrap_or(usize::MAX)).max(1)];
            Frame::Data { offset: offset.min(u64::MAX - bytes.len() as u64), bytes }
        }
        4..8 => {
            let (next, window) = (number(random, output), number(random, 300) as u32);
            Frame::Ack(Ack { next, window, end: random.one_in(9), written: None })
        }
        8 => Frame::Fin { offset: number(random, input) },
        9 if random.one_in(4) => Frame::Reset { offset: number(random, input), errno: 1 },
        10 => Frame::Ping([1; 8]),
        11 => Frame::Pong([1; 8]),
        12 => Frame::Resize { columns: 0, rows: u16::MAX },
        13 => Frame::Command(Command::Other(77)),
        14 if random.one_in(9) => Frame::Close,
        15 if random.one_in(4) => Frame::New(New { nonce, ttl: 0 }),
        16 if random.one_in(4) => {
            Frame::Resume(Resume { id, boot_seen, nonce, next: 0, mode: Mode::Steal, mac: Mac([0; 32]) })
        }
        17 if random.one_in(4) => Frame::Gap { from: 0, to: 1 },
        _ => Frame::Destination(Destination::Open),
    }
}

#[test]
fn whatever_is_said_costs_the_connection_at_the_most() {
    let bytes = [7; 300];
    let (mut breaches, mut ends) = (0, 0);
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let mut bench = if random.one_in(3) { Bench::connecting() } else { Bench::attached() };
        let mut clients = vec![ONE];
        for round in 2..120 {
            let from = clients[random.below(clients.len() as u64) as usize];
            let said = frame(&mut random, &bench, &bytes);
            let actions = match random.below(9) {
                0 => {
                    let mode = MODES[random.below(4) as usize];
                    let next = if random.one_in(5) { OLDEST } else { number(&mut random, bench.session.bytes_out().0) };
                    let (answer, actions) = bench.attach(Connection(round), mode, next);
                    clients.extend(answer.is_ok().then_some(Connection(round)));
                    actions
                }
                1 => bench.output(bench.session.room().min(200)),
                2 => bench.on(Input::Wrote(random.below(400) as usize)),
                3 if random.one_in(20) => bench.on(Input::Eof),
                4 if random.one_in(20) => bench.on(Input::WriteFailed),
                5 => bench.on(Input::Connected),
                6 => {
                    let mut out = Vec::new();
                    bench.session.transmit(from, random.below(400) as usize, &mut out);
                    assert!(out.len() < 400 + 20 * 100, "{}", out.len());
                    Vec::new()
                }
                _ => bench.says(from, said),
            };
            breaches += actions.iter().filter(|action| matches!(action, Action::Dismiss(..))).count();
            let queued = bench.session.input().0.len() + bench.session.input().1.len();
            assert!(queued <= policy().allowance.input, "{seed}");
            assert!(bench.session.buffered() <= policy().allowance.output, "{seed}");
            assert!(bench.session.memory() < 64 * 1024, "{seed}: {}", bench.session.memory());
            if bench.session.phase() == Phase::Gone {
                ends += 1;
                break;
            }
        }
    }
    assert!(breaches > 1000 && ends > 50, "{breaches} breaches, {ends} ends");
}
