//! Bytes of which each stretch is unlike its neighbours, without end: what is lost, repeated or in the wrong place is seen.

use std::io::{Read, Write};
use std::sync::LazyLock;

/// They repeat after a prime number of bytes, so no portion that anybody reads or writes at a time hides a shift.
const PERIOD: usize = 65_521;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..PERIOD).map(|_| next()).collect()
});

/// The bytes from there on, as many as are at hand; one at least.
fn from(at: u64) -> &'static [u8] {
    &BLOCK[usize::try_from(at % PERIOD as u64).unwrap()..]
}

/// Writes so many.
pub(crate) fn write(stream: &mut impl Write, count: u64) -> std::io::Result<()> {
    let mut at = 0;
    while at < count {
        let part = from(at);
        let part = &part[..part.len().min(usize::try_from(count - at).unwrap_or(usize::MAX))];
        stream.write_all(part)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Reads so many, and how many there were before the end or the first wrong one.
pub(crate) fn read(stream: &mut impl Read, count: u64) -> std::io::Result<u64> {
    let (mut buffer, mut at) = (vec![0; PERIOD], 0);
    while at < count {
        let most = buffer.len().min(usize::try_from(count - at).unwrap_or(usize::MAX));
        let got = stream.read(&mut buffer[..most])?;
        if got == 0 {
            break;
        }
        let mut rest = &buffer[..got];
        while !rest.is_empty() {
            let right = from(at);
            let length = right.len().min(rest.len());
            if rest[..length] != right[..length] {
                return Ok(at);
            }
            at += length as u64;
            rest = &rest[length..];
        }
    }
    Ok(at)
}
