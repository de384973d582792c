//! Listeners that children accept from: one of them may shut a listener down for all, and then it shall listen again.

use super::Driver;
use super::connections::{Listener, Socket};
use crate::net::listener::{self, Address, Traffic};
use crate::reactor::{Descriptor, HangUps, READABLE, Reactor, Registered};
use crate::supervise::Source;
use crate::supervise::seldom::Seldom;
use crate::supervise::state::Number;
use log::{error, warn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A child that goes on shutting a listener down must not keep us busy.
const PAUSE: Duration = Duration::from_millis(10);
/// How soon it is tried again when it failed.
const RETRY: Duration = Duration::from_secs(1);
/// How soon a reload that has to bring a new listener to a child is asked for again, at first.
const RELOAD_RETRY: Duration = Duration::from_secs(1);
/// And at last.
const RELOAD_RETRY_MOST: Duration = Duration::from_secs(30);
/// A listener is newer than what serves.
pub(super) struct Outdated {
    /// The newest generation that lacks it.
    newest: Number,
    pause: Duration,
}

/// The socket of a listener that children accept from.
pub(super) struct Lent {
    pub(super) socket: OwnedFd,
    traffic: Traffic,
    /// When it was last made to listen again.
    again: Option<Instant>,
    told: Seldom,
}

impl Lent {
    pub(super) fn new(socket: OwnedFd, traffic: Traffic) -> Lent {
        Lent { socket, traffic, again: None, told: Seldom::default() }
    }

    /// Whether clients connect to it.
    pub(super) fn takes_connections(&self) -> bool {
        self.traffic == Traffic::Connections
    }
}

/// Watches those that can be shut down; none in other ways of passing.
pub(super) fn watch(
    reactor: &mut Reactor<Source>,
    listeners: &[Listener],
) -> io::Result<Registered<Descriptor<HangUps>>> {
    let hang_ups = HangUps::new()?;
    for (index, listener) in (0..).zip(listeners) {
        if let Some(Socket::Lent(lent)) = &listener.socket
            && lent.traffic == Traffic::Connections
        {
            hang_ups.watch(lent.socket.as_fd(), index)?;
        }
    }
    reactor.register(Descriptor(hang_ups), Source::HangUps, READABLE)
}

impl Driver {
    pub(super) fn look_for_hang_ups(&mut self) {
        loop {
            let hung_up = self.hang_ups.0.look();
            if hung_up.is_empty() {
                return;
            }
            for index in hung_up {
                self.hung_up(index);
            }
        }
    }

    fn hung_up(&mut self, index: u16) {
        let Some(lent) = self.listeners.get(usize::from(index)).and_then(lent) else {
            return;
        };
        // Watched again once it listens.
        self.hang_ups.0.forget(lent.socket.as_fd());
        match lent.again.map(|again| again + PAUSE).filter(|soonest| Instant::now() < *soonest) {
            Some(soonest) => self.reactor.set_deadline(Source::ListenAgain(index), Some(soonest)),
            None => self.listen_again(index),
        }
    }

    /// Makes a listener listen again that was shut down.
    pub(super) fn listen_again(&mut self, index: u16) {
        let Some(listener) = self.listeners.get_mut(usize::from(index)) else {
            return;
        };
        let renewed = renew(listener);
        let endpoint = &listener.endpoint;
        let Some(Socket::Lent(lent)) = &mut listener.socket else {
            return;
        };
        let now = Instant::now();
        let more = lent.told.tell(now);
        let renewed = match renewed {
            Ok(renewed) => renewed,
            Err(reason) => {
                if let Some(more) = more {
                    error!("{endpoint} was shut down by a child and cannot listen again: {reason}{more}");
                }
                let retry = listener.can_be_renewed().then_some(now + RETRY);
                self.reactor.set_deadline(Source::ListenAgain(index), retry);
                return;
            }
        };
        lent.again = Some(now);
        if let Some(more) = more {
            warn!("{endpoint} was shut down by a child; it listens again{more}");
        }
        if let Err(error) = self.hang_ups.0.watch(lent.socket.as_fd(), index) {
            warn!("cannot watch {endpoint} any more: {error}");
        }
        if renewed == Renewed::Replaced {
            warn!("only a new child can have the new socket of {endpoint}: reloading");
            self.outdate();
        }
    }

    /// Every generation that there is lacks a listener. One that has it shall follow.
    fn outdate(&mut self) {
        let newest = self.machine.generations().iter().map(|generation| generation.number).max();
        self.outdated = newest.map(|newest| Outdated { newest, pause: RELOAD_RETRY });
        self.reactor.set_deadline(Source::Outdated, Some(Instant::now() + RELOAD_RETRY));
        self.reload_asked(None, None);
    }

    /// Asks for a reload again if the one before has failed, since clients wait where nobody accepts.
    pub(super) fn look_for_outdated(&mut self) {
        let serving = self.machine.serving();
        let Some(outdated) = &mut self.outdated else {
            return;
        };
        if self.machine.stopping() || serving.is_some_and(|serving| serving > outdated.newest) {
            self.outdated = None;
            return;
        }
        // While one starts, it may be the one; and when none serves, one will start by itself.
        let again = serving.is_some() && self.machine.starting().is_none();
        if again {
            outdated.pause = (outdated.pause * 2).min(RELOAD_RETRY_MOST);
        }
        self.reactor.set_deadline(Source::Outdated, Some(Instant::now() + outdated.pause));
        if again {
            warn!("the generation that serves lacks a listener's new socket: reloading again");
            self.reload_asked(None, None);
        }
    }

    /// Before the socket is closed: as long as children have it open, it could still hang up.
    pub(super) fn close_lent(&mut self, index: u16) {
        if let Some(lent) = self.listeners.get(usize::from(index)).and_then(lent) {
            self.hang_ups.0.forget(lent.socket.as_fd());
        }
        self.reactor.set_deadline(Source::ListenAgain(index), None);
    }
}

/// How a listener came to listen again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewed {
    /// By the same socket, which the children have.
    Same,
    /// By another one at the same path.
    Replaced,
}

impl Listener {
    /// A TCP socket listens again. A unix socket that was shut down never does; if its file is ours, a new one can take
    /// its place there.
    fn can_be_renewed(&self) -> bool {
        matches!(self.address, Address::Internet(_)) || self.file.is_some()
    }
}

fn lent(listener: &Listener) -> Option<&Lent> {
    match &listener.socket {
        Some(Socket::Lent(lent)) => Some(lent),
        Some(Socket::Watched(_)) | None => None,
    }
}

/// Tries to, or says why not.
fn renew(listener: &mut Listener) -> Result<Renewed, String> {
    if !listener.can_be_renewed() {
        return Err("a unix socket never does, and only one with a file of ours can be replaced".into());
    }
    if let Address::Internet(_) = &listener.address {
        let Some(lent) = lent(listener) else {
            return Ok(Renewed::Same);
        };
        let again = listener::listen_again(lent.socket.as_fd(), &listener.address, listener.backlog);
        return again.map(|()| Renewed::Same).map_err(|error| error.to_string());
    }
    let bound = listener::replace(&listener.endpoint, listener.backlog);
    let bound = bound.map_err(|error| crate::chain(&error))?;
    if let Some(Socket::Lent(lent)) = &mut listener.socket {
        lent.socket = bound.socket;
    }
    listener.file = bound.file;
    Ok(Renewed::Replaced)
}
