//! A stream of a session: what has not been acknowledged, and some of what has, by offset.
//!
//! Pure. The caller stops reading the destination when there is too much; nothing that was pushed is ever dropped
//! before it is acknowledged.

use crate::session::written::{Form, FormError, Reader, Writer};
use std::collections::VecDeque;

#[cfg(test)]
mod tests;

/// How many bytes it grows by at the least. Most sessions have a few lines.
const GROWTH: usize = 1024;

/// Output by offset: from `base` to `acknowledged` it is kept for whoever wants to see it again, from there to `next`
/// for whoever has not seen it.
#[derive(Debug)]
pub struct Replay {
    bytes: VecDeque<u8>,
    base: u64,
    acknowledged: u64,
    scrollback: usize,
}

impl Replay {
    /// Keeps so many bytes that are acknowledged.
    pub fn new(scrollback: usize) -> Self {
        Replay { bytes: VecDeque::new(), base: 0, acknowledged: 0, scrollback }
    }

    /// One that has come to this offset, all before being gone.
    pub fn ended_at(next: u64) -> Self {
        Replay { base: next, acknowledged: next, ..Replay::new(0) }
    }

    /// The offset of the first byte that there still is.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The offset of the first byte that is not acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The offset of the first byte that there is not yet.
    pub fn next(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// How many bytes are not acknowledged.
    pub fn waiting(&self) -> usize {
        (self.next() - self.acknowledged) as usize
    }

    /// How much memory it has, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes in what comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // In steps of an eighth: copying stays cheap, and little is had in vain.
            let more = needed / 8;
            self.bytes.reserve_exact(bytes.len() + more.max(GROWTH));
        }
        self.bytes.extend(bytes);
    }

    /// All before `next` has arrived; what was acknowledged before stays so. False if there is no such byte yet.
    pub fn acknowledge(&mut self, next: u64) -> bool {
        if next > self.next() {
            return false;
        }
        self.acknowledged = self.acknowledged.max(next);
        self.trim();
        true
    }

    /// Keeps so many acknowledged bytes from now on.
    pub fn keep(&mut self, scrollback: usize) {
        self.scrollback = scrollback;
        self.trim();
    }

    /// At most so many bytes from this offset on, in two parts; none if they are not to be had.
    pub fn parts(&self, from: u64, most: usize) -> (&[u8], &[u8]) {
        if from < self.base || from > self.next() {
            return (&[], &[]);
        }
        let start = (from - self.base) as usize;
        let end = self.bytes.len().min(start.saturating_add(most));
        let (front, back) = self.bytes.as_slices();
        let part = |part: std::ops::Range<usize>, of: usize| part.start.min(of)..part.end.min(of);
        let behind = start.saturating_sub(front.len())..end.saturating_sub(front.len());
        (&front[part(start..end, front.len())], &back[part(behind, back.len())])
    }

    /// Whether these bytes are what there is from this offset on; false as well if some of them are not to be had.
    pub fn has(&self, from: u64, bytes: &[u8]) -> bool {
        let (front, back) = self.parts(from, bytes.len());
        front.len() + back.len() == bytes.len() && bytes.starts_with(front) && bytes.ends_with(back)
    }

    fn trim(&mut self) {
        let seen = (self.acknowledged - self.base) as usize;
        let surplus = seen.saturating_sub(self.scrollback);
        self.bytes.drain(..surplus);
        self.base += surplus as u64;
        if self.bytes.len() + GROWTH < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }
}

impl Form for Replay {
    fn write(&self, to: &mut Writer) {
        let Replay { bytes, base, acknowledged, scrollback } = self;
        to.put_counted(bytes.as_slices());
        base.write(to);
        acknowledged.write(to);
        scrollback.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let bytes = VecDeque::from(Vec::read(from)?);
        let (base, acknowledged) = Form::read(from)?;
        let replay = Replay { bytes, base, acknowledged, scrollback: Form::read(from)? };
        if (base..=replay.next()).contains(&acknowledged) { Ok(replay) } else { Err(FormError::Unfit("a stream")) }
    }
}
