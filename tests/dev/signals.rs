//! A second signal in each phase, where everything that was asked to end ignores it: all is killed at once.

use nix::sys::signal::Signal::{self, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::stage::{Proxy, Setup};
use super::wire::Client;
use crate::harness::process::Exit;
use crate::harness::{PATIENCE, eventually, trials, until};

trials![
    a_second_signal_kills_a_build,
    a_second_signal_kills_a_server_that_starts,
    a_second_signal_kills_a_server_that_has_a_request,
    a_second_signal_kills_two_servers,
    a_second_signal_kills_a_server_that_is_to_end,
    a_second_signal_kills_what_a_server_that_failed_has_left,
    where_nothing_is_left_one_signal_is_enough,
];

/// Which signals come, and the code that is the first one's.
const PAIRS: [(Signal, Signal, i32); 4] =
    [(SIGINT, SIGINT, 130), (SIGTERM, SIGTERM, 143), (SIGHUP, SIGINT, 129), (SIGQUIT, SIGTERM, 131)];
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Two processes that TERM does not end, one below the other.
const STUBBORN: &str = "trap '' TERM; : > ../there; sleep 1000; :";

/// With a time to end in that no trial waits for.
fn patient() -> Setup {
    Setup::new().with(&["--stop-timeout", "300s", "--ready-timeout", "300s"])
}

/// A server that answers and that TERM does not end.
fn stubborn(setup: Setup) -> Setup {
    let web = setup.web("web_stubborn").join(" ");
    setup.command(&["sh", "-c", &format!("trap '' TERM; {web}")])
}

/// Both signals, one after the other: the first ends nothing, the second all.
#[track_caller]
fn end(mut proxy: Proxy, first: Signal, second: Signal, code: i32) {
    let before = proxy.servers();
    assert!(!before.is_empty());
    proxy.signal(first);
    until("those who ask are told that it ends", PATIENCE, || {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
        let head = client.head();
        let body = String::from_utf8(client.body(&head)).unwrap();
        if body.contains("\"error\":\"ending\"") { Ok(()) } else { Err(format!("{}{body}", head.text)) }
    });
    assert_eq!(proxy.servers(), before, "nothing of it has ended");
    assert_eq!(proxy.stop(second), Exit::Code(code));
}

/// Waits until there are so many processes, after those of [`STUBBORN`] have come.
#[track_caller]
fn wait_servers(proxy: &Proxy, count: usize) {
    eventually("all processes are there", || proxy.scene.path("there").exists() && proxy.servers().len() == count);
}

/// A request that has no answer yet, and waits in our hands.
fn held(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(GET);
    client
}

fn a_second_signal_kills_a_build() {
    for (first, second, code) in PAIRS {
        let setup = patient().with(&["--build", STUBBORN]);
        let proxy = setup.start();
        wait_servers(&proxy, 2);
        let mut client = held(&proxy);
        end(proxy, first, second, code);
        assert_eq!(client.head().status, 503);
    }
}

fn a_second_signal_kills_a_server_that_starts() {
    for (first, second, code) in PAIRS {
        let proxy = patient().command(&["sh", "-c", STUBBORN]).start();
        wait_servers(&proxy, 2);
        let mut client = held(&proxy);
        end(proxy, first, second, code);
        assert_eq!(client.head().status, 503);
    }
}

fn a_second_signal_kills_a_server_that_has_a_request() {
    for (first, second, code) in PAIRS {
        let proxy = stubborn(patient().script("slow", "note asked\nuntil never")).start();
        proxy.wait_version("1");
        let mut post = proxy.client();
        post.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        eventually("it is asked", || proxy.scene.path("web/asked").exists());
        end(proxy, first, second, code);
        assert_eq!(post.head().status, 502, "it may have been done");
    }
}

fn a_second_signal_kills_two_servers() {
    for (first, second, code) in PAIRS {
        let line = format!("if [ -e ../late ]; then {STUBBORN}; fi; trap '' TERM; $WEB");
        let proxy = patient().with(&["--overlap"]).shell(&line).start();
        proxy.wait_version("1");
        proxy.scene.write("late", "");
        proxy.change("2");
        wait_servers(&proxy, 4);
        assert_eq!(proxy.get("/"), (200, "1".into()));
        end(proxy, first, second, code);
    }
}

fn a_second_signal_kills_a_server_that_is_to_end() {
    for (first, second, code) in PAIRS {
        let proxy = stubborn(patient().fixed()).start();
        proxy.wait_version("1");
        proxy.change("2");
        eventually("it is to end", || proxy.reloads() == 1);
        let mut client = held(&proxy);
        end(proxy, first, second, code);
        assert_eq!(client.head().status, 503);
    }
}

fn a_second_signal_kills_what_a_server_that_failed_has_left() {
    for (first, second, code) in PAIRS {
        let line = format!("setsid sh -c \"{STUBBORN}\" & until [ -e ../go ]; do sleep 0.02; done; exit 3");
        let proxy = patient().command(&["sh", "-c", &line]).start();
        eventually("it has left the group", || proxy.scene.path("there").exists());
        proxy.scene.write("go", "");
        proxy.wait_said("the server exited with status 3");
        assert_eq!(proxy.get("/").0, 503);
        wait_servers(&proxy, 2);
        end(proxy, first, second, code);
    }
}

fn where_nothing_is_left_one_signal_is_enough() {
    for (signal, _, code) in PAIRS {
        let mut proxy = patient().command(&["false"]).start();
        proxy.wait_said("the server exited with status 1");
        eventually("nothing is left of it", || proxy.servers().is_empty());
        assert_eq!(proxy.stop(signal), Exit::Code(code));
    }
}
