//! A relay with a listener, a destination that is a plain listening socket, and clients.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket_protector::net::endpoint::Connect;
use socket_protector::net::relay::{
    Counts, Destination, Door, ListenerId, News, NewsReceiver, Relay, Route, Settings, Share, View, Which, news,
};
use socket_protector::reactor::Reactor;
use socket2::{Domain, SockRef, Socket, Type};

use crate::harness::{PATIENCE, eventually, until};

/// What the descriptors of this process lead to, and how many lead there.
pub(super) fn descriptors() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        if let Ok(target) = std::fs::read_link(entry.unwrap().path()) {
            let target = target.to_string_lossy().into_owned();
            let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    kinds
}

/// A relay from one listener to one destination.
pub(super) struct Scene {
    pub(super) relay: Relay,
    pub(super) news: NewsReceiver,
    pub(super) destination: Arc<Destination>,
    pub(super) route: Arc<Route>,
    pub(super) listener: ListenerId,
    pub(super) address: SocketAddr,
    pub(super) backend: TcpListener,
    _reactor: Reactor<()>,
}

/// One loop, and everything else as usual.
pub(super) fn settings() -> Settings {
    Settings { threads: std::num::NonZeroUsize::MIN, tell_ends: true, ..Settings::default() }
}

pub(super) fn share(destination: &Arc<Destination>) -> Vec<Share> {
    vec![Share { destination: Arc::clone(destination), weight: 1 }]
}

/// A relay alone, with the way for its news.
pub(super) fn relay(settings: Settings) -> (Relay, NewsReceiver, Reactor<()>) {
    let mut reactor = Reactor::new().unwrap();
    let (sender, receiver) = news(reactor.waker(()).unwrap());
    (Relay::start(settings, sender).unwrap(), receiver, reactor)
}

/// The endpoint of a listening socket.
pub(super) fn to(listener: &TcpListener) -> Connect {
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

/// A door without anything that clients have to say first.
pub(super) fn plain(socket: OwnedFd, route: Arc<Route>) -> Door {
    Door { socket, route, proxied: false, tls: None }
}

/// A socket that listens at a port of its own.
pub(super) fn listening() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    SockRef::from(&listener).listen(4096).unwrap();
    listener
}

impl Scene {
    pub(super) fn new() -> Scene {
        Scene::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Scene {
        Scene::leading_to(settings, listening())
    }

    pub(super) fn leading_to(settings: Settings, backend: TcpListener) -> Scene {
        let (relay, news, reactor) = relay(settings);
        let destination = relay.destination(1, to(&backend), None);
        let route = Route::new(share(&destination));
        let socket = listening();
        let address = socket.local_addr().unwrap();
        let listener = relay.listen(plain(socket.into(), Arc::clone(&route))).unwrap();
        Scene { relay, news, destination, route, listener, address, backend, _reactor: reactor }
    }

    /// A client.
    pub(super) fn client(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// What the destination accepts.
    pub(super) fn accepted(&self) -> TcpStream {
        accept_from(&self.backend)
    }

    /// A client with its counterpart at the destination.
    pub(super) fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.client();
        (client, self.accepted())
    }

    pub(super) fn counts(&self) -> Counts {
        self.destination.counts()
    }

    pub(super) fn views(&self) -> Vec<View> {
        self.relay.connections(Which::All)
    }

    #[track_caller]
    pub(super) fn until_none_is_left(&self) {
        eventually("no connection is counted", || self.counts().connections == 0);
        assert!(self.views().is_empty());
    }

    /// The next news that is not the end of a connection.
    #[track_caller]
    pub(super) fn next_news(&mut self) -> News {
        until("there is news", PATIENCE, || {
            loop {
                match self.news.next() {
                    Some(News::Ended(_)) => {}
                    Some(news) => return Ok(news),
                    None => return Err("none".to_owned()),
                }
            }
        })
    }
}

/// A socket that waits long and not for ever.
pub(super) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The next connection; waits long and not for ever.
#[track_caller]
pub(super) fn accept_from(listener: &TcpListener) -> TcpStream {
    SockRef::from(listener).set_nonblocking(true).unwrap();
    let stream = until("a connection comes", PATIENCE, || listener.accept().map_err(|error| error.to_string())).0;
    stream.set_nonblocking(false).unwrap();
    patient(stream)
}

/// A client with a receive buffer as small as the kernel allows.
pub(super) fn narrow_client(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.connect(&address.into()).unwrap();
    patient(socket.into())
}

/// Closes with a reset.
pub(super) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Waits until everything written is acknowledged, and so with the receiver's kernel.
pub(crate) fn wait_acknowledged(stream: &TcpStream) {
    let port = stream.local_addr().unwrap().port();
    let peer = stream.peer_addr().unwrap().port();
    eventually("everything is acknowledged", || unacknowledged(port, peer) == Some(0));
}

/// What /proc/net/tcp says about the bytes of a connection that are not acknowledged.
fn unacknowledged(port: u16, peer: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port_of = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
        let found = port_of(fields[1]) == Some(port) && port_of(fields[2]) == Some(peer);
        found.then(|| u64::from_str_radix(fields[4].split(':').next().unwrap(), 16).unwrap())
    })
}

/// Bytes without an end, the same for the same seed.
#[derive(Clone)]
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *byte = self.0 as u8;
        }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes);
        bytes
    }
}

/// Reads so many bytes and checks that they are the next of the noise.
#[track_caller]
pub(super) fn expect(stream: &mut TcpStream, noise: &mut Noise, count: usize) {
    let mut bytes = vec![0; count];
    if let Err(error) = stream.read_exact(&mut bytes) {
        panic!("{count} bytes were to come: {error}");
    }
    assert!(bytes == noise.bytes(count), "other bytes than were sent");
}

#[track_caller]
pub(super) fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "the end of file was to come");
}

#[track_caller]
pub(super) fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 64]).map_err(|error| error.kind());
    assert_eq!(error, Err(std::io::ErrorKind::ConnectionReset));
}

/// A word there and back.
#[track_caller]
pub(super) fn exchange(client: &mut TcpStream, server: &mut TcpStream) {
    let mut word = [0; 4];
    client.write_all(b"ping").unwrap();
    server.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
    server.write_all(b"pong").unwrap();
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"pong");
}

/// Writes as much as the other side takes without reading; how much it was.
pub(super) fn write_until_blocked(stream: &TcpStream, noise: &mut Noise) -> usize {
    stream.set_nonblocking(true).unwrap();
    let (mut total, mut waits) = (0, 0);
    let mut portion = noise.clone().bytes(64 * 1024);
    while waits < 20 {
        match (&mut &*stream).write(&portion) {
            Ok(count) => {
                total += count;
                noise.bytes(count);
                portion = noise.clone().bytes(64 * 1024);
                waits = 0;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // Until the relay has taken what it can take.
                let mut poll =
                    [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(stream), nix::poll::PollFlags::POLLOUT)];
                nix::poll::poll(&mut poll, nix::poll::PollTimeout::from(20_u8)).unwrap();
                waits += 1;
            }
            Err(error) => panic!("cannot write: {error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    total
}

/// The memory of this process that is resident, in bytes.
pub(super) fn memory() -> usize {
    let mut text = String::new();
    std::fs::File::open("/proc/self/statm").unwrap().read_to_string(&mut text).unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
