//! The client alone, against a server that is a few lines of test, and back to back with the server's machine.

mod coming;
mod cut;
mod hostile;
mod retry;
mod streams;
mod world;

use super::{Breach, Client, Event, Next, Output, Progress, Settings, Ticket};
use crate::session::credential::{BootId, Mac, Nonce, Secret, SessionId, Transcript};
use crate::session::frame::{Accept, Decoder, Destination, Frame, Hello, Mode, Resume};
use std::time::{Duration, Instant};

const ID: SessionId = SessionId([0x1d; 16]);
const BOOT: BootId = BootId([0xb0; 16]);
const SERVER: Nonce = Nonce([0x5e; 32]);
const CLIENT: Nonce = Nonce([0xc1; 32]);
const SECOND: Duration = Duration::from_secs(1);

fn secret() -> Secret {
    Secret::new([7; 32])
}

fn ticket() -> Ticket {
    Ticket { id: ID, secret: secret(), boot: BOOT }
}

fn said() -> Transcript {
    Transcript { version: 1, boot: BOOT, server: SERVER, client: CLIENT }
}

fn hello() -> Hello {
    Hello { version: 1, boot: BOOT, nonce: SERVER, max_payload: 28, window: 100, heartbeat: 15, ttl: 60 }
}

/// An ACCEPT of a session of which nothing has come yet.
fn accept() -> Accept {
    Accept {
        id: ID,
        epoch: 1,
        input_next: 0,
        output_base: 0,
        output_next: 0,
        destination: Destination::Open,
        input_ended: false,
        output_ended: false,
        expires: 60,
        secret: None,
        mac: Mac([0; 32]),
    }
}

/// With the proof of a server that knows the secret.
fn proved(mut accept: Accept) -> Accept {
    let mut bytes = Vec::new();
    accept.proved(&mut bytes);
    accept.mac = secret().key().accept(&said(), &bytes);
    accept
}

/// xorshift64*: the same walk on every run, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// A stream without a short period, so that a shift shows.
fn pattern(length: usize, salt: u64) -> Vec<u8> {
    let byte = |offset: u64| ((offset ^ salt << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..length as u64).map(byte).collect()
}

/// A client with its time, and what it has been told of output.
struct Bench {
    client: Client,
    now: Instant,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let now = Instant::now();
        Bench { client: Client::new(now, settings), now }
    }

    fn resuming(progress: Progress) -> Bench {
        let now = Instant::now();
        Bench { client: Client::resume(now, Settings::default(), ticket(), progress), now }
    }

    /// Attached to a session that it has resumed, with room for so much input.
    fn attached(window: u32) -> Bench {
        let mut bench = Bench::resuming(Progress::default());
        bench.attach(accept());
        bench.ack(0, window);
        bench
    }

    /// Connected, and HELLO is said.
    fn connect(&mut self) {
        self.client.connected(self.now, CLIENT);
        assert_eq!(self.said(Frame::Hello(hello())), Ok(None));
        self.sent();
    }

    fn attach(&mut self, accept: Accept) {
        self.connect();
        let event = self.said(Frame::Accept(proved(accept)));
        assert!(matches!(event, Ok(Some(Event::Attached { .. }))), "{event:?}");
    }

    /// Attached, and the first ACK has come; the input that is in doubt then.
    fn settle(&mut self, accept: Accept) -> Vec<u8> {
        let next = accept.input_next;
        self.attach(accept);
        match self.ack(next, 0) {
            Event::Overtaken { uncertain } => uncertain,
            _ => Vec::new(),
        }
    }

    fn said<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, Breach> {
        self.client.said(self.now, frame)
    }

    fn ack(&mut self, next: u64, window: u32) -> Event<'static> {
        let ack = crate::session::frame::Ack { next, window, end: false, written: None };
        self.said(Frame::Ack(ack)).unwrap().unwrap()
    }

    /// Output that comes whole.
    fn output(&mut self, offset: u64, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
        match self.said(Frame::Data { offset, bytes }) {
            Ok(Some(Event::Output { offset, bytes })) => Some((offset, bytes.to_vec())),
            Ok(None) => None,
            other => panic!("{other:?}"),
        }
    }

    /// What it sends, in words.
    fn sent(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while self.client.transmit(usize::MAX, &mut out) {}
        assert!(!self.client.has_something_to_say(), "all is said");
        words(&out)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

/// Frames as text, without what is random.
fn words(bytes: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::new();
    let preface = bytes.starts_with(&crate::session::frame::PREFACE);
    let mut words = Vec::new();
    if !preface {
        decoder.proved();
    }
    let mut rest = &bytes[decoder.feed(bytes)..];
    if preface {
        assert!(decoder.preface().unwrap().is_some());
        words.push("preface".to_owned());
    }
    loop {
        let word = match decoder.frame().unwrap() {
            Some(Frame::Data { offset, bytes }) => format!("DATA {offset} {}", String::from_utf8_lossy(bytes)),
            Some(Frame::Ack(ack)) => format!("ACK {}{}", ack.next, if ack.end { " end" } else { "" }),
            Some(Frame::New(new)) => format!("NEW {}", new.ttl),
            Some(Frame::Resume(Resume { next: u64::MAX, .. })) => "RESUME oldest".to_owned(),
            Some(Frame::Resume(Resume { next, mode, .. })) => format!("RESUME {next} {mode:?}"),
            Some(Frame::Confirm(_)) => "CONFIRM".to_owned(),
            Some(Frame::Fin { offset }) => format!("FIN {offset}"),
            Some(Frame::Resize { columns, rows }) => format!("RESIZE {columns} {rows}"),
            Some(frame) => format!("{frame:?}"),
            None if rest.is_empty() => return words,
            None => {
                rest = &rest[decoder.feed(rest)..];
                continue;
            }
        };
        words.push(word);
    }
}
