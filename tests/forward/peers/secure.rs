//! TLS with OpenSSL's own programs and with curl, on either side.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::signal::Signal;

use super::{Guest, Program};
use crate::forward::place::{Backend, Client, Place, free_port, free_source};
use crate::forward::tls::{Files, certificate};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, Ran, until};

pub(super) const GUESTS: &[Guest] = &[
    Guest { name: "curl_fetches_through_tls", has: "command -v curl", body: curl_fetches_through_tls },
    Guest { name: "openssl_talks_and_agrees_on_a_protocol", has: HAS, body: openssl_talks_and_agrees_on_a_protocol },
    Guest { name: "openssl_shows_its_certificate_or_is_refused", has: HAS, body: openssl_shows_its_certificate },
    Guest { name: "a_server_of_openssl_is_reached_through_tls", has: HAS, body: a_server_of_openssl_is_reached },
    Guest { name: "a_rotation_in_pieces_is_not_noticed", has: "command -v curl", body: a_rotation_in_pieces },
];

const HAS: &str = "command -v openssl";

/// `openssl s_client` at this address, with someone who types.
struct Typist {
    child: Child,
    out: BufReader<ChildStdout>,
    seen: String,
}

impl Typist {
    fn connect(address: SocketAddr, roots: &Path, options: &[&str]) -> Typist {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address.to_string(), "-verify_return_error", "-CAfile"]);
        command.arg(roots).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Typist { child, out, seen: String::new() }
    }

    /// Types a line and reads until this one comes.
    #[track_caller]
    fn ask(&mut self, line: &str, answer: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let before = self.seen.len();
        while !self.seen[before..].lines().any(|line| line == answer) {
            assert_ne!(self.out.read_line(&mut self.seen).unwrap(), 0, "{answer:?} did not come: {}", self.seen);
        }
    }

    /// Types no more. Whether it left in peace, and all that it printed.
    fn end(mut self) -> (bool, String) {
        drop(self.child.stdin.take());
        self.out.read_to_string(&mut self.seen).unwrap();
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().success(), self.seen + &err)
    }
}

fn root(files: &Files) -> std::path::PathBuf {
    files.roots.join("root.pem")
}

/// A web server for whoever comes: one answer to each connection.
fn web() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp:{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut reader = BufReader::new(connection.unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";
            let _ = reader.get_mut().write_all(answer);
        }
    });
    endpoint
}

fn curl(address: SocketAddr, roots: &Path, options: &[&str]) -> Ran {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "20", "--cacert"]).arg(roots).args(options);
    Running::start(command.arg(format!("https://{address}/"))).finish(PATIENCE * 2)
}

fn curl_fetches_through_tls() {
    let place = Place::new();
    let (files, other) = (certificate(&place.scene, "one"), certificate(&place.scene, "other"));
    let (source, address) = free_source();
    place.start(&format!("{}:alpn=http/1.1", files.listen(&source)), &web());
    for version in [&["--tls-max", "1.2"][..], &["--tls-max", "1.3"], &["--http1.1"]] {
        // Where both h2 and http/1.1 are offered, what the listener has is taken.
        let ran = curl(address, &root(&files), &[version, &["-w", " %{http_version}"]].concat()).expect(0);
        assert_eq!(ran.out, "yes 1.1", "{version:?}");
    }
    // 60: the certificate is not believed.
    curl(address, &root(&other), &[]).expect(60);
}

fn openssl_talks_and_agrees_on_a_protocol() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let files = certificate(&place.scene, "one");
    let (source, address) = free_source();
    place.start(&format!("{}:alpn=h2,http/1.1", files.listen(&source)), &a.endpoint());
    for version in ["-tls1_2", "-tls1_3"] {
        let mut typist = Typist::connect(address, &root(&files), &[version, "-alpn", "http/1.1,h2"]);
        typist.ask("hello", "a hello");
        typist.ask("again", "a again");
        let (well, said) = typist.end();
        assert!(well && said.contains("ALPN protocol: h2") && said.contains("Verification: OK"), "{said}");
    }
    let (well, said) = Typist::connect(address, &root(&files), &["-alpn", "spdy/1"]).end();
    assert!(!well && said.contains("no application protocol"), "{said}");
    // The oldest versions are not spoken.
    let (well, said) = Typist::connect(address, &root(&files), &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).end();
    assert!(!well, "{said}");
    place.wait_list("all are gone", |list| list["rules"][0]["destinations"][0]["connections"] == 0);
}

fn openssl_shows_its_certificate() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (server, own) = (certificate(&place.scene, "server"), certificate(&place.scene, "own"));
    let (source, address) = free_source();
    place.start(&format!("{}:clientCAs={}", server.listen(&source), root(&own).display()), &a.endpoint());
    let shown = ["-cert", own.certificate.to_str().unwrap(), "-key", own.key.to_str().unwrap()];
    for version in ["-tls1_2", "-tls1_3"] {
        let mut typist = Typist::connect(address, &root(&server), &[&[version][..], &shown].concat());
        typist.ask("hello", "a hello");
        assert!(typist.end().0);
    }
    assert_eq!(a.accepted(), 2);
    // In TLS 1.3 the client is done before it hears that it was refused: it has to read.
    let (well, said) = Typist::connect(address, &root(&server), &["-tls1_2"]).end();
    assert!(!well && said.contains("alert"), "{said}");
    assert_eq!(a.accepted(), 2);
}

fn a_server_of_openssl_is_reached() {
    let place = Place::new();
    let (server, own) = (certificate(&place.scene, "server"), certificate(&place.scene, "own"));
    let port = free_port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-rev", "-alpn", "two,one"]);
    command.arg("-cert").arg(&server.certificate).arg("-key").arg(&server.key);
    command.args(["-Verify", "1", "-verify_return_error", "-CAfile"]).arg(root(&own));
    let _server = Program::start(&place.scene, "s_server", &mut command, Signal::SIGKILL);
    until("it accepts", PATIENCE, || {
        let log = place.scene.read("s_server.log");
        if log.contains("ACCEPT") { Ok(()) } else { Err(log) }
    });
    let destination = server.destination(([127, 0, 0, 1], port).into());
    let shown = format!("certificate={}:privateKey={}", own.certificate.display(), own.key.display());
    let (source, address) = free_source();
    place.start(&source, &format!("{destination}:{shown}:alpn=one"));
    for _ in 0..3 {
        let mut client = Client::connect(address);
        client.send("hello\n");
        assert_eq!(client.line(), "olleh");
        client.end();
    }
    let log = place.scene.read("s_server.log");
    assert!(log.contains("verify return:1"), "{log}");
    // Without its certificate it is turned away.
    place.switch(&source, &destination);
    let mut refused = Client::connect(address);
    refused.send("hello\n");
    assert_eq!(refused.try_line(), "");
}

/// Files are cut, written half, and do not fit in between; visitors who believe both the old and the new notice nothing.
fn a_rotation_in_pieces() {
    let place = Place::new();
    let (files, next) = (certificate(&place.scene, "one"), certificate(&place.scene, "next"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let both = place.scene.write("both.pem", &(read(&root(&files)) + &read(&root(&next))));
    let (source, address) = free_source();
    place.start(&files.listen(&source), &web());
    let (stop, visits) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(curl(address, &both, &[]).expect(0).out, "yes");
                visits.fetch_add(1, Ordering::SeqCst);
            }
        });
        let visited = || {
            let seen = visits.load(Ordering::SeqCst);
            until("there are visitors", PATIENCE, || match visits.load(Ordering::SeqCst) {
                now if now > seen + 2 || load.is_finished() => Ok(()),
                now => Err(now.to_string()),
            });
        };
        visited();
        let text = read(&next.certificate);
        std::fs::write(&files.certificate, &text[..text.len() / 2]).unwrap();
        place.wait_log("the former ones stay");
        visited();
        std::fs::write(&files.certificate, &text).unwrap();
        place.wait_log("does not belong");
        visited();
        std::fs::write(&files.key, read(&next.key)).unwrap();
        place.wait_log("new connections use the changed TLS files");
        visited();
        stop.store(true, Ordering::SeqCst);
    });
    curl(address, &root(&next), &[]).expect(0);
    curl(address, &root(&files), &[]).expect(60);
    let list = place.list();
    assert_eq!(list["rules"][0]["destinations"][0]["failures"], 0, "{list}");
}
