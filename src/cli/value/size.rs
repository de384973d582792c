//! A number of bytes: `1MiB`, `256KiB`, or a plain number.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes, at most 1024 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(u64);

/// Why a text is no number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a size: '{}'; expected a number of bytes up to 1024GiB, such as 65536, 256KiB or 1MiB", .0.escape_debug())]
pub struct SizeError(String);

impl Size {
    /// The number.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = match unit {
            "" => Some(1),
            unit => UNITS.into_iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor),
        };
        let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        bytes.filter(|bytes| *bytes <= 1 << 40).map(Size).ok_or_else(|| SizeError(text.to_owned()))
    }
}

/// In the largest unit that takes it whole.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.into_iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("1", 1), ("1000", 1000), ("3KiB", 3072), ("1MiB", 1 << 20), ("2GiB", 2 << 30)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        assert_eq!("1024KiB".parse::<Size>().unwrap().to_string(), "1MiB");
        for bad in ["", "KiB", "1.5MiB", "-1", "1MB", "1 MiB", "1mib", "2000GiB", "99999999999999999999", "1KiB1"] {
            assert!(bad.parse::<Size>().unwrap_err().to_string().contains("expected a number of bytes"), "{bad}");
        }
    }
}
