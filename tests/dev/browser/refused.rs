//! What a browser, a program and a person get where no server answers.

use super::{site, write};
use crate::dev::stage::{Proxy, Setup};
use crate::dev::wire::Head;
use crate::harness::{PATIENCE, trials, until};

trials![
    a_failure_is_a_page_json_or_text_as_it_is_wanted,
    what_a_server_has_written_is_never_markup,
    too_many_who_wait_are_told_when_to_come_again,
    a_request_that_was_lost_is_a_page_too,
];

#[track_caller]
fn ask(proxy: &Proxy, method: &str, fields: &str) -> (Head, String) {
    let mut client = proxy.client();
    client.send(&format!("{method} / HTTP/1.1\r\nHost: localhost:8000\r\n{fields}\r\n"));
    let head = client.head();
    let body = if method == "HEAD" { Vec::new() } else { client.body(&head) };
    // The connection goes on where an answer ends.
    client.send("GET /__socket_protector/reload.js HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200, "{}", head.text);
    (head, String::from_utf8(body).unwrap())
}

/// A proxy whose server fails with these words.
fn failed(words: &str) -> Proxy {
    let proxy = site().start();
    assert_eq!(proxy.get("/version").0, 200);
    write(&proxy, "broken", words);
    until("there is no server", PATIENCE, || match proxy.get("/").0 {
        503 => Ok(()),
        status => Err(status.to_string()),
    });
    proxy
}

fn a_failure_is_a_page_json_or_text_as_it_is_wanted() {
    let proxy = failed("\u{1b}[31mTraceback\u{1b}[0m: no module");
    let (head, page) = ask(&proxy, "GET", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    assert_eq!((head.status, head.field("content-type")), (503, Some("text/html; charset=utf-8")));
    assert!(page.contains("<h1>The server exited with status 3</h1>") && page.contains("Traceback</span>: no module"));
    let policy = head.field("content-security-policy").unwrap();
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("connect-src ws://localhost:8000/__socket_protector/reload;"), "{policy}");
    let script = "<script src=\"/__socket_protector/reload.js\" data-build=\"";
    assert!(page.contains(script) && page.contains(&format!("-failed\" nonce=\"{nonce}\"")), "{page}");

    let (head, text) = ask(&proxy, "GET", "Accept: */*\r\n");
    assert_eq!((head.status, head.field("content-type")), (503, Some("text/plain; charset=utf-8")));
    assert!(
        text.starts_with("The server exited with status 3\n\n") && text.contains("\nTraceback: no module\n"),
        "{text}"
    );

    let (head, json) = ask(&proxy, "POST", "Accept: application/json\r\nContent-Length: 0\r\n");
    assert_eq!((head.status, head.field("content-type")), (503, Some("application/json")));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["error"], &json["output"]),
        (&serde_json::json!("failed"), &serde_json::json!("Traceback: no module\n")),
        "{json}"
    );

    for accept in ["text/html", "*/*", "application/json"] {
        let (head, _) = ask(&proxy, "HEAD", &format!("Accept: {accept}\r\n"));
        assert_eq!((head.status, head.field("cache-control")), (503, Some("no-store")));
        assert_eq!(head.field("retry-after"), None, "nobody knows when a file changes");
    }
}

fn what_a_server_has_written_is_never_markup() {
    let proxy =
        failed("</pre><script>alert(1)</script><img src=x onerror=alert(1)>\u{1b}]8;;javascript:alert(1)\u{7}x");
    let (_, page) = ask(&proxy, "GET", "Accept: text/html\r\n");
    assert_eq!((page.matches("<script").count(), page.matches("<img").count()), (1, 0), "{page}");
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;") && !page.contains("javascript:"), "{page}");
}

fn too_many_who_wait_are_told_when_to_come_again() {
    let proxy = Setup::new().with(&["--hold-limit", "0"]).command(&["sleep", "999"]).start();
    let (head, page) = ask(&proxy, "GET", "Accept: text/html\r\n");
    assert_eq!(
        (head.status, head.field("retry-after"), head.field("cache-control")),
        (503, Some("1"), Some("no-store"))
    );
    assert!(page.contains("Too many requests wait") && page.contains("reload.js"), "{page}");
}

fn a_request_that_was_lost_is_a_page_too() {
    let proxy = Setup::new().script("lost", "reset").start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST /lost HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nContent-Length: 0\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.field("content-type")), (502, Some("text/html; charset=utf-8")));
    assert!(String::from_utf8(client.body(&head)).unwrap().contains("has not answered this request"));
}
