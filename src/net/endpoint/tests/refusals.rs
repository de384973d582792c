//! What users are told, word by word and with the position.

use crate::net::endpoint::{Listen, NamedListen};

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
    let expected = "expected PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, tcp6:…, ssl:…, unix:…, udp:…, systemd:…, fd:N or haproxy:…, at character 1";
    for (kind, text) in [
        ("tls", "tls:certs:443"),
        ("stdio", "stdio:"),
        ("TCP", "TCP:80"),
        ("Unix", "Unix:/run/x"),
        ("SSL", "SSL:443"),
        ("UDP", "UDP:53"),
        ("FD", "FD:3"),
        ("quic", "quic:80:x"),
        ("quic", "quic:port=80"),
    ] {
        assert_eq!(refusal(text), format!("unknown kind of endpoint '{kind}'; {expected}"));
    }
    assert_eq!(refusal(""), format!("the text is empty; {expected}"));
    assert_eq!(refusal("port=80"), format!("the kind of endpoint is missing; {expected}"));
    assert_eq!(refusal("a=1:tls:80"), format!("unknown kind of endpoint 'tls'; {expected}").replace("r 1", "r 5"));
    let behind = |text: &str| refusal(text).replace(", at character 9", ", at character 1");
    assert_eq!(behind("haproxy:"), format!("the text is empty; {expected}"));
    assert_eq!(behind("haproxy:stdio:"), format!("unknown kind of endpoint 'stdio'; {expected}"));
    assert_eq!(behind("haproxy"), format!("the kind of endpoint is missing; {expected}").replace("r 1", "r 8"));
}

#[test]
fn what_no_child_can_be_given_is_refused_where_sockets_are_passed() {
    let refused = |text: &str| text.parse::<NamedListen>().expect_err("no socket to pass").to_string();
    let forms = "PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, tcp6:…, unix:…, udp:…, systemd:… or fd:N";
    for (text, kind, character) in [
        ("ssl:443:privateKey=k.pem", "ssl", 1),
        ("web=ssl:443", "ssl", 5),
        ("haproxy:tcp:80", "haproxy", 1),
        ("HAProxy:80", "haproxy", 1),
    ] {
        let why = format!("an endpoint of kind '{kind}' is for 'forward', since no child can be given it");
        assert_eq!(
            refused(text),
            format!("not an endpoint: '{text}': {why}; expected {forms}, at character {character}")
        );
    }
    let unknown =
        format!("not an endpoint: 'TCP:80': unknown kind of endpoint 'TCP'; expected {forms}, at character 1");
    assert_eq!(refused("TCP:80"), unknown);
}

#[test]
fn what_ssl_has_no_use_for_is_refused() {
    let refused = |argument: &str| refusal(&format!("ssl:443:{argument}"));
    let method = "only TLS 1.3 and 1.2 are spoken, and the better one is chosen; expected TLS_METHOD or SSLv23_METHOD";
    for value in ["SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_2_METHOD", "tls_method", "", "x"] {
        assert_eq!(refused(&format!("sslmethod={value}")), format!("{method}, at character 19"));
    }
    let parameters = "parameters for Diffie-Hellman are not needed: keys are agreed on by elliptic curves";
    assert_eq!(refused("dhParameters=dh.pem"), format!("{parameters}, at character 22"));
    let path = "a path is not empty and has no NUL in it";
    for (argument, character) in [("privateKey", 20), ("certKey", 17), ("extraCertChain", 24), ("clientCAs", 19)] {
        assert_eq!(refused(&format!("{argument}=")), format!("{path}, at character {character}"));
    }
    let nul = "ssl:443:k\0".parse::<Listen>().expect_err("it has a NUL").to_string();
    assert!(nul.ends_with("a path is not empty and has no NUL in it, at character 9"), "{nul}");
    let alpn = "protocols are parted by commas and of 1 to 255 bytes each, as in alpn=h2,http/1.1";
    for value in ["", "h2,", ",h2", "h2,,h3", &"x".repeat(256), &"x,".repeat(40_000)] {
        assert_eq!(refused(&format!("alpn={value}")), format!("{alpn}, at character 14"));
    }
    assert!(refused("hostname=x").starts_with("unknown argument 'hostname'; expected ssl:PORT:privateKey=FILE"));
    assert!(refusal("ssl").starts_with("the port is missing; expected ssl:PORT"));
    assert_eq!(refusal("ssl:70000"), "a port is a number from 0 to 65535, at character 5");
}

#[test]
fn one_header_comes_before_connections() {
    let twice = "the header of the PROXY protocol is expected twice; expected one haproxy:";
    assert_eq!(refusal("haproxy:haproxy:tcp:80"), format!("{twice}, at character 9"));
    let datagrams =
        "datagrams have no header of the PROXY protocol; expected an endpoint for connections behind haproxy:";
    assert_eq!(refusal("haproxy:udp:53"), format!("{datagrams}, at character 9"));
    assert_eq!(refusal("haproxy:tcp:70000"), "a port is a number from 0 to 65535, at character 13");
    assert_eq!(refusal("haproxy:[::1]:x"), "a port is a number from 0 to 65535, at character 15");
}

#[test]
fn a_caret_stands_under_the_place() {
    let pointed = |text: &str| text.parse::<Listen>().expect_err("no endpoint").pointed();
    assert_eq!(pointed("tcp:70000"), "tcp:70000\n    ^");
    assert_eq!(pointed(""), "\n^");
    assert_eq!(pointed("tcp"), "tcp\n   ^");
    assert_eq!(pointed("é=é:tcp:x"), "é=é:tcp:x\n^");
    assert_eq!(pointed("\t\u{1b}=1:tcp:x"), "\\t\\u{1b}=1:tcp:x\n^");
    assert_eq!(pointed("tcp:1:\u{1b}:x"), "tcp:1:\\u{1b}:x\n      ^");
    let text = format!("tcp:80:backlog={}", "9".repeat(61));
    assert_eq!(pointed(&text), format!("{text}\n{}^", " ".repeat(15)), "a line that fits is not cut");
    let long = pointed(&format!("tcp:80:backlog={}", "9".repeat(62)));
    assert_eq!(long, format!("tcp:80:backlog={}…\n{}^", "9".repeat(60), " ".repeat(15)));
    let long = pointed(&format!("ssl:80:{}:backlog=x:certKey={}", "p".repeat(200), "c".repeat(200)));
    let (text, caret) = long.split_once('\n').expect("two lines");
    assert!(text.starts_with('…') && text.ends_with('…') && text.chars().count() == 76, "{long}");
    assert_eq!(text.chars().nth(caret.len() - 1), Some('x'), "{long}");
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
fn unix_sockets_need_a_name_that_fits() {
    let form = "expected unix:ADDRESS[:MODE[:BACKLOG]], with any ':' or '=' of the address escaped by a backslash";
    assert_eq!(refusal("unix"), format!("the address is missing; {form}, at character 5"));
    assert_eq!(refusal("unix:"), format!("the address is missing; {form}, at character 6"));
    assert_eq!(refusal("unix:@"), format!("the address is missing; {form}, at character 6"));
    assert_eq!(refusal("@"), format!("the address is missing; {form}, at character 1"));
    assert_eq!(refusal("unix:/a=b"), format!("unknown argument '/a'; {form}, at character 6"));
    assert_eq!(refusal("unix:path=/a"), format!("unknown argument 'path'; {form}, at character 6"));
    let long = "the name of a unix socket is at most 107 bytes long, and this one has 108";
    assert_eq!(refusal(&format!("unix:{}", "n".repeat(108))), format!("{long}, at character 6"));
    assert_eq!(refusal(&format!("unix:{}", "é".repeat(54))), format!("{long}, at character 6"));
    assert_eq!(refusal(&format!("@{}", "n".repeat(108))), format!("{long}, at character 1"));
    for text in ["unix:a\0b", "unix:\0\0a"] {
        let error = text.parse::<Listen>().expect_err("it has a NUL").to_string();
        assert!(error.ends_with("the name of a unix socket has no NUL in it, at character 6"), "{error}");
    }
    for text in ["unix:/x:mode=888", "unix:/x:mode=", "unix:/x:mode=1000", "unix:/x:mode=-7", "unix:/x:mode=rw"] {
        assert_eq!(refusal(text), "a mode is an octal number from 0 to 777, at character 14");
    }
    assert_eq!(refusal("unix:/a:b"), "a mode is an octal number from 0 to 777, at character 9");
    assert_eq!(refusal("@x:mode=660"), "an abstract name has no mode: it is no file, at character 9");
    let lockfile = "a lock file is not needed: a live socket is refused and a stale one replaced without it";
    for value in ["0", "1", "yes"] {
        assert_eq!(refusal(&format!("unix:/x:lockfile={value}")), format!("{lockfile}, at character 18"));
    }
}

#[test]
fn datagrams_have_no_backlog() {
    let form = "expected udp:PORT[:INTERFACE]";
    assert_eq!(refusal("udp"), format!("the port is missing; {form}, at character 4"));
    assert_eq!(refusal("udp:53:backlog=5"), format!("unknown argument 'backlog'; {form}, at character 8"));
    assert_eq!(refusal("udp:53::5"), format!("one argument too many; {form}, at character 9"));
    assert_eq!(refusal("udp:70000"), "a port is a number from 0 to 65535, at character 5");
}

#[test]
fn adopted_sockets_need_to_be_told_apart() {
    let form = "expected systemd:domain=DOMAIN:index=N or systemd:domain=DOMAIN:name=NAME";
    let either = format!("either the index or the name of the socket is given; {form}");
    assert_eq!(refusal("systemd"), format!("the domain is missing; {form}, at character 8"));
    assert_eq!(refusal("systemd:domain=INET"), format!("{either}, at character 20"));
    assert_eq!(refusal("systemd:INET:0:name=web"), format!("{either}, at character 16"));
    assert_eq!(refusal("systemd:domain=AF_INET:index=0"), "a domain is INET, INET6 or UNIX, at character 16");
    assert_eq!(refusal("systemd:INET:x"), "an index is a number from 0 to 2147483647, at character 14");
    let name = "a name in LISTEN_FDNAMES is 1 to 255 characters, none of them a colon or a control character";
    assert_eq!(refusal("systemd:INET:name="), format!("{name}, at character 19"));
    assert_eq!(refusal(r"systemd:INET:name=a\:b"), format!("{name}, at character 19"));
    assert_eq!(refusal("fd"), "the number is missing; expected fd:N, at character 3");
    assert_eq!(refusal("fd:3:4"), "one argument too many; expected fd:N, at character 6");
    for text in ["fd:x", "fd:", "fd:-1", "fd:2147483648", "fd:99999999999"] {
        assert_eq!(refusal(text), "a descriptor is a number from 0 to 2147483647, at character 4");
    }
}

#[test]
fn positions_count_characters_and_control_characters_are_shown() {
    assert_eq!(refusal("é=é:tcp:x"), "unknown argument 'é'; expected tcp:PORT[:INTERFACE[:BACKLOG]], at character 1");
    assert_eq!(refusal("port=80:tcp:é=1").rsplit(' ').next(), Some("13"));
    let error = "80\u{1b}[2J\n".parse::<Listen>().expect_err("no port").to_string();
    assert_eq!(error, r"not an endpoint: '80\u{1b}[2J\n': a port is a number from 0 to 65535, at character 1");
}
