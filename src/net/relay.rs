//! Relays connections: accepts clients, connects each to the destination that its listener's [`Route`] leads to, and moves
//! bytes both ways until both sides have ended.
//!
//! A relay is some loops, each a thread with its own reactor. Both sockets of a connection stay on one loop, and loops
//! share nothing but counts and queues. Everything is asked and told by the thread that controls them, by [`Relay`] and by
//! [`News`]. docs/relay.md follows a connection from its accept to its close.

mod accept;
mod carried;
mod dial;
mod end;
mod event_loop;
mod failure;
mod flow;
mod greeting;
mod lane;
mod news;
mod pair;
mod pool;
mod request;
mod room;
mod route;
mod settings;
mod silence;
mod slab;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use log::error;
use socket2::SockRef;

pub use carried::{Carried, CarriedState, Direction, Ending, TakenOut};
pub use failure::{ClientFailure, DestinationFailure};
pub use news::{Ended, How, News, NewsReceiver, NewsSender, news};
pub use request::{Path, View, Which};
pub use room::Shortage;
pub use route::{Counts, Destination, Route, Share};
pub use settings::{Settings, Splice};

use crate::net::descriptors::{Descriptors, Taken};
use crate::net::endpoint::Connect;
use crate::net::resolve::{Inbox, Resolver};
use crate::net::stream::Kind;
use crate::net::tls::{ClientIdentity, ServerIdentity};
use crate::reactor::{Reactor, Waker};
use accept::Arrival;
use event_loop::{EventLoop, Key, LoopHandle, Own, Shared};
use pair::Entrance;
use request::Request;
use room::Room;
use route::{Counted, Reach};

/// Names a listener of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(u32);

impl ListenerId {
    /// The number by which it is known in [`CarriedState`].
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A listening socket and how its clients are served.
#[derive(Debug)]
pub struct Door {
    /// The socket, of TCP or a unix one.
    pub socket: OwnedFd,
    /// Where its clients go.
    pub route: Arc<Route>,
    /// Whether each client begins with a PROXY header, since it speaks for another.
    pub proxied: bool,
    /// Who we are to clients that speak TLS; none for those that do not.
    pub tls: Option<Arc<ServerIdentity>>,
}

/// The loops. They end when this is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    entrances: Mutex<HashMap<ListenerId, Arc<Entrance>>>,
    /// Room for connections that are about to be put in.
    expected: Mutex<Vec<Room>>,
    next: AtomicUsize,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts the loops.
    ///
    /// # Errors
    /// Those of epoll_create1(2), eventfd(2), getrlimit(2) and of starting a thread.
    pub fn start(settings: Settings, news: NewsSender) -> io::Result<Relay> {
        let descriptors = match settings.most_descriptors {
            Some(most) => Descriptors::limited_to(most),
            None => Descriptors::new()?,
        };
        let (mut loops, mut starts, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..settings.threads.get() {
            let (start, started) = channel::<Arc<Shared>>();
            let (ready, is_ready) = channel();
            let (inbox, requests) = channel();
            let body = move || run(index, &ready, &started, requests);
            threads.push(std::thread::Builder::new().name(format!("relay-{index}")).spawn(body)?);
            let waker = is_ready.recv().map_err(|_| io::Error::other("a relay loop has ended"))??;
            loops.push(LoopHandle { load: AtomicUsize::new(0), inbox, waker });
            starts.push(start);
        }
        let resolver = Resolver::counted_in(Arc::clone(&descriptors));
        let places = settings.most_connections.map(Descriptors::limited_to);
        let shared = Arc::new(Shared { settings, loops, descriptors, places, news, resolver });
        for start in starts {
            start.send(Arc::clone(&shared)).map_err(|_| io::Error::other("a relay loop has ended"))?;
        }
        Ok(Relay {
            shared,
            entrances: Mutex::default(),
            expected: Mutex::default(),
            next: AtomicUsize::new(0),
            threads,
        })
    }

    /// A destination with a number of the caller's; each number is used once. `tls` is who we are to it, for an endpoint
    /// that asks for TLS.
    pub fn destination(&self, id: u64, connect: Connect, tls: Option<Arc<ClientIdentity>>) -> Arc<Destination> {
        let reach = Reach { connect, identity: tls };
        Destination::new(id, reach, &self.shared.settings, self.shared.news.clone())
    }

    /// Accepts clients from now on.
    ///
    /// # Errors
    /// Those of getsockopt(2) and fcntl(2); `Unsupported` when it is no socket for connections over IP or within this
    /// host.
    pub fn listen(&self, door: Door) -> io::Result<ListenerId> {
        self.go_on(door, false, Vec::new())
    }

    /// Goes on with a listener that was left, here or in another process: paused if it was, and its parked clients first,
    /// in their order.
    ///
    /// # Errors
    /// As [`Relay::listen`].
    pub fn go_on(&self, door: Door, paused: bool, parked: Vec<OwnedFd>) -> io::Result<ListenerId> {
        let kind = Kind::of(door.socket.as_fd())?;
        let socket = SockRef::from(&door.socket);
        socket.set_nonblocking(true)?;
        prepare(kind, &socket)?;
        let id = self.next_id()?;
        let Door { socket, route, proxied, tls } = door;
        let entrance = Arc::new(Entrance { id, kind, route, proxied, tls, returns: false });
        self.entrances().insert(id, Arc::clone(&entrance));
        self.home(id).send(Request::Listen { socket, entrance, paused, parked });
        Ok(id)
    }

    /// A listener that is closed already, for connections that came in by it in another process: they can be put in.
    ///
    /// # Errors
    /// There were too many.
    pub fn closed(&self, route: Arc<Route>) -> io::Result<ListenerId> {
        let id = self.next_id()?;
        let entrance = Entrance { id, kind: Kind::Tcp, route, proxied: false, tls: None, returns: false };
        self.entrances().insert(id, Arc::new(entrance));
        Ok(id)
    }

    /// A listener that somebody else accepts from, for the clients of [`Relay::carry`].
    ///
    /// # Errors
    /// Those of getsockopt(2) and setsockopt(2); `Unsupported` when it is no socket for connections over IP or within this host.
    pub fn accepted_elsewhere(&self, listener: BorrowedFd<'_>) -> io::Result<ListenerId> {
        let kind = Kind::of(listener)?;
        prepare(kind, &SockRef::from(&listener))?;
        let (id, route) = (self.next_id()?, Route::new(Vec::new()));
        let entrance = Arc::new(Entrance { id, kind, route, proxied: false, tls: None, returns: true });
        self.entrances().insert(id, entrance);
        Ok(id)
    }

    /// Relays a client, a non-blocking socket of that listener, to this destination. When that cannot be reached the
    /// client comes back by [`News::Returned`]. It is closed when there is no such listener.
    pub fn carry(&self, client: OwnedFd, destination: Arc<Destination>, listener: ListenerId) {
        let Some(entrance) = self.entrances().get(&listener).cloned() else {
            return;
        };
        let loops = self.shared.loops.iter();
        if let Some(least) = loops.min_by_key(|door| door.load.load(Ordering::Relaxed)) {
            least.load.fetch_add(1, Ordering::Relaxed);
            let (counted, room) = (Some(Counted::new(destination)), self.shared.room_anyway());
            least.send(Request::Arrive(Arrival { client, entrance, counted, room }));
        }
    }

    fn next_id(&self) -> io::Result<ListenerId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(ListenerId(u32::try_from(number).map_err(io::Error::other)?))
    }

    /// Takes in what waits in the backlog, and closes the listener; it is closed when this returns. Running connections
    /// stay, and parked clients are let go: each counts on a destination when this returns.
    pub fn stop_listening(&self, id: ListenerId) {
        self.close(id, true);
    }

    /// Closes the listener's descriptor and takes nothing in: the socket lives on elsewhere.
    pub fn leave(&self, id: ListenerId) {
        self.close(id, false);
    }

    fn close(&self, listener: ListenerId, takes_in: bool) {
        self.entrances().remove(&listener);
        let (done, is_done) = channel();
        self.home(listener).send(Request::Close { listener, takes_in, done });
        // An error says that the loop has ended, and its listeners with it.
        let _ = is_done.recv();
    }

    /// From now on clients of this listener are accepted and wait, in their order.
    pub fn pause(&self, id: ListenerId) {
        self.home(id).send(Request::Pause(id));
    }

    /// Lets the waiting clients go, in their order, and then all others.
    pub fn resume(&self, id: ListenerId) {
        self.home(id).send(Request::Resume(id));
    }

    /// Counts descriptors that the caller keeps beside those of the relay, as long as what is returned lives: fewer clients
    /// are accepted meanwhile.
    pub fn count(&self, descriptors: usize) -> Taken {
        self.shared.descriptors.take_anyway(descriptors)
    }

    /// How many clients of this listener wait.
    pub fn parked(&self, id: ListenerId) -> usize {
        let (reply, answer) = channel();
        self.home(id).send(Request::Parked(id, reply));
        answer.recv().unwrap_or(0)
    }

    /// Ends connections and parked clients at once; they are closed when this returns. How many they were.
    pub fn cut(&self, which: Which) -> usize {
        // Twice: one that was on its way from a loop to another has arrived when both have answered once.
        let both = (0..2).flat_map(|_| self.ask(|reply| Request::Cut(which, reply)));
        both.sum()
    }

    /// The connections as they are now.
    pub fn connections(&self, which: Which) -> Vec<View> {
        self.ask(|reply| Request::View(which, reply)).flatten().collect()
    }

    /// Takes out established connections without TLS and parked clients, for another process. Those that are still being
    /// made, are being reset or have TLS stay. To be called when no listener accepts any more.
    pub fn take_out(&self) -> TakenOut {
        let mut all = TakenOut::default();
        // Twice, as in `cut`.
        for taken in (0..2).flat_map(|_| self.ask(Request::TakeOut)) {
            all.pairs.extend(taken.pairs);
            all.parked.extend(taken.parked);
        }
        all
    }

    /// Keeps room for so many connections that are about to be put in: no others are accepted in their place. 0 when no
    /// more are to come.
    pub fn expect(&self, connections: usize) {
        let mut expected = self.expected();
        expected.clear();
        expected.extend((0..connections).map(|_| self.shared.room_anyway()));
    }

    fn expected(&self) -> std::sync::MutexGuard<'_, Vec<Room>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with a connection that was taken out.
    pub fn put_in(&self, carried: Carried, destination: Arc<Destination>, listener: ListenerId) {
        let Some(entrance) = self.entrances().get(&listener).cloned() else {
            return;
        };
        let loops = self.shared.loops.iter();
        if let Some(least) = loops.min_by_key(|door| door.load.load(Ordering::Relaxed)) {
            least.load.fetch_add(1, Ordering::Relaxed);
            let room = self.expected().pop().unwrap_or_else(|| self.shared.room_anyway());
            least.send(Request::PutIn { carried: Box::new(carried), room, destination, entrance });
        }
    }

    /// Takes in a client as if it had just been accepted.
    pub fn admit(&self, listener: ListenerId, client: OwnedFd) {
        self.home(listener).send(Request::Admit(listener, client));
    }

    /// Ends everything; it is closed when this returns.
    pub fn stop(self) {}

    fn entrances(&self) -> std::sync::MutexGuard<'_, HashMap<ListenerId, Arc<Entrance>>> {
        self.entrances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop that accepts for a listener.
    fn home(&self, id: ListenerId) -> &LoopHandle {
        &self.shared.loops[id.0 as usize % self.shared.loops.len()]
    }

    /// Asks all loops and collects what they say.
    fn ask<T>(&self, request: impl Fn(Sender<T>) -> Request) -> impl Iterator<Item = T> {
        let (reply, answers) = channel();
        for door in &self.shared.loops {
            door.send(request(reply.clone()));
        }
        answers.into_iter()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for door in &self.shared.loops {
            door.send(Request::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a relay loop has failed");
            }
        }
    }
}

/// A loop's thread, from its reactor to its end.
fn run(index: usize, ready: &Sender<io::Result<Waker>>, started: &Receiver<Arc<Shared>>, requests: Receiver<Request>) {
    let made = Reactor::<Key>::new()
        .and_then(|mut reactor| Ok((reactor.waker(Key::Inbox)?, Inbox::new(reactor.waker(Key::Answers)?), reactor)));
    let (waker, answers, reactor) = match made {
        Ok(made) => made,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    // Nobody waits any more when the start has failed elsewhere, and then there is nothing to be run.
    let _ = ready.send(Ok(waker));
    let Ok(shared) = started.recv() else {
        return;
    };
    if let Err(error) = EventLoop::new(index, shared, Own { reactor, inbox: requests, answers }).run() {
        error!("a relay loop ends: {error}");
    }
}

/// Accepted sockets inherit both, which saves system calls for each of them.
fn prepare(kind: Kind, listener: &SockRef<'_>) -> io::Result<()> {
    if kind == Kind::Tcp {
        listener.set_tcp_nodelay(true)?;
        listener.set_keepalive(true)?;
    }
    Ok(())
}
