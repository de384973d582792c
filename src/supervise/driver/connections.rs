//! Accepting connections in bursts, holding them, passing them on, taking them back.

use super::Driver;
use super::lent::Lent;
use crate::net::endpoint::Listen;
use crate::net::listener::{Address, Bound, SocketFile, Traffic, is_the_connections_own};
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use crate::supervise::Source;
use crate::supervise::channel::{Channel, Passed};
use crate::supervise::conventions::starter_key;
use crate::supervise::hold::Held;
use crate::supervise::seldom::Seldom;
use crate::supervise::settings::Pass;
use crate::supervise::state::{Input, Number};
use crate::sys;
use log::{info, warn};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How many connections are accepted from one listener before others have their turn.
const BURST: usize = 64;
/// How soon accepting is tried again when no descriptor was free.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How soon passing is tried again when too many descriptors were under way in the system.
const PASS_RETRY: Duration = Duration::from_millis(20);

/// A listener, open until the end.
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) endpoint: Listen,
    pub(super) address: Address,
    /// What Server::Starter would call it.
    pub(super) key: String,
    /// Its port, if it is one of TCP.
    pub(super) tcp_port: Option<u16>,
    pub(super) accepted: u64,
    pub(super) backlog: u32,
    /// The file of a unix socket of ours. Before the socket, so that it is removed while that still works.
    pub(super) file: Option<SocketFile>,
    pub(super) socket: Option<Socket>,
    /// As much is held as may be; the rest waits in the kernel's backlog.
    full: bool,
    /// No descriptor was free, and that has been said;
    short: bool,
    /// it may come and go with every connection.
    told: Seldom,
}

pub(super) enum Socket {
    /// The children accept. We are told only when it is shut down, so that their connections cost us nothing, and its
    /// flags stay as they are, since it is theirs as well.
    Lent(Lent),
    /// We accept.
    Watched(Registered<Descriptor<OwnedFd>>),
}

impl Listener {
    /// Its name, and its socket for a child; none once it is closed, when no child starts any more.
    pub(super) fn lend(&self) -> Option<(&str, BorrowedFd<'_>)> {
        let socket = match self.socket.as_ref()? {
            Socket::Lent(lent) => lent.socket.as_fd(),
            Socket::Watched(socket) => socket.as_fd(),
        };
        Some((&self.name, socket))
    }
}

impl Listener {
    /// Whether clients connect to it, and it is open.
    pub(super) fn takes_connections(&self) -> bool {
        match &self.socket {
            Some(Socket::Lent(lent)) => lent.takes_connections(),
            Some(Socket::Watched(_)) => true,
            None => false,
        }
    }

    /// The inode of its socket, by which it is known in another process.
    pub(super) fn inode(&self) -> Option<u64> {
        let (_, socket) = self.lend()?;
        fstat(socket).ok().map(|stat| stat.st_ino)
    }
}

/// Makes listeners of what was bound, and watches those that we accept from.
pub(super) fn watch(
    reactor: &mut Reactor<Source>,
    pass: Pass,
    bound: Vec<(String, Bound)>,
) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(bound.len());
    for (index, (name, bound)) in (0..).zip(bound) {
        let socket = match pass {
            Pass::Listener => Socket::Lent(Lent::new(bound.socket, bound.traffic)),
            Pass::Connections | Pass::Relay => {
                never_block(bound.socket.as_fd())?;
                Socket::Watched(reactor.register(Descriptor(bound.socket), Source::Listener(index), READABLE)?)
            }
        };
        listeners.push(Listener {
            name,
            key: starter_key(&bound.endpoint, &bound.address),
            tcp_port: tcp_port(&bound.address, bound.traffic),
            endpoint: bound.endpoint,
            address: bound.address,
            accepted: 0,
            backlog: bound.backlog,
            file: bound.file,
            socket: Some(socket),
            full: false,
            short: false,
            told: Seldom::default(),
        });
    }
    Ok(listeners)
}

fn tcp_port(address: &Address, traffic: Traffic) -> Option<u16> {
    match (address, traffic) {
        (Address::Internet(address), Traffic::Connections) => Some(address.port()),
        _ => None,
    }
}

impl Driver {
    /// Accepts a burst and passes it on.
    pub(super) fn accept(&mut self, index: u16) {
        for _ in 0..BURST {
            if self.behind || self.hold.is_full(index) {
                if let Some(listener) = self.listeners.get_mut(usize::from(index)) {
                    listener.full = true;
                }
                self.pass_to_serving();
                return;
            }
            if !self.accept_one(index) {
                self.pass_to_serving();
                return;
            }
        }
        self.reactor.again(Source::Listener(index));
        self.pass_to_serving();
    }

    /// Accepts one connection; false when there is none, or none can be accepted now.
    fn accept_one(&mut self, index: u16) -> bool {
        // What has come free a moment ago is the reserve's before it is a client's.
        self.reserve.refill();
        let Some(listener) = self.listeners.get_mut(usize::from(index)) else {
            return false;
        };
        let Some(Socket::Watched(socket)) = &listener.socket else {
            return false;
        };
        let mode = if self.relayed.is_some() { sys::Mode::NonBlocking } else { sys::Mode::Blocking };
        let error = match sys::accept(socket.as_fd(), mode) {
            Ok(connection) => {
                listener.accepted += 1;
                listener.short = false;
                self.counters.accepted += 1;
                self.hold.push(index, connection);
                return true;
            }
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            return false;
        }
        if is_the_connections_own(&error) {
            return true;
        }
        let now = Instant::now();
        if !std::mem::replace(&mut listener.short, true)
            && let Some(more) = listener.told.tell(now)
        {
            warn!("cannot accept on {}: {error}; trying again until it works{more}", listener.endpoint);
        }
        self.reactor.set_deadline(Source::Listener(index), Some(now + ACCEPT_RETRY));
        false
    }

    pub(super) fn pass_to_serving(&mut self) {
        if let Some(number) = self.machine.serving() {
            self.pass(number);
        }
    }

    pub(super) fn pass(&mut self, number: Number) {
        if self.relayed.is_some() {
            return self.relay_to(number);
        }
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        let before = worker.passed;
        let passed = worker.channel.pass(&mut self.hold, &mut worker.passed);
        self.counters.passed += worker.passed - before;
        self.too_many = matches!(passed, Ok(Passed::TooMany));
        match passed {
            Ok(Passed::All | Passed::Full) => {}
            Ok(Passed::TooMany) => {
                self.reactor.set_deadline(Source::Channel(number), Some(Instant::now() + PASS_RETRY));
            }
            Err(error) => {
                // It has shut its channel down: nothing will ever reach it again.
                warn!("cannot pass connections to generation {number}: {error}");
                self.input(Input::Broke(number));
            }
        }
        self.accept_again();
    }

    /// Goes on with listeners that were left because as much was held as may be.
    pub(super) fn accept_again(&mut self) {
        if self.behind {
            return;
        }
        for (index, listener) in (0..).zip(&mut self.listeners) {
            if listener.full && !self.hold.is_full(index) {
                listener.full = false;
                self.reactor.again(Source::Listener(index));
            }
        }
    }

    /// Takes back what a child has not read, before it gets anything else.
    pub(super) fn take_back(&mut self, number: Number) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        self.hold.begin_putting_back();
        let connections = take_back_from(&mut worker.channel, &mut self.reserve);
        if !worker.channel.is_empty() {
            self.fall_behind();
        }
        if !connections.is_empty() {
            info!("{} unread connections are taken back from generation {number}", connections.len());
            self.counters.reclaimed += connections.len() as u64;
            self.hold.put_back(connections);
        }
    }

    /// Not everything could be taken back for want of descriptors. The rest follows as they come free, and nothing is
    /// accepted until then.
    fn fall_behind(&mut self) {
        self.behind = true;
        self.reactor.set_deadline(Source::Behind, Some(Instant::now() + ACCEPT_RETRY));
    }

    /// Goes on with what could not be taken back, the oldest channel first.
    ///
    /// What a dead child has not read may itself be what keeps us from passing on: then nothing that is held leaves, and no
    /// descriptor comes free. The part of a start, which is not needed while a child serves, ends that: it has room for more than
    /// can be under way beyond what is allowed, which is one record (the kernel looks before a record goes; see `ETOOMANYREFS` in
    /// unix(7)).
    pub(super) fn go_on_taking_back(&mut self) {
        loop {
            self.too_many = false;
            self.pass_to_serving();
            let draining = self.workers.values_mut().filter(|worker| worker.reclaim);
            let leftovers = self.leftovers.iter_mut().map(|(_, channel)| channel);
            let mut channels = leftovers.chain(draining.map(|worker| &mut worker.channel));
            let Some(channel) = channels.find(|channel| !channel.is_empty()) else {
                self.behind = false;
                self.accept_again();
                return;
            };
            let mut connections = take_back_from(channel, &mut self.reserve);
            if connections.is_empty() && self.too_many && self.reserve.lend_last_record() {
                connections.extend(channel.take_back().into_iter().flatten());
                self.reserve.refill();
            }
            let stuck = connections.is_empty() && !channel.is_empty();
            self.counters.reclaimed += connections.len() as u64;
            self.hold.put_back(connections);
            self.forget_leftovers();
            if stuck {
                self.fall_behind();
                return;
            }
        }
    }

    pub(super) fn nothing_held(&self) -> bool {
        self.hold.is_empty() && !self.behind && self.leftovers.is_empty()
    }

    /// Takes in what the kernel has accepted for us until now, since closing a listener resets it.
    pub(super) fn close_listeners(&mut self) {
        for index in 0..self.listeners.len() {
            let index = index as u16;
            let serving = self.machine.serving().is_some();
            // No more than a backlog can hold: clients may come faster than we take them in.
            for _ in 0..self.settings.backlog {
                if !serving || !self.accept_one(index) {
                    break;
                }
                if self.hold.len() >= BURST {
                    // Passed on at once, they take no descriptor from those that come after them.
                    self.pass_to_serving();
                }
            }
            self.reactor.set_deadline(Source::Listener(index), None);
            self.close_lent(index);
            if let Some(listener) = self.listeners.get_mut(usize::from(index)) {
                // The file first: who finds it shall find somebody who listens.
                listener.file = None;
                listener.socket = None;
            }
        }
        self.pass_to_serving();
    }
}

/// Takes back record by record, as long as a record's descriptors have room for certain.
fn take_back_from(channel: &mut Channel, reserve: &mut crate::process::limits::Reserve) -> Vec<Held<OwnedFd>> {
    let mut all = Vec::new();
    while reserve.lend_record() {
        let taken = channel.take_back();
        reserve.refill();
        match taken {
            Some(connections) => all.extend(connections),
            None => break,
        }
    }
    all
}

/// One that was passed to us may be so already, and its flags are not only ours.
fn never_block(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_NONBLOCK) {
        fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    }
    Ok(())
}
