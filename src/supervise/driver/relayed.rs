//! The relay pass: each generation has an address of its own, and connections are relayed to it.
//!
//! We accept and hold as in the connections pass. In place of the channel stands [`Relay`]: a held connection goes to a
//! loop of it with the generation's [`Destination`], and one whose generation cannot be reached comes back and is held
//! again. So what connects while no generation serves, or while one dies, waits for the next.
//!
//! A program that knows nothing of us dies of its drain signal with all that it was doing. It gets it when nothing runs
//! on it any more.

use super::Driver;
use crate::net::endpoint::{Connect, Host, HostPort, Peer, ProxyVersion, UnixAddress};
use crate::net::listener;
use crate::net::relay::{Destination, ListenerId, News, NewsReceiver, Relay, Settings, news};
use crate::reactor::Reactor;
use crate::supervise::Source;
use crate::supervise::address::{Address, AddressError, Addresses, Reservation};
use crate::supervise::hold::Held;
use crate::supervise::state::Number;
use crate::supervise::worker::StartError;
use log::{debug, info};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon a connection that came back is sent on its way again.
const RETRY: Duration = Duration::from_millis(20);

/// What the relay pass needs besides what the others have.
pub(super) struct Relayed {
    relay: Relay,
    news: NewsReceiver,
    /// How the relay calls our listeners, in their order.
    listeners: Vec<ListenerId>,
    addresses: Addresses,
    proxy: Option<ProxyVersion>,
    generations: BTreeMap<Number, Generation>,
    /// Connections came back: nothing is sent on its way before that.
    not_before: Option<Instant>,
}

/// A generation, as the relay knows it.
struct Generation {
    address: Address,
    _reservation: Option<Reservation>,
    destination: Arc<Destination>,
    /// It is to be drained once nothing runs on it.
    drain: Option<Drain>,
}

/// The command of a generation, and the port that it is to listen on.
type Addressed = (Rc<[OsString]>, Option<u16>);

/// What a drain was asked for with.
#[derive(Clone, Copy)]
struct Drain {
    signal: bool,
    take_back: bool,
}

impl Relayed {
    /// Starts the relay for these listeners.
    ///
    /// # Errors
    /// Those of epoll_create1(2), eventfd(2) and of starting threads.
    pub(super) fn start<'a>(
        reactor: &mut Reactor<Source>,
        listeners: impl Iterator<Item = BorrowedFd<'a>>,
        sockets: PathBuf,
        proxy: Option<ProxyVersion>,
    ) -> io::Result<Relayed> {
        let (sender, news) = news(reactor.waker(Source::Relay)?);
        let settings = Settings { threads: threads(), ..Settings::default() };
        let relay = Relay::start(settings, sender)?;
        let listeners = listeners.map(|listener| relay.accepted_elsewhere(listener)).collect::<io::Result<Vec<_>>>()?;
        let addresses = Addresses::new(sockets);
        Ok(Relayed { relay, news, listeners, addresses, proxy, generations: BTreeMap::new(), not_before: None })
    }

    /// The address of its own for a generation whose command this is.
    pub(super) fn prepare(&mut self, number: Number, command: &[OsString]) -> Result<Address, AddressError> {
        let (address, reservation) = self.addresses.fresh(number.0, command)?;
        let place = match &address {
            Address::Port(port) => Peer::Tcp(HostPort {
                host: Host::V4(Ipv4Addr::LOCALHOST),
                port: *port,
                bind_address: None,
                prefer: None,
            }),
            Address::Socket(path) => Peer::Unix(UnixAddress::Path(path.clone())),
        };
        let connect = Connect { proxy: self.proxy, ..Connect::from(place) };
        let destination = self.relay.destination(number.0, connect, None);
        self.generations.insert(
            number,
            Generation { address: address.clone(), _reservation: reservation, destination, drain: None },
        );
        Ok(address)
    }

    /// Where a generation is probed.
    pub(super) fn address(&self, number: Number) -> Option<listener::Address> {
        self.generations.get(&number).map(|generation| match &generation.address {
            Address::Port(port) => listener::Address::Internet(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
            Address::Socket(path) => listener::Address::Path(path.into()),
        })
    }

    /// How many connections run on a generation.
    pub(super) fn running(&self, number: Number) -> Option<u64> {
        self.generations.get(&number).map(|generation| generation.destination.counts().connections)
    }

    /// A generation is gone.
    pub(super) fn forget(&mut self, number: Number) {
        let gone = self.generations.remove(&number);
        if let Some(path) = gone.as_ref().and_then(|gone| gone.address.socket()) {
            // Most programs leave it behind, and nobody else has that name.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Whether connections run on a generation that is to be drained; then it is drained when they have ended.
    fn puts_off(&mut self, number: Number, drain: Drain) -> bool {
        let Some(generation) = self.generations.get_mut(&number) else {
            return false;
        };
        if generation.destination.watch() {
            return false;
        }
        generation.drain = Some(drain);
        true
    }
}

/// As many as there are cores, but for one: the children need some, too.
fn threads() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores - 1).unwrap_or(NonZeroUsize::MIN)
}

impl Driver {
    /// Relays what is held to this generation.
    pub(super) fn relay_to(&mut self, number: Number) {
        let Some(relayed) = &mut self.relayed else {
            return;
        };
        let Some(generation) = relayed.generations.get(&number) else {
            return;
        };
        if relayed.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        relayed.not_before = None;
        let passed = self.hold.release(usize::MAX).fold(0, |passed, held| {
            if let Some(listener) = relayed.listeners.get(usize::from(held.listener)) {
                relayed.relay.carry(held.connection, Arc::clone(&generation.destination), *listener);
            }
            passed + 1
        });
        self.counters.passed += passed;
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.passed += passed;
        }
        self.accept_again();
    }

    /// Drains a generation, or puts it off until nothing runs on it.
    pub(super) fn drain(&mut self, number: Number, signal: bool, take_back: bool) {
        let drain = Drain { signal, take_back };
        if self.relayed.as_mut().is_some_and(|relayed| relayed.puts_off(number, drain)) {
            info!("generation {number} drains when the connections have ended that run on it");
        } else {
            self.drain_now(number, signal, take_back);
        }
    }

    /// What the relay has to tell.
    pub(super) fn relay_news(&mut self) {
        let mut returned = Vec::new();
        while let Some(news) = self.relayed.as_mut().and_then(|relayed| relayed.news.next()) {
            match news {
                News::Returned { listener, client } => returned.extend(self.returned(listener, client)),
                News::Drained { destination } => self.nothing_runs_on(Number(destination)),
                News::ConnectFailed { destination, error, .. } => {
                    debug!("generation {destination} cannot be reached: {}", crate::chain(&error));
                }
                News::ClientFailed { error, .. } => debug!("a client: {}", crate::chain(&error)),
                News::Short { .. } | News::Enough { .. } | News::Ended(_) => {}
            }
        }
        self.hold_again(returned);
        self.pass_to_serving();
    }

    fn returned(&self, listener: ListenerId, connection: OwnedFd) -> Option<Held<OwnedFd>> {
        let listeners = &self.relayed.as_ref()?.listeners;
        let listener = listeners.iter().position(|known| *known == listener)?;
        Some(Held { listener: u16::try_from(listener).ok()?, state: None, connection })
    }

    /// Connections that came back are the oldest. They go to the same generation again if it still serves, but not at once:
    /// what keeps it from answering has to pass first.
    fn hold_again(&mut self, returned: Vec<Held<OwnedFd>>) {
        let Some(relayed) = self.relayed.as_mut().filter(|_| !returned.is_empty()) else {
            return;
        };
        let at = Instant::now() + RETRY;
        relayed.not_before = Some(at);
        self.reactor.set_deadline(Source::Relay, Some(at));
        self.counters.reclaimed += returned.len() as u64;
        self.hold.begin_putting_back();
        self.hold.put_back(returned);
    }

    fn nothing_runs_on(&mut self, number: Number) {
        let generation = self.relayed.as_mut().and_then(|relayed| relayed.generations.get_mut(&number));
        if let Some(Drain { signal, take_back }) = generation.and_then(|generation| generation.drain.take()) {
            self.drain_now(number, signal, take_back);
        }
    }

    /// The command of a generation with its address in it, and its port; the command as it is where it has none.
    pub(super) fn addressed(&mut self, number: Number, command: Rc<[OsString]>) -> Result<Addressed, StartError> {
        let Some(relayed) = &mut self.relayed else {
            return Ok((command, None));
        };
        let address = relayed.prepare(number, &command)?;
        Ok((address.fill(&command).into(), address.port()))
    }
}
