//! HAProxy before and behind the forwarder, which tell each other who the client is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use super::Guest;
use super::proxies::Proxy;
use crate::forward::place::{Backend, Client, Place, client, free_source};
use crate::harness::{PATIENCE, process, until};

const HAS: &str = "command -v haproxy";

pub(super) const GUESTS: &[Guest] = &[
    Guest { name: "haproxy_in_front_says_who_the_client_is", has: HAS, body: haproxy_in_front_says_who_the_client_is },
    Guest {
        name: "haproxy_behind_is_told_who_the_client_is",
        has: HAS,
        body: haproxy_behind_is_told_who_the_client_is,
    },
    Guest { name: "health_checks_of_haproxy_do_no_harm", has: HAS, body: health_checks_of_haproxy_do_no_harm },
];

/// The port of the client that a header of version 1 names, and the socket behind the header.
#[track_caller]
fn introduced(listener: &TcpListener) -> (u16, BufReader<TcpStream>) {
    let (connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(connection);
    let mut header = String::new();
    reader.read_line(&mut header).unwrap();
    let words: Vec<_> = header.trim_end().split(' ').collect();
    let ["PROXY", "TCP4", "127.0.0.1", "127.0.0.1", port, _] = words[..] else {
        panic!("{header:?}");
    };
    (port.parse().unwrap(), reader)
}

/// A client of `front`, of whom the last in the row has heard, talks with that one.
#[track_caller]
fn is_introduced(front: SocketAddr, last: &TcpListener) {
    let mut client = Client::connect(front);
    client.send("hello\n");
    let (port, mut server) = introduced(last);
    assert_eq!(port, client.local_port());
    let mut line = String::new();
    server.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    server.get_mut().write_all(b"answer\n").unwrap();
    assert_eq!(client.line(), "answer");
    drop(server);
    assert!(client.ends(), "an end of file");
}

fn haproxy_in_front_says_who_the_client_is() {
    for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        let place = Place::new();
        let last = TcpListener::bind("127.0.0.1:0").unwrap();
        let (source, ours) = free_source();
        let destination = format!("tcp:127.0.0.1:{}:proxy=v1", last.local_addr().unwrap().port());
        place.start(&format!("haproxy:{source}"), &destination);
        let proxy = Proxy::haproxy(&place.scene, "", &format!("server ours {ours} {version}"));
        is_introduced(proxy.front, &last);
        let list = place.list();
        assert_eq!(list["rules"][0]["destinations"][0]["failures"], 0, "{version}: {list}");
    }
}

fn haproxy_behind_is_told_who_the_client_is() {
    let place = Place::new();
    let last = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("server last {} send-proxy", last.local_addr().unwrap());
    let proxy = Proxy::haproxy(&place.scene, "accept-proxy", &server);
    for version in ["v1", "v2"] {
        let (source, ours) = free_source();
        place.start(&source, &format!("tcp:127.0.0.1:{}:proxy={version}", proxy.front.port()));
        is_introduced(ours, &last);
    }
}

fn health_checks_of_haproxy_do_no_harm() {
    const CHECKS: u64 = 20;
    for version in ["send-proxy", "send-proxy-v2"] {
        let (place, a) = (Place::new(), Backend::new("a"));
        let (source, ours) = free_source();
        place.start(&format!("haproxy:{source}"), &a.endpoint());
        let before = process::census(place.pid());
        let server = format!("server ours {ours} {version} check check-send-proxy inter 20ms fastinter 20ms");
        let proxy = Proxy::haproxy(&place.scene, "", &server);
        place.wait_list("many checks have come", |list| {
            list["rules"][0]["destinations"][0]["total"].as_u64().unwrap() >= CHECKS
        });
        client(proxy.front, "a");
        let seen = proxy.statistics();
        assert!(seen.contains("UP") && !seen.contains("DOWN"), "{version}: {seen}");
        drop(proxy);
        let list = place.list();
        assert_eq!(list["rules"][0]["destinations"][0]["failures"], 0, "{version}: {list}");
        let log = place.file("forward.log");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{version}: {log}");
        until("nothing is left of them", PATIENCE, || {
            let now = process::census(place.pid());
            if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
        });
    }
}

impl Proxy {
    /// What HAProxy says of its servers.
    fn statistics(&self) -> String {
        let mut socket = UnixStream::connect(&self.control).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        let ours = said.lines().filter(|line| line.starts_with("back,ours,"));
        ours.collect::<Vec<_>>().join("\n")
    }
}
