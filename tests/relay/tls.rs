//! TLS with the client, with the destination, and with both.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use socket_protector::chain;
use socket_protector::net::endpoint::{Connect, Listen};
use socket_protector::net::relay::{
    Destination, Door, News, NewsReceiver, Path as BytePath, Relay, Route, Settings, Which,
};
use socket_protector::net::tls::{ClientIdentity, Got, Handshake, ServerIdentity, Session, SessionError};
use socket_protector::reactor::Reactor;
use tempfile::TempDir;

use super::bodies;
use super::scene::{Noise, accept_from, listening, patient, relay, settings, share};
use crate::harness::{PATIENCE, eventually, until};

bodies![
    bytes_go_through_tls_on_either_side_and_on_both,
    an_end_of_tls_is_an_end_of_file_and_the_other_direction_goes_on,
    an_end_of_file_without_the_end_of_tls_is_a_reset,
    a_slow_reader_gets_all_through_tls,
    a_destination_with_another_name_gets_nothing,
    a_client_that_speaks_no_tls_is_closed_and_told,
    silent_tls_peers_are_given_up_in_time,
    a_client_that_has_said_all_before_its_destination_is_there_is_heard,
    tls_connections_stay_where_they_are,
];

/// Certificates for `localhost`, and who has signed them.
struct Names {
    folder: TempDir,
}

impl Names {
    fn new() -> Names {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        fs::create_dir(folder.path().join("authorities")).unwrap();
        fs::write(folder.path().join("authorities/root.pem"), authority).unwrap();
        fs::write(folder.path().join("server.pem"), certificate.pem() + &own.serialize_pem()).unwrap();
        Names { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self) -> Arc<ServerIdentity> {
        let text = format!("ssl:1:{}/server.pem", self.path().display());
        let Listen::Tls(listen) = text.parse::<Listen>().unwrap() else { panic!("{text}") };
        Arc::new(ServerIdentity::load(&listen.files).unwrap())
    }

    /// A TLS endpoint at this port, whose certificate is to have this name.
    fn connect(&self, port: u16, name: &str) -> Connect {
        let folder = self.path().display();
        format!("ssl:127.0.0.1:{port}:hostname={name}:caCertsDir={folder}/authorities").parse().unwrap()
    }

    fn client(&self) -> Session {
        identity(&self.connect(1, "localhost")).session().unwrap()
    }
}

fn identity(connect: &Connect) -> Arc<ClientIdentity> {
    Arc::new(ClientIdentity::load(connect.tls.as_ref().unwrap(), &connect.place).unwrap())
}

/// A blocking peer of ours, with TLS or without.
struct Peer {
    stream: TcpStream,
    tls: Option<Session>,
    scratch: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream, mut tls: Option<Session>) -> Peer {
        let mut scratch = vec![0; 32 * 1024];
        if let Some(session) = &mut tls {
            while session.handshake(&mut &stream, &mut scratch).unwrap() == Handshake::Blocked {}
        }
        Peer { stream, tls, scratch }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = match &mut self.tls {
                Some(session) => session.write(&mut &self.stream, bytes).unwrap(),
                None => self.stream.write(bytes).unwrap(),
            };
            bytes = &bytes[count..];
        }
        if let Some(session) = &mut self.tls {
            while !session.flush(&mut &self.stream).unwrap() {}
        }
    }

    /// 0 is the proper end.
    fn read(&mut self, room: &mut [u8]) -> Result<usize, SessionError> {
        let Some(session) = &mut self.tls else {
            return self.stream.read(room).map_err(|source| SessionError::Io { source });
        };
        loop {
            match session.read(&mut &self.stream, room, &mut self.scratch)? {
                Got::Plain { length, .. } => return Ok(length),
                Got::Closed => return Ok(0),
                Got::Blocked => {}
            }
        }
    }

    fn expect(&mut self, noise: &mut Noise, count: usize) {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.read(&mut bytes[filled..]).unwrap() {
                0 => panic!("the end after {filled} bytes of {count}"),
                read => filled += read,
            }
        }
        assert!(bytes == noise.bytes(count), "other bytes than were sent");
    }

    fn end(&mut self) {
        if let Some(session) = &mut self.tls {
            while !session.close_notify(&mut &self.stream).unwrap() {}
        }
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A relay with TLS where it is said.
struct Scene {
    names: Names,
    relay: Relay,
    news: NewsReceiver,
    _reactor: Reactor<()>,
    destination: Arc<Destination>,
    address: std::net::SocketAddr,
    backend: std::net::TcpListener,
    before: bool,
    behind: bool,
}

impl Scene {
    fn new(before: bool, behind: bool) -> Scene {
        Scene::with(settings(), before, behind.then_some("localhost"))
    }

    fn with(settings: Settings, before: bool, behind: Option<&str>) -> Scene {
        let names = Names::new();
        let (relay, news, reactor) = relay(settings);
        let (socket, backend) = (listening(), listening());
        let port = backend.local_addr().unwrap().port();
        let connect = behind.map_or_else(|| super::scene::to(&backend), |name| names.connect(port, name));
        let tls = behind.map(|_| identity(&connect));
        let destination = relay.destination(1, connect, tls);
        let (address, route) = (socket.local_addr().unwrap(), Route::new(share(&destination)));
        let tls = before.then(|| names.server());
        relay.listen(Door { socket: socket.into(), route, proxied: false, tls }).unwrap();
        let behind = behind.is_some();
        Scene { names, relay, news, _reactor: reactor, destination, address, backend, before, behind }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// A client and its counterpart, each with its session.
    fn pair(&self) -> (Peer, Peer) {
        let (stream, session) = (self.connect(), self.before.then(|| self.names.client()));
        let client = std::thread::spawn(move || Peer::new(stream, session));
        let session = self.behind.then(|| self.names.server().session().unwrap());
        let server = Peer::new(accept_from(&self.backend), session);
        (client.join().unwrap(), server)
    }

    fn next_news(&mut self) -> News {
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

    fn until_none_is_left(&self) {
        eventually("no connection is counted", || self.destination.counts().connections == 0);
        assert!(self.relay.connections(Which::All).is_empty());
    }
}

const SIDES: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

fn bytes_go_through_tls_on_either_side_and_on_both() {
    const COUNT: usize = 2_000_000;
    for (before, behind) in SIDES {
        let scene = Scene::new(before, behind);
        let (mut client, mut server) = scene.pair();
        client.write(&Noise::new(1).bytes(100));
        server.expect(&mut Noise::new(1), 100);
        server.write(b"ok");
        assert_eq!(client.read(&mut [0; 2]).unwrap(), 2);
        assert_eq!(scene.relay.connections(Which::All)[0].path, BytePath::Tls);
        let sending = std::thread::spawn(move || {
            client.write(&Noise::new(2).bytes(COUNT));
            client.end();
            client.expect(&mut Noise::new(3), COUNT);
            assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
        });
        server.expect(&mut Noise::new(2), COUNT);
        assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
        server.write(&Noise::new(3).bytes(COUNT));
        server.end();
        sending.join().unwrap();
        drop(server);
        scene.until_none_is_left();
        let counts = scene.destination.counts();
        assert_eq!((counts.bytes_in, counts.bytes_out), (COUNT as u64 + 100, COUNT as u64 + 2));
    }
}

fn an_end_of_tls_is_an_end_of_file_and_the_other_direction_goes_on() {
    for (before, behind) in SIDES {
        let scene = Scene::new(before, behind);
        let (mut client, mut server) = scene.pair();
        server.write(b"hello");
        server.end();
        let mut word = [0; 9];
        assert_eq!(client.read(&mut word).unwrap(), 5);
        assert_eq!(client.read(&mut word).unwrap(), 0, "the proper end");
        client.write(&Noise::new(4).bytes(300_000));
        client.end();
        server.expect(&mut Noise::new(4), 300_000);
        assert_eq!(server.read(&mut word).unwrap(), 0);
        scene.until_none_is_left();
    }
}

fn an_end_of_file_without_the_end_of_tls_is_a_reset() {
    let scene = Scene::new(true, false);
    let (mut client, mut server) = scene.pair();
    client.write(b"half of it");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut text = Vec::new();
    let error = server.stream.read_to_end(&mut text).unwrap_err();
    assert_eq!((text.as_slice(), error.kind()), (&b"half of it"[..], io::ErrorKind::ConnectionReset));
    scene.until_none_is_left();
    // And a reset leaves no proper end of TLS behind it.
    let (mut client, server) = scene.pair();
    super::scene::reset(server.stream);
    assert!(client.read(&mut [0; 9]).is_err());
}

fn a_slow_reader_gets_all_through_tls() {
    const COUNT: usize = 3_000_000;
    let scene = Scene::new(true, false);
    let (mut client, server) = scene.pair();
    let mut sender = server.stream;
    let sending = std::thread::spawn(move || {
        sender.write_all(&Noise::new(5).bytes(COUNT)).unwrap();
        drop(sender);
    });
    let mut noise = Noise::new(5);
    for _ in 0..COUNT / 1500 {
        client.expect(&mut noise, 1500);
    }
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    sending.join().unwrap();
}

fn a_destination_with_another_name_gets_nothing() {
    let mut scene = Scene::with(settings(), false, Some("example.org"));
    let mut client = scene.connect();
    client.write_all(b"secret").unwrap();
    let session = scene.names.server().session().unwrap();
    let mut server = accept_from(&scene.backend);
    let (mut session, mut scratch) = (session, vec![0; 32 * 1024]);
    assert!(session.handshake(&mut &server, &mut scratch).is_err(), "it is told by an alert");
    let mut rest = Vec::new();
    // Whatever else it says, it is nothing of the client's.
    let _ = server.read_to_end(&mut rest);
    assert!(!rest.windows(6).any(|bytes| bytes == b"secret"));
    let News::ConnectFailed { destination: 1, error, .. } = scene.next_news() else { panic!("it was to be told") };
    assert!(chain(&error).contains("TLS handshake failed"), "{}", chain(&error));
    assert!(!matches!(client.read(&mut [0]), Ok(1)), "the client is closed");
    scene.until_none_is_left();
    assert_eq!(scene.destination.counts().failures, 1);
}

fn a_client_that_speaks_no_tls_is_closed_and_told() {
    let mut scene = Scene::new(true, false);
    let mut client = scene.connect();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let News::ClientFailed { error, client: who, .. } = scene.next_news() else { panic!("it was to be told") };
    assert!(chain(&error).starts_with("the peer does not speak TLS"), "{}", chain(&error));
    assert_eq!(who.to_string(), client.local_addr().unwrap().to_string());
    scene.until_none_is_left();
    assert_eq!(scene.destination.counts().failures, 0);
    // The next one is served.
    scene.pair();
}

fn silent_tls_peers_are_given_up_in_time() {
    let limit = std::time::Duration::from_millis(300);
    let mut scene = Scene::with(Settings { connect_timeout: limit, ..settings() }, true, None);
    let _silent = scene.connect();
    let News::ClientFailed { error, .. } = scene.next_news() else { panic!("it was to be told") };
    assert_eq!(error.to_string(), "the TLS handshake was not done in time");
    scene.until_none_is_left();
    let mut scene = Scene::with(Settings { connect_timeout: limit, ..settings() }, false, Some("localhost"));
    let _client = scene.connect();
    let _silent = accept_from(&scene.backend);
    let News::ConnectFailed { error, .. } = scene.next_news() else { panic!("it was to be told") };
    assert!(error.to_string().ends_with("its TLS handshake was not done in time"), "{error}");
    scene.until_none_is_left();
}

fn tls_connections_stay_where_they_are() {
    let scene = Scene::new(true, false);
    let (mut client, mut server) = scene.pair();
    assert!(scene.relay.take_out().pairs.is_empty());
    client.write(b"still here");
    let mut word = [0; 10];
    server.stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"still here");
}

fn a_client_that_has_said_all_before_its_destination_is_there_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, to, fill) = super::reach::full_backlog(&folder.path().join("full"));
    let names = Names::new();
    let (relay, _news, _reactor) = relay(settings());
    let socket = listening();
    let address = socket.local_addr().unwrap();
    let destination = relay.destination(1, to, None);
    let route = Route::new(share(&destination));
    relay.listen(Door { socket: socket.into(), route, proxied: false, tls: Some(names.server()) }).unwrap();
    let mut client = Peer::new(patient(TcpStream::connect(address).unwrap()), Some(names.client()));
    client.write(b"all of it");
    client.end();
    // Longer than one would be waited for that has said nothing.
    let (_keep, pause) = std::sync::mpsc::channel::<()>();
    pause.recv_timeout(std::time::Duration::from_millis(400)).unwrap_err();
    drop((fill, backend.accept().unwrap()));
    let mut text = String::new();
    backend.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "all of it");
    relay.stop();
}
