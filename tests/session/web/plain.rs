//! The plain page without a browser: what it shows and what its forms do, and what other sites try with it.

use super::http::Answer;
use super::stage::{Session, Stage, read};
use crate::harness::{PATIENCE, trials, until};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

trials![
    looking_at_a_session_frees_its_destination_and_takes_nothing_over,
    what_a_page_did_not_show_is_kept_until_somebody_leaves_it_out,
    what_others_have_read_is_not_missing_on_the_first_page,
    what_a_browser_asks_for_ahead_counts_for_nothing,
    all_of_a_flood_can_be_read_page_by_page,
    a_line_is_taken_as_a_whole_or_is_in_the_field_again,
    a_line_that_never_fits_is_divided_between_two_letters,
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
        self.follow(stage, &self.path)
    }

    /// Goes where a link leads.
    fn follow(&self, stage: &Stage, link: &str) -> Answer {
        let path = link.split('#').next().unwrap();
        stage.ask("GET", path, &[("Cookie", &self.cookie)], b"")
    }

    /// Posts a line with the token and the offset of a page.
    fn send(&self, stage: &Stage, page: &str, line: &str) -> Answer {
        let headers = [("Cookie", self.cookie.as_str()), ("Origin", &self.origin), FORM];
        stage.ask("POST", &self.path, &headers, form(page, line).as_bytes())
    }

    /// Posts the form of the output that a page does not show.
    fn leave_out(&self, stage: &Stage, page: &str) -> Answer {
        assert!(page.contains("value=\"leave-out\">Leave them out</button>"), "{page}");
        let headers = [("Cookie", self.cookie.as_str()), ("Origin", &self.origin), FORM];
        let body = format!("do=leave-out&token={}&seen={}", field(page, "token"), field(page, "seen"));
        stage.ask("POST", &self.path, &headers, body.as_bytes())
    }
}

fn form(page: &str, line: &str) -> String {
    format!("do=send&token={}&offset={}&line={line}", field(page, "token"), field(page, "offset"))
}

fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split('"').next().unwrap()
}

/// Where the link of that text leads, if there is one.
fn link(page: &str, words: &str) -> Option<String> {
    let before = page.split(&format!("\">{words}</a>")).next().filter(|before| before.len() < page.len())?;
    Some(before.rsplit("href=\"").next().unwrap().replace("&amp;", "&"))
}

/// What a page shows of the output.
fn output(page: &str) -> &str {
    let rest = page.split("aria-label=\"Output\">").nth(1).unwrap_or_else(|| panic!("{page}"));
    rest.split("</pre>").next().unwrap()
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
    let mut next = page.path.clone();
    let seen = until("everything has come", PATIENCE, || {
        let answer = page.follow(&stage, &next);
        assert_eq!(answer.status, 200);
        next = link(&text(&answer), "Load again").unwrap();
        let seen = stage.server.status()["sessions"][0].clone();
        if seen["bytes_out"] == all && seen["buffered"] == 0 { Ok(seen) } else { Err(seen.to_string()) }
    });
    // Whoever was the client before comes back as the next one, and knows what of its input has arrived.
    assert_eq!((seen["epoch"].as_u64(), seen["state"].as_str()), (Some(1), Some("detached")), "{seen}");
    drop(writer.join().unwrap());
}

/// A session whose destination has said so many numbered lines, all of which wait: more than a page shows.
fn flooded(stage: &Stage, lines: usize) -> (Session, Page, TcpStream, String) {
    let (session, mut destination) = stage.open();
    let said: String = (0..lines).map(|number| format!("line {number:06}\n")).collect();
    destination.write_all(said.as_bytes()).unwrap();
    until("all has come", PATIENCE, || buffered(stage, said.len()));
    let page = Page::of(stage, &session);
    (session, page, destination, said)
}

fn buffered(stage: &Stage, bytes: usize) -> Result<(), String> {
    let seen = stage.server.status()["sessions"][0].clone();
    if seen["buffered"] == bytes { Ok(()) } else { Err(seen.to_string()) }
}

fn what_a_page_did_not_show_is_kept_until_somebody_leaves_it_out() {
    let stage = Stage::new();
    let (session, page, mut destination, said) = flooded(&stage, 30_000);
    // Neither the page, nor loading it again or by itself, nor its form makes that arrive which it has not shown.
    let first = text(&page.look(&stage));
    assert!(
        output(&first).ends_with("line 029999\n") && output(&first).len() == 128 * 1024,
        "{}",
        output(&first).len()
    );
    assert!(first.contains(&format!("{} bytes before this are not shown", said.len() - 128 * 1024)), "{first}");
    for way in ["Load again", "Load by itself", "Hide what I type"] {
        page.follow(&stage, &link(&first, way).unwrap());
        buffered(&stage, said.len()).unwrap();
    }
    let sent = page.send(&stage, &first, "typed");
    assert_eq!(read(&mut destination, 7), b"typed\r\n");
    page.follow(&stage, sent.header("location").unwrap());
    buffered(&stage, said.len()).unwrap();
    // So a client that comes now has every byte.
    let had = stage.get(&session, "/output?from=0").expect_output(0);
    assert!(said.as_bytes().starts_with(&had) && !had.is_empty());
    wait_detached(&stage);
    // The user may do without it, by a form of the page.
    let page_now = text(&page.look(&stage));
    let foreign = page_now.replace(field(&page_now, "token"), &"0".repeat(64));
    page.leave_out(&stage, &foreign).expect_error(403, "no_token");
    let left = page.leave_out(&stage, &page_now);
    assert_eq!(left.status, 303);
    let without = text(&page.follow(&stage, left.header("location").unwrap()));
    buffered(&stage, 0).unwrap();
    assert!(!without.contains("Leave them out") && output(&without).ends_with("line 029999\n"), "{without}");
}

fn wait_detached(stage: &Stage) {
    until("it has gone again", PATIENCE, || {
        let seen = stage.server.status()["sessions"][0].clone();
        if seen["state"] == "detached" { Ok(()) } else { Err(seen.to_string()) }
    });
}

fn what_others_have_read_is_not_missing_on_the_first_page() {
    let stage = Stage::new();
    let (session, page, mut destination, said) = flooded(&stage, 30_000);
    let mut had = 0;
    while had < said.len() {
        had += stage.get(&session, &format!("/output?from={had}")).expect_output(had as u64).len();
    }
    assert_eq!(stage.get(&session, &format!("/output?from={had}")).status, 204);
    buffered(&stage, 0).unwrap();
    wait_detached(&stage);
    // The scrollback has more than a page, and nobody waits for it.
    let first = text(&page.look(&stage));
    assert!(output(&first).ends_with("line 029999\n") && first.contains("What came before is not shown"), "{first}");
    assert!(!first.contains("may have to wait"), "{first}");
    // So what comes next is freed by looking at it.
    destination.write_all(b"and more\n").unwrap();
    until("it has come", PATIENCE, || buffered(&stage, 9));
    let second = text(&page.follow(&stage, &link(&first, "Load again").unwrap()));
    assert!(output(&second).ends_with("and more\n"), "{second}");
    page.follow(&stage, &link(&second, "Load again").unwrap());
    buffered(&stage, 0).unwrap();
}

fn what_a_browser_asks_for_ahead_counts_for_nothing() {
    let stage = Stage::new();
    let (_session, page, _destination, said) = flooded(&stage, 10);
    let seen = link(&text(&page.look(&stage)), "Load again").unwrap();
    let path = seen.split('#').next().unwrap();
    for ahead in [("Sec-Purpose", "prefetch"), ("Sec-Purpose", "prefetch;prerender"), ("Purpose", "prefetch")] {
        let answer = stage.ask("GET", path, &[("Cookie", &page.cookie), ahead], b"");
        assert!(output(&text(&answer)) == said, "{answer:?}");
        buffered(&stage, said.len()).unwrap();
    }
    page.follow(&stage, path);
    buffered(&stage, 0).unwrap();
}

fn all_of_a_flood_can_be_read_page_by_page() {
    let stage = Stage::new();
    let (_session, page, _destination, said) = flooded(&stage, 30_000);
    let latest = text(&page.look(&stage));
    let mut now = text(&page.follow(&stage, &link(&latest, "Show them").unwrap()));
    let mut all = output(&now).to_owned();
    buffered(&stage, said.len()).unwrap();
    while let Some(on) = link(&now, "Go on") {
        now = text(&page.follow(&stage, &on));
        // What there was before stands on the page as well, where little is left.
        let shown = output(&now);
        let new = said.len() - all.len();
        assert!(said.starts_with(&all), "in order");
        buffered(&stage, new).unwrap();
        all += &shown[shown.len() - shown.len().min(new)..];
    }
    assert!(all == said, "{} of {}", all.len(), said.len());
    page.follow(&stage, &link(&now, "Load again").unwrap());
    buffered(&stage, 0).unwrap();
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

fn a_line_is_taken_as_a_whole_or_is_in_the_field_again() {
    let (silent, _full) = nowhere();
    let stage = Stage::to(silent.local_addr().unwrap(), &["--connect-timeout", "1h"], &[]);
    let session = stage.session();
    let page = Page::of(&stage, &session);
    // Room for five bytes is left.
    let most = 256 * 1024;
    assert_eq!(stage.input(&session, 0, &vec![b'x'; most - 5]).json()["next"], most - 5);
    let before = text(&page.look(&stage));
    let answer = page.send(&stage, &before, "gr%C3%B6%C3%9Fe+%22x%22");
    assert_eq!((answer.status, field(&text(&answer), "line")), (503, "größe &quot;x&quot;"));
    assert!(text(&answer).contains("your line was not sent"), "{answer:?}");
    assert_eq!(field(&text(&answer), "offset"), (most - 5).to_string(), "none of it was");
    // One that fits goes, and goes once.
    for _ in 0..2 {
        assert_eq!(page.send(&stage, &before, "%C3%B6x").status, 303);
    }
    assert_eq!(stage.get(&session, "").json()["input"]["next"], most);
    // No more is taken once the input has ended, either.
    let after = text(&page.look(&stage));
    assert_eq!(stage.post(&session, "/fin", &[], b"").status, 204);
    let answer = page.send(&stage, &after, "late");
    assert_eq!((answer.status, field(&text(&answer), "line")), (409, "late"));
    assert!(text(&answer).contains("The input has ended"), "{answer:?}");
}

fn a_line_that_never_fits_is_divided_between_two_letters() {
    let (silent, _full) = nowhere();
    let stage = Stage::to(silent.local_addr().unwrap(), &["--connect-timeout", "1h", "--memory", "64KiB"], &[]);
    let (session, other) = (stage.session(), stage.session());
    // The other one has so much that each may have little: 16 KiB of input.
    assert_eq!(stage.input(&other, 0, &[b'x'; 100 * 1024]).status, 200);
    let page = Page::of(&stage, &session);
    let before = text(&page.look(&stage));
    let line = format!("x{}", "%C3%B6".repeat(9000));
    let answer = page.send(&stage, &before, &line);
    let after = text(&answer);
    assert!(answer.status == 409 && after.contains("Not all of your line was sent"), "{}", answer.status);
    let sent = 16 * 1024 - 1;
    assert_eq!(field(&after, "offset"), sent.to_string());
    assert!(field(&after, "line") == "ö".repeat(9000 - (sent - 1) / 2), "and no letter is lost");
    // The very same form again: what it has sent is not sent again, and what is left is the same.
    let again = text(&page.send(&stage, &before, &line));
    assert!((field(&again, "offset"), field(&again, "line")) == (field(&after, "offset"), field(&after, "line")));
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
