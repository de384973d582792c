//! `--ready tcp` and `--ready http:PATH`: a generation may serve once it passes our probe.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::load::Load;
use crate::harness::process::{Exit, processor_time};
use crate::harness::{Ran, Setup, Supervisor, eventually, trials, trials_of_root, trials_with};

use super::limits::of_user;

trials![
    a_child_that_accepts_is_ready_by_tcp,
    a_child_that_answers_well_is_ready_by_http,
    a_child_that_listens_late_is_waited_for,
    one_that_is_not_well_yet_is_asked_again,
    one_that_never_gets_well_is_rolled_back_under_load,
    the_old_one_is_never_mistaken_for_the_new_one,
    an_old_one_that_blocks_in_accept_does_not_get_all,
    reloads_by_probe_lose_no_client,
    a_first_child_that_takes_nothing_ends_us_with_the_reason,
    a_child_that_reads_no_channel_ends_us_with_the_reason,
    odd_answers_are_told_and_hold_nobody_up,
    a_slow_answer_is_an_answer,
    one_that_closes_at_once_is_ready_where_nobody_else_accepts,
    one_that_closes_at_once_is_not_mistaken_either,
    a_crash_is_answered_by_one_that_passes_its_probe,
    one_starts_in_place_of_the_old_one_by_its_probe,
    a_word_on_the_channel_does_not_stand_for_the_probe,
    unix_listeners_are_probed_in_both_ways,
    all_addresses_are_probed_by_loopback,
    the_first_listener_for_connections_is_probed,
    a_worker_of_the_child_may_answer,
    one_with_very_many_descriptors_is_looked_through_in_pieces,
    the_probe_is_nobodys_connection,
    an_unread_probe_goes_to_nobody_else,
    a_probe_that_is_given_back_goes_to_nobody_else,
    a_program_of_the_original_librarys_is_probed_too,
    fifty_probes_leave_nothing_behind,
    wrong_use_is_refused,
];

trials_of_root![what_cannot_be_seen_is_told];
trials_with!["python3 -V" => a_server_of_pythons_is_ready_by_http];

/// Those that need another user or program, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_of_root(), trials_with()].into_iter().flatten().collect()
}

const WAYS: [&str; 2] = ["listener", "connections"];

fn setup(pass: &str, ready: &str) -> Setup {
    Setup::alone().with("--pass").with(pass).with("--ready").with(ready).role("probed 0 200 0")
}

fn log(supervisor: &Supervisor) -> String {
    supervisor.scene.read("stderr")
}

/// A reload that fails because the new one is not ready in time, after so long.
#[track_caller]
fn is_not_ready(supervisor: &Supervisor, why: &str) -> Ran {
    let serving = supervisor.serving_pid();
    let ran = supervisor.reload().expect(1).complains().says("was not ready within").says(why);
    assert_eq!(supervisor.serving_pid(), serving, "the old one serves on");
    ran
}

fn a_child_that_accepts_is_ready_by_tcp() {
    for pass in WAYS {
        let supervisor = setup(pass, "tcp").start();
        for generation in 2..5 {
            supervisor.reload().expect(0);
            assert_eq!(supervisor.generation(), generation);
        }
        supervisor.wait_settled();
        assert_eq!(ask(supervisor.address()).generation, 4);
    }
}

fn a_child_that_answers_well_is_ready_by_http() {
    for (pass, status) in WAYS.into_iter().flat_map(|pass| [(pass, "200"), (pass, "204"), (pass, "302")]) {
        let supervisor = setup(pass, "http:/healthz?deep=1").role(&format!("probed 0 {status} 3600000")).start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(ask(supervisor.address()).generation, 2);
        let asked = log(&supervisor).matches("asked: GET /healthz?deep=1 HTTP/1.1").count();
        assert_eq!(asked, 2, "once for each generation: {}", log(&supervisor));
    }
}

fn a_child_that_listens_late_is_waited_for() {
    for (pass, ready) in WAYS.into_iter().flat_map(|pass| [(pass, "tcp"), (pass, "http:/")]) {
        let supervisor = setup(pass, ready).role("probed 900 200 0").start();
        let old = supervisor.serving_pid().as_raw();
        let load = Load::on(supervisor.address());
        let mut reload = supervisor.begin_reload();
        let mut served = 0;
        while reload.runs() {
            served += usize::from(ask(supervisor.address()).pid == old);
        }
        let ran = reload.finish(Duration::from_secs(20)).expect(0);
        assert!(ran.took >= Duration::from_millis(900), "{ran:?}");
        assert!(served > 0, "the old one serves on meanwhile");
        load.finish().expect_nothing_noticed();
    }
}

fn one_that_is_not_well_yet_is_asked_again() {
    for pass in WAYS {
        let supervisor = setup(pass, "http:/healthz").start();
        supervisor.scene.role("probed 0 503 700");
        let ran = supervisor.reload().expect(0);
        assert!(ran.took >= Duration::from_millis(700), "{ran:?}");
        assert_eq!(ask(supervisor.address()).generation, 2);
        let asked = log(&supervisor).matches("asked: ").count();
        assert!((3..12).contains(&asked), "asked {asked} times, ever more seldom");
    }
}

fn one_that_never_gets_well_is_rolled_back_under_load() {
    // With shared listeners whoever accepts has clients, and takes them along when it is killed: here it accepts none.
    for (pass, role, why) in [
        ("connections", "probed 0 503 3600000", "the probe of /healthz was answered 503"),
        ("listener", "probed 3600000 200 0", "the probe of /healthz was accepted by generation 1"),
    ] {
        let supervisor = setup(pass, "http:/healthz").with("--ready-timeout 2500ms").start();
        let load = Load::on(supervisor.address());
        supervisor.scene.role(role);
        let ran = is_not_ready(&supervisor, why);
        assert!(ran.took >= Duration::from_millis(2500), "{ran:?}");
        load.finish().expect_nothing_noticed();
        supervisor.wait_settled();
        let reason = supervisor.status()["last_reload"]["reason"].as_str().unwrap().to_owned();
        assert_eq!(reason, format!("generation 2 was not ready within 2500ms: {why}"));
    }
}

fn the_old_one_is_never_mistaken_for_the_new_one() {
    for (pass, ready) in WAYS.into_iter().flat_map(|pass| [(pass, "tcp"), (pass, "http:/")]) {
        let supervisor = setup(pass, ready).role("probed_deaf").with("--ready-timeout 3s").start();
        let why = if pass == "listener" { "was accepted by generation 1" } else { "was not read from the channel" };
        is_not_ready(&supervisor, why);
        assert_eq!(ask(supervisor.address()).generation, 1);
    }
}

fn an_old_one_that_blocks_in_accept_does_not_get_all() {
    let supervisor = setup("listener", "tcp").role("listener_plain").start();
    for _ in 0..3 {
        supervisor.reload().expect(0);
    }
    supervisor.wait_settled();
    assert_eq!(ask(supervisor.address()).generation, 4);
}

fn reloads_by_probe_lose_no_client() {
    for (pass, ready) in WAYS.into_iter().flat_map(|pass| [(pass, "tcp"), (pass, "http:/healthz")]) {
        let supervisor = setup(pass, ready).start();
        let load = Load::on(supervisor.address());
        for _ in 0..4 {
            supervisor.reload().expect(0);
        }
        load.finish().expect_nothing_noticed();
        supervisor.wait_settled();
    }
}

fn a_first_child_that_takes_nothing_ends_us_with_the_reason() {
    let never = |ready: &str| setup("listener", ready).role("never_ready").with("--ready-timeout 1s").run();
    never("tcp").expect(1).complains().says("was accepted by nobody");
    let ran = never("http:/healthz").expect(1).complains();
    ran.says("generation 1 was not ready within 1s: the probe of /healthz was accepted by nobody");
    let dies = setup("listener", "tcp").role("crash_before_ready 50 3").run().expect(1).complains();
    dies.says("exited with status 3 before it was ready");
    for pass in WAYS {
        let ran = setup(pass, "http:/healthz").role("probed 0 503 3600000").with("--ready-timeout 1s").run();
        ran.expect(1).complains().says("the probe of /healthz was answered 503");
    }
}

fn a_child_that_reads_no_channel_ends_us_with_the_reason() {
    for ready in ["tcp", "http:/"] {
        let ran = setup("connections", ready).role("silent_alive").with("--ready-timeout 500ms").run();
        ran.expect(1).complains().says("was not read from the channel");
    }
}

const ODD: [(&str, &str); 6] = [
    ("garbage", "was answered with what is no HTTP/1"),
    ("closes", "was closed without an answer"),
    ("silent", "was not answered"),
    ("endless", "was answered with a head that has no end"),
    ("endless_body", "was answered 503"),
    ("404", "was answered 404"),
];

fn odd_answers_are_told_and_hold_nobody_up() {
    let mut supervisor = setup("connections", "http:/healthz").with("--ready-timeout 1500ms").start();
    for (what, why) in ODD {
        supervisor.scene.role(&format!("probed 0 {what} 3600000"));
        let before = processor_time(supervisor.pid());
        let mut reload = supervisor.begin_reload();
        while reload.runs() {
            assert_eq!(ask(supervisor.address()).generation, 1, "{what}");
        }
        reload.finish(Duration::from_secs(20)).expect(1).complains().says("was not ready within").says(why);
        let used = processor_time(supervisor.pid()) - before;
        assert!(used < Duration::from_secs(1), "{what}: {used:?} of work for one failed start");
    }
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    for (what, why) in ODD {
        let first = setup("listener", "http:/healthz").role(&format!("probed 0 {what} 3600000"));
        first.with("--ready-timeout 700ms").run().expect(1).complains().says(why);
    }
}

/// What a child says that closes at once.
fn greeting(supervisor: &Supervisor) -> String {
    let mut word = String::new();
    TcpStream::connect(supervisor.address()).unwrap().read_to_string(&mut word).unwrap();
    word
}

fn one_that_closes_at_once_is_ready_where_nobody_else_accepts() {
    for pass in WAYS {
        let setup = setup(pass, "tcp").role("probed_greets").env("ALL_GREET", "1").with("--stop-first");
        let supervisor = setup.start();
        assert_eq!(greeting(&supervisor), "1\n");
        supervisor.reload().expect(0);
        assert_eq!(greeting(&supervisor), "2\n");
        crate::harness::process::send(supervisor.serving_pid(), Signal::SIGKILL);
        supervisor.wait_status("the next one serves", |status| {
            let generations = status["generations"].as_array().unwrap();
            generations.iter().any(|one| one["number"] == 3 && one["phase"] == "serving")
        });
    }
}

fn one_that_closes_at_once_is_not_mistaken_either() {
    let supervisor = setup("listener", "tcp").role("probed_greets").with("--ready-timeout 2s").start();
    let ran = is_not_ready(&supervisor, "the probe of 127.0.0.1:");
    let right = ["was accepted by generation 1", "was closed before it could be seen"];
    assert!(right.iter().any(|right| ran.err.contains(right)), "{ran:?}");
    assert_eq!(greeting(&supervisor), "1\n");
}

fn a_crash_is_answered_by_one_that_passes_its_probe() {
    for pass in WAYS {
        let supervisor = setup(pass, "http:/healthz").start();
        crate::harness::process::send(supervisor.serving_pid(), Signal::SIGKILL);
        assert_eq!(ask(supervisor.address()).generation, 2);
        supervisor.wait_settled();
        assert_eq!(log(&supervisor).matches("has passed its probe").count(), 2);
    }
}

fn one_starts_in_place_of_the_old_one_by_its_probe() {
    for pass in WAYS {
        let supervisor = setup(pass, "http:/healthz").with("--stop-first").start();
        let load = Load::on(supervisor.address());
        supervisor.reload().expect(0);
        load.finish().expect_nothing_noticed();
    }
}

/// Only where sockets are shared it has to be seen who accepts.
fn what_cannot_be_seen_is_told() {
    let setup = |pass: &str| of_user(61_236, "umask 022").with("--pass").with(pass).role("probed_opaque");
    let blind = setup("listener").with("--ready tcp --ready-timeout 1s").run();
    let blind = blind.expect(1).complains().says("could not be followed: the descriptors of process");
    blind.says("cannot be read: permission denied");
    let supervisor = setup("connections").with("--ready tcp").start();
    supervisor.reload().expect(0);
}

fn a_slow_answer_is_an_answer() {
    for pass in WAYS {
        let supervisor = setup(pass, "http:/").role("probed 0 slow 3600000").start();
        supervisor.reload().expect(0);
        assert_eq!(ask(supervisor.address()).generation, 2);
    }
}

fn a_word_on_the_channel_does_not_stand_for_the_probe() {
    for pass in WAYS {
        let supervisor = setup(pass, "http:/").with("--ready-timeout 700ms").start();
        // It says ready at once, and speaks no HTTP.
        supervisor.scene.role("echo");
        is_not_ready(&supervisor, "the probe of /");
    }
}

/// The generation that answers at a unix socket.
fn ask_unix(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"0 hello\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').next().unwrap().to_owned()
}

fn unix_listeners_are_probed_in_both_ways() {
    for (pass, ready) in WAYS.into_iter().flat_map(|pass| [(pass, "tcp"), (pass, "http:/")]) {
        let setup = setup(pass, ready).with("--ready-timeout 3s");
        let path = setup.scene().path("s");
        let supervisor = setup.listen(&[&format!("unix:{}", path.display())]).start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(ask_unix(&path), "2");
        supervisor.scene.role("probed 3600000 200 0");
        let why = if pass == "listener" { "was accepted by generation 2" } else { "was not read from the channel" };
        is_not_ready(&supervisor, why);
        assert_eq!(ask_unix(&path), "2");
    }
    let name = format!("@ready-by-probe-{}", std::process::id());
    let supervisor = setup("listener", "http:/").listen(&[&name]).start();
    supervisor.reload().expect(0);
}

fn all_addresses_are_probed_by_loopback() {
    for listen in ["0", "0.0.0.0:0", "tcp6:0", "[::1]:0"] {
        for pass in WAYS {
            let supervisor = setup(pass, "http:/").listen(&[listen]).start();
            supervisor.reload().expect(0);
            assert_eq!(supervisor.generation(), 2, "{listen}");
        }
    }
}

fn the_first_listener_for_connections_is_probed() {
    let setup = setup("listener", "http:/").listen(&["udp:0:interface=127.0.0.1", "127.0.0.1:0"]);
    let supervisor = setup.role("probed_second").start();
    supervisor.reload().expect(0);
    assert_eq!(ask(supervisor.addresses()[1]).generation, 2);
}

fn a_worker_of_the_child_may_answer() {
    let roles = ["probed_by_worker", "probed_by_orphan"];
    for (pass, role) in WAYS.into_iter().flat_map(|pass| roles.map(|role| (pass, role))) {
        let supervisor = setup(pass, "http:/").role(role).start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(ask(supervisor.address()).generation, 2);
    }
}

/// Clients and requests have their turn between two pieces.
fn one_with_very_many_descriptors_is_looked_through_in_pieces() {
    let setup = setup("listener", "http:/").role("probed_with_many 15000").env("RUST_LOG", "debug");
    let supervisor = setup.start();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(ask(supervisor.address()).generation, 2);
    let log = log(&supervisor);
    for number in [1, 2] {
        assert!(log.contains(&format!("probe of generation {number}: Seen(NotYet)")), "{log}");
        let opened = log.matches(&format!("probe of generation {number}: Opened")).count();
        assert_eq!(log.matches(&format!("probe of generation {number}: Answered(200)")).count(), 1);
        assert!(opened < 20, "one is not given up because it has many: {opened} tries");
    }
}

fn counters(supervisor: &Supervisor) -> Value {
    supervisor.status()["counters"].clone()
}

fn the_probe_is_nobodys_connection() {
    let supervisor = setup("connections", "http:/").start();
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    let status = supervisor.status();
    for counter in ["accepted", "passed", "reclaimed", "given_back"] {
        assert_eq!(status["counters"][counter], 0, "{status}");
    }
    assert_eq!(status["listeners"][0]["accepted"], 0);
    assert_eq!(status["generations"][0]["workers"][0]["connections_passed"], 0);
    ask(supervisor.address());
    assert_eq!(counters(&supervisor)["passed"], 1);
}

fn an_unread_probe_goes_to_nobody_else() {
    let supervisor = setup("connections", "tcp").with("--ready-timeout 500ms").start();
    supervisor.scene.role("stops_reading");
    is_not_ready(&supervisor, "was not read from the channel");
    supervisor.wait_settled();
    supervisor.scene.role("probed 0 200 0");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(ask(supervisor.address()).place, 2, "the first was its own probe, the second is this");
    assert_eq!(counters(&supervisor)["reclaimed"], 0);
}

fn a_probe_that_is_given_back_goes_to_nobody_else() {
    let supervisor = setup("connections", "tcp").role("gives_first 1").start();
    supervisor.scene.role("probed 0 200 0");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(ask(supervisor.address()).place, 2, "the first was its own probe, the second is this");
    assert_eq!(counters(&supervisor)["given_back"], 0);
}

fn a_program_of_the_original_librarys_is_probed_too() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (role, ready_timeout) in [("original", "20s"), ("original_hidden", "20s")] {
        let late = if role == "original" { " 300" } else { "" };
        let supervisor = setup("connections", "tcp").role(&format!("{role} {port}{late}"));
        let supervisor = supervisor.with("--ready-timeout").with(ready_timeout);
        let supervisor = supervisor.listen(&[&format!("127.0.0.1:{port}")]).start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        assert_eq!(ask(supervisor.address()).place, 2);
        assert_eq!(counters(&supervisor)["reclaimed"], 0);
        assert!(!log(&supervisor).contains("took up to"), "{}", log(&supervisor));
    }
}

fn fifty_probes_leave_nothing_behind() {
    for pass in WAYS {
        let supervisor = setup(pass, "http:/").start();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        let before = supervisor.census();
        for reload in 0..24 {
            supervisor.scene.role(if reload % 4 == 0 { "probed 0 503 100" } else { "probed 0 200 0" });
            supervisor.reload().expect(0);
        }
        supervisor.wait_settled();
        eventually("as many descriptors and children as before", || supervisor.census() == before);
    }
}

const SERVER: &str = "
import http.server, os, signal, socket, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ['SOCKET_PROTECTOR_GENERATION'].encode()
        self.send_response(200 if self.path == '/healthz' else 404)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(('', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.server_name, server.server_port = 'test', 0
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server.serve_forever()
";

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn a_server_of_pythons_is_ready_by_http() {
    let setup = Setup::alone().with("--ready http:/healthz --ready-timeout 20s");
    let script = setup.scene().path("server.py");
    fs::write(&script, SERVER).unwrap();
    let supervisor = setup.command(&["python3", script.to_str().unwrap()]).start();
    assert!(get(supervisor.address(), "/healthz").ends_with("\r\n\r\n1"));
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert!(get(supervisor.address(), "/healthz").ends_with("\r\n\r\n2"));
    let text = log(&supervisor);
    assert!(text.contains("\"GET /healthz HTTP/1.1\" 200") && !text.contains("Traceback"), "{text}");
}

fn wrong_use_is_refused() {
    for (ready, what) in [
        ("http:", "begins with '/'"),
        ("http:healthz", "begins with '/'"),
        ("http://host/x y", "position 9"),
        ("http:/\u{e4}", "position 2"),
        ("http:/a\nb", "position 3"),
        ("http", "expected auto, channel, notify, fd, tcp, http:PATH or alive:TIME"),
        ("tcp:", "expected auto"),
        ("tcp:80", "expected auto"),
        ("https:/", "expected auto"),
    ] {
        let scene = crate::harness::Scene::new();
        let option = format!("--ready={ready}");
        scene.cli(&["-f", &option, "0", "--", "true"]).expect(2).says(what);
    }
    for ready in ["tcp", "http:/"] {
        let ran = setup("listener", ready).listen(&["udp:0:interface=127.0.0.1"]).run();
        let ran = ran.expect(2).complains().says("need a listener that takes connections");
        assert!(ran.err.contains("\nhint: "), "{}", ran.err);
    }
}
