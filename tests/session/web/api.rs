//! Every request that there is, with its answers.

use super::stage::{Stage, read};
use crate::harness::{PATIENCE, eventually, trials, until};
use serde_json::json;
use socket2::SockRef;
use std::io::{Read, Write};
use std::sync::{Arc, Barrier};
use std::time::Duration;

trials![
    a_session_is_made_used_and_ended,
    a_secret_is_needed_and_a_wrong_one_looks_like_no_session,
    input_that_comes_twice_counts_once_and_a_gap_is_told,
    input_that_does_not_fit_is_told_how_much_did,
    who_was_not_first_is_told_where_the_input_is_now,
    input_for_a_destination_that_is_gone_is_told_its_end_and_how_much_it_was_sent,
    content_that_is_announced_and_does_not_come_keeps_nobody_waiting,
    what_is_malformed_is_refused,
    a_session_that_nobody_was_told_of_is_dropped,
    every_answer_has_the_headers_that_protect_it,
    no_secret_is_in_the_log_or_the_command_line,
    a_server_that_is_gone_is_told_and_found_again,
    a_destination_that_refuses_is_told,
];

fn a_session_is_made_used_and_ended() {
    let stage = Stage::new();
    assert_eq!(stage.ask("GET", "/healthz", &[], b"").status, 200);
    let before = stage.census();
    let made = stage.ask("POST", "/v1/sessions", &[("Content-Type", "application/json")], br#"{"ttl_seconds":60}"#);
    assert_eq!(made.status, 201);
    let said = made.json();
    assert_eq!((said["offset"].as_u64(), said["expires_seconds"].as_u64()), (Some(0), Some(60)));
    assert!(said["secret"].as_str().unwrap().starts_with("sks_") && made.header("set-cookie").is_none());
    stage.destination.accept();
    let (session, mut destination) = stage.open();
    let state = stage.get(&session, "").json();
    let expected = json!({
        "id": session.id, "state": "detached", "destination": "open", "output": { "base": 0, "next": 0 },
        "input": { "next": 0 }, "fin": false, "input_fin": false, "expires_seconds": 3600,
    });
    assert_eq!(state, expected);
    destination.write_all(b"hello").unwrap();
    assert_eq!(stage.get(&session, "/output?from=0&wait=20").expect_output(0), b"hello");
    assert_eq!(stage.get(&session, "").json()["state"], "attached", "a reader has polled");
    assert_eq!(stage.input(&session, 0, b"abc").json(), json!({ "next": 3 }));
    assert_eq!(read(&mut destination, 3), b"abc");
    let size = stage.post(&session, "/resize", &[("Content-Type", "application/json")], br#"{"columns":80,"rows":24}"#);
    assert_eq!((size.status, size.body.len()), (204, 0));
    assert_eq!(stage.post(&session, "/fin", &[], b"").status, 204);
    assert_eq!(destination.read(&mut [0]).unwrap(), 0, "the input has ended");
    assert_eq!(stage.post(&session, "/fin", &[], b"").status, 204, "and may be ended again");
    stage.input(&session, 3, b"more").expect_error(409, "ended");
    drop(destination);
    let last = stage.get(&session, "/output?from=5&wait=20");
    assert_eq!((last.header("stream-fin"), last.header("stream-next-offset")), (Some("true"), Some("5")));
    let state = stage.get(&session, "").json();
    assert_eq!((&state["state"], &state["destination"], &state["fin"]), (&json!("ended"), &json!("eof"), &json!(true)));
    let ended = stage.ask("DELETE", &session.path(""), &[session.header()], b"");
    assert_eq!((ended.status, ended.body.len()), (204, 0));
    stage.get(&session, "").expect_error(404, "not_found");
    assert_eq!(stage.census(), before);
}

fn a_secret_is_needed_and_a_wrong_one_looks_like_no_session() {
    let stage = Stage::new();
    let (session, _destination) = stage.open();
    for (method, rest) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/output?from=0"),
        ("POST", "/input"),
        ("GET", "/events"),
        ("GET", "/ws"),
        ("POST", "/fin"),
        ("POST", "/resize"),
    ] {
        let answer = stage.ask(method, &session.path(rest), &[], b"");
        answer.expect_error(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let wrong = ("Authorization", "Bearer sks_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    let unknown = "/v1/sessions/00000000000000000000000000000000";
    for rest in ["", "/output?from=0", "/events"] {
        let known = stage.ask("GET", &session.path(rest), &[wrong], b"");
        let other = stage.ask("GET", &format!("{unknown}{rest}"), &[session.header()], b"");
        known.expect_error(404, "not_found");
        assert_eq!(known.body, other.body, "{rest}");
    }
    for malformed in [format!("/v1/sessions/{}", session.id.to_uppercase()), "/v1/sessions/7".into()] {
        let answer = stage.ask("GET", &malformed, &[session.header()], b"");
        assert!(session.id.to_uppercase() == session.id || answer.status == 404, "{answer:?}");
    }
    let other = stage.ask("GET", &session.path(""), &[("Authorization", "Bearer nonsense")], b"");
    other.expect_error(404, "not_found");
    stage.ask("GET", &session.path(""), &[("Authorization", "Basic abc")], b"").expect_error(401, "unauthorized");
    // One who reads by the right secret is not disturbed by a wrong one, and does not help it.
    let mut reader = stage.client();
    reader.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    eventually("it reads", || stage.web().status()["readers"] == 1);
    stage.ask("GET", &session.path("/output?from=0"), &[wrong], b"").expect_error(404, "not_found");
    assert_eq!(stage.web().status()["readers"], 1);
}

fn input_that_comes_twice_counts_once_and_a_gap_is_told() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    for _ in 0..2 {
        assert_eq!(stage.input(&session, 0, b"abc").json(), json!({ "next": 3 }));
    }
    assert_eq!(stage.input(&session, 1, b"bcde").json(), json!({ "next": 5 }));
    let gap = stage.input(&session, 6, b"x").expect_error(409, "gap");
    assert_eq!(gap["next"], 5);
    assert_eq!(stage.input(&session, 5, b".").json(), json!({ "next": 6 }));
    let conflict = stage.input(&session, 2, b"other").expect_error(409, "conflict");
    assert_eq!(conflict["next"], 6);
    assert_eq!(read(&mut destination, 6), b"abcde.");
    // By one connection as well as by many.
    let mut client = stage.client();
    for at in 6..16_u64 {
        let offset = at.to_string();
        let headers = [session.header(), ("Content-Type", "application/octet-stream"), ("Stream-Offset", &offset)];
        assert_eq!(client.ask("POST", &session.path("/input"), &headers, b"x").json(), json!({ "next": at + 1 }));
    }
    assert_eq!(read(&mut destination, 10), b"xxxxxxxxxx");
}

fn input_that_does_not_fit_is_told_how_much_did() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let block = vec![7; 1024 * 1024];
    let mut next = 0;
    let full = loop {
        let answer = stage.input(&session, next, &block);
        if answer.status != 200 {
            break answer;
        }
        let said = answer.json()["next"].as_u64().unwrap();
        assert!(said > next, "what is answered with 200 has taken something");
        next = said;
    };
    assert_eq!(full.expect_error(503, "full")["next"], next);
    assert!(full.number("retry-after") > 0);
    let mut all = read(&mut destination, next as usize);
    eventually("there is room again", || {
        let answer = stage.input(&session, next, b"the end");
        if answer.status == 503 { false } else { answer.json()["next"] == next + 7 }
    });
    all.extend(read(&mut destination, 7));
    assert!(all.ends_with(b"\x07the end") && all.len() as u64 == next + 7);
    let too_much = stage.input(&session, next + 7, &vec![0; 1024 * 1024 + 1]);
    too_much.expect_error(413, "too_large");
}

/// As much as all requests together may have is announced, by anybody: no secret is looked at before content has come.
fn who_was_not_first_is_told_where_the_input_is_now() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let start = Arc::new(Barrier::new(2));
    let mut next = 0;
    let mut conflicts = 0;
    for _ in 0..20 {
        let both = ["one", "and"].map(|word| {
            let (mut client, start, session) = (stage.client(), Arc::clone(&start), session.clone());
            std::thread::spawn(move || {
                let offset = next.to_string();
                let kind = ("Content-Type", "application/octet-stream");
                let headers = [session.header(), kind, ("Stream-Offset", &offset)];
                start.wait();
                client.ask("POST", &session.path("/input"), &headers, word.as_bytes())
            })
        });
        next += 3;
        for answer in both.map(|asks| asks.join().unwrap()) {
            assert_eq!(answer.json()["next"], next, "{answer:?}");
            conflicts += u64::from(answer.status != 200);
        }
    }
    assert_eq!(conflicts, 20, "one of two each time");
    read(&mut destination, next);
}

fn input_for_a_destination_that_is_gone_is_told_its_end_and_how_much_it_was_sent() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    assert_eq!(stage.input(&session, 0, b"abc").status, 200);
    assert_eq!(read(&mut destination, 3), b"abc");
    SockRef::from(&destination).set_linger(Some(Duration::ZERO)).unwrap();
    drop(destination);
    eventually("it is gone", || stage.get(&session, "").json()["destination"] == "reset");
    // The very request that was answered before, and another one.
    for (offset, bytes) in [(0, "abc"), (3, "more")] {
        let said = stage.input(&session, offset, bytes.as_bytes()).expect_error(409, "ended");
        assert_eq!((&said["next"], &said["written"], &said["destination"]), (&json!(3), &json!(3), &json!("reset")));
    }
    stage.input(&session, 9, b"a gap").expect_error(409, "gap");
    // One that has ended well and is gone shows that only when it is sent something.
    let (session, destination) = stage.open();
    drop(destination);
    eventually("it has ended", || stage.get(&session, "").json()["destination"] == "eof");
    let told = until("nobody takes input", PATIENCE, || {
        let answer = stage.input(&session, 0, b"abc");
        if answer.status == 200 { Err(format!("{answer:?}")) } else { Ok(answer) }
    });
    let said = told.expect_error(409, "ended");
    assert_eq!((&said["next"], &said["destination"]), (&json!(3), &json!("eof")));
    assert!(said["written"].as_u64().is_some_and(|written| written <= 3), "{said}");
}

fn content_that_is_announced_and_does_not_come_keeps_nobody_waiting() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let head = format!(
        "POST /v1/sessions/{}/input HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer sks_{}\r\nStream-Offset: 0\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n",
        session.id,
        stage.address,
        "A".repeat(43)
    );
    let announcers: Vec<_> = (0..64)
        .map(|_| {
            let mut client = stage.client();
            client.say(head.as_bytes());
            assert_eq!(client.head().status, 100, "it is waited for");
            client
        })
        .collect();
    assert_eq!(stage.input(&session, 0, b"typed").json()["next"], 5);
    assert_eq!(read(&mut destination, 5), b"typed");
    // Not because their time was over: none of them has been answered yet.
    for client in &announcers {
        let stream = client.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

fn what_is_malformed_is_refused() {
    let stage = Stage::new();
    let (session, _destination) = stage.open();
    for rest in [
        "/output",
        "/output?from=",
        "/output?from=-1",
        "/output?from=x",
        "/output?from=0&from=0",
        "/output?from=0&wait=56",
        "/output?from=0&wait=-1",
        "/output?from=0&wait=",
        "/output?from=18446744073709551615",
        "/events?from=x",
    ] {
        stage.get(&session, rest).expect_error(400, "bad_request");
    }
    stage
        .ask("GET", &session.path("/events"), &[session.header(), ("Last-Event-ID", "x")], b"")
        .expect_error(400, "bad_request");
    let octets = ("Content-Type", "application/octet-stream");
    stage.post(&session, "/input", &[octets], b"x").expect_error(400, "bad_request");
    stage.post(&session, "/input", &[octets, ("Stream-Offset", "-1")], b"x").expect_error(400, "bad_request");
    stage
        .post(&session, "/input", &[octets, ("Stream-Offset", "0"), ("Stream-Offset", "0")], b"x")
        .expect_error(400, "bad_request");
    let json = ("Content-Type", "application/json");
    for size in ["{}", "7", "", r#"{"columns":0,"rows":1}"#, r#"{"columns":80}"#, r#"{"columns":65536,"rows":1}"#, "{"]
    {
        stage.post(&session, "/resize", &[json], size.as_bytes()).expect_error(400, "bad_request");
    }
    stage.post(&session, "/resize", &[octets], b"{}").expect_error(415, "content_type");
    stage.ask("POST", "/v1/sessions", &[], b"{}").expect_error(415, "content_type");
    for ttl in [r#"{"ttl_seconds":0}"#, r#"{"ttl_seconds":-1}"#, r#"{"ttl_seconds":"1h"}"#, "[]"] {
        stage.ask("POST", "/v1/sessions", &[json], ttl.as_bytes()).expect_error(400, "bad_request");
    }
    for (method, path, allowed) in [
        ("PUT", session.path(""), "GET, DELETE"),
        ("GET", session.path("/input"), "POST"),
        ("POST", session.path("/output"), "GET"),
        ("GET", "/v1/sessions".into(), "POST"),
        ("POST", "/".into(), "GET, HEAD"),
        ("OPTIONS", session.path("/fin"), "POST"),
    ] {
        let answer = stage.ask(method, &path, &[session.header()], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
    }
    let mut client = stage.client();
    client.send("HEAD", &session.path("/output?from=0"), &[session.header()], b"");
    assert_eq!(client.head().status, 405, "nobody reads without looking");
    for path in ["/nothing", "/v1", &session.path("/nothing"), "/page/", "//"] {
        stage.ask("GET", path, &[], b"").expect_error(404, "not_found");
    }
}

fn a_session_that_nobody_was_told_of_is_dropped() {
    let stage = Stage::new();
    // Whoever asks leaves at once: whether the answer was on its way by then, the session is kept or dropped, and either
    // way nothing of it stays here.
    for _ in 0..20 {
        let mut client = stage.client();
        client.send("POST", "/v1/sessions", &[("Content-Type", "application/json")], b"{}");
    }
    stage.wait_connections(0);
    let _ = stage.census();
}

fn every_answer_has_the_headers_that_protect_it() {
    let stage = Stage::new();
    let (session, _destination) = stage.open();
    let answers = [
        stage.ask("GET", "/", &[], b""),
        stage.ask("GET", "/healthz", &[], b""),
        stage.ask("GET", "/nothing", &[], b""),
        stage.get(&session, ""),
        stage.get(&session, "/output?from=0"),
        stage.get(&session, "/output?from=9"),
    ];
    for answer in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let page = stage.ask("GET", "/", &[], b"");
    let policy = page.header("content-security-policy").unwrap();
    for part in ["script-src 'self'", "connect-src 'self'", "style-src 'self' 'unsafe-inline'"] {
        assert!(policy.contains(part), "{policy}");
    }
    let text = String::from_utf8(page.body).unwrap();
    let script = text.split('"').find(|part| part.starts_with("/page/") && part.ends_with(".js")).unwrap().to_owned();
    let file = stage.ask("GET", &script, &[], b"");
    assert_eq!((file.status, file.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    assert!(file.header("cache-control").unwrap().contains("immutable"));
    let known = stage.ask("GET", &script, &[("If-None-Match", file.header("etag").unwrap())], b"");
    assert_eq!((known.status, known.body.len()), (304, 0));
}

fn no_secret_is_in_the_log_or_the_command_line() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    destination.write_all(b"x").unwrap();
    stage.get(&session, "/output?from=0&wait=20");
    stage.input(&session, 0, b"y");
    stage.get(&session, "/output?from=77");
    stage.ask("GET", &session.path("?secret=no"), &[("Authorization", "Bearer sks_wrong")], b"");
    let log = stage.scene.read("web.log") + &stage.scene.read("server.log");
    assert!(log.contains("/output") && !log.contains("sks_"), "{log}");
    let command = std::fs::read(format!("/proc/{}/cmdline", stage.web().pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains("sks_"));
}

fn a_server_that_is_gone_is_told_and_found_again() {
    let mut stage = Stage::new();
    let (session, _destination) = stage.open();
    let waiting = {
        let mut client = stage.client();
        client.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
        client
    };
    eventually("it reads", || stage.web().status()["readers"] == 1);
    let proxy = format!("--proxy=unix:{}", stage.scene.path("server.sessions").display());
    let address = stage.destination.address.to_string();
    let arguments = ["session", "server", "--telnet=off", &proxy, &address];
    stage.server.signal(nix::sys::signal::Signal::SIGKILL);
    let mut waiting = waiting;
    assert_eq!(waiting.answer().status, 204, "a poll that was cut off got nothing");
    let gone = stage.get(&session, "/output?from=0");
    gone.expect_error(503, "unavailable");
    assert!(gone.number("retry-after") > 0);
    stage.ask("POST", "/v1/sessions", &[("Content-Type", "application/json")], b"{}").expect_error(503, "unavailable");
    stage.server = super::stage::Daemon::start(&stage.scene, "server", &arguments);
    stage.server.status();
    stage.get(&session, "").expect_error(404, "not_found");
    stage.session();
}

fn a_destination_that_refuses_is_told() {
    let stage = Stage::new();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let proxy = format!("--proxy=unix:{}", stage.scene.path("other.sessions").display());
    let server = super::stage::Daemon::start(&stage.scene, "other", &["session", "server", &proxy, &nobody]);
    server.status();
    let gateway =
        super::stage::Daemon::start(&stage.scene, "web2", &["session", "web", &proxy, "--listen=127.0.0.1:0"]);
    let address = super::stage::address(&gateway);
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        super::http::Client::connect(address).ask(method, path, headers, b"{}")
    };
    let said = ask("POST", "/v1/sessions", &[("Content-Type", "application/json")]).json();
    let bearer = format!("Bearer {}", said["secret"].as_str().unwrap());
    let headers = [("Authorization", bearer.as_str()), ("Accept", "application/json")];
    let path = format!("/v1/sessions/{}", said["id"].as_str().unwrap());
    let read = ask("GET", &format!("{path}/output?from=0&wait=20"), &headers).json();
    assert_eq!((&read["fin"], &read["destination"], &read["data"]), (&json!(true), &json!("refused"), &json!("")));
    let state = ask("GET", &path, &headers).json();
    assert_eq!((&state["state"], &state["destination"]), (&json!("failed"), &json!("refused")));
}
