//! What passes between a browser and the server: fields, interim answers, upgrades, and what is refused.

use super::stage::Setup;
use crate::harness::{eventually, trials};

trials![
    fields_are_told_kept_and_taken_away,
    an_answer_keeps_its_fields,
    foreign_hosts_are_refused,
    a_loop_is_noticed,
    a_server_that_does_not_want_the_body_says_so_at_once,
    a_server_that_says_nothing_gets_an_expected_body_all_the_same,
    an_upgrade_is_a_tunnel_that_ends_half_by_half,
    a_refused_upgrade_is_an_answer_like_any_other,
    http2_is_not_asked_for_by_an_upgrade,
    pipelined_requests_are_answered_in_their_order,
    an_upgrade_behind_another_request_is_a_tunnel,
    a_fault_behind_a_lost_request_is_not_its_own,
    early_hints_of_pipelined_requests_come_with_their_own,
    a_tunnel_may_go_one_way_for_long,
    a_get_with_a_body_in_chunks_passes,
    trailers_pass_both_ways,
    connect_and_other_versions_are_refused,
];

const OK: &str = "send HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok";

fn fields_are_told_kept_and_taken_away() {
    let proxy = Setup::new().script("head", "head").start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send(
        "GET /head?q=1 HTTP/1.1\r\nHost: app.localhost:8000\r\nX-CaSe: Kept\r\nCookie: a=1\r\nX-Forwarded-For: 1.2.3.4\r\n\
         Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\n\r\n",
    );
    let head = client.head();
    let seen = String::from_utf8(client.body(&head)).unwrap();
    for line in [
        "GET /head?q=1 HTTP/1.1",
        "Host: app.localhost:8000",
        "X-CaSe: Kept",
        "Cookie: a=1",
        "X-Forwarded-For: 1.2.3.4, 127.0.0.1",
        "x-forwarded-host: app.localhost:8000",
        "x-forwarded-proto: http",
        "forwarded: for=127.0.0.1;host=\"app.localhost:8000\";proto=http",
        "TE: trailers",
    ] {
        assert!(seen.split("\r\n").any(|other| other.eq_ignore_ascii_case(line)), "{line:?} is not in {seen:?}");
    }
    let lower = seen.to_ascii_lowercase();
    for absent in ["x-private", "keep-alive", "proxy-connection", "gzip"] {
        assert!(!lower.contains(absent), "{absent} is in {seen:?}");
    }
    assert!(lower.contains("via: 1.1 socket-protector-"), "{seen:?}");
    // A target with a scheme and a host becomes a path.
    client.send("GET http://localhost/head HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert!(client.body(&head).starts_with(b"GET /head HTTP/1.1\r\n"));
}

fn an_answer_keeps_its_fields() {
    let answer = "send HTTP/1.1 207 Multi-Status\\r\\nSet-Cookie: a=1\\r\\nset-cookie: b=2\\r\\nSet-Cookie: c=3\\r\\nContent-Encoding: x\\r\\n\
                  Connection: close, X-Hop\\r\\nX-Hop: 1\\r\\nKeep-Alive: 5\\r\\nETag: \\\"x\\\"\\r\\nContent-Length: 2\\r\\n\\r\\nok";
    let proxy = Setup::new().script("many", &answer.replace("\\\"", "\"")).start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET /many HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (207, b"ok".to_vec()));
        assert_eq!(head.all("set-cookie"), ["a=1", "b=2", "c=3"]);
        assert_eq!((head.field("etag"), head.field("content-encoding")), (Some("\"x\""), Some("x")));
        assert_eq!((head.field("x-hop"), head.field("keep-alive"), head.field("connection")), (None, None, None));
    }
}

fn foreign_hosts_are_refused() {
    let proxy = Setup::new().with(&["--allow-host", "my.test", ".lan"]).start();
    proxy.wait_version("1");
    for (host, status) in [
        ("localhost:1234", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("my.test", 200),
        ("a.lan:8000", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
    ] {
        let mut client = proxy.client();
        client.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let head = client.head();
        let body = String::from_utf8(client.body(&head)).unwrap();
        assert_eq!(head.status, status, "{host}");
        assert!(status == 200 || body.contains("--allow-host"), "{body}");
    }
    assert!(!proxy.scene.read("web/heads").contains("evil"));
}

fn a_loop_is_noticed() {
    let proxy = Setup::new().script("head", "head").start();
    proxy.wait_version("1");
    let (_, seen) = proxy.get("/head");
    let via =
        seen.split("\r\n").find_map(|line| line.to_ascii_lowercase().strip_prefix("via: ").map(str::to_owned)).unwrap();
    let mut client = proxy.client();
    client.send(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 other, {via}\r\n\r\n"));
    assert_eq!(client.head().status, 508);
}

fn a_server_that_does_not_want_the_body_says_so_at_once() {
    let proxy = Setup::new()
        .script("no", "send HTTP/1.1 401 Unauthorized\\r\\nContent-Length: 2\\r\\n\\r\\nno\nend\neof")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST /no HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (401, b"no".to_vec()));
    assert_eq!(client.rest(), b"", "the body that was never sent cannot be told from the next request");
}

fn a_server_that_says_nothing_gets_an_expected_body_all_the_same() {
    let proxy = Setup::new().script("silent", &format!("body\n{OK}")).start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST /silent HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("abc");
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
    // And one who does not wait.
    client.send("POST /silent HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\ndef");
    let mut head = client.head();
    while head.status == 100 {
        head = client.head();
    }
    assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
    assert_eq!(proxy.scene.read("web/bodies"), "abcdef");
}

fn an_upgrade_is_a_tunnel_that_ends_half_by_half() {
    let switch = "send HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: any/7\\r\\nX-Accept: y\\r\\n\\r\\n";
    let proxy = Setup::new().script("echo", &format!("{switch}\necho\nsend bye\nend\nuntil never")).start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    // Bytes of the new protocol may come with the request.
    client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: any/7\r\n\r\n\0early\n");
    let head = client.head();
    assert_eq!((head.status, head.field("upgrade"), head.field("x-accept")), (101, Some("any/7"), Some("y")));
    assert_eq!(client.bytes(7), b"\0early\n");
    let large = vec![0x81; 1024 * 1024];
    let mut reader = Vec::new();
    std::thread::scope(|scope| {
        let (large, mut writer) = (&large, client.clone());
        scope.spawn(move || writer.send_bytes(large));
        reader = client.bytes(large.len());
    });
    assert_eq!(reader, large);
    client.end();
    assert_eq!(client.rest(), b"bye", "the other half goes on");
    let seen = proxy.scene.read("web/heads");
    assert!(seen.to_ascii_lowercase().contains("connection: upgrade\r\n"), "{seen}");
}

fn a_refused_upgrade_is_an_answer_like_any_other() {
    let proxy = Setup::new()
        .script("no", "send HTTP/1.1 403 Forbidden\\r\\nContent-Length: 2\\r\\n\\r\\nno")
        .script("plain", OK)
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for (path, status) in [("no", 403), ("plain", 200)] {
        client.send(&format!(
            "GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
             GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let head = client.head();
        client.body(&head);
        assert_eq!(head.status, status);
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"1".to_vec()), "the next request is one");
    }
}

fn http2_is_not_asked_for_by_an_upgrade() {
    let proxy = Setup::new().script("head", "head").start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("GET /head HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n");
    let head = client.head();
    let seen = String::from_utf8(client.body(&head)).unwrap().to_ascii_lowercase();
    assert_eq!(head.status, 200);
    assert!(!seen.contains("upgrade") && !seen.contains("settings"), "{seen}");
}

fn pipelined_requests_are_answered_in_their_order() {
    let proxy = Setup::new()
        .script("1", "until go\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\n1")
        .script("2", "send HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\n2")
        .script("3", "reset")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    let requests =
        ["GET /1", "GET /2", "POST /3", "GET /2"].map(|line| format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    client.send(&requests.concat());
    assert!(client.is_silent());
    proxy.scene.write("web/go", "");
    for (status, body) in [(200, "1"), (200, "2"), (502, "The server has"), (200, "2")] {
        let head = client.head();
        let got = String::from_utf8(client.body(&head)).unwrap();
        assert!(head.status == status && got.starts_with(body), "{}{got}", head.text);
    }
    assert_eq!(proxy.scene.read("web/heads").matches("POST /3").count(), 1);
}

fn an_upgrade_behind_another_request_is_a_tunnel() {
    let switch = "send HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n\necho";
    let proxy = Setup::new()
        .script("slow", &format!("note asked\nuntil go\n{OK}"))
        .script("ws", &format!("until open\n{switch}"))
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    // All at once, and what looks like a request within the new protocol is none.
    client.send(
        "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n\
         GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\
         GET / HTTP/1.1\nHost: evil\n\n",
    );
    eventually("the first is asked", || proxy.scene.path("web/asked").exists());
    proxy.scene.write("web/go", "");
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
    eventually("the second is asked", || proxy.scene.read("web/heads").contains("GET /ws"));
    proxy.scene.write("web/open", "");
    assert_eq!(client.head().status, 101);
    assert_eq!(client.bytes(27), b"GET / HTTP/1.1\nHost: evil\n\n");
    client.send("more");
    assert_eq!(client.bytes(4), b"more");
    assert!(!proxy.scene.read("web/heads").contains("evil"));
}

fn a_fault_behind_a_lost_request_is_not_its_own() {
    let proxy = Setup::new().script("deaf", "until go\nreset").start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client
        .send("POST /deaf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\nHost: localhost\n\n");
    eventually("the first is asked", || proxy.scene.read("web/heads").contains("POST /deaf"));
    proxy.scene.write("web/go", "");
    for status in [502, 400] {
        let head = client.head();
        client.body(&head);
        assert_eq!(head.status, status, "{}", head.text);
    }
    assert_eq!(client.rest(), b"");
}

fn early_hints_of_pipelined_requests_come_with_their_own() {
    // Far more than the sockets on the way take, so that the first answer is not written when the second is on its way.
    let large = 8 * 1024 * 1024;
    let hint = "send HTTP/1.1 103 Early Hints\\r\\nLink: </a.css>\\r\\n\\r\\n";
    let proxy = Setup::new()
        .script("large", &format!("send HTTP/1.1 200 OK\\r\\nContent-Length: {large}\\r\\n\\r\\n\nfill {large}"))
        .script("hints", &format!("{hint}\nnote hinted\n{OK}"))
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hints HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    let body = client.body(&head);
    assert!(body.len() == large && body.iter().all(|byte| *byte == b'x'), "nothing has come in between");
    let mut head = client.head();
    if head.status == 103 {
        head = client.head();
    }
    assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
}

fn a_tunnel_may_go_one_way_for_long() {
    let switch = "send HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n";
    let large = 4 * 1024 * 1024;
    let proxy = Setup::new()
        .script("down", &format!("{switch}\neof\nnote ended\nuntil go\nfill {large}\nend"))
        .script("up", &format!("{switch}\nend\ncount {large}\nnote counted\neof\nnote over"))
        .start();
    proxy.wait_version("1");
    let ask = |path: &str| {
        let mut client = proxy.client();
        client.send(&format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"));
        assert_eq!(client.head().status, 101);
        client
    };
    let mut down = ask("down");
    down.end();
    eventually("the server sees the end", || proxy.scene.path("web/ended").exists());
    proxy.scene.write("web/go", "");
    assert_eq!(down.swallow(), large, "and all that it says after that arrives");
    let mut up = ask("up");
    assert_eq!(up.byte(), None, "the server says no more");
    up.send_bytes(&vec![b'x'; large]);
    eventually("all arrives", || proxy.scene.path("web/counted").exists());
    up.end();
    eventually("the end does, too", || proxy.scene.path("web/over").exists());
}

fn a_get_with_a_body_in_chunks_passes() {
    let proxy = Setup::new().script("get", &format!("body\n{OK}")).start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for method in ["GET", "DELETE", "OPTIONS"] {
        client.send(&format!(
            "{method} /get HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()), "{method}");
    }
    assert_eq!(proxy.scene.read("web/bodies").matches("3\r\nabc\r\n0\r\n\r\n").count(), 3);
}

fn trailers_pass_both_ways() {
    let answer = "send HTTP/1.1 200 OK\\r\\nTrailer: X-Sum\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2;ext\\r\\nok\\r\\n0\\r\\nX-Sum: 7\\r\\n\\r\\n";
    let proxy = Setup::new().script("sum", &format!("body\n{answer}")).start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(
            "POST /sum HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nTrailer: X-In\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\nX-In: 8\r\n\r\n",
        );
        let head = client.head();
        assert_eq!((head.status, head.field("trailer")), (200, Some("X-Sum")));
        let (body, trailers) = client.chunks().unwrap();
        assert_eq!((body, trailers.to_ascii_lowercase().as_str()), (b"ok".to_vec(), "x-sum: 7\n"));
    }
    assert_eq!(proxy.scene.read("web/bodies").to_ascii_lowercase().matches("x-in: 8\r\n").count(), 2);
}

fn connect_and_other_versions_are_refused() {
    let proxy = Setup::new().start();
    proxy.wait_version("1");
    for (line, status) in [("CONNECT x:80 HTTP/1.1", 405), ("GET / HTTP/3.0", 505), ("PRI * HTTP/2.0", 505)] {
        let mut client = proxy.client();
        client.send(&format!("{line}\r\nHost: x:80\r\n\r\n"));
        assert_eq!(client.head().status, status, "{line}");
    }
    eventually("all goes on", || proxy.get("/").0 == 200);
}
