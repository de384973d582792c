//! Servers that say anything: the client stays whole, and what it sends is always of the protocol.

use super::*;
use crate::session::frame::{Ack, Closed, Detached, Refusal};

/// Numbers that are near to something, or far from everything.
fn number(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => u64::MAX - random.below(3) as u64,
        1 => (1 << 62) + random.below(2) as u64,
        2 => 1 << random.below(64),
        _ => random.below(40) as u64,
    }
}

fn frame<'a>(random: &mut Random, bytes: &'a [u8]) -> Frame<'a> {
    let offset = number(random);
    match random.below(24) {
        0..4 => {
            let (input_ended, output_ended) = (random.below(9) == 0, random.below(9) == 0);
            let secret = (random.below(9) == 0).then(secret);
            let (output_base, output_next) = (number(random), number(random));
            let numbers = Accept { epoch: number(random), input_next: offset, output_base, output_next, ..accept() };
            Frame::Accept(proved(Accept { input_ended, output_ended, secret, ..numbers }))
        }
        4..6 => Frame::Hello(hello()),
        6 => Frame::Hello(Hello { max_payload: number(random) as u16, heartbeat: number(random) as u16, ..hello() }),
        7..11 => {
            let (window, end) = (number(random) as u32, random.below(6) == 0);
            Frame::Ack(Ack { next: offset, window, end, written: Some(number(random)) })
        }
        11..15 => {
            let offset = offset.min(u64::MAX - bytes.len() as u64);
            Frame::Data { offset, bytes }
        }
        15 => Frame::Fin { offset },
        16 => Frame::Reset { offset, errno: 104 },
        17 => Frame::Gap { from: offset.saturating_sub(9), to: offset.max(1) },
        18 => Frame::Destination(if offset.is_multiple_of(2) { Destination::Timeout } else { Destination::Eof }),
        19 => Frame::Event { offset, kind: 1, body: &[1] },
        20 => Frame::Ping([1; 8]),
        21 => Frame::Reject(Refusal::Busy { retry_after: offset as u32 }),
        22 => Frame::Detached(Detached::Silent),
        _ => Frame::Closed(Closed::Other(9)),
    }
}

/// A connection that begins well, as far as it goes.
fn come(bench: &mut Bench, random: &mut Random, attached: &mut u32) {
    bench.client.connected(bench.now, CLIENT);
    if random.below(4) > 0 {
        bench.said(Frame::Hello(hello())).unwrap();
        let input_next = bench.client.progress().input + random.below(30) as u64;
        let output_next = bench.client.output.next.max(number(random));
        let accept = proved(Accept { epoch: number(random), input_next, output_next, ..accept() });
        *attached += u32::from(bench.said(Frame::Accept(accept)).is_ok());
    }
}

#[test]
fn whatever_a_server_says_the_client_stays_whole() {
    let (mut attached, mut broken) = (0, 0);
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let progress = Progress { epoch: 1, output: random.below(30) as u64, input: 10, ..Progress::default() };
        let mode = [Mode::Steal, Mode::Refuse, Mode::Observe, Mode::Input][random.below(4)];
        let mut bench = Bench::resuming(progress);
        bench.client.settings.mode = mode;
        for _ in 0..60 {
            let bytes = vec![b'x'; 1 + random.below(30)];
            match random.below(12) {
                0 => come(&mut bench, &mut random, &mut attached),
                1 => {
                    bench.client.input(&bytes);
                }
                2 => bench.client.done(bench.now, number(&mut random)),
                3 => bench.client.end_done(),
                4 if random.below(8) == 0 => bench.client.finish(),
                4 => bench.client.resize(80, 24),
                5 if random.below(4) == 0 => bench.client.from_oldest(),
                5 => {
                    bench.pass(Duration::from_millis(random.below(20_000) as u64));
                    let _silent = bench.client.tick(bench.now);
                }
                _ => {
                    let frame = frame(&mut random, &bytes);
                    match bench.said(frame) {
                        Ok(Some(Event::Attached { .. })) => attached += 1,
                        Ok(_) => {}
                        Err(_) => {
                            broken += 1;
                            assert_eq!((bench.client.is_attached(), bench.client.deadline()), (false, None));
                        }
                    }
                }
            }
            bench.sent();
            let Output { next, done, .. } = bench.client.output;
            assert!(done <= next, "seed {seed}");
            let progress = bench.client.progress();
            assert!(progress.input.checked_add(progress.queued.len() as u64).is_some(), "seed {seed}");
            if let Next::At(at) = bench.client.next() {
                assert!(at <= bench.now + 3600 * SECOND, "seed {seed}");
            }
        }
    }
    assert!(attached > 500 && broken > 500, "{attached} attached, {broken} broken");
}
