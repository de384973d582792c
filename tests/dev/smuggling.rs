//! Requests that two readers could understand in two ways, by raw bytes: each is answered with 400, and nothing behind it is
//! taken for a request.

use super::stage::Setup;
use crate::harness::trials;

trials![
    no_second_request_comes_through,
    answers_that_could_be_read_in_two_ways_are_a_502,
    heads_have_limits,
    a_slow_head_delays_nobody_else,
];

const SECOND: &str = "GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn no_second_request_comes_through() {
    let proxy = Setup::new().script("post", "body\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n").start();
    proxy.wait_version("1");
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chun\0ked\r\n\r\n0\r\n\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: +0\r\n\r\n",
        "Content-Length: 0x0\r\n\r\n",
        "Content-Length: 0, 0\r\n\r\n",
        "Host: other\r\n\r\n",
        "No colon\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(&format!("POST /post HTTP/1.1\r\nHost: localhost\r\n{fields}{SECOND}"));
        let head = client.head();
        assert_eq!((head.status, head.field("connection")), (400, Some("close")), "{fields:?}");
        client.body(&head);
        assert_eq!(client.rest(), b"", "{fields:?}");
    }
    for start in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\nHost: localhost\n\n",
    ] {
        let mut client = proxy.client();
        client.send(&format!("{start}{SECOND}"));
        assert_eq!(client.head().status, 400, "{start:?}");
    }
    assert!(!proxy.scene.read("web/heads").contains("/second"));
    // In the middle of a body the request is under way already; it does not end well, and nothing follows.
    for chunks in ["5\r\nhello!\r\n", "5\nhello\r\n", "ffffffffffffffffff\r\n", "-1\r\n", "1;\0\r\n"] {
        let mut client = proxy.client();
        client.send(&format!(
            "POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n{SECOND}"
        ));
        let head = client.head();
        assert_eq!(head.status, 400, "{chunks:?}");
        client.body(&head);
        assert_eq!(client.rest(), b"", "{chunks:?}");
    }
    assert!(!proxy.scene.read("web/heads").contains("/second"));
    // What stands before such a request is answered, in its turn.
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"1".to_vec()));
    assert_eq!(client.head().status, 400);
}

fn answers_that_could_be_read_in_two_ways_are_a_502() {
    let proxy = Setup::new()
        .script("both", "send HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n")
        .script("both2", "send HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\nContent-Length: 5\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n")
        .script("lengths", "send HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nContent-Length: 6\\r\\n\\r\\nhello!")
        .script("garbage", "send this is no HTTP\\r\\n\\r\\n")
        .script("unasked", "send HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\nConnection: upgrade\\r\\n\\r\\n")
        .start();
    proxy.wait_version("1");
    for path in ["/both", "/both2", "/lengths", "/garbage", "/unasked"] {
        let (status, body) = proxy.get(path);
        assert_eq!(status, 502, "{path}: {body}");
        assert!(!body.contains("hello"), "{path}: {body}");
    }
}

fn heads_have_limits() {
    let answer = format!("send HTTP/1.1 200 OK\\r\\n{}Content-Length: 0\\r\\n\\r\\n", "X: y\\r\\n".repeat(10_000));
    let proxy = Setup::new().script("many", &answer).start();
    proxy.wait_version("1");
    let most = "X: y\r\n".repeat(199);
    for large in [
        format!("{most}X: y\r\n"),
        "X: y\r\n".repeat(10_000),
        (0..10_000).map(|number| format!("X-{number}: {number}\r\n")).collect(),
        format!("X: {}\r\n", "y".repeat(1024 * 1024)),
    ] {
        let mut client = proxy.client();
        client.try_send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{large}\r\n{SECOND}").as_bytes());
        let head = client.head();
        assert_eq!((head.status, head.field("connection")), (431, Some("close")));
        client.body(&head);
        assert_eq!(client.rest(), b"", "it is closed behind its answer");
    }
    assert!(!proxy.scene.read("web/heads").contains("/second"));
    let mut client = proxy.client();
    client.send(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{most}\r\n"));
    assert_eq!(client.head().status, 200, "so many are fine");
    assert_eq!(proxy.get("/many").0, 502, "a server has limits, too");
    assert_eq!(proxy.get("/").0, 200);
}

fn a_slow_head_delays_nobody_else() {
    let proxy = Setup::new().start();
    proxy.wait_version("1");
    let mut slow: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: loc");
    }
    assert_eq!(proxy.get("/").0, 200);
    for client in &mut slow {
        assert!(client.is_silent());
        client.send("alhost\r\n\r\n");
        assert_eq!(client.head().status, 200);
    }
}
