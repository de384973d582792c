//! What we answer ourselves.

use super::body::{Body, whole};
use super::framing::Fault;
use crate::dev::event::Refusal;
use crate::dev::gate::Why;
use crate::process::output::printable;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer in plain text.
pub(super) fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PLAIN);
    // What is wrong now is not what will be wrong the next time.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a request that the framing has refused. Nothing that follows on the connection could be understood.
pub(super) fn fault(fault: Fault) -> Response<Body> {
    let (status, text) = match fault {
        Fault::Malformed(what) => (StatusCode::BAD_REQUEST, format!("The request is malformed: {what}.\n")),
        Fault::TooLarge => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large.\n".into())
        }
        Fault::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The head of the request did not come in time.\n".into()),
        Fault::Connect => (StatusCode::METHOD_NOT_ALLOWED, "There are no tunnels here.\n".into()),
        Fault::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "This version of HTTP is not spoken here.\n".into()),
    };
    let mut response = plain(status, text);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The status of a refusal.
pub(in crate::dev) fn status(why: Why) -> StatusCode {
    match why {
        Why::Failed | Why::Full | Why::Ending => StatusCode::SERVICE_UNAVAILABLE,
        Why::TooLong => StatusCode::GATEWAY_TIMEOUT,
        Why::Lost => StatusCode::BAD_GATEWAY,
    }
}

/// The answer to a request that no server answers.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    let mut response = plain(status(refusal.why), text(refusal));
    if refusal.why == Why::Full {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A refusal in plain words.
pub(in crate::dev) fn text(refusal: &Refusal) -> String {
    let what = match (refusal.why, &refusal.failure) {
        (Why::Failed, Some(failure)) => {
            let lines = failure.lines.iter().map(|line| format!("    {}\n", printable(&without_colours(line))));
            let lines = lines.collect::<String>();
            let gap = if lines.is_empty() { "" } else { "\n" };
            return format!("{}.\n{gap}{lines}\nIt is tried again when a file changes.\n", sentence(&failure.summary));
        }
        (Why::Failed, None) => "The server does not run. It is started when a file changes.",
        (Why::Full, _) => "Too many requests wait for the server.",
        (Why::TooLong, _) => "The server was not ready in time for this request.",
        (Why::Lost, _) => "The server has not answered this request: it closed the connection, or refused it.",
        (Why::Ending, _) => "The proxy ends.",
    };
    format!("{what}\n")
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A line without the sequences that colour a terminal (ECMA-48, 5.4).
fn without_colours(line: &[u8]) -> Vec<u8> {
    let (mut plain, mut at) = (Vec::with_capacity(line.len()), 0);
    while at < line.len() {
        if line[at..].starts_with(b"\x1b[") {
            let end = line[at + 2..].iter().position(|byte| (0x40..=0x7e).contains(byte));
            at += end.map_or(2, |end| end + 3);
        } else {
            plain.push(line[at]);
            at += 1;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{refusal, text, without_colours};
    use crate::dev::event::{Failure, Refusal};
    use crate::dev::gate::Why;
    use std::sync::Arc;

    #[test]
    fn a_failure_is_told_with_its_last_lines() {
        let lines = vec![b"\x1b[1;31merror\x1b[0m: no\ttab".to_vec(), b"\x07".to_vec()];
        let failure = Failure { summary: "the server exited with status 3".into(), lines };
        let told = text(&Refusal { why: Why::Failed, failure: Some(Arc::new(failure)) });
        let expected = "The server exited with status 3.\n\n    error: no\ttab\n    \u{fffd}\n\n\
                        It is tried again when a file changes.\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn colours_are_left_out_wherever_they_end() {
        assert_eq!(without_colours(b"a\x1b[mb\x1b[38;5;1mc\x1b[2"), b"abc2");
        assert_eq!(without_colours(b"a\x1bb"), b"a\x1bb");
    }

    #[test]
    fn each_refusal_has_its_status() {
        for (why, status) in
            [(Why::Failed, 503), (Why::Full, 503), (Why::Ending, 503), (Why::TooLong, 504), (Why::Lost, 502)]
        {
            let response = refusal(&Refusal { why, failure: None });
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("retry-after"), why == Why::Full);
        }
    }
}
