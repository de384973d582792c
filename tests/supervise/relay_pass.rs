//! `--pass relay`: programs that bind an address of their own, and know nothing of any of this.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::client::{Client, ask};
use crate::harness::load::Load;
use crate::harness::process::{self, Exit};
use crate::harness::scene::suite;
use crate::harness::{PATIENCE, Setup, Supervisor, eventually, trials, trials_with, until};

trials![
    reloads_under_load_lose_nothing_of_programs_that_die_at_once,
    a_unix_socket_does_as_well,
    a_run_directory_that_is_no_text_is_refused_for_sockets_alone,
    the_port_is_in_the_arguments_and_in_the_environment,
    a_running_connection_stays_with_its_generation,
    a_drain_that_takes_too_long_ends_with_its_connections,
    a_stop_waits_for_running_connections,
    what_connects_while_a_child_dies_is_served_by_the_next,
    what_connects_before_it_serves_waits,
    one_that_binds_nothing_never_serves,
    one_that_binds_late_is_waited_for,
    several_listeners_lead_to_one_child,
    the_child_is_told_who_the_client_is,
    one_that_wants_to_be_told_is_told_by_a_probe_too,
    wrong_use_is_told,
    a_child_that_gives_back_is_no_harm,
];

trials_with![
    "command -v python3" => pythons_server_reloads,
    "command -v redis-server" => redis_reloads,
];

/// Those with servers of other people's, too.
pub(crate) fn all() -> Vec<Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

fn setup() -> Setup {
    Setup::alone().with("--pass relay").role("binds")
}

/// The role with an argument, and not by its file.
fn command(arguments: &[&str]) -> Vec<String> {
    ["child", "binds"].iter().chain(arguments).fold(vec![suite()], |mut command, word| {
        command.push((*word).to_owned());
        command
    })
}

fn open(status: &Value, number: u64) -> Option<u64> {
    let generations = status["generations"].as_array().unwrap();
    let generation = generations.iter().find(|generation| generation["number"] == number)?;
    generation["workers"][0]["connections_open"].as_u64()
}

fn reloads_under_load_lose_nothing_of_programs_that_die_at_once() {
    const RELOADS: u64 = 30;
    let supervisor = setup().start();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let before = supervisor.census();
    let load = Load::on(supervisor.address());
    for _ in 0..RELOADS {
        supervisor.reload().expect(0);
    }
    let report = load.finish();
    report.expect_nothing_noticed();
    assert!(report.children.len() > 5, "the load hardly met the reloads: {report:?}");
    supervisor.wait_settled();
    until("descriptors and processes are as they were", PATIENCE, || {
        let now = supervisor.census();
        if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
    let status = supervisor.status();
    let counters = &status["counters"];
    assert_eq!(counters["accepted"].as_u64().unwrap(), report.connections, "{status}");
    let passed = counters["passed"].as_u64().unwrap() - counters["reclaimed"].as_u64().unwrap();
    assert_eq!(passed, report.connections, "{status}");
    assert_eq!(counters["respawns"], 0, "{status}");
}

fn a_unix_socket_does_as_well() {
    let supervisor = setup().command(&command(&["{socket}"])).start();
    assert_eq!(ask(supervisor.address()).generation, 1);
    let sockets = || {
        let entries = std::fs::read_dir(supervisor.scene.path("run/t.child")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".sock")).collect::<Vec<_>>()
    };
    assert_eq!(sockets(), ["1.sock"]);
    supervisor.reload().expect(0);
    assert_eq!(ask(supervisor.address()).generation, 2);
    supervisor.wait_settled();
    assert_eq!(sockets(), ["2.sock"]);
}

fn the_port_is_in_the_arguments_and_in_the_environment() {
    let by_argument = setup().command(&command(&["{port}"])).start();
    assert_eq!(ask(by_argument.address()).generation, 1);
    let words = by_argument.status()["generations"][0]["command"].clone();
    let port = words[3].as_str().unwrap().parse::<u16>().unwrap();
    by_argument.reload().expect(0);
    let words = by_argument.status()["generations"][0]["command"].clone();
    assert_ne!(words[3].as_str().unwrap().parse::<u16>().unwrap(), port, "a fresh one for each generation");
    // What the caller has in PORT is not it.
    let by_environment = setup().env("PORT", "1").start();
    assert_eq!(ask(by_environment.address()).generation, 1);
}

fn a_running_connection_stays_with_its_generation() {
    let supervisor = setup().start();
    let mut old = Client::connect(supervisor.address()).unwrap();
    assert_eq!(old.ask(Duration::ZERO, "a").unwrap().generation, 1);
    supervisor.reload().expect(0);
    assert_eq!(ask(supervisor.address()).generation, 2);
    let status = supervisor.status();
    assert_eq!(status["generations"][0]["phase"], "draining", "{status}");
    assert_eq!(open(&status, 1), Some(1), "{status}");
    assert_eq!(old.ask(Duration::ZERO, "b").unwrap().generation, 1);
    // A second reload leaves it alone as well.
    supervisor.reload().expect(0);
    assert_eq!(old.ask(Duration::ZERO, "c").unwrap().generation, 1);
    drop(old);
    supervisor.wait_settled();
}

fn a_drain_that_takes_too_long_ends_with_its_connections() {
    let supervisor = setup().with("--drain-timeout 200ms").start();
    let mut old = Client::connect(supervisor.address()).unwrap();
    old.ask(Duration::ZERO, "a").unwrap();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert!(old.ask(Duration::ZERO, "b").is_err());
}

fn a_stop_waits_for_running_connections() {
    let mut supervisor = setup().start();
    let mut client = Client::connect(supervisor.address()).unwrap();
    client.ask(Duration::ZERO, "a").unwrap();
    client.send(Duration::from_millis(300), "b").unwrap();
    supervisor.signal(Signal::SIGTERM);
    supervisor.wait_status("it drains", |status| status["generations"][0]["phase"] == "draining");
    assert_eq!(client.receive("b").unwrap().generation, 1);
    drop(client);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
}

fn what_connects_while_a_child_dies_is_served_by_the_next() {
    let supervisor = setup().with("--respawn-delay 10ms..1s").start();
    let address = supervisor.address();
    for _ in 0..5 {
        // Its port refuses, and that becomes known together with its end.
        let child = supervisor.serving_pid();
        supervisor.signal(Signal::SIGSTOP);
        process::send(child, Signal::SIGKILL);
        eventually("it is dead", || !process::alive(child));
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(address).unwrap()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(Duration::ZERO, &number.to_string()).unwrap();
        }
        supervisor.signal(Signal::SIGCONT);
        for (number, client) in clients.iter_mut().enumerate() {
            client.receive(&number.to_string()).unwrap_or_else(|failure| panic!("client {number}: {failure:?}"));
        }
        supervisor.wait_settled();
    }
}

fn what_connects_before_it_serves_waits() {
    let supervisor = setup().role("binds_late 400").with("--respawn-delay 10ms..1s").start();
    process::send(supervisor.serving_pid(), Signal::SIGKILL);
    supervisor.wait_status("the next one starts", |status| status["generations"][0]["phase"] == "starting");
    let mut client = Client::connect(supervisor.address()).unwrap();
    client.send(Duration::ZERO, "a").unwrap();
    supervisor.wait_status("it is held", |status| status["listeners"][0]["held"] == 1);
    assert_eq!(client.receive("a").unwrap().generation, 2);
}

fn one_that_binds_nothing_never_serves() {
    let ran = setup().role("silent_alive").with("--ready-timeout 400ms").run().expect(1);
    assert!(
        ran.err.contains("generation 1 was not ready within 400ms") && ran.err.contains("127.0.0.1:"),
        "{}",
        ran.err
    );
    let supervisor = setup().with("--ready-timeout 400ms").start();
    supervisor.scene.role("silent_alive");
    supervisor.reload().expect(1);
    assert_eq!(ask(supervisor.address()).generation, 1);
}

fn one_that_binds_late_is_waited_for() {
    let supervisor = setup().start();
    supervisor.scene.role("binds_late 700");
    let load = Load::on(supervisor.address());
    supervisor.reload().expect(0);
    load.finish().expect_nothing_noticed();
    assert_eq!(ask(supervisor.address()).generation, 2);
}

fn several_listeners_lead_to_one_child() {
    let supervisor = setup().listen(&["127.0.0.1:0", "other=127.0.0.1:0"]).start();
    let answers: Vec<_> = supervisor.addresses().into_iter().map(|address| ask(address).pid).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], answers[1]);
}

/// What a child hears before its client's own words.
fn introduction(version: &str) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let setup = Setup::alone().with("--pass relay --proxy-protocol").with(version).role("repeats");
    let supervisor = setup.start();
    let mut stream = TcpStream::connect(supervisor.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (from, to) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    stream.write_all(b"0 hello\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let digits = line.trim_end().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    (digits.chunks(2).map(byte).collect(), from, to)
}

fn the_child_is_told_who_the_client_is() {
    let (heard, from, to) = introduction("v1");
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n0 hello\n", from.port(), to.port());
    assert_eq!(String::from_utf8_lossy(&heard), expected);
    let (heard, from, to) = introduction("v2");
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    expected.extend_from_slice(&from.port().to_be_bytes());
    expected.extend_from_slice(&to.port().to_be_bytes());
    expected.extend_from_slice(b"0 hello\n");
    assert_eq!(heard, expected);
}

fn one_that_wants_to_be_told_is_told_by_a_probe_too() {
    for (version, expected) in [("v1", "PROXY UNKNOWN\r\nGET /x "), ("v2", "\r\n\r\n\0\r\nQUIT\n")] {
        let setup = Setup::alone().with("--pass relay --ready http:/x --ready-timeout 20s --proxy-protocol");
        let heard = setup.scene().path("heard");
        let _supervisor = setup.with(version).role(&format!("records {}", heard.display())).start();
        let heard = std::fs::read(heard).unwrap();
        assert!(heard.starts_with(expected.as_bytes()), "{version}: {:?}", String::from_utf8_lossy(&heard));
    }
}

/// Endpoints are text, and that of a socket has its path in it.
fn a_run_directory_that_is_no_text_is_refused_for_sockets_alone() {
    use std::os::unix::ffi::OsStrExt;
    let scene = crate::harness::Scene::new();
    let directory = scene.path("run").join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let run = |word: &str| {
        let mut command = std::process::Command::new(crate::harness::scene::binary());
        scene.mark(&mut command).arg("--run-dir").arg(&directory);
        command.args(["-f", "--name", "it", "--pass", "relay", "0", "--"]).args(self::command(&[word]));
        crate::harness::ran::Running::start(&mut command)
    };
    let ran = run("{socket}").finish(PATIENCE).expect(1).complains();
    ran.says("is not UTF-8").says("{socket}").says("it.child");
    // A port needs no path.
    let serves = run("{port}");
    eventually("it serves", || {
        let mut command = std::process::Command::new(crate::harness::scene::binary());
        scene.mark(&mut command).arg("--run-dir").arg(&directory).args(["status", "it"]);
        crate::harness::ran::Running::start(&mut command).finish(PATIENCE).out.contains("serving")
    });
    process::send(serves.pid(), Signal::SIGTERM);
    serves.finish(PATIENCE).expect(0);
}

fn wrong_use_is_told() {
    let refused = |setup: Setup, words: &str| {
        let ran = setup.run().expect(2);
        assert!(ran.err.contains(words), "{}", ran.err);
    };
    refused(setup().command(&command(&["{port}", "{socket}"])), "names both {port} and {socket}");
    refused(setup().listen(&["udp:0"]), "receives datagrams");
    refused(Setup::alone().with("--proxy-protocol v1"), "--proxy-protocol needs --pass relay");
    refused(setup().with("--proxy-protocol v3"), "v1, v2");
    let supervisor = setup().start();
    let ran = supervisor.scene.cli(&["reload", supervisor.name(), "--", "a", "{port}", "{socket}"]).expect(1);
    assert!(ran.err.contains("names both {port} and {socket}"), "{}", ran.err);
    ask(supervisor.address());
}

fn a_child_that_gives_back_is_no_harm() {
    let supervisor = setup().role("binds_and_gives_back").start();
    // The probe was the first.
    let mut given = Client::connect(supervisor.address()).unwrap();
    supervisor.scene.role("binds");
    assert!(given.ask(Duration::ZERO, "a").is_ok());
    let status = supervisor.status();
    assert_eq!(status["counters"]["given_back"], 1, "{status}");
    assert_eq!(status["listeners"][0]["held"], 0, "{status}");
    supervisor.reload().expect(0);
    assert_eq!(ask(supervisor.address()).generation, 2);
}

fn http(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn pythons_server_reloads() {
    let setup = Setup::alone().with("--pass relay --ready http:/page");
    setup.scene().write("page", "the page\n");
    let cwd = setup.scene().path("");
    let words = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"];
    let supervisor = setup.cwd(cwd).command(&words).start();
    let address = supervisor.address();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut pages = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        assert!(http(address).ends_with("\r\n\r\nthe page\n"));
                        pages += 1;
                    }
                    pages
                })
            })
            .collect();
        for _ in 0..5 {
            supervisor.reload().expect(0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum::<u32>() > 10);
    });
    supervisor.wait_settled();
}

/// Says something to Redis and hears one line.
fn redis(stream: &mut BufReader<TcpStream>, words: &str) -> String {
    stream.get_mut().write_all(format!("{words}\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

fn to_redis(supervisor: &Supervisor) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(supervisor.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn redis_reloads() {
    let words = ["redis-server", "--port", "{port}", "--save", "", "--bind", "127.0.0.1"];
    let supervisor = Setup::alone().with("--pass relay").command(&words).start();
    let mut old = to_redis(&supervisor);
    assert_eq!(redis(&mut old, "SET a 1"), "+OK\r\n");
    for generation in 2..5 {
        supervisor.reload().expect(0);
        let mut new = to_redis(&supervisor);
        assert_eq!(redis(&mut new, "GET a"), "$-1\r\n", "generation {generation} has what the first was told");
    }
    assert_eq!(redis(&mut old, "INCR a"), ":2\r\n", "the connection stays where it was");
    drop(old);
    supervisor.wait_settled();
}
