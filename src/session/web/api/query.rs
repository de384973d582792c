//! The part of a target behind `?`. Pure.

use super::Refusal;
use crate::session::frame::OLDEST;

/// The value of a parameter; refused if it is there twice.
pub(super) fn value<'a>(query: Option<&'a str>, name: &str) -> Result<Option<&'a str>, Refusal> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut values = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).filter(|(key, _)| *key == name);
    match (values.next(), values.next()) {
        (found, None) => Ok(found.map(|(_, value)| value)),
        (_, Some(_)) => Err(Refusal::bad(format!("'{name}' is there twice"))),
    }
}

/// An offset in the output: a number, or `oldest`.
pub(super) fn offset(text: &str) -> Result<u64, Refusal> {
    if text == "oldest" { Ok(OLDEST) } else { number(text).filter(|number| *number != OLDEST).ok_or_else(no_offset) }
}

/// A number without sign.
pub(super) fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn no_offset() -> Refusal {
    Refusal::bad("an offset is the number of a byte, or 'oldest'")
}

#[cfg(test)]
mod tests {
    use super::{OLDEST, offset, value};

    #[test]
    fn values_are_found_by_their_names() {
        let query = Some("from=7&wait=&other&from2=9");
        assert_eq!(value(query, "from").unwrap(), Some("7"));
        assert_eq!(value(query, "wait").unwrap(), Some(""));
        assert_eq!(value(query, "other").unwrap(), Some(""));
        assert_eq!(value(query, "missing").unwrap(), None);
        assert_eq!(value(None, "from").unwrap(), None);
        assert!(value(Some("from=1&from=1"), "from").is_err());
    }

    #[test]
    fn offsets_are_numbers_or_the_oldest() {
        assert_eq!(offset("0").unwrap(), 0);
        assert_eq!(offset("18446744073709551614").unwrap(), OLDEST - 1);
        assert_eq!(offset("oldest").unwrap(), OLDEST);
        for bad in ["", "-1", "+1", "1.0", "0x1", " 1", "newest", "18446744073709551615", "18446744073709551616"] {
            assert!(offset(bad).is_err(), "{bad}");
        }
    }
}
