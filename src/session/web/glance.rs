//! Looking at a session's latest output, beside whoever reads it. Pure.

use super::plain::Echo;
use crate::session::frame::{Frame, OLDEST, event};

/// So much of the output is looked at.
pub const MOST: u64 = 128 * 1024;
/// So much is looked at besides that has come meanwhile.
const NEW: u64 = 16 * 1024;

/// Which part of the output is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// All before this was seen earlier, or is not to be had any more.
    pub first: u64,
    /// It begins here; what is between is skipped.
    pub base: u64,
    /// There is output by now up to here.
    pub until: u64,
    /// Nothing behind this is looked at.
    most: u64,
    /// Somebody has said what was seen.
    told: bool,
    /// It begins with the oldest byte that there is, wherever that may be by now.
    oldest: bool,
}

impl Part {
    /// Of the output that there is, from `base` to `next`: the latest, or that from an offset on. `seen`: all before was seen.
    pub fn of((base, next): (u64, u64), seen: Option<u64>, from: Option<u64>) -> Part {
        let first = seen.unwrap_or(0).clamp(base, next);
        let from = from.filter(|from| *from < next);
        let begin = from.unwrap_or(next.saturating_sub(MOST)).clamp(base, next);
        let until = next.min(begin + MOST);
        let most = if from.is_some() { until } else { until + NEW };
        Part { first, base: begin, until, most, told: seen.is_some(), oldest: begin == base }
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
    /// All before this was seen, or has arrived, or is not to be had any more.
    pub first: u64,
    /// There is output up to here, as far as is known.
    pub there: u64,
    part: Part,
    /// Up to here it is waited for.
    until: u64,
}

impl Glance {
    /// Looks at a part of the output, of which there is as much as up to `next`; and a little further if that is not beyond `after`.
    pub fn new(part: Part, next: u64, after: Option<u64>) -> Glance {
        let waits = |after: u64| part.until.max(after.saturating_add(1)).min(part.until + 1);
        let until = after.filter(|_| part.until == next).map_or(part.until, waits);
        let Part { first, base, .. } = part;
        let part = Part { most: part.most.max(if until > next { next + NEW } else { until }), ..part };
        Glance { base, bytes: Vec::new(), echo: None, first, there: next, part, until }
    }

    /// Where the server is asked to begin. What is oldest may be gone by then.
    pub fn asks(&self) -> u64 {
        if self.part.oldest { OLDEST } else { self.base }
    }

    /// Takes in what the server says.
    pub fn hear(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Data { offset, bytes } => {
                let known = self.next().saturating_sub(*offset);
                let new = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
                self.there = self.there.max(self.next() + new.len() as u64);
                let room = usize::try_from(self.part.most.saturating_sub(self.next())).unwrap_or(usize::MAX);
                self.bytes.extend_from_slice(&new[..new.len().min(room)]);
            }
            // What was seen before it is the past.
            Frame::Gap { to, .. } if *to > self.next() => {
                self.bytes.clear();
                (self.base, self.until, self.first) = (*to, self.until.max(*to), self.first.max(*to));
                (self.part.most, self.there) = (self.part.most.max(self.until), self.there.max(*to));
            }
            // Nobody has said what was seen here: then it is what others have had.
            Frame::Event { kind: event::ARRIVED, body, .. } if !self.part.told => {
                let arrived = <[u8; 8]>::try_from(*body).map_or(0, u64::from_be_bytes);
                self.first = self.first.max(arrived.min(self.there));
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
    use super::{Glance, MOST, NEW, Part};
    use crate::session::frame::{Frame, OLDEST, event};
    use crate::session::web::plain::Echo;

    fn data(offset: u64, bytes: &'static [u8]) -> Frame<'static> {
        Frame::Data { offset, bytes }
    }

    /// A look at all of the output from `base` to `next`.
    fn look_at(base: u64, next: u64, after: Option<u64>) -> Glance {
        Glance::new(Part::of((base, next), None, None), next, after)
    }

    #[test]
    fn what_there_is_is_seen_and_what_is_said_of_echo() {
        let mut glance = look_at(3, 9, None);
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
            let Part { first, base, until, .. } = Part::of(there, seen, from);
            (first, base, until)
        };
        assert_eq!(part((3, 9), None, None), (3, 3, 9));
        assert_eq!(part((3, 9), Some(7), None), (7, 3, 9), "what was seen stays to be seen");
        assert_eq!(part((3, 9), Some(1), Some(1)), (3, 3, 9), "what is gone is gone");
        assert_eq!(part((3, 9), Some(99), Some(99)), (9, 3, 9), "nobody has seen what there is not");
        let all = 3 * MOST + 10;
        assert_eq!(part((0, all), Some(5), None), (5, all - MOST, all));
        assert_eq!(part((0, all), Some(5), Some(5)), (5, 5, 5 + MOST));
        assert_eq!(
            part((0, all), Some(5), Some(all - 7)),
            (5, all - 7, all),
            "what is looked for is shown where it is"
        );
    }

    #[test]
    fn something_new_is_waited_for_where_there_was_nothing_new() {
        assert!(look_at(3, 3, None).is_whole());
        assert!(look_at(3, 3, Some(2)).is_whole());
        let mut glance = look_at(3, 3, Some(3));
        assert!(!glance.is_whole());
        glance.hear(&data(3, b"a"));
        assert!(glance.is_whole());
        let mut glance = look_at(3, 3, Some(u64::MAX));
        glance.hear(&Frame::Fin { offset: 3 });
        assert!(glance.is_whole(), "nothing comes any more");
    }

    #[test]
    fn a_gap_makes_the_past_of_what_was_seen() {
        let mut glance = look_at(3, 9, None);
        glance.hear(&data(3, b"abc"));
        glance.hear(&Frame::Gap { from: 6, to: 20 });
        assert!(glance.is_whole() && glance.bytes.is_empty() && glance.base == 20);
        assert_eq!((glance.first, glance.there), (20, 20), "nobody can be shown it any more");
    }

    #[test]
    fn what_was_acknowledged_before_is_not_missing_to_who_sees_nothing_of_it() {
        let all = 2 * MOST;
        let arrived = (all - MOST).to_be_bytes();
        let told = Frame::Event { offset: all - MOST, kind: event::ARRIVED, body: &arrived };
        let look = |seen| {
            let mut glance = Glance::new(Part::of((9, all), seen, None), all, None);
            glance.hear(&told);
            (glance.first, glance.base)
        };
        assert_eq!(look(None), (all - MOST, all - MOST), "nothing that waits is skipped");
        assert_eq!(look(Some(40)).0, 40, "who has looked before knows better");
        let mut glance = look_at(0, 9, None);
        glance.hear(&Frame::Event { offset: 0, kind: event::ARRIVED, body: &u64::MAX.to_be_bytes() });
        assert_eq!(glance.first, 9);
    }

    #[test]
    fn the_oldest_is_asked_for_by_name_since_it_may_be_gone_by_then() {
        let asks = |from| Glance::new(Part::of((5, 3 * MOST), None, from), 3 * MOST, None).asks();
        assert_eq!((asks(Some(1)), asks(Some(5)), asks(Some(6)), asks(None)), (OLDEST, OLDEST, 6, 2 * MOST));
        let mut glance = Glance::new(Part::of((5, 3 * MOST), Some(5), Some(5)), 3 * MOST, None);
        glance.hear(&Frame::Gap { from: 0, to: 8 });
        assert_eq!((glance.first, glance.base), (8, 8), "and counts as if it had never been");
        // Where nothing is gone, that is no gap.
        let mut glance = Glance::new(Part::of((5, 9), Some(7), Some(5)), 9, None);
        glance.hear(&Frame::Gap { from: 0, to: 5 });
        assert_eq!((glance.first, glance.base), (7, 5));
    }

    #[test]
    fn no_more_is_taken_than_a_page_has_and_the_rest_is_known() {
        let long = vec![b'x'; 2 * MOST as usize];
        let all = 3 * MOST;
        let mut glance = Glance::new(Part::of((0, all), Some(5), Some(5)), all, None);
        glance.hear(&Frame::Data { offset: 5, bytes: &long });
        assert_eq!((glance.next(), glance.there), (5 + MOST, all));
        // What is new is taken along, as far as there is room.
        let mut glance = Glance::new(Part::of((0, 3), None, None), 3, Some(3));
        glance.hear(&data(0, b"abcdef"));
        assert_eq!((glance.next(), glance.there), (6, 6));
        glance.hear(&Frame::Data { offset: 6, bytes: &long });
        assert_eq!((glance.next(), glance.there), (3 + NEW, 6 + 2 * MOST));
    }
}
