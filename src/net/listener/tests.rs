use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use super::*;

const LOOPBACK: Interface = Interface::V4(Ipv4Addr::LOCALHOST);

fn listen(interface: Interface, port: u16) -> Listen {
    Listen::Tcp(Tcp { interface, port, backlog: None })
}

fn datagrams(interface: Interface, port: u16) -> Listen {
    Listen::Udp(Udp { interface, port })
}

fn bind(listen: &Listen, default_backlog: u32) -> Result<Bound, ListenError> {
    super::bind(listen, &mut Inherited::default(), default_backlog)
}

fn v6(address: Ipv6Addr) -> Interface {
    Interface::V6 { address, zone: None }
}

fn bound(listen: &Listen) -> Bound {
    bind(listen, 16).unwrap_or_else(|error| panic!("{}", rendered(&error)))
}

fn internet(bound: &Bound) -> SocketAddr {
    match bound.address {
        Address::Internet(address) => address,
        _ => panic!("{} is no internet address", bound.address),
    }
}

/// As a user sees it: the error and its causes.
fn rendered(error: &ListenError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn refusal(listen: &Listen) -> String {
    rendered(&bind(listen, 16).expect_err("the address is not to be had"))
}

/// Tests of IPv6 have nothing to say on a host without it.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn answers(address: impl ToSocketAddrs) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn all_addresses_are_served_by_one_socket() {
    let all = bound(&listen(Interface::All, 0));
    let port = internet(&all).port();
    assert_ne!(port, 0);
    assert!(answers((Ipv4Addr::LOCALHOST, port)));
    if has_ipv6() {
        assert_eq!(internet(&all).ip(), Ipv6Addr::UNSPECIFIED);
        assert!(answers((Ipv6Addr::LOCALHOST, port)));
    }
    assert_eq!(all.endpoint, listen(Interface::All, 0));
}

#[test]
fn one_address_is_served_alone() {
    let four = bound(&listen(LOOPBACK, 0));
    assert!(internet(&four).ip().is_loopback() && internet(&four).is_ipv4());
    assert!(answers(internet(&four)));
    if has_ipv6() {
        assert!(!answers((Ipv6Addr::LOCALHOST, internet(&four).port())));
        let six = bound(&listen(v6(Ipv6Addr::LOCALHOST), 0));
        assert_eq!(internet(&six).ip(), Ipv6Addr::LOCALHOST);
        assert!(answers(internet(&six)));
    }
}

#[test]
fn tcp6_leaves_ipv4_to_the_host() {
    if has_ipv6() {
        let six = bound(&listen(v6(Ipv6Addr::UNSPECIFIED), 0));
        let host_default = new(Domain::IPV6, Some(0)).and_then(|socket| socket.only_v6()).expect("IPv6 exists");
        assert!(answers((Ipv6Addr::LOCALHOST, internet(&six).port())));
        assert_eq!(answers((Ipv4Addr::LOCALHOST, internet(&six).port())), !host_default);
    }
}

#[test]
fn names_are_looked_up_and_ipv4_comes_first() {
    let named = bound(&listen(Interface::Name("localhost".to_owned()), 0));
    assert_eq!(internet(&named).ip(), Ipv4Addr::LOCALHOST);
    let error = refusal(&listen(Interface::Name("a\0b".to_owned()), 80));
    assert!(error.starts_with("cannot look up the host of tcp:80:interface=a\0b: "), "{error}");
}

#[test]
fn zones_are_numbers_or_network_interfaces() {
    let zoned = |zone: &str| {
        let interface = Interface::V6 { address: Ipv6Addr::LOCALHOST, zone: Some(zone.to_owned()) };
        listen(interface, 0)
    };
    let error = refusal(&zoned("nosuchzone"));
    let start = r"cannot find the network interface of tcp6:0:interface=\:\:1%nosuchzone: ";
    assert!(error.starts_with(start), "{error}");
    if has_ipv6() {
        assert!(bind(&zoned("1"), 16).is_ok());
    }
}

#[test]
fn a_busy_port_is_refused_in_the_kernels_words() {
    let first = bound(&listen(LOOPBACK, 0));
    let again = listen(LOOPBACK, internet(&first).port());
    let busy = format!("cannot listen on {again}: {}", io::Error::from_raw_os_error(Errno::EADDRINUSE as i32));
    assert_eq!(refusal(&again), busy);
    // The same for everything that overlaps with it.
    let all = listen(Interface::All, internet(&first).port());
    assert_eq!(refusal(&all), busy.replace(":interface=127.0.0.1", ""));
}

#[test]
fn a_foreign_address_is_refused_in_the_kernels_words() {
    // From the block that is reserved for documentation.
    let foreign = listen(Interface::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);
    let reason = io::Error::from_raw_os_error(Errno::EADDRNOTAVAIL as i32);
    assert_eq!(refusal(&foreign), format!("cannot listen on tcp:80:interface=192.0.2.1: {reason}"));
}

#[test]
fn only_a_missing_ipv6_makes_do_with_ipv4() {
    let lacks = |errno: Errno| lacks_ipv6(&io::Error::from_raw_os_error(errno as i32));
    assert!(lacks(Errno::EAFNOSUPPORT) && lacks(Errno::EADDRNOTAVAIL));
    assert!(!lacks(Errno::EADDRINUSE) && !lacks(Errno::EACCES) && !lacks(Errno::EMFILE));
}

#[test]
fn sockets_are_blocking_and_close_on_exec() {
    let socket = bound(&listen(Interface::All, 0)).socket;
    let descriptor = FdFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFD).expect("it is open"));
    let description = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL).expect("it is open"));
    assert!(descriptor.contains(FdFlag::FD_CLOEXEC));
    assert!(!description.contains(OFlag::O_NONBLOCK));
}

/// Linux lets one connection more wait than the backlog says, and lets further ones knock in vain.
#[test]
#[cfg(target_os = "linux")]
fn the_backlog_is_the_endpoints_or_the_default() {
    let second_waits = |backlog: Option<u32>, default: u32| {
        let bound = bind(&Listen::Tcp(Tcp { backlog, interface: LOOPBACK, port: 0 }), default).expect("a free port");
        let _first = TcpStream::connect(internet(&bound)).expect("there is always room for one");
        TcpStream::connect_timeout(&internet(&bound), Duration::from_millis(100)).is_ok()
    };
    assert!(second_waits(None, 16));
    assert!(!second_waits(None, 0));
    assert!(second_waits(Some(16), 0));
    assert!(!second_waits(Some(0), 16));
    assert!(second_waits(None, u32::MAX));
}

#[test]
fn datagrams_come_to_all_addresses_or_to_one() {
    let all = bound(&datagrams(Interface::All, 0));
    assert_eq!((all.traffic, internet(&all).port() > 0), (Traffic::Datagrams, true));
    let received = UdpSocket::from(all.socket.try_clone().expect("a descriptor"));
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    sender.send_to(b"hello", (Ipv4Addr::LOCALHOST, internet(&all).port())).expect("it is bound");
    let mut buffer = [0; 16];
    assert_eq!(received.recv(&mut buffer).expect("a datagram"), 5);
    let one = bound(&datagrams(LOOPBACK, 0));
    assert!(internet(&one).ip().is_loopback());
    // Nobody else may share the port, or one of the two would get nothing.
    let busy = refusal(&datagrams(LOOPBACK, internet(&one).port()));
    assert!(busy.starts_with("cannot listen on udp:"), "{busy}");
}

#[test]
fn a_tcp_listener_that_was_shut_down_listens_again_at_the_same_port() {
    let free = internet(&bound(&listen(LOOPBACK, 0))).port();
    // One that the kernel chose, and one that was asked for.
    for port in [0, free] {
        let bound = bound(&listen(LOOPBACK, port));
        for times in 1..3 {
            for _ in 0..times {
                // The second time it does not listen any more, and that says so but has an effect all the same.
                let _ = SockRef::from(&bound.socket).shutdown(std::net::Shutdown::Both);
            }
            assert!(!answers(internet(&bound)));
            listen_again(bound.socket.as_fd(), &bound.address, 16).expect("the port is still ours");
            // What it accepts is open both ways.
            let mut client = TcpStream::connect(internet(&bound)).expect("it listens");
            let (mut served, _) = SockRef::from(&bound.socket).accept().expect("a client");
            client.write_all(b"x").and_then(|()| served.read_exact(&mut [0])).expect("a byte");
            served.write_all(b"y").and_then(|()| client.read_exact(&mut [0])).expect("a byte");
        }
        // Once more does no harm to one that listens.
        listen_again(bound.socket.as_fd(), &bound.address, 16).expect("it listens");
        assert!(answers(internet(&bound)));
    }
}

#[test]
fn an_abstract_name_is_held_as_long_as_its_socket() {
    let name = format!("socket-protector-test-{}", std::process::id());
    let endpoint: Listen = format!("@{name}").parse().expect("an endpoint");
    let first = bound(&endpoint);
    assert_eq!((first.address.to_string(), first.address.default_name()), (format!("@{name}"), name.clone()));
    assert_eq!(refusal(&endpoint), format!("cannot listen on unix:@{name}: another process listens there"));
    drop(first);
    bound(&endpoint);
}

#[test]
fn what_an_address_is_called() {
    let path = |path: &str| Address::Path(path.into());
    for (address, text, name) in [
        (Address::Internet(([127, 0, 0, 1], 80).into()), "127.0.0.1:80", "80"),
        (path("/run/my app.sock"), "unix:/run/my app.sock", "my_app.sock"),
        (path("/"), "unix:/", "unix"),
        (Address::Abstract(b"a/b:c".to_vec()), "@a/b:c", "b_c"),
        (Address::Unnamed, "no address", "unix"),
        (path(&"n".repeat(80)), &format!("unix:{}", "n".repeat(80)), &"n".repeat(64)),
    ] {
        assert_eq!((address.to_string().as_str(), address.default_name().as_str()), (text, name));
    }
}

#[test]
fn a_unix_socket_that_is_about_to_listen_is_not_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let fresh = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    fresh.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    let address = UnixAddress::Path(path.to_str().unwrap().to_owned());
    let endpoint = Listen::Unix(Unix { address, mode: None, backlog: None });
    std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(Duration::from_millis(15));
            fresh.listen(1).unwrap();
        });
        let error = bind(&endpoint, 16).expect_err("it listens by now");
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
    });
    drop(fresh);
    bound(&endpoint);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_unix_socket_is_replaced_at_once_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let address = UnixAddress::Path(directory.path().join("s").to_str().unwrap().to_owned());
    let endpoint = Listen::Unix(Unix { address, mode: None, backlog: None });
    let file = std::fs::File::create(directory.path().join(".s.socket-protector.lock")).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let before = std::time::Instant::now();
    let error = replace(&endpoint, 16).expect_err("it is locked");
    assert!(matches!(error, ListenError::Locked { .. }), "{error}");
    assert!(before.elapsed() < Duration::from_secs(1), "waited");
    drop(lock);
    replace(&endpoint, 16).unwrap();
}

#[test]
fn what_is_spoken_in_connections_makes_no_other_socket() {
    for text in
        ["ssl:0:k.pem:interface=127.0.0.1", "haproxy:tcp:0:127.0.0.1:7", "haproxy:ssl:0:k.pem:interface=127.0.0.1"]
    {
        let bound = bound(&text.parse().unwrap());
        assert_eq!(bound.endpoint, text.parse().unwrap());
        assert!(answers(internet(&bound)), "{text}");
        assert_eq!(bound.backlog, if text.ends_with(":7") { 7 } else { 16 });
    }
    // What we were not started with cannot be adopted, whatever stands before it.
    let error = Inherited::take(std::iter::once(&"haproxy:fd:1000000".parse().unwrap())).unwrap_err();
    assert_eq!(rendered(&error), "cannot adopt haproxy:fd:1000000: descriptor 1000000 is not open");
}
