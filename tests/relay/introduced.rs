//! PROXY headers, before the client's bytes and to the destination; destinations by name.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket_protector::chain;
use socket_protector::net::proxy_protocol::Trust;
use socket_protector::net::relay::{Door, News, Route, Settings, Which};

use super::bodies;
use super::scene::{Scene, exchange, expect_end, settings, share};
use crate::harness::eventually;

bodies![
    a_header_in_single_bytes_names_the_client_and_its_bytes_follow,
    a_header_is_passed_on_in_the_version_that_the_destination_wants,
    a_client_without_a_header_is_introduced_by_its_own_address,
    an_untrusted_client_is_closed_unheard,
    bytes_that_are_no_header_close_the_client,
    a_header_that_does_not_come_is_given_up_in_time,
    a_destination_is_reached_by_its_name,
    times_of_the_endpoint_hold_before_the_settings,
];

/// The scene's route, by a listener whose clients speak for others.
fn proxied(scene: &Scene, settings_to: &str) -> SocketAddr {
    let port = scene.backend.local_addr().unwrap().port();
    let connect = format!("tcp:127.0.0.1:{port}{settings_to}").parse().unwrap();
    let destination = scene.relay.destination(2, connect, None);
    let socket = super::scene::listening();
    let address = socket.local_addr().unwrap();
    let route = Route::new(share(&destination));
    scene.relay.listen(Door { socket: socket.into(), route, proxied: true, tls: None }).unwrap();
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    super::scene::patient(TcpStream::connect(address).unwrap())
}

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 443\r\n";

fn a_header_in_single_bytes_names_the_client_and_its_bytes_follow() {
    let scene = Scene::new();
    let mut client = connect(proxied(&scene, ""));
    for byte in HEADER {
        client.write_all(&[*byte]).unwrap();
    }
    client.write_all(b"its own words").unwrap();
    let mut server = scene.accepted();
    let mut words = [0; 13];
    server.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"its own words");
    assert_eq!(scene.views()[0].client.to_string(), "192.0.2.7:50000");
    assert_eq!(scene.views()[0].bytes_in, 13, "the header is no byte of the client's");
    exchange(&mut client, &mut server);
}

fn a_header_is_passed_on_in_the_version_that_the_destination_wants() {
    let scene = Scene::new();
    let mut client = connect(proxied(&scene, ":proxy=v1"));
    client.write_all(&[HEADER, b"ping"].concat()).unwrap();
    let mut server = scene.accepted();
    let mut got = vec![0; HEADER.len() + 4];
    server.read_exact(&mut got).unwrap();
    assert_eq!(got, [HEADER, b"ping"].concat());
    server.write_all(b"pong").unwrap();
    let mut word = [0; 4];
    client.read_exact(&mut word).unwrap();
    // Version 2: signature, PROXY, TCP over IPv4, 12 bytes.
    let mut client = connect(proxied(&scene, ":proxy=v2"));
    client.write_all(&[HEADER, b"ping"].concat()).unwrap();
    let mut got = [0; 32];
    scene.accepted().read_exact(&mut got).unwrap();
    assert_eq!(&got[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    assert_eq!(&got[16..], [192, 0, 2, 7, 192, 0, 2, 1, 0xC3, 0x50, 0x01, 0xBB, b'p', b'i', b'n', b'g']);
}

fn a_client_without_a_header_is_introduced_by_its_own_address() {
    let scene = Scene::new();
    let port = scene.backend.local_addr().unwrap().port();
    let connect = format!("tcp:127.0.0.1:{port}:proxy=v1").parse().unwrap();
    scene.route.set(share(&scene.relay.destination(2, connect, None)));
    let client = scene.client();
    let (own, address) = (client.local_addr().unwrap(), scene.address);
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), address.port());
    let mut got = vec![0; expected.len()];
    scene.accepted().read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), expected);
}

fn an_untrusted_client_is_closed_unheard() {
    let trust = Trust::only(vec!["192.0.2.0/24".parse().unwrap()]);
    let mut scene = Scene::with(Settings { trust, ..settings() });
    let mut client = connect(proxied(&scene, ""));
    let News::ClientFailed { error, client: who, .. } = scene.next_news() else { panic!("it was to be told") };
    assert_eq!(error.to_string(), "not trusted to send a PROXY header");
    assert_eq!(who.to_string(), client.local_addr().unwrap().to_string());
    expect_end(&mut client);
    eventually("it is gone", || scene.relay.connections(Which::All).is_empty());
}

fn bytes_that_are_no_header_close_the_client() {
    let mut scene = Scene::new();
    let address = proxied(&scene, "");
    let mut client = connect(address);
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(matches!(scene.next_news(), News::ClientFailed { .. }));
    assert!(!matches!(client.read(&mut [0]), Ok(1)));
    // One that leaves in the middle of it.
    let mut client = connect(address);
    client.write_all(&HEADER[..9]).unwrap();
    drop(client);
    assert!(matches!(scene.next_news(), News::ClientFailed { .. }));
    eventually("none is left", || scene.relay.connections(Which::All).is_empty());
}

fn a_header_that_does_not_come_is_given_up_in_time() {
    let proxy_header_timeout = Duration::from_millis(200);
    let mut scene = Scene::with(Settings { proxy_header_timeout, ..settings() });
    let mut client = connect(proxied(&scene, ""));
    client.write_all(&HEADER[..20]).unwrap();
    let News::ClientFailed { error, .. } = scene.next_news() else { panic!("it was to be told") };
    assert!(!chain(&error).is_empty());
    expect_end(&mut client);
}

fn a_destination_is_reached_by_its_name() {
    let scene = Scene::new();
    assert!(scene.address.ip() == Ipv4Addr::LOCALHOST);
    let port = scene.backend.local_addr().unwrap().port();
    let named = scene.relay.destination(2, format!("tcp:localhost:{port}").parse().unwrap(), None);
    scene.route.set(share(&named));
    let mut client = scene.client();
    client.write_all(b"ping").unwrap();
    let mut server = scene.accepted();
    let mut word = [0; 4];
    server.read_exact(&mut word).unwrap();
    exchange(&mut client, &mut server);
    let nowhere = scene.relay.destination(3, "tcp:nowhere.invalid:80".parse().unwrap(), None);
    scene.route.set(share(&nowhere));
    expect_end(&mut scene.client());
    eventually("it is counted", || nowhere.counts().failures == 1 && nowhere.counts().connections == 0);
    assert_eq!(Arc::strong_count(&nowhere), 2, "the route's and ours");
}

fn times_of_the_endpoint_hold_before_the_settings() {
    let scene = Scene::with(Settings { idle_timeout: Some(Duration::from_millis(50)), ..settings() });
    let port = scene.backend.local_addr().unwrap().port();
    let patient = scene.relay.destination(2, format!("tcp:127.0.0.1:{port}:idleTimeout=never").parse().unwrap(), None);
    scene.route.set(share(&patient));
    let (mut client, mut server) = scene.pair();
    exchange(&mut client, &mut server);
    // As long as one that may be idle for a short time only.
    scene.route.set(share(&scene.destination));
    let (mut hasty, _other) = scene.pair();
    expect_end(&mut hasty);
    exchange(&mut client, &mut server);
}
