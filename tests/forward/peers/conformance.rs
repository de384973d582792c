//! The same questions to the forwarder, HAProxy and nginx: how does each pass on the ends of connections?
//!
//! The answers are the table in docs/relay.md. Ours must be as it says wherever this runs; those of the others are those of the
//! versions that stand in its head, and others are told of and not compared.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::proxies::Proxy;
use super::{Guest, search_path};
use crate::forward::place::{Place, free_port, free_source};
use crate::harness::{PATIENCE, holds_for};

pub(super) const GUESTS: &[Guest] = &[
    Guest { name: "we_do_with_ends_what_the_page_says", has: "true", body: ours },
    Guest { name: "haproxy_does_with_ends_what_the_page_says", has: "command -v haproxy", body: haproxy },
    Guest { name: "nginx_does_with_ends_what_the_page_says", has: NGINX, body: nginx },
    Guest { name: "nginx_with_half_close_does_what_the_page_says", has: NGINX, body: nginx_half_close },
];

const NGINX: &str = "command -v nginx && test -e /usr/lib/nginx/modules/ngx_stream_module.so";
/// How long a connection may be half-closed where that can be said.
const HALF_CLOSED: Duration = Duration::from_millis(500);

/// A sender that could send nothing for so long is held up.
const HELD_UP: Duration = Duration::from_millis(100);

/// A connection through one of them: the client's end and the destination's.
struct Through {
    front: SocketAddr,
    last: TcpListener,
}

impl Through {
    /// Once a word has gone each way.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(self.front).unwrap();
        client.write_all(b"x").unwrap();
        let (mut server, _) = self.last.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"y").unwrap();
        client.read_exact(&mut [0]).unwrap();
        (client, server)
    }

    /// What each row of the table asks, in its words.
    fn answers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("the client has said all, and is answered 300 kB", self.answered(|client, server| (client, server))),
            ("the destination has said all, and is sent 300 kB", self.answered(|client, server| (server, client))),
            ("the client resets", self.reset(0, |client, server| (client, server))),
            ("the destination resets", self.reset(0, |client, server| (server, client))),
            ("the client resets behind 200 kB", self.reset(200_000, |client, server| (client, server))),
            ("the destination resets behind 200 kB", self.reset(200_000, |client, server| (server, client))),
            ("the client reads 3 MB slowly", self.slowly()),
        ]
    }

    /// One ends its direction; what it gets of what the other says then.
    fn answered(&self, order: fn(TcpStream, TcpStream) -> (TcpStream, TcpStream)) -> String {
        let (client, server) = self.pair();
        let (mut first, mut second) = order(client, server);
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        let speaks = std::thread::spawn(move || {
            // Fails where the connection is gone already.
            let _ = second.write_all(&[b'z'; 300_000]);
        });
        let heard = heard(&mut first, 300_000);
        speaks.join().unwrap();
        heard
    }

    /// One resets its connection behind bytes that have left it; what the other gets.
    fn reset(&self, bytes: usize, order: fn(TcpStream, TcpStream) -> (TcpStream, TcpStream)) -> String {
        let (client, server) = self.pair();
        let (mut first, mut second) = order(client, server);
        first.write_all(&vec![b'z'; bytes]).unwrap();
        crate::relay::wait_acknowledged(&first);
        socket2::SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
        drop(first);
        heard(&mut second, bytes)
    }

    fn slowly(&self) -> String {
        const ALL: usize = 3_000_000;
        let (mut client, mut server) = self.pair();
        socket2::SockRef::from(&client).set_recv_buffer_size(64 * 1024).unwrap();
        let (held_up, is_held_up) = std::sync::mpsc::channel();
        let speaks = std::thread::spawn(move || {
            let (bytes, mut sent) = (vec![b'z'; ALL], 0);
            server.set_write_timeout(Some(HELD_UP)).unwrap();
            while sent < ALL {
                match server.write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => held_up.send(()).unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        // The sender is held up, or all has gone into buffers on the way.
        let _ = is_held_up.recv();
        let heard = heard(&mut client, ALL);
        speaks.join().unwrap();
        heard
    }

    /// Whether a half-closed connection ends when it is silent, and only then.
    fn half_closed(&self) -> String {
        let (mut client, mut server) = self.pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        if !holds_for(HALF_CLOSED * 3, || server.write_all(b".").is_ok() && client.read_exact(&mut [0]).is_ok()) {
            return "a trickle is ended".to_owned();
        }
        match client.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => "silence is not ended".to_owned(),
            _ => "silence is ended, a trickle not".to_owned(),
        }
    }
}

/// How many of so many bytes come, and what comes behind them.
fn heard(stream: &mut TcpStream, all: usize) -> String {
    let mut bytes = Vec::new();
    let end = match stream.read_to_end(&mut bytes).map_err(|error| error.kind()) {
        Ok(_) => "end of file",
        Err(ErrorKind::ConnectionReset) => "reset",
        Err(error) => panic!("it does not end: {error}"),
    };
    match bytes.len() {
        _ if all == 0 => end.to_owned(),
        count if count == all => format!("all, {end}"),
        0 => format!("nothing, {end}"),
        _ => format!("a part, {end}"),
    }
}

/// The table: the words of each row by the head of a column, without the emphasis.
fn table(column: &str) -> (String, Vec<(String, String)>) {
    let page = include_str!("../../../docs/relay.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| what happens |"));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut rows = rows.take_while(|line| line.starts_with('|')).map(cells);
    let head = rows.next().unwrap();
    let number = head.iter().position(|cell| cell.starts_with(column)).unwrap();
    let rows = rows.skip(1).map(|row| (row[0].clone(), row[number].clone())).collect();
    (head[number].clone(), rows)
}

/// Compares what was seen with a column. One that says "all or a part" allows both.
#[track_caller]
fn compare(column: &str, seen: &[(&str, String)]) {
    let (_, rows) = table(column);
    let told: Vec<_> = rows.iter().map(|(row, _)| row.as_str()).collect();
    assert_eq!(told, seen.iter().map(|(row, _)| *row).collect::<Vec<_>>(), "the rows of the page");
    for ((row, told), (_, seen)) in rows.iter().zip(seen) {
        let either = told.strip_prefix("all or a part, ");
        let same =
            either.map_or(told == seen, |end| ["all", "a part"].iter().any(|part| *seen == format!("{part}, {end}")));
        assert!(same, "{column}: {row}: {seen:?}, and the page says {told:?}");
    }
}

/// The same for a program of others, if it is the version that the page is about.
#[track_caller]
fn compare_version(column: &str, version: &str, seen: &[(&str, String)]) {
    let output = Command::new("sh").args(["-c", version]).env("PATH", search_path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let (head, _) = table(column);
    let number = head.split([' ', ',']).nth(1).unwrap();
    if said.contains(&format!("{number}.")) {
        compare(column, seen);
    } else {
        eprintln!("\n*** NOT COMPARED: docs/relay.md is about {head}, and this is {said}It does: {seen:#?} ***\n");
    }
}

const HALF: &str = "half-closed, with a limit of its own";
const REFUSED: &str = "nobody listens at the destination";

/// What a client gets of a destination that refuses.
fn refused(front: SocketAddr) -> String {
    let mut client = TcpStream::connect(front).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    heard(&mut client, 0)
}

fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

fn last() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn ours() {
    let (place, (last, destination)) = (Place::new(), last());
    let (source, front) = free_source();
    place.start(&source, &format!("tcp:{destination}:halfClosedTimeout={}ms", HALF_CLOSED.as_millis()));
    let through = Through { front, last };
    let mut seen = through.answers();
    seen.push((HALF, through.half_closed()));
    place.switch(&source, &format!("tcp:{}", nowhere()));
    seen.push((REFUSED, refused(front)));
    compare("`forward`", &seen);
}

fn haproxy() {
    let (place, (last, destination)) = (Place::new(), last());
    let limit = HALF_CLOSED.as_millis();
    let server = format!("timeout server-fin {limit}\n  server one {destination}");
    let proxy = Proxy::haproxy(&place.scene, &format!("\n  timeout client-fin {limit}"), &server);
    let through = Through { front: proxy.front, last };
    let mut seen = through.answers();
    seen.push((HALF, through.half_closed()));
    drop(proxy);
    let proxy = Proxy::haproxy(&place.scene, "", &format!("server one {}", nowhere()));
    seen.push((REFUSED, refused(proxy.front)));
    compare_version("HAProxy", "haproxy -v", &seen);
}

fn nginx() {
    nginx_with("nginx 1", "");
}

fn nginx_half_close() {
    nginx_with("nginx, ", "proxy_half_close on;");
}

fn nginx_with(column: &str, more: &str) {
    let (place, (last, destination)) = (Place::new(), last());
    let proxy = Proxy::nginx(&place.scene, destination, more);
    let through = Through { front: proxy.front, last };
    let mut seen = through.answers();
    seen.push((HALF, "there is none".to_owned()));
    drop(proxy);
    let proxy = Proxy::nginx(&place.scene, nowhere(), more);
    seen.push((REFUSED, refused(proxy.front)));
    compare_version(column, "nginx -v", &seen);
}
