//! One loop that asks: sources are registered with the key that shall come back, times are set for keys, and
//! [`Reactor::wait`] says which keys have something to do. No callback, and no token appears outside.
//!
//! Readiness is edge-triggered, as mio's: whoever gets a key works until the operation would block, or asks to be
//! given the key [`again`](Reactor::again).

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use std::hash::Hash;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

mod hang_ups;
mod keys;
mod signals;
mod timers;
mod wakers;

pub use hang_ups::HangUps;
use keys::Keyed;
pub use signals::Signals;
use timers::Timers;
pub use wakers::Waker;
use wakers::Wakers;

const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How many sources one epoll_wait(2) tells of.
const EVENTS_AT_ONCE: usize = 256;

/// Readable.
pub const READABLE: Interest = Interest::READABLE;
/// Writable.
pub const WRITABLE: Interest = Interest::WRITABLE;
/// Readable and writable.
pub const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
/// Urgent data of TCP, and out-of-band data of a unix socket.
pub const URGENT: Interest = Interest::PRIORITY;
/// Nothing but the errors and hang-ups that are always reported.
pub const CLOSED: Interest = Interest::PRIORITY;

/// What a key has to do.
#[derive(Clone, Copy, Debug)]
pub struct Event<K> {
    /// The key of the source or of the time.
    pub key: K,
    /// Reading may not block. Also at end of file and on errors.
    pub readable: bool,
    /// Writing may not block. Also on errors.
    pub writable: bool,
    /// The peer sends no more, or all is over: reading comes to an end, perhaps behind bytes that are still there.
    pub closed: bool,
    /// There is an error to be taken from the source.
    pub failed: bool,
    /// A byte among those that are to be read is urgent, and a read stops before it. Told to who watches for [`URGENT`].
    pub urgent: bool,
    /// Its time has come.
    pub due: bool,
}

impl<K> Event<K> {
    fn of(key: K) -> Self {
        Event { key, readable: false, writable: false, closed: false, failed: false, urgent: false, due: false }
    }
}

/// The loop's sources and times, each with a key of the role's own.
#[derive(Debug)]
pub struct Reactor<K> {
    poll: Poll,
    registry: Rc<Registry>,
    events: Events,
    /// Tokens count up and are never used twice, so a late event of a source that is gone meets no other.
    next: usize,
    keys: Keyed<Token, (K, Weak<()>)>,
    sweep_at: usize,
    timers: Timers<K>,
    wakers: Wakers<K>,
    again: Vec<K>,
}

impl<K: Copy + Eq + Hash> Reactor<K> {
    /// A reactor without sources.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = Rc::new(poll.registry().try_clone()?);
        Ok(Reactor {
            poll,
            registry,
            events: Events::with_capacity(EVENTS_AT_ONCE),
            next: 0,
            keys: Keyed::default(),
            sweep_at: 64,
            timers: Timers::new(),
            wakers: Wakers::new(),
            again: Vec::new(),
        })
    }

    /// Watches a source until what is returned is dropped.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn register<S: Source>(&mut self, mut source: S, key: K, interest: Interest) -> io::Result<Registered<S>> {
        let token = Token(self.next);
        self.registry.register(&mut source, token, interest)?;
        self.next += 1;
        let alive = Rc::new(());
        self.keys.insert(token, (key, Rc::downgrade(&alive)));
        if self.keys.len() >= self.sweep_at {
            self.keys.retain(|_, (_, alive)| alive.strong_count() > 0);
            self.sweep_at = (self.keys.len() * 2).max(64);
        }
        Ok(Registered { source: Some(source), token, interest, registry: Rc::clone(&self.registry), _alive: alive })
    }

    /// Gives the key back as due at that time, instead of any time set for it before; `None`: not at all.
    pub fn set_deadline(&mut self, key: K, at: Option<Instant>) {
        self.timers.set(key, at);
    }

    /// Gives the key back at the next wait as readable and writable: its source was left before it would have blocked.
    pub fn again(&mut self, key: K) {
        if !self.again.contains(&key) {
            self.again.push(key);
        }
    }

    /// What other threads make this loop give the key back with, as readable.
    ///
    /// # Errors
    /// Those of eventfd(2) and epoll_ctl(2), and for the first waker of a loop only: all share one descriptor.
    pub fn waker(&mut self, key: K) -> io::Result<Waker> {
        self.wakers.add(&self.registry, key)
    }

    /// Waits until a source is ready or a time has come, and puts what has something to do into `events`.
    ///
    /// # Errors
    /// Those of epoll_wait(2); a signal is none.
    pub fn wait(&mut self, events: &mut Vec<Event<K>>) -> io::Result<()> {
        events.clear();
        // What was ready by then has been taken in when the times that had come by then are given back. A process may stand
        // still for long at any point, and what a peer has sent in time must not be too late then.
        let mut by = Instant::now();
        let timeout = if self.again.is_empty() { self.timers.time_left(|| by) } else { Some(Duration::ZERO) };
        // epoll_wait(2) counts milliseconds in an int; a longer wait comes round again.
        let mut timeout = timeout.map(|timeout| timeout.min(LONGEST_WAIT));
        // Each source is told of once, which bounds the rounds.
        for _ in 0..=self.keys.len() / EVENTS_AT_ONCE + 2 {
            let whole = match self.poll.poll(&mut self.events, timeout) {
                Ok(()) => self.take_in(events) < EVENTS_AT_ONCE,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(error),
            };
            if whole && (self.timers.is_empty() || self.timers.is_due(by)) {
                break;
            }
            let now = Instant::now();
            if whole && !self.timers.is_due(now) {
                break;
            }
            (by, timeout) = (now, Some(Duration::ZERO));
        }
        events.extend(self.again.drain(..).map(|key| Event { readable: true, writable: true, ..Event::of(key) }));
        while let Some(key) = self.timers.pop(by) {
            events.push(Event { due: true, ..Event::of(key) });
        }
        Ok(())
    }

    /// Translates what the kernel has told; of how many sources that was.
    fn take_in(&mut self, events: &mut Vec<Event<K>>) -> usize {
        let mut count = 0;
        for event in &self.events {
            count += 1;
            if event.token() == wakers::TOKEN {
                self.wakers.woken(|key| events.push(Event { readable: true, ..Event::of(key) }));
            } else if let Some((key, alive)) = self.keys.get(&event.token())
                && alive.strong_count() > 0
            {
                let failed = event.is_error();
                let closed = failed || event.is_read_closed() || event.is_write_closed();
                let readable = event.is_readable() || closed;
                let writable = event.is_writable() || failed || event.is_write_closed();
                let urgent = event.is_priority();
                events.push(Event { key: *key, readable, writable, closed, failed, urgent, due: false });
            }
        }
        count
    }
}

/// A watched source, which is watched no more when this is dropped.
#[derive(Debug)]
pub struct Registered<S: Source> {
    /// None only in the moment in which it is taken out.
    source: Option<S>,
    token: Token,
    interest: Interest,
    registry: Rc<Registry>,
    _alive: Rc<()>,
}

impl<S: Source> Registered<S> {
    /// Watches for something else from now on; what is the case already is told at the next wait.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch_for(&mut self, interest: Interest) -> io::Result<()> {
        let token = self.token;
        let registry = Rc::clone(&self.registry);
        registry.reregister(&mut **self, token, interest)?;
        self.interest = interest;
        Ok(())
    }

    /// Watches for this as well from now on; no system call is made when it does already.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn also_watch_for(&mut self, interest: Interest) -> io::Result<()> {
        let all = self.interest | interest;
        if all == self.interest { Ok(()) } else { self.watch_for(all) }
    }

    /// The source itself, watched no more.
    pub fn into_source(mut self) -> S {
        let mut source = self.source.take().unwrap_or_else(|| unreachable!("nobody else takes it"));
        // As when it is dropped.
        let _ = self.registry.deregister(&mut source);
        source
    }

    /// Closes a source that has no duplicate: the kernel then watches it no more by itself, which saves a system call.
    /// One with a duplicate would be watched for ever; drop that instead.
    pub fn close(mut self) {
        drop(self.source.take());
    }
}

impl<S: Source> Deref for Registered<S> {
    type Target = S;
    fn deref(&self) -> &S {
        self.source.as_ref().unwrap_or_else(|| unreachable!("who takes the source takes this as well"))
    }
}

impl<S: Source> DerefMut for Registered<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.source.as_mut().unwrap_or_else(|| unreachable!("who takes the source takes this as well"))
    }
}

impl<S: Source> Drop for Registered<S> {
    fn drop(&mut self) {
        if let Some(source) = &mut self.source {
            // Fails only when the source was never watched or is closed, and then there is nothing left to do.
            let _ = self.registry.deregister(source);
        }
    }
}

/// Any owned descriptor as a source.
#[derive(Debug)]
pub struct Descriptor<T>(pub T);

impl<T: AsFd> AsFd for Descriptor<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd> Source for Descriptor<T> {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_fd().as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests;
