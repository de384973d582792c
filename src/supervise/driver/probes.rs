//! Probing those that start: the hands of `supervise/probe.rs`.

mod owner;

use self::owner::{Families, Looking};
use super::Driver;
use super::connections::Listener;
use crate::net::far_end;
use crate::net::listener::Address;
use crate::net::proxy_protocol::Header;
use crate::net::status_line::{Answer, StatusLine};
use crate::net::to_ourselves::{Coming, connect, pair, reachable};
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
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How many times an answer is read before others have their turn.
const READS: usize = 16;
/// How long it is looked who has a connection before others have their turn.
const LOOKS_FOR: Duration = Duration::from_millis(4);
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
    /// What is not looked through yet.
    looking: Option<Looking>,
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
            Pass::Listener | Pass::Relay => Way::Shared,
            Pass::Connections => Way::Channel,
        };
        let own = self.relayed.as_ref().and_then(|relayed| relayed.address(number));
        let at = own.unwrap_or_else(|| listener.address.clone());
        let now = Instant::now();
        let probe = Probe::new(question, way, at.to_string(), now);
        let probing = Probing {
            probe,
            listener: index,
            at,
            tried: Vec::new(),
            looking: None,
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
            Pass::Listener | Pass::Relay => self.connect_probes(number, width),
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
            Pass::Listener | Pass::Relay => self.look_at_processes(number),
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
        let others = others.map(|(other, worker)| (*other, roots(worker))).collect();
        let families = Families { ours: roots(self.workers.get(&number)?), others };
        let probing = self.probes.get_mut(&number)?;
        let listener = self.listeners.get(usize::from(probing.listener)).and_then(Listener::inode);
        // With an address of its own there is another listener, of which we do not know who else could have it.
        let listener = listener.filter(|_| self.settings.pass == Pass::Listener);
        let until = Instant::now() + LOOKS_FOR;
        Some(probing.look(&families, listener, &mut || Instant::now() >= until))
    }

    /// Sends the request over the connection that the generation has.
    fn ask_by_probe(&mut self, number: Number) -> Option<Happened> {
        let probing = self.probes.get_mut(&number)?;
        let mut socket = probing.tried.pop()?;
        let path = probing.probe.path()?;
        let at = match (self.settings.pass, &probing.at) {
            (Pass::Listener | Pass::Relay, Address::Internet(_)) => {
                socket.peer_addr().ok().and_then(|peer| peer.as_socket())
            }
            // A pair of ours has a port that nobody knows.
            (Pass::Connections, Address::Internet(at)) => Some(*at),
            (_, Address::Path(_) | Address::Abstract(_) | Address::Unnamed) => None,
        };
        let host = at.map_or_else(|| "localhost".to_owned(), host);
        // As the relay does; the header says that it speaks for nobody.
        let mut words = self.settings.proxy.map_or_else(Vec::new, |version| Header::Local.to_bytes(version));
        words.extend_from_slice(request(path, &host).as_bytes());
        // The buffer of a new connection takes it whole.
        match socket.write(&words) {
            Ok(length) if length == words.len() => {}
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
        if let Some(Looking::Pursues(pursuit)) = self.looking.take() {
            pursuit.into_held().for_each(|(_, socket)| let_go(socket));
        }
        self.tried.drain(..).for_each(let_go);
        (self.coming, self.asked) = (None, None);
    }
}

/// The processes that a generation is made of, each with its descendants.
fn roots(worker: &Worker) -> Vec<Pid> {
    let (leader, main) = (worker.process.pid(), worker.main_pid());
    if leader == main { vec![leader] } else { vec![leader, main] }
}

/// An address as a header names it: the zone of a link-local one is ours alone; see RFC 6874, section 4.
fn host(mut at: SocketAddr) -> String {
    if let SocketAddr::V6(at) = &mut at {
        at.set_scope_id(0);
    }
    at.to_string()
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
    use super::{host, request};
    use std::net::SocketAddrV6;

    #[test]
    fn a_host_has_no_zone() {
        assert_eq!(host("127.0.0.1:80".parse().unwrap()), "127.0.0.1:80");
        assert_eq!(host("[::1]:80".parse().unwrap()), "[::1]:80");
        let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 2);
        assert_eq!(link_local.to_string(), "[fe80::1%2]:80");
        assert_eq!(host(link_local.into()), "[fe80::1]:80");
    }

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
