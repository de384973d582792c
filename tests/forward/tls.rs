//! TLS and PROXY headers through the command line. Two forwarders in a row are each other's other side.

use super::place::{Backend, Client, Place, client, free_source};
use crate::harness::{PATIENCE, Scene, trials, until};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

trials![
    both_sides_speak_tls_and_half_closed_connections_work,
    a_destination_that_is_not_trusted_gets_nothing,
    a_client_that_asks_for_another_name_gets_the_certificate,
    clients_need_a_certificate_where_one_is_asked_for,
    files_that_do_not_fit_are_told_at_the_start,
    a_new_certificate_is_taken_and_a_wrong_one_is_not,
    a_probe_checks_the_certificate,
    proxy_headers_go_through_a_chain,
    only_those_who_are_trusted_speak_for_others,
];

/// The files of a server: its authority's folder, its key and its certificate.
pub(crate) struct Files {
    pub(crate) roots: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) certificate: PathBuf,
}

/// A certificate for 127.0.0.1 from an authority of its own.
pub(crate) fn certificate(scene: &Scene, name: &str) -> Files {
    made(scene, name, |_| {})
}

fn made(scene: &Scene, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A name of its own: a certificate with its issuer's name is self-made to OpenSSL.
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
    let authority_key = KeyPair::generate().unwrap();
    let authority_text = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let text = params.signed_by(&key, &issuer).unwrap().pem();
    let roots = scene.path(&format!("{name}-roots"));
    let _ = std::fs::create_dir(&roots);
    std::fs::write(roots.join("root.pem"), authority_text).unwrap();
    let key = scene.write(&format!("{name}.key"), &key.serialize_pem());
    Files { roots, key, certificate: scene.write(&format!("{name}.crt"), &text) }
}

impl Files {
    /// As SRC, at the port of a plain one.
    pub(super) fn listen(&self, plain: &str) -> String {
        let place = plain.strip_prefix("tcp:").unwrap();
        format!("ssl:{place}:privateKey={}:certKey={}", self.key.display(), self.certificate.display())
    }

    /// As DST.
    pub(super) fn destination(&self, address: SocketAddr) -> String {
        format!("tls:127.0.0.1:{}:trustRoots={}", address.port(), self.roots.display())
    }
}

/// A chain: a plain listener, TLS between two forwarders, and a plain backend. Where clients connect.
fn chain(inner: &Place, outer: &Place, files: &Files, backend: &Backend) -> SocketAddr {
    let ((front, address), (middle, secret)) = (free_source(), free_source());
    inner.start(&files.listen(&middle), &backend.endpoint());
    outer.start(&front, &files.destination(secret));
    address
}

fn both_sides_speak_tls_and_half_closed_connections_work() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let address = chain(&inner, &outer, &certificate(&inner.scene, "one"), &a);
    let mut client = client(address, "a");
    client.send(&"long".repeat(100_000));
    client.send("\n");
    assert_eq!(client.line().len(), 400_002);
    client.send("last\n");
    assert_eq!(client.line(), "a last");
    client.end();
    // When the certificate ends is told.
    let shown = inner.run(&["ls", "-v"]).expect(0).out;
    assert!(shown.contains("certificate until 4096-01-01"), "{shown}");
    // Whoever speaks in the clear is no client there.
    let listed = inner.list();
    let secret = listed["rules"][0]["address"].as_str().unwrap().parse().unwrap();
    let mut plain = Client::connect(secret);
    plain.send("GET / HTTP/1.0\r\n\r\n");
    plain.ends();
    inner.wait_log("was turned away");
    assert_eq!(a.accepted(), 1);
}

fn a_destination_that_is_not_trusted_gets_nothing() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let (one, other) = (certificate(&inner.scene, "one"), certificate(&inner.scene, "other"));
    let address = chain(&inner, &outer, &Files { roots: other.roots, ..one }, &a);
    let mut refused = Client::connect(address);
    refused.send("secret\n");
    refused.ends();
    outer.wait_log("cannot connect to tls:");
    assert_eq!((a.accepted(), outer.list()["rules"][0]["destinations"][0]["failures"].as_u64()), (0, Some(1)));
}

fn clients_need_a_certificate_where_one_is_asked_for() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let server = certificate(&inner.scene, "server");
    let own = certificate(&inner.scene, "own");
    let (middle, secret) = free_source();
    let cas = own.roots.join("root.pem");
    inner.start(&format!("{}:clientCAs={}", server.listen(&middle), cas.display()), &a.endpoint());
    let ((without, nobody), (with, known)) = (free_source(), free_source());
    outer.start(&without, &server.destination(secret));
    let shown = format!("certificate={}:privateKey={}", own.certificate.display(), own.key.display());
    outer.start(&with, &format!("{}:{shown}", server.destination(secret)));
    let mut refused = Client::connect(nobody);
    refused.send("secret\n");
    refused.ends();
    client(known, "a");
    assert_eq!(a.accepted(), 1);
}

/// There is one certificate for each listener, and the client decides what it is worth.
fn a_client_that_asks_for_another_name_gets_the_certificate() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let files = certificate(&inner.scene, "one");
    let ((front, address), (middle, secret)) = (free_source(), free_source());
    inner.start(&files.listen(&middle), &a.endpoint());
    outer.start(&front, &format!("{}:hostname=unknown.example", files.destination(secret)));
    Client::connect(address).ends();
    outer.wait_log("not valid for name \"unknown.example\"");
    assert_eq!(a.accepted(), 0);
}

fn files_that_do_not_fit_are_told_at_the_start() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (one, other) = (certificate(&place.scene, "one"), certificate(&place.scene, "other"));
    let old = made(&place.scene, "old", |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    let (source, _) = free_source();
    let mixed = Files { key: other.key, roots: other.roots, ..one };
    let gone = Files { key: place.scene.path("no.key"), certificate: mixed.certificate.clone(), roots: PathBuf::new() };
    for (files, why) in [(&mixed, "does not belong"), (&old, "expired"), (&gone, "no.key")] {
        place.run(&["start", &files.listen(&source), &a.endpoint()]).expect(1).complains().says(why);
    }
    assert!(!place.path("forward.json").exists());
}

fn a_new_certificate_is_taken_and_a_wrong_one_is_not() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let files = certificate(&inner.scene, "one");
    let address = chain(&inner, &outer, &files, &a);
    let mut held = client(address, "a");
    std::fs::write(&files.certificate, "garbage").unwrap();
    inner.wait_log("the former ones stay");
    client(address, "a");
    // A new pair from a new authority, which the outer one comes to believe by its folder.
    certificate(&inner.scene, "one");
    until("the new one is used", PATIENCE, || {
        let mut client = Client::connect(address);
        client.send("hello\n");
        let said = client.try_line();
        let text = "new connections use the changed TLS files";
        let both = [&inner, &outer].map(|place| place.file("forward.log").contains(text));
        if said == "a hello" && both == [true, true] { Ok(()) } else { Err(format!("{said:?}, {both:?}")) }
    });
    held.ask("a");
}

fn a_probe_checks_the_certificate() {
    let (outer, inner, a) = (Place::new(), Place::new(), Backend::new("a"));
    let (one, other) = (certificate(&inner.scene, "one"), certificate(&inner.scene, "other"));
    let ((front, address), (middle, secret)) = (free_source(), free_source());
    inner.start(&one.listen(&middle), &a.endpoint());
    outer.start(&front, &a.endpoint());
    let wrong = other.destination(secret);
    outer.run(&["switch", &front, &wrong, "--probe"]).expect(1).complains().says("probe");
    outer.quietly(&["switch", &front, &one.destination(secret), "--probe=send:hello\\n,expect:a hello"]);
    client(address, "a");
}

fn proxy_headers_go_through_a_chain() {
    let (outer, inner) = (Place::new(), Place::new());
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = backend.local_addr().unwrap().port();
    for (between, last) in [("v1", "v2"), ("v2", "v1")] {
        let ((front, address), (middle, told)) = (free_source(), free_source());
        inner.start(&format!("haproxy:{middle}"), &format!("tcp:127.0.0.1:{port}:proxy={last}"));
        outer.start(&front, &format!("tcp:127.0.0.1:{}:proxy={between}", told.port()));
        let mut client = Client::connect(address);
        client.send("hello\n");
        let (connection, _) = backend.accept().unwrap();
        let mut reader = BufReader::new(connection);
        let mut header = Vec::new();
        reader.read_until(b'\n', &mut header).unwrap();
        if last == "v1" {
            let text = String::from_utf8(header).unwrap();
            let client_port = client.local_port();
            assert!(text.starts_with(&format!("PROXY TCP4 127.0.0.1 127.0.0.1 {client_port} ")), "{text:?}");
        } else {
            assert!(header.starts_with(b"\r\n"), "{header:?}");
        }
    }
}

fn only_those_who_are_trusted_speak_for_others() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.run(&["start", "--trust", "192.0.2.0/24", &format!("haproxy:{source}"), &a.endpoint()]).expect(0);
    let mut stranger = Client::connect(address);
    stranger.send("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nhello\n");
    stranger.ends();
    place.wait_log("not trusted");
    assert_eq!(a.accepted(), 0);
    place.run(&["stop"]).expect(0);
    place
        .run(&[
            "start",
            "--trust",
            "127.0.0.0/8",
            "--proxy-header-timeout",
            "500ms",
            &format!("haproxy:{source}"),
            &a.endpoint(),
        ])
        .expect(0);
    let mut known = Client::connect(address);
    known.send("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nhello\n");
    assert_eq!(known.line(), "a hello");
    // One who says nothing is not waited for.
    Client::connect(address).ends();
}
