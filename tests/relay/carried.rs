//! Connections that go from one relay to another, as they do when the process is exchanged.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use socket_protector::net::relay::{CarriedState, Door, Ending, News, Path, Relay, Route};

use super::bodies;
use super::scene::{
    Noise, Scene, exchange, expect, expect_end, listening, plain, relay, settings, share, to, write_until_blocked,
};
use crate::harness::{eventually, until};

bodies![
    bytes_that_were_under_way_arrive_by_the_other_relay,
    bytes_in_a_pipe_arrive_too,
    half_closed_connections_go_on_half_closed,
    parked_clients_keep_their_order,
    what_was_taken_out_can_be_put_back,
    who_a_proxy_spoke_for_is_known_where_it_goes_on,
];

/// Takes everything out of the scene's relay and puts it into another one.
fn carry(scene: &Scene, other: &Relay) -> (Vec<CarriedState>, Arc<socket_protector::net::relay::Destination>) {
    scene.relay.leave(scene.listener);
    let taken = scene.relay.take_out();
    assert_eq!(scene.counts().connections, 0, "they count no more where they were");
    let destination = other.destination(7, to(&scene.backend), None);
    let route = Route::new(share(&destination));
    let listener = other.listen(plain(listening().into(), route)).unwrap();
    if !taken.parked.is_empty() {
        other.pause(listener);
    }
    let mut states = Vec::new();
    for pair in taken.pairs {
        // Through text and back, as it goes between processes.
        let text = serde_json::to_string(&pair.state).unwrap();
        assert_eq!(serde_json::from_str::<CarriedState>(&text).unwrap(), pair.state);
        states.push(pair.state.clone());
        other.put_in(pair, Arc::clone(&destination), listener);
    }
    let parked = taken.parked.len();
    for (_, client) in taken.parked {
        other.admit(listener, client);
    }
    eventually("they are parked", || other.parked(listener) == parked);
    other.resume(listener);
    (states, destination)
}

fn bytes_that_were_under_way_arrive_by_the_other_relay() {
    let scene = Scene::new();
    let (mut client, mut server) = scene.pair();
    exchange(&mut client, &mut server);
    let (mut up, mut down) = (Noise::new(1), Noise::new(2));
    let (sent_up, sent_down) = (up.clone(), down.clone());
    let up_count = write_until_blocked(&client, &mut up);
    let down_count = write_until_blocked(&server, &mut down);
    let (other, _news, _reactor) = relay(settings());
    let (states, destination) = carry(&scene, &other);
    assert_eq!(states.len(), 1);
    let state = &states[0];
    assert!(!state.up.unsent.is_empty() && !state.down.unsent.is_empty(), "both directions were blocked");
    assert_eq!((state.up.end, state.down.end, state.destination), (Ending::Open, Ending::Open, 1));
    eventually("it counts again", || destination.counts().connections == 1);
    expect(&mut server, &mut sent_up.clone(), up_count);
    expect(&mut client, &mut sent_down.clone(), down_count);
    exchange(&mut client, &mut server);
    let views = other.connections(socket_protector::net::relay::Which::All);
    assert_eq!(views[0].bytes_in, up_count as u64 + 8, "the count goes on");
    drop((client, server));
    eventually("it is over", || destination.counts().connections == 0);
    other.stop();
}

fn bytes_in_a_pipe_arrive_too() {
    let scene = Scene::new();
    let (mut client, server) = scene.pair();
    let mut noise = Noise::new(3);
    let mut expected = noise.clone();
    // Busy first, and then blocked.
    let portion = noise.bytes(40_000_000);
    let mut sender = server.try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&portion).unwrap());
    let mut received = 0;
    until("it is spliced", crate::harness::PATIENCE, || {
        expect(&mut client, &mut expected, 500_000);
        received += 500_000;
        if scene.views()[0].path == Path::Splice { Ok(()) } else { Err("copied".to_owned()) }
    });
    let mut sent = 40_000_000;
    if received >= sent {
        panic!("never spliced");
    }
    eventually("the rest is under way", || {
        // Read on only until the sender can be blocked.
        let left = sent - received;
        if left > 8_000_000 {
            expect(&mut client, &mut expected, 500_000);
            received += 500_000;
        }
        left <= 8_000_000
    });
    sending.join().unwrap();
    sent += write_until_blocked(&server, &mut noise);
    let (other, _news, _reactor) = relay(settings());
    let (states, _destination) = carry(&scene, &other);
    assert!(!states[0].down.unsent.is_empty());
    drop(server);
    expect(&mut client, &mut expected, sent - received);
    expect_end(&mut client);
    other.stop();
}

fn half_closed_connections_go_on_half_closed() {
    let scene = Scene::new();
    // Its end of file is passed on.
    let (mut said, mut hears) = scene.pair();
    said.write_all(b"all").unwrap();
    said.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    hears.read_to_string(&mut text).unwrap();
    // Its end of file is behind bytes that nobody reads.
    let (mut waiting, blocked) = scene.pair();
    let mut noise = Noise::new(4);
    let mut expected = noise.clone();
    let count = write_until_blocked(&blocked, &mut noise);
    blocked.shutdown(Shutdown::Write).unwrap();
    let (other, _news, _reactor) = relay(settings());
    let (mut states, destination) = carry(&scene, &other);
    states.sort_by_key(|state| state.bytes_in);
    assert_eq!((states[1].up.end, states[1].down.end), (Ending::PassedOn, Ending::Open));
    assert_eq!(states[0].up.end, Ending::Open);
    hears.write_all(b"heard").unwrap();
    drop(hears);
    let mut answer = String::new();
    said.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "heard");
    expect(&mut waiting, &mut expected, count);
    expect_end(&mut waiting);
    drop((waiting, blocked));
    eventually("it is over", || destination.counts().connections == 0);
    other.stop();
}

fn parked_clients_keep_their_order() {
    let scene = Scene::new();
    scene.relay.pause(scene.listener);
    let numbered = |number: u8| {
        let mut client = scene.client();
        client.write_all(&[number]).unwrap();
        client
    };
    // The first ones make room for the last ones, wherever that is.
    let first: Vec<_> = (0..10).map(|_| scene.client()).collect();
    let mut clients: Vec<_> = (0..20).map(numbered).collect();
    eventually("all are parked", || scene.relay.parked(scene.listener) == 30);
    drop(first);
    eventually("some have left", || scene.relay.parked(scene.listener) == 20);
    clients.extend((20..30).map(numbered));
    eventually("all are parked", || scene.relay.parked(scene.listener) == 30);
    let (other, _news, _reactor) = relay(settings());
    carry(&scene, &other);
    for number in 0..30 {
        let mut said = [0];
        scene.accepted().read_exact(&mut said).unwrap();
        assert_eq!(said, [number]);
    }
    drop(clients);
    other.stop();
}

fn what_was_taken_out_can_be_put_back() {
    let scene = Scene::new();
    let mut pairs: Vec<_> = (0..50).map(|_| scene.pair()).collect();
    for (client, server) in &mut pairs {
        exchange(client, server);
    }
    for _ in 0..3 {
        let taken = scene.relay.take_out();
        assert_eq!(taken.pairs.len(), 50);
        for pair in taken.pairs {
            scene.relay.put_in(pair, Arc::clone(&scene.destination), scene.listener);
        }
        for (client, server) in &mut pairs {
            exchange(client, server);
        }
    }
    let counts = scene.counts();
    assert_eq!((counts.connections, counts.total), (50, 50));
    drop(pairs);
    scene.until_none_is_left();
}

fn who_a_proxy_spoke_for_is_known_where_it_goes_on() {
    let scene = Scene::new();
    let socket = listening();
    let address = socket.local_addr().unwrap();
    let door = Door { proxied: true, ..plain(socket.into(), Arc::clone(&scene.route)) };
    let listener = scene.relay.listen(door).unwrap();
    let mut client = super::scene::patient(std::net::TcpStream::connect(address).unwrap());
    client.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n").unwrap();
    let mut server = scene.accepted();
    exchange(&mut client, &mut server);
    scene.relay.leave(listener);
    let (other, mut news, _reactor) = relay(settings());
    carry(&scene, &other);
    exchange(&mut client, &mut server);
    let views = other.connections(socket_protector::net::relay::Which::All);
    assert_eq!(views[0].client.to_string(), "192.0.2.7:50000");
    // And when it has ended.
    drop((client, server));
    let end = until("its end is told", crate::harness::PATIENCE, || match news.next() {
        Some(News::Ended(end)) => Ok(end),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(end.client.to_string(), "192.0.2.7:50000");
    other.stop();
}
