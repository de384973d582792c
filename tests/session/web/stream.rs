//! Streams of events and WebSockets: cut and resumed, slow, taken over, and malformed.

use super::http::{Event, Events};
use super::socket::{BINARY, Said, Socket, TEXT, UPGRADE, resume};
use super::stage::{Session, Stage, pattern};
use crate::harness::{eventually, trials};
use socket_protector::session::frame::{Frame, New, encode_preface};
use std::io::Write;

trials![
    a_stream_of_events_is_resumed_where_it_was_cut,
    more_than_a_window_comes_by_streams_that_end_and_go_on,
    a_stream_of_events_tells_of_its_end,
    a_stream_that_is_taken_over_says_so_and_ends,
    a_follower_who_reads_nothing_holds_up_nobody_else,
    a_socket_carries_the_session_protocol,
    a_socket_that_is_not_wanted_is_refused_before_it_opens,
    messages_that_do_not_belong_here_close_the_socket,
    a_message_in_pieces_is_one_message,
];

fn follow(stage: &Stage, session: &Session, from: Option<u64>) -> Events {
    let last = from.map(|from| from.to_string());
    let mut headers = vec![session.header()];
    headers.extend(last.as_ref().map(|last| ("Last-Event-ID", last.as_str())));
    Events::follow(stage.client(), &session.path("/events?from=0"), &headers).unwrap()
}

fn a_stream_of_events_is_resumed_where_it_was_cut() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let mut all = Vec::new();
    let mut at = None;
    for round in 1..=20_u64 {
        destination.write_all(&pattern((round - 1) * 1000, 1000)).unwrap();
        let mut events = follow(&stage, &session, at);
        all.extend(events.output(round * 1000 - 500));
        assert_eq!(events.last_id, Some(all.len() as u64));
        assert!(events.retry.is_some());
        at = events.last_id;
    }
    // An event may have brought more than was waited for.
    if at < Some(20_000) {
        all.extend(follow(&stage, &session, at).output(20_000));
    }
    assert!(all == pattern(0, 20_000));
}

fn more_than_a_window_comes_by_streams_that_end_and_go_on() {
    const ALL: usize = 3 * 1024 * 1024;
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let writer = std::thread::spawn(move || {
        destination.write_all(&pattern(0, ALL)).unwrap();
        destination
    });
    let (mut all, mut streams) = (Vec::new(), 0);
    while all.len() < ALL {
        let mut events = follow(&stage, &session, Some(all.len() as u64));
        all.extend(events.output(ALL as u64));
        streams += 1;
    }
    assert!(all == pattern(0, ALL));
    assert!(streams >= 6, "each stream has half a mebibyte that is not acknowledged: {streams}");
    drop(writer.join().unwrap());
}

fn a_stream_of_events_tells_of_its_end() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    destination.write_all(b"last words").unwrap();
    drop(destination);
    let mut events = follow(&stage, &session, None);
    assert_eq!(events.output(10), b"last words");
    assert_eq!(events.next().unwrap().name, "end");
    let mut client = stage.client();
    client.send("GET", &session.path("/events"), &[session.header()], b"");
    assert_eq!(client.head().header("x-accel-buffering"), Some("no"), "whoever is in front keeps nothing back");
    let mut events = follow(&stage, &session, Some(10));
    let end = Event { name: "end".into(), data: r#"{"destination":"eof"}"#.into() };
    assert_eq!((events.next(), events.next()), (Some(end), None));
    let mut again = follow(&stage, &session, Some(10));
    assert_eq!(again.next().unwrap().name, "end", "it is told as often as it is asked for");
    let mut events = follow(&stage, &session, Some(10));
    events.next();
    stage.ask("DELETE", &session.path(""), &[session.header()], b"");
    let gone = Events::follow(stage.client(), &session.path("/events"), &[session.header()]);
    gone.err().unwrap().expect_error(404, "not_found");
}

fn a_stream_that_is_taken_over_says_so_and_ends() {
    let stage = Stage::new();
    let (session, _destination) = stage.open();
    let taken_over = || Some(Event { name: "taken_over".into(), data: "{}".into() });
    let mut first = follow(&stage, &session, None);
    let mut second = follow(&stage, &session, None);
    assert_eq!((first.next(), first.next()), (taken_over(), None), "by another stream");
    stage.get(&session, "/output?from=0");
    assert_eq!((second.next(), second.next()), (taken_over(), None), "by a poll");
    let mut third = follow(&stage, &session, None);
    let mut socket = Socket::open(&stage, &session, &[]).unwrap();
    socket.resume(&session, 0);
    assert_eq!((third.next(), third.next()), (taken_over(), None), "by a WebSocket");
}

fn a_follower_who_reads_nothing_holds_up_nobody_else() {
    let stage = Stage::new();
    let (slow, mut flood) = stage.open();
    let writer = std::thread::spawn(move || {
        let block = pattern(0, 65_536);
        while flood.write_all(&block).is_ok() {}
    });
    let stuck = follow(&stage, &slow, None);
    let (session, mut destination) = stage.open();
    for at in 0..20_u64 {
        destination.write_all(b"x").unwrap();
        assert_eq!(stage.get(&session, &format!("/output?from={at}&wait=20")).expect_output(at), b"x");
    }
    let text = std::fs::read_to_string(format!("/proc/{}/status", stage.web().pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 200 * 1024, "{line}");
    drop(stuck);
    assert_eq!(stage.ask("DELETE", &slow.path(""), &[slow.header()], b"").status, 204);
    writer.join().unwrap();
}

fn a_socket_carries_the_session_protocol() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let before = stage.census();
    destination.write_all(&pattern(0, 1_000_000)).unwrap();
    let mut all = Vec::new();
    for part in 1..=4 {
        let mut socket = Socket::open(&stage, &session, &[]).unwrap();
        socket.resume(&session, all.len() as u64);
        let output = socket.output(all.len() as u64, part * 250_000);
        all.extend(output);
        if part == 4 {
            let mut close = Vec::new();
            Frame::Close.encode(&mut close);
            socket.send(&close);
            socket.until(|frame| matches!(frame, Frame::Closed(_)).then_some(()));
            assert_eq!(socket.closed(), 1000);
        }
    }
    assert!(all == pattern(0, 1_000_000));
    assert_eq!(stage.census(), before);
}

fn a_socket_that_is_not_wanted_is_refused_before_it_opens() {
    let stage = Stage::new();
    let (session, _destination) = stage.open();
    let without = |name: &str| -> Vec<(&str, &str)> {
        UPGRADE.into_iter().filter(|(known, _)| *known != name).chain([session.header()]).collect()
    };
    for name in ["Connection", "Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key"] {
        Socket::open_with(&stage, &session, &without(name)).err().unwrap().expect_error(400, "bad_upgrade");
    }
    let mut headers = without("Sec-WebSocket-Protocol");
    Socket::open_with(&stage, &session, &headers).err().unwrap().expect_error(400, "bad_request");
    headers.push(("Sec-WebSocket-Protocol", "chat"));
    Socket::open_with(&stage, &session, &headers).err().unwrap().expect_error(400, "bad_request");
    let deflate = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    assert!(Socket::open(&stage, &session, &deflate).is_ok(), "and no extension is in use");
}

fn messages_that_do_not_belong_here_close_the_socket() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let mut new = Vec::new();
    encode_preface(&mut new);
    let nonce = socket_protector::session::credential::Nonce([1; 32]);
    Frame::New(New { nonce, ttl: 0 }).encode(&mut new);
    let other = Session { id: "0".repeat(32), ..session.clone() };
    let mut early = resume(&session, 0);
    Frame::Close.encode(&mut early);
    type Say<'a> = (&'a str, u16, &'a dyn Fn(&mut Socket));
    let say: [Say<'_>; 10] = [
        ("NEW", 1008, &|socket| socket.send(&new)),
        ("another session", 1008, &|socket| socket.send(&resume(&other, 0))),
        ("no preface", 1008, &|socket| socket.send(b"GET / HTTP/1.1\r\n")),
        ("more than is asked for", 1008, &|socket| socket.send(&early)),
        ("text", 1003, &|socket| socket.frame(0x80 | TEXT, true, b"text")),
        ("unmasked", 1002, &|socket| socket.frame(0x80 | BINARY, false, b"x")),
        ("a reserved bit", 1002, &|socket| socket.frame(0xc0 | BINARY, true, b"x")),
        ("the middle of nothing", 1002, &|socket| socket.frame(0x80, true, b"x")),
        ("a PING in pieces", 1002, &|socket| socket.frame(0x09, true, b"x")),
        ("too long", 1009, &|socket| socket.frame(0x80 | BINARY, true, &vec![0; 65_540])),
    ];
    for (what, code, say) in say {
        let mut socket = Socket::open(&stage, &session, &[]).unwrap();
        say(&mut socket);
        assert_eq!(socket.closed(), code, "{what}");
    }
    // Behind the door as well; the session goes on.
    for (what, code, say) in &say[4..] {
        let mut socket = Socket::open(&stage, &session, &[]).unwrap();
        socket.resume(&session, 0);
        say(&mut socket);
        assert_eq!(socket.closed(), *code, "{what}");
    }
    destination.write_all(b"alive").unwrap();
    assert_eq!(stage.get(&session, "/output?from=0&wait=20").expect_output(0), b"alive");
    stage.wait_connections(0);
}

fn a_message_in_pieces_is_one_message() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let mut socket = Socket::open(&stage, &session, &[]).unwrap();
    let bytes = resume(&session, 0);
    let (first, rest) = bytes.split_at(5);
    socket.frame(BINARY, true, first);
    socket.frame(0x89, true, b"still there?");
    let (middle, last) = rest.split_at(20);
    socket.frame(0, true, middle);
    socket.frame(0x80, true, last);
    destination.write_all(b"hello").unwrap();
    let mut hello = None;
    while hello.is_none() {
        let Said::Binary(bytes) = socket.receive() else { panic!("closed") };
        hello = bytes.windows(5).any(|part| part == b"hello").then_some(());
    }
    eventually("it is attached", || stage.get(&session, "").json()["state"] == "attached");
}
