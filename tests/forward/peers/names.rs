//! Names, as a name server of our own answers for them; it is the only one in the network that the trial is in.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crate::forward::place::{Backend, Client, Place, client, free_source};
use crate::harness::island::{ISLAND, on_an_island, shell};
use crate::harness::process::send;
use crate::harness::{eventually, trials_with, until};
use nix::sys::signal::Signal;

trials_with![
    ISLAND => a_name_without_an_address_ends_its_client_and_says_why,
    ISLAND => a_name_server_that_says_nothing_delays_nobody_else,
    ISLAND => a_name_to_listen_at_delays_nobody_else,
    ISLAND => a_start_that_was_given_up_starts_nothing,
    ISLAND => many_names_that_hang_leave_room_for_one_that_does_not,
    ISLAND => a_name_that_moves_is_followed_by_new_connections,
    ISLAND => a_name_whose_first_address_is_dead_is_reached_by_the_other,
];

/// The kinds of records that are asked for.
const A: u16 = 1;
const AAAA: u16 = 28;

/// Answers questions about names below `test` by their first word.
struct NameServer {
    /// The last byte of the address of `moves.test`.
    moves: Arc<AtomicU8>,
    /// How often `late.test` was asked for, and whether that is answered by now.
    late: Arc<(AtomicUsize, AtomicBool)>,
    /// How often it was asked for an address of a name that it says nothing about.
    unanswered: Arc<AtomicUsize>,
}

impl NameServer {
    /// At the place where the system asks.
    fn start(place: &Place, options: &str) -> NameServer {
        let options = &format!("nameserver 127.0.0.1\noptions {options}\n");
        let rules = place.scene.write("resolv.conf", options);
        shell(&format!("mount --bind {} /etc/resolv.conf", rules.display()));
        let switch = place.scene.write("nsswitch.conf", "hosts: files dns\n");
        shell(&format!("mount --bind {} /etc/nsswitch.conf", switch.display()));
        let server = NameServer { moves: Arc::new(AtomicU8::new(1)), late: Arc::default(), unanswered: Arc::default() };
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        let (moves, late, unanswered) =
            (Arc::clone(&server.moves), Arc::clone(&server.late), Arc::clone(&server.unanswered));
        // It ends with the process; nobody else is in its network.
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                if question[HEADER..].starts_with(b"\x04late") {
                    late.0.fetch_add(1, Ordering::SeqCst);
                    until("it may be answered", crate::harness::PATIENCE * 2, || {
                        late.1.load(Ordering::SeqCst).then_some(()).ok_or_else(String::new)
                    });
                }
                if let Some(answer) = answer(&question[..length], moves.load(Ordering::SeqCst)) {
                    socket.send_to(&answer, from).unwrap();
                } else if asks_for(&question[..length]) == A {
                    unanswered.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        server
    }
}

/// RFC 1035, 4.1.1.
const HEADER: usize = 12;

fn end_of_name(question: &[u8]) -> usize {
    HEADER + question[HEADER..].iter().position(|&byte| byte == 0).unwrap() + 1
}

/// The kind of records.
fn asks_for(question: &[u8]) -> u16 {
    let end = end_of_name(question);
    u16::from_be_bytes([question[end], question[end + 1]])
}

/// RFC 1035, 4.1: a header of 12 bytes, one question, and what there is to be said.
fn answer(question: &[u8], moves: u8) -> Option<Vec<u8>> {
    let (end, kind) = (end_of_name(question), asks_for(question));
    let first = &question[HEADER + 1..][..usize::from(question[HEADER])];
    let (code, content): (u8, Option<Vec<u8>>) = match (first, kind) {
        (b"silent", _) => return None,
        (b"moves", A) => (0, Some(vec![127, 0, 0, moves])),
        (b"half" | b"late", A) => (0, Some(vec![127, 0, 0, 1])),
        (b"half", AAAA) => (0, Some(Ipv6Addr::LOCALHOST.octets().to_vec())),
        (b"half" | b"moves" | b"empty" | b"late", _) => (0, None),
        // There is no such name.
        _ => (3, None),
    };
    let mut text = question[..2].to_vec();
    // An answer, by one who may give it and would ask others.
    text.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(content.is_some()), 0, 0, 0, 0]);
    text.extend(&question[HEADER..end + 4]);
    if let Some(content) = content {
        // The name of the question; the kind; Internet; not to be remembered.
        text.extend([0xc0, 12, 0, kind.to_be_bytes()[1], 0, 1, 0, 0, 0, 0, 0, content.len() as u8]);
        text.extend(content);
    }
    Some(text)
}

/// A place on the island, with its name server.
fn with_names(body: impl FnOnce(&Place, &NameServer) + Send) {
    asking("timeout:1 attempts:2", body);
}

/// The same, where it is asked in this way; see resolv.conf(5).
fn asking(options: &str, body: impl FnOnce(&Place, &NameServer) + Send) {
    on_an_island(|| {
        let place = Place::new();
        let server = NameServer::start(&place, options);
        body(&place, &server);
    });
}

fn named(name: &str, backend: &Backend) -> String {
    format!("tcp:{name}.test:{}", backend.endpoint().rsplit_once('=').unwrap().1)
}

fn a_name_without_an_address_ends_its_client_and_says_why() {
    with_names(|place, _| {
        let (a, (source, address)) = (Backend::new("a"), free_source());
        place.start(&source, &named("gone", &a));
        assert!(Client::connect(address).ends());
        place.wait_log("gone.test");
        place.switch(&source, &named("empty", &a));
        assert!(Client::connect(address).ends());
        place.wait_log("empty.test");
        place.wait_list("it is counted, and nothing is left", |list| {
            let destination = &list["rules"][0]["destinations"][0];
            destination["failures"] == 1 && destination["connections"] == 0
        });
        assert_eq!(a.accepted(), 0);
        place.switch(&source, &named("moves", &a));
        client(address, "a");
    });
}

fn a_name_server_that_says_nothing_delays_nobody_else() {
    with_names(|place, _| {
        let (a, (silent, hung), (source, address)) = (Backend::new("a"), free_source(), free_source());
        place.start(&silent, &format!("{}:timeout=1s", named("silent", &a)));
        place.start(&source, &named("moves", &a));
        let mut waiting: Vec<_> = (0..20).map(|_| Client::connect(hung)).collect();
        place.wait_list("they wait", |list| {
            let rules = list["rules"].as_array().unwrap();
            rules.iter().any(|rule| rule["destinations"][0]["connections"] == 20)
        });
        client(address, "a");
        // And they wait no longer than they may.
        assert!(waiting.iter_mut().all(Client::ends));
        client(address, "a");
        place.run(&["stop"]).expect(0);
    });
}

/// A rule is to listen at a name. It hangs for longer than anybody waits for an answer of the forwarder.
fn a_name_to_listen_at_delays_nobody_else() {
    asking("timeout:30 attempts:1", |place, server| {
        let (a, (source, address)) = (Backend::new("a"), free_source());
        place.start(&source, &a.endpoint());
        let (_, named) = free_source();
        let late = format!("tcp:{}:interface=late.test", named.port());
        let mut starts = place.begin(&["start", &late, &a.endpoint()]);
        eventually("it is looked up", || server.late.0.load(Ordering::SeqCst) > 0);
        assert_eq!(place.rows().len(), 1);
        client(address, "a");
        // The next process looks it up again.
        place.quietly(&["restart"]);
        assert!(starts.runs());
        assert_eq!(place.rows().len(), 1);
        server.late.1.store(true, Ordering::SeqCst);
        assert_eq!(starts.finish(crate::harness::PATIENCE).expect(0).out, "Started\n");
        client(named, "a");
        assert!(place.file("forward.json").contains(&late));
        place.run(&["start", &late, &a.endpoint()]).expect(1).complains().says("is forwarded already");
        let unknown = format!("tcp:{}:interface=gone.test", named.port());
        place.run(&["start", &unknown, &a.endpoint()]).expect(1).complains().says("cannot look up");
        // A port that is left open is told in this way, too.
        let ran = place.run(&["start", "tcp:0:interface=late.test", &a.endpoint()]).expect(0);
        assert!(ran.out.starts_with("listening on 127.0.0.1:"), "{}", ran.out);
    });
}

fn a_start_that_was_given_up_starts_nothing() {
    asking("timeout:30 attempts:1", |place, server| {
        let (a, ports) = (Backend::new("a"), [free_source().1.port(), free_source().1.port()]);
        place.start(&free_source().0, &a.endpoint());
        let late = ports.map(|port| format!("tcp:{port}:interface=late.test"));
        let given_up = place.begin(&["start", &late[0], &a.endpoint()]);
        eventually("it is looked up", || server.late.0.load(Ordering::SeqCst) > 0);
        send(given_up.pid(), Signal::SIGKILL);
        given_up.finish(crate::harness::PATIENCE);
        eventually("it is forgotten", || place.control_clients() == 0);
        server.late.1.store(true, Ordering::SeqCst);
        // Whatever was to come of the first one comes before this.
        place.start(&late[1], &a.endpoint());
        let rows = place.rows();
        assert!(rows.len() == 2 && !rows.iter().any(|row| row.starts_with(&late[0])), "{rows:?}");
    });
}

/// As many lookups hang as a few names can have under way together, and none of them ends before the other name was needed.
fn many_names_that_hang_leave_room_for_one_that_does_not() {
    const NAMES: usize = 16;
    const CLIENTS: usize = 4;
    with_names(|place, server| {
        place.scene.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:25 attempts:1\n");
        let (a, (source, address)) = (Backend::new("a"), free_source());
        place.start(&source, &format!("{}:timeout=10s", named("moves", &a)));
        let mut hung = Vec::new();
        for number in 0..NAMES {
            let (silent, at) = free_source();
            place.start(&silent, &named(&format!("silent.{number}"), &a));
            for _ in 0..CLIENTS {
                hung.push(Client::connect(at));
                eventually("it is asked for", || server.unanswered.load(Ordering::SeqCst) == hung.len());
            }
        }
        client(address, "a");
        place.run(&["stop"]).expect(0);
    });
}

fn a_name_that_moves_is_followed_by_new_connections() {
    with_names(|place, server| {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let (source, address) = free_source();
        place.start(&source, &format!("tcp:moves.test:{port}"));
        let _one = TcpStream::connect(address).unwrap();
        let (_kept, _) = first.accept().unwrap();
        server.moves.store(2, Ordering::SeqCst);
        let _other = TcpStream::connect(address).unwrap();
        let (_kept, _) = second.accept().unwrap();
    });
}

/// The first address takes no more connections, and says nothing.
fn a_name_whose_first_address_is_dead_is_reached_by_the_other() {
    with_names(|place, _| {
        let a = Backend::new("a");
        let port = a.endpoint().rsplit_once('=').unwrap().1.parse().unwrap();
        let dead = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        dead.set_only_v6(true).unwrap();
        let place_of_the_dead = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        dead.bind(&place_of_the_dead.into()).unwrap();
        dead.listen(0).unwrap();
        let _first = TcpStream::connect(place_of_the_dead).unwrap();
        let (source, address) = free_source();
        place.start(&source, &format!("{}:prefer=6:timeout=15s", named("half", &a)));
        // It is full when an attempt is still under way after a moment.
        until("its queue is full", crate::harness::PATIENCE, || {
            match TcpStream::connect_timeout(&place_of_the_dead, crate::forward::place::MOMENT) {
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        client(address, "a");
        let list = place.list();
        assert_eq!(list["rules"][0]["destinations"][0]["failures"], 0, "{list}");
    });
}
