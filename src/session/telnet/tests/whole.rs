//! Wherever the bytes are cut, what comes out is the same; and text comes out as it went in.

use super::*;
use crate::session::frame::Command;

/// What a good destination sends at a login, with everything that is awkward to cut.
fn login() -> Vec<u8> {
    let mut bytes = vec![IAC, DO, TERMINAL_TYPE, IAC, DO, WINDOW_SIZE, IAC, WILL, SGA, IAC, DO, ENVIRONMENT];
    bytes.extend(sub(TERMINAL_TYPE, &[1]));
    bytes.extend([IAC, DO, CHARSET]);
    bytes.extend(sub(CHARSET, b"\x01;\xff\xff;UTF-8"));
    bytes.extend(b"a\r\nb\r\0c\xff\xff\r\r\0");
    bytes.extend([IAC, WILL, ECHO, IAC, WONT, ECHO, IAC, WILL, ECHO, b'\r', IAC, 241, 0]);
    bytes.extend([IAC, WILL, END_OF_RECORD, b'>', IAC, 239]);
    bytes.extend([IAC, WILL, BINARY, b'\r', 0, IAC, IAC, IAC, WONT, BINARY, b'\r', 0]);
    bytes.extend([IAC, SB, IAC, SE, IAC, SB, CHARSET, IAC, IAC, IAC, DO, TIMING_MARK, IAC, 7, b'\xc3', b'\xa9']);
    bytes
}

#[test]
fn every_cut_into_two_and_three_gives_the_same() {
    let bytes = login();
    for mode in [Mode::Auto, Mode::On, Mode::Off] {
        let new = || Telnet::new(mode, Terminal::default());
        let whole = receive(&mut new(), &bytes);
        assert_eq!(in_pieces(&mut new(), bytes.chunks(1)), whole, "byte by byte");
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(in_pieces(&mut new(), pieces.into_iter()), whole, "cut at {first} and {second}");
            }
        }
    }
}

/// Bytes that are mostly telnet, some of it wrong.
fn noise(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(40) {
        match random.below(8) {
            0 => bytes.extend([IAC, random.pick(&[WILL, WONT, DO, DONT]), random.pick(&[0, 1, 3, 24, 25, 31, 42, 39])]),
            1 => bytes.extend(sub(random.pick(&[TERMINAL_TYPE, CHARSET]), &[1])),
            2 => bytes.extend(b"\x01;UTF-8"),
            3 => bytes.push(random.pick(b"\r\n\0")),
            4 => bytes.push(IAC),
            5 => bytes.extend(&[random.pick(b"xyz"); 1500][..random.pick(&[1, 2, 1500])]),
            _ => bytes.push(random.below(256) as u8),
        }
    }
    bytes
}

#[test]
fn noise_gives_the_same_however_it_is_cut() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let bytes = noise(&mut random);
        let mode = random.pick(&[Mode::Auto, Mode::On]);
        let new = || Telnet::new(mode, Terminal::default());
        let whole = receive(&mut new(), &bytes);
        let mut rest = &bytes[..];
        let pieces = std::iter::from_fn(|| {
            let (piece, next) = rest.split_at(random.below(9).min(rest.len()));
            rest = next;
            (!piece.is_empty() || !rest.is_empty()).then_some(piece)
        });
        assert_eq!(in_pieces(&mut new(), pieces), whole, "seed {seed}");
    }
}

/// Text as a destination sends it: 255 doubled, and a NUL after a CR that ends no line.
fn encode(text: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, byte) in text.iter().enumerate() {
        bytes.push(*byte);
        match *byte {
            IAC => bytes.push(IAC),
            b'\r' if text.get(index + 1) != Some(&b'\n') => bytes.push(0),
            _ => {}
        }
        match random.below(10) {
            0 => bytes.extend([IAC, random.pick(&[236, 239, 241, 242, 249, 246])]),
            1 => bytes.extend([IAC, random.pick(&[WILL, WONT, DO, DONT]), random.pick(&[1, 3, 24, 25, 31, 42, 200])]),
            2 => bytes.extend(sub(random.pick(&[3, 24, 42, 201]), &[random.below(240) as u8, b'x'])),
            _ => {}
        }
    }
    bytes
}

#[test]
fn text_that_a_destination_encodes_comes_out_as_it_was() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let text: Vec<u8> = (0..random.below(200)).map(|_| random.pick(b"ab\r\n\0\xff\xfe\xfb")).collect();
        let bytes = encode(&text, &mut random);
        let mut telnet = spoken();
        assert_eq!(in_pieces(&mut telnet, bytes.chunks(1 + random.below(7))).clean, text, "seed {seed}");
    }
}

/// Input as it was meant, from what is sent, in the way of a good destination; commands are left out.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let (mut text, mut index) = (Vec::new(), 0);
    while index < bytes.len() {
        let (byte, next) = (bytes[index], bytes.get(index + 1).copied());
        match (byte, next) {
            (IAC, Some(IAC)) => text.push(IAC),
            (IAC, Some(_)) => {}
            (b'\r', Some(b'\n')) => text.push(b'\r'),
            (IAC | b'\r', _) => panic!("{byte} with {next:?} after it"),
            _ => {
                text.push(byte);
                index += 1;
                continue;
            }
        }
        index += 2;
    }
    text
}

#[test]
fn input_reaches_a_destination_as_it_was_meant_however_it_is_cut() {
    for seed in 0..1000 {
        let mut random = Random::new(seed);
        let input: Vec<u8> = (0..random.below(200)).map(|_| random.pick(b"ab\r\n\0\xff\xfb\x01")).collect();
        let (mut telnet, mut out) = (spoken(), Vec::new());
        for piece in input.chunks(1 + random.below(5)) {
            if random.below(4) == 0 {
                telnet.command(random.pick(&[Command::Break, Command::Interrupt]), &mut out);
            }
            telnet.send(piece, &mut out);
        }
        // CR, and CR LF, are the end of a line.
        let mut meant = input.clone();
        let mut previous = 0;
        meant.retain(|byte| std::mem::replace(&mut previous, *byte) != b'\r' || *byte != b'\n');
        assert_eq!(decode(&out), meant, "seed {seed}");
    }
}
