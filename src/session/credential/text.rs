//! Ids and secrets as text: hexadecimal, and base64url (RFC 4648) of exactly 32 bytes without padding.

use zeroize::Zeroizing;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Letters for 32 bytes.
const LENGTH: usize = 43;

/// 16 bytes from 32 digits.
pub(super) fn from_hex(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// The prefix, then 43 letters.
pub(super) fn to_base64url(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + LENGTH));
    text.push_str(prefix);
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for letter in 0..=part.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
        }
    }
    text
}

/// 32 bytes from 43 letters. The two bits that the last letter has too many are zero: one secret has one text.
pub(super) fn from_base64url(text: &str) -> Option<[u8; 32]> {
    if text.len() != LENGTH {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 33]);
    for (part, letters) in bytes.chunks_exact_mut(3).zip(text.as_bytes().chunks(4)) {
        let mut bits = 0;
        for index in 0..4 {
            let value = match letters.get(index) {
                Some(letter) => LETTERS.iter().position(|known| known == letter)?,
                None => 0,
            };
            bits = bits << 6 | value as u32;
        }
        part.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    let (secret, rest) = bytes.split_first_chunk()?;
    (rest == [0]).then_some(*secret)
}
