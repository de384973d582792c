//! Requests that wait for a server.

use std::time::Duration;

use super::stage::Setup;
use crate::harness::{eventually, trials};

trials![
    a_crowd_waits_and_all_are_answered,
    more_than_the_limit_are_told_to_come_again,
    one_who_waits_too_long_is_told_so,
    the_body_of_a_request_that_waits_is_whole,
    one_who_leaves_makes_room,
    those_who_wait_are_told_when_the_server_fails,
    a_request_that_died_with_its_server_goes_to_the_next,
    a_request_that_died_with_two_servers_goes_to_the_third,
    a_request_that_brings_each_restart_itself_ends,
    a_body_that_was_sent_goes_to_the_next_as_well,
];

/// A server that listens only once the file `go` is there.
const LATE: &str = "while [ ! -e ../go ]; do sleep 0.02; done; exec $WEB";
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn a_crowd_waits_and_all_are_answered() {
    let proxy = Setup::new().with(&["--hold-limit", "400"]).shell(LATE).start();
    let mut clients: Vec<_> = (0..300).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    assert!(clients.iter().all(super::wire::Client::is_silent));
    proxy.scene.write("go", "");
    for client in &mut clients {
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"1".to_vec()));
    }
}

fn more_than_the_limit_are_told_to_come_again() {
    let proxy = Setup::new().with(&["--hold-limit", "2"]).shell(LATE).start();
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    let refused = || clients.iter().filter(|client| !client.is_silent()).count();
    eventually("three are refused", || refused() == 3);
    for client in clients.iter_mut().filter(|client| !client.is_silent()) {
        let head = client.head();
        client.body(&head);
        assert_eq!((head.status, head.field("retry-after")), (503, Some("1")));
    }
    proxy.scene.write("go", "");
    proxy.wait_version("1");
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.head().status, 200);
    }
}

fn one_who_waits_too_long_is_told_so() {
    let proxy = Setup::new().with(&["--hold-timeout", "300ms"]).command(&["sleep", "1000"]).start();
    let (status, body) = proxy.get("/");
    assert_eq!(status, 504);
    assert!(body.contains("not ready in time"), "{body}");
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((client.head().status, client.head().status), (504, 504), "no body follows the first");
}

fn the_body_of_a_request_that_waits_is_whole() {
    let body = "body\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok";
    let proxy = Setup::new().script("post", body).shell(LATE).start();
    let text = "0123456789".repeat(100_000);
    let mut client = proxy.client();
    client.send(&format!("POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", text.len()));
    std::thread::scope(|scope| {
        let (mut writer, text) = (client.clone(), &text);
        scope.spawn(move || writer.send(text));
        proxy.scene.write("go", "");
        assert_eq!(client.head().status, 200);
    });
    assert!(proxy.scene.read("web/bodies") == text);
}

fn one_who_leaves_makes_room() {
    let proxy = Setup::new().with(&["--hold-limit", "1"]).shell(LATE).start();
    for _ in 0..5 {
        let mut client = proxy.client();
        // Until the one before is gone there is no room.
        eventually("there is room", || {
            client = proxy.client();
            client.send(GET);
            std::thread::sleep(Duration::from_millis(20));
            client.is_silent()
        });
    }
    proxy.scene.write("go", "");
    proxy.wait_version("1");
}

fn those_who_wait_are_told_when_the_server_fails() {
    let line = "echo the reason >&2; while [ ! -e ../go ]; do sleep 0.02; done; exit 7";
    let proxy = Setup::new().command(&["sh", "-c", line]).start();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    proxy.scene.write("go", "");
    for client in &mut clients {
        let head = client.head();
        let body = String::from_utf8(client.body(&head)).unwrap();
        assert_eq!((head.status, head.field("content-type")), (503, Some("text/plain; charset=utf-8")));
        assert!(body.contains("exited with status 7") && body.contains("the reason"), "{body}");
    }
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((client.head().status, client.head().status), (503, 503), "no body follows the first");
}

fn a_request_that_died_with_its_server_goes_to_the_next() {
    let proxy = Setup::new().script("hangs", "note asked\nuntil never").start();
    proxy.wait_version("1");
    let mut get = proxy.client();
    get.send("GET /hangs HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut post = proxy.client();
    post.send("POST /hangs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    eventually("both are asked", || proxy.scene.read("web/heads").matches("/hangs").count() == 2);
    std::fs::remove_file(proxy.scene.path("web/scripts/hangs")).unwrap();
    proxy.change("2");
    let head = get.head();
    assert_eq!((head.status, get.body(&head)), (200, b"2".to_vec()));
    assert_eq!(post.head().status, 502, "it may have been done");
}

fn a_request_that_died_with_two_servers_goes_to_the_third() {
    for setup in [Setup::new().fixed(), Setup::new().with(&["--overlap", "--stop-timeout", "100ms"])] {
        let proxy = setup.script("hangs", "note asked\nuntil never").start();
        proxy.wait_version("1");
        let mut get = proxy.client();
        get.send("GET /hangs HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let asked = |times: usize| {
            eventually("it is asked", || proxy.scene.read("web/heads").matches("/hangs").count() == times);
        };
        asked(1);
        proxy.change("2");
        asked(2);
        std::fs::remove_file(proxy.scene.path("web/scripts/hangs")).unwrap();
        proxy.change("3");
        let head = get.head();
        assert_eq!((head.status, get.body(&head)), (200, b"3".to_vec()));
    }
}

fn a_request_that_brings_each_restart_itself_ends() {
    let setup = Setup::new().fixed().with(&["--hold-timeout", "1s"]);
    let proxy = setup.script("writes", "note ../site/made.py\nuntil never").start();
    proxy.wait_version("1");
    assert_eq!(proxy.get("/writes").0, 504);
    assert!(proxy.scene.read("web/heads").matches("/writes").count() > 1, "it was sent again");
    proxy.change("2");
    proxy.wait_version("2");
}

fn a_body_that_was_sent_goes_to_the_next_as_well() {
    let proxy = Setup::new().script("put", "body\nnote asked\nuntil never").start();
    proxy.wait_version("1");
    let mut small = proxy.client();
    small.send("PUT /put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nsmall");
    let large = "x".repeat(100_000);
    let mut other = proxy.client();
    other.send(&format!("PUT /put HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{large}", large.len()));
    eventually("both have been read", || proxy.scene.read("web/bodies").len() == 100_005);
    proxy.scene.write("web/scripts/put", "body\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok");
    proxy.change("2");
    assert_eq!(small.head().status, 200);
    assert_eq!(proxy.scene.read("web/bodies").matches("small").count(), 2);
    assert_eq!(other.head().status, 502, "more than is kept");
}
