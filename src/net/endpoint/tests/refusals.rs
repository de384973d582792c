//! What users are told, word by word and with the position.

use crate::net::endpoint::Listen;

fn refusal(text: &str) -> String {
    let error = text.parse::<Listen>().expect_err(&format!("'{text}' is no endpoint")).to_string();
    let start = format!("not an endpoint: '{text}': ");
    error.strip_prefix(&start).unwrap_or_else(|| panic!("{error} does not begin with {start}")).to_owned()
}

#[test]
fn ports_out_of_range_or_no_numbers_are_refused() {
    const PORT: &str = "a port is a number from 0 to 65535";
    for text in ["70000", "-1", "http", "+80", " 80", "80 ", "8_0", "65536", "99999999999999999999", "0x50", "é", "*"]
    {
        assert_eq!(refusal(text), format!("{PORT}, at character 1"));
    }
    assert_eq!(refusal("127.0.0.1:70000"), format!("{PORT}, at character 11"));
    assert_eq!(refusal("localhost:"), format!("{PORT}, at character 11"));
    assert_eq!(refusal("localhost:http"), format!("{PORT}, at character 11"));
    assert_eq!(refusal("[::1]:"), format!("{PORT}, at character 7"));
    assert_eq!(refusal("[::1]:-1"), format!("{PORT}, at character 7"));
    assert_eq!(refusal("tcp:70000"), format!("{PORT}, at character 5"));
    assert_eq!(refusal("tcp:port=-1"), format!("{PORT}, at character 10"));
    assert_eq!(refusal("tcp6:65536"), format!("{PORT}, at character 6"));
    assert_eq!(
        "70000".parse::<Listen>().expect_err("too large").to_string(),
        "not an endpoint: '70000': a port is a number from 0 to 65535, at character 1"
    );
}

#[test]
fn other_kinds_are_unknown() {
    let expected = "expected PORT, HOST:PORT, [ADDRESS]:PORT, tcp:… or tcp6:…, at character 1";
    for (kind, text) in [
        ("unix", "unix:/run/x"),
        ("unix", "unix"),
        ("ssl", "ssl:443:privateKey=k.pem"),
        ("udp", "udp:53"),
        ("systemd", "systemd:domain=INET:index=0"),
        ("fd", "fd:3"),
        ("haproxy", "haproxy:tcp:80"),
        ("TCP", "TCP:80"),
        ("Tcp6", "Tcp6:80"),
        ("quic", "quic:80:x"),
        ("quic", "quic:port=80"),
    ] {
        assert_eq!(refusal(text), format!("unknown kind of endpoint '{kind}'; {expected}"));
    }
    assert_eq!(refusal(""), format!("the text is empty; {expected}"));
    assert_eq!(refusal("port=80"), format!("the kind of endpoint is missing; {expected}"));
    assert_eq!(refusal("a=1:udp:80"), format!("unknown kind of endpoint 'udp'; {expected}").replace("r 1", "r 5"));
}

#[test]
fn hosts_that_are_none_are_refused() {
    const HOST: &str = "a host is a name, an IPv4 address or an IPv6 address";
    for text in ["127.0.0.256:80", "1.2.3:80", "80:80", "a b:80", "a..b:80", ".:80", "-f:80", "*:80", "é:80", "a/b:80"]
    {
        assert_eq!(refusal(text), format!("{HOST}, at character 1"));
    }
    assert_eq!(refusal(&format!("{}:80", "a".repeat(64))), format!("{HOST}, at character 1"));
    assert_eq!(refusal("tcp:80:8080"), format!("{HOST}, at character 8"));
    assert_eq!(refusal("tcp:80:interface=a b"), format!("{HOST}, at character 18"));
    assert_eq!(
        refusal(":80"),
        "the host is missing; expected HOST:PORT, or PORT alone for all addresses, at character 1"
    );
}

#[test]
fn ipv6_addresses_want_brackets_or_escapes() {
    let unbracketed = "an IPv6 address stands in brackets; expected [ADDRESS]:PORT, at character 1";
    for text in ["::1", "::", "fe80::1%eth0", "::1:80", "1:2:3:4:5:6:7:8:80", "fe80::1%eth0:80"] {
        assert_eq!(refusal(text), unbracketed);
    }
    let bracketed = "expected [ADDRESS]:PORT with an IPv6 address in the brackets";
    for (text, character) in [("[::1", 1), ("[", 1), ("[]:80", 2), ("[127.0.0.1]:80", 2), ("[::1]", 6), ("[::1]80", 6)]
    {
        assert_eq!(refusal(text), format!("{bracketed}, at character {character}"));
    }
    for text in ["[::1%]:80", "[::1%a/b]:80", "[::1%aaaaaaaaaaaaaaaa]:80", "[::1%a%b]:80"] {
        assert_eq!(refusal(text), format!("{bracketed}, at character 2"));
    }
    let escaped = r"the interface of tcp6 is an IPv6 address with its colons escaped, as in interface=\:\:1";
    assert_eq!(refusal("tcp6:80:interface=127.0.0.1"), format!("{escaped}, at character 19"));
    assert_eq!(refusal("tcp6:80:interface="), format!("{escaped}, at character 19"));
    assert_eq!(refusal("tcp6:80:5:localhost"), format!("{escaped}, at character 11"));
    let colons = r"the interface is given twice, or its colons are not escaped; expected interface=\:\:1";
    assert_eq!(refusal("tcp6:80:interface=::1"), format!("{colons}, at character 9"));
    assert_eq!(refusal("tcp:80:interface=fe80::1"), format!("{colons}, at character 8"));
    assert_eq!(refusal("tcp:interface=localhost:80:127.0.0.1"), format!("{colons}, at character 5"));
}

#[test]
fn arguments_missing_unknown_extra_or_twice_are_refused() {
    let form = "expected tcp:PORT[:INTERFACE[:BACKLOG]]";
    assert_eq!(refusal("tcp"), format!("the port is missing; {form}, at character 4"));
    assert_eq!(refusal("tcp:backlog=5"), format!("the port is missing; {form}, at character 14"));
    assert_eq!(refusal("tcp:80:::"), format!("one argument too many; {form}, at character 10"));
    assert_eq!(refusal("tcp:80:x=1"), format!("unknown argument 'x'; {form}, at character 8"));
    assert_eq!(refusal("tcp:80:=1"), format!("unknown argument ''; {form}, at character 8"));
    assert_eq!(refusal("tcp:80:Backlog=1"), format!("unknown argument 'Backlog'; {form}, at character 8"));
    assert_eq!(
        refusal("tcp:80:port=81"),
        format!("the port is given twice, by its place and by its name; {form}, at character 8")
    );
    assert_eq!(
        refusal("tcp6:80:5:backlog=5"),
        "the backlog is given twice, by its place and by its name; expected tcp6:PORT[:BACKLOG[:INTERFACE]], at character 11"
    );
    for text in ["tcp:80:backlog=-1", "tcp:80:backlog=", "tcp:80:backlog=2147483648", "tcp:80:backlog=many"] {
        assert_eq!(refusal(text), "a backlog is a number from 0 to 2147483647, at character 16");
    }
    assert_eq!(
        refusal(r"tcp:80\"),
        r"a backslash escapes the character behind it; expected \\, \: or \=, at character 7"
    );
}

#[test]
fn positions_count_characters_and_control_characters_are_shown() {
    assert_eq!(refusal("é=é:tcp:x"), "unknown argument 'é'; expected tcp:PORT[:INTERFACE[:BACKLOG]], at character 1");
    assert_eq!(refusal("port=80:tcp:é=1").rsplit(' ').next(), Some("13"));
    let error = "80\u{1b}[2J\n".parse::<Listen>().expect_err("no port").to_string();
    assert_eq!(error, r"not an endpoint: '80\u{1b}[2J\n': a port is a number from 0 to 65535, at character 1");
}
