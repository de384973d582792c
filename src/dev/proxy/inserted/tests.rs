//! What a request and an answer look like when they have passed.

use super::{Inserting, Insertion, changed};
use crate::dev::inject::policy::Ours;
use crate::dev::inject::{Answer, Injection};
use crate::dev::proxy::body::BodyError;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};

fn ours() -> Ours {
    Ours::on("localhost:8000", false, "a-1".into(), "n0nce".into()).unwrap()
}

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn asked(method: &str, lines: &[(&'static str, &'static str)]) -> Parts {
    let mut request = Request::new(());
    *request.method_mut() = method.parse().unwrap();
    *request.headers_mut() = fields(lines);
    request.into_parts().0
}

const KEPT: [(&str, &str); 3] =
    [("accept-encoding", "gzip, br"), ("if-none-match", "\"a\""), ("if-modified-since", "x")];

/// Whether a request has been asked as one for a page.
fn is_plain(method: &str, lines: &[(&'static str, &'static str)]) -> bool {
    let mut parts = asked(method, &[&KEPT[..], lines].concat());
    Insertion::of(&mut parts);
    let untouched = fields(&KEPT).iter().all(|(name, value)| parts.headers.get(name) == Some(value));
    let plain = parts.headers["accept-encoding"] == "identity" && parts.headers.len() == lines.len() + 1;
    assert_ne!(untouched, plain, "{:?}", parts.headers);
    plain
}

#[test]
fn pages_are_asked_for_as_they_are_and_whole() {
    assert!(is_plain("GET", &[("sec-fetch-dest", "document")]));
    assert!(is_plain("GET", &[("sec-fetch-dest", "iframe")]));
    assert!(is_plain("GET", &[("accept", "text/html,*/*;q=0.8")]), "an old browser");
    for (method, lines) in [
        ("GET", &[("sec-fetch-dest", "script")][..]),
        ("GET", &[("sec-fetch-dest", "empty"), ("accept", "text/html")]),
        ("GET", &[("accept", "*/*")]),
        ("GET", &[]),
        ("GET", &[("sec-fetch-dest", "document"), ("hx-request", "true")]),
        ("POST", &[("sec-fetch-dest", "document")]),
        ("HEAD", &[("accept", "text/html")]),
    ] {
        assert!(!is_plain(method, lines), "{method} {lines:?}");
    }
}

/// The head of the answer to a navigation.
fn answered(lines: &[(&'static str, &'static str)]) -> (Option<Injection>, HeaderMap) {
    let insertion = Insertion::of(&mut asked("GET", &[("sec-fetch-dest", "document")]));
    let mut response = Response::new(());
    *response.headers_mut() = fields(lines);
    let (mut head, ()) = response.into_parts();
    let injection = insertion.injection(&mut head, ours());
    (injection, head.headers)
}

#[test]
fn what_tells_of_the_bytes_goes_and_the_rest_stays() {
    let (injection, headers) = answered(&[
        ("content-type", "text/html"),
        ("content-length", "7"),
        ("accept-ranges", "bytes"),
        ("etag", "\"a\""),
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("digest", "sha-256=AA=="),
        ("content-md5", "AA=="),
        ("vary", "Accept-Encoding"),
        ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("set-cookie", "a=b"),
    ]);
    assert!(injection.is_some());
    let expected = fields(&[
        ("content-type", "text/html"),
        ("etag", "W/\"a\""),
        ("vary", "Accept-Encoding"),
        ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("set-cookie", "a=b"),
    ]);
    assert_eq!(headers, expected);
    let mut weak = fields(&[("etag", "W/\"a\"")]);
    changed(&mut weak);
    assert_eq!(weak["etag"], "W/\"a\"");
}

#[test]
fn every_policy_of_the_head_allows_the_script() {
    let html = ("content-type", "text/html");
    let policy = HeaderName::from_static("content-security-policy");
    let mut both = fields(&[html]);
    both.append(&policy, HeaderValue::from_static("script-src 'self'"));
    both.append(&policy, HeaderValue::from_static("script-src 'none'"));
    let insertion = Insertion::of(&mut asked("GET", &[]));
    let mut response = Response::new(());
    *response.headers_mut() = both;
    let (mut head, ()) = response.into_parts();
    assert!(insertion.injection(&mut head, ours()).is_some());
    let script = ours().script;
    let policies: Vec<_> = head.headers.get_all(&policy).iter().collect();
    assert_eq!(policies, [format!("script-src 'self' {script}").as_str(), format!("script-src {script}").as_str()]);

    let (injection, headers) = answered(&[html, ("content-security-policy", "sandbox"), ("etag", "\"a\"")]);
    assert!(injection.is_none(), "no script runs there");
    assert_eq!(headers["etag"], "\"a\"");
    let (injection, headers) = answered(&[html, ("content-security-policy-report-only", "sandbox, script-src 'self'")]);
    assert!(injection.is_some(), "nothing is forbidden by what is only told");
    assert_eq!(headers["content-security-policy-report-only"], "sandbox, script-src 'self'");
}

#[test]
fn what_is_no_page_stays_as_it_is() {
    for lines in [
        &[("content-type", "text/css"), ("content-length", "7")][..],
        &[("content-type", "text/html"), ("content-encoding", "gzip"), ("content-length", "7")],
        &[("content-type", "text/html"), ("content-disposition", "attachment"), ("etag", "\"a\"")],
    ] {
        let (injection, headers) = answered(lines);
        assert!(injection.is_none());
        assert_eq!(headers, fields(lines));
    }
}

fn body(
    frames: Vec<Result<Frame<Bytes>, BodyError>>,
) -> Inserting<impl http_body::Body<Data = Bytes, Error = BodyError> + Unpin> {
    let page = Answer { status: 200, content_type: Some("text/html"), ..Answer::default() };
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Inserting { body, injection: Some(Injection::new(&page, ours())), trailers: None }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn trailers_follow_the_page_and_what_was_kept_of_it() {
    let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    let frames = vec![data("<he"), data("ad><p"), Ok(Frame::trailers(fields(&[("x-end", "1")])))];
    let collected = run(body(frames).collect()).unwrap();
    assert_eq!(collected.trailers(), Some(&fields(&[("x-end", "1")])));
    assert_eq!(collected.to_bytes(), format!("<head>{}<p", ours().tag()));
}

#[test]
fn a_page_that_ends_badly_does_so_with_the_script_too() {
    let frames = vec![Ok(Frame::data(Bytes::from_static(b"<head>"))), Err("it ends".into())];
    let mut body = body(frames);
    run(async {
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
    });
}
