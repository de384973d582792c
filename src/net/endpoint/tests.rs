//! What texts mean. What is refused, and how, is in `refusals`; where to connect in `connect`; paths and sameness in
//! `places`; a seeded walk over texts and values in `walk`.

mod connect;
mod places;
mod refusals;
mod walk;

use super::*;

fn listen(interface: Interface, port: u16, backlog: Option<u32>) -> Listen {
    Listen::Tcp(Tcp { interface, port, backlog })
}

fn unix(path: &str, mode: Option<u32>, backlog: Option<u32>) -> Listen {
    Listen::Unix(Unix { address: UnixAddress::Path(path.to_owned()), mode, backlog })
}

fn nameless(name: &str, backlog: Option<u32>) -> Listen {
    Listen::Unix(Unix { address: UnixAddress::Abstract(name.to_owned()), mode: None, backlog })
}

fn systemd(domain: Domain, which: Which) -> Listen {
    Listen::Adopt(Adopt::Systemd { domain, which })
}

fn v4(text: &str) -> Interface {
    Interface::V4(text.parse().expect("an IPv4 address"))
}

fn v6(text: &str) -> Interface {
    Interface::V6 { address: text.parse().expect("an IPv6 address"), zone: None }
}

fn zoned(text: &str, zone: &str) -> Interface {
    Interface::V6 { address: text.parse().expect("an IPv6 address"), zone: Some(zone.to_owned()) }
}

fn name(text: &str) -> Interface {
    Interface::Name(text.to_owned())
}

fn parse(text: &str) -> Listen {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn short_forms() {
    assert_eq!(parse("4321"), listen(Interface::All, 4321, None));
    assert_eq!(parse("0"), listen(Interface::All, 0, None));
    assert_eq!(parse("65535"), listen(Interface::All, 65535, None));
    assert_eq!(parse("127.0.0.1:80"), listen(v4("127.0.0.1"), 80, None));
    assert_eq!(parse("0.0.0.0:0"), listen(v4("0.0.0.0"), 0, None));
    assert_eq!(parse("localhost:80"), listen(name("localhost"), 80, None));
    assert_eq!(parse("my_host-1.example.org.:80"), listen(name("my_host-1.example.org."), 80, None));
    assert_eq!(parse("[::1]:80"), listen(v6("::1"), 80, None));
    assert_eq!(parse("[::]:0"), listen(v6("::"), 0, None));
    assert_eq!(parse("[fe80::1%eth0.5]:80"), listen(zoned("fe80::1", "eth0.5"), 80, None));
}

#[test]
fn tcp_takes_port_interface_backlog() {
    assert_eq!(parse("tcp:80"), parse("80"));
    assert_eq!(parse("tcp:80:127.0.0.1:10"), listen(v4("127.0.0.1"), 80, Some(10)));
    assert_eq!(parse("tcp:80::5"), listen(Interface::All, 80, Some(5)));
    assert_eq!(parse("tcp:80:"), listen(Interface::All, 80, None));
    assert_eq!(parse("tcp:80:interface="), listen(Interface::All, 80, None));
    assert_eq!(parse("tcp:port=80:backlog=7"), listen(Interface::All, 80, Some(7)));
    assert_eq!(parse("tcp:backlog=7:80"), listen(Interface::All, 80, Some(7)));
    assert_eq!(parse("port=80:tcp"), listen(Interface::All, 80, None));
    assert_eq!(parse("tcp:80:interface=localhost"), listen(name("localhost"), 80, None));
    assert_eq!(parse(r"tcp:80:interface=\:\:1"), listen(v6("::1"), 80, None));
    assert_eq!(parse("tcp:80:backlog=0"), listen(Interface::All, 80, Some(0)));
    assert_eq!(parse("tcp:80:backlog=2147483647"), listen(Interface::All, 80, Some(2_147_483_647)));
}

#[test]
fn tcp6_takes_port_backlog_interface() {
    assert_eq!(parse("tcp6:80"), listen(v6("::"), 80, None));
    assert_eq!(parse(r"tcp6:80:10:\:\:1"), listen(v6("::1"), 80, Some(10)));
    assert_eq!(parse(r"tcp6:80:interface=\:\:1"), parse("[::1]:80"));
    assert_eq!(parse(r"tcp6:interface=fe80\:\:1%2:80"), listen(zoned("fe80::1", "2"), 80, None));
    // An address needs escaping only where it has colons in it, and Twisted's first equal sign makes the keyword.
    assert_eq!(parse(r"tcp6:80:interface=\f\e80\:\:1"), listen(v6("fe80::1"), 80, None));
}

#[test]
fn of_a_repeated_keyword_the_last_one_holds() {
    assert_eq!(parse("tcp:80:backlog=1:backlog=2"), listen(Interface::All, 80, Some(2)));
    assert_eq!(parse("tcp:port=x:port=80"), listen(Interface::All, 80, None));
}

#[test]
fn numbers_of_long_forms_are_what_python_takes() {
    for text in ["tcp: 80", "tcp:80 ", "tcp:+80", "tcp:8_0", "tcp:0080", "tcp:port=\t80\n"] {
        assert_eq!(parse(text), listen(Interface::All, 80, None), "{text:?}");
    }
    assert_eq!(parse("tcp:-0"), listen(Interface::All, 0, None));
    for text in ["tcp:_80", "tcp:80_", "tcp:8__0", "tcp:+-80", "tcp:8 0", "tcp:0x50", "tcp:80.0", "tcp:", "tcp:+"] {
        assert!(text.parse::<Listen>().is_err(), "{text:?}");
    }
}

/// The examples of a section of the documentation: what stands in code in the first column of its first table.
fn documented(section: &str) -> Vec<&'static str> {
    let page = include_str!("../../../docs/endpoints.md");
    let section = page.split_once(&format!("\n## {section}\n")).expect("the section").1;
    let rows =
        section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let examples: Vec<_> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap_or("").split('`').skip(1).step_by(2)).collect();
    assert!(examples.len() > 10, "{examples:?}");
    examples
}

#[test]
fn the_examples_of_the_documentation_are_endpoints() {
    for text in documented("To listen") {
        parse(text);
    }
    for text in documented("To connect") {
        text.parse::<Connect>().unwrap_or_else(|error| panic!("{error}"));
    }
    let page = include_str!("../../../docs/endpoints.md");
    let error = "tcp:db:70000".parse::<Connect>().expect_err("a port out of range");
    assert!(page.contains(&format!("\nsocket-protector: {error}\n{}\n", error.pointed())), "{error}");
    assert!(page.contains("`4321` becomes `tcp:4321`, `ssl:h:443` becomes\n`tls:h:443`"));
    assert_eq!(parse("4321").to_string(), "tcp:4321");
    assert_eq!("ssl:h:443".parse::<Connect>().expect("an endpoint").to_string(), "tls:h:443");
    for two in ["tcp:port=4321:backlog=9", "haproxy:tcp:4321"] {
        assert!(page.contains(&format!("`{two}`")) && parse("4321").same_place(&parse(two)), "{two}");
    }
}

#[test]
fn canonical_texts() {
    for (text, canonical) in [
        ("4321", "tcp:4321"),
        ("127.0.0.1:4321", "tcp:4321:interface=127.0.0.1"),
        ("localhost:1", "tcp:1:interface=localhost"),
        ("[::1]:4321", r"tcp6:4321:interface=\:\:1"),
        ("[::]:4321", "tcp6:4321"),
        ("tcp6:4321:9", "tcp6:4321:backlog=9"),
        ("[fe80::1%eth0]:1", r"tcp6:1:interface=fe80\:\:1%eth0"),
        ("[::%eth0]:1", r"tcp6:1:interface=\:\:%eth0"),
        ("tcp:80:127.0.0.1:10", "tcp:80:interface=127.0.0.1:backlog=10"),
        ("udp:53", "udp:53"),
        (r"udp:53:\:\:1", r"udp:53:interface=\:\:1"),
        ("unix:/run/x:660", "unix:/run/x:mode=660"),
        ("unix:address=/run/x:backlog=5:mode=0660", "unix:/run/x:mode=660:backlog=5"),
        (r"unix:/a\:b\=c", r"unix:/a\:b\=c"),
        ("@name", "unix:@name"),
        (r"@a\:b:backlog=7", r"unix:@a\:b:backlog=7"),
        ("systemd:INET6:3", "systemd:domain=INET6:index=3"),
        ("systemd:name=web:domain=UNIX", "systemd:domain=UNIX:name=web"),
        ("fd:03", "fd:3"),
        ("ssl:443", "ssl:443:privateKey=server.pem"),
        (
            r"ssl:443:k:c:TLS_METHOD:\:\:1:9:e:clientCAs=a:alpn=h2,x",
            r"ssl:443:interface=\:\:1:privateKey=k:certKey=c:extraCertChain=e:clientCAs=a:alpn=h2,x:backlog=9",
        ),
        ("haproxy:[::1]:80", r"haproxy:tcp6:80:interface=\:\:1"),
        (r"HAPROXY:unix:/a\=b", r"haproxy:unix:/a\=b"),
    ] {
        assert_eq!(parse(text).to_string(), canonical);
        assert_eq!(parse(canonical), parse(text));
    }
}

#[test]
fn ssl_takes_the_files_of_its_identity() {
    let tls = |text: &str| match parse(text) {
        Listen::Tls(tls) => *tls,
        other => panic!("{other}"),
    };
    let files = |private_key: &str| ServerFiles {
        private_key: private_key.to_owned(),
        cert_key: None,
        extra_cert_chain: None,
        client_cas: None,
        alpn: Vec::new(),
    };
    let tcp = |interface, port, backlog| Tcp { interface, port, backlog };
    assert_eq!(tls("ssl:443"), TlsListen { tcp: tcp(Interface::All, 443, None), files: files("server.pem") });
    let all = TlsListen {
        tcp: tcp(v4("127.0.0.1"), 443, Some(9)),
        files: ServerFiles {
            cert_key: Some("c.pem".to_owned()),
            extra_cert_chain: Some("e.pem".to_owned()),
            ..files("k.pem")
        },
    };
    assert_eq!(tls("ssl:443:k.pem:c.pem:TLS_METHOD:127.0.0.1:9:e.pem"), all);
    assert_eq!(
        tls(
            "ssl:extraCertChain=e.pem:backlog=9:sslmethod=SSLv23_METHOD:443:certKey=c.pem:privateKey=k.pem:interface=127.0.0.1"
        ),
        all
    );
    let ours = tls("ssl:443:k.pem:clientCAs=ca.pem:alpn=h2,http/1.1").files;
    assert_eq!(ours.client_cas.as_deref(), Some("ca.pem"));
    assert_eq!(ours.alpn, ["h2", "http/1.1"]);
    assert_eq!(tls(r"ssl:443:k\:\=.pem").files.private_key, "k:=.pem");
}

#[test]
fn haproxy_stands_before_any_endpoint_for_connections() {
    let proxied = |text: &str| Listen::Proxied(Box::new(parse(text)));
    for (text, inner) in [
        ("haproxy:tcp:80", "tcp:80"),
        (r"haproxy:tcp6:80:interface=\:\:1", "[::1]:80"),
        ("HaProxy:ssl:443:k.pem", "ssl:443:k.pem"),
        (r"haproxy:unix:/a\=b\:c:660", r"unix:/a\=b\:c:660"),
        ("haproxy:systemd:INET:0", "systemd:INET:0"),
        ("haproxy:fd:3", "fd:3"),
        ("haproxy:8080", "8080"),
        ("haproxy:localhost:8080", "localhost:8080"),
        ("haproxy:[::1]:8080", "[::1]:8080"),
        ("haproxy:@x", "@x"),
        ("port=80:haproxy:tcp", "tcp:80"),
        ("haproxy:port=80:tcp", "tcp:80"),
    ] {
        assert_eq!(parse(text), proxied(inner), "{text}");
        assert_eq!(parse(text).socket(), &parse(inner));
    }
}

#[test]
fn the_kinds_of_plugins_are_known_in_any_case_of_letters() {
    assert_eq!(parse("Tcp6:80"), parse("tcp6:80"));
    assert_eq!(parse("SystemD:INET:0"), parse("systemd:INET:0"));
}

#[test]
fn udp_takes_port_interface() {
    let udp = |interface, port| Listen::Udp(Udp { interface, port });
    assert_eq!(parse("udp:53"), udp(Interface::All, 53));
    assert_eq!(parse("udp:0:127.0.0.1"), udp(v4("127.0.0.1"), 0));
    assert_eq!(parse("udp:53:interface=localhost"), udp(name("localhost"), 53));
    assert_eq!(parse(r"udp:interface=\:\::port=53"), udp(v6("::"), 53));
}

#[test]
fn unix_takes_address_mode_backlog() {
    assert_eq!(parse("unix:/x:660"), unix("/x", Some(0o660), None));
    assert_eq!(parse("unix:/x:660:5"), unix("/x", Some(0o660), Some(5)));
    assert_eq!(parse("unix:/x:mode=0o7:backlog=0"), unix("/x", Some(7), Some(0)));
    assert_eq!(parse("unix:run/x"), unix("run/x", None, None));
    assert_eq!(parse("unix:./@x"), unix("./@x", None, None));
    assert_eq!(parse("unix:address=/x:mode=777"), unix("/x", Some(0o777), None));
    assert_eq!(parse(r"unix:/a\=b"), unix("/a=b", None, None));
    assert_eq!(parse("@x"), nameless("x", None));
    assert_eq!(parse("unix:@x"), nameless("x", None));
    assert_eq!(parse("unix:\0x"), nameless("x", None));
    assert_eq!(parse("@@x:backlog=5"), nameless("@x", Some(5)));
    let longest = "n".repeat(107);
    assert_eq!(parse(&format!("unix:{longest}")), unix(&longest, None, None));
    assert_eq!(parse(&format!("@{longest}")), nameless(&longest, None));
}

#[test]
fn systemd_takes_a_domain_and_an_index_or_a_name() {
    assert_eq!(parse("systemd:domain=INET:index=0"), systemd(Domain::Inet, Which::Index(0)));
    assert_eq!(parse("systemd:INET6:12"), systemd(Domain::Inet6, Which::Index(12)));
    assert_eq!(parse("systemd:UNIX:name=my socket"), systemd(Domain::Unix, Which::Name("my socket".to_owned())));
}

#[test]
fn fd_takes_a_number() {
    assert_eq!(parse("fd:3"), Listen::Adopt(Adopt::Descriptor(3)));
    assert_eq!(parse("fd:number=2147483647"), Listen::Adopt(Adopt::Descriptor(i32::MAX)));
}

#[test]
fn names_stand_before_an_equal_sign_that_no_colon_precedes() {
    let named = |text: &str| text.parse::<NamedListen>().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(named("web=80"), NamedListen { name: Some("web".to_owned()), listen: parse("80") });
    assert_eq!(named("a.b_C-1=[::1]:80").name.as_deref(), Some("a.b_C-1"));
    assert_eq!(named("web=tcp:80:backlog=5").listen, parse("tcp:80:backlog=5"));
    assert_eq!(named("tcp:80:backlog=5"), NamedListen { name: None, listen: parse("tcp:80:backlog=5") });
    assert_eq!(named("80").name, None);
    assert_eq!(named("web=unix:/a:mode=660").listen, parse("unix:/a:mode=660"));
    assert_eq!(named(r"@a\=b"), NamedListen { name: None, listen: nameless("a=b", None) });
    assert_eq!(named("web=@a"), NamedListen { name: Some("web".to_owned()), listen: nameless("a", None) });
    assert_eq!(named(&format!("{}=80", "n".repeat(64))).name.map(|name| name.len()), Some(64));

    let refused = |text: &str| text.parse::<NamedListen>().expect_err("no named endpoint").to_string();
    let name =
        "the name of a listener is 1 to 64 letters, digits, '.', '_' or '-'; expected [NAME=]LISTEN, at character 1";
    for text in ["=80", "a b=80", "a/b=80", "é=80", &format!("{}=80", "n".repeat(65))] {
        assert_eq!(refused(text), format!("not an endpoint: '{text}': {name}"));
    }
    assert_eq!(
        refused("web=70000"),
        "not an endpoint: 'web=70000': a port is a number from 0 to 65535, at character 5"
    );
    assert_eq!(refused("web=").rsplit(' ').next(), Some("5"));
}
