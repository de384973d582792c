//! What other threads ask of a loop.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use log::warn;

use super::ListenerId;
use super::accept::{Arrival, Listener};
use super::carried::{Carried, TakenOut};
use super::event_loop::{EventLoop, Key};
use super::news::How;
use super::pair::{Entrance, Pair, Phase};
use super::room::Room;
use super::route::Destination;
use super::slab::PairId;
use crate::net::listener::Address;
use crate::reactor::{Descriptor, READABLE};

/// Which connections are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those of a destination, by its number.
    Destination(u64),
    /// Those that came in by a listener.
    Listener(ListenerId),
    /// All.
    All,
}

/// A connection as it is at a moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Where it came in.
    pub listener: ListenerId,
    /// The number of its destination; none while it is parked.
    pub destination: Option<u64>,
    /// Who the client is.
    pub client: Address,
    /// How long ago it was accepted.
    pub age: Duration,
    /// How long nothing has gone between the two sides, as far as is known.
    pub idle: Duration,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// How its bytes are moved.
    pub path: Path,
    /// The loop that has it, counted from 0.
    pub thread: usize,
}

/// How the bytes of a connection are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The client waits for its listener to be resumed.
    Parked,
    /// There is no connection to the destination yet.
    SettingUp,
    /// Through a buffer of ours.
    Copy,
    /// Within the kernel.
    Splice,
    /// Through a TLS session.
    Tls,
}

/// A request to a loop. Those with a sender are answered by it.
#[derive(Debug)]
pub(super) enum Request {
    Arrive(Arrival),
    Listen { socket: OwnedFd, entrance: Arc<Entrance>, paused: bool, parked: Vec<OwnedFd> },
    Close { listener: ListenerId, takes_in: bool, done: Sender<()> },
    Pause(ListenerId),
    Resume(ListenerId),
    Parked(ListenerId, Sender<usize>),
    Admit(ListenerId, OwnedFd),
    Cut(Which, Sender<usize>),
    View(Which, Sender<Vec<View>>),
    TakeOut(Sender<TakenOut>),
    PutIn { carried: Box<Carried>, room: Room, destination: Arc<Destination>, entrance: Arc<Entrance> },
    Stop,
}

impl Which {
    fn covers(self, pair: &Pair) -> bool {
        match self {
            Which::Destination(id) => pair.counted.as_ref().is_some_and(|counted| counted.destination().id() == id),
            Which::Listener(id) => pair.entrance.id == id,
            Which::All => true,
        }
    }
}

impl EventLoop {
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Arrive(arrival) => self.arrive(arrival),
            Request::Listen { socket, entrance, paused, parked } => self.listen(socket, entrance, paused, parked),
            Request::Close { listener, takes_in, done } => {
                self.close_listener(listener, takes_in);
                answer(&done, ());
            }
            Request::Pause(id) => self.pause(id, true),
            Request::Resume(id) => self.pause(id, false),
            Request::Parked(id, reply) => answer(&reply, self.listeners.get(&id).map_or(0, Listener::waiting)),
            Request::Admit(id, client) => self.admit(id, client),
            Request::Cut(which, reply) => answer(&reply, self.cut(which)),
            Request::View(which, reply) => answer(&reply, self.views(which)),
            Request::TakeOut(reply) => answer(&reply, self.take_out()),
            Request::PutIn { carried, room, destination, entrance } => {
                self.put_in(*carried, room, destination, entrance);
            }
            Request::Stop => self.stop(),
        }
    }

    fn listen(&mut self, socket: OwnedFd, entrance: Arc<Entrance>, paused: bool, parked: Vec<OwnedFd>) {
        let id = entrance.id;
        match self.reactor.register(Descriptor(socket), Key::Listener(id), READABLE) {
            Ok(socket) => {
                let taken = self.shared.descriptors.take_anyway(1);
                let mut listener = Listener::new(entrance, socket, taken);
                listener.paused = paused;
                self.listeners.insert(id, listener);
                parked.into_iter().for_each(|client| self.admit(id, client));
                self.reactor.again(Key::Listener(id));
            }
            Err(error) => warn!("cannot watch a listener: {error}"),
        }
    }

    fn pause(&mut self, id: ListenerId, paused: bool) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.paused = paused;
            self.reactor.again(Key::Listener(id));
        }
    }

    fn admit(&mut self, id: ListenerId, client: OwnedFd) {
        if let Some(entrance) = self.listeners.get(&id).map(|listener| Arc::clone(listener.entrance())) {
            let room = self.shared.room_anyway();
            self.take_in(client, entrance, room);
        }
    }

    fn which(&self, which: impl Fn(&Pair) -> bool) -> Vec<PairId> {
        self.pairs.iter().filter(|(_, pair)| which(pair)).map(|(id, _)| id).collect()
    }

    fn cut(&mut self, which: Which) -> usize {
        let cut = self.which(|pair| which.covers(pair));
        for &id in &cut {
            if let Some(pair) = self.pairs.take(id) {
                self.end(id, pair, How::Cut);
            }
        }
        cut.len()
    }

    fn views(&self, which: Which) -> Vec<View> {
        let now = self.tools.now;
        let view = |(_, pair): (PairId, &Pair)| View {
            listener: pair.entrance.id,
            destination: pair.counted.as_ref().map(|counted| counted.destination().id()),
            client: pair.client_address(),
            age: now.saturating_duration_since(pair.since),
            idle: pair.silence.lasts(now),
            bytes_in: pair.up.moved,
            bytes_out: pair.down.moved,
            path: path(pair),
            thread: self.index,
        };
        self.pairs.iter().filter(|(_, pair)| which.covers(pair)).map(view).collect()
    }

    /// Takes out what another process can go on with.
    fn take_out(&mut self) -> TakenOut {
        let mut taken = TakenOut::default();
        for id in self.which(Pair::is_movable) {
            if let Some(pair) = self.pairs.take(id) {
                self.forget(id, &pair);
                taken.pairs.extend(Carried::of(*pair, &mut self.tools));
            }
        }
        let parked: Vec<_> = self.listeners.values().flat_map(Listener::parked).collect();
        for id in parked {
            // Who has chosen a destination is about to be connected, and stays as those who are being connected do.
            if self.pairs.get_mut(id).is_none_or(|pair| pair.counted.is_some()) {
                continue;
            }
            if let Some(pair) = self.pairs.take(id) {
                self.forget(id, &pair);
                let pair = *pair;
                taken.parked.push((pair.entrance.id, pair.client.into_stream().into()));
            }
        }
        self.forget_closed_listeners();
        taken
    }

    /// A pair leaves without an end.
    pub(super) fn forget(&mut self, id: PairId, pair: &Pair) {
        if pair.timer.is_some() {
            self.reactor.set_deadline(Key::Time(id), None);
        }
        if let Some(listener) =
            self.listeners.get_mut(&pair.entrance.id).filter(|_| matches!(pair.phase, Phase::Parked))
        {
            listener.unpark(id);
        }
        self.pairs.free(id);
        if let Some(door) = self.shared.loops.get(self.index) {
            door.load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn put_in(&mut self, carried: Carried, room: Room, destination: Arc<Destination>, entrance: Arc<Entrance>) {
        let id = self.pairs.reserve();
        match carried.into_pair(id, destination, (entrance, room), self) {
            Ok(mut pair) => {
                let fate = pair.relay(&mut self.tools);
                self.settle(id, Box::new(pair), fate);
            }
            Err(error) => {
                warn!("cannot go on with a connection: {error}");
                self.pairs.free(id);
                if let Some(door) = self.shared.loops.get(self.index) {
                    door.load.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn stop(&mut self) {
        self.listeners.clear();
        self.cut(Which::All);
        self.stopping = true;
    }
}

fn path(pair: &Pair) -> Path {
    match pair.phase {
        Phase::Parked => Path::Parked,
        Phase::Starting | Phase::Greeting { .. } | Phase::Connecting { .. } | Phase::Introducing { .. } => {
            Path::SettingUp
        }
        Phase::Relaying | Phase::Settling { .. } if !pair.is_plain() => Path::Tls,
        Phase::Relaying | Phase::Settling { .. } if pair.up.splices() || pair.down.splices() => Path::Splice,
        Phase::Relaying | Phase::Settling { .. } => Path::Copy,
    }
}

fn answer<T>(reply: &Sender<T>, answer: T) {
    // Who has stopped waiting wants no answer.
    let _ = reply.send(answer);
}
