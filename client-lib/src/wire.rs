//! The channel's records as bytes, version 1: no descriptor and no system call here.
//!
//! A record is one message of a `SOCK_SEQPACKET` pair: a first byte that tells its type, then a payload of fixed
//! layout, numbers little endian. An empty record is never sent, because reading nothing means end of file, and that
//! means *drain*. A type that a reader does not know is skipped, so that a later supervisor and an earlier child
//! understand each other in what both know; a known type with a payload of the wrong shape is an error.
//! `docs/protocol.md` is this page in words.

use thiserror::Error;

/// The version that a child announces in its hello.
pub const VERSION: u16 = 1;
/// The most connections in one record, and so the most descriptors.
pub const MAX_CONNECTIONS: usize = 16;
/// The most of a daemon's own state that goes with a connection, in bytes.
pub const MAX_STATE: usize = 65_536;
/// The longest status text, in bytes.
pub const MAX_STATUS: usize = 1024;
/// The longest record: one with the most state, and some room.
pub const MAX_RECORD: usize = 65_600;

pub(crate) const CONNECTIONS: u8 = 0x01;
pub(crate) const CONNECTION_WITH_STATE: u8 = 0x04;
const HELLO: u8 = 0x81;
const READY: u8 = 0x82;
const STATUS: u8 = 0x83;
const OPEN_CONNECTIONS: u8 = 0x84;
const GIVE_BACK: u8 = 0x85;
/// The bytes before the state in a record with a connection and its state.
const BEFORE_STATE: usize = 3;

/// What the supervisor tells its child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// Accepted connections, whose descriptors travel in the same record and order: for each the index of the
    /// listener that it came from.
    Connections(Vec<u16>),
    /// A connection that was given back, whose descriptor travels in the same record.
    ConnectionWithState {
        /// The index of the listener that it came from.
        listener: u16,
        /// What the daemon that gave it back left for the one that takes it.
        state: Vec<u8>,
    },
    /// A type that this version does not know; to be skipped.
    Unknown(u8),
}

/// What a child tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromChild {
    /// The child uses the channel and speaks this version.
    Hello {
        /// The newest version that the child speaks.
        version: u16,
    },
    /// The child can serve.
    Ready,
    /// What the child wants to be shown of itself; [`FromChild::encode`] leaves out what is longer than
    /// [`MAX_STATUS`].
    Status(String),
    /// How many connections the child has open.
    OpenConnections(u32),
    /// An open connection for the next generation, whose descriptor travels in the same record.
    GiveBack {
        /// The index of the listener that it came from.
        listener: u16,
        /// What the child leaves for the one that takes it, at most [`MAX_STATE`].
        state: Vec<u8>,
    },
    /// A type that this version does not know; to be skipped.
    Unknown(u8),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// No byte at all; a reader takes that as end of file before it decodes.
    #[error("a record is empty")]
    Empty,
    /// A known type with too few or too many bytes.
    #[error("a record of type {kind:#04x} has {found} bytes instead of {expected}")]
    Length {
        /// The record's first byte.
        kind: u8,
        /// How many bytes a record of this type, with this count, has.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A known type with fewer or more bytes than there can be.
    #[error("a record of type {kind:#04x} has {found} bytes, which is not between {least} and {most}")]
    Range {
        /// The record's first byte.
        kind: u8,
        /// How many bytes a record of this type has at least.
        least: usize,
        /// How many it has at the most.
        most: usize,
        /// How many there were.
        found: usize,
    },
    /// A status text that is none.
    #[error("a status text is not UTF-8")]
    Text,
    /// A known type with a number of descriptors that is not its own.
    #[error("a record of type {kind:#04x} carries {found} descriptors instead of {expected}")]
    Descriptors {
        /// The record's first byte.
        kind: u8,
        /// How many a record of this type carries.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A connections record with none or more than [`MAX_CONNECTIONS`].
    #[error("a record tells of {0} connections, which is not between 1 and {max}", max = MAX_CONNECTIONS)]
    Count(usize),
}

/// Writes the record for connections from these listeners over what `out` held.
///
/// Takes as many as one record carries, [`MAX_CONNECTIONS`], and returns how many it took; with no listener `out` is
/// left empty, and nothing must be sent. The same number of descriptors is then sent with it, in the same order.
pub fn encode_connections(listeners: &[u16], out: &mut Vec<u8>) -> usize {
    out.clear();
    let taken = listeners.len().min(MAX_CONNECTIONS);
    if taken > 0 {
        out.push(CONNECTIONS);
        out.push(taken as u8);
        for listener in &listeners[..taken] {
            out.extend_from_slice(&listener.to_le_bytes());
        }
    }
    taken
}

/// Writes the record for one connection with its state over what `out` held. One descriptor is then sent with it.
pub fn encode_connection_with_state(listener: u16, state: &[u8], out: &mut Vec<u8>) {
    with_state(CONNECTION_WITH_STATE, listener, state, out);
}

/// Writes the record that gives one connection back over what `out` held. One descriptor is then sent with it.
pub fn encode_give_back(listener: u16, state: &[u8], out: &mut Vec<u8>) {
    with_state(GIVE_BACK, listener, state, out);
}

fn with_state(kind: u8, listener: u16, state: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(kind);
    out.extend_from_slice(&listener.to_le_bytes());
    out.extend_from_slice(state);
}

/// Reads what [`with_state`] wrote.
fn listener_and_state(record: &[u8]) -> Result<(u16, Vec<u8>), DecodeError> {
    match record {
        [_, low, high, state @ ..] if state.len() <= MAX_STATE => {
            Ok((u16::from_le_bytes([*low, *high]), state.to_vec()))
        }
        _ => Err(range(record, BEFORE_STATE, BEFORE_STATE + MAX_STATE)),
    }
}

/// The beginning of a text that is not longer than a status may be, cut between two characters.
pub fn cut_to_status(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_STATUS)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

impl ToChild {
    /// Reads one record.
    pub fn decode(record: &[u8]) -> Result<ToChild, DecodeError> {
        match record {
            [] => Err(DecodeError::Empty),
            [CONNECTIONS] => Err(length(record, 4)),
            [CONNECTIONS, count, listeners @ ..] => {
                let count = usize::from(*count);
                if count == 0 || count > MAX_CONNECTIONS {
                    return Err(DecodeError::Count(count));
                }
                let (listeners, rest) = listeners.as_chunks::<2>();
                if listeners.len() != count || !rest.is_empty() {
                    return Err(length(record, 2 + 2 * count));
                }
                Ok(ToChild::Connections(listeners.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()))
            }
            [CONNECTION_WITH_STATE, ..] => {
                let (listener, state) = listener_and_state(record)?;
                Ok(ToChild::ConnectionWithState { listener, state })
            }
            [unknown, ..] => Ok(ToChild::Unknown(*unknown)),
        }
    }
}

impl FromChild {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            FromChild::Hello { version } => {
                let [low, high] = version.to_le_bytes();
                vec![HELLO, low, high]
            }
            FromChild::Ready => vec![READY],
            FromChild::Status(text) => [&[STATUS], cut_to_status(text).as_bytes()].concat(),
            FromChild::OpenConnections(count) => [&[OPEN_CONNECTIONS][..], &count.to_le_bytes()].concat(),
            FromChild::GiveBack { listener, state } => {
                let mut record = Vec::with_capacity(BEFORE_STATE + state.len());
                encode_give_back(*listener, state, &mut record);
                record
            }
            FromChild::Unknown(kind) => vec![*kind],
        }
    }

    /// Reads one record.
    pub fn decode(record: &[u8]) -> Result<FromChild, DecodeError> {
        match record {
            [] => Err(DecodeError::Empty),
            [HELLO, low, high] => Ok(FromChild::Hello { version: u16::from_le_bytes([*low, *high]) }),
            [HELLO, ..] => Err(length(record, 3)),
            [READY] => Ok(FromChild::Ready),
            [READY, ..] => Err(length(record, 1)),
            [STATUS, text @ ..] if text.len() <= MAX_STATUS => match str::from_utf8(text) {
                Ok(text) => Ok(FromChild::Status(text.to_owned())),
                Err(_) => Err(DecodeError::Text),
            },
            [STATUS, ..] => Err(range(record, 1, 1 + MAX_STATUS)),
            [OPEN_CONNECTIONS, count @ ..] => match <[u8; 4]>::try_from(count) {
                Ok(count) => Ok(FromChild::OpenConnections(u32::from_le_bytes(count))),
                Err(_) => Err(length(record, 5)),
            },
            [GIVE_BACK, ..] => {
                let (listener, state) = listener_and_state(record)?;
                Ok(FromChild::GiveBack { listener, state })
            }
            [unknown, ..] => Ok(FromChild::Unknown(*unknown)),
        }
    }

    /// How many descriptors a record of the type with this first byte carries; any number of a type that is not known.
    pub fn descriptors(kind: u8) -> Option<usize> {
        match kind {
            HELLO | READY | STATUS | OPEN_CONNECTIONS => Some(0),
            GIVE_BACK => Some(1),
            _ => None,
        }
    }
}

fn length(record: &[u8], expected: usize) -> DecodeError {
    DecodeError::Length { kind: record[0], expected, found: record.len() }
}

fn range(record: &[u8], least: usize, most: usize) -> DecodeError {
    DecodeError::Range { kind: record[0], least, most, found: record.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md shows these very bytes.
    const ONE_CONNECTION: &[u8] = &[0x01, 0x01, 0x00, 0x00];
    const THREE_CONNECTIONS: &[u8] = &[0x01, 0x03, 0x00, 0x00, 0x01, 0x00, 0x34, 0x12];
    const HELLO_OF_VERSION_1: &[u8] = &[0x81, 0x01, 0x00];
    const THAT_IS_READY: &[u8] = &[0x82];
    const WITH_STATE: &[u8] = &[0x04, 0x01, 0x00, 0x6f, 0x6b];
    const WITH_EMPTY_STATE: &[u8] = &[0x04, 0x00, 0x00];
    const OF_STATUS: &[u8] = &[0x83, 0x74, 0xc3, 0xa4, 0x74, 0x69, 0x67];
    const OF_SEVENTY_THOUSAND: &[u8] = &[0x84, 0x70, 0x11, 0x01, 0x00];
    const GIVEN_BACK: &[u8] = &[0x85, 0x01, 0x00, 0x6f, 0x6b];

    #[test]
    fn the_golden_vectors_hold_both_ways() {
        for (bytes, listeners) in [(ONE_CONNECTION, &[0][..]), (THREE_CONNECTIONS, &[0, 1, 0x1234])] {
            let mut encoded = vec![0xff; 3];
            assert_eq!(encode_connections(listeners, &mut encoded), listeners.len());
            assert_eq!(encoded, bytes);
            assert_eq!(ToChild::decode(bytes), Ok(ToChild::Connections(listeners.to_vec())));
        }
        for (bytes, listener, state) in [(WITH_STATE, 1, &b"ok"[..]), (WITH_EMPTY_STATE, 0, b"")] {
            let mut encoded = vec![0xff; 3];
            encode_connection_with_state(listener, state, &mut encoded);
            assert_eq!(encoded, bytes);
            let state = state.to_vec();
            assert_eq!(ToChild::decode(bytes), Ok(ToChild::ConnectionWithState { listener, state }));
        }
        for (bytes, record) in [
            (HELLO_OF_VERSION_1, FromChild::Hello { version: VERSION }),
            (THAT_IS_READY, FromChild::Ready),
            (OF_STATUS, FromChild::Status("tätig".to_owned())),
            (OF_SEVENTY_THOUSAND, FromChild::OpenConnections(70_000)),
            (GIVEN_BACK, FromChild::GiveBack { listener: 1, state: b"ok".to_vec() }),
        ] {
            assert_eq!(record.encode(), bytes);
            assert_eq!(FromChild::decode(bytes), Ok(record));
        }
    }

    #[test]
    fn the_most_state_fits_into_a_record() {
        let full = FromChild::GiveBack { listener: 0x1234, state: vec![7; MAX_STATE] };
        let mut record = full.encode();
        assert!(record.len() <= MAX_RECORD);
        assert_eq!(FromChild::decode(&record), Ok(full));
        record.push(7);
        let found = record.len();
        let most = found - 1;
        assert_eq!(FromChild::decode(&record), Err(DecodeError::Range { kind: 0x85, least: 3, most, found }));
        record[0] = 0x04;
        assert_eq!(ToChild::decode(&record), Err(DecodeError::Range { kind: 0x04, least: 3, most, found }));
    }

    #[test]
    fn a_status_is_cut_between_characters() {
        assert_eq!(cut_to_status("short"), "short");
        assert_eq!(cut_to_status(""), "");
        let long = format!("{}{}", "x".repeat(MAX_STATUS - 1), "ä".repeat(9));
        assert_eq!(cut_to_status(&long), "x".repeat(MAX_STATUS - 1));
        let just = "ä".repeat(MAX_STATUS / 2);
        assert_eq!(cut_to_status(&format!("{just}ä")), just);
        assert_eq!(FromChild::Status(long).encode().len(), MAX_STATUS);
    }

    #[test]
    fn a_record_takes_no_more_than_it_carries() {
        let many: Vec<u16> = (0..20).collect();
        let mut encoded = Vec::new();
        assert_eq!(encode_connections(&many, &mut encoded), MAX_CONNECTIONS);
        assert_eq!(ToChild::decode(&encoded), Ok(ToChild::Connections(many[..MAX_CONNECTIONS].to_vec())));
        assert_eq!(encode_connections(&[], &mut encoded), 0);
        assert!(encoded.is_empty());
    }

    #[test]
    fn types_of_a_later_version_are_skipped_and_not_refused() {
        for later in [0x00, 0x02, 0x03, 0x05, 0x7f, 0x82, 0xff] {
            assert_eq!(ToChild::decode(&[later, 1, 2, 3]), Ok(ToChild::Unknown(later)));
        }
        for later in [0x00, 0x01, 0x04, 0x80, 0x86, 0xff] {
            assert_eq!(FromChild::decode(&[later, 1, 2, 3]), Ok(FromChild::Unknown(later)));
        }
    }

    #[test]
    fn a_known_record_of_the_wrong_shape_is_an_error() {
        let length = |kind, expected, found| DecodeError::Length { kind, expected, found };
        assert_eq!(ToChild::decode(&[]), Err(DecodeError::Empty));
        assert_eq!(ToChild::decode(&[1]), Err(length(1, 4, 1)));
        assert_eq!(ToChild::decode(&[1, 0]), Err(DecodeError::Count(0)));
        assert_eq!(ToChild::decode(&[1, 17]), Err(DecodeError::Count(17)));
        assert_eq!(ToChild::decode(&[1, 2, 0, 0]), Err(length(1, 6, 4)));
        assert_eq!(ToChild::decode(&[1, 1, 0, 0, 0]), Err(length(1, 4, 5)));
        assert_eq!(FromChild::decode(&[]), Err(DecodeError::Empty));
        assert_eq!(FromChild::decode(&[0x81, 1]), Err(length(0x81, 3, 2)));
        assert_eq!(FromChild::decode(&[0x82, 0]), Err(length(0x82, 1, 2)));
        assert_eq!(FromChild::decode(&[0x84, 0, 0, 0]), Err(length(0x84, 5, 4)));
        assert_eq!(FromChild::decode(&[0x84, 0, 0, 0, 0, 0]), Err(length(0x84, 5, 6)));
        assert_eq!(FromChild::decode(&[0x83, 0xc3]), Err(DecodeError::Text));
        let range = |kind, least, most, found| DecodeError::Range { kind, least, most, found };
        assert_eq!(FromChild::decode(&[0x83; 1026]), Err(range(0x83, 1, 1025, 1026)));
        assert_eq!(FromChild::decode(&[0x85, 0]), Err(range(0x85, 3, 65_539, 2)));
        assert_eq!(ToChild::decode(&[0x04, 0]), Err(range(0x04, 3, 65_539, 2)));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic() {
        // A fixed seed: the same bytes on every run, so that a failure can be repeated.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        };
        for _ in 0..20_000 {
            let mut record: Vec<u8> = (0..next() % 40).map(|_| next()).collect();
            if let [kind, count, ..] = record.as_mut_slice() {
                *kind = [0x01, 0x04, 0x81, 0x82, 0x83, 0x84, 0x85, *kind][usize::from(*kind % 8)];
                *count %= 20;
            }
            let mut again = Vec::new();
            match ToChild::decode(&record) {
                Ok(ToChild::Connections(listeners)) => drop(encode_connections(&listeners, &mut again)),
                Ok(ToChild::ConnectionWithState { listener, state }) => {
                    encode_connection_with_state(listener, &state, &mut again);
                }
                Ok(ToChild::Unknown(_)) | Err(_) => again.clone_from(&record),
            }
            assert_eq!(again, record);
            match FromChild::decode(&record) {
                Ok(FromChild::Unknown(_)) | Err(_) => {}
                Ok(known) => assert_eq!(known.encode(), record),
            }
        }
    }
}
