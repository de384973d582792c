//! The bytes of docs/protocol.md, written out: so that the program and the trials, which share a codec, do not agree on an
//! error.

use super::client::dial;
use super::destination::Destination;
use super::place::Place;
use crate::harness::trials;
use std::io::{Read, Write};
use std::net::TcpStream;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

trials![a_session_is_made_and_resumed_by_the_bytes_of_the_page];

fn read<const SIZE: usize>(stream: &mut TcpStream) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Connects, and gives HELLO's boot and nonce.
fn greet(place: &Place) -> (TcpStream, [u8; 16], [u8; 32]) {
    let mut stream = dial(place.address);
    stream.write_all(b"\xd3\x53\x4b\x54\x00\x0d\x0a\x1a\x01\x01").unwrap();
    let hello = read::<65>(&mut stream);
    assert_eq!(hello[..5], [0x01, 0x00, 0x00, 0x3d, 0x01]);
    // Payloads up to 16 KiB, a window of 256 KiB, a heartbeat of 15 s, a ttl of an hour.
    assert_eq!(hello[53..], [0x40, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x0e, 0x10]);
    (stream, hello[5..21].try_into().unwrap(), hello[21..53].try_into().unwrap())
}

fn a_session_is_made_and_resumed_by_the_bytes_of_the_page() {
    let destination = Destination::new(|mut stream| {
        stream.write_all(b"hi").unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let place = Place::to(&destination.endpoint());
    let (mut stream, boot, nonce) = greet(&place);
    let own = [0xc1; 32];
    stream.write_all(&[&[0x02, 0, 0, 0x24][..], &own, &[0; 4]].concat()).unwrap();
    let accept = read::<{ 4 + 0x76 }>(&mut stream);
    assert_eq!(accept[..4], [0x05, 0, 0, 0x76]);
    let (id, secret) = (&accept[4..20], &accept[58..90]);
    // Epoch 1, no input, no output, connecting, no ends, kept for an hour.
    assert_eq!(accept[20..58], [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 24], &[0, 0], &[0, 0, 0x0e, 0x10]].concat());
    let key = Sha256::digest(secret);
    let proof = mac(&key, &[b"accept\0\x01", &boot, &nonce, &own, &accept[4..90]]);
    assert_eq!(accept[90..], proof);
    let confirm = mac(&key, &[b"confirm\0\x01", &boot, &nonce, &own, id]);
    stream.write_all(&[&[0x04, 0, 0, 0x20][..], &confirm].concat()).unwrap();
    // ACK of nothing with a window of 256 KiB, DESTINATION open, DATA.
    assert_eq!(read::<24>(&mut stream), *b"\x11\0\0\x14\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(read::<5>(&mut stream), *b"\x15\0\0\x01\x01");
    assert_eq!(read::<14>(&mut stream), *b"\x10\0\0\x0a\0\0\0\0\0\0\0\0hi");
    stream.write_all(b"\x10\0\0\x0b\0\0\0\0\0\0\0\0abc").unwrap();
    let ack = read::<24>(&mut stream);
    assert_eq!(ack[..12], *b"\x11\0\0\x14\0\0\0\0\0\0\0\x03");
    drop(stream);

    let (mut stream, _, nonce) = greet(&place);
    let (next, mode) = (1_u64.to_be_bytes(), [0]);
    let proof = mac(&key, &[b"resume\0\x01", &boot, &nonce, &own, id, &next, &mode]);
    stream.write_all(&[&[0x03, 0, 0, 0x69][..], id, &boot, &own, &next, &mode, &proof].concat()).unwrap();
    let accept = read::<{ 4 + 0x56 }>(&mut stream);
    assert_eq!(accept[..4], [0x05, 0, 0, 0x56]);
    // Epoch 2, three bytes of input, two of output, open.
    let numbers = [2_u64, 3, 0, 2].map(u64::to_be_bytes).concat();
    assert_eq!(accept[4..58], [id, &numbers, &[1, 0], &[0, 0, 0x0e, 0x10]].concat());
    assert_eq!(accept[58..], mac(&key, &[b"accept\0\x01", &boot, &nonce, &own, &accept[4..58]]));
    assert_eq!(read::<12>(&mut stream), *b"\x11\0\0\x14\0\0\0\0\0\0\0\x03");
    read::<12>(&mut stream);
    assert_eq!(read::<13>(&mut stream), *b"\x10\0\0\x09\0\0\0\0\0\0\0\x01i");
    // A wrong proof: REJECT, denied.
    let (mut stream, boot, _) = greet(&place);
    stream.write_all(&[&[0x03, 0, 0, 0x69][..], id, &boot, &own, &next, &mode, &[7; 32]].concat()).unwrap();
    assert_eq!(read::<5>(&mut stream), *b"\x06\0\0\x01\x02");
}
