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
/// The longest record. Version 1 sends far shorter ones; the room is for 64 KiB of a daemon's state, given back later.
pub const MAX_RECORD: usize = 65_600;

pub(crate) const CONNECTIONS: u8 = 0x01;
const HELLO: u8 = 0x81;
const READY: u8 = 0x82;

/// What the supervisor tells its child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// Accepted connections, whose descriptors travel in the same record and order: for each the index of the
    /// listener that it came from.
    Connections(Vec<u16>),
    /// A type that this version does not know; to be skipped.
    Unknown(u8),
}

/// What a child tells the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromChild {
    /// The child uses the channel and speaks this version.
    Hello {
        /// The newest version that the child speaks.
        version: u16,
    },
    /// The child can serve.
    Ready,
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
            [unknown, ..] => Ok(FromChild::Unknown(*unknown)),
        }
    }
}

fn length(record: &[u8], expected: usize) -> DecodeError {
    DecodeError::Length { kind: record[0], expected, found: record.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md shows these very bytes.
    const ONE_CONNECTION: &[u8] = &[0x01, 0x01, 0x00, 0x00];
    const THREE_CONNECTIONS: &[u8] = &[0x01, 0x03, 0x00, 0x00, 0x01, 0x00, 0x34, 0x12];
    const HELLO_OF_VERSION_1: &[u8] = &[0x81, 0x01, 0x00];
    const THAT_IS_READY: &[u8] = &[0x82];

    #[test]
    fn the_golden_vectors_hold_both_ways() {
        for (bytes, listeners) in [(ONE_CONNECTION, &[0][..]), (THREE_CONNECTIONS, &[0, 1, 0x1234])] {
            let mut encoded = vec![0xff; 3];
            assert_eq!(encode_connections(listeners, &mut encoded), listeners.len());
            assert_eq!(encoded, bytes);
            assert_eq!(ToChild::decode(bytes), Ok(ToChild::Connections(listeners.to_vec())));
        }
        for (bytes, record) in
            [(HELLO_OF_VERSION_1, FromChild::Hello { version: VERSION }), (THAT_IS_READY, FromChild::Ready)]
        {
            assert_eq!(record.encode(), bytes);
            assert_eq!(FromChild::decode(bytes), Ok(record));
        }
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
        for later in [0x00, 0x02, 0x03, 0x04, 0x7f, 0x82, 0xff] {
            assert_eq!(ToChild::decode(&[later, 1, 2, 3]), Ok(ToChild::Unknown(later)));
        }
        for later in [0x00, 0x01, 0x83, 0x84, 0x85, 0xff] {
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
                *kind = [0x01, 0x81, 0x82, *kind][usize::from(*kind % 4)];
                *count %= 20;
            }
            if let Ok(ToChild::Connections(listeners)) = ToChild::decode(&record) {
                let mut again = Vec::new();
                encode_connections(&listeners, &mut again);
                assert_eq!(again, record);
            }
            if let Ok(known @ (FromChild::Hello { .. } | FromChild::Ready)) = FromChild::decode(&record) {
                assert_eq!(known.encode(), record);
            }
        }
    }
}
