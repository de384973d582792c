//! What a descriptor's metadata is, told by its bytes, and how it is shown. Pure.

use super::gob;
use super::key_value::{FIRST_BYTE, KeyValue};
use std::fmt::{self, Display, Formatter};

/// The metadata of a descriptor, recognised.
///
/// On the wire there are only bytes. A map of our own begins with 00, one of Go's with the description of its type; what
/// is neither, or only begins like it, is raw. Shown ([`Display`]) as `key=value` pairs sorted by their keys, raw bytes
/// as they are, and `-` where there is nothing to show; bytes that are no visible ASCII as `\xNN`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Metadata<'a> {
    /// There is none: a length of 0.
    None,
    /// Bytes of some kind.
    Raw(&'a [u8]),
    /// A map of our own kind.
    KeyValue(KeyValue<'a>),
    /// A map of Go's, as gobwas/graceful sends it.
    Gob(gob::Map),
}

impl<'a> Metadata<'a> {
    /// Recognises what came with a descriptor.
    pub fn of(bytes: &'a [u8]) -> Metadata<'a> {
        match bytes {
            [] => Metadata::None,
            [FIRST_BYTE, ..] => KeyValue::decode(bytes).map_or(Metadata::Raw(bytes), Metadata::KeyValue),
            _ => gob::decode(bytes).map_or(Metadata::Raw(bytes), Metadata::Gob),
        }
    }
}

impl Display for Metadata<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Metadata::None => out.write_str("-"),
            Metadata::Raw(bytes) => visible(out, bytes),
            Metadata::KeyValue(map) => pairs(out, map.iter(), visible),
            Metadata::Gob(map) => pairs(out, map.iter().map(|(key, value)| (&key[..], value)), value),
        }
    }
}

fn pairs<'p, V>(
    out: &mut Formatter<'_>,
    pairs: impl Iterator<Item = (&'p [u8], V)>,
    mut show: impl FnMut(&mut Formatter<'_>, V) -> fmt::Result,
) -> fmt::Result {
    let mut between = "";
    for (key, value) in pairs {
        out.write_str(between)?;
        visible(out, key)?;
        out.write_str("=")?;
        show(out, value)?;
        between = " ";
    }
    if between.is_empty() { out.write_str("-") } else { Ok(()) }
}

fn value(out: &mut Formatter<'_>, value: &gob::Value) -> fmt::Result {
    match value {
        gob::Value::Nil => out.write_str("nil"),
        gob::Value::Bool(value) => write!(out, "{value}"),
        gob::Value::Int(value) | gob::Value::Int64(value) => write!(out, "{value}"),
        gob::Value::Uint(value) => write!(out, "{value}"),
        gob::Value::Float64(value) => write!(out, "{value}"),
        gob::Value::Bytes(value) | gob::Value::String(value) => visible(out, value),
    }
}

fn visible(out: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| match byte {
        0x21..=0x7e => write!(out, "{}", char::from(*byte)),
        _ => write!(out, "\\x{byte:02x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::key_value;

    #[test]
    fn each_kind_is_recognised_and_shown() {
        let mut map = Vec::new();
        key_value::encode(&[("name", "a file"), ("kind", "x")], &mut map).unwrap();
        let go = gob::Map::from([(b"name".to_vec(), "x".into()), (b"count".to_vec(), gob::Value::Int(-3))]);
        let go = gob::encode(&go);
        for (bytes, shown) in [
            (&b""[..], "-"),
            (b"raw", "raw"),
            (b"two words\n\xff", "two\\x20words\\x0a\\xff"),
            (b"a\\b", "a\\b"),
            (&map, "kind=x name=a\\x20file"),
            (&go, "count=-3 name=x"),
            (b"\x00", "-"),
            (b"\x00\x01", "\\x00\\x01"),
            // Only begins like Go's.
            (&go[..21], "\\x14\\xff\\x81\\x04\\x01\\x01\\x04Meta\\x01\\xff\\x82\\x00\\x01\\x0c\\x01\\x10\\x00\\x00"),
        ] {
            assert_eq!(Metadata::of(bytes).to_string(), shown);
        }
    }

    #[test]
    fn each_value_of_go_is_shown() {
        use gob::Value;
        let values = [
            (Value::Nil, "nil"),
            (Value::Bool(true), "true"),
            (Value::Int64(i64::MIN), "-9223372036854775808"),
            (Value::Uint(u64::MAX), "18446744073709551615"),
            (Value::Float64(1.5), "1.5"),
            (Value::Bytes(vec![0, b'b']), "\\x00b"),
        ];
        for (value, shown) in values {
            let map = gob::Map::from([(b"k".to_vec(), value)]);
            assert_eq!(Metadata::Gob(map).to_string(), format!("k={shown}"));
        }
    }
}
