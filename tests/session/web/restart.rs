//! A gateway that is killed, started anew, run twice, reloaded or stopped: sessions notice nothing.

use super::http::{Client, Events};
use super::socket::Socket;
use super::stage::{Daemon, Stage, address, pattern, read};
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, eventually, trials, until};
use nix::sys::signal::Signal;
use std::io::Write;

trials![
    a_gateway_is_killed_and_started_again,
    two_gateways_are_one,
    a_stop_lets_everybody_go_on_elsewhere,
    a_second_stop_ends_at_once,
    a_port_that_is_taken_is_told_with_what_could_be_done,
    a_connection_that_has_asked_nothing_yet_is_answered_by_a_gateway_that_drains,
    a_reload_under_a_supervisor_loses_nothing,
    a_gateway_serves_a_socket_that_it_was_given,
    a_stop_by_the_command_waits_for_the_end,
];

fn a_gateway_is_killed_and_started_again() {
    let mut stage = Stage::new();
    let (session, mut destination) = stage.open();
    let mut all = Vec::new();
    for round in 0..3_u64 {
        destination.write_all(&pattern(round * 5000, 5000)).unwrap();
        eventually("all has come", || stage.get(&session, "").json()["output"]["next"] == (round + 1) * 5000);
        let mut reader = stage.client();
        reader.send("GET", &session.path(&format!("/output?from={}", all.len())), &[session.header()], b"");
        assert_eq!(reader.head().status, 200);
        assert_eq!(stage.input(&session, round * 3, b"abc").status, 200);
        assert_eq!(stage.gateway.take().unwrap().end(Signal::SIGKILL), None);
        stage.start_gateway(&[]);
        assert_eq!(stage.input(&session, round * 3, b"abc").status, 200, "whoever got no answer asks again");
        let answer = stage.get(&session, &format!("/output?from={}&wait=20", all.len()));
        all.extend(answer.expect_output(all.len() as u64));
    }
    assert!(all == pattern(0, 15_000));
    assert_eq!(read(&mut destination, 9), b"abcabcabc");
    stage.destination.expect_no_more();
}

fn two_gateways_are_one() {
    let stage = Stage::new();
    let other = stage.another("web2", ([127, 0, 0, 1], 0).into(), &[]);
    let other = address(&other).to_owned();
    let (session, mut destination) = stage.open();
    let ask = |method: &str, path: &str, body: &[u8], offset: &str| {
        let headers = [session.header(), ("Stream-Offset", offset), ("Content-Type", "application/octet-stream")];
        Client::connect(other).ask(method, &session.path(path), &headers, body)
    };
    let mut waiting = stage.client();
    waiting.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    eventually("it reads", || stage.web().status()["readers"] == 1);
    destination.write_all(b"one").unwrap();
    assert_eq!(waiting.answer().expect_output(0), b"one");
    destination.write_all(b"two").unwrap();
    assert_eq!(ask("GET", "/output?from=3&wait=20", b"", "0").expect_output(3), b"two");
    assert_eq!(ask("POST", "/input", b"abc", "0").status, 200);
    assert_eq!(stage.input(&session, 0, b"abcd").status, 200);
    assert_eq!(read(&mut destination, 4), b"abcd");
    waiting.send("GET", &session.path("/output?from=6&wait=50"), &[session.header()], b"");
    eventually("it reads", || stage.web().status()["readers"] == 1);
    let mut there = Client::connect(other);
    there.send("GET", &session.path("/output?from=6&wait=50"), &[session.header()], b"");
    waiting.answer().expect_error(409, "taken_over");
}

fn a_stop_lets_everybody_go_on_elsewhere() {
    let mut stage = Stage::new();
    let (polls, _first) = stage.open();
    let (follows, mut second) = stage.open();
    let (sockets, _third) = stage.open();
    let mut poll = stage.client();
    poll.send("GET", &polls.path("/output?from=0&wait=50"), &[polls.header()], b"");
    let mut events = Events::follow(stage.client(), &follows.path("/events"), &[follows.header()]).unwrap();
    let mut socket = Socket::open(&stage, &sockets, &[]).unwrap();
    socket.resume(&sockets, 0);
    let mut idle = stage.client();
    assert_eq!(idle.ask("GET", "/healthz", &[], b"").status, 200);
    eventually("all of them read", || stage.web().status()["readers"] == 2);
    let gateway = stage.gateway.take().unwrap();
    gateway.signal(Signal::SIGTERM);
    let answer = poll.answer();
    assert_eq!((answer.status, answer.header("stream-next-offset")), (204, Some("0")));
    assert_eq!(events.next(), None);
    assert_eq!(socket.closed(), 1001);
    assert!(idle.is_closed() && poll.is_closed());
    drop((socket, events));
    assert_eq!(gateway.end(Signal::SIGCONT), Some(0));
    stage.start_gateway(&[]);
    second.write_all(b"later").unwrap();
    assert_eq!(stage.get(&follows, "/output?from=0&wait=20").expect_output(0), b"later");
}

fn a_second_stop_ends_at_once() {
    let mut stage = Stage::new();
    let mut client = stage.client();
    // A request that never comes to its end.
    client.say(
        format!(
            "POST /v1/sessions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
            stage.address
        )
        .as_bytes(),
    );
    stage.wait_connections(1);
    let gateway = stage.gateway.take().unwrap();
    gateway.signal(Signal::SIGTERM);
    eventually("it drains", || gateway.status()["draining"] == true);
    assert_eq!(gateway.end(Signal::SIGTERM), Some(0));
}

fn a_port_that_is_taken_is_told_with_what_could_be_done() {
    let stage = Stage::new();
    let listen = format!("--listen={}", stage.address);
    let ran = stage.scene.cli(&["session", "web", &listen, "--name=other"]).expect(1);
    let lines = ran.err.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("socket-protector: cannot listen on ") && lines[0].contains("in use"), "{ran:?}");
    assert!(lines[1].starts_with("hint: another process listens there") && lines.len() == 2, "{ran:?}");
}

fn a_connection_that_has_asked_nothing_yet_is_answered_by_a_gateway_that_drains() {
    let mut stage = Stage::new();
    let mut client = Client::connect(stage.address);
    stage.wait_connections(1);
    let gateway = stage.gateway.take().unwrap();
    gateway.signal(Signal::SIGTERM);
    eventually("it drains", || gateway.status()["draining"] == true);
    client.send("GET", "/healthz", &[], b"");
    assert_eq!(client.head().status, 200);
    // It ends by itself.
    assert_eq!(gateway.end(Signal::SIGCONT), Some(0));
}

fn a_reload_under_a_supervisor_loses_nothing() {
    let stage = Stage::new();
    let proxy = format!("--proxy=unix:{}", stage.scene.path("server.sessions").display());
    let program = binary().to_str().unwrap();
    let command = [program, "session", "web", &proxy, "--listen=fd:3"];
    let supervisor = stage.scene.setup().with("--ready notify").listen(&["127.0.0.1:0"]).command(&command).start();
    let at = supervisor.address();
    let (session, mut destination) = stage.open();
    let writer = std::thread::spawn(move || {
        for part in 0..200_u64 {
            destination.write_all(&pattern(part * 1000, 1000)).unwrap();
        }
        destination
    });
    let mut all = Vec::new();
    let mut poll = |until: usize| {
        while all.len() < until {
            let answer = Client::connect(at).ask(
                "GET",
                &session.path(&format!("/output?from={}&wait=20", all.len())),
                &[session.header()],
                b"",
            );
            if answer.status != 204 {
                all.extend(answer.expect_output(all.len() as u64));
            }
        }
    };
    poll(1000);
    let mut waiting = Client::connect(at);
    drop(writer.join().unwrap());
    poll(200_000);
    waiting.send("GET", &session.path("/output?from=200000&wait=50"), &[session.header()], b"");
    assert_eq!(waiting.head().header("stream-fin"), Some("true"));
    for round in 2..4 {
        let mut events = {
            let (session, mut destination) = stage.open();
            let events = Events::follow(Client::connect(at), &session.path("/events"), &[session.header()]).unwrap();
            supervisor.reload().expect(0);
            destination.write_all(b"x").unwrap();
            // One that the old gateway has taken is told to come again.
            let output = until("the output comes", PATIENCE, || {
                let path = session.path("/output?from=0&wait=20");
                let answer = Client::connect(at).ask("GET", &path, &[session.header()], b"");
                if answer.status == 204 { Err("nothing came".into()) } else { Ok(answer.expect_output(0)) }
            });
            assert_eq!(output, b"x");
            events
        };
        while events.next().is_some() {}
        assert_eq!(supervisor.generation(), round);
    }
    supervisor.wait_settled();
    assert!(all == pattern(0, 200_000));
}

fn a_gateway_serves_a_socket_that_it_was_given() {
    let stage = Stage::new();
    let proxy = format!("--proxy=unix:{}", stage.scene.path("server.sessions").display());
    let program = binary().to_str().unwrap();
    let command = [program, "session", "web", &proxy, "--listen=systemd:domain=INET:index=0"];
    let supervisor = stage.scene.setup().listen(&["127.0.0.1:0"]).command(&command).start();
    assert_eq!(Client::connect(supervisor.address()).ask("GET", "/healthz", &[], b"").status, 200);
    let named: Vec<_> =
        stage.scene.cli(&["status", "--json"]).expect(0).json()["instances"].as_array().unwrap().clone();
    assert!(named.iter().filter(|instance| instance["role"] == "web").count() == 2, "{named:?}");
}

fn a_stop_by_the_command_waits_for_the_end() {
    let mut stage = Stage::new();
    let table = stage.scene.cli(&["status"]).expect(0).out;
    assert!(table.lines().any(|line| line.starts_with("web ") && line.contains(" web ")), "{table}");
    let words = stage.scene.cli(&["status", "web"]).expect(0).out;
    assert!(words.contains("serves sessions of unix:") && words.contains("listening on 127.0.0.1:"), "{words}");
    stage.scene.cli(&["stop", "web"]).expect(0);
    let gateway: Daemon = stage.gateway.take().unwrap();
    assert_eq!(gateway.end(Signal::SIGCONT), Some(0));
}
