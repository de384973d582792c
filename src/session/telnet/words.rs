//! The words of telnet in bytes (RFC 854 and 855). Pure.

use super::option::{Known, Side};

/// Begins a command; as a byte of text it is doubled.
pub(super) const IAC: u8 = 255;
pub(super) const DONT: u8 = 254;
pub(super) const DO: u8 = 253;
pub(super) const WONT: u8 = 252;
pub(super) const WILL: u8 = 251;
/// Begins and ends a sub-negotiation.
pub(super) const SB: u8 = 250;
pub(super) const SE: u8 = 240;
/// What a user may say beside text: are you there, interrupt the process, the break key.
pub(super) const AYT: u8 = 246;
pub(super) const IP: u8 = 244;
pub(super) const BRK: u8 = 243;
/// The end of a record (RFC 885).
pub(super) const EOR: u8 = 239;
/// The first byte that is a command: end of file, of RFC 1184.
pub(super) const FIRST_COMMAND: u8 = 236;

/// In a sub-negotiation about the terminal's name: say it, and this is it.
pub(super) const SEND: u8 = 1;
pub(super) const IS: u8 = 0;
/// In a sub-negotiation about character sets: an offer, and its answers.
pub(super) const REQUEST: u8 = 1;
const ACCEPTED: u8 = 2;
const REJECTED: u8 = 3;

/// The character set that we take.
pub(super) const UTF_8: &[u8] = b"UTF-8";

pub(super) const NUL: u8 = 0;
pub(super) const CR: u8 = b'\r';
pub(super) const LF: u8 = b'\n';

/// What a verb that was received is about.
pub(super) fn heard(verb: u8) -> Option<(Side, bool)> {
    match verb {
        WILL => Some((Side::Theirs, true)),
        WONT => Some((Side::Theirs, false)),
        DO => Some((Side::Ours, true)),
        DONT => Some((Side::Ours, false)),
        _ => None,
    }
}

/// The verb by which we say it.
pub(super) fn verb(side: Side, on: bool) -> u8 {
    match (side, on) {
        (Side::Ours, true) => WILL,
        (Side::Ours, false) => WONT,
        (Side::Theirs, true) => DO,
        (Side::Theirs, false) => DONT,
    }
}

/// Adds a word about an option, if there is one to be said.
pub(super) fn say(side: Side, option: u8, on: Option<bool>, out: &mut Vec<u8>) {
    out.extend(on.into_iter().flat_map(|on| [IAC, verb(side, on), option]));
}

/// Adds a sub-negotiation. The byte that begins commands is doubled here too.
pub(super) fn sub(known: Known, bytes: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    out.extend([IAC, SB, known.number()]);
    for byte in bytes {
        out.push(byte);
        if byte == IAC {
            out.push(IAC);
        }
    }
    out.extend([IAC, SE]);
}

/// Answers an offer of character sets, and says whether UTF-8 was taken. An offer is a separator, then names with
/// separators between them, all of it perhaps after the word that tables can be sent, which has a version in the byte
/// that follows (RFC 2066).
pub(super) fn charset(offer: &[u8], answers: &mut Vec<u8>) -> bool {
    const TABLES: &[u8] = b"[TTABLE]";
    let offer = offer.strip_prefix(TABLES).map_or(offer, |rest| rest.get(1..).unwrap_or_default());
    let names = offer.split_first().into_iter();
    let mut names = names.flat_map(|(separator, rest)| rest.split(move |byte| byte == separator));
    let taken = names.find(|name| name.eq_ignore_ascii_case(UTF_8));
    match taken {
        Some(name) => sub(Known::Charset, [ACCEPTED].into_iter().chain(name.iter().copied()), answers),
        None => sub(Known::Charset, [REJECTED].into_iter(), answers),
    }
    taken.is_some()
}
