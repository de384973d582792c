//! Children that come to a socket by its name: einhorn's workers with their ACK, and programs that are linked with the
//! original library, for their connections.

use super::Driver;
use super::family::user;
use crate::reactor::Event;
use crate::supervise::Source;
use crate::supervise::channel::Channel;
use crate::supervise::channel::original::{Original, end_of};
use crate::supervise::einhorn::message::Said;
use crate::supervise::rendezvous::Peer;
use crate::supervise::settings::Pass;
use crate::supervise::state::{Input, Number, Phase, Word};
use log::{debug, info, warn};
use nix::unistd::Uid;
use std::io;
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
                Err(error) if is_shortage(&error) && self.reserve.lend_spare() => continue,
                Err(error) => {
                    debug!("cannot accept on einhorn's socket: {error}");
                    self.reactor.set_deadline(Source::Einhorn, Some(Instant::now() + RETRY));
                    return;
                }
            };
            let Some(number) = self.generation_that_speaks(peer.pid, peer.uid) else {
                if let Some(more) = self.turned_away.tell(Instant::now()) {
                    let pid = peer.pid;
                    warn!("process {pid} is no child of ours: it was turned away from einhorn's socket{more}");
                }
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

impl Driver {
    pub(super) fn rendezvous_event(&mut self, index: u16) {
        for _ in 0..BURST {
            let peer = match self.rendezvous.accept(index) {
                Ok(Some(peer)) => peer,
                Ok(None) => return,
                Err(error) if is_shortage(&error) && self.reserve.lend_spare() => continue,
                Err(error) => {
                    debug!("cannot accept on a name of the original library's: {error}");
                    self.reactor.set_deadline(Source::Rendezvous(index), Some(Instant::now() + RETRY));
                    return;
                }
            };
            match self.may_connect(&peer) {
                Ok(number) => self.connected(number, peer),
                Err(why) => {
                    if let Some(more) = self.turned_away.tell(Instant::now()) {
                        warn!("{why}{more}");
                    }
                }
            }
        }
        self.reactor.set_deadline(Source::Rendezvous(index), Some(Instant::now() + PAUSE));
    }

    /// The generation that gets its connections this way, or why none does.
    fn may_connect(&mut self, peer: &Peer) -> Result<Number, String> {
        let Peer { pid, uid, .. } = *peer;
        let stranger = || {
            format!(
                "process {pid} of user {uid} is no child of ours: it was turned away from the original library's name"
            )
        };
        // Not by its environment, which anybody can have.
        let number = self.by_descent(pid).ok_or_else(stranger)?;
        // What it said on its channel before it came here.
        self.hear(number);
        let worker = self.workers.get(&number).ok_or_else(stranger)?;
        if uid != Uid::effective().as_raw() && Some(uid) != user(worker.process.pid()) {
            return Err(stranger());
        }
        let refused = |why: &str| Err(format!("generation {number} (process {pid}) was turned away: {why}"));
        match self.phase(number) {
            Some(Phase::Starting { .. } | Phase::Serving { .. }) => {}
            Some(Phase::Parked { .. } | Phase::Draining { .. }) | None => {
                return refused("it connects to the original library's name when its time is over");
            }
        }
        if self.settings.pass != Pass::Connections {
            return refused("a program that uses the original library needs --pass connections");
        }
        if worker.channel.is_used() {
            return refused("it connects to the original library's name and has a channel already");
        }
        Ok(number)
    }

    /// From now on its connections go this way.
    fn connected(&mut self, number: Number, peer: Peer) {
        self.reserve.release();
        let end = end_of(peer.pid, &peer.name);
        if let Err(error) = &end {
            info!("generation {number}: what it leaves unread when it dies can only be counted: {error}");
        }
        let addresses = self.listeners.iter().map(|listener| listener.address.clone()).collect();
        let original = Original::new(addresses, end.is_ok());
        let channel = match Channel::original(&mut self.reactor, number, peer.stream, end.ok(), original) {
            Ok(channel) => channel,
            Err(error) => {
                warn!("cannot watch the channel of generation {number}: {error}");
                return;
            }
        };
        self.reserve.refill();
        info!("generation {number} gets its connections in the original library's way");
        if let Some(worker) = self.workers.get_mut(&number) {
            // It may have been given some already, over a channel that it does not know.
            worker.channel.close();
        }
        self.take_back(number);
        if let Some(worker) = self.workers.get_mut(&number) {
            let mut inherited = std::mem::replace(&mut worker.channel, channel);
            inherited.end();
            self.leftovers.push((number, inherited));
            self.hear_leftovers();
        }
        self.input(Input::Spoke(number, Word::Channel));
        self.input(Input::Ready(number, Word::Channel));
        self.pass_to_serving();
    }

    /// Says what a child that has gone took with it.
    pub(super) fn count_lost(&mut self, number: Number, lost: usize) {
        if lost > 0 {
            self.lost += lost;
            let all = self.lost;
            warn!("generation {number} took up to {lost} connections with it that it had not read ({all} so far)");
        }
    }
}

/// No descriptor was free. Held connections may have taken them all, and only this child can take those.
fn is_shortage(error: &io::Error) -> bool {
    [libc::EMFILE, libc::ENFILE].iter().any(|errno| error.raw_os_error() == Some(*errno))
}
