//! Children that come to a socket by its name: einhorn's workers with their ACK.

use super::Driver;
use crate::reactor::Event;
use crate::supervise::Source;
use crate::supervise::einhorn::message::Said;
use crate::supervise::state::{Input, Word};
use log::{debug, warn};
use nix::unistd::Uid;
use std::time::{Duration, Instant};

/// How many are let in before others have their turn.
const BURST: usize = 16;
/// How soon the next ones are let in: whoever floods us gets no more of our time than this allows.
const PAUSE: Duration = Duration::from_millis(10);
/// How soon letting in is tried again when no descriptor was free.
const RETRY: Duration = Duration::from_millis(100);

impl Driver {
    pub(super) fn einhorns_workers(&mut self) {
        for _ in 0..BURST {
            let peer = match self.einhorn.accept() {
                Ok(Some(peer)) => peer,
                Ok(None) => return,
                Err(error) => {
                    debug!("cannot accept on einhorn's socket: {error}");
                    self.reactor.set_deadline(Source::Einhorn, Some(Instant::now() + RETRY));
                    return;
                }
            };
            let uid = Uid::from_raw(peer.uid);
            let known = uid.is_root() || uid == Uid::effective();
            let Some(number) = self.generation_of(peer.pid).filter(|_| known) else {
                let text =
                    format!("process {} is no child of ours: it was turned away from einhorn's socket", peer.pid);
                self.turned_away.log(&text);
                continue;
            };
            match self.einhorn.admit(&mut self.reactor, peer, number) {
                Ok(id) => self.read_einhorns_worker(id),
                Err(error) => warn!("cannot watch a child at einhorn's socket: {error}"),
            }
        }
        self.reactor.set_deadline(Source::Einhorn, Some(Instant::now() + PAUSE));
    }

    pub(super) fn einhorns_worker(&mut self, id: u64, event: Event<Source>) {
        if event.due {
            self.einhorn.forget(&mut self.reactor, id);
        } else {
            self.read_einhorns_worker(id);
        }
    }

    fn read_einhorns_worker(&mut self, id: u64) {
        match self.einhorn.read(&mut self.reactor, id) {
            None | Some((_, Said::Ping)) => {}
            Some((number, Said::Acknowledge)) => {
                debug!("generation {number} sends einhorn's ACK");
                self.input(Input::Spoke(number, Word::Acknowledge));
                self.input(Input::Ready(number, Word::Acknowledge));
            }
            Some((number, said)) => debug!("generation {number} says something else to einhorn: {said:?}"),
        }
    }
}

/// Says who was turned away, at most once a second: anybody can come again and again.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    quiet_until: Option<Instant>,
    unsaid: u64,
}

impl TurnedAway {
    /// Logs the text, or counts it.
    pub(super) fn log(&mut self, text: &str) {
        let now = Instant::now();
        if self.quiet_until.is_some_and(|until| now < until) {
            self.unsaid += 1;
            return;
        }
        self.quiet_until = Some(now + Duration::from_secs(1));
        match std::mem::take(&mut self.unsaid) {
            0 => warn!("{text}"),
            unsaid => warn!("{text} (and {unsaid} others before it)"),
        }
    }
}
