//! How connections end: end of file, half-close, reset, silence.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket_protector::net::relay::{How, News, Settings, Which};

use super::bodies;
use super::scene::{
    Noise, Scene, exchange, expect, expect_end, expect_reset, narrow_client, reset, settings, share, wait_acknowledged,
    write_until_blocked,
};
use crate::harness::{PATIENCE, eventually, until};

bodies![
    a_client_that_has_said_all_still_gets_its_answer,
    a_destination_that_has_said_all_still_gets_every_byte,
    the_half_closed_timer_ends_silence_and_not_a_trickle,
    an_idle_connection_ends_when_it_may_be_idle_no_longer,
    a_slow_reader_of_what_was_sent_is_not_idle,
    who_misses_bytes_at_a_cut_is_reset,
    a_reset_of_the_client_reaches_the_destination_behind_its_bytes,
    a_reset_of_the_destination_reaches_the_client_behind_its_bytes,
    a_reset_behind_bytes_that_nobody_reads_waits_for_the_reader,
    a_reset_waits_for_a_reader_as_long_as_the_endpoint_says,
    a_reset_after_an_end_of_file_is_a_reset,
    both_ends_of_file_end_the_connection_and_its_end_is_told,
];

fn a_client_that_has_said_all_still_gets_its_answer() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut question = String::new();
    server.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    let mut noise = Noise::new(1);
    let answer = noise.clone().bytes(300_000);
    server.write_all(&answer).unwrap();
    drop(server);
    expect(&mut client, &mut noise, answer.len());
    expect_end(&mut client);
    scene.until_none_is_left();
    let counts = scene.counts();
    assert_eq!((counts.total, counts.bytes_in, counts.bytes_out), (1, 8, 300_000));
}

fn a_destination_that_has_said_all_still_gets_every_byte() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    server.write_all(b"hello").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let mut hello = String::new();
    client.read_to_string(&mut hello).unwrap();
    assert_eq!(hello, "hello");
    let mut noise = Noise::new(2);
    let sending = noise.clone().bytes(1_000_000);
    let sender = std::thread::spawn(move || client.write_all(&sending).unwrap());
    expect(&mut server, &mut noise, 1_000_000);
    sender.join().unwrap();
    expect_end(&mut server);
    scene.until_none_is_left();
}

fn the_half_closed_timer_ends_silence_and_not_a_trickle() {
    const LIMIT: Duration = Duration::from_millis(400);
    let scene = Scene::with(Settings { half_closed_timeout: Some(LIMIT), ..settings() });
    let (mut open, mut open_server) = scene.pair();
    let (mut client, mut server) = scene.pair();
    client.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut server);
    let start = Instant::now();
    client.set_read_timeout(Some(LIMIT / 8)).unwrap();
    while start.elapsed() < LIMIT * 3 {
        server.write_all(b".").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // A pause.
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "a trickle keeps it open");
    }
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    server.write_all(b"last").unwrap();
    let last = Instant::now();
    client.read_exact(&mut [0; 4]).unwrap();
    expect_end(&mut client);
    assert!(last.elapsed() >= LIMIT, "not earlier");
    // What is open in both directions is none of its business.
    exchange(&mut open, &mut open_server);
}

fn an_idle_connection_ends_when_it_may_be_idle_no_longer() {
    const LIMIT: Duration = Duration::from_millis(300);
    let mut scene = Scene::with(Settings { idle_timeout: Some(LIMIT), ..settings() });
    let (mut client, mut server) = scene.pair();
    for _ in 0..3 {
        exchange(&mut client, &mut server);
    }
    let last = Instant::now();
    expect_end(&mut client);
    assert!(last.elapsed() + Duration::from_millis(50) >= LIMIT, "not earlier");
    expect_end(&mut server);
    scene.until_none_is_left();
    let end = until("its end is told", PATIENCE, || scene.news.next().ok_or_else(String::new));
    assert!(matches!(end, News::Ended(end) if end.how == How::TimedOut && end.bytes_in == 12));
}

/// The sender has ended, and all of it is in the buffers of the kernel.
fn a_slow_reader_of_what_was_sent_is_not_idle() {
    const LIMIT: Duration = Duration::from_millis(300);
    let scene = Scene::with(Settings { idle_timeout: Some(LIMIT), ..settings() });
    let mut client = narrow_client(scene.address);
    let mut server = scene.accepted();
    let mut noise = Noise::new(3);
    server.write_all(&noise.clone().bytes(500_000)).unwrap();
    wait_acknowledged(&server);
    eventually("the relay has read it", || scene.counts().bytes_out == 500_000);
    let start = Instant::now();
    let (_keep, pause) = std::sync::mpsc::channel::<()>();
    for _ in 0..50 {
        expect(&mut client, &mut noise, 10_000);
        pause.recv_timeout(LIMIT / 10).unwrap_err();
    }
    assert!(start.elapsed() > LIMIT * 3);
    // And what nobody reads is idle after all.
    server.write_all(&noise.clone().bytes(500_000)).unwrap();
    until("it is ended", PATIENCE, || match scene.counts().connections {
        0 => Ok(()),
        _ => Err("not yet".to_owned()),
    });
}

fn a_reset_of_the_client_reaches_the_destination_behind_its_bytes() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    let mut noise = Noise::new(4);
    client.write_all(&noise.clone().bytes(200_000)).unwrap();
    wait_acknowledged(&client);
    reset(client);
    expect(&mut server, &mut noise, 200_000);
    expect_reset(&mut server);
    scene.until_none_is_left();
}

fn a_reset_of_the_destination_reaches_the_client_behind_its_bytes() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    let mut noise = Noise::new(5);
    server.write_all(&noise.clone().bytes(1 << 20)).unwrap();
    wait_acknowledged(&server);
    reset(server);
    expect(&mut client, &mut noise, 1 << 20);
    expect_reset(&mut client);
    scene.until_none_is_left();
}

/// All that the relay can hold is held when the reset comes, in its buffers and in the kernel's.
fn a_reset_behind_bytes_that_nobody_reads_waits_for_the_reader() {
    let scene = Scene::new();
    let (mut client, server) = scene.pair();
    let mut noise = Noise::new(6);
    let mut expected = noise.clone();
    let written = write_until_blocked(&server, &mut noise);
    // What has not even left the destination is lost with it; nobody has received that.
    let received = || scene.views()[0].bytes_out as usize;
    let seen = received();
    reset(server);
    eventually("the relay has read the rest", || scene.views().is_empty() || received() >= seen);
    let mut all = Vec::new();
    let end = client.read_to_end(&mut all).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(all.len() >= seen && all.len() <= written, "{} of {seen} to {written}", all.len());
    assert!(all == expected.bytes(all.len()), "other bytes than were sent");
    scene.until_none_is_left();
}

/// The relay's own time would be an hour.
fn a_reset_waits_for_a_reader_as_long_as_the_endpoint_says() {
    let scene = Scene::new();
    let port = scene.backend.local_addr().unwrap().port();
    let hasty = format!("tcp:host=127.0.0.1:port={port}:halfClosedTimeout=300ms").parse().unwrap();
    let destination = scene.relay.destination(2, hasty, None);
    scene.route.set(share(&destination));
    let _never_reads = narrow_client(scene.address);
    let mut server = scene.accepted();
    server.write_all(&Noise::new(7).bytes(200_000)).unwrap();
    wait_acknowledged(&server);
    eventually("the relay has read it", || destination.counts().bytes_out == 200_000);
    reset(server);
    eventually("it is ended", || destination.counts().connections == 0);
}

fn a_reset_after_an_end_of_file_is_a_reset() {
    let scene = Scene::new();
    let (client, mut server) = scene.pair();
    client.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut server);
    // Nobody is there to read it, and the kernel answers with a reset.
    drop(client);
    let end = until("the destination learns of it", PATIENCE, || match server.write(b"x") {
        Ok(_) => Err("nothing".to_owned()),
        Err(error) => Ok(error.kind()),
    });
    assert!(matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{end:?}");
    scene.until_none_is_left();
}

fn both_ends_of_file_end_the_connection_and_its_end_is_told() {
    let mut scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    exchange(&mut client, &mut server);
    let address = client.local_addr().unwrap().to_string();
    drop(client);
    expect_end(&mut server);
    assert_eq!(scene.counts().connections, 1, "it counts until both sockets are closed");
    assert!(!scene.destination.watch());
    drop(server);
    let mut news: Vec<News> = Vec::new();
    eventually("both are told", || {
        news.extend(std::iter::from_fn(|| scene.news.next()));
        news.len() == 2
    });
    let drained = |news: &&News| matches!(news, News::Drained { destination: 1 });
    assert_eq!(news.iter().filter(drained).count(), 1);
    let end = news.into_iter().find_map(|news| match news {
        News::Ended(end) => Some(end),
        _ => None,
    });
    let end = end.unwrap();
    assert_eq!((end.how, end.bytes_in, end.bytes_out, end.destination), (How::Finished, 4, 4, 1));
    // The kernel forgets it when both directions are closed.
    assert_eq!(end.client.to_string(), address);
}

/// An end of file would say that all has arrived.
fn who_misses_bytes_at_a_cut_is_reset() {
    let scene = Scene::new();
    let mut client = narrow_client(scene.address);
    let server = scene.accepted();
    let sent = write_until_blocked(&server, &mut Noise::new(6));
    assert_eq!(scene.relay.cut(Which::All), 1);
    let mut heard = 0;
    let end = loop {
        match client.read(&mut [0; 4096]) {
            Ok(0) => panic!("an end of file after {heard} of {sent} bytes"),
            Ok(count) => heard += count,
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, ErrorKind::ConnectionReset);
}
