//! Swapping the running process for another while connections run.

use super::place::{Backend, Client, Place, client, free_source, row, unix_backend};
use crate::harness::process::{Exit, alive};
use crate::harness::{PATIENCE, eventually, scene, trials, until};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

trials![
    established_connections_go_on_in_the_new_process,
    what_was_counted_and_saved_goes_on,
    clients_that_wait_and_those_who_ask_go_on,
    unix_listeners_keep_their_file,
    it_can_be_done_again_and_again,
    idle_and_busy_connections_lose_no_byte,
    half_closed_connections_and_slow_readers_go_on,
    several_rules_go_on_each_on_its_own,
    who_connects_meanwhile_is_served,
    the_new_process_has_room_for_as_many,
];

impl Place {
    /// The forwarder by a copy of the program that can be replaced.
    pub(super) fn start_copy(&self, source: &str, destination: &str) -> PathBuf {
        let program = self.scene.copy(scene::binary(), "program");
        let mut command = std::process::Command::new(&program);
        self.scene.mark(&mut command).args(["forward", "start", source, destination]);
        crate::harness::ran::Running::start(&mut command).finish(PATIENCE).expect(0);
        program
    }

    /// `restart`, which must work; the new process.
    #[track_caller]
    pub(super) fn restart(&self) -> Pid {
        let old = self.pid();
        self.quietly(&["restart"]);
        let new = self.pid();
        assert_ne!(old, new, "the pid file names the old process");
        assert_eq!(self.wait_end(old), Exit::Code(0));
        assert!(alive(new));
        new
    }

    /// `restart`, which must fail and change nothing.
    #[track_caller]
    pub(super) fn restart_in_vain(&self, words: &str) {
        let old = self.pid();
        self.run(&["restart"]).expect(1).complains().says("cannot restart").says(words);
        assert_eq!(self.pid(), old);
        assert!(alive(old));
        until("nothing is left of the other process", PATIENCE, || {
            let all = self.scene.processes();
            if all == [old] { Ok(()) } else { Err(format!("{all:?}")) }
        });
    }
}

fn established_connections_go_on_in_the_new_process() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut on_a = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut on_b = client(address, "b");
    on_a.send("half a ");
    place.restart();
    on_a.send("line\n");
    assert_eq!(on_a.line(), "a half a line");
    on_b.ask("b");
    assert_eq!(place.rows(), [row(&source, &b.endpoint(), 1, "active"), row(&source, &a.endpoint(), 1, "inactive")]);
    client(address, "b");
    assert_eq!((a.accepted(), b.accepted()), (1, 2), "nobody has connected again");
    drop(on_a);
    place.wait_rows(&[row(&source, &b.endpoint(), 1, "active")]);
    place.switch(&source, &a.endpoint());
    client(address, "a");
    place.run(&["stop"]).expect(0);
    on_b.ends();
}

fn what_was_counted_and_saved_goes_on() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    drop(client(address, "a"));
    place.quietly(&["switch", &source, &b.endpoint(), "--weight", "10"]);
    let (before, saved) = (place.list(), place.file("forward.json"));
    place.restart();
    let after = place.list();
    for key in ["total", "bytes_in", "bytes_out", "failures", "connections", "weight", "endpoint"] {
        let of = |list: &serde_json::Value| list["rules"][0]["destinations"][0][key].clone();
        assert_eq!(of(&before), of(&after), "{key}: {after}");
    }
    assert_eq!(place.file("forward.json"), saved);
    held.ask("a");
    let bytes = place.list()["rules"][0]["destinations"][0]["bytes_in"].as_u64();
    assert_eq!(bytes, Some(18));
    place.kill();
    place.run(&["start"]).expect(0);
    assert_eq!(place.rows().len(), 2);
}

fn clients_that_wait_and_those_who_ask_go_on() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((source, address), (other, paused)) = (free_source(), free_source());
    place.start(&source, &a.endpoint());
    place.start(&other, &a.endpoint());
    place.quietly(&["pause", &other]);
    let mut parked = Client::connect(paused);
    parked.send("hello\n");
    place.wait_list("one is parked", |list| list.to_string().contains("\"parked\":1"));
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let (mut all, mut one) = (place.begin(&["wait"]), place.begin(&["wait", &source]));
    eventually("both wait", || place.control_clients() == 2);
    place.restart();
    assert!(all.runs() && one.runs(), "they wait still");
    assert!(place.list().to_string().contains("\"parked\":1"));
    place.quietly(&["resume", &other]);
    assert_eq!(parked.line(), "a hello");
    drop(held);
    all.finish(PATIENCE).expect(0);
    one.finish(PATIENCE).expect(0);
}

fn unix_listeners_keep_their_file() {
    let place = Place::new();
    let (front, back) = (place.scene.path("front.sock"), place.scene.path("back.sock"));
    unix_backend(&back, "unix");
    place.start(&format!("unix:{}", front.display()), &format!("unix:{}", back.display()));
    let mut held = Client::connect_unix(&front);
    held.ask("unix");
    place.restart();
    held.ask("unix");
    Client::connect_unix(&front).ask("unix");
    place.run(&["stop"]).expect(0);
    assert!(!front.exists(), "the file is left behind");
}

fn it_can_be_done_again_and_again() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    // The first process was not started by another one, and names its pid file otherwise.
    place.restart();
    let first = crate::harness::process::census(place.pid());
    for _ in 0..10 {
        place.restart();
        held.ask("a");
    }
    // The first look may have met one who was just leaving.
    until("it holds no more than the first one held", PATIENCE, || {
        let now = crate::harness::process::census(place.pid());
        let most = |kind| first.descriptors.get(kind).copied().unwrap_or_default();
        let more = now.descriptors.iter().any(|(kind, count)| *count > most(kind.as_str()));
        if more || now.children > 0 { Err(format!("{now:?}, not {first:?}")) } else { Ok(()) }
    });
    std::fs::remove_file(place.path("forward.sock")).unwrap();
    eventually("the control socket is there again", || place.path("forward.sock").exists());
    assert_eq!(place.rows(), [row(&source, &a.endpoint(), 1, "active")]);
    place.run(&["stop"]).expect(0);
    assert!(!place.path("forward.sock").exists() && !place.path("forward.pid").exists());
}

/// Sends bytes that nobody can guess, and reads them back while it does; how many went each way.
fn exchange(address: SocketAddr, seed: u64, more: &AtomicBool) -> u64 {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = stream.try_clone().unwrap();
    let reads = std::thread::spawn(move || {
        let (mut random, mut chunk, mut count) = (Random(seed), vec![0; 64 * 1024], 0);
        loop {
            match (&reader).read(&mut chunk).unwrap() {
                0 => return count,
                length => {
                    let same = chunk[..length].iter().all(|byte| *byte == random.byte());
                    assert!(same, "other bytes came back, after {count}");
                    count += length as u64;
                }
            }
        }
    });
    let (mut random, mut sent) = (Random(seed), 0);
    while more.load(Ordering::Relaxed) {
        let chunk = (0..16 * 1024).map(|_| random.byte()).collect::<Vec<_>>();
        (&stream).write_all(&chunk).unwrap();
        sent += chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let received = reads.join().unwrap();
    assert_eq!(sent, received, "bytes were lost");
    sent
}

/// Numbers that do not repeat soon (xorshift).
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[3]
    }
}

/// A destination that sends everything back.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &connection, &mut &connection);
                let _ = connection.shutdown(Shutdown::Write);
            });
        }
    });
    format!("tcp:host=127.0.0.1:port={port}")
}

/// How many, unless the environment says more: 5000 and 50 is a run by hand.
fn number_of(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn idle_and_busy_connections_lose_no_byte() {
    let (idle, busy) = (number_of("RESTART_IDLE", 200), number_of("RESTART_BUSY", 20));
    let (place, a, echo) = (Place::new(), Backend::new("a"), echo());
    let ((source, address), (other, busy_at)) = (free_source(), free_source());
    place.start(&source, &a.endpoint());
    place.start(&other, &echo);
    let mut all = (0..idle).map(|_| client(address, "a")).collect::<Vec<_>>();
    let more = Arc::new(AtomicBool::new(true));
    let busy = (0..busy).map(|number| {
        let more = Arc::clone(&more);
        std::thread::spawn(move || exchange(busy_at, 0x9e37_79b9 + number as u64, &more))
    });
    let busy = busy.collect::<Vec<_>>();
    place.wait_list("bytes move", |list| list["rules"].to_string().contains("\"bytes_in\":") && !busy.is_empty());
    for _ in 0..3 {
        let begun = std::time::Instant::now();
        place.restart();
        eprintln!("{idle} idle and {} busy connections restarted in {:?}", busy.len(), begun.elapsed());
    }
    more.store(false, Ordering::Relaxed);
    let moved = busy.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>();
    assert!(moved.iter().all(|bytes| *bytes > 0));
    all.iter_mut().for_each(|client| client.ask("a"));
    assert_eq!(a.accepted(), idle, "nobody has connected again");
    let list = place.list();
    let rules = list["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["source"] == other.as_str()).unwrap();
    let count = |key: &str| rule["destinations"][0][key].as_u64();
    let sum = Some(moved.iter().sum::<u64>());
    assert_eq!((count("bytes_in"), count("bytes_out")), (sum, sum));
    drop(all);
    place.wait_list("no connection is counted", |list| !list.to_string().contains("\"connections\":1"));
}

fn half_closed_connections_and_slow_readers_go_on() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (source, address) = free_source();
    place.start(&source, &format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        let (peer, _) = listener.accept().unwrap();
        for stream in [&client, &peer] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (client, peer)
    };
    let all = |mut stream: &TcpStream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    };
    // One side of each has sent everything; the other sends on.
    let (up, down) = (connect(), connect());
    (&up.0).write_all(b"question").unwrap();
    up.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&up.1), b"question");
    (&down.1).write_all(b"answer").unwrap();
    down.1.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&down.0), b"answer");
    // Nobody reads what these have sent: it is in every buffer, and its end may be behind it.
    let (slow, slow_and_ended) = (connect(), connect());
    let mut random = Random(7);
    let mut sent = [Vec::new(), Vec::new()];
    for (sent, (client, _)) in sent.iter_mut().zip([&slow, &slow_and_ended]) {
        client.set_nonblocking(true).unwrap();
        let chunk = (0..64 * 1024).map(|_| random.byte()).collect::<Vec<_>>();
        let mut last = 0;
        until("every buffer is full", PATIENCE, || {
            while let Ok(count) = (&mut &*client).write(&chunk) {
                sent.extend_from_slice(&chunk[..count]);
            }
            let more = sent.len() - std::mem::replace(&mut last, sent.len());
            if more == 0 { Ok(()) } else { Err(format!("{more} more were taken")) }
        });
    }
    slow_and_ended.0.shutdown(Shutdown::Write).unwrap();
    place.restart();
    (&up.1).write_all(b"late answer").unwrap();
    drop(up.1);
    assert_eq!(all(&up.0), b"late answer");
    (&down.0).write_all(b"late question").unwrap();
    drop(down.0);
    assert_eq!(all(&down.1), b"late question");
    place.restart();
    assert!(all(&slow_and_ended.1) == sent[1], "other bytes came");
    slow.0.shutdown(Shutdown::Write).unwrap();
    assert!(all(&slow.1) == sent[0], "other bytes came");
}

fn several_rules_go_on_each_on_its_own() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((one, at_one), (two, at_two)) = (free_source(), free_source());
    place.start(&one, &a.endpoint());
    place.start(&two, &b.endpoint());
    let (mut on_a, mut on_b) = (client(at_one, "a"), client(at_two, "b"));
    place.restart();
    on_a.ask("a");
    on_b.ask("b");
    place.switch(&two, &a.endpoint());
    place.restart();
    client(at_one, "a");
    client(at_two, "a");
    on_b.ask("b");
    place.run(&["stop", &one]).expect(0);
    assert!(!on_a.ends() || on_a.try_line().is_empty(), "it was cut");
    on_b.ask("b");
}

fn who_connects_meanwhile_is_served() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let more = Arc::new(AtomicBool::new(true));
    let going = Arc::clone(&more);
    let connects = std::thread::spawn(move || {
        let mut count = 0;
        while going.load(Ordering::Relaxed) {
            drop(client(address, "a"));
            count += 1;
        }
        count
    });
    // And whoever asks on the control socket is answered by one or the other.
    let (asking, scene) = (Arc::clone(&more), Arc::clone(&place.scene));
    let asks = std::thread::spawn(move || {
        while asking.load(Ordering::Relaxed) {
            scene.cli(&["forward", "ls"]).expect(0);
        }
    });
    for _ in 0..5 {
        place.restart();
    }
    more.store(false, Ordering::Relaxed);
    asks.join().unwrap();
    assert!(connects.join().unwrap() > 0);
}

fn the_new_process_has_room_for_as_many() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let mut command = std::process::Command::new(scene::suite());
    command.args(["child", "wrap", "nofile", "300", "--"]).arg(scene::binary());
    place.scene.mark(&mut command).args(["forward", "start", &source, &a.endpoint()]);
    crate::harness::ran::Running::start(&mut command).finish(PATIENCE).expect(0);
    let mut held = (0..80).map(|_| client(address, "a")).collect::<Vec<_>>();
    for _ in 0..2 {
        place.restart();
        held.iter_mut().for_each(|client| client.ask("a"));
        // There was room for one more, and is.
        client(address, "a");
    }
    assert!(!place.file("forward.log").contains("out of descriptors"), "{}", place.file("forward.log"));
    // Beyond that clients wait, we can be asked, and whoever waits comes in when others leave.
    let more = (0..100).map(|_| Client::connect(address)).collect::<Vec<_>>();
    place.wait_log("out of descriptors");
    assert_eq!(place.rows().len(), 1);
    held.iter_mut().for_each(|client| client.ask("a"));
    drop(held);
    for mut client in more.into_iter().take(10) {
        client.ask("a");
    }
}
