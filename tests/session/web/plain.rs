//! The plain page without a browser: what it shows and what its forms do, and what other sites try with it.

use super::http::Answer;
use super::stage::{Session, Stage, read};
use crate::harness::{PATIENCE, trials, until};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

trials![
    looking_at_a_session_frees_its_destination_and_takes_nothing_over,
    what_is_left_of_a_line_is_told_and_in_the_field,
    a_page_of_another_site_sees_and_changes_nothing,
    a_cookie_that_a_neighbour_may_have_set_does_not_count_behind_tls,
];

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// The page of a session, for a browser that has its cookie.
struct Page {
    path: String,
    cookie: String,
    origin: String,
}

impl Page {
    fn of(stage: &Stage, session: &Session) -> Page {
        let secret = session.bearer.strip_prefix("Bearer ").unwrap();
        let cookie = format!("session-{}={secret}; plain=of-the-start", session.id);
        Page { path: format!("/plain/{}", session.id), cookie, origin: format!("http://{}", stage.address) }
    }

    fn look(&self, stage: &Stage) -> Answer {
        stage.ask("GET", &self.path, &[("Cookie", &self.cookie)], b"")
    }

    /// Posts a line with the token and the offset of a page.
    fn send(&self, stage: &Stage, page: &str, line: &str) -> Answer {
        let headers = [("Cookie", self.cookie.as_str()), ("Origin", &self.origin), FORM];
        stage.ask("POST", &self.path, &headers, form(page, line).as_bytes())
    }
}

fn form(page: &str, line: &str) -> String {
    format!("do=send&token={}&offset={}&line={line}", field(page, "token"), field(page, "offset"))
}

fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split('"').next().unwrap()
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn looking_at_a_session_frees_its_destination_and_takes_nothing_over() {
    let stage = Stage::with(&["--buffer", "64KiB"], &[]);
    let (session, mut destination) = stage.open();
    let page = Page::of(&stage, &session);
    let all = 600_000;
    let writer = std::thread::spawn(move || {
        destination.write_all(&b"line\r\n".repeat(all / 6)).unwrap();
        destination
    });
    let seen = until("everything has come", PATIENCE, || {
        assert_eq!(page.look(&stage).status, 200);
        let seen = stage.server.status()["sessions"][0].clone();
        if seen["bytes_out"] == all && seen["buffered"] == 0 { Ok(seen) } else { Err(seen.to_string()) }
    });
    // Whoever was the client before comes back as the next one, and knows what of its input has arrived.
    assert_eq!((seen["epoch"].as_u64(), seen["state"].as_str()), (Some(1), Some("detached")), "{seen}");
    drop(writer.join().unwrap());
}

/// Where nobody accepts and the backlog is full, so that connecting goes on and on.
fn nowhere() -> (TcpListener, Vec<TcpStream>) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&silent, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let full = (0..8).map_while(connect).collect();
    (silent, full)
}

fn what_is_left_of_a_line_is_told_and_in_the_field() {
    let (silent, _full) = nowhere();
    let stage = Stage::to(silent.local_addr().unwrap(), &["--connect-timeout", "1h"], &[]);
    let session = stage.session();
    let page = Page::of(&stage, &session);
    // Room for five bytes is left.
    let most = 256 * 1024;
    assert_eq!(stage.input(&session, 0, &vec![b'x'; most - 5]).json()["next"], most - 5);
    let before = text(&page.look(&stage));
    let answer = page.send(&stage, &before, "hello+%22world%22");
    assert_eq!(answer.status, 409);
    let after = text(&answer);
    assert!(after.contains("Not all of your line was sent"), "{after}");
    assert_eq!((field(&after, "line"), field(&after, "offset")), (" &quot;world&quot;", most.to_string().as_str()));
    // The very same form again: what it has sent is not sent again, and what is left is the same.
    let again = text(&page.send(&stage, &before, "hello+%22world%22"));
    assert_eq!(field(&again, "offset"), most.to_string());
    // Now there is no room at all.
    let answer = page.send(&stage, &after, "+world");
    assert_eq!((answer.status, field(&text(&answer), "line")), (503, " world"));
    assert!(text(&answer).contains("your line was not sent"), "{answer:?}");
    assert_eq!(stage.get(&session, "").json()["input"]["next"], most);
    // No more is taken once the input has ended, either.
    assert_eq!(stage.post(&session, "/fin", &[], b"").status, 204);
    let answer = page.send(&stage, &after, "late");
    assert_eq!((answer.status, field(&text(&answer), "line")), (409, "late"));
    assert!(text(&answer).contains("The input has ended"), "{answer:?}");
}

fn a_page_of_another_site_sees_and_changes_nothing() {
    let stage = Stage::new();
    let (session, mut destination) = stage.open();
    destination.write_all(b"for its user alone").unwrap();
    let own = Page::of(&stage, &session);
    let page = until("it is shown", PATIENCE, || {
        let page = text(&own.look(&stage));
        if page.contains("for its user alone") { Ok(page) } else { Err(page) }
    });
    let start = stage.ask("GET", "/plain", &[("Cookie", &own.cookie)], b"");
    let open = format!("do=open&token={}", field(&text(&start), "token"));
    let (port, origin) = (stage.address.port(), own.origin.as_str());
    let neighbour = format!("http://127.0.0.1:{}", port ^ 1);
    let (rebound, other_port) = (format!("rebound.example:{port}"), format!("127.0.0.1:{}", port ^ 1));
    let foreign: [(&[(&str, &str)], &str); 9] = [
        (&[("Origin", "http://evil.example")], "foreign_origin"),
        (&[("Origin", "null")], "foreign_origin"),
        (&[("Origin", &neighbour), ("Sec-Fetch-Site", "same-site")], "foreign_origin"),
        (&[("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")], "cross_site"),
        (&[("Origin", origin), ("Sec-Fetch-Site", "cross-site")], "cross_site"),
        (
            &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")],
            "cross_site",
        ),
        (&[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")], "cross_site"),
        (&[("Host", &rebound), ("Origin", origin)], "foreign_host"),
        (&[("Host", &other_port), ("Origin", origin)], "foreign_host"),
    ];
    let send = form(&page, "evil");
    for (headers, code) in foreign {
        let headers = [&[("Cookie", own.cookie.as_str()), FORM], headers].concat();
        for (method, path, body) in
            [("GET", "/plain", ""), ("GET", &own.path, ""), ("POST", "/plain", &open), ("POST", &own.path, &send)]
        {
            let answer = stage.ask(method, path, &headers, body.as_bytes());
            answer.expect_error(403, code);
            assert!(answer.header("set-cookie").is_none(), "{method} {path}");
        }
    }
    // What is no page of this host, but of this site; and a form without an origin.
    let same_site = [("Cookie", own.cookie.as_str()), ("Sec-Fetch-Site", "same-site")];
    stage.ask("GET", &own.path, &same_site, b"").expect_error(403, "cross_site");
    let headers = [("Cookie", own.cookie.as_str()), ("Sec-Fetch-Site", "same-origin"), FORM];
    stage.ask("POST", &own.path, &headers, send.as_bytes()).expect_error(403, "no_origin");
    assert_eq!(stage.get(&session, "").json()["input"]["next"], 0);
    stage.destination.expect_no_more();
    // A link of anybody's may lead to the page, which then is seen by its user alone.
    let link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    let headers = [&[("Cookie", own.cookie.as_str())], &link[..]].concat();
    assert_eq!(stage.ask("GET", &own.path, &headers, b"").status, 200);
    // And the user's own form does what it says.
    assert_eq!(own.send(&stage, &page, "good").status, 303);
    assert_eq!(read(&mut destination, 6), b"good\r\n");
}

fn a_cookie_that_a_neighbour_may_have_set_does_not_count_behind_tls() {
    let stage = Stage::with(&[], &["--allow-host=term.example"]);
    let (session, _destination) = stage.open();
    let secret = session.bearer.strip_prefix("Bearer ").unwrap();
    let (any, host) = (format!("session-{}={secret}", session.id), format!("__Host-session-{}={secret}", session.id));
    let look = |cookie: &str, proto: &str| {
        let headers = [("Cookie", cookie), ("Host", "term.example"), ("X-Forwarded-Proto", proto)];
        let shown = text(&stage.ask("GET", &format!("/plain/{}", session.id), &headers, b""));
        shown.contains("name=\"line\"")
    };
    assert!(look(&any, "http") && look(&host, "https") && look(&format!("{any}; {host}"), "https"));
    assert!(!look(&any, "https"), "anybody on this site may have set it");
    assert!(!look(&format!("{any}; {any}"), "http"), "one of them is somebody else's");
    // The start's own cookie is one that nobody else can set, either.
    let headers = [("Host", "term.example"), ("X-Forwarded-Proto", "https"), ("Cookie", "plain=tossed")];
    let start = stage.ask("GET", "/plain", &headers, b"");
    let set = start.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-plain=") && set.ends_with("; Secure"), "{set}");
}
