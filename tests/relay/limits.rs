//! Few descriptors and many clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;
use socket_protector::net::relay::{News, Route, Settings, Shortage};

use super::bodies;
use super::scene::{Scene, accept_from, exchange, listening, patient, plain, relay, settings, share};
use crate::harness::{PATIENCE, eventually, process, until};

bodies![
    more_clients_than_descriptors_wait_and_none_is_dropped,
    listeners_count_as_long_as_they_are_open,
    so_many_connections_there_may_be_and_others_wait,
];

const LIMIT: u64 = 64;
const CLIENTS: usize = 500;

/// A relay in a process that may open few files. Prints its address, and what it tells.
pub(super) fn relay_of_few_descriptors(words: &[&str]) -> ExitCode {
    let backend = words[0].parse().unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, LIMIT).unwrap();
    let (relay, mut news, mut reactor) = relay(settings());
    let destination = relay.destination(1, backend, None);
    let socket = listening();
    println!("{}", socket.local_addr().unwrap());
    relay.listen(plain(socket.into(), Route::new(share(&destination)))).unwrap();
    let mut events = Vec::new();
    loop {
        reactor.wait(&mut events).unwrap();
        while let Some(news) = news.next() {
            match news {
                News::Short { .. } => println!("short"),
                News::Enough { .. } => println!("enough"),
                News::Ended(_) => {}
                news => println!("{news:?}"),
            }
        }
    }
}

struct Limited {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: SocketAddr,
}

impl Limited {
    fn start(backend: &TcpListener) -> Limited {
        let own = std::env::current_exe().unwrap();
        let address = backend.local_addr().unwrap().to_string();
        let mut child = Command::new(own)
            .args(["child", "relay", "limited", &address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap().parse().unwrap();
        Limited { child, lines, address }
    }

    fn expect(&mut self, line: &str) {
        assert_eq!(self.lines.next().unwrap().unwrap(), line);
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn more_clients_than_descriptors_wait_and_none_is_dropped() {
    process::raise_descriptor_limit();
    let backend = listening();
    let mut limited = Limited::start(&backend);
    let mut running = Vec::new();
    let mut clients = Vec::new();
    for number in 0..CLIENTS as u32 {
        let mut client = patient(TcpStream::connect(limited.address).unwrap());
        client.write_all(&number.to_be_bytes()).unwrap();
        clients.push(Some(client));
    }
    limited.expect("short");
    backend.set_nonblocking(true).unwrap();
    eventually("those that fit are served", || {
        while let Ok((stream, _)) = backend.accept() {
            stream.set_nonblocking(false).unwrap();
            running.push(patient(stream));
        }
        running.len() >= 10
    });
    assert!(running.len() < LIMIT as usize / 2);
    // While others wait, the loop does not turn.
    let pid = Pid::from_raw(i32::try_from(limited.child.id()).unwrap());
    let before = process::processor_time(pid);
    let mut served: Vec<u32> = running.iter_mut().map(number_of).collect();
    for (number, server) in served.iter().zip(&mut running) {
        for _ in 0..20 {
            exchange(clients[*number as usize].as_mut().unwrap(), server);
        }
    }
    let used = process::processor_time(pid) - before;
    assert!(used < std::time::Duration::from_millis(500), "{used:?} for a few hundred words");
    // Each that ends makes room for the next, and in the end all were served.
    running.clear();
    for number in &served {
        clients[*number as usize] = None;
    }
    while served.len() < CLIENTS {
        let mut server = accept_from(&backend);
        let number = number_of(&mut server);
        clients[number as usize] = None;
        served.push(number);
    }
    served.sort_unstable();
    assert!(served.iter().copied().eq(0..CLIENTS as u32), "each once");
    drop(clients);
    limited.expect("enough");
    let mut client = patient(TcpStream::connect(limited.address).unwrap());
    let mut server = accept_from(&backend);
    exchange(&mut client, &mut server);
    until("its descriptors are free", PATIENCE, || {
        let open = process::descriptors_of(pid).len();
        if open < 20 { Ok(()) } else { Err(format!("{open} are open")) }
    });
}

/// There is room for two connections beside one listener, or one beside two.
fn listeners_count_as_long_as_they_are_open() {
    let mut scene = Scene::with(Settings { most_descriptors: Some(5), ..settings() });
    let other = scene.relay.listen(plain(listening().into(), Arc::clone(&scene.route))).unwrap();
    let (mut client, mut server) = scene.pair();
    let mut waiting = scene.client();
    assert!(matches!(scene.next_news(), News::Short { .. }), "it has to wait");
    assert_eq!(scene.counts().connections, 1);
    exchange(&mut client, &mut server);
    scene.relay.stop_listening(other);
    exchange(&mut waiting, &mut scene.accepted());
}

/// Over all loops and listeners, and parked ones are among them.
fn so_many_connections_there_may_be_and_others_wait() {
    let threads = std::num::NonZeroUsize::new(2).unwrap();
    let mut scene = Scene::with(Settings { most_connections: Some(3), threads, ..settings() });
    let socket = listening();
    let address = socket.local_addr().unwrap();
    let other = scene.relay.listen(plain(socket.into(), Arc::clone(&scene.route))).unwrap();
    let (mut one, mut server) = scene.pair();
    let mut two = scene.pair();
    scene.relay.pause(other);
    let mut parked = patient(TcpStream::connect(address).unwrap());
    eventually("it is parked", || scene.relay.parked(other) == 1);
    let mut waiting = scene.client();
    assert!(matches!(scene.next_news(), News::Short { of: Shortage::Connections, .. }), "it has to wait");
    assert_eq!((scene.counts().connections, scene.views().len()), (2, 3));
    exchange(&mut one, &mut server);
    drop((one, server));
    exchange(&mut waiting, &mut scene.accepted());
    scene.relay.resume(other);
    exchange(&mut parked, &mut scene.accepted());
    exchange(&mut two.0, &mut two.1);
    drop(two);
    eventually("there is room again", || matches!(scene.news.next(), Some(News::Enough { .. })));
}

fn number_of(server: &mut TcpStream) -> u32 {
    let mut number = [0; 4];
    server.read_exact(&mut number).unwrap();
    u32::from_be_bytes(number)
}
