mod detection;
mod receiving;
mod sending;
mod storms;
mod table;
mod whole;
mod written;

use super::option::{Known, Side};
use super::words::{DO, DONT, IAC, SB, SE, WILL, WONT};
use super::{Change, Event, Mode, Received, Telnet, Terminal};

const BINARY: u8 = 0;
const ECHO: u8 = 1;
const SGA: u8 = 3;
const TIMING_MARK: u8 = 6;
const TERMINAL_TYPE: u8 = 24;
const END_OF_RECORD: u8 = 25;
const WINDOW_SIZE: u8 = 31;
const LINE_MODE: u8 = 34;
const ENVIRONMENT: u8 = 39;
const CHARSET: u8 = 42;
const COMPRESSION: u8 = 86;

/// The same numbers on every run, so that a failure can be repeated from its seed: xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn spoken() -> Telnet {
    Telnet::new(Mode::On, Terminal::default())
}

fn receive(telnet: &mut Telnet, bytes: &[u8]) -> Received {
    let mut received = Received::default();
    telnet.receive(bytes, &mut received);
    received
}

fn send(telnet: &mut Telnet, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    telnet.send(bytes, &mut out);
    out
}

fn option(at: usize, side: Side, known: Known, on: bool) -> Event {
    Event { at, change: Change::Option { side, known, on } }
}

/// A sub-negotiation, in bytes that need no doubling.
fn sub(option: u8, bytes: &[u8]) -> Vec<u8> {
    [&[IAC, SB, option], bytes, &[IAC, SE]].concat()
}

/// Receives in pieces, with events counted from the beginning and merged as within one piece.
fn in_pieces<'bytes>(telnet: &mut Telnet, pieces: impl Iterator<Item = &'bytes [u8]>) -> Received {
    let mut all = Received::default();
    for piece in pieces {
        let part = receive(telnet, piece);
        for mut event in part.events {
            event.at += all.clean.len();
            let replaces = |old: &Event| match (old.change, event.change) {
                _ if old.at != event.at => false,
                (Change::Option { side, known, .. }, Change::Option { side: other, known: same, .. }) => {
                    (side, known) == (other, same)
                }
                (old, new) => old == new,
            };
            all.events.retain(|old| !replaces(old));
            all.events.push(event);
        }
        all.clean.extend(part.clean);
        all.answers.extend(part.answers);
    }
    all
}
