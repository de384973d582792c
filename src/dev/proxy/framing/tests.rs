//! What is let through, what is refused, and that it does not matter in which pieces the bytes come.

use super::{Fault, Framing, LONGEST_HEAD, MOST_FIELDS, Step};

/// Feeds one in pieces of this size: what was let through, how many heads, and the fault.
fn fed(bytes: &[u8], piece: usize) -> (usize, usize, Option<Fault>) {
    let (mut framing, mut passed, mut heads) = (Framing::default(), 0, 0);
    let mut there = 0;
    while there < bytes.len() {
        there = (there + piece).min(bytes.len());
        while passed < there {
            match framing.next(&bytes[passed..there]) {
                Step::Pass(count) => passed += count,
                Step::Head(count) => (passed, heads) = (passed + count, heads + 1),
                Step::More | Step::Undecided => break,
                Step::Fault(fault) => return (passed, heads, Some(fault)),
            }
        }
    }
    (passed, heads, None)
}

#[track_caller]
fn passes(text: &str, requests: usize) {
    for piece in [1, 2, 3, 7, text.len()] {
        assert_eq!(fed(text.as_bytes(), piece), (text.len(), requests, None), "{text:?} in pieces of {piece}");
    }
}

/// Refused, and nothing of what is behind is taken for a request.
#[track_caller]
fn refused(text: &str) {
    let behind = format!("{text}GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    for piece in [1, 3, behind.len()] {
        let (_, heads, fault) = fed(behind.as_bytes(), piece);
        assert!(matches!(fault, Some(Fault::Malformed(_))), "{text:?} in pieces of {piece}: {fault:?}");
        assert!(heads <= 1, "{text:?}");
    }
}

#[test]
fn requests_pass_one_after_the_other() {
    passes("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1);
    passes("GET / HTTP/1.0\r\n\r\n", 1);
    passes("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\nGET /2 HTTP/1.1\r\nhost:x\r\n\r\n", 2);
    passes("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n", 2);
    passes("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 2);
    passes("OPTIONS * HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX: \u{fc}\tb \r\n\r\n", 1);
    passes("GET http://x:80/a?b=http://c HTTP/1.1\r\nHost: X:80\r\n\r\n", 1);
    passes("GET /a?b=http://c HTTP/1.1\r\nHost: x\r\n\r\n", 1);
}

#[test]
fn chunks_pass_with_extensions_and_trailers() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n";
    let next = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b;c=\"d\"\r\nhello\r\n00A \r\n0123456789\r\n000\r\nX-Sum: 1\r\nY:\r\n\r\n",
        "1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n",
    ] {
        passes(&format!("{head}{body}{next}"), 2);
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tchunked",
        "Transfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\nX: y",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chun\0ked",
        "X: a\0b",
        "X: a\u{7f}b",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: -5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 9223372036854775808",
        "Content-Length : 5",
        "Host: y",
        "host: x",
        "No colon",
        ": no name",
        "Na me: x",
        "N\u{fc}me: x",
    ] {
        refused(&format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"));
    }
    passes("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n\r\n", 1);
    passes("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", 1);
}

#[test]
fn what_is_no_request_is_refused() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@x\r\n\r\n",
        "GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "GET /\t HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\u{fc} HTTP/1.1\r\nHost: x\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\n",
        "\n",
    ] {
        refused(text);
    }
    let fault = |text: &str| fed(text.as_bytes(), text.len()).2;
    assert_eq!(fault("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"), Some(Fault::Connect));
    assert_eq!(fault("PRI * HTTP/2.0\r\n\r\n"), Some(Fault::Version));
    assert_eq!(fault("GET / HTTP/1.2\r\n\r\n"), Some(Fault::Version));
}

#[test]
fn chunks_that_are_none_are_refused() {
    for body in [
        "\r\n",
        ";a\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1;a\nb\r\na\r\n",
        "1;\0\r\na\r\n",
        "1\ra\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "0\r\nno trailer\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        refused(&format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    }
    let long = "x".repeat(5000);
    refused(&format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;{long}\r\na\r\n"));
    refused(&format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {long}\r\n\r\n"));
    let many = "X: 0123456789\r\n".repeat(2000);
    refused(&format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{many}\r\n"));
}

#[test]
fn a_head_has_a_limit() {
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(LONGEST_HEAD));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(MOST_FIELDS));
    let endless = "G".repeat(LONGEST_HEAD + 1);
    for text in [large, many, endless] {
        for piece in [1000, text.len()] {
            assert_eq!(fed(text.as_bytes(), piece), (0, 0, Some(Fault::TooLarge)), "{} bytes", text.len());
        }
    }
    passes(&format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(MOST_FIELDS - 1)), 1);
}

#[test]
fn what_follows_an_upgrade_waits_until_it_is_decided() {
    let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (changed, step) in
        [(true, Step::Pass(3)), (false, Step::Fault(Fault::Malformed("a line ends with a line feed alone")))]
    {
        let mut framing = Framing::default();
        assert_eq!(framing.next(ask.as_bytes()), Step::Head(ask.len()));
        assert!(framing.is_undecided() && !framing.in_head());
        assert_eq!(framing.next(b"a\n\0"), Step::Undecided);
        framing.decide(changed);
        assert_eq!(framing.next(b"a\n\0"), step);
    }
    // With a body the decision comes behind it; a field alone asks for nothing.
    let mut framing = Framing::default();
    let ask = "POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(framing.next(ask.as_bytes()), Step::Head(ask.len()));
    assert!(!framing.is_undecided());
    assert_eq!(framing.next(b"abc"), Step::Pass(2));
    assert!(framing.is_undecided());
    passes(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\r\n",
        2,
    );
}

#[test]
fn nothing_follows_a_fault() {
    let mut framing = Framing::default();
    assert!(matches!(framing.next(b"\n"), Step::Fault(_)));
    assert_eq!(framing.next(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Step::More);
}
