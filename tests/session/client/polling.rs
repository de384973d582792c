//! Each line is one connection: what the Python program of old said of itself, line by line, and what it left open.

use std::io::Write;
use std::time::Duration;

use super::place::{Chaos, Cut, Destination, Place, pattern, read};
use crate::forward::tls::certificate;
use crate::harness::island::{ISLAND, on_an_island};
use crate::harness::process::census;
use crate::harness::scene::binary;
use crate::harness::{eventually, holds_for, trials, trials_with};

trials![
    each_enter_is_one_connection_that_prints_what_is_there,
    a_line_is_sent_with_its_end_and_an_empty_one_only_polls,
    nothing_is_connected_before_the_first_enter,
    one_client_polls_many_times_and_holds_nothing_in_between,
    a_session_goes_on_in_another_process,
    another_session_is_made_when_it_is_wanted,
    a_line_that_cannot_be_brought_is_brought_by_the_next_client,
    a_session_that_the_server_has_lost_is_told,
    kept_sessions_are_listed_without_their_secrets,
    the_secret_is_seen_nowhere_but_in_its_file,
    the_usual_file_is_one_for_each_server,
    a_server_is_reached_through_tls_if_it_is_the_right_one,
    a_poll_ends_though_the_destination_goes_on_talking,
];
trials_with![ISLAND => host_and_port_of_the_proxy_default_independently];

fn each_enter_is_one_connection_that_prints_what_is_there() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut client = place.client(&[]);
    client.say("\n");
    let mut stream = destination.accept();
    stream.write_all(b"while you were away\n").unwrap();
    // One more Enter and one more until it is there.
    eventually("it is printed", || {
        client.say("\n");
        client.out() == b"while you were away\n"
    });
    stream.write_all(b"not before").unwrap();
    client.say("\n");
    eventually("it is printed", || {
        client.say("\n");
        client.out() == b"while you were away\nnot before"
    });
    client.end().expect(0);
    assert!(destination.is_alone(), "one session is one connection");
}

fn a_line_is_sent_with_its_end_and_an_empty_one_only_polls() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("help\n\n\r\nls -l\r\nlast").expect(0);
    let mut stream = destination.accept();
    assert_eq!(read(&mut stream, 19), "help\r\nls -l\r\nlast\r\n");
    stream.write_all(b"welcome\n").unwrap();
    place.poll_until("welcome\n");
    place.poll("more\n").expect(0);
    assert_eq!(read(&mut stream, 6), "more\r\n");
}

fn nothing_is_connected_before_the_first_enter() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let ended = place.poll("").expect(0);
    assert_eq!((ended.text().as_str(), ended.err.as_str()), ("", ""));
    assert!(destination.is_alone() && !place.state().exists());
}

fn one_client_polls_many_times_and_holds_nothing_in_between() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut client = place.client(&[]);
    client.say("first\n");
    let mut stream = destination.accept();
    assert_eq!(read(&mut stream, 7), "first\r\n");
    let idle = |client: &super::place::Talk| {
        let mut census = census(client.pid());
        // A thread that looked up a name holds nothing.
        census.children = 0;
        census
    };
    // Without a connection it has neither one socket more nor one less.
    let rounds = |client: &mut super::place::Talk, stream: &mut std::net::TcpStream| {
        for _ in 0..20 {
            client.say("again\n");
            assert_eq!(read(stream, 7), "again\r\n");
        }
        stream.write_all(b"x").unwrap();
    };
    rounds(&mut client, &mut stream);
    let polls_until = |client: &mut super::place::Talk, out: &[u8]| {
        eventually("it is printed", || {
            client.say("\n");
            holds_for(Duration::from_millis(100), || client.out() == out)
        });
    };
    polls_until(&mut client, b"x");
    let mut before = idle(&client);
    // Its last poll is over some time.
    while !holds_for(Duration::from_millis(300), || idle(&client) == before) {
        before = idle(&client);
    }
    rounds(&mut client, &mut stream);
    polls_until(&mut client, b"xx");
    eventually("it is at rest as before", || idle(&client) == before);
    client.end().expect(0);
}

fn a_session_goes_on_in_another_process() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("a\n").expect(0).says("new session ");
    let mut stream = destination.accept();
    for round in 0..5 {
        assert_eq!(read(&mut stream, 3), "a\r\n");
        stream.write_all(format!("answer {round}\n").as_bytes()).unwrap();
        place.poll_until(&format!("answer {round}\n"));
        let ended = place.poll("a\n").expect(0);
        assert_eq!(ended.err, "", "it is the same one");
    }
    assert!(destination.is_alone());
}

fn another_session_is_made_when_it_is_wanted() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("one\n").expect(0);
    let mut first = destination.accept();
    let mut client = place.client(&["--new"]);
    client.say("two\n");
    client.end().expect(0).says("new session ");
    let mut second = destination.accept();
    assert_eq!((read(&mut first, 5).as_str(), read(&mut second, 5).as_str()), ("one\r\n", "two\r\n"));
    place.poll("three\n").expect(0);
    assert_eq!(read(&mut second, 7), "three\r\n", "that is the one that is kept now");
}

fn a_line_that_cannot_be_brought_is_brought_by_the_next_client() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    place.poll_by(chaos.port(), "state", "one\n").expect(0);
    let mut stream = destination.accept();
    // Cut before HELLO, and behind RESUME.
    for cut in [Cut { up: usize::MAX, down: 0 }, Cut { up: 119, down: usize::MAX }] {
        chaos.plan([cut]);
        let ended = place.poll_by(chaos.port(), "state", "two\n").expect(1);
        ended.says("bytes of input have not arrived; they are kept");
    }
    assert_eq!(read(&mut stream, 5), "one\r\n");
    place.poll_by(chaos.port(), "state", "\n").expect(0);
    assert_eq!(read(&mut stream, 10), "two\r\ntwo\r\n", "what each of them typed, once");
    place.poll("end\n").expect(0);
    assert_eq!(read(&mut stream, 5), "end\r\n");
}

fn a_session_that_the_server_has_lost_is_told() {
    let destination = Destination::new();
    let mut place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    place.kill_server();
    let ended = place.poll("line\n").expect(1);
    ended.says("cannot connect to").says("6 bytes of input have not arrived");
    place.serve(&[&destination.endpoint()]);
    let ended = place.poll("\n").expect(1);
    ended.says("the session is gone: the server was started anew").says("hint: --new");
    place.client(&["--new"]).end().expect(0);
}

fn kept_sessions_are_listed_without_their_secrets() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let run = place.scene.path("run");
    let proxy = format!("--proxy={}", place.proxy());
    assert_eq!(place.scene.cli(&["session", "client", "--list"]).expect(0).out.lines().count(), 1, "the head");
    let mut command = std::process::Command::new(binary());
    place.scene.mark(&mut command).args(["session", "client", &proxy]);
    let mut client = place.start(command);
    client.say("hello\n");
    client.end().expect(0);
    let list = place.scene.cli(&["session", "client", "--list", "--json"]).expect(0).json();
    assert_eq!(list["schema"], 1);
    let session = &list["sessions"][0];
    assert_eq!((session["server"].as_str(), session["waiting"].as_u64()), (Some(place.proxy().as_str()), Some(0)));
    assert_eq!((session["input"].as_u64(), session["id"].as_str().unwrap().len()), (Some(7), 8));
    let file = run.join(format!("{}.session", place.proxy()));
    assert_eq!(session["file"].as_str(), file.to_str());
    let table = place.scene.cli(&["session", "client", "--list"]).expect(0).out;
    assert!(table.lines().nth(1).unwrap().starts_with(session["id"].as_str().unwrap()), "{table}");
    assert!(!list.to_string().contains("sks_") && !table.contains("sks_"));
    // One that cannot be read does not hide the others.
    std::fs::write(run.join("a.session"), "nonsense").unwrap();
    let ran = place.scene.cli(&["session", "client", "--list"]).expect(1).complains();
    assert_eq!(ran.out, table);
}

fn the_secret_is_seen_nowhere_but_in_its_file() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut command = place.command(place.port, "state", &["-vvv"]);
    command.env("RUST_LOG", "trace");
    let mut client = place.start(command);
    client.say("\n");
    destination.accept();
    eventually("it is kept", || {
        std::fs::read_to_string(place.state()).is_ok_and(|text| text.contains("\nsecret sks_"))
    });
    let seen = ["cmdline", "environ"].map(|file| std::fs::read(format!("/proc/{}/{file}", client.pid())).unwrap());
    let ended = client.end().expect(0);
    for text in seen.iter().chain([&ended.out, &ended.err.into_bytes()]) {
        assert!(!String::from_utf8_lossy(text).contains("sks_"));
    }
}

fn the_usual_file_is_one_for_each_server() {
    let destination = Destination::new();
    let (place, other) = (Place::new(&destination.endpoint()), Place::new(&destination.endpoint()));
    for proxy in [place.proxy(), other.proxy()] {
        let mut command = std::process::Command::new(binary());
        place.scene.mark(&mut command).args(["session", "client", "--proxy", &proxy]);
        let mut client = place.start(command);
        client.say("\n");
        client.end().expect(0).says("new session");
    }
    let list = place.scene.cli(&["session", "client", "--list", "--json"]).expect(0).json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    let (first, second) = (destination.accept(), destination.accept());
    drop((first, second));
}

fn host_and_port_of_the_proxy_default_independently() {
    on_an_island(|| {
        let destination = Destination::new();
        let mut place = Place::new(&destination.endpoint());
        place.kill_server();
        let _server = place.scene.begin(&["session", "server", &destination.endpoint()]);
        eventually("it listens", || std::net::TcpStream::connect("127.0.0.1:9009").is_ok());
        let mut received = String::new();
        let mut stream = None;
        for (round, proxy) in [None, Some("--proxy=localhost"), Some("--proxy=:9009"), Some("--proxy=localhost:9009")]
            .into_iter()
            .enumerate()
        {
            let mut command = std::process::Command::new(binary());
            place.scene.mark(&mut command).args(["session", "client"]).args(proxy);
            let mut client = place.start(command);
            client.say(&format!("{round}\n"));
            client.end().expect(0);
            received += &read(stream.get_or_insert_with(|| destination.accept()), 3);
        }
        assert_eq!(received, "0\r\n1\r\n2\r\n3\r\n", "one session by all names");
        place.scene.clear();
    });
}

fn a_server_is_reached_through_tls_if_it_is_the_right_one() {
    let destination = Destination::new();
    let mut place = Place::new(&destination.endpoint());
    place.kill_server();
    let (right, wrong) = (certificate(&place.scene, "right"), certificate(&place.scene, "wrong"));
    let (key, crt) = (right.key.display(), right.certificate.display());
    let listen = format!("--proxy=ssl:{}:interface=127.0.0.1:privateKey={key}:certKey={crt}", place.port);
    let _server = place.scene.begin(&["session", "server", &listen, &destination.endpoint()]);
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", place.port)).is_ok());
    let through = |roots: &std::path::Path, ways: &[&str]| {
        let mut command = std::process::Command::new(binary());
        let proxy = format!("--proxy=tls:{}:trustRoots={}", place.proxy(), roots.display());
        place.scene.mark(&mut command).args(["session", "client", &proxy, "--state"]).arg(place.state()).args(ways);
        place.start(command)
    };
    let mut client = through(&wrong.roots, &[]);
    client.say("not for others\n");
    client.end().expect(1).says("cannot speak TLS with ");
    assert!(destination.is_alone());
    let mut client = through(&right.roots, &[]);
    client.say("hello\n");
    client.end().expect(0);
    let mut stream = destination.accept();
    assert_eq!(read(&mut stream, 7), "hello\r\n");
    let mut client = through(&right.roots, &["--follow"]);
    let much = String::from_utf8(pattern(300_000)).unwrap();
    stream.write_all(much.as_bytes()).unwrap();
    client.prints(&much);
    client.say("bye\n");
    assert_eq!(read(&mut stream, 4), "bye\n");
    drop(stream);
    client.finish().expect(0);
    place.scene.clear();
}

fn a_poll_ends_though_the_destination_goes_on_talking() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    let mut stream = destination.accept();
    stream.set_write_timeout(None).unwrap();
    let speaker = std::thread::spawn(move || {
        let line = [b'x'; 1000];
        while stream.write_all(&line).is_ok() {}
    });
    for _ in 0..5 {
        eventually("something is printed", || !place.poll("\n").expect(0).out.is_empty());
    }
    drop(place);
    speaker.join().unwrap();
}
