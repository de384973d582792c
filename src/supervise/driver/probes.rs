//! Probing those that start: the hands of `supervise/probe.rs`.

use super::Driver;
use super::connections::Listener;
use crate::net::connect::{Coming, connect, is_connected, pair, reachable};
use crate::net::far_end::{self, FarEnd};
use crate::net::listener::Address;
use crate::net::status_line::{Answer, StatusLine};
use crate::process::holder;
use crate::reactor::{Descriptor, Event, READABLE, Registered};
use crate::supervise::Source;
use crate::supervise::probe::{Input as Happened, Probe, Seen, Step, Way};
use crate::supervise::settings::Pass;
use crate::supervise::state::{Input, Number, Word};
use crate::supervise::worker::Worker;
use log::{debug, info};
use nix::unistd::Pid;
use socket2::Socket;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Instant;

/// How many times an answer is read before others have their turn.
const READS: usize = 16;
/// Of how many descriptors of another generation's process it is looked whether a probe is among them: it only serves
/// the reason, and one that serves may have many.
const LOOKED_THROUGH: usize = 4096;
/// What is read at a time.
const PIECE: usize = 4096;

/// The probing of one generation, with what it has open.
pub(super) struct Probing {
    probe: Probe,
    /// The index of the listener, and where it is reached.
    listener: u16,
    at: Address,
    /// The connections of this try.
    tried: Vec<Socket>,
    /// The other end of the one that is to be passed over the channel, until it has been.
    coming: Option<Coming>,
    /// The one over which the request went.
    asked: Option<Registered<Descriptor<Socket>>>,
    answer: StatusLine,
}

impl Driver {
    /// Begins to probe a generation that has been started, where it is ready by its answer.
    pub(super) fn begin_probing(&mut self, number: Number) {
        let Some(question) = self.settings.probe.clone() else {
            return;
        };
        let Some((index, listener)) = (0..).zip(&self.listeners).find(|(_, one)| one.takes_connections()) else {
            return;
        };
        let way = match self.settings.pass {
            Pass::Listener => Way::Shared,
            Pass::Connections => Way::Channel,
        };
        let now = Instant::now();
        let probe = Probe::new(question, way, listener.address.to_string(), now);
        let probing = Probing {
            probe,
            listener: index,
            at: listener.address.clone(),
            tried: Vec::new(),
            coming: None,
            asked: None,
            answer: StatusLine::new(),
        };
        self.probes.insert(number, probing);
        self.reactor.set_deadline(Source::Probe(number), Some(now));
    }

    /// Closes what is open for it and forgets it.
    pub(super) fn end_probing(&mut self, number: Number) {
        self.reactor.set_deadline(Source::Probe(number), None);
        if let Some(mut probing) = self.probes.remove(&number) {
            probing.close();
        }
    }

    /// What came of it so far.
    pub(super) fn probe_result(&self, number: Number) -> Option<String> {
        self.probes.get(&number).map(|probing| probing.probe.to_string())
    }

    pub(super) fn probe_event(&mut self, number: Number, event: Event<Source>) {
        let starts = self.machine.starting() == Some(number);
        match self.probes.get(&number) {
            None => {}
            Some(probing) if !starts && !probing.probe.is_passed() => self.end_probing(number),
            Some(_) if event.due => self.probe_input(number, Happened::Due),
            Some(_) => self.read_probe_answer(number),
        }
    }

    /// Tells the probe what happened and does what it says, until it waits for something.
    fn probe_input(&mut self, number: Number, happened: Happened) {
        let mut next = Some(happened);
        while let Some(happened) = next.take() {
            let Some(probing) = self.probes.get_mut(&number) else {
                return;
            };
            debug!("probe of generation {number}: {happened:?}");
            let step = probing.probe.on(Instant::now(), happened);
            next = match step {
                None => None,
                Some(Step::Open(width)) => Some(self.open_probes(number, width)),
                Some(Step::Look) => self.look_at_probes(number),
                Some(Step::Ask) => self.ask_by_probe(number),
                Some(Step::Close) => {
                    debug!("generation {number}: {}", probing.probe);
                    probing.close();
                    None
                }
                Some(Step::Ready) => {
                    info!("generation {number} has passed its probe");
                    self.input(Input::Ready(number, Word::Probe));
                    None
                }
            };
        }
        let Some(probing) = self.probes.get(&number) else {
            return;
        };
        if probing.probe.is_done() {
            self.end_probing(number);
        } else {
            self.reactor.set_deadline(Source::Probe(number), probing.probe.deadline());
        }
    }

    fn open_probes(&mut self, number: Number, width: usize) -> Happened {
        // It must work also when clients have taken all other descriptors: they wait for this generation.
        self.reserve.release();
        let opened = match self.settings.pass {
            Pass::Listener => self.connect_probes(number, width),
            Pass::Connections => self.pass_probe(number),
        };
        self.reserve.refill();
        match opened {
            Ok(()) => Happened::Opened,
            Err(error) => Happened::Unopened(error.to_string()),
        }
    }

    /// Connects to the listener as clients do. One connection is enough.
    fn connect_probes(&mut self, number: Number, width: usize) -> io::Result<()> {
        let Some(probing) = self.probes.get_mut(&number) else {
            return Ok(());
        };
        let addresses = reachable(&probing.at);
        for _ in 0..width {
            match connect(&addresses) {
                Ok(socket) => probing.tried.push(socket),
                Err(error) if probing.tried.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Makes a connection that no client has made, and passes its other end.
    fn pass_probe(&mut self, number: Number) -> io::Result<()> {
        if let Some(probing) = self.probes.get_mut(&number) {
            let (ours, coming) = pair(&probing.at)?;
            probing.tried.push(ours);
            probing.coming = Some(coming);
        }
        self.hand_over_probe(number)
    }

    /// Passes the other end once it is there.
    fn hand_over_probe(&mut self, number: Number) -> io::Result<()> {
        let (Some(probing), Some(worker)) = (self.probes.get_mut(&number), self.workers.get_mut(&number)) else {
            return Ok(());
        };
        match probing.coming.take().map(Coming::arrive).transpose()? {
            None => Ok(()),
            Some(Ok(end)) => worker.channel.pass_probe(probing.listener, end),
            Some(Err(coming)) => {
                probing.coming = Some(coming);
                Ok(())
            }
        }
    }

    fn look_at_probes(&mut self, number: Number) -> Option<Happened> {
        self.reserve.release();
        let happened = match self.settings.pass {
            Pass::Connections => self.look_at_channel(number),
            Pass::Listener => self.look_at_processes(number),
        };
        self.reserve.refill();
        happened
    }

    fn look_at_channel(&mut self, number: Number) -> Option<Happened> {
        if let Err(error) = self.hand_over_probe(number) {
            return Some(Happened::Unopened(error.to_string()));
        }
        let (probing, worker) = (self.probes.get(&number)?, self.workers.get(&number)?);
        Some(Happened::Seen(if probing.coming.is_some() {
            Seen::Nobody
        } else if worker.channel.has_taken_probe() {
            Seen::Ours
        } else if probing.tried.iter().any(|one| far_end::has_heard(one.as_fd())) {
            // It was passed over a channel that the generation has left for another.
            Seen::Unseen
        } else {
            Seen::Nobody
        }))
    }

    fn look_at_processes(&mut self, number: Number) -> Option<Happened> {
        let others = self.workers.iter().filter(|(other, _)| **other != number);
        let others = others.map(|(other, worker)| (*other, roots(worker))).collect::<Vec<_>>();
        let ours = roots(self.workers.get(&number)?);
        let happened = self.probes.get_mut(&number)?.look(&ours, &others);
        let probing = self.probes.get(&number)?;
        let unseen = happened == Happened::Seen(Seen::Unseen) && probing.probe.path().is_none();
        let listener = self.listeners.get(usize::from(probing.listener)).and_then(Listener::inode);
        // A child that closes at once was not seen with it. But where nobody else can accept, it was this one.
        let alone = listener.filter(|_| unseen).is_some_and(|listener| is_alone(listener, &ours, &others));
        Some(if alone { Happened::Seen(Seen::Ours) } else { happened })
    }

    /// Sends the request over the connection that the generation has.
    fn ask_by_probe(&mut self, number: Number) -> Option<Happened> {
        let probing = self.probes.get_mut(&number)?;
        let mut socket = probing.tried.pop()?;
        let path = probing.probe.path()?;
        let host = match &probing.at {
            Address::Internet(_) => socket.peer_addr().ok().and_then(|peer| peer.as_socket()).map(|at| at.to_string()),
            Address::Path(_) | Address::Abstract(_) | Address::Unnamed => None,
        };
        // A pair of ours has a port that nobody knows.
        let host = match (self.settings.pass, &probing.at) {
            (Pass::Connections, Address::Internet(at)) => at.to_string(),
            (Pass::Connections | Pass::Listener, _) => host.unwrap_or_else(|| "localhost".into()),
        };
        let request = request(path, &host);
        // The buffer of a new connection takes it whole.
        match socket.write(request.as_bytes()) {
            Ok(length) if length == request.len() => {}
            Ok(_) | Err(_) => return Some(Happened::Ended),
        }
        probing.answer = StatusLine::new();
        match self.reactor.register(Descriptor(socket), Source::Probe(number), READABLE) {
            Ok(registered) => probing.asked = Some(registered),
            Err(_) => return Some(Happened::Ended),
        }
        None
    }

    fn read_probe_answer(&mut self, number: Number) {
        for _ in 0..READS {
            let Some(probing) = self.probes.get_mut(&number) else {
                return;
            };
            let Some(happened) = probing.read() else {
                return;
            };
            if let Some(happened) = happened {
                self.probe_input(number, happened);
            }
        }
        self.reactor.again(Source::Probe(number));
    }
}

impl Probing {
    /// Looks who has the connections, given the processes that the generation and each other one is made of. Of those
    /// that the generation has accepted one is left; those that another has are closed.
    fn look(&mut self, ours: &[Pid], others: &[(Number, Vec<Pid>)]) -> Happened {
        let mut held = Vec::new();
        let mut waits = false;
        for socket in std::mem::take(&mut self.tried) {
            let far = match is_connected(&socket) {
                Ok(true) => far_end::look(socket.as_fd()),
                Ok(false) => Ok(FarEnd::Waiting),
                Err(error) => return Happened::Unopened(error.to_string()),
            };
            match far {
                Ok(FarEnd::Waiting) => {
                    waits = true;
                    self.tried.push(socket);
                }
                Ok(FarEnd::Held(inode)) => held.push((inode, socket)),
                Ok(FarEnd::Closed) => let_go(socket),
                Err(error) => {
                    return Happened::Seen(Seen::Blind(format!(
                        "the kernel does not tell who has accepted it: {error}"
                    )));
                }
            }
        }
        let seen = if held.is_empty() { Seen::Unseen } else { self.sort_out(held, ours, others) };
        match seen {
            Seen::Another(_) | Seen::Stranger | Seen::Unseen if waits => Happened::Seen(Seen::Nobody),
            seen => Happened::Seen(seen),
        }
    }

    /// Looks who has the accepted ones.
    fn sort_out(&mut self, held: Vec<(u64, Socket)>, ours: &[Pid], others: &[(Number, Vec<Pid>)]) -> Seen {
        let inodes = held.iter().map(|(inode, _)| *inode).collect::<Vec<_>>();
        let all = |roots: &[Pid]| roots.iter().flat_map(|root| holder::tree(*root)).collect::<Vec<_>>();
        let below = all(ours);
        let mut search = holder::search(&below, &inodes, usize::MAX);
        let has_one = |roots: &[Pid]| holder::search(&all(roots), &inodes, LOOKED_THROUGH).found.is_some();
        let another = others.iter().find(|(_, roots)| search.found.is_none() && has_one(roots));
        if search.found.is_none() && another.is_none() {
            // A process whose parent has gone is below nobody, but in the group still.
            let mut group = ours.iter().flat_map(|root| holder::group(*root)).collect::<Vec<_>>();
            group.retain(|pid| !below.contains(pid));
            search.found = holder::search(&group, &inodes, usize::MAX).found;
        }
        let mut ours = None;
        for (inode, socket) in held {
            if search.found == Some(inode) { ours = Some(socket) } else { let_go(socket) }
        }
        match (ours, another, search.unreadable) {
            (Some(socket), _, _) => {
                self.tried.drain(..).for_each(let_go);
                self.tried.push(socket);
                Seen::Ours
            }
            (None, Some((number, _)), _) => Seen::Another(*number),
            (None, None, Some((pid, error))) => {
                Seen::Blind(format!("the descriptors of process {pid} cannot be read: {error}"))
            }
            (None, None, None) => Seen::Stranger,
        }
    }

    /// Reads a piece of the answer; `None` when nothing more is there now.
    fn read(&mut self) -> Option<Option<Happened>> {
        let mut piece = [0; PIECE];
        match self.asked.as_mut()?.0.read(&mut piece) {
            Ok(0) => Some(Some(Happened::Ended)),
            Ok(bytes) if self.probe.is_answered() => Some(Some(Happened::Read(bytes))),
            Ok(bytes) => Some(match self.answer.read(&piece[..bytes]) {
                Answer::More => None,
                Answer::Status(status) => Some(Happened::Answered(status)),
                Answer::Garbage => Some(Happened::Garbage),
                Answer::Endless => Some(Happened::Endless),
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(None),
            Err(_) => Some(Some(Happened::Ended)),
        }
    }

    fn close(&mut self) {
        self.tried.drain(..).for_each(let_go);
        (self.coming, self.asked) = (None, None);
    }
}

/// Whether a generation alone, besides ourselves, has this listener.
fn is_alone(listener: u64, ours: &[Pid], others: &[(Number, Vec<Pid>)]) -> bool {
    let below = |roots: &[Pid]| roots.iter().flat_map(|root| holder::tree(*root)).collect::<Vec<_>>();
    // Those who most likely have it first, since looking at all processes takes a while.
    if others.iter().any(|(_, roots)| holder::search(&below(roots), &[listener], LOOKED_THROUGH).found.is_some()) {
        return false;
    }
    let mut family = below(ours);
    family.extend(ours.iter().flat_map(|leader| holder::group(*leader)));
    family.push(Pid::this());
    holder::nobody_else_has(listener, &family)
}

/// The processes that a generation is made of, each with its descendants.
fn roots(worker: &Worker) -> Vec<Pid> {
    let (leader, main) = (worker.process.pid(), worker.main_pid());
    if leader == main { vec![leader] } else { vec![leader, main] }
}

fn request(path: &str, host: &str) -> String {
    let agent = concat!("socket-protector/", env!("CARGO_PKG_VERSION"));
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n")
}

/// Closes a connection in the ordinary way: what has come is read, since the kernel resets what is closed unread.
fn let_go(mut socket: Socket) {
    let _ = socket.shutdown(Shutdown::Write);
    let mut rest = [0; PIECE];
    for _ in 0..READS {
        if !matches!(socket.read(&mut rest), Ok(1..)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn the_request_is_what_any_server_takes() {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUser-Agent: socket-protector/{version}\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(request("/healthz?deep=1", "127.0.0.1:80"), expected);
    }
}
