//! Frames as bytes and back, in pieces, within bounds, and from bytes that are none.

use super::{Accept, Ack, Closed, Command, DecodeError, Decoder, Destination, Detached, Frame, Hello, MAX_DATA};
use super::{HEAD, MAX_PAYLOAD, MAX_UNPROVED, Mode, New, PREFACE, Refusal, Resume, Versions, encode_preface, kind};
use crate::session::credential::{BootId, Mac, Nonce, Secret, SessionId};

mod hostile;
mod page;

const MAC: Mac = Mac([0xaa; 32]);
const ID: SessionId = SessionId([0x1d; 16]);

fn accept() -> Accept {
    Accept {
        id: ID,
        epoch: 2,
        input_next: 5,
        output_base: 0,
        output_next: 4096,
        destination: Destination::Open,
        input_ended: false,
        output_ended: false,
        expires: 3600,
        secret: None,
        mac: MAC,
    }
}

fn accept_of_new() -> Accept {
    let (destination, secret) = (Destination::Connecting, Some(Secret::new([0x77; 32])));
    let ends = Accept { input_ended: false, output_ended: true, expires: super::NEVER, ..accept() };
    Accept { epoch: 1, input_next: 0, output_base: 0, output_next: 0, destination, secret, ..ends }
}

/// One of each kind, as docs/protocol.md lists them.
fn samples() -> Vec<Frame<'static>> {
    let (boot, nonce) = (BootId([0xb0; 16]), Nonce([0xc1; 32]));
    let hello = Hello {
        version: 1,
        boot,
        nonce: Nonce([0x5e; 32]),
        max_payload: 16_384,
        window: 256 * 1024,
        heartbeat: 15,
        ttl: 3600,
    };
    vec![
        Frame::Hello(hello),
        Frame::New(New { nonce, ttl: 60 }),
        Frame::Resume(Resume { id: ID, boot_seen: boot, nonce, next: 4096, mode: Mode::Steal, mac: MAC }),
        Frame::Confirm(MAC),
        Frame::Accept(accept()),
        Frame::Accept(accept_of_new()),
        Frame::Reject(Refusal::Version { least: 1, most: 1 }),
        Frame::Reject(Refusal::Denied),
        Frame::Reject(Refusal::Gone),
        Frame::Reject(Refusal::Busy { retry_after: 30 }),
        Frame::Reject(Refusal::InUse { idle: 7 }),
        Frame::Reject(Refusal::OutOfRange { base: 4096, next: 8192 }),
        Frame::Reject(Refusal::Stopping { retry_after: 2 }),
        Frame::Reject(Refusal::Malformed),
        Frame::Reject(Refusal::TooSlow),
        Frame::Data { offset: 4096, bytes: b"ok" },
        Frame::Ack(Ack { next: 4098, window: 256 * 1024, end: false, written: None }),
        Frame::Ack(Ack { next: 5, window: 0, end: true, written: Some(4) }),
        Frame::Fin { offset: 4098 },
        Frame::Reset { offset: 4098, errno: 104 },
        Frame::Gap { from: 0, to: 4096 },
        Frame::Destination(Destination::Refused),
        Frame::Append { offset: 7, bytes: b"ls" },
        Frame::Close,
        Frame::Closed(Closed::Complete),
        Frame::Detached(Detached::TakenOver),
        Frame::GoAway { grace: 30 },
        Frame::Ping([1, 2, 3, 4, 5, 6, 7, 8]),
        Frame::Pong([1, 2, 3, 4, 5, 6, 7, 8]),
        Frame::Event { offset: 4098, kind: super::event::ECHO, body: &[1] },
        Frame::Resize { columns: 80, rows: 24 },
        Frame::Command(Command::Interrupt),
        Frame::Input { next: 5, writers: 2 },
        Frame::Seen { next: 4098 },
    ]
}

fn bytes(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn proved() -> Decoder {
    let mut decoder = Decoder::new();
    decoder.proved();
    decoder
}

/// What comes of the bytes: nothing yet, a frame that is like its own bytes, or an error.
fn decode(bytes: &[u8]) -> Result<bool, DecodeError> {
    let mut decoder = proved();
    decoder.feed(bytes);
    decoder.frame().map(|frame| frame.is_some())
}

#[test]
fn every_frame_comes_back_as_it_was() {
    for sample in samples() {
        let mut decoder = proved();
        let bytes = bytes(&sample);
        assert_eq!(decoder.feed(&bytes), bytes.len());
        assert_eq!(decoder.frame(), Ok(Some(sample)));
        assert_eq!(decoder.frame(), Ok(None));
    }
}

#[test]
fn frames_may_be_split_anywhere() {
    let mut all = Vec::new();
    samples().iter().for_each(|sample| sample.encode(&mut all));
    for size in 1..40 {
        let (mut decoder, mut expected) = (proved(), samples().into_iter());
        for piece in all.chunks(size) {
            assert_eq!(decoder.feed(piece), piece.len());
            while let Some(frame) = decoder.frame().unwrap() {
                assert_eq!(Some(frame), expected.next());
            }
        }
        assert_eq!(expected.next(), None);
    }
}

#[test]
fn the_longest_data_is_one_frame_and_its_head_can_be_sent_apart() {
    let stream = vec![7; MAX_DATA];
    let frame = Frame::Data { offset: 1 << 40, bytes: &stream };
    let whole = bytes(&frame);
    assert_eq!(whole.len(), HEAD + MAX_PAYLOAD);
    assert_eq!([&super::data_head(1 << 40, MAX_DATA)[..], &stream].concat(), whole);
    let mut decoder = proved();
    assert_eq!(decoder.feed(&whole), whole.len());
    // It is full: what comes after is taken when the frame has been taken out.
    assert_eq!(decoder.feed(b"more"), 0);
    assert_eq!(decoder.frame(), Ok(Some(frame)));
    assert_eq!(decoder.feed(b"more"), 4);
}

#[test]
fn a_secret_is_not_in_what_is_printed() {
    let printed = format!("{:?}", Frame::Accept(accept_of_new()));
    assert!(printed.contains("epoch 1") && !printed.contains("77") && !printed.contains("119"), "{printed}");
}

#[test]
fn a_preface_comes_in_pieces_and_is_refused_at_its_first_wrong_byte() {
    let mut whole = Vec::new();
    encode_preface(&mut whole);
    let mut decoder = Decoder::new();
    for byte in &whole[..whole.len() - 1] {
        decoder.feed(&[*byte]);
        assert_eq!(decoder.preface(), Ok(None));
    }
    decoder.feed(&whole[whole.len() - 1..]);
    assert_eq!(decoder.preface(), Ok(Some(Versions { least: 1, most: 1 })));
    for wrong in 0..PREFACE.len() {
        let mut decoder = Decoder::new();
        let mut bytes = whole[..=wrong].to_vec();
        bytes[wrong] ^= 0x20;
        decoder.feed(&bytes);
        assert_eq!(decoder.preface(), Err(DecodeError::Preface), "byte {wrong}");
    }
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00", &[0; 100], b"SSH-2.0-x"] {
        let mut decoder = Decoder::new();
        decoder.feed(&other[..1]);
        assert_eq!(decoder.preface(), Err(DecodeError::Preface));
    }
}

#[test]
fn the_newest_common_version_is_spoken() {
    assert_eq!(Versions { least: 1, most: 1 }.common(), Some(1));
    assert_eq!(Versions { least: 0, most: 9 }.common(), Some(1));
    assert_eq!(Versions { least: 2, most: 9 }.common(), None);
    assert_eq!(Versions { least: 0, most: 0 }.common(), None);
    let mut decoder = Decoder::new();
    decoder.feed(&[&PREFACE[..], &[2, 1]].concat());
    assert_eq!(decoder.preface(), Err(DecodeError::Preface), "the newest is older than the oldest");
}

#[test]
fn a_type_that_is_not_known_is_skipped_from_0x80_and_refused_below() {
    for kind in 0..=255 {
        let frame = [kind, 0, 0, 2, 1, 2];
        let known = (1..=6).contains(&kind) || (0x10..=0x16).contains(&kind) || (0x20..=0x25).contains(&kind);
        match kind {
            _ if known => {}
            0x80..=0x84 => {}
            0x85.. => {
                let mut decoder = proved();
                decoder.feed(&[&frame[..], &bytes(&Frame::Close)].concat());
                assert_eq!(decoder.frame(), Ok(Some(Frame::Close)));
            }
            // The head is enough.
            _ => assert_eq!(decode(&frame[..4]), Err(DecodeError::Unknown(kind))),
        }
    }
}

#[test]
fn a_flag_that_is_not_known_counts_like_a_type() {
    for sample in samples() {
        let mut bytes = bytes(&sample);
        bytes[1] |= 0x40;
        let (kind, flags) = (bytes[0], bytes[1]);
        let expected = if kind < 0x80 { Err(DecodeError::Flags { kind, flags }) } else { Ok(false) };
        assert_eq!(decode(&bytes), expected);
    }
}

#[test]
fn no_frame_is_shorter_or_longer_than_its_type() {
    for sample in samples() {
        let whole = bytes(&sample);
        let may_grow = matches!(sample, Frame::Data { .. } | Frame::Append { .. } | Frame::Event { .. });
        for length in 0..=400 {
            let mut other = whole.clone();
            other.resize(HEAD + length, 0);
            other[2..HEAD].copy_from_slice(&(length as u16).to_be_bytes());
            if decode(&other) == Ok(true) {
                let fine = other.len() == whole.len()
                    || may_grow
                    || (whole[0] == kind::ACCEPT && [86, 118].contains(&length))
                    || (whole[0] == kind::ACK && [12, 20].contains(&length));
                assert!(fine, "{sample:?} with {length} bytes");
            }
        }
    }
    assert_eq!(decode(&[0x10, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]), Err(DecodeError::Length { kind: 0x10, length: 8 }));
    assert_eq!(decode(&[0x80, 0, 0, 74]), Err(DecodeError::Length { kind: 0x80, length: 74 }));
}

#[test]
fn values_that_are_not_listed_are_refused() {
    let changed = |frame: Frame<'_>, at: usize, value: u8| {
        let mut bytes = bytes(&frame);
        bytes[HEAD + at] = value;
        decode(&bytes)
    };
    let resume = samples().remove(2);
    assert_eq!(changed(resume, 72, 4), Err(DecodeError::Value { kind: kind::RESUME, value: 4 }));
    let destination = Frame::Destination(Destination::Open);
    assert_eq!(changed(destination, 0, 7), Err(DecodeError::Value { kind: kind::DESTINATION, value: 7 }));
    let accept = |at, value| changed(Frame::Accept(accept()), at, value);
    assert_eq!(accept(48, 7), Err(DecodeError::Value { kind: kind::ACCEPT, value: 7 }));
    assert_eq!(accept(49, 4), Err(DecodeError::Value { kind: kind::ACCEPT, value: 4 }));
    let gap = Frame::Gap { from: 9, to: 9 };
    assert_eq!(decode(&bytes(&gap)), Err(DecodeError::Value { kind: kind::GAP, value: 9 }));
    let beyond = Frame::Data { offset: u64::MAX, bytes: b"x" };
    assert_eq!(decode(&bytes(&beyond)), Err(DecodeError::Value { kind: kind::DATA, value: u64::MAX }));
}

#[test]
fn codes_of_later_versions_are_passed_over_where_the_page_says_so() {
    let later = [
        (vec![kind::CLOSED, 0, 0, 1, 99], Frame::Closed(Closed::Other(99))),
        (vec![kind::DETACHED, 0, 0, 1, 99], Frame::Detached(Detached::Other(99))),
        (vec![kind::COMMAND, 0, 0, 1, 99], Frame::Command(Command::Other(99))),
        (vec![kind::REJECT, 0, 0, 4, 99, 1, 2, 3], Frame::Reject(Refusal::Other(99))),
    ];
    for (bytes, frame) in later {
        let mut decoder = proved();
        decoder.feed(&bytes);
        assert_eq!(decoder.frame(), Ok(Some(frame)));
    }
}

#[test]
fn who_has_proved_nothing_is_read_for_1_kib_at_the_most() {
    // In all, also in frames that are to be skipped.
    let mut decoder = Decoder::new();
    let skipped = [0x90, 0, 0, 60].into_iter().chain([0; 60]).collect::<Vec<_>>();
    let mut taken = 0;
    for _ in 0..100 {
        taken += decoder.feed(&skipped);
        let _ = decoder.frame();
    }
    assert_eq!(taken, MAX_UNPROVED);
    assert_eq!(decoder.frame(), Err(DecodeError::Unproved));
    // And a head is enough to see that a frame is too long.
    let mut decoder = Decoder::new();
    decoder.feed(&[kind::DATA, 0, 0x10, 0]);
    assert_eq!(decoder.frame(), Err(DecodeError::Unproved));
}

#[test]
fn what_follows_a_proof_at_once_is_not_lost() {
    let mut all = bytes(&Frame::Confirm(MAC));
    let stream = vec![3; 5000];
    Frame::Data { offset: 0, bytes: &stream }.encode(&mut all);
    let mut decoder = Decoder::new();
    let taken = decoder.feed(&all);
    assert_eq!(taken, MAX_UNPROVED);
    assert_eq!(decoder.frame(), Ok(Some(Frame::Confirm(MAC))));
    decoder.proved();
    assert_eq!(decoder.feed(&all[taken..]), all.len() - taken);
    assert_eq!(decoder.frame(), Ok(Some(Frame::Data { offset: 0, bytes: &stream })));
}
