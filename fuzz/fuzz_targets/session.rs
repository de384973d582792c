//! Whatever a client says, and whenever: the session stays within its bounds, and its streams are as they came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_protector::session::frame::{Decoder, Mode};
use socket_protector::session::state::{Connection, Input, Policy, Session};
use std::time::{Duration, Instant};

const MODES: [Mode; 4] = [Mode::Steal, Mode::Refuse, Mode::Observe, Mode::Input];

fuzz_target!(|script: (Vec<(u8, u16)>, &[u8])| {
    let (steps, mut said) = script;
    let mut now = Instant::now();
    let policy = Policy::default();
    let most = policy.allowance;
    let mut session = Session::new(now, policy, Connection(0));
    let (mut actions, mut decoder, mut client) = (Vec::new(), Decoder::new(), 0);
    decoder.proved();
    session.on(now, Input::Confirmed(Connection(0)), &mut actions);
    for (step, amount) in steps {
        let amount = usize::from(amount);
        match step % 10 {
            0 => session.on(now, Input::Connected, &mut actions),
            1 => session.on(now, Input::Output(&vec![step; amount.min(session.room())]), &mut actions),
            2 => session.on(now, Input::Wrote(amount), &mut actions),
            3 => session.on(now, Input::Event { kind: step, body: &[step] }, &mut actions),
            4 => now += Duration::from_millis(amount as u64),
            5 => session.on(now, Input::Deadline, &mut actions),
            6 if step > 200 => session.on(now, Input::Eof, &mut actions),
            7 => {
                let mode = MODES[usize::from(step / 10) % 4];
                client += u64::from(session.attach(now, (Connection(client + 1), mode), amount as u64, &mut actions).is_ok());
                decoder = Decoder::new();
                decoder.proved();
            }
            8 => {
                session.transmit(Connection(client), amount, &mut Vec::new());
            }
            _ => {
                let taken = decoder.feed(&said[..amount.min(said.len())]);
                said = &said[taken..];
                while let Ok(Some(frame)) = decoder.frame() {
                    session.on(now, Input::Said(Connection(client), &frame), &mut actions);
                }
            }
        }
        let (front, back) = session.input();
        assert!(front.len() + back.len() <= most.input && session.buffered() <= most.output);
        actions.clear();
    }
});
