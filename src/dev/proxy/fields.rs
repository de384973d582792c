//! The fields of a message that a proxy takes away, adds or checks: what is about one connection alone (RFC 9110, 7.6.1), who
//! asks (RFC 7239), and whether it has been here before.

use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use std::net::{IpAddr, SocketAddr};

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The words of a field that is a list, in all its lines.
pub(super) fn words<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = fields.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// The protocol that a request asks for or an answer changes to; not HTTP/2, which no proxy may pass on so (RFC 9113, 3.1).
pub(super) fn upgrade(fields: &HeaderMap) -> Option<HeaderValue> {
    let asked = words(fields, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let new = words(fields, &UPGRADE).any(|protocol| protocol.to_ascii_lowercase().starts_with("h2c"));
    if asked && !new { fields.get(UPGRADE).cloned() } else { None }
}

/// Takes away what is about one connection alone. `TE: trailers` stays, since trailers are passed on.
pub(super) fn strip(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = words(fields, &CONNECTION).filter_map(|word| word.parse().ok()).collect();
    let trailers = words(fields, &TE).any(|word| word.eq_ignore_ascii_case("trailers"));
    for name in named {
        // Whoever names these wants them gone for the next one, which they are meant for (RFC 9110, 7.6.1).
        if name != HOST && name != CONTENT_LENGTH {
            fields.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        HTTP2_SETTINGS,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        fields.remove(name);
    }
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Makes one field of the pieces that HTTP/2 may cut cookies into (RFC 9113, 8.2.3).
pub(super) fn join_cookies(fields: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = fields.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..]))
    {
        fields.insert(COOKIE, whole);
    }
}

/// Whether an answer is a stream of events, which has no end of its own.
pub(super) fn is_event_stream(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

/// Whether an answer has both a length and a transfer coding, and could be read in two ways.
pub(super) fn is_ambiguous(fields: &HeaderMap) -> bool {
    fields.contains_key(TRANSFER_ENCODING) && fields.contains_key(CONTENT_LENGTH)
}

/// Whether this proxy has passed the request on already.
pub(super) fn has_passed(fields: &HeaderMap, name: &str) -> bool {
    words(fields, &VIA).any(|entry| entry.split_whitespace().nth(1) == Some(name))
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) client: SocketAddr,
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) scheme: &'static str,
    /// Our name in `Via`.
    pub(super) via: &'a str,
}

/// Tells the server who asks. What others have told it stays in front.
pub(super) fn add_forwarded(fields: &mut HeaderMap, asking: Asking<'_>) {
    let ip = asking.client.ip().to_canonical();
    append(fields, FORWARDED, &element(ip, asking));
    append(fields, FORWARDED_FOR, &ip.to_string());
    // The first proxy is the one that the browser has asked.
    if let (Some(host), false) = (asking.host, fields.contains_key(FORWARDED_HOST)) {
        fields.insert(FORWARDED_HOST, host.clone());
    }
    if !fields.contains_key(FORWARDED_PROTO) {
        fields.insert(FORWARDED_PROTO, HeaderValue::from_static(asking.scheme));
    }
    append(fields, VIA, &format!("1.1 {}", asking.via));
}

/// One element of `Forwarded`; what is no token there is quoted, as an address with a colon is.
fn element(ip: IpAddr, asking: Asking<'_>) -> String {
    let client = match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    let host = asking.host.and_then(|host| host.to_str().ok()).map(|host| {
        let token = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if token { format!(";host={host}") } else { format!(";host=\"{}\"", host.replace('"', "")) }
    });
    format!("for={client}{};proto={}", host.unwrap_or_default(), asking.scheme)
}

/// Adds an element to a list, behind those of all its lines.
fn append(fields: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut all: Vec<&[u8]> = fields.get_all(&name).into_iter().map(HeaderValue::as_bytes).collect();
    all.push(element.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
        fields.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::{Asking, add_forwarded, has_passed, is_ambiguous, is_event_stream, join_cookies, strip, upgrade};
    use hyper::HeaderMap;
    use hyper::header::{HeaderName, HeaderValue};

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(name, value);
        }
        fields
    }

    #[test]
    fn a_stream_of_events_is_known_by_its_type() {
        for (kind, is) in [
            ("text/event-stream", true),
            ("Text/Event-Stream ; charset=utf-8", true),
            ("text/event-streams", false),
            ("text/html", false),
        ] {
            assert_eq!(is_event_stream(&fields(&[("content-type", kind)])), is, "{kind}");
        }
        assert!(!is_event_stream(&HeaderMap::new()));
    }

    fn asking<'a>(client: &str, host: &'a HeaderValue) -> Asking<'a> {
        Asking { client: client.parse().unwrap(), host: Some(host), scheme: "http", via: "us" }
    }

    #[test]
    fn who_asks_is_told_behind_what_is_there() {
        let host = HeaderValue::from_static("localhost:8000");
        let mut there = fields(&[
            ("forwarded", "for=1.2.3.4"),
            ("forwarded", "for=5.6.7.8"),
            ("x-forwarded-for", "1.2.3.4, 5.6.7.8"),
            ("x-forwarded-host", "public.example"),
            ("via", "1.1 nginx"),
        ]);
        add_forwarded(&mut there, asking("[::1]:5", &host));
        for (name, value) in [
            ("forwarded", "for=1.2.3.4, for=5.6.7.8, for=\"[::1]\";host=\"localhost:8000\";proto=http"),
            ("x-forwarded-for", "1.2.3.4, 5.6.7.8, ::1"),
            ("x-forwarded-host", "public.example"),
            ("x-forwarded-proto", "http"),
            ("via", "1.1 nginx, 1.1 us"),
        ] {
            let all: Vec<_> = there.get_all(name).into_iter().collect();
            assert_eq!(all, [value], "{name}");
        }
        let (host, mut none) = (HeaderValue::from_static("app.localhost"), HeaderMap::new());
        add_forwarded(&mut none, asking("[::ffff:10.0.0.1]:5", &host));
        assert_eq!(none["forwarded"], "for=10.0.0.1;host=app.localhost;proto=http");
        assert_eq!(none["x-forwarded-host"], "app.localhost");
    }

    #[test]
    fn what_is_about_one_connection_goes_no_further() {
        let mut message = fields(&[
            ("connection", "keep-alive, X-Private"),
            ("connection", "other, host, content-length"),
            ("x-private", "1"),
            ("other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "gzip, trailers"),
            ("trailer", "x-sum"),
            ("host", "x"),
            ("content-length", "5"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        strip(&mut message);
        let left = fields(&[
            ("trailer", "x-sum"),
            ("host", "x"),
            ("content-length", "5"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("te", "trailers"),
            ("connection", "te"),
        ]);
        assert_eq!(message, left);
        let mut plain = fields(&[("te", "gzip"), ("accept", "*/*")]);
        strip(&mut plain);
        assert_eq!(plain, fields(&[("accept", "*/*")]));
    }

    #[test]
    fn cookies_that_come_in_pieces_are_one_field() {
        let mut message = fields(&[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut message);
        assert_eq!(message, fields(&[("cookie", "a=1; b=2; c=3"), ("x", "1")]));
    }

    #[test]
    fn any_protocol_but_http2_may_be_asked_for() {
        let asked = |protocol| upgrade(&fields(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]));
        assert_eq!(asked("websocket").unwrap(), "websocket");
        assert_eq!(asked("x/2").unwrap(), "x/2");
        assert_eq!(asked("websocket, H2C"), None);
        assert_eq!(upgrade(&fields(&[("upgrade", "websocket")])), None);
    }

    #[test]
    fn a_loop_and_an_ambiguous_answer_are_seen() {
        assert!(has_passed(&fields(&[("via", "1.0 fred, 1.1 us (x)")]), "us"));
        assert!(!has_passed(&fields(&[("via", "1.1 usher, 1.1 x")]), "us"));
        assert!(is_ambiguous(&fields(&[("transfer-encoding", "chunked"), ("content-length", "5")])));
        assert!(!is_ambiguous(&fields(&[("content-length", "5")])));
    }
}
