//! Unix sockets on either side: what they carry besides bytes, who is at their other end, and slow readers of them.

use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket_protector::net::endpoint::Connect;
use socket_protector::net::relay::{Destination, Door, ListenerId, NewsReceiver, Relay, Route, Settings, Which};
use socket_protector::reactor::Reactor;
use tempfile::TempDir;

use super::bodies;
use super::scene::{Noise, accept_from, listening, patient, relay, settings, share};
use crate::harness::{PATIENCE, eventually, until};

bodies![
    what_follows_a_record_with_descriptors_is_not_left_behind,
    a_slow_reader_of_a_unix_socket_is_not_idle,
    clients_of_a_unix_socket_come_without_an_address,
    a_client_of_a_proxys_unix_socket_is_known_by_its_name,
];

/// A relay from one unix socket to another.
struct Scene {
    relay: Relay,
    _news: NewsReceiver,
    _reactor: Reactor<()>,
    folder: TempDir,
    destination: Arc<Destination>,
    route: Arc<Route>,
    listener: ListenerId,
    backend: UnixListener,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(settings())
    }

    fn with(settings: Settings) -> Scene {
        let (relay, news, reactor) = relay(settings);
        let folder = tempfile::tempdir().unwrap();
        let backend = UnixListener::bind(folder.path().join("back")).unwrap();
        let to: Connect = format!("unix:{}", folder.path().join("back").display()).parse().unwrap();
        let destination = relay.destination(1, to, None);
        let route = Route::new(share(&destination));
        let socket = UnixListener::bind(folder.path().join("front")).unwrap().into();
        let door = Door { socket, route: Arc::clone(&route), proxied: false, tls: None };
        let listener = relay.listen(door).unwrap();
        Scene { relay, _news: news, _reactor: reactor, folder, destination, route, listener, backend }
    }

    fn client(&self) -> UnixStream {
        waiting(UnixStream::connect(self.folder.path().join("front")).unwrap())
    }

    fn accepted(&self) -> UnixStream {
        self.backend.set_nonblocking(true).unwrap();
        let accept = || self.backend.accept().map_err(|error| error.to_string());
        let stream = until("a connection comes", PATIENCE, accept).0;
        stream.set_nonblocking(false).unwrap();
        waiting(stream)
    }
}

/// Waits long and not for ever.
fn waiting(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A read ends behind a record with descriptors, though more bytes are there already, of which no event tells again.
/// The descriptors themselves are not relayed.
fn what_follows_a_record_with_descriptors_is_not_left_behind() {
    let scene = Scene::new();
    scene.relay.pause(scene.listener);
    let mut client = scene.client();
    client.write_all(b"before, ").unwrap();
    let descriptors = [client.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(client.as_raw_fd(), &[IoSlice::new(b"with, ")], &control, MsgFlags::empty(), None).unwrap();
    client.write_all(b"behind").unwrap();
    eventually("it is parked", || scene.relay.parked(scene.listener) == 1);
    scene.relay.resume(scene.listener);
    let mut all = [0; 20];
    scene.accepted().read_exact(&mut all).unwrap();
    assert_eq!(&all, b"before, with, behind");
}

/// As much as may be is in the kernel and in the relay; nothing is received any more, and bytes go all the time.
fn a_slow_reader_of_a_unix_socket_is_not_idle() {
    const LIMIT: Duration = Duration::from_millis(600);
    const ALL: usize = 900_000;
    let scene = Scene::with(Settings { idle_timeout: Some(LIMIT), ..settings() });
    let mut client = scene.client();
    let mut server = scene.accepted();
    let mut noise = Noise::new(3);
    let bytes = noise.clone().bytes(ALL);
    let sending = std::thread::spawn(move || {
        server.write_all(&bytes).unwrap();
        server
    });
    let start = Instant::now();
    let (_keep, pause) = std::sync::mpsc::channel::<()>();
    for _ in 0..ALL / 30_000 {
        let mut some = vec![0; 30_000];
        client.read_exact(&mut some).unwrap();
        assert!(some == noise.bytes(30_000), "other bytes than were sent");
        pause.recv_timeout(LIMIT / 6).unwrap_err();
    }
    assert!(start.elapsed() > LIMIT * 3);
    // And what nobody reads is idle after all.
    let mut server = sending.join().unwrap();
    server.write_all(&[7; 30_000]).unwrap();
    eventually("it is ended", || scene.destination.counts().connections == 0);
}

/// Version 2 has a form for them, a block of 108 bytes for each end: the client's is empty, as its socket has no name.
fn clients_of_a_unix_socket_come_without_an_address() {
    let scene = Scene::new();
    let backend = listening();
    let port = backend.local_addr().unwrap().port();
    let set = |id, version: &str| {
        let connect = format!("tcp:host=127.0.0.1:port={port}:proxy={version}").parse().unwrap();
        scene.route.set(share(&scene.relay.destination(id, connect, None)));
    };
    set(2, "v2");
    let mut client = scene.client();
    client.write_all(b"ping").unwrap();
    let mut got = [0; 16 + 4];
    accept_from(&backend).read_exact(&mut got).unwrap();
    assert_eq!(&got, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0ping");
    set(3, "v1");
    let _client = scene.client();
    let mut got = [0; 15];
    accept_from(&backend).read_exact(&mut got).unwrap();
    assert_eq!(&got, b"PROXY UNKNOWN\r\n");
}

/// What one relay says of such a client, another one believes, and says it again.
fn a_client_of_a_proxys_unix_socket_is_known_by_its_name() {
    let scene = Scene::new();
    let (front, back) = (listening(), listening());
    let address = front.local_addr().unwrap();
    let port = back.local_addr().unwrap().port();
    let connect = format!("tcp:host=127.0.0.1:port={port}:proxy=v2").parse().unwrap();
    let route = Route::new(share(&scene.relay.destination(2, connect, None)));
    scene.relay.listen(Door { socket: front.into(), route, proxied: true, tls: None }).unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".to_vec();
    header.resize(16 + 216, 0);
    header[16..25].copy_from_slice(b"/run/from");
    header[124..131].copy_from_slice(b"\0hidden");
    let mut client = patient(std::net::TcpStream::connect(address).unwrap());
    client.write_all(&header).unwrap();
    let mut got = vec![0; header.len()];
    accept_from(&back).read_exact(&mut got).unwrap();
    assert!(got == header, "{}", got.escape_ascii());
    eventually("it is known", || {
        scene.relay.connections(Which::All).iter().any(|view| view.client.to_string() == "unix:/run/from")
    });
}
