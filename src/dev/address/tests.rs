//! What is an address, what is none, and where it goes wrong.

use super::{Backend, Bind};

#[test]
fn an_address_is_a_port_with_or_without_a_host() {
    for (text, host, port) in [
        ("8000", "localhost", 8000),
        (":8000", "localhost", 8000),
        ("localhost:8000", "localhost", 8000),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("my-host.example:1", "my-host.example", 1),
        ("[::1]:8010", "::1", 8010),
        ("[::]:65535", "::", 65535),
        ("0", "localhost", 0),
    ] {
        assert_eq!(text.parse(), Ok(Bind { host: host.into(), port }), "{text}");
        let backend = Backend { host: host.into(), port: Some(port).filter(|port| *port > 0) };
        assert_eq!(text.parse(), Ok(backend), "{text}");
    }
}

#[test]
fn a_server_may_get_a_fresh_port_for_each_generation() {
    for (text, host) in [
        ("0", "localhost"),
        ("{port}", "localhost"),
        (":{port}", "localhost"),
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:{port}", "::1"),
    ] {
        assert_eq!(text.parse(), Ok(Backend { host: host.into(), port: None }), "{text}");
    }
    assert!("{port}".parse::<Bind>().is_err());
}

#[test]
fn each_reads_back_from_what_it_writes() {
    for text in ["localhost:8000", "[::1]:8010", "127.0.0.1:0"] {
        assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
    }
    for text in ["localhost:8000", "[::1]:{port}", "host:{port}"] {
        assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
    }
    assert_eq!("[::1]:{port}".parse::<Backend>().unwrap().authority(7), "[::1]:7");
}

#[test]
fn what_is_no_address_is_refused_with_the_place() {
    for (text, at, what) in [
        ("", 1, "a port is missing"),
        (":", 2, "a port is missing"),
        ("host:", 6, "a port is missing"),
        ("[::1]", 6, "a port is missing"),
        ("[::1]8000", 6, "a port is missing"),
        ("[::1", 5, "there is no ']'"),
        ("[fe80::1%eth0]:1", 2, "this is no IPv6 address"),
        ("::1:80", 1, "an IPv6 address has brackets"),
        ("localhost", 1, "this is no port"),
        ("host:80x", 8, "this is no port"),
        ("host:+80", 6, "this is no port"),
        ("host:-1", 6, "this is no port"),
        ("70000", 1, "a port is at most 65535"),
        ("h:99999999999999999999", 3, "a port is at most 65535"),
        ("a b:80", 2, "no host has this in its name"),
        ("\u{fc}x:80", 1, "no host has this in its name"),
        ("http://x:80", 5, "an IPv6 address has brackets"),
        ("256.1.1.1:80", 1, "this is no IPv4 address"),
        ("127.1:80", 1, "this is no IPv4 address"),
    ] {
        let error = text.parse::<Bind>().unwrap_err();
        assert_eq!((error.at, error.what), (at, what), "{text}");
        assert_eq!(text.parse::<Backend>().unwrap_err().at, at, "{text}");
    }
    let long = format!("{}:80", "a".repeat(254));
    assert_eq!(long.parse::<Bind>().unwrap_err().what, "no host has so long a name");
    assert_eq!(
        "host:80x".parse::<Bind>().unwrap_err().to_string(),
        "not an address: 'host:80x' at position 8: this is no port; expected PORT, HOST:PORT or [ADDRESS]:PORT"
    );
}
