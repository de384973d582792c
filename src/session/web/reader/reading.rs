//! What has come by one connection, and what a poll is answered of it. Pure.

use super::{Answer, Barrier, COMES, Goal, Happened, MOST_EVENTS, Manner, Owed, Reading, WINDOW};
use crate::session::client_state::Breach;
use crate::session::frame::OLDEST;
use crate::session::web::handshake::Attached;
use std::collections::VecDeque;
use std::time::Instant;

impl Reading {
    pub(super) fn new(now: Instant, next: u64, Attached { accept, terms, .. }: &Attached) -> Reading {
        let oldest = next == OLDEST;
        let start = if oldest { accept.output_base } else { next };
        let more = accept.output_next > start || accept.output_ended;
        let goal = Goal { next: accept.output_next.min(start + WINDOW), end: accept.output_ended, until: now + COMES };
        Reading {
            terms: *terms,
            given: start,
            bytes: VecDeque::new(),
            events: VecDeque::new(),
            gap: (oldest && start > 0).then_some((0, start)),
            end: None,
            end_given: false,
            acknowledged: start,
            granted: start.saturating_add(terms.window.into()),
            goal: more.then_some(goal),
            barrier: None,
            barriers: 0,
            heard: now,
            pings: 0,
            moved: now,
            // More may be wanted than the server would send by itself.
            owed: Owed { ack: true, ..Owed::default() },
        }
    }

    /// The first byte that has not come.
    pub(super) fn come(&self) -> u64 {
        self.given + self.bytes.len() as u64
    }

    /// The next request goes on where the last one has ended.
    pub(super) fn go_on(&mut self, now: Instant, manner: Manner) {
        (self.acknowledged, self.owed.ack, self.end_given, self.moved) = (self.given, true, false, now);
        // Who asked that has gone.
        self.barrier = None;
        if let Manner::Poll { until, .. } = manner
            && until <= now
            && self.bytes.is_empty()
            && self.end.is_none()
        {
            self.barriers = self.barriers.wrapping_add(1);
            self.barrier = Some(Barrier { number: self.barriers, until: now + COMES });
            self.owed.barrier = true;
        }
    }

    /// What comes behind an answer came later than its question.
    pub(super) fn answered(&mut self, now: Instant, bytes: [u8; 8]) {
        if let Some(barrier) = &mut self.barrier
            && bytes == Barrier::question(barrier.number)
        {
            barrier.until = now;
        }
    }

    pub(super) fn output(&mut self, now: Instant, offset: u64, bytes: &[u8]) -> Result<(), Breach> {
        let known = self.come().checked_sub(offset).ok_or(Breach::Offset)?;
        let new = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        if self.come() + new.len() as u64 > self.granted {
            return Err(Breach::Window);
        }
        self.bytes.extend(new);
        self.moved = now;
        Ok(())
    }

    pub(super) fn happened(&mut self, offset: u64, kind: u8, body: &[u8]) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Happened { offset, kind, body: body.to_vec() });
    }

    /// What a poll is answered, if it is time for that.
    pub(super) fn answer(&mut self, now: Instant, until: Instant, events: bool) -> Option<Answer> {
        let gathering = self.goal.is_some_and(|goal| {
            let whole =
                self.come() >= goal.next && (!goal.end || self.end.is_some() || goal.next - self.given == WINDOW);
            !whole && now < goal.until
        });
        if gathering {
            return None;
        }
        self.goal = None;
        let waits_for_barrier = self.barrier.is_some_and(|barrier| now < barrier.until);
        let has_event = events && !self.events.is_empty();
        if !self.bytes.is_empty() || self.end.is_some() || has_event {
            self.barrier = None;
            return Some(self.give());
        }
        if now < until || waits_for_barrier {
            return None;
        }
        self.barrier = None;
        Some(Answer::Nothing { next: self.given })
    }

    pub(super) fn give(&mut self) -> Answer {
        let offset = self.given;
        let bytes = Vec::from(std::mem::take(&mut self.bytes));
        self.given += bytes.len() as u64;
        Answer::Output { offset, bytes, end: self.end, events: self.events.drain(..).collect() }
    }
}
