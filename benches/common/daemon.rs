//! The daemon that is supervised: it reads one line from each connection, answers with one, and closes.
//!
//! What it does for a connection is the same whatever way the connection came, so that figures differ by the way only.

use super::machine::{now, raise_open_files};
use super::{Result, sys};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::getppid;
use socket_protector_client::{Protector, descriptors};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// While the file that it names exists, a new daemon fails at once.
pub const FAIL_FILE: &str = "SUPERVISE_BENCH_FAIL_FILE";
/// How many milliseconds a new daemon needs until it can serve.
pub const START_MS: &str = "SUPERVISE_BENCH_START_MS";

/// The event of the source; every other number is a connection's descriptor.
const SOURCE: u64 = u64::MAX;
/// How many connections are taken before those that there are have their turn.
const BURST: usize = 64;
/// How often a daemon that accepts by itself asks whether it is time to drain.
const LOOK: Duration = Duration::from_millis(5);

/// Where connections come from.
enum Source {
    /// A listener that the daemon accepts from, and whoever tells it when to stop, if that is not a signal.
    Listener(TcpListener, Option<Protector>),
    /// The client library, whatever it was given.
    Library(Protector),
    /// A unix socket on which each message carries descriptors: the original's way.
    Rendezvous(UnixStream, Vec<OwnedFd>),
}

impl Source {
    /// `bind:PORT`, `rendezvous:PORT`, or what the environment says; `library` accepts by the library in any case.
    fn find(arguments: &[String]) -> Result<Source> {
        let value = |name: &str| arguments.iter().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
        if let Some(port) = value("bind:") {
            return Source::listener(TcpListener::bind(("0.0.0.0", port.parse()?))?, None);
        }
        if let Some(port) = value("rendezvous:") {
            return Source::rendezvous(&port);
        }
        if let Some(protector) = Protector::from_env()? {
            let by_itself = !arguments.iter().any(|word| word == "library");
            return match protector.listeners().first().filter(|_| by_itself) {
                Some(listener) => Source::listener(TcpListener::from(listener.try_clone()?), Some(protector)),
                None => {
                    protector.set_nonblocking(true)?;
                    Ok(Source::Library(protector))
                }
            };
        }
        let inherited = match (std::env::var("SERVER_STARTER_PORT"), std::env::var("LISTEN_FDS")) {
            (Ok(ports), _) => ports.rsplit('=').next().unwrap_or_default().parse()?,
            (Err(_), Ok(_)) => 3,
            (Err(_), Err(_)) => return Err("nothing to serve from was given".into()),
        };
        Source::listener(TcpListener::from(sys::adopt(inherited)), None)
    }

    fn listener(listener: TcpListener, protector: Option<Protector>) -> Result<Source> {
        listener.set_nonblocking(true)?;
        Ok(Source::Listener(listener, protector))
    }

    fn rendezvous(port: &str) -> Result<Source> {
        let mut name = format!("sock_srv_{port}").into_bytes();
        name.resize(107, 0);
        let address = SocketAddr::from_abstract_name(name)?;
        let started = Instant::now();
        loop {
            match UnixStream::connect_addr(&address) {
                Ok(stream) => return Ok(Source::Rendezvous(stream, Vec::new())),
                Err(error) if started.elapsed() > Duration::from_secs(2) => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    fn ready(&self) -> Result<()> {
        match self {
            Source::Listener(_, Some(protector)) | Source::Library(protector) => Ok(protector.ready()?),
            Source::Listener(_, None) | Source::Rendezvous(..) => Ok(()),
        }
    }

    /// The next connection; none when it is time to drain.
    fn take(&mut self) -> io::Result<Option<OwnedFd>> {
        match self {
            Source::Listener(listener, _) => listener.accept().map(|(stream, _)| Some(stream.into())),
            Source::Library(protector) => protector.accept().map(|taken| taken.map(OwnedFd::from)),
            Source::Rendezvous(stream, arrived) => match arrived.pop() {
                Some(connection) => Ok(Some(connection)),
                None => descriptors::receive(stream.as_fd(), &mut [0], arrived, false).map(|_| arrived.pop()),
            },
        }
    }

    /// Whether it is time to drain although connections may still come.
    fn is_over(&self) -> bool {
        matches!(self, Source::Listener(_, Some(protector)) if protector.is_draining())
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Source::Listener(listener, _) => listener.as_fd(),
            Source::Library(protector) => protector.as_fd(),
            Source::Rendezvous(stream, _) => stream.as_fd(),
        }
    }
}

struct Daemon {
    epoll: Epoll,
    source: Option<Source>,
    /// Open connections by their descriptors' numbers.
    connections: HashMap<RawFd, OwnedFd>,
    /// Connections in progress, with the time at which they are answered; a load asks for the same time every time.
    held: VecDeque<(Instant, OwnedFd)>,
    answer: String,
}

/// Serves until it is told to drain, or its supervisor has gone, and nothing is in progress.
pub fn run(arguments: &[String]) -> Result<()> {
    let started = now();
    if std::env::var_os(FAIL_FILE).is_some_and(|path| Path::new(&path).exists()) {
        return Err("told to fail".into());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGTERM, libc::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    raise_open_files()?;
    if let Ok(delay) = std::env::var(START_MS) {
        std::thread::sleep(Duration::from_millis(delay.parse()?));
    }
    let source = Source::find(arguments)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut events = EpollFlags::EPOLLIN;
    // Two generations listen during a reload; a connection shall wake one of them.
    events.set(EpollFlags::EPOLLEXCLUSIVE, matches!(source, Source::Listener(..)));
    epoll.add(&source, EpollEvent::new(events, SOURCE))?;
    source.ready()?;
    let answer = format!("{} {started} {} OK\n", std::process::id(), now());
    let (connections, held) = (HashMap::new(), VecDeque::new());
    Daemon { epoll, source: Some(source), connections, held, answer }.serve(&stop)
}

impl Daemon {
    fn serve(mut self, stop: &AtomicBool) -> Result<()> {
        let supervisor = getppid();
        let mut events = [EpollEvent::empty(); 128];
        let mut looked = Instant::now();
        while self.source.is_some() || !self.connections.is_empty() || !self.held.is_empty() {
            let patience = if self.held.is_empty() { 20_u8 } else { 1 };
            let count = match self.epoll.wait(&mut events, patience) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            for event in &events[..count] {
                match event.data() {
                    SOURCE => self.take()?,
                    number => self.read(number as RawFd),
                }
            }
            while self.held.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                self.held.pop_front().into_iter().for_each(|(_, connection)| self.reply(connection));
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let left_alone = count == 0 && getppid() != supervisor;
                if stop.load(Ordering::Relaxed) || left_alone || self.source.as_ref().is_some_and(Source::is_over) {
                    self.stop_taking()?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<()> {
        for _ in 0..BURST {
            let Some(source) = &mut self.source else {
                break;
            };
            match source.take() {
                Ok(Some(connection)) => {
                    let number = connection.as_raw_fd();
                    self.epoll.add(&connection, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
                    self.connections.insert(number, connection);
                }
                Ok(None) => self.stop_taking()?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn stop_taking(&mut self) -> Result<()> {
        self.source.take().map_or(Ok(()), |source| Ok(self.epoll.delete(&source)?))
    }

    fn read(&mut self, number: RawFd) {
        let mut line = [0; 32];
        let length = match recv(number, &mut line, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => return,
            // Gone before it asked: closed without an answer.
            Err(_) => 0,
            Ok(length) => length,
        };
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        match std::str::from_utf8(&line[..length]).ok().and_then(|line| line.trim_end().parse().ok()) {
            None => {}
            Some(0) => self.reply(connection),
            Some(hold) => {
                // Watched no more: a client that closes early would wake us again and again.
                let _ = self.epoll.delete(&connection);
                self.held.push_back((Instant::now() + Duration::from_millis(hold), connection));
            }
        }
    }

    fn reply(&self, connection: OwnedFd) {
        // A client that has gone is its own business; the load counts what did not come.
        let _ = send(connection.as_raw_fd(), self.answer.as_bytes(), MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }
}
