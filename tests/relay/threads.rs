//! Several loops, cuts, shares.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::Arc;

use socket_protector::net::relay::{Settings, Share, Which};

use super::bodies;
use super::scene::{Scene, accept_from, exchange, expect_end, listening, settings, to};
use crate::harness::eventually;

bodies![
    connections_are_spread_over_the_loops,
    a_cut_ends_those_of_one_destination_and_no_others,
    shares_are_exact,
    what_waits_in_the_backlog_is_taken_in_before_a_listener_closes,
    a_stop_closes_everything,
];

fn two_loops() -> Settings {
    Settings { threads: NonZeroUsize::new(2).unwrap(), ..settings() }
}

fn connections_are_spread_over_the_loops() {
    let scene = Scene::with(two_loops());
    let mut pairs: Vec<_> = (0..20).map(|_| scene.pair()).collect();
    for (client, server) in &mut pairs {
        exchange(client, server);
    }
    let on = |thread| scene.views().iter().filter(|view| view.thread == thread).count();
    assert_eq!((on(0), on(1)), (10, 10));
    drop(pairs);
    scene.until_none_is_left();
}

fn a_cut_ends_those_of_one_destination_and_no_others() {
    let scene = Scene::with(two_loops());
    let mut old: Vec<_> = (0..6).map(|_| scene.pair()).collect();
    let other = listening();
    let new = scene.relay.destination(2, to(&other), None);
    scene.route.set(vec![Share { destination: Arc::clone(&new), weight: 1 }]);
    let (mut client, mut server) = (scene.client(), accept_from(&other));
    exchange(&mut client, &mut server);
    assert_eq!(scene.relay.cut(Which::Destination(1)), 6);
    assert_eq!(scene.counts().connections, 0, "they are closed when it returns");
    for (client, server) in &mut old {
        expect_end(client);
        expect_end(server);
    }
    exchange(&mut client, &mut server);
    assert_eq!(new.counts().connections, 1);
}

fn shares_are_exact() {
    let scene = Scene::with(two_loops());
    let canary = listening();
    let other = scene.relay.destination(2, to(&canary), None);
    let share = |destination: &Arc<_>, weight| Share { destination: Arc::clone(destination), weight };
    scene.route.set(vec![share(&scene.destination, 95), share(&other, 5)]);
    let clients: Vec<_> = (0..100).map(|_| scene.client()).collect();
    eventually("all are accepted", || scene.counts().total + other.counts().total == 100);
    assert_eq!((scene.counts().total, other.counts().total), (95, 5));
    drop(clients);
}

fn what_waits_in_the_backlog_is_taken_in_before_a_listener_closes() {
    let scene = Scene::new();
    let clients: Vec<_> = (0..100).map(|_| scene.client()).collect();
    scene.relay.stop_listening(scene.listener);
    let servers: Vec<_> = clients.iter().map(|_| scene.accepted()).collect();
    for mut server in servers {
        server.write_all(b"x").unwrap();
    }
    for mut client in clients {
        client.read_exact(&mut [0]).unwrap();
    }
    assert!(TcpStream::connect(scene.address).is_err());
}

fn a_stop_closes_everything() {
    let scene = Scene::with(two_loops());
    let mut pairs: Vec<_> = (0..10).map(|_| scene.pair()).collect();
    let (destination, address) = (Arc::clone(&scene.destination), scene.address);
    scene.relay.stop();
    assert_eq!(destination.counts().connections, 0);
    assert!(TcpStream::connect(address).is_err());
    for (client, server) in &mut pairs {
        expect_end(client);
        expect_end(server);
    }
}
