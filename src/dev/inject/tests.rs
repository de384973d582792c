//! Pages of all kinds, in one piece and cut at every byte.

use super::policy::{Ours, allow};
use super::{Answer, Asked, Injection, is_page};

const NAVIGATION: Asked<'static> = Asked { method: "GET", wanted_for: Some("document"), by_script: false };
const PAGE: Answer<'static> =
    Answer { status: 200, content_type: Some("text/html; charset=utf-8"), encoding: None, disposition: None };

fn ours() -> Ours {
    Ours::on("localhost:8000", false, "a-1".into(), "bm9uY2U".into()).unwrap()
}

#[test]
fn a_host_that_no_browser_names_gets_no_script() {
    let on = |host, secure| Ours::on(host, secure, String::new(), String::new());
    for host in ["", "a;b", "a b", "a\"b", "<a>", "a,b", "'self'", "a/b", "*"] {
        assert_eq!(on(host, false), None, "{host}");
    }
    let secure = on("[::1]:8000", true).unwrap();
    assert_eq!(secure.script, "https://[::1]:8000/__socket_protector/reload.js");
    assert_eq!(secure.channel, "wss://[::1]:8000/__socket_protector/reload");
}

fn injected(page: &[u8], pieces: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut injection = Injection::new(&PAGE, ours());
    let (mut out, mut rest) = (Vec::new(), page);
    for piece in pieces {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        out.extend(injection.push(now));
        rest = later;
    }
    out.extend(injection.push(rest));
    out.extend(injection.finish());
    out
}

/// Whole, and in two pieces, cut anywhere, and byte by byte: always the same.
fn everywhere(page: &str) -> String {
    let whole = injected(page.as_bytes(), std::iter::empty());
    for cut in 0..page.len() {
        assert_eq!(injected(page.as_bytes(), std::iter::once(cut)), whole, "cut at {cut}");
    }
    assert_eq!(injected(page.as_bytes(), std::iter::repeat_n(1, page.len())), whole, "byte by byte");
    String::from_utf8(whole).unwrap()
}

#[test]
fn the_script_is_the_first_of_the_head_whatever_the_page_looks_like() {
    // `@` marks the place.
    for page in [
        "<!DOCTYPE html><html lang=en><head>@<title>x</title></head><body>y</body></html>",
        "<HTML><HEAD class='>'>@<script>var s = '<head></body>'</script></HEAD><BODY></BODY></HTML>",
        "<!-- <head> --><!doctype html><html>@<body><p>no head</body></html>",
        "<!DOCTYPE html>\n@<title>neither</title><p>text",
        "@<p>a fragment</p>",
        "<!DOCTYPE html><html><head data-x=\"a>b\">@</head><header>not a head</header></html>",
        "\u{feff}<!DOCTYPE html><head>@<meta charset=utf-8><head><body>two heads",
    ] {
        assert_eq!(everywhere(&page.replace('@', "")), page.replace('@', &ours().tag()), "{page}");
    }
}

#[test]
fn a_page_without_an_element_stays_as_it_is() {
    for page in ["", "text only", "<!-- a comment", "<!DOCTYPE html>", "a < b", "<"] {
        assert_eq!(everywhere(page), page);
    }
}

#[test]
fn a_policy_within_the_page_allows_the_script() {
    let page = "<head><META http-equiv=Content-Security-Policy content=\"script-src 'self'\"></head><body><meta http-equiv=content-security-policy content=\"script-src 'none'\">";
    let changed = everywhere(page);
    assert!(changed.contains("script-src 'self' http://localhost:8000/__socket_protector/reload.js"), "{changed}");
    assert!(
        changed.ends_with("<body><meta http-equiv=content-security-policy content=\"script-src 'none'\">"),
        "{changed}"
    );
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let page = [b"<head></head><body>".as_slice(), &[0xff, 0xfe, 0x80, 0, b'<', 0xc3]].concat();
    let changed = injected(&page, std::iter::repeat_n(1, page.len()));
    assert!(changed.ends_with(&page[6..]));
    let early = [&[0xff, 0xfe, b' '], b"<p>\xe9".as_slice()].concat();
    assert!(injected(&early, std::iter::empty()).ends_with(b"<p>\xe9"));
}

#[test]
fn nothing_is_held_back_behind_the_head() {
    let mut injection = Injection::new(&PAGE, ours());
    let first = injection.push(b"<head></head><body><p>one");
    assert!(first.ends_with(b"<p>one"));
    assert_eq!(injection.push(b"<two"), b"<two", "not even a tag that is not whole");
}

#[test]
fn a_tag_that_has_no_end_passes_as_it_is() {
    let page = [b"<p x=\"".as_slice(), &vec![b'x'; 3 * super::MOST]].concat();
    assert!(injected(&page, std::iter::repeat_n(10_000, 60)) == page);
}

#[test]
fn only_pages_that_a_browser_shows_get_it() {
    assert!(is_page(&NAVIGATION, &PAGE));
    assert!(is_page(&Asked { wanted_for: None, ..NAVIGATION }, &PAGE), "an old browser");
    assert!(is_page(&Asked { wanted_for: Some("iframe"), ..NAVIGATION }, &PAGE));
    for status in [404, 500] {
        assert!(is_page(&NAVIGATION, &Answer { status, ..PAGE }));
    }
    for asked in [
        Asked { method: "HEAD", ..NAVIGATION },
        Asked { method: "POST", ..NAVIGATION },
        Asked { wanted_for: Some("empty"), ..NAVIGATION },
        Asked { wanted_for: Some("script"), ..NAVIGATION },
        Asked { by_script: true, ..NAVIGATION },
    ] {
        assert!(!is_page(&asked, &PAGE), "{asked:?}");
    }
    for answer in [
        Answer { status: 204, ..PAGE },
        Answer { status: 206, ..PAGE },
        Answer { status: 304, ..PAGE },
        Answer { content_type: None, ..PAGE },
        Answer { content_type: Some("text/plain"), ..PAGE },
        Answer { content_type: Some("text/html; charset=utf-16"), ..PAGE },
        Answer { content_type: Some("text/html; charset=nonsense"), ..PAGE },
        Answer { encoding: Some("gzip"), ..PAGE },
        Answer { disposition: Some("Attachment; filename=x.html"), ..PAGE },
    ] {
        assert!(!is_page(&NAVIGATION, &answer), "{answer:?}");
    }
    for answer in [
        Answer { content_type: Some("TEXT/HTML"), ..PAGE },
        Answer { content_type: Some("text/html; charset=\"ISO-8859-1\""), ..PAGE },
        Answer { content_type: Some("application/xhtml+xml"), ..PAGE },
        Answer { encoding: Some("identity"), ..PAGE },
        Answer { disposition: Some("inline"), ..PAGE },
    ] {
        assert!(is_page(&NAVIGATION, &answer), "{answer:?}");
    }
}

#[test]
fn a_policy_gains_our_script_and_its_channel_and_nothing_else() {
    const SCRIPT: &str = "http://localhost:8000/__socket_protector/reload.js";
    const CHANNEL: &str = "ws://localhost:8000/__socket_protector/reload";
    let cases = [
        ("img-src *", "img-src *".to_owned()),
        ("script-src 'self'", format!("script-src 'self' {SCRIPT}")),
        ("script-src 'none'; connect-src 'none'", format!("script-src {SCRIPT}; connect-src {CHANNEL}")),
        ("default-src 'self'", format!("default-src 'self'; script-src 'self' {SCRIPT}; connect-src 'self' {CHANNEL}")),
        ("script-src 'self' 'unsafe-inline'", format!("script-src 'self' 'unsafe-inline' {SCRIPT}")),
        ("script-src 'nonce-a' 'strict-dynamic'", "script-src 'nonce-a' 'strict-dynamic' 'nonce-bm9uY2U'".to_owned()),
        ("script-src-elem 'self'; script-src 'none'", format!("script-src-elem 'self' {SCRIPT}; script-src 'none'")),
        (" ;Script-Src 'self'; script-src *;; ", format!("Script-Src 'self' {SCRIPT}")),
        ("script-src a, script-src b", format!("script-src a {SCRIPT}, script-src b {SCRIPT}")),
        ("sandbox allow-scripts; script-src a", format!("sandbox allow-scripts; script-src a {SCRIPT}")),
    ];
    for (policy, allowed) in cases {
        assert_eq!(allow(policy, &ours()), Some(allowed), "{policy}");
    }
    assert_eq!(allow("sandbox; script-src a", &ours()), None, "no script runs there");
}
