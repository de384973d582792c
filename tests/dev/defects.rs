//! What the original does wrong, by the numbers of its list: each as the right thing.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::stage::Setup;
use crate::harness::process::{Exit, processor_time};
use crate::harness::{eventually, trials};

trials![
    d01_a_short_body_ends_its_own_connection_and_nothing_else,
    d02_chunks_end_both_ways_and_the_connection_goes_on,
    d03_heads_without_a_body_are_whole,
    d04_a_body_without_a_length_arrives,
    d05_an_interim_answer_is_not_the_final_one,
    d06_odd_but_legal_heads_pass,
    d07_what_could_be_two_requests_is_refused,
    d08_an_idle_connection_survives_a_restart,
    d09_a_request_at_the_moment_of_a_crash_gets_an_answer,
    d10_all_processes_of_the_server_end,
    d11_only_the_server_itself_makes_itself_ready,
    d12_a_refused_connection_is_a_502,
    d13_an_early_answer_arrives,
    d14_a_change_when_the_server_has_just_died_is_served,
    d16_many_changes_are_one_restart,
];

fn d01_a_short_body_ends_its_own_connection_and_nothing_else() {
    let proxy = Setup::new()
        .script("short", "send HTTP/1.1 200 OK\\r\\nContent-Length: 500\\r\\n\\r\\nhello")
        .script("upload", "note begun\nbody")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert_eq!(client.try_body(&head).unwrap_err(), b"hello", "an end that is none");
    let mut other = proxy.client();
    other.send("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nhello");
    eventually("the upload has begun", || proxy.scene.path("web/begun").exists());
    drop(other);
    let before = processor_time(proxy.pid());
    proxy.wait_version("1");
    // A loop that does not rest would have used all of the time.
    for _ in 0..20 {
        assert_eq!(proxy.get("/").0, 200);
    }
    assert!(processor_time(proxy.pid()) - before < Duration::from_secs(2));
}

fn d02_chunks_end_both_ways_and_the_connection_goes_on() {
    let proxy = Setup::new()
        .script("chunked", "body\nsend HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n\nuntil never")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send(
            "POST /chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        );
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"hello".to_vec()));
    }
    assert_eq!(proxy.scene.read("web/bodies").matches("abc").count(), 3);
}

fn d03_heads_without_a_body_are_whole() {
    let proxy = Setup::new()
        .script("length", "send HTTP/1.1 200 OK\\r\\nContent-Length: 500\\r\\n\\r\\n\nuntil never")
        .script("same", "send HTTP/1.1 304 Not Modified\\r\\nContent-Length: 500\\r\\nETag: x\\r\\n\\r\\n\nuntil never")
        .script("empty", "send HTTP/1.1 204 No Content\\r\\n\\r\\n\nuntil never")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("HEAD /length HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, head.field("content-length")), (200, Some("500")));
        client.send("GET /same HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.head().status, 304);
        client.send("GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, head.field("content-length"), head.field("transfer-encoding")), (204, None, None));
    }
}

fn d04_a_body_without_a_length_arrives() {
    let proxy = Setup::new()
        .script("old", "send HTTP/1.0 200 OK\\r\\n\\r\\nhello")
        .script("close", "send HTTP/1.1 200 OK\\r\\n\\r\\nhello")
        .script("events", "send HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\ndata: 1\\n\\n\nuntil more\nsend data: 2\\n\\n\nend\nuntil never")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for path in ["/old", "/close", "/old"] {
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"hello".to_vec()), "{path}");
    }
    // What the server has said arrives while it has more to say.
    let mut events = proxy.client();
    events.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = events.head();
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    let first = events.bytes("9\r\ndata: 1\n\n\r\n".len());
    assert_eq!(String::from_utf8(first).unwrap(), "9\r\ndata: 1\n\n\r\n");
    proxy.scene.write("web/more", "");
    assert_eq!(events.chunks().unwrap().0, b"data: 2\n\n");
    // One who speaks HTTP/1.0 gets it without chunks.
    let mut old = proxy.client();
    old.send("GET /close HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let text = String::from_utf8(old.rest()).unwrap();
    assert!(text.contains(" 200 OK") && text.ends_with("\r\n\r\nhello") && !text.contains("chunked"), "{text}");
}

fn d05_an_interim_answer_is_not_the_final_one() {
    let hint = "HTTP/1.1 103 Early Hints\\r\\nLink: </a.css>; rel=preload\\r\\n\\r\\n";
    let proxy = Setup::new()
        .script(
            "expects",
            "send HTTP/1.1 100 Continue\\r\\n\\r\\n\nbody\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nreal",
        )
        .script(
            "hints",
            &format!("send {hint}\nuntil more\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nreal"),
        )
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST /expects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("abc");
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"real".to_vec()));
    client.send("GET /hints HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let early = client.head();
    assert_eq!((early.status, early.field("link")), (103, Some("</a.css>; rel=preload")));
    proxy.scene.write("web/more", "");
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"real".to_vec()));
}

fn d06_odd_but_legal_heads_pass() {
    let proxy = Setup::new().script("heads", "body\nhead").start();
    proxy.wait_version("1");
    let large = "y".repeat(60_000);
    let mut client = proxy.client();
    let text = format!(
        "POST /heads HTTP/1.1\r\nHost: localhost\r\nForwarded: for=1.2.3.4\r\nX-Large: {large}\r\n\
         Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"
    );
    let (first, second) = text.split_at(text.find("\r\nHost").unwrap() + 1);
    client.send(first);
    client.send(second);
    let head = client.head();
    let seen = String::from_utf8(client.body(&head)).unwrap();
    assert_eq!(head.status, 200);
    assert!(seen.contains("Forwarded: for=1.2.3.4, for=127.0.0.1;host=localhost;proto=http\r\n"), "{}", &seen[..500]);
    assert!(seen.contains(&large));
    let body = proxy.scene.read("web/bodies");
    assert!(body.ends_with("0\r\nx-sum: 6\r\n\r\n") || body.ends_with("0\r\nX-Sum: 6\r\n\r\n"), "{body:?}");
}

fn d07_what_could_be_two_requests_is_refused() {
    let proxy = Setup::new().start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nGET /second HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.field("connection")), (400, Some("close")));
    client.body(&head);
    assert_eq!(client.rest(), b"");
    assert!(!proxy.scene.read("web/heads").contains("/second"));
}

fn d08_an_idle_connection_survives_a_restart() {
    let proxy = Setup::new().fixed().start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    for version in ["1", "2", "3"] {
        if version != "1" {
            proxy.change(version);
            proxy.wait_version(version);
        }
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, version.as_bytes().to_vec()));
    }
}

fn d09_a_request_at_the_moment_of_a_crash_gets_an_answer() {
    let proxy = Setup::new().fixed().script("die", "exit 3").start();
    proxy.wait_version("1");
    for round in 0..5 {
        let mut dying = proxy.client();
        dying.send("POST /die HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let mut others: Vec<_> = (0..8).map(|_| proxy.client()).collect();
        for other in &mut others {
            other.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        let status = dying.head().status;
        assert!([502, 503].contains(&status), "{status}");
        for other in &mut others {
            let head = other.head();
            other.body(&head);
            assert!([200, 502, 503].contains(&head.status), "{}", head.text);
        }
        proxy.wait_said("the server exited with status 3");
        eventually("the failure is told", || proxy.get("/").0 == 503);
        let version = format!("again {round}");
        proxy.change(&version);
        proxy.wait_version(&version);
    }
}

fn d10_all_processes_of_the_server_end() {
    let mut proxy = Setup::new().fixed().shell("$WEB & wait").start();
    proxy.wait_version("1");
    proxy.change("2");
    proxy.wait_version("2");
    assert_eq!(proxy.servers().len(), 2, "a shell and its server");
    assert_eq!(proxy.stop(Signal::SIGINT), Exit::Code(130));
}

fn d11_only_the_server_itself_makes_itself_ready() {
    let setup = Setup::new().fixed().with(&["--hold-timeout", "2s", "--ready-timeout", "300s"]);
    let port = setup.port();
    // The server listens nowhere; a stranger takes its port when the look at the port is over.
    let proxy = setup.command(&["sh", "-c", "touch ../begun; sleep 1000"]).start();
    eventually("the server runs", || proxy.scene.path("begun").exists());
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let answering = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = stranger.accept() {
            use std::io::{Read, Write};
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap_or(0);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger");
            if buffer[..count].starts_with(b"QUIT") {
                return;
            }
        }
    });
    proxy.wait_said("which is not our server");
    assert_eq!(proxy.get("/").0, 504, "it waits for the server, and in vain");
    super::wire::Client::connect(([127, 0, 0, 1], port).into()).send("QUIT");
    answering.join().unwrap();
}

fn d12_a_refused_connection_is_a_502() {
    let proxy = Setup::new().script("deaf", "reset").start();
    proxy.wait_version("1");
    let (status, body) = proxy.get("/deaf");
    assert_eq!(status, 502);
    assert!(body.contains("has not answered"), "{body}");
    let mut client = proxy.client();
    client.send("POST /deaf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
    let head = client.head();
    client.body(&head);
    assert_eq!(head.status, 502);
    assert_eq!(proxy.scene.read("web/heads").matches("POST /deaf").count(), 1, "it may have been done");
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200, "and the connection goes on");
}

fn d13_an_early_answer_arrives() {
    let proxy = Setup::new()
        .script("large", "send HTTP/1.1 413 Content Too Large\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nno!\nend\neof")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n");
    // Nothing of the body has been sent when the answer is there; then all the rest is refused or swallowed.
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (413, b"no!".to_vec()));
}

fn d14_a_change_when_the_server_has_just_died_is_served() {
    let proxy = Setup::new().fixed().start();
    for round in 0..5 {
        let version = format!("v{round}");
        proxy.change(&version);
        proxy.wait_version(&version);
        for pid in proxy.servers() {
            crate::harness::process::send(pid, Signal::SIGKILL);
        }
        proxy.change("last");
        proxy.wait_version("last");
    }
}

fn d16_many_changes_are_one_restart() {
    let proxy = Setup::new().fixed().start();
    proxy.wait_version("1");
    proxy.version("2");
    for number in 0..50 {
        proxy.touch(&format!("f{number}.py"));
    }
    proxy.wait_version("2");
    assert_eq!(proxy.reloads(), 1, "{}", proxy.said());
    assert!(proxy.said().contains("f0.py and 49 more changed"), "{}", proxy.said());
}
