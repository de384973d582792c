//! `--inject`: which answers get the script, what of them changes, and that none of it waits.

use std::io::{Read, Write};

use crate::dev::stage::{Proxy, Setup};
use crate::dev::stream::memory;
use crate::dev::wire::Head;
use crate::harness::trials;

trials![
    a_page_has_the_script_and_fields_that_are_true,
    without_the_option_nothing_changes,
    what_is_no_page_stays_as_it_is,
    a_page_is_asked_for_without_encoding_and_whole,
    an_encoded_page_stays_as_it_is_and_that_is_told,
    policies_in_head_and_page_allow_the_script,
    a_page_is_passed_on_as_it_comes,
    a_page_that_breaks_off_is_seen_to,
    a_large_page_takes_no_memory,
];

/// Where the script is.
const SCRIPT: &str = "<script src=\"/__socket_protector/reload.js\" data-build=\"";
const NAVIGATION: &str = "Sec-Fetch-Dest: document\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\n";
const HTML: &str = "HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\n";

/// The answer to one request, with these fields.
#[track_caller]
fn ask(proxy: &Proxy, method: &str, path: &str, fields: &str) -> (Head, String) {
    let mut client = proxy.client();
    client.send(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"));
    let head = client.head();
    let body = if method == "HEAD" { Vec::new() } else { client.body(&head) };
    (head, String::from_utf8(body).unwrap())
}

fn injecting() -> Setup {
    Setup::new().with(&["--inject"])
}

/// One page, whose other fields are these.
fn page(fields: &str) -> String {
    let page = "<!DOCTYPE html><head><title>x</title></head><p>y";
    format!("send {HTML}{fields}Content-Length: {}\\r\\n\\r\\n{page}", page.len())
}

fn a_page_has_the_script_and_fields_that_are_true() {
    let fields = "ETag: \"a\"\\r\\nAccept-Ranges: bytes\\r\\nRepr-Digest: sha-256=:AA==:\\r\\nVary: Cookie\\r\\n";
    let proxy = injecting().script("page", &page(fields)).start();
    let (head, body) = ask(&proxy, "GET", "/page", NAVIGATION);
    assert!(body.starts_with(&format!("<!DOCTYPE html><head>{SCRIPT}")), "{body}");
    assert!(body.ends_with("async></script><title>x</title></head><p>y"), "{body}");
    assert_eq!((head.field("content-length"), head.field("transfer-encoding")), (None, Some("chunked")));
    assert_eq!((head.field("etag"), head.field("vary")), (Some("W/\"a\""), Some("Cookie")));
    assert_eq!((head.field("accept-ranges"), head.field("repr-digest")), (None, None));
    // One who speaks HTTP/1.0 knows no chunks.
    let mut old = proxy.client();
    old.send("GET /page HTTP/1.0\r\n\r\n");
    let text = String::from_utf8(old.rest()).unwrap();
    assert!(text.contains(SCRIPT) && text.ends_with("<p>y") && !text.contains("chunked"), "{text}");
}

fn without_the_option_nothing_changes() {
    let proxy = Setup::new().script("page", &page("ETag: \"a\"\\r\\n")).start();
    let (head, body) = ask(&proxy, "GET", "/page", NAVIGATION);
    assert_eq!(body, "<!DOCTYPE html><head><title>x</title></head><p>y");
    assert_eq!((head.field("content-length"), head.field("etag")), (Some("48"), Some("\"a\"")));
    assert!(proxy.scene.read("web/heads").contains("gzip, br"));
}

fn what_is_no_page_stays_as_it_is() {
    let proxy = injecting()
        .script("page", &page(""))
        .script("head", &format!("send {HTML}Content-Length: 48\\r\\n\\r\\n"))
        .script("part", "send HTTP/1.1 206 Partial Content\\r\\nContent-Type: text/html\\r\\nContent-Range: bytes 0-2/9\\r\\nContent-Length: 3\\r\\n\\r\\n<p>")
        .script("kept", "send HTTP/1.1 304 Not Modified\\r\\nETag: \"a\"\\r\\n\\r\\n")
        .script("file", &page("Content-Disposition: attachment\\r\\n"))
        .script("wide", "send HTTP/1.1 200 OK\\r\\nContent-Type: text/html; charset=utf-16le\\r\\nContent-Length: 4\\r\\n\\r\\n<\\0p\\0")
        .script("style", "send HTTP/1.1 200 OK\\r\\nContent-Type: text/css\\r\\nContent-Length: 3\\r\\n\\r\\np{}")
        .start();
    for (method, path, fields) in [
        ("HEAD", "/head", NAVIGATION),
        ("GET", "/part", NAVIGATION),
        ("GET", "/kept", NAVIGATION),
        ("GET", "/file", NAVIGATION),
        ("GET", "/wide", NAVIGATION),
        ("GET", "/style", NAVIGATION),
        ("GET", "/page", "HX-Request: true\r\nAccept: text/html\r\n"),
        ("GET", "/page", "X-Requested-With: XMLHttpRequest\r\nAccept: text/html\r\n"),
        ("GET", "/page", "Sec-Fetch-Dest: empty\r\n"),
        ("POST", "/page", NAVIGATION),
    ] {
        let (head, body) = ask(&proxy, method, path, fields);
        assert!(!body.contains("__socket_protector"), "{method} {path}: {body}");
        assert!(path == "/kept" || head.field("content-length").is_some(), "{method} {path}: {}", head.text);
    }
}

fn a_page_is_asked_for_without_encoding_and_whole() {
    let proxy = injecting().script("page", &page("")).start();
    ask(&proxy, "GET", "/page", &format!("{NAVIGATION}If-None-Match: \"a\"\r\nIf-Modified-Since: x\r\n"));
    let asked = proxy.scene.read("web/heads").to_ascii_lowercase();
    assert!(asked.contains("accept-encoding: identity\r\n"), "{asked}");
    assert!(!asked.contains("if-none-match") && !asked.contains("if-modified-since"), "{asked}");
    ask(&proxy, "GET", "/page", "Sec-Fetch-Dest: script\r\nAccept-Encoding: gzip\r\nIf-None-Match: \"a\"\r\n");
    let asked = proxy.scene.read("web/heads").to_ascii_lowercase();
    assert!(asked.contains("accept-encoding: gzip\r\n") && asked.contains("if-none-match: \"a\"\r\n"), "{asked}");
}

fn an_encoded_page_stays_as_it_is_and_that_is_told() {
    let steps = |encoding: &str| page(&format!("Content-Encoding: {encoding}\\r\\nETag: \"a\"\\r\\n"));
    let setup = injecting().with(&["-v"]).script("gzip", &steps("gzip")).script("br", &steps("br"));
    let proxy = setup.script("zstd", &steps("zstd")).start();
    for encoding in ["gzip", "br", "zstd"] {
        let (head, body) = ask(&proxy, "GET", &format!("/{encoding}"), NAVIGATION);
        assert_eq!((head.field("content-length"), head.field("etag")), (Some("48"), Some("\"a\"")));
        assert!(!body.contains("__socket_protector"));
        let line = format!("/{encoding} gets no script: the server has encoded it as {encoding}");
        assert_eq!(proxy.said().matches(&line).count(), 1, "{}", proxy.said());
    }
}

fn policies_in_head_and_page_allow_the_script() {
    let proxy = injecting()
        .script("self", &page("Content-Security-Policy: script-src 'none'; connect-src 'self'\\r\\n"))
        .script("nonce", &page("Content-Security-Policy: script-src 'nonce-a' 'strict-dynamic'\\r\\n"))
        .script("box", &page("Content-Security-Policy: sandbox\\r\\n"))
        .script(
            "meta",
            &format!("send {HTML}\\r\\n<head><meta http-equiv=Content-Security-Policy content=\"script-src 'self'\">"),
        )
        .start();
    let policy = |path| {
        let (head, body) = ask(&proxy, "GET", path, NAVIGATION);
        (head.field("content-security-policy").unwrap_or_default().to_owned(), body)
    };
    let (allowed, body) = policy("/self");
    let (script, channel) =
        ("http://localhost/__socket_protector/reload.js", "ws://localhost/__socket_protector/reload");
    assert_eq!(allowed, format!("script-src {script}; connect-src 'self' {channel}"));
    assert!(body.contains(SCRIPT));
    let (first, body) = policy("/nonce");
    let nonce = first.strip_prefix("script-src 'nonce-a' 'strict-dynamic' 'nonce-").unwrap().trim_end_matches('\'');
    assert!(nonce.len() == 32 && body.contains(&format!("nonce=\"{nonce}\"")), "{first} {body}");
    assert_ne!(policy("/nonce").0, first, "each page has its own");
    assert!(!policy("/box").1.contains(SCRIPT));
    let (_, body) = policy("/meta");
    assert!(body.contains(SCRIPT) && body.contains(&format!("content=\"script-src 'self' {script}\"")), "{body}");
}

fn a_page_is_passed_on_as_it_comes() {
    let steps = format!("send {HTML}\\r\\n<head></head><body>first\nuntil go\nsend <p>last");
    let proxy = injecting().script("page", &steps).start();
    let mut client = proxy.client();
    client.send(&format!("GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{NAVIGATION}\r\n"));
    client.head();
    let mut seen = Vec::new();
    while !seen.ends_with(b"first") {
        seen.push(client.byte().expect("more of the page"));
    }
    proxy.scene.write("web/go", "");
    assert!(String::from_utf8(client.rest()).unwrap().contains("<p>last"));
}

fn a_page_that_breaks_off_is_seen_to() {
    let steps = format!("send {HTML}Content-Length: 500\\r\\n\\r\\n<head><p>x");
    let proxy = injecting().script("page", &steps).start();
    let mut client = proxy.client();
    client.send(&format!("GET /page HTTP/1.1\r\nHost: localhost\r\n{NAVIGATION}\r\n"));
    let head = client.head();
    assert!(client.try_body(&head).is_err(), "the last chunk would say that this is all");
}

fn a_large_page_takes_no_memory() {
    const SIZE: usize = 200 * 1024 * 1024;
    let steps = format!("send {HTML}\\r\\n<head></head><body>\nfill {SIZE}");
    let proxy = injecting().script("page", &steps).start();
    let before = memory(&proxy);
    let mut stream = std::net::TcpStream::connect(proxy.address).unwrap();
    stream.write_all(format!("GET /page HTTP/1.0\r\n{NAVIGATION}\r\n").as_bytes()).unwrap();
    let (mut buffer, mut count, mut start) = (vec![0; 256 * 1024], 0, Vec::new());
    let mut most = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            size => count += size,
        }
        // Half of it is gone, and half is to come.
        if most == 0 && count > SIZE / 2 {
            most = memory(&proxy);
        }
        if start.len() < 2048 {
            start.extend_from_slice(&buffer[..buffer.len().min(2048)]);
        }
    }
    assert!(count > SIZE && String::from_utf8_lossy(&start).contains(SCRIPT), "{count} bytes");
    assert!(most < before + 16 * 1024, "{most} KiB, {before} before");
}
