//! The bytes of a message, pure: for each descriptor, in their order, the length of its metadata as four bytes, little
//! endian, then the metadata. `docs/protocol.md` is this page in words.

/// The bytes before a descriptor's metadata: its length.
pub const HEADER: usize = 4;

/// Why bytes are not those of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A header announces more than the receiver takes.
    #[error("the metadata of descriptor {index} has {length} bytes, with which the message exceeds {most}")]
    TooLong {
        /// Which of the message's descriptors, from 0 up.
        index: usize,
        /// How many bytes the header announces.
        length: usize,
        /// The most that the receiver takes for a message.
        most: usize,
    },
    /// Bytes that belong to no descriptor.
    #[error("the message goes on for {surplus} bytes after the metadata of its last descriptor")]
    Surplus {
        /// How many there are.
        surplus: usize,
    },
}

/// Adds one descriptor's bytes to those of a message. More than 4 GiB of metadata cannot be told of, and is refused by
/// every sender long before.
pub fn append(message: &mut Vec<u8>, metadata: &[u8]) {
    message.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
    message.extend_from_slice(metadata);
}

/// How many bytes of a message with `count` descriptors are at least still missing; 0 when it is complete. To read that
/// many, and not more, never reaches into the next message. `most` bounds the whole message.
pub fn missing(bytes: &[u8], count: usize, most: usize) -> Result<usize, FrameError> {
    let mut rest = bytes;
    for index in 0..count {
        // What must follow in any case.
        let later = HEADER * (count - index - 1);
        let Some((length, after)) = split_header(rest) else {
            return Ok(HEADER - rest.len() + later);
        };
        let before = bytes.len() - after.len();
        if length > most.saturating_sub(before + later) {
            return Err(FrameError::TooLong { index, length, most });
        }
        if after.len() < length {
            return Ok(length - after.len() + later);
        }
        rest = &after[length..];
    }
    if rest.is_empty() { Ok(0) } else { Err(FrameError::Surplus { surplus: rest.len() }) }
}

/// The metadata of each descriptor of a complete message, in their order; of another one as far as it goes.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (length, after) = split_header(rest)?;
        let (metadata, next) = after.split_at_checked(length)?;
        rest = next;
        Some(metadata)
    })
}

fn split_header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (header, after) = bytes.split_first_chunk::<HEADER>()?;
    Some((u32::from_le_bytes(*header) as usize, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::random::Random;

    /// docs/protocol.md shows these very bytes: no metadata, `hi`, and a map of Go's with the name `x`.
    const THREE: &str = "00000000 02000000 6869 2b000000 14ff8104010104 4d657461 01ff820001 0c011000 00 \
                         15ff820001046e616d6506737472696e670c03000178";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_golden_message_holds_both_ways() {
        let golden = bytes(THREE);
        let map = crate::handoff::gob::Map::from([(b"name".to_vec(), "x".into())]);
        let metadata = [Vec::new(), b"hi".to_vec(), crate::handoff::gob::encode(&map)];
        let mut message = Vec::new();
        metadata.iter().for_each(|metadata| append(&mut message, metadata));
        assert_eq!(message, golden);
        assert_eq!(missing(&golden, 3, 4096), Ok(0));
        assert_eq!(entries(&golden).collect::<Vec<_>>(), metadata);
    }

    #[test]
    fn what_is_missing_never_reaches_into_the_next_message() {
        let golden = bytes(THREE);
        for start in 0..golden.len() {
            let mut have = start;
            while have < golden.len() {
                let missing = missing(&golden[..have], 3, 4096).unwrap();
                assert!(missing > 0 && have + missing <= golden.len(), "{missing} after {have}");
                have += missing;
            }
        }
        assert_eq!(missing(&[], 170, 4096), Ok(680));
        assert_eq!(missing(&[1], 1, 4096), Ok(3));
    }

    #[test]
    fn a_message_has_a_bound_and_an_end() {
        assert_eq!(missing(&[0, 0, 0, 0, 7], 1, 4096), Err(FrameError::Surplus { surplus: 1 }));
        let huge = FrameError::TooLong { index: 0, length: 0xffff_ffff, most: 4096 };
        assert_eq!(missing(&[0xff; 9], 1, 4096), Err(huge));
        // The headers that must follow count.
        let header = |length: u32| length.to_le_bytes();
        assert_eq!(missing(&header(4092), 1, 4096), Ok(4092));
        assert_eq!(missing(&header(4093), 1, 4096), Err(FrameError::TooLong { index: 0, length: 4093, most: 4096 }));
        assert_eq!(missing(&header(4088), 2, 4096), Ok(4092));
        assert_eq!(missing(&header(4089), 2, 4096), Err(FrameError::TooLong { index: 0, length: 4089, most: 4096 }));
        let second = [&header(2)[..], b"ok", &header(5)].concat();
        assert_eq!(missing(&second, 2, 14), Err(FrameError::TooLong { index: 1, length: 5, most: 14 }));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let length = random.below(64);
            let bytes: Vec<u8> = (0..length).map(|_| if random.below(4) > 0 { 0 } else { random.byte() }).collect();
            let count = 1 + random.below(9);
            match missing(&bytes, count, 4096) {
                Ok(0) => assert_eq!(entries(&bytes).count(), count),
                Ok(missing) => assert!(missing <= 4096),
                Err(_) => {}
            }
        }
    }
}
