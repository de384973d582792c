//! Destinations that are there, and those that are not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket_protector::net::relay::{News, Route, Settings};
use socket2::{Domain, SockRef, Socket, Type};

use socket_protector::chain;
use socket_protector::net::endpoint::{Connect, Peer, UnixAddress};

use super::bodies;
use super::scene::{
    Scene, accept_from, exchange, expect_end, listening, patient, plain, relay, reset, settings, share, to,
};
use crate::harness::eventually;

bodies![
    a_refused_client_is_closed_and_counted_no_more,
    a_destination_that_says_nothing_is_given_up_in_time,
    a_client_that_leaves_ends_the_attempt,
    a_client_that_has_said_all_before_it_was_let_go_is_heard_and_answered,
    bytes_go_between_tcp_and_unix_sockets_in_every_combination,
    a_destination_that_speaks_and_leaves_at_once_is_heard,
    a_full_backlog_of_a_unix_destination_is_waited_for,
    a_route_to_nowhere_closes_its_clients,
    a_peer_that_is_gone_without_a_word_is_asked_for,
    a_client_that_somebody_else_accepts_is_as_quick_and_asked_for_too,
];

fn a_refused_client_is_closed_and_counted_no_more() {
    let gone = listening();
    let mut scene = Scene::leading_to(settings(), gone);
    let address = scene.backend.local_addr().unwrap();
    scene.backend = listening();
    assert!(TcpStream::connect(address).is_err());
    for _ in 0..3 {
        let mut client = scene.client();
        expect_end(&mut client);
        let News::ConnectFailed { destination: 1, error, .. } = scene.next_news() else {
            panic!("the failure was to be told");
        };
        assert!(chain(&error).contains("refused"), "{error}");
    }
    scene.until_none_is_left();
    assert!(scene.destination.watch(), "nothing keeps it");
    assert_eq!((scene.counts().failures, scene.counts().total, scene.counts().bytes_in), (3, 3, 0));
}

/// Listens and answers nothing: its backlog is full, and the kernel drops whatever comes.
struct BlackHole {
    listener: TcpListener,
    _fill: Vec<TcpStream>,
}

fn black_hole() -> BlackHole {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fill.push(stream);
    }
    BlackHole { listener, _fill: fill }
}

fn a_destination_that_says_nothing_is_given_up_in_time() {
    const LIMIT: Duration = Duration::from_millis(300);
    let hole = black_hole();
    let backend = hole.listener.try_clone().unwrap();
    let mut scene = Scene::leading_to(Settings { connect_timeout: LIMIT, ..settings() }, backend);
    let start = Instant::now();
    let mut client = scene.client();
    expect_end(&mut client);
    assert!(start.elapsed() >= LIMIT, "not earlier");
    assert!(
        matches!(scene.next_news(), News::ConnectFailed { error, .. } if chain(&error).ends_with("no answer within 300ms"))
    );
    scene.until_none_is_left();
}

fn a_client_that_leaves_ends_the_attempt() {
    let hole = black_hole();
    let scene = Scene::leading_to(settings(), hole.listener.try_clone().unwrap());
    let (first, second) = (scene.client(), scene.client());
    eventually("both are under way", || scene.counts().connections == 2);
    reset(first);
    eventually("a reset ends it", || scene.counts().connections == 1);
    drop(second);
    scene.until_none_is_left();
    assert_eq!(scene.counts().failures, 0, "it was not the destination's fault");
}

fn a_client_that_has_said_all_before_it_was_let_go_is_heard_and_answered() {
    let scene = Scene::new();
    scene.relay.pause(scene.listener);
    let mut client = scene.client();
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    eventually("it is parked", || scene.relay.parked(scene.listener) == 1);
    scene.relay.resume(scene.listener);
    let mut server = scene.accepted();
    let mut words = String::new();
    server.read_to_string(&mut words).unwrap();
    assert_eq!(words, "last words");
    server.write_all(b"heard").unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "heard");
}

fn to_path(path: &std::path::Path) -> Connect {
    Peer::Unix(UnixAddress::Path(path.to_str().unwrap().to_owned())).into()
}

/// A place for sockets that goes when it is dropped.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn bytes_go_between_tcp_and_unix_sockets_in_every_combination() {
    let folder = folder();
    let (relay, _news, _reactor) = relay(settings());
    let from = |path: std::path::PathBuf| (UnixListener::bind(&path).unwrap(), path);
    let (unix_source, source_path) = from(folder.path().join("source"));
    let (unix_backend, backend_path) = from(folder.path().join("backend"));
    let (tcp_source, tcp_backend) = (listening(), listening());
    let tcp_address = tcp_source.local_addr().unwrap();
    let to_tcp = relay.destination(1, to(&tcp_backend), None);
    let to_unix = relay.destination(2, to_path(&backend_path), None);
    for (destination, is_tcp) in [(&to_tcp, true), (&to_unix, false)] {
        let route = Route::new(share(destination));
        let by_tcp = plain(tcp_source.try_clone().unwrap().into(), Arc::clone(&route));
        let by_unix = plain(unix_source.try_clone().unwrap().into(), route);
        let listeners = [relay.listen(by_tcp).unwrap(), relay.listen(by_unix).unwrap()];
        for by_tcp in [true, false] {
            let client = if by_tcp {
                Box::new(patient(TcpStream::connect(tcp_address).unwrap())) as Box<dyn ReadWrite>
            } else {
                Box::new(std::os::unix::net::UnixStream::connect(&source_path).unwrap())
            };
            let server = if is_tcp {
                Box::new(accept_from(&tcp_backend)) as Box<dyn ReadWrite>
            } else {
                Box::new(unix_backend.accept().unwrap().0)
            };
            there_and_back(client, server);
        }
        eventually("it is over", || destination.counts().connections == 0);
        assert_eq!(destination.counts().bytes_in, 2 * 70_000);
        for listener in listeners {
            relay.leave(listener);
        }
    }
    relay.stop();
}

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

fn there_and_back(mut client: Box<dyn ReadWrite>, mut server: Box<dyn ReadWrite>) {
    let bytes = super::scene::Noise::new(9).bytes(70_000);
    let (sent, mut received) = (bytes.clone(), vec![0; bytes.len()]);
    let sending = std::thread::spawn(move || {
        client.write_all(&sent).unwrap();
        let mut answer = vec![0; sent.len()];
        client.read_exact(&mut answer).unwrap();
        assert!(answer == sent);
    });
    server.read_exact(&mut received).unwrap();
    assert!(received == bytes);
    server.write_all(&received).unwrap();
    sending.join().unwrap();
}

/// Often gone before the relay knows that it was there.
fn a_destination_that_speaks_and_leaves_at_once_is_heard() {
    const CLIENTS: usize = 500;
    let scene = Scene::new();
    let backend = scene.backend.try_clone().unwrap();
    let serving = std::thread::spawn(move || {
        for _ in 0..CLIENTS {
            backend.accept().unwrap().0.write_all(b"x").unwrap();
        }
    });
    // Many at a time, so that the relay has more to do than one.
    for _ in 0..CLIENTS / 50 {
        let clients: Vec<_> = (0..50).map(|_| scene.client()).collect();
        for mut client in clients {
            client.read_exact(&mut [0]).unwrap();
            expect_end(&mut client);
        }
    }
    serving.join().unwrap();
    scene.until_none_is_left();
}

/// A unix socket that takes one more connection as soon as one is accepted, how to reach it, and what fills it.
pub(super) fn full_backlog(path: &std::path::Path) -> (UnixListener, Connect, std::os::unix::net::UnixStream) {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let fill = std::os::unix::net::UnixStream::connect(path).unwrap();
    (UnixListener::from(std::os::fd::OwnedFd::from(socket)), to_path(path), fill)
}

fn a_full_backlog_of_a_unix_destination_is_waited_for() {
    let folder = folder();
    let (backend, to, _fill) = full_backlog(&folder.path().join("full"));
    let (relay, _news, _reactor) = relay(settings());
    let source = listening();
    let address = source.local_addr().unwrap();
    let destination = relay.destination(1, to, None);
    relay.listen(plain(source.into(), Route::new(share(&destination)))).unwrap();
    let mut client = patient(TcpStream::connect(address).unwrap());
    client.write_all(b"hello").unwrap();
    eventually("it is under way", || destination.counts().connections == 1);
    drop(backend.accept().unwrap());
    let mut word = [0; 5];
    backend.accept().unwrap().0.read_exact(&mut word).unwrap();
    assert_eq!((&word, destination.counts().failures), (b"hello", 0));
    relay.stop();
}

/// As the kernel shows it of both connections: the timer of SO_KEEPALIVE runs.
fn a_peer_that_is_gone_without_a_word_is_asked_for() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    exchange(&mut client, &mut server);
    let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port();
    let with_client = (scene.address.port(), port(client.local_addr()));
    let with_server = (port(server.peer_addr()), port(scene.backend.local_addr()));
    for (own, peer) in [with_client, with_server] {
        // Another one may run for a moment, as long as bytes are not acknowledged.
        eventually("it is asked for", || timer(own, peer).as_deref() == Some("02"));
    }
    assert_eq!(timer(with_client.1, with_client.0).as_deref(), Some("00"), "our ends alone");
}

fn a_client_that_somebody_else_accepts_is_as_quick_and_asked_for_too() {
    let (relay, _news, _reactor) = relay(settings());
    let listener = listening();
    relay.accepted_elsewhere(listener.as_fd()).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert!(accepted.nodelay().unwrap(), "small answers do not wait for acknowledgements");
    assert!(SockRef::from(&accepted).keepalive().unwrap());
}

/// The kernel's timer of a connection by its two ports, proc_net_tcp(5).
fn timer(port: u16, peer: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port_of = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
        let found = port_of(fields[1]) == Some(port) && port_of(fields[2]) == Some(peer);
        found.then(|| fields[5].split(':').next().unwrap().to_owned())
    })
}

fn a_route_to_nowhere_closes_its_clients() {
    let scene = Scene::new();
    scene.route.set(Vec::new());
    let mut client = scene.client();
    expect_end(&mut client);
    scene.until_none_is_left();
    scene.route.set(share(&scene.destination));
    scene.pair();
}
