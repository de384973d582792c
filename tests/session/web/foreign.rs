//! What other sites, other names and other ports try, with the cookie of the page at hand.

use super::http::Answer;
use super::socket::{Socket, UPGRADE};
use super::stage::{Session, Stage};
use crate::harness::trials;

trials![
    a_page_of_ours_gets_a_cookie_and_others_get_nothing,
    a_foreign_host_is_turned_away,
    content_that_a_form_can_send_is_refused,
    a_socket_needs_an_origin_of_ours_with_the_cookie,
    what_is_allowed_by_options_is_allowed,
    a_secret_in_clear_stays_on_this_machine,
    a_cookie_for_nothing_is_taken_away,
];

/// A session of a page: its cookie is all that it has.
fn page(stage: &Stage) -> (Session, String, String) {
    let origin = format!("http://{}", stage.address);
    let made = stage.ask("POST", "/v1/sessions", &[("Content-Type", "application/json"), ("Origin", &origin)], b"{}");
    assert_eq!(made.status, 201, "{made:?}");
    let said = made.json();
    assert!(said.get("secret").is_none() && said["id"].is_string(), "{said}");
    let set = made.header("set-cookie").unwrap();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains("__Host-"), "in clear on this machine: {set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    (Session { id: said["id"].as_str().unwrap().into(), bearer: String::new() }, cookie, origin)
}

fn state_is_unchanged(stage: &Stage, session: &Session, cookie: &str, origin: &str) {
    let headers = [("Cookie", cookie), ("Origin", origin)];
    let state = stage.ask("GET", &session.path(""), &headers, b"").json();
    assert_eq!((state["input"]["next"].as_u64(), state["state"].as_str()), (Some(0), Some("detached")), "{state}");
}

fn a_page_of_ours_gets_a_cookie_and_others_get_nothing() {
    let stage = Stage::new();
    let (session, cookie, origin) = page(&stage);
    let _destination = stage.destination.accept();
    let other_port = format!("http://127.0.0.1:{}", stage.address.port().wrapping_add(1));
    let foreign: [(&[(&str, &str)], &str); 9] = [
        (&[("Origin", "http://evil.example")], "foreign_origin"),
        (&[("Origin", "null")], "foreign_origin"),
        (&[("Origin", &other_port), ("Sec-Fetch-Site", "same-site")], "foreign_origin"),
        (&[("Origin", "https://127.0.0.1")], "foreign_origin"),
        (&[], "no_origin"),
        (&[("Sec-Fetch-Site", "same-site")], "no_origin"),
        (&[("Sec-Fetch-Site", "none")], "no_origin"),
        (&[("Sec-Fetch-Site", "cross-site")], "cross_site"),
        (&[("Origin", &origin), ("Sec-Fetch-Site", "cross-site")], "cross_site"),
    ];
    for (headers, code) in foreign {
        for (method, rest) in [
            ("GET", "/output?from=0"),
            ("GET", "/events"),
            ("POST", "/input"),
            ("POST", "/fin"),
            ("DELETE", ""),
            ("GET", ""),
        ] {
            let all = [
                &[("Cookie", cookie.as_str()), ("Stream-Offset", "0"), ("Content-Type", "application/octet-stream")],
                headers,
            ]
            .concat();
            let answer = stage.ask(method, &session.path(rest), &all, b"evil");
            answer.expect_error(403, code);
        }
    }
    for headers in [&[("Origin", "http://evil.example")][..], &[("Sec-Fetch-Site", "cross-site")]] {
        let all = [&[("Content-Type", "application/json")], headers].concat();
        assert_eq!(stage.ask("POST", "/v1/sessions", &all, b"{}").status, 403);
    }
    state_is_unchanged(&stage, &session, &cookie, &origin);
    let own = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(
        stage.ask("GET", &session.path("/output?from=0"), &own, b"").status,
        204,
        "as a browser says of its own page"
    );
    let own = [("Cookie", cookie.as_str()), ("X-Session-Page", "1")];
    assert_eq!(stage.ask("GET", &session.path(""), &own, b"").status, 200, "as our page says where no browser does");
    stage.ask("POST", &session.path("/fin"), &own, b"").expect_error(403, "no_origin");
    // Whoever wants to send that from elsewhere has to ask, and is not allowed to.
    let asks = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "x-session-page"),
    ];
    let answer = stage.ask("OPTIONS", &session.path("/output"), &asks, b"");
    assert!(answer.status >= 400 && answer.header("access-control-allow-origin").is_none(), "{answer:?}");
    let own = [("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
    assert_eq!(stage.ask("POST", &session.path("/fin"), &own, b"").status, 204);
    stage.destination.expect_no_more();
}

fn a_foreign_host_is_turned_away() {
    let stage = Stage::new();
    let port = stage.address.port();
    let ask = |path: &str, host: &str| stage.ask("GET", path, &[("Host", host)], b"");
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(ask("/healthz", &format!("{name}:{port}")).status, 200, "{name}");
    }
    for path in ["/", "/healthz", "/v1/sessions/00000000000000000000000000000000", "/nothing"] {
        for host in
            [format!("rebound.example:{port}"), format!("127.0.0.1:{}", port ^ 1), "localhost".into(), String::new()]
        {
            ask(path, &host).expect_error(403, "foreign_host");
        }
    }
    let two = [("Host", "127.0.0.1"), ("Host", "evil.example")];
    stage.ask("GET", "/healthz", &two, b"").expect_error(400, "bad_request");
    let mut client = stage.client();
    client.say(b"GET /healthz HTTP/1.1\r\n\r\n");
    client.answer().expect_error(400, "bad_request");
    let mut client = stage.client();
    client.say(format!("GET http://evil.example/healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes());
    client.answer().expect_error(400, "bad_request");
}

fn content_that_a_form_can_send_is_refused() {
    let stage = Stage::new();
    let (session, cookie, origin) = page(&stage);
    let _destination = stage.destination.accept();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        fn with<'a>(kind: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
            [&[("Content-Type", kind), ("Stream-Offset", "0")], more].concat()
        }
        let expect = |answer: Answer| answer.expect_error(403, "content_type");
        let ours = [("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
        expect(stage.ask("POST", &session.path("/input"), &with(kind, &ours), b"x"));
        expect(stage.ask("POST", &session.path("/fin"), &with(kind, &ours), b""));
        expect(stage.ask("POST", "/v1/sessions", &with(kind, &ours), b"{}"));
        expect(stage.ask("POST", "/v1/sessions", &with(kind, &[]), b"{}"));
    }
    state_is_unchanged(&stage, &session, &cookie, &origin);
}

fn a_socket_needs_an_origin_of_ours_with_the_cookie() {
    let stage = Stage::new();
    let (session, cookie, origin) = page(&stage);
    let _destination = stage.destination.accept();
    let open = |more: &[(&str, &str)]| {
        let headers = [&UPGRADE[..], &[("Cookie", cookie.as_str())], more].concat();
        Socket::open_with(&stage, &session, &headers)
    };
    for headers in
        [&[][..], &[("Origin", "null")], &[("Origin", "http://evil.example")], &[("Sec-Fetch-Site", "same-origin")]]
    {
        assert_eq!(open(headers).err().unwrap().status, 403, "{headers:?}");
    }
    let mut socket = open(&[("Origin", &origin)]).ok().unwrap();
    socket.resume(&session, 0);
}

fn what_is_allowed_by_options_is_allowed() {
    let stage = Stage::with(&[], &["--allow-host=term.example", "--allow-origin=https://other.example"]);
    let json = ("Content-Type", "application/json");
    let make = |host: &str, origin: &str| {
        stage.ask("POST", "/v1/sessions", &[json, ("Host", host), ("Origin", origin)], b"{}")
    };
    let made = make("term.example", "https://term.example");
    let set = made.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-session-") && set.ends_with("; Secure"), "TLS is spoken in front of us: {set}");
    assert_eq!(make("term.example", "https://other.example").status, 201);
    make("term.example", "https://evil.example").expect_error(403, "foreign_origin");
    make("evil.example", "https://evil.example").expect_error(403, "foreign_host");
    for bad in
        ["--allow-origin=term.example", "--allow-origin=*", "--allow-origin=https://a/b", "--allow-host=http://a"]
    {
        assert_eq!(stage.scene.cli(&["session", "web", bad]).exit, crate::harness::process::Exit::Code(2), "{bad}");
    }
}

fn a_secret_in_clear_stays_on_this_machine() {
    let scene = crate::harness::Scene::new();
    let ran = scene.cli(&["session", "web", "--listen=0.0.0.0:0"]);
    assert_eq!(ran.exit, crate::harness::process::Exit::Code(2));
    assert!(ran.err.contains("without TLS") && ran.err.contains("--insecure"), "{}", ran.err);
    for kind in ["--listen=udp:0", "--listen=haproxy:tcp:0"] {
        assert_eq!(scene.cli(&["session", "web", kind]).exit, crate::harness::process::Exit::Code(2), "{kind}");
    }
}

fn a_cookie_for_nothing_is_taken_away() {
    let stage = Stage::new();
    let (session, cookie, origin) = page(&stage);
    let _destination = stage.destination.accept();
    let own = [("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
    let cleared = |answer: &Answer| {
        let all = answer.headers.iter().filter(|(name, value)| name == "set-cookie" && value.contains("Max-Age=0"));
        all.count()
    };
    let ended = stage.ask("DELETE", &session.path(""), &own, b"");
    assert_eq!((ended.status, cleared(&ended)), (204, 2), "{ended:?}");
    let gone = stage.ask("GET", &session.path(""), &own, b"");
    assert_eq!((gone.status, cleared(&gone)), (404, 2), "{gone:?}");
}
