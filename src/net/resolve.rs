//! Looking up host names without waiting for it.
//!
//! The system's own rules hold (hosts(5), nsswitch.conf(5), resolv.conf(5)), so getaddrinfo(3) is asked, which blocks: some
//! threads do that, and bring the answer to the loop that has asked. Nothing is remembered: each question is answered by
//! a lookup that began after it was asked.
//!
//! A name whose lookup hangs, since its server does not answer, holds a few threads at most. All who ask for it
//! meanwhile wait for one lookup together; whoever asks for another name notices nothing. Where many names hang, each holds
//! one thread: so a name that can be looked up is, as long as fewer than 512 others hang, and after some of theirs
//! have been given up by the system where there are more. Names are those of destinations and not of clients, so there are no
//! more of them than somebody has written down.

mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use log::error;
use thiserror::Error;

use self::queue::{Limits, Queue};
use crate::net::descriptors::Descriptors;
use crate::reactor::Waker;

/// How many names may be looked up at a time by one resolver, for all loops that it serves. Each thread that hangs takes a few pages of memory.
const THREADS: usize = 512;

/// How many lookups may be under way in all for a name to have another one beside its first.
const FURTHER: usize = 64;

/// How many of them may be for one name.
const FOR_ONE_NAME: usize = 4;

/// How many descriptors a lookup may have open: a socket for each name server, of which resolv.conf(5) takes three.
const FOR_A_LOOKUP: usize = 3;

/// How long a thread stays when there is nothing to do.
const IDLE: Duration = Duration::from_secs(10);

/// The addresses of a name, in the order in which they should be tried (RFC 6724); the ports are 0.
pub type Answer = Result<Vec<SocketAddr>, LookupError>;

/// Why a name has no addresses.
#[derive(Debug, Clone, Error)]
#[error(transparent)]
pub struct LookupError(Arc<io::Error>);

impl From<io::Error> for LookupError {
    fn from(error: io::Error) -> Self {
        LookupError(Arc::new(error))
    }
}

/// Looks up names for any number of loops, whose keys are `K`.
#[derive(Debug)]
pub struct Resolver<K> {
    shared: Arc<Shared<K>>,
}

/// Where the answers for one loop come in.
#[derive(Debug)]
pub struct Inbox<K> {
    sender: Sender<Delivery<K>>,
    receiver: Receiver<Delivery<K>>,
    waker: Waker,
}

/// A question that was asked. Dropping it takes it back, and no answer comes any more.
#[derive(Debug)]
pub struct Question {
    _open: Arc<()>,
}

#[derive(Debug)]
struct Delivery<K> {
    key: K,
    open: Weak<()>,
    answer: Answer,
}

#[derive(Debug)]
struct Request<K> {
    key: K,
    open: Weak<()>,
    sender: Sender<Delivery<K>>,
    waker: Waker,
}

struct Shared<K> {
    look_up: Box<LookUp>,
    state: Mutex<State<K>>,
    /// There is something to do, or nobody asks any more.
    news: Condvar,
}

type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

#[derive(Debug)]
struct State<K> {
    queue: Queue<Request<K>>,
    threads: usize,
    /// How many of them could take what is ready, those included that are about to start.
    idle: usize,
    /// The resolver is gone.
    closed: bool,
}

impl<K: Send + 'static> Resolver<K> {
    /// One that asks the system.
    pub fn system() -> Self {
        Resolver::new(look_up)
    }

    /// One that asks the system, and whose lookups count among these descriptors while they are under way.
    pub fn counted_in(descriptors: Arc<Descriptors>) -> Self {
        Resolver::new(counted(descriptors, look_up))
    }

    /// One that looks up in another way, which may block.
    pub fn new(look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        let limits = Limits { each: FOR_ONE_NAME, further: FURTHER };
        let queue = Queue::new(limits, |request: &Request<K>| request.open.strong_count() > 0);
        let state = State { queue, threads: 0, idle: 0, closed: false };
        let shared = Shared { look_up: Box::new(look_up), state: Mutex::new(state), news: Condvar::new() };
        Resolver { shared: Arc::new(shared) }
    }

    /// Asks for the addresses of a host; the answer comes into `inbox` with this key.
    pub fn ask(&self, host: &str, key: K, inbox: &Inbox<K>) -> Question {
        let open = Arc::new(());
        let request =
            Request { key, open: Arc::downgrade(&open), sender: inbox.sender.clone(), waker: inbox.waker.clone() };
        let mut state = self.shared.lock();
        state.queue.ask(host, request);
        if state.queue.ready() > state.idle && state.threads < THREADS {
            match self.start_thread() {
                Ok(()) => {
                    state.threads += 1;
                    state.idle += 1;
                }
                // Those that there are will come to it. Without any, nobody would.
                Err(error) if state.threads == 0 => refuse_all(&mut state.queue, &LookupError::from(error)),
                Err(error) => error!("cannot start another thread to look up names: {error}"),
            }
        }
        drop(state);
        self.shared.news.notify_one();
        Question { _open: open }
    }

    fn start_thread(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name("resolver".to_owned()).spawn(move || shared.work()).map(drop)
    }
}

fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

fn counted<F>(descriptors: Arc<Descriptors>, look_up: F) -> impl Fn(&str) -> io::Result<Vec<SocketAddr>>
where
    F: Fn(&str) -> io::Result<Vec<SocketAddr>>,
{
    move |host| {
        let _taken = descriptors.take_anyway(FOR_A_LOOKUP);
        look_up(host)
    }
}

fn refuse_all<K>(queue: &mut Queue<Request<K>>, error: &LookupError) {
    while let Some((host, requests)) = queue.next() {
        queue.done(&host);
        requests.into_iter().for_each(|request| request.answer(Err(error.clone())));
    }
}

impl<K> Drop for Resolver<K> {
    /// Ends the threads, each when its lookup has ended. They are not waited for: one that hangs would hold us up.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.news.notify_all();
    }
}

impl<K> Shared<K> {
    /// No thread can leave the state half changed, so what it held when it panicked is as good as any.
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread: until there was nothing to do for some time.
    fn work(&self) {
        let mut state = self.lock();
        state.idle -= 1;
        loop {
            if state.closed {
                break;
            }
            if let Some((host, requests)) = state.queue.next() {
                drop(state);
                let answer = (self.look_up)(&host).map_err(LookupError::from);
                state = self.lock();
                state.queue.done(&host);
                // Others may wait for this name.
                self.news.notify_one();
                requests.into_iter().for_each(|request| request.answer(answer.clone()));
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = self.news.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.ready() == 0 {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl<K> Request<K> {
    fn answer(self, answer: Answer) {
        let delivery = Delivery { key: self.key, open: self.open, answer };
        // A loop that is gone asks for nothing any more.
        if self.sender.send(delivery).is_ok()
            && let Err(error) = self.waker.wake()
        {
            error!("cannot wake the loop that has asked for a name: {error}");
        }
    }
}

impl<K> Inbox<K> {
    /// One whose loop is woken by this waker when an answer comes.
    pub fn new(waker: Waker) -> Self {
        let (sender, receiver) = mpsc::channel();
        Inbox { sender, receiver, waker }
    }

    /// The next answer, with the key of its question; those whose question was taken back are left out.
    pub fn next(&self) -> Option<(K, Answer)> {
        let open = self.receiver.try_iter().find(|delivery| delivery.open.strong_count() > 0);
        open.map(|delivery| (delivery.key, delivery.answer))
    }
}

impl<K> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
