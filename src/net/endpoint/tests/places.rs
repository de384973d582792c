//! Relative paths, and which endpoints are one place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::*;

fn same(one: &str, two: &str) -> bool {
    let (one, two) = (parse(one), parse(two));
    assert_eq!(one.same_place(&two), two.same_place(&one), "{one} and {two}");
    one.same_place(&two)
}

#[test]
fn a_place_is_an_address_and_not_its_spelling_or_options() {
    for (one, two) in [
        ("9000", "tcp:port=9000:backlog=7"),
        ("localhost:1", "tcp:1:interface=LOCALHOST."),
        ("[::1]:1", r"tcp6:1:interface=0\:0\:\:1"),
        ("tcp:443", "ssl:443:k.pem"),
        ("tcp:443", "haproxy:ssl:443:k.pem"),
        ("haproxy:tcp:80", "HAPROXY:80"),
        ("udp:53", "udp:port=53"),
        ("unix:/run/x:660", "unix:address=/run/./x:backlog=9"),
        ("unix:/run//x", "haproxy:unix:/run/x"),
        ("unix:x", "unix:./x"),
        ("@x", "unix:@x"),
        ("fd:3", "fd:03"),
        ("systemd:INET:0", "systemd:domain=INET:index=0"),
    ] {
        assert!(same(one, two), "{one} and {two}");
    }
    for (one, two) in [
        ("9000", "9001"),
        ("9000", "127.0.0.1:9000"),
        ("localhost:1", "localhost.example:1"),
        ("tcp:53", "udp:53"),
        ("udp:53", "udp:53:127.0.0.1"),
        ("unix:/x", "@x"),
        ("unix:/x", "unix:/y"),
        ("unix:/x", "unix:x"),
        ("unix:/a/../x", "unix:/x"),
        ("@x", "@y"),
        ("fd:3", "fd:4"),
        ("systemd:INET:0", "systemd:INET:name=web"),
        ("tcp:80", "unix:/x"),
        ("fd:3", "tcp:3"),
    ] {
        assert!(!same(one, two), "{one} and {two}");
    }
}

#[test]
fn relative_paths_are_the_folders() {
    let listen = |text: &str| parse(text).with_paths_of(Path::new("/here")).map(|listen| listen.to_string());
    let connect = |text: &str| {
        let connect: Connect = text.parse().expect("an endpoint");
        connect.with_paths_of(Path::new("/here")).map(|connect| connect.to_string())
    };
    for (text, absolute) in [
        ("tcp:80", "tcp:80"),
        ("unix:x", "unix:/here/x"),
        ("unix:./@x:660", "unix:/here/@x:mode=660"),
        ("unix:../x", "unix:/here/../x"),
        ("unix:/x", "unix:/x"),
        ("@x", "unix:@x"),
        ("fd:3", "fd:3"),
        ("ssl:443", "ssl:443:privateKey=/here/server.pem"),
        (
            "haproxy:ssl:443:k:c:extraCertChain=e:clientCAs=./a/b",
            "haproxy:ssl:443:privateKey=/here/k:certKey=/here/c:extraCertChain=/here/e:clientCAs=/here/a/b",
        ),
    ] {
        assert_eq!(listen(text).as_deref(), Ok(absolute));
    }
    for (text, absolute) in [
        ("7500", "tcp:localhost:7500"),
        ("unix:x", "unix:/here/x"),
        (r"tls:h:endpoint=unix\:x", r"tls:h:endpoint=unix\:/here/x"),
        (
            "ssl:h:1:caCertsDir=d:certKey=c:privateKey=/k",
            "tls:h:1:trustRoots=/here/d:certificate=/here/c:privateKey=/k",
        ),
    ] {
        assert_eq!(connect(text).as_deref(), Ok(absolute));
    }
}

#[test]
fn paths_that_cannot_be_written_are_errors() {
    let odd = Path::new(OsStr::from_bytes(b"/\xff"));
    let told = |text: &str, folder: &Path| parse(text).with_paths_of(folder).expect_err("it cannot be").to_string();
    assert_eq!(told("unix:x", odd), "the path x is relative to a folder whose name is no text: /\u{fffd}");
    assert_eq!(parse("unix:/x").with_paths_of(odd), Ok(parse("unix:/x")));
    let folder = format!("/{}", "f".repeat(105));
    let long = told("unix:x", Path::new(&folder));
    assert_eq!(long, format!("the path of a unix socket is at most 107 bytes long, and this one has 108: {folder}/x"));
    assert!(parse("ssl:1:x").with_paths_of(Path::new(&folder)).is_ok(), "other files may have longer paths");
}
