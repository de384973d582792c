//! What other threads tell the control thread: how probes went, and that certificates have changed.

use super::Driver;
use crate::forward::Source;
use crate::forward::probe::{self, Probe};
use crate::forward::restart::plan::{Plan, SCHEMA};
use crate::forward::state::{DestinationId, Input};
use crate::net::tls::{Change, ClientIdentity, ServerIdentity, Watch};
use crate::reactor::Waker;
use crate::takeover::{Exchange, ExchangeError};
use log::{error, info, warn};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Between two looks at the files of certificates and keys.
const FILE_CHECK: Duration = Duration::from_secs(2);

/// Something that another thread tells.
enum Told {
    Probed { number: u64, to: DestinationId, result: Result<(), String> },
    Certificate(Change),
    Successor(Exchange, Result<(), ExchangeError>),
}

/// Probes that are to be made or under way, and the watch over certificates.
pub(super) struct Trials {
    sender: Sender<Told>,
    receiver: Receiver<Told>,
    waker: Waker,
    files: Watch,
    planned: HashMap<DestinationId, (Probe, Duration)>,
    /// By which number each is known that somebody wants to know of, and how it is made.
    running: HashMap<DestinationId, (u64, Probe, Duration)>,
    next: u64,
}

impl Trials {
    pub(super) fn new(waker: Waker) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let files = {
            let (sender, waker) = (sender.clone(), waker.clone());
            Watch::start(FILE_CHECK, move |change| tell(&sender, &waker, Told::Certificate(change)))?
        };
        Ok(Trials { sender, receiver, waker, files, planned: HashMap::new(), running: HashMap::new(), next: 0 })
    }

    /// Says how a destination is to be tried, should it come to that.
    pub(super) fn plan(&mut self, to: DestinationId, probe: Probe, within: Duration) {
        self.planned.insert(to, (probe, within));
    }

    /// It did not come to that.
    pub(super) fn unplan(&mut self, to: DestinationId) {
        self.planned.remove(&to);
    }

    pub(super) fn watch_server(&self, name: String, identity: &Arc<ServerIdentity>) {
        self.files.server(name, identity);
    }

    pub(super) fn watch_client(&self, name: String, identity: &Arc<ClientIdentity>) {
        self.files.client(name, identity);
    }

    /// Lets a new process get ready, on a thread of its own, and tells when it is.
    pub(super) fn meet(&self, exchange: Exchange, plan: Plan) -> io::Result<()> {
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let body = move || {
            let ready = exchange.say(&plan).and_then(|()| exchange.hear_ready(SCHEMA));
            tell(&sender, &waker, Told::Successor(exchange, ready));
        };
        std::thread::Builder::new().name("restart".into()).spawn(body).map(drop)
    }

    /// How a destination is being tried.
    pub(super) fn probe_of(&self, id: DestinationId) -> Option<(Probe, Duration)> {
        self.running.get(&id).map(|(_, probe, within)| (probe.clone(), *within))
    }

    /// Looks at all files now.
    pub(super) fn look_at_files(&self) {
        self.files.look();
    }
}

fn tell(sender: &Sender<Told>, waker: &Waker, told: Told) {
    // Nobody listens any more: we are at the end.
    if sender.send(told).is_ok()
        && let Err(error) = waker.wake()
    {
        error!("cannot wake the control thread: {error}");
    }
}

impl Driver {
    /// Tries a destination, on a thread of its own: names are looked up, and answers waited for.
    pub(super) fn try_out(&mut self, to: DestinationId) {
        let Some(place) = self.places.get(&to) else {
            return;
        };
        let Some((probe, within)) = self.trials.planned.remove(&to) else {
            return;
        };
        info!("trying {} ({probe})", place.text);
        let deadline = Instant::now() + within;
        self.trials.next += 1;
        let number = self.trials.next;
        self.trials.running.insert(to, (number, probe.clone(), within));
        let (sender, waker, connect) = (self.trials.sender.clone(), self.trials.waker.clone(), place.connect.clone());
        let work = move || {
            let result = probe::run(&connect, &probe, deadline).map_err(|error| crate::chain(&error));
            tell(&sender, &waker, Told::Probed { number, to, result });
        };
        if let Err(error) = std::thread::Builder::new().name("probe".into()).spawn(work) {
            let result = Err(format!("no thread for it: {error}"));
            tell(&self.trials.sender, &self.trials.waker, Told::Probed { number, to, result });
        }
        // A look-up that hangs does not hear of the deadline.
        self.reactor.set_deadline(Source::Probe(to), Some(deadline + Duration::from_millis(100)));
    }

    pub(super) fn end_trial(&mut self, to: DestinationId) {
        self.trials.running.remove(&to);
        self.reactor.set_deadline(Source::Probe(to), None);
    }

    pub(super) fn probe_took_too_long(&mut self, to: DestinationId) {
        if self.trials.running.contains_key(&to) {
            self.probed(to, Err("it took too long".into()));
        }
    }

    pub(super) fn hear_what_is_told(&mut self) {
        while let Ok(told) = self.trials.receiver.try_recv() {
            match told {
                Told::Probed { number, to, result }
                    if self.trials.running.get(&to).is_some_and(|running| running.0 == number) =>
                {
                    self.probed(to, result);
                }
                Told::Probed { .. } => {}
                Told::Successor(exchange, ready) => self.successor_told(exchange, ready),
                Told::Certificate(change) if change.is_warning() => warn!("{change}"),
                Told::Certificate(change) => info!("{change}"),
            }
        }
    }

    fn probed(&mut self, to: DestinationId, result: Result<(), String>) {
        self.end_trial(to);
        let text = self.places.get(&to).map_or("it", |place| place.text.as_str());
        let ok = result.is_ok();
        self.why = result.err().map(|why| format!("the probe of {text} failed: {why}"));
        self.input(Input::Probed { to, ok });
        self.why = None;
    }
}
