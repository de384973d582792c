//! How bytes go: by copy and within the kernel, past slow readers and past those that never read.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket_protector::net::relay::{Path, Settings, Splice};

use super::bodies;
use super::scene::{
    Noise, Scene, exchange, expect, expect_end, memory, narrow_client, settings, wait_acknowledged, write_until_blocked,
};
use crate::harness::{PATIENCE, eventually, until};

bodies![
    both_directions_at_once_lose_nothing,
    a_slow_reader_gets_all_by_copy,
    a_slow_reader_gets_all_through_pipes,
    a_busy_connection_is_spliced_and_a_quiet_one_is_copied_again,
    without_descriptors_for_a_pipe_bytes_are_copied,
    clients_that_never_read_block_their_senders_and_nobody_else,
    a_client_is_watched_for_room_only_once_it_was_full,
    what_follows_urgent_data_arrives_when_spliced_too,
    what_follows_urgent_data_is_not_left_behind,
];

const MANY: usize = 3_000_000;

/// Sends noise in a thread of its own and then the end of file.
fn send(mut stream: TcpStream, seed: u64, count: usize) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        stream.write_all(&Noise::new(seed).bytes(count)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    })
}

fn both_directions_at_once_lose_nothing() {
    for splice in [Splice::Adaptive, Splice::Never] {
        let scene = Scene::with(Settings { splice, ..settings() });
        let (mut client, mut server) = scene.pair();
        let up = send(client.try_clone().unwrap(), 1, 8 * MANY);
        let down = send(server.try_clone().unwrap(), 2, 8 * MANY);
        let receiving = std::thread::spawn(move || {
            expect(&mut client, &mut Noise::new(2), 8 * MANY);
            expect_end(&mut client);
        });
        expect(&mut server, &mut Noise::new(1), 8 * MANY);
        expect_end(&mut server);
        for thread in [up, down, receiving] {
            thread.join().unwrap();
        }
        drop(server);
        scene.until_none_is_left();
        let counts = scene.counts();
        assert_eq!((counts.bytes_in, counts.bytes_out), (8 * MANY as u64, 8 * MANY as u64));
    }
}

/// In pieces, so that the sender is blocked again and again.
fn read_slowly(client: &mut TcpStream, noise: &mut Noise, count: usize) {
    for start in (0..count).step_by(1500) {
        expect(client, noise, 1500.min(count - start));
    }
}

fn a_slow_reader_gets_all_by_copy() {
    let scene = Scene::with(Settings { splice: Splice::Never, ..settings() });
    let mut client = narrow_client(scene.address);
    let server = scene.accepted();
    let sending = send(server, 3, MANY);
    read_slowly(&mut client, &mut Noise::new(3), MANY);
    expect_end(&mut client);
    sending.join().unwrap();
    assert_eq!(scene.views()[0].path, Path::Copy);
}

/// Fast until the connection is spliced, and slowly then.
fn a_slow_reader_gets_all_through_pipes() {
    let scene = Scene::new();
    let (mut client, server) = scene.pair();
    let mut noise = Noise::new(4);
    const ALL: usize = 60_000_000;
    let sending = send(server, 4, ALL);
    let mut left = ALL;
    while left > MANY && scene.views()[0].path != Path::Splice {
        expect(&mut client, &mut noise, 500_000);
        left -= 500_000;
    }
    assert!(left > MANY, "it was never spliced");
    read_slowly(&mut client, &mut noise, MANY);
    left -= MANY;
    while left > 0 {
        let portion = left.min(500_000);
        expect(&mut client, &mut noise, portion);
        left -= portion;
    }
    expect_end(&mut client);
    sending.join().unwrap();
}

fn a_busy_connection_is_spliced_and_a_quiet_one_is_copied_again() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    exchange(&mut client, &mut server);
    assert_eq!(scene.views()[0].path, Path::Copy);
    let portion = Noise::new(5).bytes(4_000_000);
    until("it is spliced", PATIENCE, || {
        let (mut sender, bytes) = (server.try_clone().unwrap(), portion.clone());
        let sending = std::thread::spawn(move || sender.write_all(&bytes).unwrap());
        expect(&mut client, &mut Noise::new(5), portion.len());
        sending.join().unwrap();
        if scene.views()[0].path == Path::Splice { Ok(()) } else { Err("copied".to_owned()) }
    });
    until("it is copied", PATIENCE, || {
        exchange(&mut client, &mut server);
        exchange(&mut server, &mut client);
        if scene.views()[0].path == Path::Copy { Ok(()) } else { Err("spliced".to_owned()) }
    });
}

fn without_descriptors_for_a_pipe_bytes_are_copied() {
    // The listener and one connection.
    let scene = Scene::with(Settings { most_descriptors: Some(3), ..settings() });
    let (mut client, server) = scene.pair();
    let sending = send(server, 6, 20 * MANY);
    let mut noise = Noise::new(6);
    for _ in 0..20 {
        expect(&mut client, &mut noise, MANY);
        assert_eq!(scene.views()[0].path, Path::Copy);
    }
    expect_end(&mut client);
    sending.join().unwrap();
}

fn clients_that_never_read_block_their_senders_and_nobody_else() {
    const CLIENTS: usize = 20;
    let scene = Scene::new();
    let (mut client, mut other) = scene.pair();
    exchange(&mut client, &mut other);
    let blocked: Vec<_> = (0..CLIENTS).map(|_| (narrow_client(scene.address), scene.accepted())).collect();
    let before = memory();
    let mut noise = Noise::new(7);
    for (_, server) in &blocked {
        write_until_blocked(server, &mut noise);
        exchange(&mut client, &mut other);
    }
    let grown = memory().saturating_sub(before);
    // At most the one portion that could not be written is kept for each.
    assert!(grown < CLIENTS * 300 * 1024 + 2_000_000, "{grown} bytes more than before");
    for _ in 0..100 {
        exchange(&mut client, &mut other);
    }
    let first = memory();
    for (_, server) in &blocked {
        // What the kernel takes in its own buffers is its own business.
        assert!(write_until_blocked(server, &mut noise) < 64_000_000, "it is blocked");
    }
    let more = memory().saturating_sub(first);
    assert!(more < 2_000_000, "{more} bytes more for what is blocked already");
    drop(blocked);
    exchange(&mut client, &mut other);
    drop((client, other));
    scene.until_none_is_left();
}

/// How many sockets this process watches for room. See proc_pid_fdinfo(5): one line for each that is watched, with the
/// events in hexadecimal, of which EPOLLOUT is 4.
fn watched_for_room() -> usize {
    let mut watched = HashSet::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[eventpoll]") {
            let name = entry.file_name().into_string().unwrap();
            let lines = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap();
            // A loop has two descriptors of the same instance.
            watched.extend(lines.lines().filter(|line| line.starts_with("tfd:")).map(str::to_owned));
        }
    }
    let events = |line: &String| {
        let (_, rest) = line.split_once("events:").unwrap();
        u32::from_str_radix(rest.split_whitespace().next().unwrap(), 16).unwrap()
    };
    watched.iter().filter(|line| events(line) & 4 != 0).count()
}

fn a_client_is_watched_for_room_only_once_it_was_full() {
    let scene = Scene::with(Settings { splice: Splice::Never, ..settings() });
    let mut client = narrow_client(scene.address);
    let mut server = scene.accepted();
    exchange(&mut client, &mut server);
    assert_eq!(watched_for_room(), 1, "the destination is, since its connection was waited for");
    let sending = send(server, 9, MANY);
    eventually("the client is full", || watched_for_room() == 2);
    expect(&mut client, &mut Noise::new(9), MANY);
    expect_end(&mut client);
    sending.join().unwrap();
}

/// Urgent bytes themselves are not relayed. But splice(2) stops before them, and takes the place for an end.
fn what_follows_urgent_data_arrives_when_spliced_too() {
    const PIECE: usize = 500_000;
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    let is_spliced = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&is_spliced);
    let sending = std::thread::spawn(move || {
        let (mut noise, mut sent) = (Noise::new(5), 0);
        while !enough.load(Ordering::Relaxed) {
            server.write_all(&noise.bytes(PIECE)).unwrap();
            sent += PIECE;
        }
        socket2::SockRef::from(&server).send_out_of_band(b"!").unwrap();
        server.write_all(&noise.bytes(1000)).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        sent + 1000
    });
    let (mut noise, mut heard) = (Noise::new(5), 0);
    while scene.views()[0].path != Path::Splice {
        expect(&mut client, &mut noise, PIECE);
        heard += PIECE;
    }
    is_spliced.store(true, Ordering::Relaxed);
    // Enough for the sender to come to its end.
    while !sending.is_finished() {
        let mut some = [0; 4096];
        let count = client.read(&mut some).unwrap();
        assert!(count > 0 && noise.bytes(count) == some[..count], "after {heard} bytes");
        heard += count;
    }
    expect(&mut client, &mut noise, sending.join().unwrap() - heard);
    expect_end(&mut client);
}

/// As FTP has it, which asks to abort by urgent data before the word for it. A read ends before such a byte, though more is
/// there already, of which no event tells again.
fn what_follows_urgent_data_is_not_left_behind() {
    let scene = Scene::new();
    scene.relay.pause(scene.listener);
    let mut client = scene.client();
    client.write_all(b"before ").unwrap();
    socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"ABOR\r\n").unwrap();
    wait_acknowledged(&client);
    eventually("it is parked", || scene.relay.parked(scene.listener) == 1);
    scene.relay.resume(scene.listener);
    let mut server = scene.accepted();
    let mut all = [0; 13];
    server.read_exact(&mut all).unwrap();
    assert_eq!(&all, b"before ABOR\r\n");
    // And the same from the destination, again and again.
    for word in [b"first", b"later"] {
        server.write_all(b"some ").unwrap();
        socket2::SockRef::from(&server).send_out_of_band(b"!").unwrap();
        server.write_all(word).unwrap();
        let mut all = [0; 10];
        client.read_exact(&mut all).unwrap();
        assert_eq!(&all, &[b"some ", &word[..]].concat()[..]);
    }
}
