//! Where to connect: what texts mean, and what is refused.

use std::time::Duration;

use super::*;
use crate::time::TimeOrNever;

fn to(host: Host, port: u16) -> Connect {
    Peer::Tcp(HostPort { host, port, bind_address: None, prefer: None }).into()
}

fn named(name: &str, port: u16) -> Connect {
    to(Host::Name(name.to_owned()), port)
}

fn v4(text: &str, port: u16) -> Connect {
    to(Host::V4(text.parse().expect("an IPv4 address")), port)
}

fn v6(text: &str, port: u16) -> Connect {
    to(Host::V6 { address: text.parse().expect("an IPv6 address"), zone: None }, port)
}

fn path(text: &str) -> Connect {
    Peer::Unix(UnixAddress::Path(text.to_owned())).into()
}

fn nameless(name: &str) -> Connect {
    Peer::Unix(UnixAddress::Abstract(name.to_owned())).into()
}

fn parse(text: &str) -> Connect {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn tls(text: &str) -> ClientTls {
    parse(text).tls.unwrap_or_else(|| panic!("{text} is without TLS"))
}

fn refusal(text: &str) -> String {
    let error = text.parse::<Connect>().expect_err(&format!("'{text}' is no endpoint")).to_string();
    let start = format!("not an endpoint: '{text}': ");
    error.strip_prefix(&start).unwrap_or_else(|| panic!("{error} does not begin with {start}")).to_owned()
}

#[test]
fn short_forms() {
    assert_eq!(parse("7500"), named("localhost", 7500));
    assert_eq!(parse("localhost:7500"), named("localhost", 7500));
    assert_eq!(parse("db.example.org.:5432"), named("db.example.org.", 5432));
    assert_eq!(parse("127.0.0.1:80"), v4("127.0.0.1", 80));
    assert_eq!(parse("[::1]:80"), v6("::1", 80));
    let zone = Host::V6 { address: "fe80::1".parse().expect("an address"), zone: Some("eth0".to_owned()) };
    assert_eq!(parse("[fe80::1%eth0]:80"), to(zone, 80));
    assert_eq!(parse("@name"), nameless("name"));
    assert_eq!(parse("@name:proxy=v2"), Connect { proxy: Some(ProxyVersion::V2), ..nameless("name") });
}

#[test]
fn tcp_takes_host_and_port() {
    for text in [
        "tcp:127.0.0.1:7500",
        "tcp:host=127.0.0.1:port=7500",
        "tcp:host=127.0.0.1:7500",
        "tcp:127.0.0.1:port=7500",
        "tcp:port=7500:127.0.0.1",
        "tcp:port=7500:host=127.0.0.1",
        "host=127.0.0.1:tcp:7500",
        "TCP:127.0.0.1:7_500",
        "Tcp:127.0.0.1: 7500",
    ] {
        assert_eq!(parse(text), v4("127.0.0.1", 7500), "{text}");
    }
    assert_eq!(parse(r"tcp:\:\:1:80"), v6("::1", 80));
    assert_eq!(parse("tcp:h:80"), named("h", 80));
}

#[test]
fn what_stands_at_its_place_wins() {
    assert_eq!(parse("tcp:h:80:host=x:port=81"), named("h", 80));
    assert_eq!(parse("tcp:80:host=h:port=81"), named("h", 80));
    assert_eq!(parse("tcp:h:80:port=x"), named("h", 80));
    assert_eq!(parse("unix:/a:path=/b"), path("/a"));
    assert_eq!(parse("tcp:host=x:host=h:80"), named("h", 80));
}

#[test]
fn unix_takes_a_path() {
    assert_eq!(parse("unix:/run/x"), path("/run/x"));
    assert_eq!(parse("UNIX:path=run/x"), path("run/x"));
    assert_eq!(parse("unix:/x:lockfile=0"), path("/x"));
    assert_eq!(parse(r"unix:/a\=b\:c"), path("/a=b:c"));
    assert_eq!(parse("unix:@x"), nameless("x"));
    assert_eq!(parse("unix:\0x"), nameless("x"));
    assert_eq!(parse("unix:/x:timeout=5").timeout, Some(Duration::from_secs(5)));
}

#[test]
fn every_kind_takes_times_and_a_header() {
    for start in ["tcp:h:80", "ssl:h:80", "tls:h:80", "unix:/x", "@x", r"tls:h:endpoint=unix\:/x"] {
        let all = parse(&format!("{start}:timeout=250ms:idleTimeout=1h:halfClosedTimeout=never:proxy=v1"));
        assert_eq!(all.timeout, Some(Duration::from_millis(250)));
        assert_eq!(all.idle_timeout, Some(TimeOrNever::of(Some(Duration::from_secs(3600)))));
        assert_eq!(all.half_closed_timeout, Some(TimeOrNever::of(None)));
        assert_eq!(all.proxy, Some(ProxyVersion::V1));
        let none = parse(start);
        assert_eq!((none.timeout, none.idle_timeout, none.half_closed_timeout, none.proxy), (None, None, None, None));
    }
    assert_eq!(parse("tcp:h:80:timeout= 3_0").timeout, Some(Duration::from_secs(30)), "as Python takes it");
    assert_eq!(parse("tcp:h:80:timeout=1.5").timeout, Some(Duration::from_millis(1500)));
}

#[test]
fn tcp_takes_an_address_to_connect_from_and_a_family() {
    let place = |text: &str| match parse(text).place {
        Peer::Tcp(place) => place,
        Peer::Unix(address) => panic!("{address}"),
    };
    assert_eq!(place("tcp:h:80:bindAddress=127.0.0.2").bind_address, "127.0.0.2".parse().ok());
    assert_eq!(place(r"ssl:\:\:1:80:bindAddress=\:\:1").bind_address, "::1".parse().ok());
    assert_eq!(place("tls:h:80:5:127.0.0.2").bind_address, "127.0.0.2".parse().ok());
    assert_eq!(place("tcp:h:80:prefer=4").prefer, Some(Family::V4));
    assert_eq!(place("tls:h:80:prefer=6").prefer, Some(Family::V6));
}

#[test]
fn ssl_and_tls_differ_in_their_words_alone() {
    assert_eq!(parse("ssl:h:443"), parse("tls:h:443"));
    assert_eq!(tls("SSL:h:443"), ClientTls::default());
    let all = ClientTls {
        hostname: Some("name.example".to_owned()),
        ca_certs_dir: Some("/ca".to_owned()),
        cert_key: Some("c.pem".to_owned()),
        private_key: Some("k.pem".to_owned()),
        alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
    };
    let common = "hostname=name.example:privateKey=k.pem:alpn=h2,http/1.1";
    assert_eq!(tls(&format!("ssl:h:443:{common}:caCertsDir=/ca:certKey=c.pem")), all);
    assert_eq!(tls(&format!("tls:h:443:{common}:trustRoots=/ca:certificate=c.pem")), all);
    assert_eq!(
        parse("tls:h:443:7:127.0.0.1:c.pem:k.pem:/ca"),
        parse("ssl:h:443:timeout=7:bindAddress=127.0.0.1:certKey=c.pem:privateKey=k.pem:caCertsDir=/ca")
    );
    assert_eq!(tls("ssl:h:443:hostname=h").hostname, None, "the host need not be named twice");
    assert_eq!(tls(r"ssl:h:443:hostname=\:\:1").hostname.as_deref(), Some("::1"));
}

#[test]
fn tls_may_be_spoken_over_another_endpoint() {
    let over = |name: &str, connect: Connect| Connect {
        tls: Some(ClientTls { hostname: Some(name.to_owned()), ..ClientTls::default() }),
        ..connect
    };
    assert_eq!(parse(r"tls:h:443:endpoint=unix\:/x"), over("h", path("/x")));
    assert_eq!(parse(r"tls:h:endpoint=unix\:/x"), over("h", path("/x")));
    assert_eq!(parse("tls:h:endpoint=@x"), over("h", nameless("x")));
    assert_eq!(parse(r"tls:h:443:endpoint=tcp\:10.0.0.1\:8443"), over("h", v4("10.0.0.1", 8443)));
    assert_eq!(parse(r"tls:h:443:endpoint=10.0.0.1\:8443"), over("h", v4("10.0.0.1", 8443)));
    assert_eq!(parse(r"tls:h:endpoint=h\:443"), parse("tls:h:443"));
    assert_eq!(parse(r"tls:h:endpoint=unix\:/x:hostname=other"), over("other", path("/x")));
    let inner = parse(r"tls:h:endpoint=tcp\:10.0.0.1\:1\:timeout\=5\:proxy\=v1\:prefer\=4:proxy=v2");
    assert_eq!((inner.timeout, inner.proxy), (Some(Duration::from_secs(5)), Some(ProxyVersion::V2)), "the outer wins");
    assert!(matches!(inner.place, Peer::Tcp(HostPort { prefer: Some(Family::V4), .. })));
}

#[test]
fn canonical_texts() {
    for (text, canonical) in [
        ("7500", "tcp:localhost:7500"),
        ("[::1]:80", r"tcp:\:\:1:80"),
        (r"tcp:host=h:port=80:timeout=90:bindAddress=\:\:1", r"tcp:h:80:bindAddress=\:\:1:timeout=90s"),
        ("tcp:h:80:prefer=4:proxy=v1", "tcp:h:80:prefer=4:proxy=v1"),
        ("ssl:h:443", "tls:h:443"),
        (
            "ssl:h:443:certKey=c:caCertsDir=d:privateKey=k:alpn=h2,x:hostname=n",
            "tls:h:443:hostname=n:trustRoots=d:certificate=c:privateKey=k:alpn=h2,x",
        ),
        ("unix:path=/x:lockfile=0", "unix:/x"),
        (r"@a\:b:idleTimeout=never", r"unix:@a\:b:idleTimeout=never"),
        (r"tls:h:443:endpoint=unix\:/a\\\:b", r"tls:h:endpoint=unix\:/a\\\:b"),
        (r"tls:h:443:endpoint=h2\:1", "tls:h2:1:hostname=h"),
    ] {
        assert_eq!(parse(text).to_string(), canonical);
        assert_eq!(parse(canonical), parse(text));
    }
}

#[test]
fn kinds_that_nobody_connects_to_are_refused() {
    let expected = "expected PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, ssl:…, tls:… or unix:…, at character 1";
    for (kind, text) in [
        ("tcp6", r"tcp6:\:\:1:80"),
        ("udp", "udp:h:53"),
        ("udp", "udp:53"),
        ("systemd", "systemd:INET:0"),
        ("fd", "fd:3"),
        ("haproxy", "haproxy:tcp:h:80"),
        ("quic", "quic:h:80"),
    ] {
        assert_eq!(refusal(text), format!("unknown kind of endpoint '{kind}'; {expected}"));
    }
    assert_eq!(refusal(""), format!("the text is empty; {expected}"));
    assert_eq!(refusal("port=80"), format!("the kind of endpoint is missing; {expected}"));
}

#[test]
fn hosts_and_ports_that_are_none_are_refused() {
    let port = "a port to connect to is a number from 1 to 65535";
    assert_eq!(refusal("0"), format!("{port}, at character 1"));
    assert_eq!(refusal("65536"), format!("{port}, at character 1"));
    assert_eq!(refusal("h:0"), format!("{port}, at character 3"));
    assert_eq!(refusal("h:http"), format!("{port}, at character 3"));
    assert_eq!(refusal("[::1]:"), format!("{port}, at character 7"));
    assert_eq!(refusal("tcp:h:0"), format!("{port}, at character 7"));
    assert_eq!(refusal("tcp:h:port=x"), format!("{port}, at character 12"));
    assert_eq!(refusal("h"), "the port is missing; expected HOST:PORT, or another form, at character 2");
    assert_eq!(refusal(":80"), "the host is missing; expected HOST:PORT, or PORT alone for this host, at character 1");
    let host = "a host is a name, an IPv4 address or an IPv6 address";
    assert_eq!(refusal("80:80"), format!("{host}, at character 1"));
    assert_eq!(refusal("tcp:a b:80"), format!("{host}, at character 5"));
    assert_eq!(refusal("tcp::80"), format!("{host}, at character 5"));
    assert_eq!(refusal("ssl:h:80:hostname=a b"), format!("{host}, at character 19"));
    assert_eq!(refusal("::1:80"), "an IPv6 address stands in brackets; expected [ADDRESS]:PORT, at character 1");
    let bracketed = "expected [ADDRESS]:PORT with an IPv6 address in the brackets";
    assert_eq!(refusal("[::1]80"), format!("{bracketed}, at character 6"));
}

#[test]
fn arguments_missing_unknown_or_extra_are_refused() {
    let form = "expected tcp:HOST:PORT[:bindAddress=ADDRESS][:prefer=4|6][:timeout=TIME][:proxy=v1|v2]";
    assert_eq!(refusal("tcp:80"), format!("the port is missing; {form}, at character 7"));
    assert_eq!(refusal("tcp"), format!("the port is missing; {form}, at character 4"));
    assert_eq!(refusal("tcp:port=80"), format!("the host is missing; {form}, at character 12"));
    assert_eq!(refusal("tcp:h:80:5"), format!("one argument too many; {form}, at character 10"));
    assert_eq!(refusal("tcp:h:80:interface=x"), format!("unknown argument 'interface'; {form}, at character 10"));
    assert_eq!(refusal("tcp:h:80:alpn=h2"), format!("unknown argument 'alpn'; {form}, at character 10"));
    assert!(refusal("tls:h:80:caCertsDir=x").starts_with("unknown argument 'caCertsDir'; expected tls:HOST:PORT"));
    assert!(refusal("ssl:h:80:trustRoots=x").starts_with("unknown argument 'trustRoots'; expected ssl:HOST:PORT"));
    let unix = "expected unix:PATH, with any ':' or '=' of the path escaped by a backslash";
    assert_eq!(refusal("unix:address=/x"), format!("unknown argument 'address'; {unix}, at character 6"));
    assert_eq!(refusal("unix:/a:b"), format!("one argument too many; {unix}, at character 9"));
    assert_eq!(refusal("unix"), format!("the path is missing; {unix}, at character 5"));
    assert_eq!(refusal("@"), format!("the path is missing; {unix}, at character 1"));
}

#[test]
fn values_that_are_none_are_refused() {
    let timeout = "a timeout is 250ms, 10s, 5m, 1h or a number of seconds, and more than 0";
    for value in ["", "0", "0ms", "-5", "soon", "never", "2000000h"] {
        assert_eq!(refusal(&format!("tcp:h:80:timeout={value}")), format!("{timeout}, at character 18"));
    }
    for value in ["", "0", "Never"] {
        assert_eq!(
            refusal(&format!("tcp:h:80:idleTimeout={value}")),
            format!("{timeout}, or it is never, at character 22")
        );
    }
    assert_eq!(refusal("tcp:h:80:proxy=1"), "the version of the PROXY protocol is v1 or v2, at character 16");
    assert_eq!(refusal("tcp:h:80:prefer=v4"), "the family to prefer is 4 or 6, at character 17");
    let bind =
        r"a bind address is an IPv4 address, or an IPv6 address with its colons escaped, as in bindAddress=\:\:1";
    assert_eq!(refusal("tcp:h:80:bindAddress=eth0"), format!("{bind}, at character 22"));
    let families = "the bind address and the host are of different families";
    assert_eq!(refusal(r"tcp:127.0.0.1:80:bindAddress=\:\:1"), format!("{families}, at character 30"));
    assert_eq!(refusal(r"tcp:\:\:1:80:bindAddress=127.0.0.1"), format!("{families}, at character 26"));
    let lock = "a lock file is not looked at: a socket that nobody listens to refuses by itself; expected lockfile=0";
    assert_eq!(refusal("unix:/x:lockfile=1"), format!("{lock}, at character 18"));
    assert_eq!(refusal("unix:/x:lockfile=yes"), format!("{lock}, at character 18"));
    let alone = |word: &str| format!("a private key goes with a certificate; expected {word}=FILE as well");
    assert_eq!(refusal("ssl:h:80:privateKey=k"), format!("{}, at character 21", alone("certKey")));
    assert_eq!(refusal("tls:h:80:privateKey=k"), format!("{}, at character 21", alone("certificate")));
}

#[test]
fn an_inner_endpoint_is_pointed_into() {
    let refused = |text: &str| refusal(text).rsplit(' ').next().and_then(|at| at.parse::<usize>().ok());
    assert_eq!(refused(r"tls:h:endpoint=tcp\:h\:0"), Some(24));
    assert_eq!(refused(r"tls:h:endpoint=tcp\:h\:8\:prefer\=5"), Some(35));
    assert_eq!(refused(r"tls:h:endpoint="), Some(16));
    let twice = "TLS inside of TLS; expected a tcp or unix endpoint to speak TLS over, at character 16";
    assert_eq!(refusal(r"tls:h:endpoint=ssl\:h\:1"), twice);
    let inner = r"the bindAddress is for the inner endpoint to say; expected endpoint=tcp\:HOST\:PORT\:bindAddress\=…";
    assert_eq!(refusal(r"tls:h:endpoint=unix\:/x:bindAddress=127.0.0.1"), format!("{inner}, at character 37"));
}
