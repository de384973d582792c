//! A body in chunks (RFC 9112, 7.1): sizes, extensions, trailers.

use super::head::field;

/// The longest line of a size with its extensions, and of a trailer.
const LONGEST_LINE: usize = 4096;
/// The longest trailers together.
const LONGEST_TRAILERS: usize = 16 * 1024;

/// Where in a body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the size, of which there are so many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the extensions, of so many bytes; `end`: behind their carriage return.
    Extensions {
        size: u64,
        count: usize,
        end: bool,
    },
    /// In a chunk of which so many bytes are left.
    Bytes(u64),
    /// Behind a chunk, or behind the carriage return there.
    Behind {
        end: bool,
    },
    /// At the beginning of a trailer; so many bytes of trailers there were.
    Trailer(usize),
    End,
}

/// Reads one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    place: Place,
}

impl Default for Chunked {
    fn default() -> Self {
        Chunked { place: SIZE }
    }
}

const SIZE: Place = Place::Size { size: 0, digits: 0 };

impl Chunked {
    pub(super) fn has_ended(&self) -> bool {
        self.place == Place::End
    }

    /// How many of the bytes belong to the body and are fine. None, if a trailer has no end yet.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::End {
            match self.place {
                Place::Bytes(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += count;
                    let left = left - count as u64;
                    self.place = if left == 0 { Place::Behind { end: false } } else { Place::Bytes(left) };
                }
                Place::Trailer(before) => match self.trailer(&bytes[at..], before)? {
                    0 => break,
                    count => at += count,
                },
                place => {
                    self.place = byte(place, bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// Reads one trailer, or the empty line behind them all; 0 if its end is not there.
    fn trailer(&mut self, bytes: &[u8], before: usize) -> Result<usize, &'static str> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return if bytes.len() > LONGEST_LINE { Err("a trailer is too long") } else { Ok(0) };
        };
        let line = bytes[..end].strip_suffix(b"\r").ok_or("a trailer ends with a line feed alone")?;
        if line.is_empty() {
            self.place = Place::End;
            return Ok(end + 1);
        }
        field(line)?;
        let after = before + end + 1;
        if end > LONGEST_LINE || after > LONGEST_TRAILERS {
            return Err("the trailers are too long");
        }
        self.place = Place::Trailer(after);
        Ok(end + 1)
    }
}

fn byte(place: Place, byte: u8) -> Result<Place, &'static str> {
    match (place, byte) {
        (Place::Size { digits: 0, .. }, b'\r' | b';' | b' ' | b'\t') => Err("a chunk has no size"),
        (Place::Size { size, .. }, b'\r') => Ok(Place::Extensions { size, count: 0, end: true }),
        (Place::Size { size, .. }, b';' | b' ' | b'\t') => Ok(Place::Extensions { size, count: 1, end: false }),
        (Place::Size { size, digits }, digit) => {
            let value = char::from(digit).to_digit(16).ok_or("the size of a chunk is no number")?;
            if digits == 15 {
                return Err("the size of a chunk is too large a number");
            }
            Ok(Place::Size { size: size * 16 + u64::from(value), digits: digits + 1 })
        }
        (Place::Extensions { size, end: true, .. }, b'\n') => {
            Ok(if size == 0 { Place::Trailer(0) } else { Place::Bytes(size) })
        }
        (Place::Extensions { end: true, .. }, _) => Err("the line of a chunk's size does not end well"),
        (Place::Extensions { size, count, .. }, b'\r') => Ok(Place::Extensions { size, count, end: true }),
        (Place::Extensions { count, .. }, _) if count >= LONGEST_LINE => Err("the extensions of a chunk are too long"),
        (Place::Extensions { .. }, other) if (other < b' ' && other != b'\t') || other == 0x7f => {
            Err("the extensions of a chunk have a control character")
        }
        (Place::Extensions { size, count, .. }, _) => Ok(Place::Extensions { size, count: count + 1, end: false }),
        (Place::Behind { end: false }, b'\r') => Ok(Place::Behind { end: true }),
        (Place::Behind { end: true }, b'\n') => Ok(SIZE),
        (Place::Behind { .. }, _) => Err("a chunk is longer than its size"),
        (Place::Bytes(_) | Place::Trailer(_) | Place::End, _) => Ok(place),
    }
}
