//! Taking clients in: bursts, descriptors that run short, the choice of a loop, and clients that are parked.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::warn;

use super::ListenerId;
use super::end::End;
use super::event_loop::{EventLoop, Key};
use super::news::{How, News};
use super::pair::{Entrance, Fate, Pair, Phase};
use super::request::Request;
use super::room::{Room, Shortage};
use super::route::Counted;
use super::slab::PairId;
use crate::net::descriptors::Taken;
use crate::net::listener::is_the_connections_own;
use crate::net::stream::Stream;
use crate::reactor::{Descriptor, READABLE, Registered, URGENT};

/// How many clients are accepted, or let go, before others have their turn.
const BURST: usize = 16;
/// How soon accepting is tried again when there was no room, if nothing of ours comes free before.
const RETRY: Duration = Duration::from_millis(250);

/// A listener of this loop.
#[derive(Debug)]
pub(super) struct Listener {
    entrance: Arc<Entrance>,
    /// None once it is closed; parked clients may be left.
    socket: Option<Open>,
    pub(super) paused: bool,
    /// Clients that wait, oldest first, and some that have left.
    parked: VecDeque<PairId>,
    waiting: usize,
    /// There may be clients in the backlog that we have not accepted.
    behind: bool,
    /// There was no room for a further connection, and that has been told.
    short: bool,
}

/// A listening socket, which counts among the descriptors.
#[derive(Debug)]
struct Open {
    socket: Registered<Descriptor<OwnedFd>>,
    _taken: Taken,
}

impl Listener {
    pub(super) fn new(entrance: Arc<Entrance>, socket: Registered<Descriptor<OwnedFd>>, taken: Taken) -> Self {
        let (parked, waiting) = (VecDeque::new(), 0);
        let socket = Some(Open { socket, _taken: taken });
        Listener { entrance, socket, paused: false, parked, waiting, behind: true, short: false }
    }

    /// Where its clients come in.
    pub(super) fn entrance(&self) -> &Arc<Entrance> {
        &self.entrance
    }

    /// Clients that wait, oldest first; some may have left.
    pub(super) fn parked(&self) -> impl Iterator<Item = PairId> {
        self.parked.iter().copied()
    }

    /// How many clients wait here.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// A parked client has left.
    pub(super) fn unpark(&mut self, id: PairId) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.parked.front() == Some(&id) {
            self.parked.pop_front();
        } else if self.parked.len() > 2 * self.waiting + BURST {
            self.parked.retain(|other| *other != id);
        }
    }
}

/// A client on its way to the loop that shall have it.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) client: OwnedFd,
    pub(super) entrance: Arc<Entrance>,
    pub(super) counted: Option<Counted>,
    pub(super) room: Room,
}

impl EventLoop {
    /// Lets parked clients go and accepts others, as far as both may be.
    pub(super) fn accept(&mut self, id: ListenerId) {
        let released = self.release_parked(id);
        for _ in released..BURST {
            if !self.accept_one(id) {
                return;
            }
        }
        self.reactor.again(Key::Listener(id));
    }

    /// The oldest parked clients go first; they stay on this loop, so that their order does.
    fn release_parked(&mut self, id: ListenerId) -> usize {
        let mut released = 0;
        while released < BURST {
            let Some(listener) = self.listeners.get_mut(&id).filter(|listener| !listener.paused) else {
                return released;
            };
            let Some(parked) = listener.parked.pop_front() else {
                if listener.socket.is_none() {
                    self.listeners.remove(&id);
                }
                return released;
            };
            let Some(mut pair) = self.pairs.take(parked) else {
                continue;
            };
            listener.waiting = listener.waiting.saturating_sub(1);
            released += 1;
            pair.phase = Phase::Starting;
            let fate = self.begin(parked, &mut pair);
            self.settle(parked, pair, fate);
        }
        released
    }

    /// Listeners that are closed stay as long as clients of theirs are parked.
    pub(super) fn forget_closed_listeners(&mut self) {
        self.listeners.retain(|_, listener| listener.socket.is_some() || listener.waiting > 0);
    }

    /// Accepts one client; false when there is none, or none may be accepted now.
    fn accept_one(&mut self, id: ListenerId) -> bool {
        let most = self.shared.settings.most_parked;
        let Some(listener) = self.listeners.get_mut(&id) else {
            return false;
        };
        let Some(Open { socket, .. }) = &listener.socket else {
            return false;
        };
        listener.behind = true;
        if listener.paused && listener.waiting >= most {
            self.held_back = true;
            return false;
        }
        // Before the client is accepted, since it needs a second descriptor.
        let room = match self.shared.room() {
            Ok(room) => room,
            Err(shortage) => {
                self.run_short(id, shortage, None);
                return false;
            }
        };
        let error = match crate::sys::accept(socket.as_fd(), crate::sys::Mode::NonBlocking) {
            Ok(client) => {
                let entrance = Arc::clone(&listener.entrance);
                self.take_in(client, entrance, room);
                return true;
            }
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            listener.behind = false;
            // Not at the first that is accepted again: at the limit each end makes room for one.
            if std::mem::take(&mut listener.short) {
                self.shared.news.tell(News::Enough { listener: id });
            }
            return false;
        }
        if is_the_connections_own(&error) {
            return true;
        }
        self.run_short(id, Shortage::Descriptors, Some(&error));
        false
    }

    /// Clients wait in the backlog until something comes free.
    fn run_short(&mut self, id: ListenerId, of: Shortage, error: Option<&io::Error>) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut listener.short, true) {
            if let Some(error) = error {
                warn!("cannot accept: {error}; trying again until it works");
            }
            self.shared.news.tell(News::Short { listener: id, of });
        }
        self.held_back = true;
        self.reactor.set_deadline(Key::Listener(id), Some(self.tools.now + RETRY));
    }

    /// A pair has ended: accepts where that was waited for.
    pub(super) fn accept_after_an_end(&mut self) {
        if !std::mem::take(&mut self.held_back) {
            return;
        }
        let most = self.shared.settings.most_parked;
        for (id, listener) in &self.listeners {
            if listener.behind && (listener.short || (listener.paused && listener.waiting < most)) {
                self.reactor.again(Key::Listener(*id));
            }
        }
    }

    /// Keeps an accepted client or gives it to the loop that has the fewest pairs.
    pub(super) fn take_in(&mut self, client: OwnedFd, entrance: Arc<Entrance>, room: Room) {
        let parks = self.listeners.get(&entrance.id).is_some_and(|here| here.paused || here.waiting > 0);
        let counted = if parks { None } else { entrance.route.choose() };
        if !parks && counted.is_none() {
            // It leads nowhere.
            return;
        }
        let arrival = Arrival { client, entrance, counted, room };
        let loads = self.shared.loops.iter().map(|door| door.load.load(Ordering::Relaxed)).enumerate();
        let least = loads.min_by_key(|&(index, load)| (load, index != self.index));
        let index = least.map(|(index, _)| index).filter(|_| !parks).unwrap_or(self.index);
        let Some(door) = self.shared.loops.get(index) else {
            return;
        };
        door.load.fetch_add(1, Ordering::Relaxed);
        if index == self.index {
            self.arrive(arrival);
        } else {
            door.send(Request::Arrive(arrival));
        }
    }

    /// Makes a pair of a client that is here to stay.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { client, entrance, counted, room } = arrival;
        let id = self.pairs.reserve();
        let stream = Stream::of_kind(client, entrance.kind);
        let client = match self.reactor.register(stream, Key::Client(id), READABLE | URGENT) {
            Ok(client) => End::new(client),
            Err(error) => {
                warn!("cannot watch a client: {error}");
                self.pairs.free(id);
                if let Some(door) = self.shared.loops.get(self.index) {
                    door.load.fetch_sub(1, Ordering::Relaxed);
                }
                return;
            }
        };
        let listener = entrance.id;
        let mut pair = Box::new(Pair::new(client, entrance, room, self.tools.now));
        pair.counted = counted;
        pair.is_known(self.shared.settings.tell_ends);
        let fate = match (&pair.counted, self.listeners.get_mut(&listener)) {
            (None, Some(listener)) => {
                pair.phase = Phase::Parked;
                listener.parked.push_back(id);
                listener.waiting += 1;
                Fate::Waits
            }
            (None, None) => Fate::Ends(How::Unconnected),
            (Some(_), _) => self.begin(id, &mut pair),
        };
        self.settle(id, pair, fate);
    }

    /// Takes in what the kernel has accepted for us until now, and closes the listener. Parked clients are let go, and
    /// count from now on: whoever closes a listener asks next whether anything runs on its destinations.
    pub(super) fn close_listener(&mut self, id: ListenerId, takes_in: bool) {
        if let Some(listener) = self.listeners.get_mut(&id) {
            // How many may be parked is no reason to leave one behind.
            listener.paused &= !takes_in;
        }
        // No more than a backlog can hold: clients may come faster than we take them in.
        for _ in 0..4096 {
            if !takes_in || !self.accept_one(id) {
                break;
            }
        }
        self.reactor.set_deadline(Key::Listener(id), None);
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.socket = None;
            if listener.parked.is_empty() {
                self.listeners.remove(&id);
            } else {
                self.reactor.again(Key::Listener(id));
            }
        }
        if takes_in {
            self.route_parked(id);
        }
    }

    /// Each client that is parked chooses where it goes, in their order.
    fn route_parked(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get(&id) else {
            return;
        };
        for parked in listener.parked() {
            if let Some(pair) = self.pairs.get_mut(parked) {
                pair.counted = listener.entrance.route.choose();
            }
        }
    }
}
