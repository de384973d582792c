//! docs/protocol.md says what the code does: its golden vectors and its proofs.

use super::{accept, bytes, samples};
use crate::session::credential::{BootId, Nonce, Secret, SessionId, Transcript};
use crate::session::frame::{Decoder, Frame, Mode, encode_preface};

const PAGE: &str = include_str!("../../../../docs/protocol.md");

fn section() -> &'static str {
    PAGE.split("## Golden vectors of sessions").nth(1).unwrap()
}

/// Bytes in the page's way of writing: `5a*16` is sixteen times 5a.
fn read(cell: &str) -> Vec<u8> {
    let runs = cell.split(' ').map(|word| {
        let (byte, count) = word.split_once('*').unwrap_or((word, "1"));
        vec![u8::from_str_radix(byte, 16).unwrap(); count.parse().unwrap()]
    });
    runs.flatten().collect()
}

fn vectors() -> Vec<Vec<u8>> {
    section().lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(read).collect()
}

fn proof(what: &str) -> &'static str {
    let row = section().split(&format!("| {what} | `")).nth(1).unwrap();
    row.split('`').next().unwrap()
}

#[test]
fn the_golden_vectors_are_what_is_sent() {
    let mut preface = Vec::new();
    encode_preface(&mut preface);
    let sent = [preface].into_iter().chain(samples().into_iter().map(|sample| bytes(&sample)));
    assert!(vectors().into_iter().eq(sent));
}

#[test]
fn the_golden_vectors_are_what_is_understood() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 1 + samples().len());
    for (vector, sample) in vectors[1..].iter().zip(samples()) {
        let mut decoder = Decoder::new();
        decoder.feed(vector);
        assert_eq!(decoder.frame(), Ok(Some(sample)));
    }
}

#[test]
fn the_proofs_are_those_of_the_page() {
    let secret = Secret::from_text(proof("its text")).unwrap();
    assert_eq!(secret.bytes()[..], read(proof("secret")));
    assert_eq!(*secret.to_text(), proof("its text"));
    let key = secret.key();
    let id = SessionId([0x1d; 16]);
    let (boot, server, client) = (BootId([0xb0; 16]), Nonce([0x5e; 32]), Nonce([0xc1; 32]));
    let said = Transcript { version: 1, boot, server, client };
    assert_eq!(key.resume(&said, id, 4096, Mode::Steal.code()).0[..], read(proof("mac of RESUME")));
    assert_eq!(key.confirm(&said, id).0[..], read(proof("mac of CONFIRM")));
    let mut proved = Vec::new();
    accept().proved(&mut proved);
    assert_eq!(key.accept(&said, &proved).0[..], read(proof("mac of ACCEPT")));
    let with_key_of_page = crate::session::credential::Key::new(read(proof("key")).try_into().unwrap());
    assert!(with_key_of_page.confirm(&said, id) == key.confirm(&said, id));
}

#[test]
fn every_type_of_the_page_has_a_vector() {
    let types = PAGE.split("## Types").nth(1).unwrap().split("\n## ").next().unwrap();
    let listed = types.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut listed = listed.map(|kind| u8::from_str_radix(kind, 16).unwrap()).collect::<Vec<_>>();
    let mut known = samples().iter().map(|sample| bytes(sample)[0]).collect::<Vec<_>>();
    known.dedup();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
    let close = bytes(&Frame::Close);
    assert!(PAGE.contains(&format!("| `{:02x} 00 00 00` | CLOSE |", close[0])));
}
