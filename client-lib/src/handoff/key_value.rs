//! Metadata as a map from keys to values, our own kind, pure. A first byte 00, then for each pair in the ascending order
//! of the keys: one byte with the length of the key (1 to 255), the key, four bytes with the length of the value, little
//! endian, the value. There is one way to write a map, and reading one copies nothing.

/// What a map of this kind begins with: no text does, and no value of Go's gob.
pub const FIRST_BYTE: u8 = 0;
/// The longest key, in bytes.
pub const MAX_KEY: usize = 255;

/// Why there is no such map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyValueError {
    /// The first byte is another one, or there is none.
    #[error("it does not begin with 00")]
    FirstByte,
    /// A key that is empty or too long.
    #[error("a key has {length} bytes, which is not between 1 and {max}", max = MAX_KEY)]
    Key {
        /// How many it has.
        length: usize,
    },
    /// A key that is there twice, or comes after a greater one.
    #[error("key {index} is not greater than the one before it")]
    Order {
        /// Which, from 0 up.
        index: usize,
    },
    /// A value too long for its length to be written.
    #[error("a value has {length} bytes, which are more than 4 GiB")]
    Value {
        /// How many it has.
        length: usize,
    },
    /// The bytes end within a pair.
    #[error("it ends in the middle of pair {index}")]
    Short {
        /// Which, from 0 up.
        index: usize,
    },
}

/// A map in bytes that were checked. Cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// All pairs.
    pairs: &'a [u8],
}

/// Writes a map over what `out` held. The pairs may come in any order, but no key twice.
pub fn encode<K: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(K, V)], out: &mut Vec<u8>) -> Result<(), KeyValueError> {
    out.clear();
    out.push(FIRST_BYTE);
    if pairs.is_sorted_by(|one, other| one.0.as_ref() <= other.0.as_ref()) {
        return encode_sorted(pairs.iter(), out);
    }
    let mut sorted: Vec<&(K, V)> = pairs.iter().collect();
    sorted.sort_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
    encode_sorted(sorted.into_iter(), out)
}

fn encode_sorted<'p, K, V>(pairs: impl Iterator<Item = &'p (K, V)>, out: &mut Vec<u8>) -> Result<(), KeyValueError>
where
    K: AsRef<[u8]> + 'p,
    V: AsRef<[u8]> + 'p,
{
    let mut before: &[u8] = b"";
    for (index, (key, value)) in pairs.enumerate() {
        let (key, value) = (key.as_ref(), value.as_ref());
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(KeyValueError::Key { length: key.len() });
        }
        if key <= before {
            return Err(KeyValueError::Order { index });
        }
        let length = u32::try_from(value.len()).map_err(|_| KeyValueError::Value { length: value.len() })?;
        out.push(key.len() as u8);
        out.extend_from_slice(key);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(value);
        before = key;
    }
    Ok(())
}

impl<'a> KeyValue<'a> {
    /// Checks that the bytes are a map.
    pub fn decode(bytes: &'a [u8]) -> Result<KeyValue<'a>, KeyValueError> {
        let [FIRST_BYTE, pairs @ ..] = bytes else {
            return Err(KeyValueError::FirstByte);
        };
        let mut rest = pairs;
        let mut before: &[u8] = b"";
        let mut index = 0;
        while !rest.is_empty() {
            let (key, _, after) = split_pair(rest).ok_or(KeyValueError::Short { index })?;
            if key.is_empty() {
                return Err(KeyValueError::Key { length: 0 });
            }
            if key <= before {
                return Err(KeyValueError::Order { index });
            }
            (rest, before) = (after, key);
            index += 1;
        }
        Ok(KeyValue { pairs })
    }

    /// The pairs, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.pairs;
        std::iter::from_fn(move || {
            let (key, value, after) = split_pair(rest)?;
            rest = after;
            Some((key, value))
        })
    }

    /// The value of a key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == key.as_ref()).map(|(_, value)| value)
    }
}

/// The first pair, and what follows.
fn split_pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, after) = bytes.split_first()?;
    let (key, after) = after.split_at_checked(usize::from(*length))?;
    let (length, after) = after.split_first_chunk::<4>()?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((key, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::random::Random;
    use std::collections::BTreeMap;

    /// docs/protocol.md shows these very bytes.
    const GOLDEN: &[u8] = b"\x00\x04kind\x03\x00\x00\x00tcp\x04name\x01\x00\x00\x00x";

    fn encoded(pairs: &[(&str, &str)]) -> Result<Vec<u8>, KeyValueError> {
        let mut out = vec![7; 3];
        encode(pairs, &mut out).map(|()| out)
    }

    #[test]
    fn the_golden_map_holds_both_ways() {
        assert_eq!(encoded(&[("name", "x"), ("kind", "tcp")]).unwrap(), GOLDEN);
        assert_eq!(encoded(&[("kind", "tcp"), ("name", "x")]).unwrap(), GOLDEN);
        let map = KeyValue::decode(GOLDEN).unwrap();
        assert_eq!(map.get("name"), Some(&b"x"[..]));
        assert_eq!(map.get("nam"), None);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&b"kind"[..], &b"tcp"[..]), (b"name", b"x")]);
        assert_eq!(encoded(&[]).unwrap(), b"\x00");
        assert_eq!(KeyValue::decode(b"\x00").unwrap().iter().count(), 0);
    }

    #[test]
    fn what_is_no_map_is_an_error() {
        assert_eq!(encoded(&[("", "x")]), Err(KeyValueError::Key { length: 0 }));
        assert_eq!(encoded(&[(&"k".repeat(256), "x")]), Err(KeyValueError::Key { length: 256 }));
        assert!(encoded(&[(&"k".repeat(255), "x")]).is_ok());
        assert_eq!(encoded(&[("k", "x"), ("k", "y")]), Err(KeyValueError::Order { index: 1 }));
        for (bytes, error) in [
            (&b""[..], KeyValueError::FirstByte),
            (b"text", KeyValueError::FirstByte),
            (b"\x00\x00\x00\x00\x00\x00", KeyValueError::Key { length: 0 }),
            (b"\x00\x01", KeyValueError::Short { index: 0 }),
            (b"\x00\x01k\x00\x00\x00", KeyValueError::Short { index: 0 }),
            (b"\x00\x01k\x00\x00\x00\x00\x01", KeyValueError::Short { index: 1 }),
            (b"\x00\x01k\xff\xff\xff\xffvalue", KeyValueError::Short { index: 0 }),
            (b"\x00\x01k\x00\x00\x00\x00\x01k\x00\x00\x00\x00", KeyValueError::Order { index: 1 }),
            (b"\x00\x01k\x00\x00\x00\x00\x01j\x00\x00\x00\x00", KeyValueError::Order { index: 1 }),
        ] {
            assert_eq!(KeyValue::decode(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn every_map_comes_back_and_has_one_way_to_be_written() {
        let mut random = Random::new(1);
        for _ in 0..3_000 {
            let count = random.below(12);
            let map: BTreeMap<Vec<u8>, Vec<u8>> =
                (0..count).map(|_| (vec![1; 1 + random.below(255)], random.bytes(300))).collect();
            let mut pairs: Vec<_> = map.iter().collect();
            let mut sorted = Vec::new();
            encode(&pairs, &mut sorted).unwrap();
            pairs.reverse();
            let mut reversed = Vec::new();
            encode(&pairs, &mut reversed).unwrap();
            assert_eq!(sorted, reversed);
            let decoded = KeyValue::decode(&sorted).unwrap();
            assert!(decoded.iter().eq(map.iter().map(|(key, value)| (&key[..], &value[..]))));
            assert!(map.iter().all(|(key, value)| decoded.get(key) == Some(value)));
        }
    }

    #[test]
    fn what_mutation_makes_of_a_map_is_a_map_or_an_error() {
        let mut random = Random::new(2);
        for _ in 0..30_000 {
            let bytes = random.mutated(GOLDEN);
            if let Ok(map) = KeyValue::decode(&bytes) {
                let mut again = Vec::new();
                encode(&map.iter().collect::<Vec<_>>(), &mut again).unwrap();
                assert_eq!(again, bytes);
            }
        }
    }
}
