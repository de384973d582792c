//! The input of a client, by offset as clients count it, until it has arrived. Pure.

use crate::session::frame::data_head;
use std::collections::VecDeque;

/// Input from `base` to `next`. What is below `cursor` was sent on this connection, what is below `sent` on any.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: VecDeque<u8>,
    base: u64,
    cursor: u64,
    sent: u64,
    most: usize,
    ended: bool,
    /// The end has arrived, too.
    end_arrived: bool,
}

impl Queue {
    /// An empty one that begins at this offset and holds so many bytes at the most.
    pub(super) fn new(most: usize, base: u64) -> Queue {
        let bytes = VecDeque::new();
        Queue { bytes, base, cursor: base, sent: base, most, ended: false, end_arrived: false }
    }

    /// One of which it is not known what was sent.
    pub(super) fn restored(most: usize, base: u64, bytes: &[u8], ended: bool) -> Queue {
        let sent = base.saturating_add(bytes.len() as u64);
        Queue { bytes: bytes.iter().copied().collect(), sent, ended, ..Queue::new(most, base) }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn next(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The first byte that was not sent on any connection.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The first byte that was not sent on this connection.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn room(&self) -> usize {
        if self.ended { 0 } else { self.most.saturating_sub(self.bytes.len()) }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.iter().copied().collect()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn end_arrived(&mut self) {
        self.end_arrived = true;
    }

    pub(super) fn has_end_arrived(&self) -> bool {
        self.end_arrived
    }

    /// Whether the end is due: all before it was sent, and it is not known to have arrived.
    pub(super) fn end_is_due(&self) -> bool {
        self.ended && !self.end_arrived && self.cursor == self.next()
    }

    /// All before `next` has arrived; that is at most what was sent.
    pub(super) fn arrived(&mut self, next: u64) {
        let count = next.saturating_sub(self.base).min(self.bytes.len() as u64);
        self.bytes.drain(..count as usize);
        self.base += count;
        self.cursor = self.cursor.max(self.base);
    }

    /// On another connection: what has not arrived is sent again.
    pub(super) fn rewind(&mut self) {
        self.cursor = self.base;
    }

    /// Others have sent input up to `next`. Of what we have sent below `sent` nobody knows whether it is among that: it
    /// is given back. What cannot be among it goes on from there.
    pub(super) fn overtaken(&mut self, next: u64, sent: u64) -> Vec<u8> {
        let count = sent.min(next).saturating_sub(self.base).min(self.bytes.len() as u64);
        let uncertain = self.bytes.drain(..count as usize).collect();
        (self.base, self.cursor, self.sent) = (next, next, next);
        uncertain
    }

    /// Somebody has ended the input at `next`: what is left is given back.
    pub(super) fn cut(&mut self, next: u64) -> Vec<u8> {
        (self.base, self.cursor, self.sent) = (next, next, next);
        (self.ended, self.end_arrived) = (true, true);
        self.bytes.drain(..).collect()
    }

    /// Appends a DATA frame with what comes next, at most so many bytes and below this offset; says how many. The
    /// connection's offsets are so much larger.
    pub(super) fn send(&mut self, (most, below): (usize, u64), larger: u64, out: &mut Vec<u8>) -> usize {
        let most = most.min(usize::try_from(below.saturating_sub(self.cursor)).unwrap_or(usize::MAX));
        let start = (self.cursor - self.base) as usize;
        let length = most.min(self.bytes.len() - start);
        if length > 0 {
            out.extend_from_slice(&data_head(self.cursor + larger, length));
            out.extend(self.bytes.range(start..start + length));
            self.cursor += length as u64;
            self.sent = self.sent.max(self.cursor);
        }
        length
    }
}
