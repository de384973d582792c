//! Giving output to one who follows, piece by piece, as it takes them. Pure.
//!
//! Nobody acknowledges in an event stream. So it ends when so much was given that is not acknowledged, and whoever follows
//! comes again and says what has arrived. It ends as well when more than little was given and nothing comes: the server may be
//! waiting for the acknowledgement.

use super::{Happened, Link, Manner, Reader, Reason, Request, WINDOW};
use crate::session::client_state::End;
use std::time::{Duration, Instant};

/// So much is given without an acknowledgement.
pub const MOST_GIVEN: u64 = 512 * 1024;
/// More than so much is not left without one …
const LITTLE: u64 = 32 * 1024;
/// … when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(1);
/// The longest piece.
const PIECE: usize = 16 * 1024;

/// A piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The first piece: where it begins.
    Begin {
        /// The first byte.
        offset: u64,
    },
    /// Output that comes next.
    Output {
        /// Where the first byte is.
        offset: u64,
        /// At least one.
        bytes: Vec<u8>,
    },
    /// Something that happened there.
    Happened(Happened),
    /// Output that is not to be had.
    Gap {
        /// The first byte.
        from: u64,
        /// The first after it.
        to: u64,
    },
    /// The output ends here.
    End(End),
    /// The last piece: why there is no more.
    Over(Reason),
}

impl Reader {
    /// The next piece for who follows, if there is one.
    pub fn take(&mut self, now: Instant) -> Option<Item> {
        let (Some(Request { manner: Manner::Follow, begun, .. }), Link::Attached(reading)) =
            (&mut self.request, &mut self.link)
        else {
            return None;
        };
        if !std::mem::replace(begun, true) {
            return Some(Item::Begin { offset: reading.given });
        }
        if let Some((from, to)) = reading.gap.take() {
            return Some(Item::Gap { from, to });
        }
        if reading.events.front().is_some_and(|event| event.offset <= reading.given) {
            return reading.events.pop_front().map(Item::Happened);
        }
        if reading.given - reading.acknowledged >= MOST_GIVEN || self.is_stuck(now) {
            (self.request, self.idle) = (None, now);
            return Some(Item::Over(Reason::Again));
        }
        let Link::Attached(reading) = &mut self.link else {
            return None;
        };
        if !reading.bytes.is_empty() {
            let until_event = reading.events.front().map_or(u64::MAX, |event| event.offset - reading.given);
            let length = reading.bytes.len().min(PIECE).min(usize::try_from(until_event).unwrap_or(usize::MAX));
            let (offset, bytes) = (reading.given, reading.bytes.drain(..length).collect());
            reading.given += length as u64;
            reading.owed.ack |= reading.given + WINDOW >= reading.granted + WINDOW / 2;
            return Some(Item::Output { offset, bytes });
        }
        let end = reading.end.filter(|_| !reading.end_given)?;
        reading.end_given = true;
        Some(Item::End(end))
    }

    /// Whether there is a piece.
    pub fn has_piece(&self, now: Instant) -> bool {
        let (Some(Request { manner: Manner::Follow, begun, .. }), Link::Attached(reading)) =
            (&self.request, &self.link)
        else {
            return false;
        };
        let event = reading.events.front().is_some_and(|event| event.offset <= reading.given);
        let output = !reading.bytes.is_empty() || reading.given - reading.acknowledged >= MOST_GIVEN;
        let end = reading.end.is_some() && !reading.end_given;
        !begun || reading.gap.is_some() || event || output || end || self.is_stuck(now)
    }

    fn is_stuck(&self, now: Instant) -> bool {
        self.stuck_from().is_some_and(|from| from <= now)
    }

    /// From when on it is, if nothing comes.
    pub(super) fn stuck_from(&self) -> Option<Instant> {
        let (Some(Request { manner: Manner::Follow, .. }), Link::Attached(reading)) = (&self.request, &self.link)
        else {
            return None;
        };
        let open = reading.bytes.is_empty() && reading.end.is_none();
        let much = reading.given - reading.acknowledged >= LITTLE;
        (open && much).then(|| reading.moved + QUIET)
    }
}
