//! Against real sockets; the time is what the tests say it is.

mod scene;

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixListener, UnixStream as StdUnixStream};
use std::sync::mpsc::{self, Receiver};

use self::scene::{BlackHole, Key, LIMIT, PATIENCE, Scene, Stream, has_ipv6, is_open, listener, nobody, peer_of};
use super::attempts::{HEAD_START, RETRY};
use super::*;

#[test]
fn an_address_is_connected_to_and_the_socket_is_ready_for_use() {
    let (listener, address) = listener();
    let stream = Scene::new(&address.to_string()).finish().unwrap();
    assert_eq!(peer_of(&stream), address);
    let socket = SockRef::from(&*stream);
    assert!(socket.tcp_nodelay().unwrap() && socket.nonblocking().unwrap());
    let (accepted, peer) = listener.accept().unwrap();
    assert_eq!(Some(peer), socket.local_addr().unwrap().as_socket());
    // The socket that has arrived is no longer the attempt's to reset.
    drop(stream);
    assert_eq!((&accepted).read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connected_socket_is_watched_under_its_key() {
    let (listener, address) = listener();
    let mut scene = Scene::new(&address.to_string());
    let mut progress = scene.proceed();
    while let Progress::Pending = progress {
        progress = scene.after_event();
    }
    let Progress::Connected(_stream) = progress else { panic!("{progress:?}") };
    drop(listener.accept().unwrap());
    let mut events = Vec::new();
    while !events.iter().any(|event: &crate::reactor::Event<Key>| event.key == Key::Connecting && event.readable) {
        scene.reactor.wait(&mut events).unwrap();
    }
}

#[test]
fn the_system_looks_up_localhost() {
    let (listener, address) = listener();
    let stream = Scene::new(&format!("localhost:{}", address.port())).finish().unwrap();
    assert_eq!(peer_of(&stream).port(), address.port());
    drop(listener);
    if has_ipv6() {
        let bare = TcpListener::bind("[::1]:0").unwrap();
        let address = bare.local_addr().unwrap();
        let stream = Scene::new(&format!("[::1]:{}", address.port())).finish().unwrap();
        assert_eq!(peer_of(&stream), address);
    }
}

#[test]
fn a_dead_address_costs_a_head_start_and_no_more() {
    let (listener, good) = listener();
    let other = if has_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::new(127, 0, 0, 9).into() };
    let dead = BlackHole::at(other, good.port());
    let mut scene = Scene::with_names(&format!("two.example:{}", good.port()), &[dead.address, good]);
    scene.pends();
    let began = scene.now;
    let progress = scene.after_event();
    assert!(matches!(progress, Progress::Pending), "the first does not answer");
    assert_eq!(scene.under_way().len(), 1);
    assert_eq!(scene.connecting.due(), began + HEAD_START);
    let (dead_socket, at) = scene.under_way().remove(0);
    assert_eq!(at, Address::Internet(dead.address));
    scene.now = scene.connecting.due();
    scene.pends();
    assert_eq!(scene.under_way().len(), 2, "the other joins it");
    assert!(HEAD_START <= Duration::from_millis(300));
    let Progress::Connected(stream) = scene.after_event() else { panic!("{:?}", scene.connecting) };
    assert_eq!(peer_of(&stream), good);
    assert!(!is_open(&dead_socket), "the other one is cancelled");
    drop(listener);
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    let (listener, good) = listener();
    let refusing = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), 0));
    let port = good.port();
    let stream = Scene::with_names(&format!("two.example:{port}"), &[refusing, good]).finish().unwrap();
    assert_eq!(peer_of(&stream), good, "with the time standing still");
    drop(listener);
}

#[test]
fn families_take_turns_as_preferred() {
    if !has_ipv6() {
        return;
    }
    let port = TcpListener::bind("[::]:0").unwrap();
    let number = port.local_addr().unwrap().port();
    let (v4, v6): (SocketAddr, SocketAddr) = ("127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap());
    for (prefer, is_v4) in [("", false), (":prefer=6", false), (":prefer=4", true)] {
        let to = format!("tcp:both.example:{number}{prefer}");
        let stream = Scene::with_names(&to, &[v6, v4]).finish().unwrap();
        assert_eq!(peer_of(&stream).is_ipv4(), is_v4, "{to}");
    }
}

#[test]
fn refusals_tell_where_and_why() {
    let (_nobody, address) = nobody();
    let error = Scene::new(&address.to_string()).finish().unwrap_err();
    assert_eq!(error.reason(), Reason::Refused);
    let to = format!("tcp:127.0.0.1:{}", address.port());
    assert_eq!(crate::chain(&error), format!("cannot connect to {to}: Connection refused (os error 111)"));
    let name = format!("db.example:{}", address.port());
    let error = Scene::with_names(&name, &[address]).finish().unwrap_err();
    assert_eq!(
        crate::chain(&error),
        format!("cannot connect to tcp:{name} at 127.0.0.1: Connection refused (os error 111)")
    );
}

#[test]
fn what_leads_nowhere_fails_at_once() {
    // TCP has no way to all hosts at once.
    let error = Scene::new("255.255.255.255:80").finish().unwrap_err();
    assert_eq!(error.reason(), Reason::Unreachable, "{error:?}");
}

#[test]
fn names_without_addresses_are_told_from_those_nobody_knows() {
    let error = Scene::with_names("none.example:80", &[]).finish().unwrap_err();
    assert_eq!(error.to_string(), "cannot connect to tcp:none.example:80: its host has no address");
    assert_eq!(error.reason(), Reason::Unresolved);
    let resolver = Resolver::new(|_: &str| Err(io::Error::other("no such name")));
    let error = Scene::with("unknown.example:80", resolver).finish().unwrap_err();
    assert_eq!(crate::chain(&error), "cannot look up the host of tcp:unknown.example:80: no such name");
    assert_eq!(error.reason(), Reason::Unresolved);
    let v6: SocketAddr = "[::1]:0".parse().unwrap();
    let error = Scene::with_names("tcp:six.example:80:bindAddress=127.0.0.1", &[v6]).finish().unwrap_err();
    assert!(matches!(error, ConnectError::NoAddress { family: Some(Family::V4), .. }), "{error:?}");
    let error = Scene::new("[fe80::1%nowhere0]:80").finish().unwrap_err();
    assert!(matches!(error, ConnectError::Zone { .. }), "{error:?}");
}

#[test]
fn the_limit_holds_for_all_and_the_endpoints_own_wins() {
    let hole = BlackHole::at(Ipv4Addr::LOCALHOST.into(), 0);
    let port = hole.address.port();
    let mut scene = Scene::with_names(&format!("tcp:hole.example:{port}:timeout=7s"), &[hole.address]);
    let began = scene.now;
    assert_eq!(scene.connecting.deadline(), began + Duration::from_secs(7));
    scene.pends();
    assert!(matches!(scene.after_event(), Progress::Pending));
    assert_eq!(scene.connecting.due(), scene.connecting.deadline(), "there is nothing else to be tried");
    let (socket, _) = scene.under_way().remove(0);
    scene.now = scene.connecting.deadline() - Duration::from_nanos(1);
    scene.pends();
    scene.now = scene.connecting.deadline();
    let Progress::Failed(error) = scene.proceed() else { panic!("{:?}", scene.connecting) };
    assert_eq!(error.to_string(), format!("cannot connect to tcp:hole.example:{port}:timeout=7s: no answer within 7s"));
    assert_eq!(error.reason(), Reason::TimedOut);
    assert!(!is_open(&socket));
}

/// A resolver that hangs, until the sender is dropped.
fn hanging() -> (Resolver<Key>, Receiver<()>, mpsc::Sender<()>) {
    let (begun, begins) = mpsc::channel();
    let (let_go, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let resolver = Resolver::new(move |_: &str| {
        begun.send(()).map_err(io::Error::other)?;
        let _ = held.lock().unwrap().recv();
        Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
    });
    (resolver, begins, let_go)
}

#[test]
fn a_lookup_that_hangs_counts_for_the_limit() {
    let (resolver, begins, _let_go) = hanging();
    let mut scene = Scene::with("hangs.example:80", resolver);
    begins.recv_timeout(PATIENCE).unwrap();
    scene.pends();
    assert_eq!(scene.connecting.due(), scene.now + LIMIT);
    scene.now += LIMIT;
    let Progress::Failed(error) = scene.proceed() else { panic!("{:?}", scene.connecting) };
    assert_eq!(error.to_string(), "cannot connect to tcp:hangs.example:80: its host was not looked up within 20s");
    assert_eq!(error.reason(), Reason::Unresolved);
}

#[test]
fn what_is_dropped_while_it_is_looked_up_gets_no_answer() {
    let (resolver, begins, let_go) = hanging();
    let mut scene = Scene::with("hangs.example:80", resolver);
    begins.recv_timeout(PATIENCE).unwrap();
    let names = Names { resolver: &scene.resolver, inbox: &scene.inbox };
    let to = Arc::new("127.0.0.1:80".parse().unwrap());
    scene.connecting = Connecting::start(to, LIMIT, scene.now, names, Key::Connecting);
    drop(let_go);
    let mut events = Vec::new();
    scene.reactor.set_deadline(Key::Late, Some(Instant::now() + PATIENCE));
    scene.reactor.wait(&mut events).unwrap();
    assert!(events.iter().any(|event| event.key == Key::Answers));
    assert!(scene.inbox.next().is_none());
}

#[test]
fn what_is_dropped_on_its_way_is_closed_with_a_reset() {
    let (listener, address) = listener();
    let mut scene = Scene::new(&address.to_string());
    scene.pends();
    let (socket, _) = scene.under_way().remove(0);
    let (accepted, _) = listener.accept().unwrap();
    drop(scene);
    assert!(!is_open(&socket));
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    let error = (&accepted).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn the_destination_sees_the_address_to_connect_from() {
    let (listener, address) = listener();
    let port = address.port();
    let stream = Scene::new(&format!("tcp:127.0.0.1:{port}:bindAddress=127.0.0.2")).finish().unwrap();
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 2));
    drop(stream);
    if has_ipv6() {
        let six = TcpListener::bind("[::1]:0").unwrap();
        let port = six.local_addr().unwrap().port();
        Scene::new(&format!(r"tcp:\:\:1:{port}:bindAddress=\:\:1")).finish().unwrap();
    }
    let error = Scene::new("tcp:127.0.0.1:80:bindAddress=192.0.2.1").finish().unwrap_err();
    assert!(crate::chain(&error).ends_with("Cannot assign requested address (os error 99)"), "{error:?}");
}

#[test]
fn unix_sockets_are_connected_to_by_path_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let stream = Scene::new(&format!("unix:{}", path.display())).finish().unwrap();
    assert!(matches!(&*stream, Stream::Unix(_)));
    drop((stream, listener.accept().unwrap(), listener));

    let name = format!("socket-protector-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&UnixSocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    Scene::new(&format!("@{name}")).finish().unwrap();
    drop((listener.accept().unwrap(), listener));

    let to = format!("unix:{}", path.display());
    let error = Scene::new(&to).finish().unwrap_err();
    assert_eq!(crate::chain(&error), format!("cannot connect to {to}: Connection refused (os error 111)"));
    std::fs::remove_file(&path).unwrap();
    let error = Scene::new(&to).finish().unwrap_err();
    assert_eq!(error.reason(), Reason::Refused);
    assert_eq!(crate::chain(&error), format!("cannot connect to {to}: No such file or directory (os error 2)"));
}

#[test]
fn a_full_unix_socket_is_tried_again_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _filling = StdUnixStream::connect(&path).unwrap();
    let mut scene = Scene::new(&format!("unix:{}", path.display()));
    scene.pends();
    assert_eq!(scene.connecting.due(), scene.now + RETRY);
    scene.now = scene.connecting.due();
    scene.pends();
    drop(listener.accept().unwrap());
    scene.now = scene.connecting.due();
    let progress = scene.proceed();
    assert!(matches!(progress, Progress::Connected(_)), "{progress:?}");
}

#[test]
fn what_stood_in_the_way_to_the_end_is_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _filling = StdUnixStream::connect(&path).unwrap();
    let error_of = |short: Option<Errno>| {
        let mut scene = Scene::new(&format!("unix:{}", path.display()));
        scene.pends();
        let State::Trying(trying) = &mut scene.connecting.state else { panic!("{:?}", scene.connecting) };
        trying.last = short.map(|errno| (Address::Path(path.clone()), errno.into()));
        scene.now = scene.connecting.deadline();
        let Progress::Failed(error) = scene.proceed() else { panic!("{:?}", scene.connecting) };
        error
    };
    assert_eq!(error_of(None).reason(), Reason::TimedOut, "its backlog was full");
    assert!(crate::chain(&error_of(Some(Errno::EMFILE))).ends_with("Too many open files (os error 24)"));
    assert!(is_shortage(&Errno::EMFILE.into()) && !is_shortage(&Errno::ECONNREFUSED.into()));
}

#[test]
fn a_socket_that_is_connected_to_itself_is_refused() {
    let mut reactor = Reactor::new().unwrap();
    for told in [false, true] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        let own = own.as_socket().unwrap();
        let stream = Stream::Tcp(TcpStream::from_std(socket.into()));
        let socket = Some(reactor.register(stream, Key::Connecting, BOTH).unwrap());
        let mut attempt = Attempt { address: Address::Internet(own), socket };
        assert_eq!(attempt.has_arrived(told, Instant::now()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // Whoever connects to this one gets there as well.
        attempt.address = Address::Internet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, own.port())));
        assert_eq!(attempt.has_arrived(told, Instant::now()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn an_event_is_believed_that_can_be_about_one_attempt_alone() {
    let said = Event {
        key: Key::Connecting,
        readable: false,
        writable: true,
        closed: false,
        failed: false,
        urgent: false,
        due: false,
    };
    let first = BlackHole::at(Ipv4Addr::new(127, 0, 0, 9).into(), 0);
    let second = BlackHole::at(Ipv4Addr::new(127, 0, 0, 8).into(), first.address.port());
    let scene = |addresses: &[SocketAddr]| {
        let mut scene = Scene::with_names(&format!("many.example:{}", first.address.port()), addresses);
        scene.pends();
        assert!(matches!(scene.after_event(), Progress::Pending));
        scene
    };
    let mut alone = scene(&[first.address]);
    for unclear in [Event { failed: true, ..said }, Event { closed: true, ..said }, Event { writable: false, ..said }] {
        alone.connecting.hear(&unclear);
        alone.pends();
    }
    alone.connecting.hear(&said);
    let progress = alone.proceed();
    assert!(matches!(progress, Progress::Connected(_)), "the kernel is not asked, who would know better: {progress:?}");

    let mut two = scene(&[first.address, second.address]);
    two.now = two.connecting.due();
    two.pends();
    assert_eq!(two.under_way().len(), 2);
    two.connecting.hear(&said);
    two.pends();
    let refusing = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 7), 0));
    let mut left = Scene::with_names(&format!("many.example:{}", first.address.port()), &[refusing, first.address]);
    let mut progress = left.proceed();
    while left.under_way().first().is_none_or(|(_, to)| *to != Address::Internet(first.address)) {
        assert!(matches!(progress, Progress::Pending), "{progress:?}");
        progress = left.after_event();
    }
    left.connecting.hear(&said);
    left.pends();
}

#[test]
fn whoever_does_not_tell_what_events_say_connects_as_well() {
    let (_listener, address) = listener();
    let mut scene = Scene::new(&address.to_string());
    scene.hears = false;
    assert_eq!(peer_of(&scene.finish().unwrap()), address);
}

/// The first one's socket is the caller's to count.
#[test]
fn sockets_beside_the_first_are_counted_and_without_room_there_are_none() {
    let first = BlackHole::at(Ipv4Addr::new(127, 0, 0, 9).into(), 0);
    let second = BlackHole::at(Ipv4Addr::new(127, 0, 0, 8).into(), first.address.port());
    let third = BlackHole::at(Ipv4Addr::new(127, 0, 0, 7).into(), first.address.port());
    let addresses = [first.address, second.address, third.address];
    let mut scene = Scene::with_names(&format!("many.example:{}", first.address.port()), &addresses);
    let descriptors = Descriptors::limited_to(1);
    scene.connecting.room = Some(Arc::clone(&descriptors));
    scene.pends();
    assert!(matches!(scene.after_event(), Progress::Pending));
    assert!(descriptors.take(1).is_some(), "the first counts elsewhere");
    scene.now = scene.connecting.due();
    scene.pends();
    assert_eq!(scene.under_way().len(), 2);
    assert!(descriptors.take(1).is_none());
    scene.now = scene.connecting.due();
    scene.pends();
    assert_eq!(scene.under_way().len(), 2, "there is no room for a third one");
    scene.now = scene.connecting.due();
    scene.pends();
    let to: Vec<_> = scene.under_way().into_iter().map(|(_, to)| to).collect();
    assert_eq!(to, [second.address, third.address].map(Address::Internet), "the first has made room for it");
    assert!(descriptors.take(1).is_none());
    scene.now = scene.connecting.deadline();
    assert!(matches!(scene.proceed(), Progress::Failed(_)));
    assert!(descriptors.take(1).is_some());
}
