//! Clients that are just coming, that ask, and that cannot come along.

use super::site::{NAME, Site};
use crate::harness::process::{self, Exit, alive};
use crate::harness::{PATIENCE, Scene, eventually, trials, until};
use crate::session::server::client::{Client, Said, dial};
use crate::session::server::destination::{Destination, pattern};
use crate::session::server::secure::Certificate;
use nix::sys::signal::Signal;
use socket_protector::session::credential::Secret;
use socket_protector::session::frame::{Frame, Mode, Resume};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

trials![
    a_client_in_the_middle_of_a_word_goes_on,
    observers_and_writers_go_on,
    whoever_attaches_meanwhile_is_served,
    clients_with_tls_are_told_to_come_again,
    a_signal_that_still_comes_to_the_old_process_is_passed_on,
    destinations_with_tls_go_on_by_way_of_the_old_process,
    what_has_stayed_in_a_process_that_is_killed_is_reset,
    whoever_asks_is_answered_by_one_of_the_two,
    a_request_that_is_half_said_is_answered,
    it_is_done_by_a_signal_too,
    the_result_is_told_as_is_wanted,
];

fn a_client_in_the_middle_of_a_word_goes_on() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let (mut first, ticket) = Client::create(site.address);
    first.type_in(b"hello ");
    first.expect("hello ");
    // One that has said nothing, one that has heard HELLO, one in the middle of RESUME, one in the middle of DATA.
    let silent = dial(site.address);
    let mut greeted = Client::connect(site.address);
    let mut asking = Client::connect(site.address);
    let secret = Secret::from_text(&ticket.text).unwrap();
    let mac = secret.key().resume(&asking.said, ticket.id, 0, Mode::Observe.code());
    let (nonce, mode) = (asking.said.client, Mode::Observe);
    let mut resume = Vec::new();
    Frame::Resume(Resume { id: ticket.id, boot_seen: ticket.boot, nonce, next: 0, mode, mac }).encode(&mut resume);
    asking.write(&resume[..40]);
    let mut word = Vec::new();
    Frame::Data { offset: 6, bytes: b"world" }.encode(&mut word);
    first.write(&word[..9]);
    site.upgrade();
    first.write(&word[9..]);
    first.expect("hello world");
    asking.write(&resume[40..]);
    assert!(matches!(asking.hear(), Said::Accept(_)));
    asking.prove();
    asking.expect("hello world");
    greeted.resume(&ticket, 0, Mode::Observe).unwrap();
    greeted.expect("hello world");
    Client::over(silent).resume(&ticket, 0, Mode::Steal).unwrap();
    first.until("that another one came", |said| matches!(said, Said::Detached(_)));
}

fn observers_and_writers_go_on() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let (mut client, ticket) = Client::create(site.address);
    let mut observer = Client::come(site.address, &ticket, 0, Mode::Observe);
    let mut writer = Client::come(site.address, &ticket, 0, Mode::Input);
    client.type_in(b"one ");
    client.expect("one ");
    site.upgrade();
    writer.type_in(b"two ");
    client.expect("two ");
    client.type_in(b"three ");
    client.expect("three ");
    observer.expect("one two three ");
    assert_eq!(client.output, b"one two three ");
    let session = site.wait_state(&ticket, "attached");
    assert_eq!((&session["epoch"], &session["bytes_in"]), (&1.into(), &14.into()));
}

fn whoever_attaches_meanwhile_is_served() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let more = Arc::new(AtomicBool::new(true));
    let comers = (0..3).map(|_| {
        let (more, address) = (Arc::clone(&more), site.address);
        std::thread::spawn(move || {
            let mut count = 0;
            while more.load(Ordering::Relaxed) {
                let (mut client, ticket) = Client::create(address);
                client.type_in(b"hello");
                client.expect("hello");
                drop(client);
                let mut client = Client::come(address, &ticket, 0, Mode::Steal);
                client.expect("hello");
                client.say(&Frame::Fin { offset: client.next });
                client.finish();
                count += 1;
            }
            count
        })
    });
    let comers = comers.collect::<Vec<_>>();
    for _ in 0..4 {
        site.upgrade();
    }
    more.store(false, Ordering::Relaxed);
    let counts = comers.into_iter().map(|comer| comer.join().unwrap()).collect::<Vec<usize>>();
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(destination.accepted(), counts.iter().sum::<usize>(), "each session has connected once");
    until("all sessions are over", PATIENCE, || {
        let status = site.status();
        if status["sessions"].as_array().unwrap().is_empty() { Ok(()) } else { Err(status.to_string()) }
    });
}

fn clients_with_tls_are_told_to_come_again() {
    let (scene, destination) = (Scene::new(), Destination::echo());
    let certificate = Certificate::new(&scene, "server");
    let site = Site::with(scene, &certificate.listen(0, "127.0.0.1"), &destination.endpoint(), &[]);
    let mut client = Client::over(certificate.connect(dial(site.address)));
    let ticket = client.make();
    client.type_in(b"hello");
    client.expect("hello");
    site.upgrade();
    client.until("that it is to come again", |said| *said == Said::GoAway(0));
    client.until("the end", |said| *said == Said::End);
    // Nothing that was typed is lost or there twice.
    let mut client = Client::over(certificate.connect(dial(site.address)));
    let accept = client.resume(&ticket, 5, Mode::Refuse).unwrap();
    assert_eq!((accept.epoch, accept.input_next), (2, 5));
    client.type_in(b" again");
    client.expect(" again");
    assert_eq!(destination.accepted(), 1);
}

fn a_signal_that_still_comes_to_the_old_process_is_passed_on() {
    let (scene, destination) = (Scene::new(), Destination::echo());
    let certificate = Certificate::new(&scene, "server");
    let site = Site::with(scene, &certificate.listen(0, "127.0.0.1"), &destination.endpoint(), &[]);
    // The old process waits until this one has heard its last words.
    let mut client = Client::over(certificate.connect(dial(site.address)));
    client.make();
    let old = site.pid();
    site.scene.cli(&["upgrade", NAME]).expect(0);
    let new = site.pid();
    process::send(old, Signal::SIGTERM);
    assert_eq!(site.wait_end(old), Exit::Code(0));
    assert_eq!(site.wait_end(new), Exit::Code(0));
    site.wait_log("stopping: the process before this one was told to");
}

/// Says everything back by TLS; resets at the word *break*, and ends well when its input does.
fn secret_echo(certificate: &Certificate) -> Destination {
    let speaks = certificate.clone();
    Destination::new(move |stream| {
        let (mut stream, mut room) = (speaks.accept(stream), vec![0; 16 * 1024]);
        loop {
            match stream.read(&mut room) {
                Ok(0) => break,
                Ok(count) if room[..count].ends_with(b"break") => {
                    socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                    return;
                }
                Ok(count) => drop(stream.write_all(&room[..count])),
                Err(_) => return,
            }
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    })
}

fn destinations_with_tls_go_on_by_way_of_the_old_process() {
    let scene = Scene::new();
    let certificate = Certificate::new(&scene, "destination");
    let destination = secret_echo(&certificate);
    let site = Site::with(scene, "127.0.0.1:0", &certificate.destination(destination.address), &[]);
    let (mut client, ticket) = Client::create(site.address);
    let (mut other, _) = Client::create(site.address);
    let (mut third, _) = Client::create(site.address);
    for client in [&mut client, &mut other, &mut third] {
        client.type_in(b"hello ");
        client.expect("hello ");
    }
    let old = site.pid();
    site.scene.cli(&["upgrade", NAME]).expect(0);
    let middle = site.pid();
    assert!(alive(old), "it has the keys");
    client.type_in(&pattern(0, 500_000));
    client.output_to(6 + 500_000);
    assert!(client.output[6..] == pattern(0, 500_000), "other bytes came back");
    // And again: the one in between has nothing that would stay.
    site.scene.cli(&["upgrade", NAME]).expect(0);
    eventually("the middle one has ended", || !alive(middle));
    assert!(alive(old));
    client.type_in(b" again");
    client.expect(" again");
    assert_eq!(site.wait_state(&ticket, "attached")["epoch"], 1);
    // Ends are told as what they are.
    other.type_in(b"break");
    other.until("a reset", |said| matches!(said, Said::Reset(..)));
    client.say(&Frame::Fin { offset: client.next });
    client.finish();
    third.say(&Frame::Close);
    third.until("the end", |said| *said == Said::End);
    destination.wait_open(0);
    assert_eq!(destination.accepted(), 3, "nobody has connected again");
    assert_eq!(site.wait_end(old), Exit::Code(0));
    // What is new speaks TLS by itself.
    let (mut client, _) = Client::create(site.address);
    client.type_in(b"hello");
    client.expect("hello");
}

fn what_has_stayed_in_a_process_that_is_killed_is_reset() {
    let scene = Scene::new();
    let certificate = Certificate::new(&scene, "destination");
    let destination = secret_echo(&certificate);
    let site = Site::with(scene, "127.0.0.1:0", &certificate.destination(destination.address), &[]);
    let (mut client, _ticket) = Client::create(site.address);
    client.type_in(b"hello");
    client.expect("hello");
    let old = site.pid();
    site.scene.cli(&["upgrade", NAME]).expect(0);
    process::send(old, Signal::SIGKILL);
    client.until("a reset, and no end", |said| matches!(said, Said::Reset(5, _)));
    site.wait_end(old);
    // The other way round.
    let (mut client, _ticket) = Client::create(site.address);
    client.type_in(b"hello");
    client.expect("hello");
    let old = site.pid();
    site.scene.cli(&["upgrade", NAME]).expect(0);
    process::send(site.pid(), Signal::SIGKILL);
    assert_eq!(site.wait_end(old), Exit::Code(0));
    destination.wait_open(0);
}

fn whoever_asks_is_answered_by_one_of_the_two() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let more = Arc::new(AtomicBool::new(true));
    let (asking, scene) = (Arc::clone(&more), Arc::clone(&site.scene));
    let asks = std::thread::spawn(move || {
        let mut count = 0;
        while asking.load(Ordering::Relaxed) {
            scene.cli(&["status", NAME]).expect(0);
            count += 1;
        }
        count
    });
    for _ in 0..4 {
        site.upgrade();
    }
    more.store(false, Ordering::Relaxed);
    assert!(asks.join().unwrap() > 0);
}

fn a_request_that_is_half_said_is_answered() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let mut asker = UnixStream::connect(site.scene.path("run/kept.sock")).unwrap();
    asker.set_read_timeout(Some(PATIENCE)).unwrap();
    asker.write_all(b"{\"request\":").unwrap();
    site.upgrade();
    asker.write_all(b"\"status\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&asker).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"ok\":true"), "{answer}");
}

fn it_is_done_by_a_signal_too() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let (mut client, _ticket) = Client::create(site.address);
    let old = site.pid();
    process::send(old, Signal::SIGUSR2);
    assert_eq!(site.wait_end(old), Exit::Code(0));
    assert_ne!(site.pid(), old);
    client.type_in(b"hello");
    client.expect("hello");
    site.wait_log("taken over, with 1 sessions");
}

fn the_result_is_told_as_is_wanted() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let old = site.pid();
    let proxy = format!("--proxy={}", site.address);
    let ran = site.scene.cli(&["session", "upgrade", &proxy]).expect(0);
    let new = site.upgraded(old, &ran);
    let told = site.scene.cli(&["upgrade", NAME, "--json"]).expect(0).json();
    site.wait_end(new);
    assert_eq!((&told["schema"], &told["ok"]), (&1.into(), &true.into()));
    assert_eq!((&told["pid"], &told["version"]), (&site.pid().as_raw().into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(told["milliseconds"].is_u64() && told["reason"].is_null(), "{told}");
    // A program that takes its time.
    let go = site.scene.path("go");
    let (real, wait) = (crate::harness::scene::binary().display().to_string(), go.display().to_string());
    site.scene.script("program", &format!("while [ ! -e {wait} ]; do sleep 0.05; done; exec {real} \"$@\""));
    let late = site.scene.cli(&["upgrade", NAME, "--timeout", "100ms"]).expect(3).complains();
    late.says("the upgrade of kept is not done after 100ms; it goes on");
    let old = site.pid();
    std::fs::write(go, "").unwrap();
    assert_eq!(site.wait_end(old), Exit::Code(0));
    let none = site.scene.cli(&["upgrade", "nobody"]).expect(1).complains();
    none.says("no instance named nobody is running");
}
