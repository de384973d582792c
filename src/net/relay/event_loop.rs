//! One loop: a thread with the pairs that it keeps from accept to close. It waits for its reactor and for nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use log::error;

use super::ListenerId;
use super::accept::Listener;
use super::flow::Side;
use super::lane::Tools;
use super::news::{Ended, How, News, NewsSender};
use super::pair::{Fate, Pair, Phase};
use super::pool::Pipes;
use super::request::Request;
use super::settings::{Settings, Splice};
use super::slab::{PairId, Slab};
use crate::net::descriptors::Descriptors;
use crate::net::resolve::{Inbox, Resolver};
use crate::reactor::{Event, Reactor, Waker};

/// What a loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Requests and connections from other threads.
    Inbox,
    /// Addresses of names.
    Answers,
    /// Pairs that go on at once.
    Ready,
    Listener(ListenerId),
    /// A side of a pair, or its time.
    Client(PairId),
    Destination(PairId),
    Time(PairId),
}

/// What all loops know of each other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) loops: Vec<LoopHandle>,
    pub(super) descriptors: Arc<Descriptors>,
    /// Those of connections, where there may be only so many; counted as descriptors are.
    pub(super) places: Option<Arc<Descriptors>>,
    pub(super) news: NewsSender,
    pub(super) resolver: Resolver<Key>,
}

/// The way into a loop from outside.
#[derive(Debug)]
pub(super) struct LoopHandle {
    /// How many pairs it has, those on their way to it included.
    pub(super) load: AtomicUsize,
    pub(super) inbox: Sender<Request>,
    pub(super) waker: Waker,
}

impl LoopHandle {
    /// Puts a request into the queue and wakes the loop.
    pub(super) fn send(&self, request: Request) {
        // A loop ends only when it was told to, and then nothing is left to be asked of it.
        if self.inbox.send(request).is_ok()
            && let Err(error) = self.waker.wake()
        {
            error!("cannot wake a relay loop: {error}");
        }
    }
}

/// What a loop has before it knows of the others.
pub(super) struct Own {
    pub(super) reactor: Reactor<Key>,
    pub(super) inbox: Receiver<Request>,
    pub(super) answers: Inbox<Key>,
}

/// A loop's own things.
pub(super) struct EventLoop {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) reactor: Reactor<Key>,
    pub(super) tools: Tools,
    pub(super) pairs: Slab,
    pub(super) ready: VecDeque<PairId>,
    pub(super) listeners: BTreeMap<ListenerId, Listener>,
    /// Some listener waits for a pair to end.
    pub(super) held_back: bool,
    pub(super) stopping: bool,
    /// What the resolver has found.
    pub(super) answers: Inbox<Key>,
    inbox: Receiver<Request>,
}

impl EventLoop {
    pub(super) fn new(index: usize, shared: Arc<Shared>, own: Own) -> Self {
        let Own { reactor, inbox, answers } = own;
        let splices = match shared.settings.splice {
            Splice::Adaptive => true,
            Splice::Never => false,
        };
        let tools = Tools::new(Pipes::new(splices, Arc::clone(&shared.descriptors)));
        EventLoop {
            index,
            shared,
            reactor,
            tools,
            pairs: Slab::default(),
            ready: VecDeque::new(),
            listeners: BTreeMap::new(),
            held_back: false,
            stopping: false,
            answers,
            inbox,
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !self.stopping {
            if !self.ready.is_empty() {
                self.reactor.again(Key::Ready);
            }
            self.reactor.wait(&mut events)?;
            self.tools.now = Instant::now();
            for event in &events {
                self.on(event);
            }
        }
        Ok(())
    }

    fn on(&mut self, event: &Event<Key>) {
        match event.key {
            Key::Inbox => {
                while let Ok(request) = self.inbox.try_recv() {
                    self.serve(request);
                }
            }
            Key::Answers => self.take_answers(),
            Key::Ready => self.go_on(),
            Key::Listener(id) => self.accept(id),
            Key::Client(id) => self.on_side(id, Side::Client, event),
            Key::Destination(id) => self.on_side(id, Side::Destination, event),
            Key::Time(id) => self.on_time(id),
        }
    }

    /// Each pair that goes on has its turn, once.
    fn go_on(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            if let Some(mut pair) = self.pairs.take(id) {
                pair.queued = false;
                let fate = self.advance(id, &mut pair);
                self.settle(id, pair, fate);
            }
        }
    }

    fn on_side(&mut self, id: PairId, side: Side, event: &Event<Key>) {
        let Some(mut pair) = self.pairs.take(id) else {
            return;
        };
        let error = match side {
            Side::Client => pair.client.on(event),
            Side::Destination => pair.destination.as_mut().and_then(|end| end.on(event)),
        };
        if let (Phase::Connecting { connecting, heard, .. }, Side::Destination) = (&mut pair.phase, side) {
            connecting.hear(event);
            heard.readable |= event.readable;
            heard.closed |= event.closed;
            heard.urgent |= event.urgent;
        }
        if error.is_some() && matches!(pair.phase, Phase::Relaying) {
            pair.on_error(side);
        }
        let fate = match (&pair.phase, side) {
            (Phase::Relaying, _) | (Phase::Connecting { .. } | Phase::Introducing { .. }, Side::Destination) => {
                self.advance(id, &mut pair)
            }
            (Phase::Greeting { .. }, _) if error.is_none() => self.advance(id, &mut pair),
            (Phase::Settling { side: last, .. }, _) if error.is_some() && *last == side => Fate::Ends(How::Reset),
            (Phase::Settling { .. }, _) => pair.look(self.tools.now),
            (
                Phase::Starting
                | Phase::Parked
                | Phase::Greeting { .. }
                | Phase::Connecting { .. }
                | Phase::Introducing { .. },
                _,
            ) => {
                if error.is_some() {
                    Fate::Ends(How::Unconnected)
                } else {
                    self.client_waits(&mut pair)
                }
            }
        };
        self.settle(id, pair, fate);
    }

    fn client_waits(&mut self, pair: &mut Pair) -> Fate {
        if pair.client_waits(self.tools.now) { Fate::Waits } else { Fate::Ends(How::Unconnected) }
    }

    fn on_time(&mut self, id: PairId) {
        let Some(mut pair) = self.pairs.take(id) else {
            return;
        };
        pair.timer = None;
        let now = self.tools.now;
        let due = pair.due_at().is_some_and(|due| due <= now);
        let fate = if due { self.expire(id, &mut pair) } else { Fate::Waits };
        self.settle(id, pair, fate);
    }

    /// Its time has come.
    fn expire(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        let now = self.tools.now;
        match &pair.phase {
            Phase::Starting | Phase::Parked => Fate::Waits,
            Phase::Greeting { .. } => self.greeting_expired(pair),
            Phase::Connecting { leaving: Some(leaving), .. } if *leaving <= now => Fate::Ends(How::Unconnected),
            Phase::Connecting { .. } => self.connect(id, pair),
            Phase::Introducing { .. } => self.introduction_expired(pair),
            Phase::Relaying => {
                if pair.is_silent_too_long(now) {
                    Fate::Ends(How::TimedOut)
                } else {
                    Fate::Waits
                }
            }
            Phase::Settling { .. } => pair.look(now),
        }
    }

    /// Does what can be done.
    fn advance(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        match pair.phase {
            Phase::Parked => Fate::Waits,
            Phase::Starting => self.begin(id, pair),
            Phase::Greeting { .. } => self.greet(id, pair),
            Phase::Connecting { .. } => self.connect(id, pair),
            Phase::Introducing { .. } => self.agree(pair),
            Phase::Relaying => pair.relay(&mut self.tools),
            Phase::Settling { .. } => pair.look(self.tools.now),
        }
    }

    /// Puts a pair back or ends it.
    pub(super) fn settle(&mut self, id: PairId, mut pair: Box<Pair>, fate: Fate) {
        match fate {
            Fate::Ends(how) => return self.end(id, pair, how),
            Fate::Returns => return self.return_client(id, pair),
            Fate::GoesOn if !pair.queued => {
                pair.queued = true;
                self.ready.push_back(id);
            }
            Fate::GoesOn | Fate::Waits => {}
        }
        self.set_timer(id, &mut pair);
        self.pairs.put(id, pair);
    }

    /// The time is moved only when it would come too late: bytes that go do not move it, and when it comes it is looked
    /// whether it was meant.
    fn set_timer(&mut self, id: PairId, pair: &mut Pair) {
        let due = pair.due_at();
        let moves = match (pair.timer, due) {
            (Some(timer), Some(due)) => due < timer,
            // One that is meant no more costs less when it comes than when it is taken back.
            (Some(_), None) => false,
            (None, due) => due.is_some(),
        };
        if moves {
            pair.timer = due;
            self.reactor.set_deadline(Key::Time(id), due);
        }
    }

    /// Gives a client back of whom nothing was read. It is told before the destination's count falls.
    fn return_client(&mut self, id: PairId, pair: Box<Pair>) {
        self.forget(id, &pair);
        let pair = *pair;
        drop(pair.destination);
        let (listener, client) = (pair.entrance.id, pair.client.into_stream().into());
        self.shared.news.tell(News::Returned { listener, client });
        drop(pair.counted);
    }

    /// Closes what a pair has, tells of it, and leaves the count: whoever hears that the last one has gone has heard of its
    /// end.
    pub(super) fn end(&mut self, id: PairId, mut pair: Box<Pair>, how: How) {
        if pair.timer.is_some() {
            self.reactor.set_deadline(Key::Time(id), None);
        }
        if matches!(pair.phase, Phase::Parked)
            && let Some(listener) = self.listeners.get_mut(&pair.entrance.id)
        {
            listener.unpark(id);
            self.forget_closed_listeners();
        }
        pair.reset_who_misses_bytes();
        pair.give_up(&mut self.tools);
        let ended = self.shared.settings.tell_ends.then(|| ended(&pair, how)).flatten();
        self.pairs.free(id);
        let counted = pair.close();
        let load = self.shared.loops.get(self.index).map(|door| door.load.fetch_sub(1, Ordering::Relaxed));
        if load == Some(1) {
            self.tools.pipes.close_free();
        }
        if let Some(ended) = ended {
            self.shared.news.tell(News::Ended(ended));
        }
        drop(counted);
        self.accept_after_an_end();
    }
}

fn ended(pair: &Pair, how: How) -> Option<Ended> {
    Some(Ended {
        listener: pair.entrance.id,
        destination: pair.counted.as_ref()?.destination().id(),
        client: pair.client_address(),
        age: pair.since.elapsed(),
        bytes_in: pair.up.moved,
        bytes_out: pair.down.moved,
        how,
    })
}
