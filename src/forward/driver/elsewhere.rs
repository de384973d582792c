//! Connections that could not be handed over at a restart: here, in a process that has left, and as the one that has taken
//! over hears of them.

use super::Driver;
use super::leaving::TO_SERVE;
use crate::forward::Source;
use crate::forward::restart::rest::{FromOld, Lines, Rest, ToOld};
use crate::forward::state::{DestinationId, Input};
use crate::net::relay::{Counts, Which};
use crate::reactor::{BOTH, Descriptor, Event, Reactor};
use log::{error, info, warn};
use nix::sys::signal::Signal;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Between two looks at the counts.
const LOOK: Duration = Duration::from_millis(100);

/// What a process that has left knows.
pub(super) struct Staying {
    successor: Lines,
    /// The counts at the restart.
    base: HashMap<DestinationId, Counts>,
    told: Option<Vec<Rest>>,
    since: Instant,
    /// The other process serves, and has the pid file.
    served: bool,
    /// How often it is still to be told to stop.
    stops: usize,
}

impl Staying {
    pub(super) fn new(
        reactor: &mut Reactor<Source>,
        stream: UnixStream,
        base: HashMap<DestinationId, Counts>,
    ) -> io::Result<Self> {
        let successor = lines(reactor, stream, Source::Successor, Vec::new())?;
        Ok(Staying { successor, base, told: None, since: Instant::now(), served: false, stops: 0 })
    }
}

/// A process before this one, which may still have connections.
pub(super) struct Older {
    lines: Lines,
    rest: Vec<Rest>,
    /// Destinations whose connections were cut: they are gone, even if it has not said so yet.
    cut: HashSet<u64>,
    /// It was told to stop, and has passed that on.
    stopped: bool,
}

fn lines(reactor: &mut Reactor<Source>, stream: UnixStream, key: Source, heard: Vec<u8>) -> io::Result<Lines> {
    stream.set_nonblocking(true)?;
    Ok(Lines::new(reactor.register(Descriptor(stream), key, BOTH)?, heard))
}

/// In the process that has left.
impl Driver {
    fn rest(&self, base: &HashMap<DestinationId, Counts>) -> Vec<Rest> {
        let rest = self.places.iter().map(|(id, place)| {
            let (now, then) = (place.target.counts(), base.get(id));
            let since = |now: u64, then: Option<u64>| now.saturating_sub(then.unwrap_or_default());
            Rest {
                destination: id.0,
                connections: now.connections,
                bytes_in: since(now.bytes_in, then.map(|then| then.bytes_in)),
                bytes_out: since(now.bytes_out, then.map(|then| then.bytes_out)),
                failures: since(now.failures, then.map(|then| then.failures)),
            }
        });
        let mut rest =
            rest.filter(|rest| *rest != Rest { destination: rest.destination, ..Rest::default() }).collect::<Vec<_>>();
        rest.sort_by_key(|rest| rest.destination);
        rest
    }

    /// Tells the new process what is left here, if that has changed, and ends when nothing is.
    pub(super) fn tell_rest(&mut self) {
        let Some(mut staying) = self.staying.take() else {
            return;
        };
        while staying.stops > 0 && staying.successor.tell(&FromOld::Stop) {
            staying.stops -= 1;
        }
        let rest = self.rest(&staying.base);
        if staying.told.as_ref() != Some(&rest) && staying.successor.tell(&FromOld::Rest(rest.clone())) {
            let count = rest.iter().map(|rest| rest.connections).sum::<u64>();
            if staying.told.is_none() && count > 0 {
                info!("{count} connections cannot be handed over, and stay here until they end");
            }
            staying.told = Some(rest);
        }
        let idle = self.places.values().all(|place| place.target.counts().connections == 0);
        let served = staying.served || staying.since.elapsed() >= TO_SERVE;
        let told = staying.stops == 0 && staying.successor.write();
        if idle && served && told && self.control.all_answered() && !self.finished {
            info!("nothing is left here, and this process ends; the one that has taken over goes on");
            self.finished = true;
        }
        self.staying = Some(staying);
        self.reactor.set_deadline(Source::Rest, Some(Instant::now() + LOOK));
    }

    /// A connection here could not be made, which may undo a switch there.
    pub(super) fn tell_failure(&mut self, destination: u64, why: String) {
        if let Some(staying) = &mut self.staying {
            staying.successor.tell(&FromOld::Failed { destination, why });
        }
    }

    pub(super) fn hear_successor(&mut self, event: Event<Source>) {
        let Some(staying) = &mut self.staying else {
            return;
        };
        if event.writable {
            staying.successor.write();
        }
        let (lines, there) = staying.successor.read();
        for line in lines {
            match serde_json::from_slice::<ToOld>(&line) {
                Ok(ToOld::Cut(destinations)) => {
                    let cut = destinations.into_iter().map(|id| self.relay.cut(Which::Destination(id)));
                    info!("{} connections were cut", cut.sum::<usize>());
                }
                Ok(ToOld::Reopen) => self.reopen_log(),
                Ok(ToOld::Serving) => {
                    // Those that have come were sent to whom the pid file named until now.
                    self.take_signals();
                    if let Some(staying) = &mut self.staying {
                        staying.served = true;
                    }
                }
                Err(error) => warn!("the other process is not understood: {error}"),
            }
        }
        if there {
            self.tell_rest();
        } else {
            // What was stopped there is stopped here.
            self.cut_the_rest("the process that has taken over has ended");
        }
    }

    /// A signal to stop. Until the other process has the pid file it was meant for the forwarder, whoever that is; later
    /// for what is left here.
    pub(super) fn told_to_stop_after_all(&mut self, signal: Signal) {
        match &mut self.staying {
            Some(staying) if !staying.served => {
                info!("{signal}: passed on to the process that has taken over");
                staying.stops += 1;
                self.tell_rest();
            }
            Some(_) | None => self.cut_the_rest(&format!("{signal}: the process that has taken over goes on")),
        }
    }

    fn cut_the_rest(&mut self, why: &str) {
        let count = self.relay.cut(Which::All);
        info!("{why}; {count} connections that were left here were cut, and this process ends");
        self.finished = true;
    }

    pub(super) fn reopen_log(&self) {
        if let Err(error) = self.logging.reopen() {
            error!("{}", crate::chain(&error));
        }
    }
}

/// In the process that has taken over.
impl Driver {
    /// Listens to a process before this one.
    pub(super) fn add_older(&mut self, stream: UnixStream, heard: Vec<u8>, rest: Vec<Rest>) -> io::Result<u64> {
        let number = self.number();
        let lines = lines(&mut self.reactor, stream, Source::Older(number), heard)?;
        self.older.insert(number, Older { lines, rest, cut: HashSet::new(), stopped: false });
        Ok(number)
    }

    /// The streams for the next process, in the order of [`Driver::older_rest`], and what is half heard there.
    pub(super) fn older_streams(&self) -> impl Iterator<Item = (BorrowedFd<'_>, &[u8])> {
        self.sorted_older().into_iter().map(|older| older.lines.lend())
    }

    pub(super) fn older_rest(&self) -> Vec<Vec<Rest>> {
        self.sorted_older().into_iter().map(|older| older.rest.clone()).collect()
    }

    fn sorted_older(&self) -> Vec<&Older> {
        let mut all = self.older.iter().collect::<Vec<_>>();
        all.sort_by_key(|(number, _)| **number);
        all.into_iter().map(|(_, older)| older).collect()
    }

    /// What runs on a destination in other processes.
    pub(super) fn stays(&self, id: DestinationId) -> Rest {
        let all = self.older.values().flat_map(|older| {
            older
                .rest
                .iter()
                .filter(|rest| rest.destination == id.0)
                .map(|rest| if older.cut.contains(&id.0) { Rest { connections: 0, ..*rest } } else { *rest })
        });
        all.fold(Rest { destination: id.0, ..Rest::default() }, |sum, rest| Rest {
            destination: id.0,
            connections: sum.connections + rest.connections,
            bytes_in: sum.bytes_in + rest.bytes_in,
            bytes_out: sum.bytes_out + rest.bytes_out,
            failures: sum.failures + rest.failures,
        })
    }

    pub(super) fn hear_older(&mut self, number: u64, event: Event<Source>) {
        let Some(older) = self.older.get_mut(&number) else {
            return;
        };
        if event.writable {
            older.lines.write();
        }
        let (lines, there) = older.lines.read();
        for line in lines {
            match serde_json::from_slice::<FromOld>(&line) {
                Ok(FromOld::Rest(rest)) => self.rest_is(number, rest),
                Ok(FromOld::Failed { destination, why }) => self.connect_failed(DestinationId(destination), why),
                Ok(FromOld::Stop) => self.stop_passed_on(number),
                Err(error) => warn!("an older process is not understood: {error}"),
            }
        }
        if !there {
            self.older_has_gone(number);
        }
    }

    /// A process before this one was told to stop, when the pid file still named it. Whoever did so may have told us, too.
    fn stop_passed_on(&mut self, number: u64) {
        let Some(older) = self.older.get_mut(&number) else {
            return;
        };
        let again = std::mem::replace(&mut older.stopped, true);
        if again || !self.machine.stopping() {
            self.told_to_stop("a signal to the process before this one");
            if !again {
                self.same_signal.comes_by(Instant::now());
            }
        }
    }

    fn rest_is(&mut self, number: u64, rest: Vec<Rest>) {
        let Some(older) = self.older.get_mut(&number) else {
            return;
        };
        let before = std::mem::replace(&mut older.rest, rest);
        self.look_whether_drained(&before);
    }

    /// Its connections have ended with it, and what it counted stays.
    fn older_has_gone(&mut self, number: u64) {
        let Some(older) = self.older.remove(&number) else {
            return;
        };
        for rest in &older.rest {
            if let Some(place) = self.places.get_mut(&DestinationId(rest.destination)) {
                place.before.bytes_in += rest.bytes_in;
                place.before.bytes_out += rest.bytes_out;
                place.before.failures += rest.failures;
            }
        }
        self.look_whether_drained(&older.rest);
    }

    fn look_whether_drained(&mut self, rest: &[Rest]) {
        for rest in rest {
            self.drained(DestinationId(rest.destination));
        }
    }

    /// Ends what runs on these destinations elsewhere; how many that were.
    pub(super) fn cut_elsewhere(&mut self, ids: &[DestinationId]) -> usize {
        let count = ids.iter().map(|id| self.stays(*id).connections).sum::<u64>();
        let numbers = ids.iter().map(|id| id.0).collect::<Vec<_>>();
        for older in self.older.values_mut() {
            // The end of this process cuts what it could not be told to cut.
            older.lines.tell(&ToOld::Cut(numbers.clone()));
            older.cut.extend(&numbers);
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Tells all processes before this one.
    pub(super) fn tell_older(&mut self, what: &ToOld) {
        for older in self.older.values_mut() {
            older.lines.tell(what);
        }
    }

    /// A connection to a destination could not be made, here or elsewhere.
    pub(super) fn connect_failed(&mut self, id: DestinationId, what: String) {
        self.why = Some(what);
        self.input(Input::ConnectFailed(id));
        self.why = None;
    }
}
