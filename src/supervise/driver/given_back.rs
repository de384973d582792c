//! Connections that children give back: taken in from their channels, also from those of children that are gone.

use super::Driver;
use super::connections::ACCEPT_RETRY;
use crate::supervise::Source;
use crate::supervise::channel::{Heard, let_go};
use crate::supervise::hold::Held;
use crate::supervise::state::{Number, Place};
use log::{debug, warn};
use std::os::fd::OwnedFd;
use std::time::Instant;

impl Driver {
    /// The next record of a child that is not gone.
    pub(super) fn next_word(&mut self, number: Number) -> Heard {
        let takes_in = self.takes_in_from(number);
        let heard = self.workers.get_mut(&number).map_or(Heard::Nothing, |worker| worker.channel.receive(takes_in));
        self.reserve.refill();
        heard
    }

    /// Whether one more can be taken in from this giver; a descriptor is free for it then.
    fn takes_in_from(&mut self, giver: Number) -> bool {
        let has_place = self.machine.place(giver) != Place::Kept || self.hold.has_room_to_keep();
        has_place && self.hold.has_room_for_state() && self.reserve.lend_one_of_all()
    }

    /// A giver has to wait, for a switch, for descriptors or for room for its state; nothing tells when there is some.
    pub(super) fn hear_later(&mut self, number: Number) {
        self.reactor.set_deadline(Source::Channel(number), Some(Instant::now() + ACCEPT_RETRY));
    }

    /// Puts a connection where its next child finds it.
    pub(super) fn take_in(&mut self, giver: Number, held: Held<OwnedFd>) {
        self.counters.given_back += 1;
        if self.relayed.is_some() {
            // It would lose the state that came with it: a relayed child gets nothing but bytes.
            warn!("generation {giver} gives a connection back, which the relay pass does not know: it is closed");
            return let_go(held.connection);
        }
        let place = self.machine.place(giver);
        debug!("generation {giver} gives a connection back: {place:?}");
        match place {
            Place::Queue => self.hold.give_back(held),
            Place::Kept => self.hold.keep(held),
            Place::Nowhere => {
                self.in_vain += 1;
                let_go(held.connection);
            }
        }
    }

    /// Takes in what generations that are gone gave back. Nothing else that they have said matters any more.
    pub(super) fn hear_leftovers(&mut self) {
        for index in 0..self.leftovers.len() {
            loop {
                let number = self.leftovers[index].0;
                let takes_in = self.takes_in_from(number);
                let heard = self.leftovers[index].1.receive(takes_in);
                self.reserve.refill();
                match heard {
                    Heard::Nothing => break,
                    Heard::Later => {
                        self.reactor.set_deadline(Source::Behind, Some(Instant::now() + ACCEPT_RETRY));
                        break;
                    }
                    Heard::GivenBack(held) => self.take_in(number, held),
                    Heard::Record(_) | Heard::Malformed(_) => {}
                }
            }
        }
        self.forget_leftovers();
    }

    pub(super) fn forget_leftovers(&mut self) {
        self.leftovers.retain(|(_, channel)| !channel.is_empty() || !channel.is_silent());
    }

    /// At the end: nobody will take what is still held.
    pub(super) fn close_held(&mut self) {
        self.hold.admit_kept();
        let held = self.hold.len();
        if held > 0 {
            warn!("{held} held connections are closed: no child could take them");
        }
        if self.in_vain > 0 {
            warn!("{} connections that children gave back are closed: no child would serve them", self.in_vain);
        }
        self.hold.release(held).for_each(|held| let_go(held.connection));
    }
}
