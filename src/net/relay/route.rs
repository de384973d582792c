//! Where new connections of a listener go: destinations with their shares, exchanged while connections come in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::news::{News, NewsSender};
use super::settings::Settings;
use crate::net::endpoint::Connect;
use crate::net::tls::ClientIdentity;
use crate::time::TimeOrNever;

/// A place that connections are relayed to, with its live counts.
#[derive(Debug)]
pub struct Destination {
    id: u64,
    connect: Arc<Connect>,
    identity: Option<Arc<ClientIdentity>>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) half_closed_timeout: Option<Duration>,
    since: Instant,
    connections: AtomicU64,
    /// Whoever finds no connection and takes this back tells that it is drained: once, however the two meet.
    watched: AtomicBool,
    total: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    failures: AtomicU64,
    news: NewsSender,
}

/// How a destination is reached.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) connect: Connect,
    pub(super) identity: Option<Arc<ClientIdentity>>,
}

/// The counts of a destination at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Connections now, those that are still being made included.
    pub connections: u64,
    /// Connections ever.
    pub total: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Connections that could not be made.
    pub failures: u64,
}

impl Destination {
    /// What its endpoint says about times holds before the settings.
    pub(super) fn new(id: u64, reach: Reach, settings: &Settings, news: NewsSender) -> Arc<Destination> {
        let Reach { connect, identity } = reach;
        Arc::new(Destination {
            id,
            idle_timeout: connect.idle_timeout.map_or(settings.idle_timeout, TimeOrNever::limit),
            half_closed_timeout: connect.half_closed_timeout.map_or(settings.half_closed_timeout, TimeOrNever::limit),
            connect: Arc::new(connect),
            identity,
            since: Instant::now(),
            connections: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            total: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            news,
        })
    }

    /// The number that its maker gave it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How it is reached.
    pub fn connect(&self) -> &Arc<Connect> {
        &self.connect
    }

    pub(super) fn identity(&self) -> Option<&Arc<ClientIdentity>> {
        self.identity.as_ref()
    }

    /// How long it has existed.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Its counts.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::SeqCst),
            total: self.total.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Asks to be told when its last connection is closed; true when it has none now, and then nothing more is told.
    /// Otherwise [`News::Drained`] comes, once. To be called when no route leads here any more.
    pub fn watch(&self) -> bool {
        // Either this sees the count at 0, or the last connection, which goes after, sees the mark: both are SeqCst.
        self.watched.store(true, Ordering::SeqCst);
        self.connections.load(Ordering::SeqCst) == 0 && self.watched.swap(false, Ordering::SeqCst)
    }

    /// A route leads here again. News that was told before may still come.
    pub fn unwatch(&self) {
        self.watched.store(false, Ordering::SeqCst);
    }

    pub(super) fn count_bytes(&self, from_client: u64, to_client: u64) {
        if from_client > 0 {
            self.bytes_in.fetch_add(from_client, Ordering::Relaxed);
        }
        if to_client > 0 {
            self.bytes_out.fetch_add(to_client, Ordering::Relaxed);
        }
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// One connection in the count of its destination, from its accept until this is dropped, which comes after its sockets.
#[derive(Debug)]
pub(super) struct Counted(Arc<Destination>);

impl Counted {
    pub(super) fn new(destination: Arc<Destination>) -> Self {
        destination.connections.fetch_add(1, Ordering::SeqCst);
        destination.total.fetch_add(1, Ordering::Relaxed);
        Counted(destination)
    }

    /// One that was counted elsewhere before.
    pub(super) fn again(destination: Arc<Destination>) -> Self {
        destination.connections.fetch_add(1, Ordering::SeqCst);
        Counted(destination)
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.0.connections.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.watched.swap(false, Ordering::SeqCst) {
            self.0.news.tell(News::Drained { destination: self.0.id });
        }
    }
}

/// A destination's part of new connections.
#[derive(Debug, Clone)]
pub struct Share {
    /// Where they go.
    pub destination: Arc<Destination>,
    /// How many of the sum of all weights; 0 gets none.
    pub weight: u32,
}

/// What new connections of a listener get.
#[derive(Debug)]
pub struct Route {
    shares: Mutex<Vec<Weighed>>,
}

#[derive(Debug)]
struct Weighed {
    share: Share,
    /// How much it is owed.
    credit: i64,
}

impl Route {
    /// A route to these; to nowhere if there are none, and clients are closed at once then.
    pub fn new(shares: Vec<Share>) -> Arc<Route> {
        Arc::new(Route { shares: Mutex::new(weigh(shares)) })
    }

    /// Leads new connections to these. Once this has returned, none is counted on a destination that is not among them.
    pub fn set(&self, shares: Vec<Share>) {
        *self.lock() = weigh(shares);
    }

    /// The destination of the next connection, which is counted there from now on.
    ///
    /// Smooth weighted round robin: every sequence as long as the sum of the weights has the exact shares, and a
    /// destination's turns are spread over it.
    pub(super) fn choose(&self) -> Option<Counted> {
        let mut shares = self.lock();
        let sum: i64 = shares.iter().map(|weighed| i64::from(weighed.share.weight)).sum();
        let mut chosen: Option<&mut Weighed> = None;
        for weighed in shares.iter_mut().filter(|weighed| weighed.share.weight > 0) {
            weighed.credit += i64::from(weighed.share.weight);
            if chosen.as_ref().is_none_or(|chosen| weighed.credit > chosen.credit) {
                chosen = Some(weighed);
            }
        }
        let chosen = chosen?;
        chosen.credit -= sum;
        // Counted under the lock, so that whoever has set another route finds it in the count.
        Some(Counted::new(Arc::clone(&chosen.share.destination)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weighed>> {
        // Nothing under this lock can panic half way.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weigh(shares: Vec<Share>) -> Vec<Weighed> {
    shares.into_iter().map(|share| Weighed { share, credit: 0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::Reach;
    use super::{Counted, Destination, Route, Share};
    use crate::net::relay::Settings;
    use crate::net::relay::news::{News, NewsReceiver, news};
    use crate::reactor::Reactor;
    use std::sync::Arc;

    fn destinations<const N: usize>() -> ([Arc<Destination>; N], NewsReceiver, Reactor<()>) {
        let mut reactor = Reactor::new().unwrap();
        let (sender, receiver) = news(reactor.waker(()).unwrap());
        let reach = || Reach { connect: "localhost:1".parse().unwrap(), identity: None };
        let new = |id| Destination::new(id as u64, reach(), &Settings::default(), sender.clone());
        let made = std::array::from_fn(new);
        (made, receiver, reactor)
    }

    fn share(destination: &Arc<Destination>, weight: u32) -> Share {
        Share { destination: Arc::clone(destination), weight }
    }

    fn ids(route: &Route, count: usize) -> Vec<u64> {
        (0..count).map(|_| route.choose().unwrap().destination().id()).collect()
    }

    #[test]
    fn shares_are_exact_and_spread() {
        let ([old, canary, off], _receiver, _reactor) = destinations();
        let route = Route::new(vec![share(&old, 90), share(&canary, 10), share(&off, 0)]);
        let all = ids(&route, 1000);
        assert_eq!(all.iter().filter(|&&id| id == 1).count(), 100);
        for ten in all.chunks(10) {
            assert_eq!(ten.iter().filter(|&&id| id == 1).count(), 1, "one in ten, not ten in a hundred");
        }
        assert!(!all.contains(&2));
        route.set(vec![share(&canary, 1)]);
        assert_eq!(ids(&route, 3), [1, 1, 1]);
        route.set(Vec::new());
        assert!(route.choose().is_none());
    }

    #[test]
    fn a_watched_destination_is_told_to_be_drained_once() {
        let ([destination], mut receiver, _reactor) = destinations();
        assert!(destination.watch(), "it has no connection");
        let first = Counted::new(Arc::clone(&destination));
        drop(Counted::new(Arc::clone(&destination)));
        assert!(receiver.next().is_none());
        assert!(!destination.watch());
        let second = Counted::again(Arc::clone(&destination));
        drop(first);
        assert!(receiver.next().is_none());
        drop(second);
        assert!(matches!(receiver.next(), Some(News::Drained { destination: 0 })));
        assert_eq!((destination.counts().connections, destination.counts().total), (0, 2));
        drop(Counted::new(Arc::clone(&destination)));
        assert!(receiver.next().is_none(), "once");
        let third = Counted::new(Arc::clone(&destination));
        assert!(!destination.watch());
        destination.unwatch();
        drop(third);
        assert!(receiver.next().is_none(), "it serves again");
    }

    #[test]
    fn a_switch_and_the_last_connection_never_miss_each_other() {
        let ([first, second], mut receiver, _reactor) = destinations();
        let route = Route::new(vec![share(&first, 1)]);
        for turn in 0..2000 {
            let [old, new] = if turn % 2 == 0 { [&first, &second] } else { [&second, &first] };
            let connecting = Arc::clone(&route);
            let client = std::thread::spawn(move || drop(connecting.choose()));
            new.unwatch();
            route.set(vec![share(new, 1)]);
            let drained = old.watch();
            client.join().unwrap();
            let told = receiver.next().is_some();
            assert!(drained != told, "turn {turn}: drained {drained}, told {told}");
            assert_eq!(old.counts().connections, 0);
        }
    }
}
