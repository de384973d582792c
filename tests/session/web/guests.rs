//! The gateway behind a real nginx, and the example with a real telnetd.

use super::http::{Client, Events};
use super::socket::Socket;
use super::stage::{Daemon, Destination, Session, Stage, pattern, read};
use crate::harness::guest::guests;
use crate::harness::process::{census, children, send};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, Scene, eventually, until};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const TELNETD: &str = "test -x /usr/sbin/telnetd && command -v python3 && [ \"$(id -u)\" = 0 ]";

guests![
    "command -v nginx" => all_ways_lead_through_nginx,
    "command -v nginx" => all_ways_lead_through_nginx_by_tls,
    "command -v curl" => tls_is_spoken_on_both_sides,
    TELNETD => the_example_with_telnetd_runs,
];

pub(super) fn trials() -> Vec<Trial> {
    GUESTS.iter().map(|guest| guest.trial("session::web::guests")).collect()
}

/// A program that is ended with the trial.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        send(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        self.0.wait().unwrap();
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], crate::harness::free_port()))
}

fn wait_listening(address: SocketAddr) {
    until("somebody listens", PATIENCE, || TcpStream::connect(address).map(drop).map_err(|error| error.to_string()));
}

/// nginx with the configuration that we deliver, but for the names of files and addresses; without TLS where there is no
/// certificate with its key.
fn nginx(scene: &Arc<Scene>, at: SocketAddr, gateway: SocketAddr, tls: Option<[&Path; 2]>) -> Program {
    let folder = scene.path("nginx");
    std::fs::create_dir(&folder).unwrap();
    let site = include_str!("../../../packaging/nginx/session-web.conf");
    let names = ["/etc/ssl/certs/term.example.com.pem", "/etc/ssl/private/term.example.com.key"];
    for part in ["listen 443 ssl;", "server 127.0.0.1:8080;", "server_name term.example.com;"].into_iter().chain(names)
    {
        assert!(site.contains(part), "{part}");
    }
    let site = match tls {
        Some(files) => {
            let site = site.replace("listen 443 ssl;", &format!("listen {at} ssl;"));
            names.iter().zip(files).fold(site, |site, (name, file)| site.replace(name, &file.display().to_string()))
        }
        None => {
            let lines = site.lines().filter(|line| !line.trim_start().starts_with("ssl_"));
            lines.collect::<Vec<_>>().join("\n").replace("listen 443 ssl;", &format!("listen {at};"))
        }
    };
    let site = site.replace("server 127.0.0.1:8080;", &format!("server {gateway};"));
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.map(|name| format!("{name}_temp_path {0}/{name};\n", folder.display())).concat();
    let text = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}\n{site}\n}}\n",
        folder.display()
    );
    let file = scene.write("nginx.conf", &text);
    let log = File::create(scene.path("nginx.log")).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(file);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let program = Program(scene.mark(&mut command).spawn().unwrap());
    wait_listening(at);
    program
}

fn all_ways_lead_through_nginx() {
    let at = free_address();
    let mut stage = Stage::with(&[], &[&format!("--allow-host={at}")]);
    let gateway = stage.address;
    let _nginx = nginx(&stage.scene, at, gateway, None);
    stage.address = at;
    ways_lead_to(&mut stage, gateway, "http");
}

/// A forwarder of ours speaks TLS for the trial.
fn all_ways_lead_through_nginx_by_tls() {
    let [at, front] = [free_address(), free_address()];
    let mut stage = Stage::with(&[], &[&format!("--allow-host={front}")]);
    let (gateway, scene) = (stage.address, Arc::clone(&stage.scene));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::create_dir(scene.path("trust")).unwrap();
    let certificate = scene.write("trust/ca.pem", &made.cert.pem());
    let key = scene.write("key.pem", &made.signing_key.serialize_pem());
    let _nginx = nginx(&scene, at, gateway, Some([&certificate, &key]));
    let to = format!("tls:localhost:{}:trustRoots={}", at.port(), scene.path("trust").display());
    let mut forward = Command::new(crate::harness::scene::binary());
    forward.args(["forward", "-d"]).arg(scene.path("forward")).args(["start", "-f"]);
    forward.arg(format!("tcp:{}:interface=127.0.0.1", front.port())).arg(to);
    forward.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(scene.path("forward.log")).unwrap());
    let _forward = Program(scene.mark(&mut forward).spawn().unwrap());
    wait_listening(front);
    stage.address = front;
    ways_lead_to(&mut stage, gateway, "https");
    // Its cookie is for encrypted connections alone, and so is what counts of the plain page's.
    let start = stage.ask("GET", "/plain", &[], b"");
    let set = start.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-plain=") && set.ends_with("; Secure"), "{set}");
}

/// Polls, events, a WebSocket and a page's session, by what is in front of the gateway; and another gateway in the place of
/// that one.
fn ways_lead_to(stage: &mut Stage, gateway: SocketAddr, scheme: &str) {
    let at = stage.address;
    let (session, mut destination) = stage.open();
    // A poll that waits is answered when something comes, and what was sent by a stream comes while it is open.
    let mut poll = stage.client();
    poll.send("GET", &session.path("/output?from=0&wait=50"), &[session.header()], b"");
    until("it reads", PATIENCE, || {
        let status = stage.web().status();
        if status["readers"] == 1 { Ok(()) } else { Err(status.to_string()) }
    });
    destination.write_all(&pattern(0, 1000)).unwrap();
    assert_eq!(poll.answer().expect_output(0), pattern(0, 1000));
    let headers = [session.header(), ("Last-Event-ID", "1000")];
    let mut events = Events::follow(stage.client(), &session.path("/events"), &headers).unwrap();
    destination.write_all(&pattern(1000, 1000)).unwrap();
    assert_eq!(events.output(2000), pattern(1000, 1000));
    let mut socket = Socket::open(stage, &session, &[]).unwrap();
    socket.resume(&session, 2000);
    assert_eq!(events.next().unwrap().name, "taken_over");
    destination.write_all(&pattern(2000, 300_000)).unwrap();
    assert!(socket.output(2000, 302_000) == pattern(2000, 300_000));
    assert_eq!(stage.input(&session, 0, b"abc").status, 200);
    assert_eq!(read(&mut destination, 3), b"abc");
    // The page that is reached by the name of nginx is a page of ours.
    let origin = format!("{scheme}://{at}");
    let made = stage.ask("POST", "/v1/sessions", &[("Content-Type", "application/json"), ("Origin", &origin)], b"{}");
    let secure = made.header("set-cookie").map(|cookie| cookie.contains("; Secure"));
    assert_eq!((made.status, secure), (201, Some(scheme == "https")), "{made:?}");
    // Another gateway in the place of the one that is killed.
    stage.gateway.take().unwrap().end(Signal::SIGKILL);
    stage.address = gateway;
    stage.start_gateway(&[&format!("--allow-host={at}")]);
    stage.address = at;
    destination.write_all(&pattern(302_000, 1000)).unwrap();
    let rest = until("nginx has found it again", PATIENCE, || {
        let answer = stage.get(&session, "/output?from=302000&wait=20");
        if answer.status == 200 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!(rest, pattern(302_000, 1000));
}

fn tls_is_spoken_on_both_sides() {
    let scene = Scene::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::create_dir(scene.path("trust")).unwrap();
    let certificate = scene.write("trust/ca.pem", &made.cert.pem());
    let key = scene.write("key.pem", &made.signing_key.serialize_pem());
    let files = format!("privateKey={}:certKey={}", key.display(), certificate.display());
    let (sessions, web) = (free_address(), free_address());
    let destination = Destination::new();
    let proxy = format!("--proxy=ssl:{}:{files}:interface=127.0.0.1", sessions.port());
    let to = destination.address.to_string();
    let server = Daemon::start(&scene, "server", &["session", "server", &proxy, &to]);
    server.status();
    let proxy = format!("--proxy=tls:localhost:{}:trustRoots={}", sessions.port(), scene.path("trust").display());
    let listen = format!("--listen=ssl:{}:{files}:interface=127.0.0.1", web.port());
    let gateway = Daemon::start(&scene, "web", &["session", "web", &proxy, &listen]);
    gateway.status();
    let origin = format!("https://localhost:{}", web.port());
    let curl = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--cacert"]).arg(&certificate);
        command.args(["--resolve", &format!("localhost:{}:127.0.0.1", web.port())]);
        Running::start(command.args(arguments).arg(format!("{origin}{path}"))).finish(PATIENCE).expect(0).out
    };
    assert!(curl(&[], "/healthz").starts_with("HTTP/1.1 200"));
    let json = ["--header", "Content-Type: application/json", "--data", "{}"];
    let page = curl(&[&json[..], &["--header", &format!("Origin: {origin}")]].concat(), "/v1/sessions");
    assert!(page.starts_with("HTTP/1.1 201"), "{page}");
    let cookie = page.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:")).unwrap();
    assert!(cookie.contains(" __Host-session-") && cookie.contains("; Secure"), "{cookie}");
    destination.accept();
    // Who speaks no TLS is let go, and disturbs nobody.
    let mut clear = Client::connect(web);
    clear.say(b"GET /healthz HTTP/1.1\r\n\r\n");
    let mut rest = Vec::new();
    let _ = clear.stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    assert!(curl(&[], "/healthz").starts_with("HTTP/1.1 200"));
}

fn ignores(pid: Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    u64::from_str_radix(mask, 16).unwrap() & 1 << (signal as i32 - 1) != 0
}

fn the_example_with_telnetd_runs() {
    let scene = Scene::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/http-to-telnet/run");
    let [telnet, sessions, web] = [free_address(), free_address(), free_address()];
    let log = File::create(scene.path("example.log")).unwrap();
    let mut command = Command::new(script);
    scene.mark(&mut command);
    command.env("SOCKET_PROTECTOR", crate::harness::scene::binary());
    for (name, address) in [("TELNET_PORT", telnet), ("SESSION_PORT", sessions), ("WEB_PORT", web)] {
        command.env(name, address.port().to_string());
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let program = Program(command.spawn().unwrap());
    wait_listening(sessions);
    wait_listening(telnet);
    until("the gateway serves", PATIENCE, || {
        let status = scene.cli(&["status", "gateway", "--json"]);
        if status.out.contains("\"serving\"") { Ok(()) } else { Err(status.out + &status.err) }
    });
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        Client::connect(web).ask(method, path, headers, body)
    };
    let said = ask("POST", "/v1/sessions", &[("Content-Type", "application/json")], b"{}").json();
    let session = Session {
        id: said["id"].as_str().unwrap().to_owned(),
        bearer: format!("Bearer {}", said["secret"].as_str().unwrap()),
    };
    let shown = |what: &str| {
        until(&format!("the terminal shows {what}"), PATIENCE, || {
            let text = ask("GET", &session.path("/output?from=oldest&wait=1"), &[session.header()], b"").body;
            let text = String::from_utf8_lossy(&text).into_owned();
            if text.contains(what) { Ok(()) } else { Err(text) }
        });
    };
    shown("login:");
    let named = |pid: &Pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("inetd.py"))
    };
    let inetd = children(Pid::from_raw(program.0.id().cast_signed())).into_iter().find(named).unwrap();
    let daemon = children(inetd)[0];
    assert!(!ignores(daemon, Signal::SIGCHLD), "it would not hear of the end of what it starts");
    scene.cli(&["reload", "gateway"]).expect(0);
    let headers = [session.header(), ("Content-Type", "application/octet-stream"), ("Stream-Offset", "0")];
    assert_eq!(ask("POST", &session.path("/input"), &headers, b"nobody-here\r\n").status, 200);
    shown("Password:");
    assert_eq!(ask("DELETE", &session.path(""), &[session.header()], b"").status, 204);
    eventually("nothing is left of it, and nothing dead either", || census(inetd).children == 0);
    drop(program);
}
