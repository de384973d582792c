//! Polls and those that wait: cut, overlapping, left, and across much output.

use super::stage::{Stage, pattern};
use crate::harness::{eventually, trials};
use serde_json::json;
use std::io::{Read, Write};

trials![
    a_response_that_is_cut_is_had_again,
    of_two_polls_that_overlap_the_first_is_told,
    a_reader_who_leaves_is_noticed,
    a_wait_ends_with_nothing_or_with_what_comes,
    ten_mebibytes_come_by_polls_in_order,
    what_is_gone_or_not_there_yet_is_told,
    a_poll_in_json_has_the_same_in_base64,
    an_acknowledgement_frees_what_it_names_and_no_more,
];

fn a_response_that_is_cut_is_had_again() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let all = pattern(0, 100_000);
    destination.write_all(&all).unwrap();
    eventually("all has come", || stage.get(&session, "").json()["output"]["next"] == 100_000);
    for _ in 0..3 {
        let mut client = stage.client();
        client.send("GET", &session.path("/output?from=0&wait=5"), &[session.header()], b"");
        assert_eq!(client.head().status, 200);
        let mut half = vec![0; 20_000];
        client.stream.read_exact(&mut half).unwrap();
        assert_eq!(half, all[..20_000]);
    }
    assert_eq!(stage.get(&session, "/output?from=0&wait=5").expect_output(0), all);
}

fn of_two_polls_that_overlap_the_first_is_told() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let mut first = stage.client();
    first.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    eventually("it reads", || stage.web().status()["readers"] == 1);
    let mut second = stage.client();
    second.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    first.answer().expect_error(409, "taken_over");
    destination.write_all(b"x").unwrap();
    assert_eq!(second.answer().expect_output(0), b"x");
    stage.destination.expect_no_more();
}

fn a_reader_who_leaves_is_noticed() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let mut client = stage.client();
    client.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    eventually("it reads", || stage.web().status()["readers"] == 1);
    drop(client);
    stage.wait_connections(0);
    // Ten seconds later it is no reader any more.
    eventually("nobody reads", || stage.web().status()["readers"] == 0);
    assert_eq!(stage.get(&session, "").json()["state"], "detached");
    destination.write_all(b"kept").unwrap();
    assert_eq!(stage.get(&session, "/output?from=0&wait=20").expect_output(0), b"kept");
}

fn a_wait_ends_with_nothing_or_with_what_comes() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    for wait in ["", "&wait=0", "&wait=1"] {
        let nothing = stage.get(&session, &format!("/output?from=0{wait}"));
        assert_eq!((nothing.status, nothing.header("stream-next-offset")), (204, Some("0")), "{wait}");
    }
    let mut client = stage.client();
    client.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    eventually("it reads", || stage.web().status()["connections"] == 1);
    destination.write_all(b"late").unwrap();
    let answer = client.answer();
    assert_eq!(answer.header("stream-fin"), Some("false"));
    assert_eq!(answer.expect_output(0), b"late");
}

fn ten_mebibytes_come_by_polls_in_order() {
    const ALL: usize = 10 * 1024 * 1024;
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    let writer = std::thread::spawn(move || {
        destination.write_all(&pattern(0, ALL)).unwrap();
        destination
    });
    let mut client = stage.client();
    let mut all = Vec::with_capacity(ALL);
    while all.len() < ALL {
        let path = session.path(&format!("/output?from={}&wait=50", all.len()));
        let answer = client.ask("GET", &path, &[session.header()], b"");
        all.extend(answer.expect_output(all.len() as u64));
    }
    assert!(all == pattern(0, ALL));
    drop(writer.join().unwrap());
    let last = client.ask("GET", &session.path(&format!("/output?from={ALL}&wait=50")), &[session.header()], b"");
    assert_eq!(last.header("stream-fin"), Some("true"));
    drop(client);
    assert_eq!(stage.census().children, 0);
}

fn what_is_gone_or_not_there_yet_is_told() {
    let stage = Stage::with(&["--scrollback=1KiB"], &[]);
    let (session, mut destination) = stage.open();
    destination.write_all(&pattern(0, 10_000)).unwrap();
    eventually("all has come", || stage.get(&session, "").json()["output"]["next"] == 10_000);
    let ahead = stage.get(&session, "/output?from=10001").expect_error(416, "ahead");
    assert_eq!((&ahead["base"], &ahead["next"]), (&json!(0), &json!(10_000)));
    assert_eq!(stage.get(&session, "/output?from=10000").status, 204, "all is acknowledged");
    let gone = stage.get(&session, "/output?from=0").expect_error(410, "gone");
    assert_eq!((&gone["base"], &gone["next"]), (&json!(10_000 - 1024), &json!(10_000)));
    let oldest = stage.get(&session, "/output?from=oldest").expect_output(10_000 - 1024);
    assert_eq!(oldest, pattern(10_000 - 1024, 1024));
}

fn a_poll_in_json_has_the_same_in_base64() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    destination.write_all(b"\x00\xff").unwrap();
    let headers = [session.header(), ("Accept", "application/json")];
    let read = |from: u64| stage.ask("GET", &session.path(&format!("/output?from={from}&wait=20")), &headers, b"");
    assert_eq!(read(0).json(), json!({ "offset": 0, "next": 2, "data": "AP8=", "fin": false, "events": [] }));
    drop(destination);
    let expected = json!({ "offset": 2, "next": 2, "data": "", "fin": true, "events": [], "destination": "eof" });
    assert_eq!(read(2).json(), expected);
}

fn an_acknowledgement_frees_what_it_names_and_no_more() {
    let stage = Stage::with(&["--buffer=64KiB", "--scrollback=0"], &[]);
    let (session, mut destination) = stage.open();
    let writer = std::thread::spawn(move || destination.write_all(&pattern(0, 8 * 1024 * 1024)).is_err());
    let first = stage.get(&session, "/output?from=0&wait=20").expect_output(0);
    assert_eq!(stage.get(&session, "").json()["output"]["base"], 0, "what was answered may not have arrived");
    stage.get(&session, &format!("/output?from={}&wait=20", first.len()));
    assert_eq!(stage.get(&session, "").json()["output"]["base"], first.len());
    assert_eq!(stage.ask("DELETE", &session.path(""), &[session.header()], b"").status, 204);
    assert!(writer.join().unwrap(), "the destination was let go while it wrote");
}
