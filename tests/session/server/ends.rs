//! How sessions end: by their ends, by time, by whoever asks; and what is kept until somebody has heard.

use super::client::{Client, Said};
use super::destination::{Destination, pattern};
use super::place::Place;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, eventually, trials, trials_with, until};
use socket_protector::session::frame::{Closed, Frame, Mode, Refusal};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

trials![
    a_destination_that_ends_while_nobody_is_there_is_heard_later,
    a_session_that_nobody_comes_to_ends_and_its_destination_sees_that,
    an_end_that_nobody_hears_of_is_not_kept_for_ever,
    close_ends_a_session_at_once,
    a_silent_client_is_asked_whether_it_is_there,
    who_comes_after_a_restart_is_told_that_the_session_is_gone,
    output_that_is_gone_or_not_there_yet_is_told_and_the_session_lives_on,
];
trials_with!["command -v cc" => the_time_in_which_a_machine_sleeps_counts];

/// Those that need a compiler, too.
pub(super) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

fn a_destination_that_ends_while_nobody_is_there_is_heard_later() {
    let destination = Destination::says(100_000);
    let place = Place::to(&destination.endpoint());
    let before = place.census();
    let (client, ticket) = Client::create(place.address);
    client.cut();
    let session = place.wait_state(&ticket, "ended");
    assert_eq!((session["destination"].as_str(), session["buffered"].as_u64()), (Some("eof"), Some(100_000)));
    let mut client = Client::come(place.address, &ticket, 0, Mode::Steal);
    client.output_to(100_000);
    client.until("the end", |said| *said == Said::Fin(100_000));
    // Nobody has acknowledged that: it comes again.
    client.cut();
    let mut client = Client::come(place.address, &ticket, 100_000, Mode::Steal);
    client.say(&Frame::Fin { offset: 0 });
    client.finish();
    let mut client = Client::connect(place.address);
    assert_eq!(client.resume(&ticket, 100_000, Mode::Steal).err(), Some(Refusal::Denied), "it is over");
    drop(client);
    place.wait_sessions(0);
    place.wait_census(&before);
}

fn a_session_that_nobody_comes_to_ends_and_its_destination_sees_that() {
    let destination = Destination::echo();
    let place = Place::with(&destination.endpoint(), &["--ttl", "1s"]);
    let before = place.census();
    let (client, ticket) = Client::create(place.address);
    assert_eq!(client.hello.ttl, 1);
    destination.wait_open(1);
    let session = place.session(&ticket).unwrap();
    assert!(session["expires_seconds"].is_null() && session["peer"].is_string(), "{session}");
    drop(client);
    place.wait_sessions(0);
    destination.wait_open(0);
    place.wait_census(&before);
    let mut late = Client::connect(place.address);
    assert_eq!(late.resume(&ticket, 0, Mode::Steal).err(), Some(Refusal::Denied));
}

/// The clock that counts sleep, as a library sees it that stands in the system's place.
fn the_time_in_which_a_machine_sleeps_counts() {
    let scene = Scene::new();
    let (source, library) = (scene.write("sleep.c", include_str!("sleep.c")), scene.path("sleep.so"));
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output().unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    let slept = scene.write("slept", "86400");
    let destination = Destination::echo();
    let mut command = Command::new(binary());
    scene.mark(&mut command).env("LD_PRELOAD", &library).env("SLEPT", &slept);
    command.args(["session", "server", "--proxy=127.0.0.1:0", "--ttl=1h", &destination.endpoint()]);
    let place = Place::started(Arc::clone(&scene), &mut command);
    // What it has slept before it was started means nothing.
    let (client, ticket) = Client::create(place.address);
    let (mut attached, other) = Client::create(place.address);
    client.cut();
    let session = place.wait_state(&ticket, "detached");
    assert!(session["expires_seconds"].as_u64().is_some_and(|left| left > 3500), "{session}");
    std::fs::write(&slept, "90000").unwrap();
    until("it is gone", PATIENCE, || match place.session(&ticket) {
        None => Ok(()),
        Some(session) => Err(session.to_string()),
    });
    // Who is there when it wakes is asked, and not taken for gone.
    attached.until("a question", |said| matches!(said, Said::Ping(_)));
    assert_eq!(place.session(&other).unwrap()["state"], "attached");
    // And what is counted from now on goes on by the same clock.
    attached.cut();
    let session = place.wait_state(&other, "detached");
    assert!(session["expires_seconds"].as_u64().is_some_and(|left| left > 3500), "{session}");
}

fn an_end_that_nobody_hears_of_is_not_kept_for_ever() {
    let destination = Destination::says(10);
    let place = Place::with(&destination.endpoint(), &["--linger", "1s"]);
    let (client, ticket) = Client::create(place.address);
    client.cut();
    let session = place.wait_state(&ticket, "ended");
    assert!(session["expires_seconds"].as_u64().unwrap() <= 1, "{session}");
    place.wait_sessions(0);
    destination.wait_open(0);
}

fn close_ends_a_session_at_once() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    let mut observer = Client::come(place.address, &ticket, 0, Mode::Observe);
    client.say(&Frame::Close);
    client.until("the end", |said| *said == Said::Closed(Closed::ByClient));
    client.until("the end of the connection", |said| *said == Said::End);
    observer.until("the end", |said| *said == Said::Closed(Closed::ByClient));
    destination.wait_open(0);
    place.wait_sessions(0);
}

fn a_silent_client_is_asked_whether_it_is_there() {
    let destination = Destination::echo();
    let place = Place::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(place.address);
    assert_eq!(client.hello.heartbeat, 15);
    let before = place.session(&ticket).unwrap()["idle_seconds"].as_u64();
    client.until("a question", |said| matches!(said, Said::Ping(_)));
    // It has answered.
    place.wait_session(&ticket, "it was heard of", |session| session["idle_seconds"].as_u64() <= before);
    assert_eq!(place.session(&ticket).unwrap()["state"], "attached");
}

fn who_comes_after_a_restart_is_told_that_the_session_is_gone() {
    let destination = Destination::echo();
    let first = Place::to(&destination.endpoint());
    let (client, ticket) = Client::create(first.address);
    drop(client);
    drop(first);
    let second = Place::to(&destination.endpoint());
    let mut client = Client::connect(second.address);
    assert_eq!(client.resume(&ticket, 0, Mode::Steal).err(), Some(Refusal::Gone));
}

fn output_that_is_gone_or_not_there_yet_is_told_and_the_session_lives_on() {
    let more = Arc::new(AtomicBool::new(false));
    let destination = {
        let more = Arc::clone(&more);
        Destination::new(move |mut stream| {
            stream.write_all(&pattern(0, 10_000)).unwrap();
            eventually("more is wanted", || more.load(Ordering::SeqCst));
            stream.write_all(&pattern(10_000, 1000)).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    };
    let place = Place::with(&destination.endpoint(), &["--scrollback", "4KiB"]);
    let (mut client, ticket) = Client::create(place.address);
    client.output_to(10_000);
    client.say(&Frame::Ping([0; 8]));
    client.until("an answer", |said| matches!(said, Said::Pong(_)));
    let (base, next) = (10_000 - 4096, 10_000);
    for wrong in [0, base - 1, next + 1, 1 << 60] {
        let mut other = Client::connect(place.address);
        assert_eq!(other.resume(&ticket, wrong, Mode::Steal).err(), Some(Refusal::OutOfRange { base, next }));
    }
    assert_eq!(place.session(&ticket).unwrap()["state"], "attached", "whoever is attached is not disturbed");
    drop(client);
    let mut client = Client::come(place.address, &ticket, u64::MAX, Mode::Steal);
    assert_eq!(client.hear(), Said::Gap(0, base), "how much is missing is told");
    client.output_to(10_000);
    more.store(true, Ordering::SeqCst);
    client.output_to(11_000);
    assert!(client.output == pattern(base, 11_000 - base as usize));
}
