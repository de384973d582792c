//! Ids, secrets and proofs.

use super::{BootId, Checker, Key, Mac, Nonce, PREFIX, Secret, SessionId, TextError, Transcript, random};

fn said() -> Transcript {
    let (boot, server, client) = (BootId([1; 16]), Nonce([2; 32]), Nonce([3; 32]));
    Transcript { version: 1, boot, server, client }
}

const ID: SessionId = SessionId([4; 16]);

fn key() -> Key {
    Secret::new([5; 32]).key()
}

#[test]
fn an_id_is_32_digits() {
    let id = SessionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xff]);
    assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    for wrong in
        ["", "00", "000102030405060708090a0b0c0d0ef", "000102030405060708090a0b0c0d0eff0", "+0".repeat(16).as_str()]
    {
        assert_eq!(wrong.parse::<SessionId>(), Err(TextError::Id), "{wrong}");
    }
}

#[test]
fn a_secret_has_one_text() {
    for round in 0..=255 {
        let secret = Secret::new(std::array::from_fn(|index| (index as u8).wrapping_mul(37) ^ round));
        let text = secret.to_text();
        assert!(text.starts_with(PREFIX) && text.len() == 47, "{}", *text);
        assert!(Secret::from_text(&text) == Ok(secret));
    }
    let text = Secret::new([255; 32]).to_text();
    assert_eq!(*text, format!("sks_{}8", "_".repeat(42)));
    // The last letter has two bits that belong to no byte.
    let other = format!("sks_{}9", "_".repeat(42));
    let short = &text[..46];
    let long = format!("{}A", *text);
    let plus = text.replace('8', "+");
    for wrong in ["", "sks_", &text[4..], &other, short, &long, &plus, &text.replace("sks", "SKS"), "sks_ä"] {
        assert!(Secret::from_text(wrong) == Err(TextError::Secret), "{wrong}");
    }
}

#[test]
fn a_wrong_text_is_not_repeated_in_the_error() {
    let error = Secret::from_text("sks_nearly").err().unwrap();
    assert!(!error.to_string().contains("nearly"));
}

#[test]
fn random_numbers_differ() {
    assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
}

#[test]
fn each_field_changes_the_proof() {
    let proof = key().resume(&said(), ID, 7, 0);
    assert!(proof == key().resume(&said(), ID, 7, 0));
    let others = [
        Secret::new([6; 32]).key().resume(&said(), ID, 7, 0),
        key().resume(&Transcript { version: 2, ..said() }, ID, 7, 0),
        key().resume(&Transcript { boot: BootId([9; 16]), ..said() }, ID, 7, 0),
        key().resume(&Transcript { server: Nonce([9; 32]), ..said() }, ID, 7, 0),
        key().resume(&Transcript { client: Nonce([9; 32]), ..said() }, ID, 7, 0),
        key().resume(&said(), SessionId([9; 16]), 7, 0),
        key().resume(&said(), ID, 8, 0),
        key().resume(&said(), ID, 7, 1),
        key().confirm(&said(), ID),
        key().accept(&said(), &[&ID.0[..], &7_u64.to_be_bytes(), &[0]].concat()),
    ];
    assert!(others.iter().all(|other| *other != proof));
}

#[test]
fn one_wrong_bit_anywhere_is_refused() {
    let checker = Checker::new([8; 32]);
    let right = key().resume(&said(), ID, 7, 0);
    let expected = |key: &Key| key.resume(&said(), ID, 7, 0);
    assert!(checker.may_resume(Some(&key()), expected, &right));
    for bit in 0..256 {
        let mut wrong = right.0;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!checker.may_resume(Some(&key()), expected, &Mac(wrong)), "bit {bit}");
    }
}

/// The same work is done for a session that there is not, and the key that stands in for its own opens nothing.
#[test]
fn an_unknown_session_is_refused_after_the_same_work() {
    let checker = Checker::new([8; 32]);
    let mut made = 0;
    let mac_of_nobody = Key::new([8; 32]).resume(&said(), ID, 7, 0);
    let expected = |key: &Key| {
        made += 1;
        key.resume(&said(), ID, 7, 0)
    };
    assert!(!checker.may_resume(None, expected, &mac_of_nobody));
    assert_eq!(made, 1);
}
