//! Listeners that do not listen at the moment, because another process that has them shut them down. The supervisor makes
//! them listen again, and nothing tells when; until then poll answers for them at once. So they are left out for a
//! moment, wherever is waited: of the blocking poll, which then has an end, and of the pollable, which has a timer.

use super::{Protector, State};
use crate::sys::{self, Pollable, UNWATCHED, Watched};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long they are left out.
const MOMENT: Duration = Duration::from_millis(10);

/// Who rests, and until when. One end for all, since one listener that is shut down seldom comes with another.
#[derive(Debug, Default)]
pub(super) struct Rest {
    listeners: Vec<usize>,
    until: Option<Instant>,
}

impl Rest {
    /// For how many milliseconds poll may wait; -1 is for ever.
    pub(super) fn timeout(&self) -> i32 {
        let Some(until) = self.until else {
            return -1;
        };
        // Rounded up, lest it comes back just before the end.
        until.saturating_duration_since(Instant::now()).as_millis() as i32 + 1
    }
}

impl Protector {
    /// Leaves out those that the last filling has found to be shut down.
    pub(super) fn begin_rest(&self, state: &mut State, watched: &mut [Watched]) {
        let found = state.intake.take_shut_down();
        if found.is_empty() {
            return;
        }
        for &index in &found {
            watched[self.place(index)] = UNWATCHED;
        }
        state.rest.listeners.extend(found);
        state.rest.until = Some(Instant::now() + MOMENT);
        self.tell_rest(state);
    }

    /// Takes them in again when the moment is over.
    pub(super) fn end_rest(&self, state: &mut State, watched: &mut [Watched]) {
        if state.rest.until.is_none_or(|until| Instant::now() < until) {
            return;
        }
        let rest = std::mem::take(&mut state.rest);
        let pollable = self.own_pollable(state);
        for index in rest.listeners {
            let listener = &self.listeners[index];
            if pollable.is_none_or(|pollable| pollable.take_in(listener).is_ok()) {
                watched[self.place(index)] = sys::watch(listener.as_fd());
            } else {
                // Short of memory. Its rest is longer, then.
                state.rest.listeners.push(index);
            }
        }
        if state.rest.listeners.is_empty() {
            pollable.inspect(|pollable| pollable.stop_timer());
        } else {
            state.rest.until = Some(Instant::now() + MOMENT);
            self.tell_rest(state);
        }
    }

    /// Leaves those that rest out of the pollable, which becomes readable at the end of the rest.
    pub(super) fn tell_rest(&self, state: &mut State) {
        if !state.rest.listeners.is_empty()
            && let Some(pollable) = self.own_pollable(state)
        {
            state.rest.listeners.iter().for_each(|&index| pollable.leave_out(&self.listeners[index]));
            pollable.start_timer(MOMENT);
        }
    }

    /// The pollable, if there is one and it is not that of the process before a fork.
    fn own_pollable(&self, state: &mut State) -> Option<&Pollable> {
        let pollable = self.pollable.get()?;
        self.unshare_pollable(state).is_ok().then_some(pollable)
    }

    /// Where a listener's entry is among those that are polled: behind the channel's.
    fn place(&self, listener: usize) -> usize {
        usize::from(self.channel.is_some()) + listener
    }
}
