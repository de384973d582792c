use super::Proxy;
use crate::net::endpoint::{Connect, Listen};

fn proxy(text: &str) -> Proxy {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn what_is_left_out_of_host_and_port_is_the_default() {
    let spellings = [
        ("", "localhost:9009"),
        (":", "localhost:9009"),
        ("localhost", "localhost:9009"),
        ("localhost:", "localhost:9009"),
        (":9009", "localhost:9009"),
        ("localhost:9009", "localhost:9009"),
        (":9010", "localhost:9010"),
        ("9010", "localhost:9010"),
        ("gateway.example", "gateway.example:9009"),
        ("gateway.example:80", "gateway.example:80"),
        ("127.0.0.1", "127.0.0.1:9009"),
        ("192.0.2.7:1", "192.0.2.7:1"),
        ("[::1]", "[::1]:9009"),
        ("[::1]:", "[::1]:9009"),
        ("[::1]:9009", "[::1]:9009"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
    ];
    for (text, meant) in spellings {
        let proxy = proxy(text);
        assert_eq!(proxy.to_string(), meant, "{text}");
        assert_eq!(proxy.listen().unwrap(), meant.parse::<Listen>().unwrap(), "{text}");
        assert_eq!(proxy.connect().unwrap(), meant.parse::<Connect>().unwrap(), "{text}");
    }
    assert_eq!(Proxy::default(), proxy(""));
}

#[test]
fn other_endpoints_are_what_they_are() {
    for both in ["unix:/run/s", "@sessions", "unix:@sessions", "tcp:host:9009", "ssl:port=9009:host=a"] {
        assert_eq!(proxy(both).to_string(), both);
    }
    for listens in ["tcp:9009", "tcp6:9009", "ssl:9009:privateKey=key.pem:certKey=crt.pem", "fd:3", "haproxy:tcp:9009"]
    {
        assert_eq!(proxy(listens).listen().unwrap(), listens.parse::<Listen>().unwrap());
    }
    assert!(proxy("systemd:domain=INET:index=0").connect().is_err());
    for connects in ["tls:host:9009", "ssl:host:9009:caCertsDir=/certs", "tls:host:endpoint=unix\\:/run/s"] {
        assert_eq!(proxy(connects).connect().unwrap(), connects.parse::<Connect>().unwrap());
    }
    assert!(proxy("tls:host:9009").listen().is_err());
}

#[test]
fn mistakes_are_told_with_their_place() {
    let told = [
        (":70000", "a port is a number from 0 to 65535, at character 11"),
        ("localhost:x", "a port is a number from 0 to 65535, at character 11"),
        ("a b", "a host is a name, an IPv4 address or an IPv6 address, at character 1"),
        ("a..b:1", "a host is a name, an IPv4 address or an IPv6 address, at character 1"),
        ("::1", "an IPv6 address stands in brackets; expected [ADDRESS]:PORT, at character 1"),
        ("::1:9009", "an IPv6 address stands in brackets; expected [ADDRESS]:PORT, at character 1"),
        ("[::1", "expected [ADDRESS]:PORT with an IPv6 address in the brackets, at character 1"),
        ("[::1]9009", "expected [ADDRESS]:PORT with an IPv6 address in the brackets, at character 6"),
        ("ssl", "the port is missing"),
        ("unix", "the address is missing"),
        ("fd:", "a descriptor is a number"),
        ("tls:host", "the port is missing"),
    ];
    for (text, reason) in told {
        let error = text.parse::<Proxy>().err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
    let pointed = ":70000".parse::<Proxy>().unwrap_err().pointed();
    assert_eq!(pointed, "localhost:70000\n          ^");
    assert!(proxy(":0").listen().is_ok());
    let error = proxy(":0").connect().unwrap_err().to_string();
    assert!(error.contains("a port to connect to is a number from 1 to 65535, at character 11"), "{error}");
}

#[test]
fn a_server_has_a_name_of_its_port() {
    let names = [
        ("", Some("session-9009")),
        (":80", Some("session-80")),
        ("tcp:443", Some("session-443")),
        ("ssl:443:privateKey=k", Some("session-443")),
        ("tls:host:444", Some("session-444")),
        ("haproxy:tcp:81", Some("session-81")),
        ("unix:/run/dir/chat.sock", Some("session-chat.sock")),
        ("@a/b", Some("session-b")),
        ("fd:3", None),
    ];
    for (text, name) in names {
        assert_eq!(proxy(text).default_name().as_deref(), name, "{text}");
    }
    let long = format!("@{}", "x".repeat(100));
    assert_eq!(proxy(&long).default_name().map(|name| name.len()), Some(64));
}

#[test]
fn a_server_is_found_by_its_address() {
    let means = |proxy_text: &str, listen: &str| proxy(proxy_text).means(&listen.parse().unwrap());
    assert!(means("", "localhost:9009"));
    assert!(means("", "tcp:9009") && means("", "0.0.0.0:9009") && means("", "[::]:9009"));
    assert!(means("tcp:9009", "localhost:9009"), "any host is the same port here");
    assert!(means("tls:localhost:443", "ssl:443:privateKey=key.pem"));
    assert!(means("tls:localhost:443", "ssl:443:privateKey=key.pem:interface=localhost"));
    assert!(means("unix:/s", "unix:/s:mode=600") && means("@s", "unix:@s"));
    assert!(!means("", "localhost:9010") && !means("127.0.0.1", "127.0.0.2:9009") && !means("@s", "unix:s"));
    assert!(!means("fd:3", "fd:3") && !means("", "unix:/s"));
}
