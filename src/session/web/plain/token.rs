//! What a form has that another site cannot know.
//!
//! It is an HMAC with the key that only the cookie's owner has: the session's secret, or, before there is a session, a
//! random cookie of its own. Nothing of it is kept, so that any gateway can check it.

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use std::fmt::Write;

/// No other proof is made with this.
const LABEL: &[u8] = b"socket-protector plain form\0";

/// The token of the forms of one whose cookie has this value.
pub fn make(cookie: &[u8]) -> String {
    mac(cookie).finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether it is that token, in a time that does not depend on how much of it is right.
pub fn is_right(cookie: &[u8], given: &str) -> bool {
    let mut bytes = [0; 32];
    let digits = given.as_bytes();
    if digits.len() != 64 {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = (high << 4 | low) as u8;
    }
    mac(cookie).verify_slice(&bytes).is_ok()
}

fn mac(cookie: &[u8]) -> Hmac<Sha256> {
    let mut mac = match Hmac::<Sha256>::new_from_slice(cookie) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(LABEL);
    mac
}
