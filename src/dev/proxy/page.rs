//! What we answer in few words.

use super::body::{Body, whole};
use super::framing::Fault;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
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
