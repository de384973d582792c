//! A loop with one connection to make, and what it may meet.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream as StdStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, Type};

use crate::net::connecting::{Attempt, ConnectError, Connecting, Names, Progress, State};
use crate::net::endpoint::Connect;
use crate::net::listener::Address;
use crate::net::resolve::{Inbox, Resolver};
use crate::reactor::{Reactor, Registered};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Answers,
    Connecting,
    Late,
}

/// What a caller makes of its sockets.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream::Unix(stream)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, interest),
            Stream::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.reregister(registry, token, interest),
            Stream::Unix(stream) => stream.reregister(registry, token, interest),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.deregister(registry),
            Stream::Unix(stream) => stream.deregister(registry),
        }
    }
}

/// A loop with one connection to make, whose time stands still unless it is moved.
pub(super) struct Scene {
    pub(super) reactor: Reactor<Key>,
    pub(super) resolver: Resolver<Key>,
    pub(super) inbox: Inbox<Key>,
    pub(super) connecting: Connecting<Stream>,
    pub(super) now: Instant,
}

impl Scene {
    pub(super) fn new(to: &str) -> Scene {
        Scene::with(to, Resolver::system())
    }

    /// One whose names all have these addresses.
    pub(super) fn with_names(to: &str, addresses: &[SocketAddr]) -> Scene {
        let addresses = addresses.to_vec();
        Scene::with(to, Resolver::new(move |_: &str| Ok(addresses.clone())))
    }

    pub(super) fn with(to: &str, resolver: Resolver<Key>) -> Scene {
        let mut reactor = Reactor::new().unwrap();
        let inbox = Inbox::new(reactor.waker(Key::Answers).unwrap());
        let to = Arc::new(to.parse::<Connect>().unwrap());
        let now = Instant::now();
        let names = Names { resolver: &resolver, inbox: &inbox };
        let connecting = Connecting::start(to, LIMIT, now, names, Key::Connecting);
        Scene { reactor, resolver, inbox, connecting, now }
    }

    pub(super) fn proceed(&mut self) -> Progress<Stream> {
        self.connecting.proceed(self.now, &mut self.reactor, Key::Connecting)
    }

    /// What must not have come to anything yet.
    pub(super) fn pends(&mut self) {
        let progress = self.proceed();
        assert!(matches!(progress, Progress::Pending), "{progress:?}");
    }

    /// Waits until something happens, and proceeds.
    pub(super) fn after_event(&mut self) -> Progress<Stream> {
        let mut events = Vec::new();
        self.reactor.set_deadline(Key::Late, Some(Instant::now() + PATIENCE));
        self.reactor.wait(&mut events).unwrap();
        for event in &events {
            match event.key {
                Key::Late => panic!("nothing happened: {:?}", self.connecting),
                Key::Answers => {
                    while let Some((key, answer)) = self.inbox.next() {
                        assert_eq!(key, Key::Connecting);
                        self.connecting.answered(answer, self.now);
                    }
                }
                Key::Connecting => {}
            }
        }
        self.proceed()
    }

    /// Until it is decided, with the time moved as asked for whenever nothing else could happen.
    pub(super) fn finish(mut self) -> Result<Registered<Stream>, ConnectError> {
        let mut progress = self.proceed();
        loop {
            progress = match progress {
                Progress::Pending => self.after_event(),
                Progress::Connected(stream) => return Ok(stream),
                Progress::Failed(error) => return Err(error),
            };
        }
    }

    /// The sockets under way, as the kernel names them, and where they are to go.
    pub(super) fn under_way(&self) -> Vec<(String, Address)> {
        let State::Trying(trying) = &self.connecting.state else { return Vec::new() };
        let identity = |attempt: &Attempt<Stream>| {
            let number = attempt.socket.as_ref().unwrap().as_fd().as_raw_fd();
            let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
            (link.to_str().unwrap().to_owned(), attempt.address.clone())
        };
        trying.under_way.iter().map(identity).collect()
    }
}

/// Tests of IPv6 have nothing to say on a host without it.
pub(super) fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Whether this process has a socket open, by the kernel's name for it.
pub(super) fn is_open(socket: &str) -> bool {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect::<HashSet<_>>().contains(socket)
}

pub(super) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address from which no answer comes: a listener whose queue is full drops what else arrives.
pub(super) struct BlackHole {
    _listener: Socket,
    _filling: Vec<StdStream>,
    pub(super) address: SocketAddr,
}

impl BlackHole {
    pub(super) fn at(ip: IpAddr, port: u16) -> BlackHole {
        let address = SocketAddr::from((ip, port));
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let filling = vec![StdStream::connect(address).unwrap()];
        BlackHole { _listener: listener, _filling: filling, address }
    }
}

/// An address at which nobody listens: whoever is bound to it keeps others away.
pub(super) fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

pub(super) fn peer_of(stream: &Registered<Stream>) -> SocketAddr {
    SockRef::from(&**stream).peer_addr().unwrap().as_socket().unwrap()
}
