//! Who is told of changes, when, and how often: clients of LiveReload's protocol 7, on the page's host and at its port.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::socket::{CHANNEL, Socket};
use super::{site, write};
use crate::dev::stage::{Proxy, Setup, free_port};
use crate::dev::wire::Client;
use crate::harness::{PATIENCE, eventually, trials, until};

trials![
    each_change_is_one_message_and_the_next_answer_is_the_new_one,
    style_sheets_are_told_by_their_path,
    several_style_sheets_are_one_message,
    a_crowd_hears_each_change_once,
    a_server_that_dies_is_a_message,
    a_client_that_comes_again_hears_what_it_would_get,
    extensions_hear_the_same_at_their_port,
    the_port_of_extensions_can_be_off,
    where_the_port_is_taken_all_else_works,
    foreign_pages_hear_nothing,
    the_script_is_kept_by_nobody,
    who_reads_nothing_delays_nobody,
    who_speaks_another_protocol_is_left,
    with_overlap_a_failure_is_told_with_its_last_words,
    a_failed_build_is_told_to_those_who_come_later,
];

/// LiveReload's port on the same host.
fn extensions(proxy: &Proxy) -> SocketAddr {
    SocketAddr::new(proxy.address.ip(), 35729)
}

/// Waits until the site answers, and joins.
#[track_caller]
fn joined(proxy: &Proxy) -> (Socket, Value) {
    assert_eq!(proxy.get("/version").0, 200);
    let (socket, hello) = Socket::join(proxy.address, CHANNEL);
    (socket, hello["build"].clone())
}

fn is_page(message: &Value) -> bool {
    message["command"] == "reload" && message["path"] == "/" && message["liveCSS"] == true
}

fn each_change_is_one_message_and_the_next_answer_is_the_new_one() {
    for setup in [site(), site().with(&["--overlap"]), site().with(&["--build", "true"])] {
        let proxy = setup.start();
        let (mut socket, mut build) = joined(&proxy);
        for version in ["2", "3", "4"] {
            write(&proxy, "version", version);
            // A second message for the same change would be heard as that of the next one.
            let message = socket.hear();
            assert!(is_page(&message) && message["build"] != build, "{message}");
            assert!(proxy.get("/").1.contains(&format!("<title>{version}</title>")));
            build = joined(&proxy).1;
            assert_eq!(build, message["build"]);
        }
    }
}

fn style_sheets_are_told_by_their_path() {
    let proxy = site().start();
    let (mut socket, _) = joined(&proxy);
    std::fs::create_dir(proxy.site("css")).unwrap();
    write(&proxy, "css/new style.css", "a {}");
    let message = socket.hear();
    assert_eq!((&message["command"], &message["path"]), (&json!("reload"), &json!("css/new style.css")), "{message}");
    write(&proxy, "version", "2");
    assert!(is_page(&socket.hear()), "the next one is about everything again");
}

fn several_style_sheets_are_one_message() {
    let proxy = site().start();
    let (mut socket, _) = joined(&proxy);
    until("both are told of at once", PATIENCE, || {
        write(&proxy, "style.css", "a {}");
        write(&proxy, "other.css", "a {}");
        let message = socket.hear();
        if message["path"] == "*.css" {
            return Ok(());
        }
        // The machine was so slow that they were two changes.
        assert!(["style.css", "other.css"].contains(&message["path"].as_str().unwrap()), "{message}");
        Err(format!("{message} {}", socket.hear()))
    });
    // A second message for the second sheet would be heard in place of this one.
    write(&proxy, "version", "2");
    assert!(is_page(&socket.hear()));
}

fn a_crowd_hears_each_change_once() {
    let proxy = site().start();
    let mut sockets: Vec<_> = (0..50).map(|_| joined(&proxy).0).collect();
    let deaf: Vec<_> = (0..5).map(|_| joined(&proxy).0).collect();
    for version in ["2", "3"] {
        write(&proxy, "version", version);
        let builds: Vec<_> = sockets.iter_mut().map(|socket| socket.hear()["build"].clone()).collect();
        assert!(builds.iter().all(|build| *build == joined(&proxy).1), "{builds:?}");
    }
    drop(deaf);
}

fn a_server_that_dies_is_a_message() {
    let proxy = Setup::new().script("die", "exit 4").start();
    proxy.wait_version("1");
    let (mut socket, hello) = Socket::join(proxy.address, CHANNEL);
    proxy.get("/die");
    let message = socket.hear();
    assert!(is_page(&message) && message["build"] != hello["build"], "{message} {hello}");
    assert_eq!(Socket::join(proxy.address, CHANNEL).1["build"], message["build"]);
}

fn a_client_that_comes_again_hears_what_it_would_get() {
    let front = format!("127.0.0.1:{}", free_port());
    let mut proxy = site().front(&front).start();
    let (socket, build) = joined(&proxy);
    drop(socket);
    assert_eq!(joined(&proxy).1, build, "nothing has changed");
    write(&proxy, "version", "2");
    eventually("version 2 answers", || proxy.get("/version").1 == "2" && joined(&proxy).1 != build);
    let second = joined(&proxy).1;
    proxy.stop(Signal::SIGTERM);
    let proxy = site().front(&front).start();
    let third = joined(&proxy).1;
    assert!(third != second && third != build, "another process: {build} {second} {third}");
}

fn extensions_hear_the_same_at_their_port() {
    let proxy = site().livereload().start();
    assert_eq!(proxy.get("/version").0, 200);
    for path in ["/livereload", "/", "/anything"] {
        let (mut socket, hello) = Socket::join(extensions(&proxy), path);
        assert_eq!(hello["serverName"], "socket-protector");
        write(&proxy, "version", path);
        assert!(is_page(&socket.hear()));
    }
    let mut client = Client::connect(extensions(&proxy));
    client.send("GET /livereload.js?snipver=1 HTTP/1.1\r\nHost: localhost:35729\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/javascript; charset=utf-8")));
    assert_eq!(head.field("access-control-allow-origin"), None);
    assert!(String::from_utf8(client.body(&head)).unwrap().contains("livereload.com/protocols/official-7"));
    let mut client = Client::connect(extensions(&proxy));
    client.send("GET / HTTP/1.1\r\nHost: localhost:35729\r\n\r\n");
    assert_eq!(client.head().status, 404);
}

fn the_port_of_extensions_can_be_off() {
    let proxy = site().livereload().with(&["--no-livereload"]).start();
    assert_eq!(proxy.get("/version").0, 200);
    assert!(std::net::TcpStream::connect(extensions(&proxy)).is_err());
    assert!(!proxy.said().contains("35729"), "{}", proxy.said());
}

fn where_the_port_is_taken_all_else_works() {
    let first = site().livereload().start();
    let second = site().livereload().front(&format!("{}:0", first.address.ip())).start();
    second.wait_said("browser extensions are not told of changes: cannot listen on");
    let (mut one, _) = joined(&first);
    let (mut other, _) = joined(&second);
    write(&second, "version", "2");
    assert!(is_page(&other.hear()));
    // What the first hears is its own change, and not the one before.
    write(&first, "a.css", "p {}");
    assert_eq!(one.hear()["path"], "a.css");
    assert_eq!(second.said().matches("35729").count(), 1, "{}", second.said());
}

fn foreign_pages_hear_nothing() {
    let proxy = site().livereload().start();
    assert_eq!(proxy.get("/version").0, 200);
    let own = format!("http://{}", proxy.address);
    // Host, Origin, and the status on the page's host and at LiveReload's port.
    let cases = [
        ("localhost", None, Ok(()), Ok(())),
        ("localhost", Some(own.as_str()), Ok(()), Ok(())),
        ("localhost", Some("http://localhost:5173"), Ok(()), Ok(())),
        ("127.0.0.1:1", Some("https://127.0.0.1"), Ok(()), Ok(())),
        ("localhost", Some("chrome-extension://jnihajbhpnppcggbcgedagnkighmdlei"), Err(403), Ok(())),
        ("localhost", Some("moz-extension://0b0b"), Err(403), Ok(())),
        ("localhost", Some("http://evil.example"), Err(403), Err(403)),
        ("localhost", Some("http://localhost.evil.example"), Err(403), Err(403)),
        ("localhost", Some("http://192.0.2.1"), Err(403), Err(403)),
        ("localhost", Some("null"), Err(403), Err(403)),
        ("evil.example", None, Err(403), Err(403)),
        ("evil.example", Some("http://evil.example"), Err(403), Err(403)),
    ];
    for (host, origin, own, extension) in cases {
        let fields: Vec<_> = [("Host", host)].into_iter().chain(origin.map(|origin| ("Origin", origin))).collect();
        let open = |address| Socket::open(address, CHANNEL, &fields).map(drop);
        assert_eq!(open(proxy.address), own, "{fields:?}");
        assert_eq!(open(extensions(&proxy)), extension, "{fields:?} at LiveReload's port");
    }
}

fn the_script_is_kept_by_nobody() {
    let proxy = site().start();
    let mut client = proxy.client();
    for (method, path, status) in [
        ("GET", "/__socket_protector/reload.js", 200),
        ("HEAD", "/__socket_protector/reload.js", 200),
        ("GET", "/__socket_protector/reload", 426),
        ("GET", "/__socket_protector/else", 404),
        ("POST", "/__socket_protector/reload.js", 404),
    ] {
        client.send(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let head = client.head();
        assert_eq!((head.status, head.field("cache-control")), (status, Some("no-store")), "{method} {path}");
        assert_eq!(head.field("access-control-allow-origin"), None);
        assert!(status != 200 || head.field("x-content-type-options") == Some("nosniff"));
        if method != "HEAD" {
            client.body(&head);
        }
    }
    client.send("GET /__socket_protector/reload.js HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(client.head().status, 403);
}

fn who_reads_nothing_delays_nobody() {
    let proxy = site().start();
    let (mut reader, _) = joined(&proxy);
    // One that has joined and reads nothing, one that has not even joined, and one that has asked for nothing.
    let stuck = joined(&proxy);
    let open = Socket::open(proxy.address, CHANNEL, &[("Host", "localhost")]).unwrap();
    let silent = std::net::TcpStream::connect(proxy.address).unwrap();
    let mut tabs: Vec<_> = (0..50).map(|_| joined(&proxy).0).collect();
    for version in 2..22 {
        write(&proxy, "version", &version.to_string());
        assert!(is_page(&reader.hear()));
    }
    for tab in &mut tabs {
        assert!((2..22).all(|_| is_page(&tab.hear())));
    }
    drop((stuck, open, silent));
}

fn who_speaks_another_protocol_is_left() {
    let proxy = site().start();
    let mut socket = Socket::open(proxy.address, CHANNEL, &[("Host", "localhost")]).unwrap();
    socket.say(&json!({ "command": "info", "url": "http://localhost/" }));
    socket.say(&json!({ "command": "hello", "protocols": ["http://livereload.com/protocols/official-6"] }));
    assert_eq!(socket.try_hear(), None);
}

fn with_overlap_a_failure_is_told_with_its_last_words() {
    let proxy = site().with(&["--overlap"]).start();
    let (mut socket, build) = joined(&proxy);
    write(&proxy, "broken", "\u{1b}[31ma mistake\u{1b}[0m in line 7");
    let alert = socket.hear();
    assert_eq!(alert["command"], "alert");
    let text = alert["message"].as_str().unwrap();
    assert_eq!(text, "the server exited with status 3\n\na mistake in line 7");
    let (mut late, hello) = Socket::join(proxy.address, CHANNEL);
    assert_eq!(hello["build"], build, "the old one answers");
    assert_eq!(late.hear()["message"], text);
    std::fs::remove_file(proxy.site("broken")).unwrap();
    assert!(is_page(&socket.hear()) && is_page(&late.hear()));
    let (mut later, hello) = Socket::join(proxy.address, CHANNEL);
    assert_ne!(hello["build"], build);
    write(&proxy, "version", "3");
    assert!(is_page(&later.hear()), "nothing of the failure");
}

fn a_failed_build_is_told_to_those_who_come_later() {
    let proxy = site().with(&["--build", "if [ -e bad ]; then echo no such word >&2; exit 2; fi"]).start();
    let (mut socket, build) = joined(&proxy);
    write(&proxy, "bad", "");
    let text = socket.hear()["message"].as_str().unwrap().to_owned();
    assert_eq!(text, "the build exited with status 2\n\nno such word");
    let (mut late, hello) = Socket::join(proxy.address, CHANNEL);
    assert_eq!((&hello["build"], &late.hear()["message"]), (&build, &json!(text)));
    assert_eq!(proxy.get("/version").0, 200);
}
