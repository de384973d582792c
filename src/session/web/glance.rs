//! Looking at a session's latest output, beside whoever reads it. Pure.

use super::plain::Echo;
use crate::session::frame::{Frame, event};

/// So much of the output is looked at.
pub const MOST: u64 = 128 * 1024;

/// Which part of the output is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// All before this was seen earlier, or is not to be had any more.
    pub first: u64,
    /// It begins here; what is between is skipped.
    pub base: u64,
    /// There is output by now up to here.
    pub until: u64,
}

impl Part {
    /// Of the output that there is, from `base` to `next`: the latest, or that from an offset on. `seen`: all before was seen.
    pub fn of((base, next): (u64, u64), seen: Option<u64>, from: Option<u64>) -> Part {
        let first = seen.unwrap_or(0).clamp(base, next);
        let latest = next.saturating_sub(MOST).max(base);
        let base = from.map_or(latest, |from| from.clamp(base, latest));
        Part { first, base, until: next.min(base + MOST) }
    }
}

/// What is seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Glance {
    /// Where it begins.
    pub base: u64,
    /// The output from there on.
    pub bytes: Vec<u8>,
    /// What was said last about echo.
    pub echo: Option<Echo>,
    /// Up to here it is waited for.
    until: u64,
}

impl Glance {
    /// Looks at output that there is, from `base` to `next`; and a little further if there is nothing beyond `after`.
    pub fn new(base: u64, next: u64, after: Option<u64>) -> Glance {
        let until = after.map_or(next, |after| next.max(after.saturating_add(1)).min(next + 1));
        Glance { base, bytes: Vec::new(), echo: None, until }
    }

    /// Takes in what the server says.
    pub fn hear(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Data { offset, bytes } => {
                let known = self.next().saturating_sub(*offset);
                let new = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
                self.bytes.extend_from_slice(new);
            }
            // What was seen before it is the past.
            Frame::Gap { to, .. } if *to > self.next() => {
                self.bytes.clear();
                (self.base, self.until) = (*to, self.until.max(*to));
            }
            Frame::Event { offset, kind: event::ECHO, body } => {
                self.echo = Some(Echo { offset: *offset, on: body.first() == Some(&1) });
            }
            // Nothing comes after an end.
            Frame::Fin { .. } | Frame::Reset { .. } | Frame::Closed(_) => self.until = self.next(),
            _ => {}
        }
    }

    /// Where what was seen ends.
    pub fn next(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Whether all is seen.
    pub fn is_whole(&self) -> bool {
        self.next() >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::{Glance, MOST, Part};
    use crate::session::frame::{Frame, event};
    use crate::session::web::plain::Echo;

    fn data(offset: u64, bytes: &'static [u8]) -> Frame<'static> {
        Frame::Data { offset, bytes }
    }

    #[test]
    fn what_there_is_is_seen_and_what_is_said_of_echo() {
        let mut glance = Glance::new(3, 9, None);
        glance.hear(&Frame::Event { offset: 1, kind: event::ECHO, body: &[1] });
        glance.hear(&data(3, b"abc"));
        assert!(!glance.is_whole());
        glance.hear(&data(5, b"cdef"));
        assert!(glance.is_whole());
        assert_eq!((glance.bytes.as_slice(), glance.echo), (&b"abcdef"[..], Some(Echo { offset: 1, on: true })));
    }

    #[test]
    fn a_part_is_the_latest_or_what_is_asked_for() {
        let part = |there, seen, from| {
            let Part { first, base, until } = Part::of(there, seen, from);
            (first, base, until)
        };
        assert_eq!(part((3, 9), None, None), (3, 3, 9));
        assert_eq!(part((3, 9), Some(7), None), (7, 3, 9), "what was seen stays to be seen");
        assert_eq!(part((3, 9), Some(1), Some(1)), (3, 3, 9), "what is gone is gone");
        assert_eq!(part((3, 9), Some(99), Some(99)), (9, 3, 9), "nobody has seen what there is not");
        let all = 3 * MOST + 10;
        assert_eq!(part((0, all), Some(5), None), (5, all - MOST, all));
        assert_eq!(part((0, all), Some(5), Some(5)), (5, 5, 5 + MOST));
        assert_eq!(part((0, all), Some(5), Some(all)), (5, all - MOST, all));
    }

    #[test]
    fn something_new_is_waited_for_where_there_was_nothing_new() {
        assert!(Glance::new(3, 3, None).is_whole());
        assert!(Glance::new(3, 3, Some(2)).is_whole());
        let mut glance = Glance::new(3, 3, Some(3));
        assert!(!glance.is_whole());
        glance.hear(&data(3, b"a"));
        assert!(glance.is_whole());
        let mut glance = Glance::new(3, 3, Some(u64::MAX));
        glance.hear(&Frame::Fin { offset: 3 });
        assert!(glance.is_whole(), "nothing comes any more");
    }

    #[test]
    fn a_gap_makes_the_past_of_what_was_seen() {
        let mut glance = Glance::new(3, 9, None);
        glance.hear(&data(3, b"abc"));
        glance.hear(&Frame::Gap { from: 6, to: 20 });
        assert!(glance.is_whole() && glance.bytes.is_empty() && glance.base == 20);
    }
}
