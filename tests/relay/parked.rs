//! Paused listeners: clients are accepted and wait, in their order, so many and no more.

use std::io::Write;
use std::net::TcpStream;

use socket_protector::net::relay::{Path, Settings, Which};

use super::bodies;
use super::scene::{Scene, exchange, expect_end, reset, settings};
use crate::harness::eventually;

bodies![
    parked_clients_are_let_go_in_their_order_and_before_later_ones,
    so_many_are_parked_and_the_others_wait_in_the_backlog,
    a_parked_client_that_leaves_is_forgotten_and_makes_room,
    thousands_of_silent_clients_of_a_paused_listener_cost_little,
    a_cut_ends_parked_clients_too,
    parked_clients_of_a_listener_that_stops_count_at_once,
    parked_clients_that_are_let_go_are_not_taken_out,
    a_listener_that_stops_lets_its_parked_clients_go,
];

/// A client that says its number.
fn numbered(scene: &Scene, number: u32) -> TcpStream {
    let mut client = scene.client();
    client.write_all(&number.to_be_bytes()).unwrap();
    client
}

fn next_number(scene: &Scene) -> u32 {
    use std::io::Read;
    let mut number = [0; 4];
    scene.accepted().read_exact(&mut number).unwrap();
    u32::from_be_bytes(number)
}

#[track_caller]
fn until_parked(scene: &Scene, count: usize) {
    eventually("as many are parked", || scene.relay.parked(scene.listener) == count);
}

fn parked_clients_are_let_go_in_their_order_and_before_later_ones() {
    const CLIENTS: u32 = 100;
    let scene = Scene::with(Settings { threads: std::num::NonZeroUsize::new(2).unwrap(), ..settings() });
    let (mut before, mut server) = scene.pair();
    scene.relay.pause(scene.listener);
    let clients: Vec<_> = (0..CLIENTS).map(|number| numbered(&scene, number)).collect();
    until_parked(&scene, CLIENTS as usize);
    exchange(&mut before, &mut server);
    assert_eq!(scene.counts().connections, 1, "they count nowhere yet");
    assert_eq!(scene.views().iter().filter(|view| view.path == Path::Parked).count(), CLIENTS as usize);
    scene.relay.resume(scene.listener);
    let later = numbered(&scene, CLIENTS);
    let order: Vec<_> = (0..=CLIENTS).map(|_| next_number(&scene)).collect();
    assert!(order.iter().copied().eq(0..=CLIENTS), "{order:?}");
    drop((clients, later, before, server));
    scene.until_none_is_left();
}

fn so_many_are_parked_and_the_others_wait_in_the_backlog() {
    const CLIENTS: u32 = 60;
    let scene = Scene::with(Settings { most_parked: 5, ..settings() });
    scene.relay.pause(scene.listener);
    let clients: Vec<_> = (0..CLIENTS).map(|number| numbered(&scene, number)).collect();
    until_parked(&scene, 5);
    // A question and its answer: whatever it would have accepted besides, it has accepted now.
    assert_eq!(scene.views().len(), 5);
    scene.relay.resume(scene.listener);
    let order: Vec<_> = (0..CLIENTS).map(|_| next_number(&scene)).collect();
    assert!(order.iter().copied().eq(0..CLIENTS), "{order:?}");
    drop(clients);
}

fn a_parked_client_that_leaves_is_forgotten_and_makes_room() {
    let scene = Scene::with(Settings { most_parked: 3, ..settings() });
    scene.relay.pause(scene.listener);
    let (first, silent, resetting) = (numbered(&scene, 1), scene.client(), numbered(&scene, 2));
    until_parked(&scene, 3);
    let (fourth, fifth) = (numbered(&scene, 4), numbered(&scene, 5));
    drop(silent);
    reset(resetting);
    let known = |client: &TcpStream| {
        let address = client.local_addr().unwrap().to_string();
        scene.views().iter().any(|view| view.client.to_string() == address)
    };
    eventually("the next ones take their places", || known(&fourth) && known(&fifth));
    until_parked(&scene, 3);
    scene.relay.resume(scene.listener);
    assert_eq!([next_number(&scene), next_number(&scene), next_number(&scene)], [1, 4, 5]);
    drop(first);
}

fn thousands_of_silent_clients_of_a_paused_listener_cost_little() {
    const CLIENTS: usize = 2000;
    crate::harness::process::raise_descriptor_limit();
    let scene = Scene::with(Settings { most_parked: 100, ..settings() });
    let (mut client, mut server) = scene.pair();
    exchange(&mut client, &mut server);
    scene.relay.pause(scene.listener);
    let before = super::scene::memory();
    let clients: Vec<_> = (0..CLIENTS).map(|_| scene.client()).collect();
    until_parked(&scene, 100);
    assert_eq!(scene.views().len(), 101);
    let grown = super::scene::memory().saturating_sub(before);
    assert!(grown < 2_000_000, "{grown} bytes more");
    exchange(&mut client, &mut server);
    drop(clients);
    until_parked(&scene, 0);
    eventually("all were seen to leave", || scene.views().len() == 1);
    scene.relay.resume(scene.listener);
    scene.pair();
    exchange(&mut client, &mut server);
}

fn a_cut_ends_parked_clients_too() {
    let scene = Scene::new();
    scene.relay.pause(scene.listener);
    let mut clients = [scene.client(), scene.client()];
    until_parked(&scene, 2);
    assert_eq!(scene.relay.cut(Which::Listener(scene.listener)), 2);
    for client in &mut clients {
        expect_end(client);
    }
    until_parked(&scene, 0);
}

fn a_listener_that_stops_lets_its_parked_clients_go() {
    let scene = Scene::new();
    scene.relay.pause(scene.listener);
    let mut clients: Vec<_> = (0..40).map(|number| numbered(&scene, number)).collect();
    until_parked(&scene, 40);
    scene.relay.stop_listening(scene.listener);
    assert!(TcpStream::connect(scene.address).is_err(), "it is closed");
    for (number, client) in (0..).zip(&mut clients) {
        let mut server = scene.accepted();
        let mut said = [0; 4];
        std::io::Read::read_exact(&mut server, &mut said).unwrap();
        assert_eq!(u32::from_be_bytes(said), number);
        exchange(client, &mut server);
    }
}

/// Those in the backlog, too, of whom no more could be parked. Or whoever drains would take them for nobody.
fn parked_clients_of_a_listener_that_stops_count_at_once() {
    const CLIENTS: u32 = 400;
    let scene = Scene::with(Settings { most_parked: 300, ..settings() });
    scene.relay.pause(scene.listener);
    let clients: Vec<_> = (0..CLIENTS).map(|number| numbered(&scene, number)).collect();
    until_parked(&scene, 300);
    scene.relay.stop_listening(scene.listener);
    assert_eq!(scene.counts().total, u64::from(CLIENTS));
    assert!(!scene.destination.watch());
    let order: Vec<_> = (0..CLIENTS).map(|_| next_number(&scene)).collect();
    assert!(order.iter().copied().eq(0..CLIENTS), "{order:?}");
    drop(clients);
    scene.until_none_is_left();
}

/// They belong to a destination by then, and nobody else could tell to which.
fn parked_clients_that_are_let_go_are_not_taken_out() {
    const CLIENTS: u32 = 1000;
    let scene = Scene::with(Settings { most_parked: CLIENTS as usize, ..settings() });
    scene.relay.pause(scene.listener);
    let clients: Vec<_> = (0..CLIENTS).map(|number| numbered(&scene, number)).collect();
    until_parked(&scene, CLIENTS as usize);
    scene.relay.stop_listening(scene.listener);
    let taken = scene.relay.take_out();
    assert!(taken.parked.is_empty(), "{} were taken out", taken.parked.len());
    let door = scene.relay.closed(std::sync::Arc::clone(&scene.route)).unwrap();
    for pair in taken.pairs {
        scene.relay.put_in(pair, std::sync::Arc::clone(&scene.destination), door);
    }
    let mut all: Vec<_> = (0..CLIENTS).map(|_| next_number(&scene)).collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..CLIENTS), "{all:?}");
    drop(clients);
    scene.until_none_is_left();
}
