//! What a request is answered that cannot be done: a status, a code for programs and a sentence for people.

use super::gate::Foreign;
use super::reader::Reason;
use super::upstream::UpstreamError;
use crate::session::frame;
use axum::body::Body;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// A client may not be told to stay away for longer, in seconds.
const LONGEST_WAIT: u32 = 3600;

/// An answer that is no success.
#[derive(Debug)]
pub struct Refusal(Box<Told>);

#[derive(Debug)]
struct Told {
    status: StatusCode,
    code: &'static str,
    message: String,
    more: Map<String, Value>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// With the code and the sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal(Box::new(Told { status, code, message: message.into(), more: Map::new(), header: None }))
    }

    /// What was asked is malformed.
    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// There is no such session, or this is not its secret; nobody is told which.
    pub fn unknown() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such session, or this is not its secret")
    }

    /// There is nothing at that path.
    pub fn nothing_there() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    /// Neither a header nor a cookie has a secret.
    pub fn unauthorized() -> Refusal {
        let message = "a session's secret is needed: Authorization: Bearer, or the cookie of the page";
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        refusal.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// Something else can be done there.
    pub fn method(allowed: &'static str) -> Refusal {
        let refusal =
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("only {allowed} here"));
        refusal.header(ALLOW, HeaderValue::from_static(allowed))
    }

    /// It is worth another try in so many seconds.
    pub fn later(code: &'static str, message: impl Into<String>, seconds: u32) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        refusal.header(RETRY_AFTER, HeaderValue::from(seconds.min(LONGEST_WAIT)))
    }

    /// The input is elsewhere.
    pub fn gap(next: u64) -> Refusal {
        let refusal = Refusal::new(StatusCode::CONFLICT, "gap", "the input has not come to this offset");
        refusal.with("next", next)
    }

    /// With something for programs.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Refusal {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.0.header = Some((name, value));
        self
    }

    /// Whether there is no such session for whoever asked.
    pub fn is_unknown(&self) -> bool {
        self.0.status == StatusCode::NOT_FOUND
    }

    /// As an answer.
    pub fn response(self) -> Response<Body> {
        let Told { status, code, message, more, header } = *self.0;
        let mut body = Map::new();
        body.insert("error".into(), json!(code));
        body.insert("message".into(), json!(message));
        body.extend(more);
        let mut response = Response::new(Body::from(Value::Object(body).to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Foreign> for Refusal {
    fn from(foreign: Foreign) -> Refusal {
        let refuse = |code, message| Refusal::new(StatusCode::FORBIDDEN, code, message);
        match foreign {
            Foreign::NoHost => Refusal::bad("one Host is needed"),
            Foreign::Host => refuse("foreign_host", "this Host is not ours; --allow-host allows it"),
            Foreign::Origin => refuse("foreign_origin", "this Origin is not ours; --allow-origin allows it"),
            Foreign::NoOrigin => refuse("no_origin", "with a cookie, an Origin is needed"),
            Foreign::Site => refuse("cross_site", "another site may not ask for this"),
            Foreign::ContentType => refuse("content_type", "any page could send content of this type"),
        }
    }
}

/// What the server of sessions does not let us do.
impl From<frame::Refusal> for Refusal {
    fn from(refusal: frame::Refusal) -> Refusal {
        match refusal {
            frame::Refusal::Denied | frame::Refusal::Gone => Refusal::unknown(),
            frame::Refusal::OutOfRange { base, next } => out_of_range(base, next),
            frame::Refusal::Busy { retry_after } => Refusal::later("busy", "there is no room for more", retry_after),
            frame::Refusal::Stopping { retry_after } => {
                Refusal::later("stopping", "the server of sessions stops", retry_after)
            }
            frame::Refusal::InUse { .. } => Refusal::new(StatusCode::CONFLICT, "in_use", "the session has a client"),
            frame::Refusal::TooSlow => Refusal::later("unavailable", "the server of sessions did not wait", 1),
            frame::Refusal::Version { .. } | frame::Refusal::Malformed | frame::Refusal::Other(_) => {
                Refusal::new(StatusCode::BAD_GATEWAY, "bad_server", "the server of sessions does not understand us")
            }
        }
    }
}

/// Where there is output, for whoever asked for what is not there any more. Whether it is behind or ahead is for the caller.
fn out_of_range(base: u64, next: u64) -> Refusal {
    let message = "the output there is gone; 'from=oldest' begins with what there still is";
    Refusal::new(StatusCode::GONE, "gone", message).with("base", base).with("next", next)
}

impl Refusal {
    /// Why a read from `from` got nothing.
    pub fn of_reading(over: Reason, from: u64) -> Refusal {
        let conflict = |code, message: &str| Refusal::new(StatusCode::CONFLICT, code, message);
        match over {
            Reason::TakenOver => conflict("taken_over", "another reader has taken over"),
            Reason::Dismissed(_) => conflict("detached", "the administrator has detached this reader"),
            Reason::Closed(_) => Refusal::closed(),
            Reason::Refused(frame::Refusal::OutOfRange { base, next }) if from > next => {
                let message = "the output has not come to this offset";
                let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "ahead", message);
                refusal.with("base", base).with("next", next)
            }
            Reason::Refused(refusal) => refusal.into(),
            Reason::Unreachable => Refusal::unreachable(),
            Reason::Again => Refusal::later("unavailable", "the gateway or the server starts anew", 1),
        }
    }

    /// The session has ended while it was used.
    pub fn closed() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "closed", "the session is over")
    }

    /// There is no server of sessions at present.
    pub fn unreachable() -> Refusal {
        Refusal::later("unavailable", "the server of sessions cannot be reached", 1)
    }
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Refusal {
        match error {
            UpstreamError::Breach(_) => {
                Refusal::new(StatusCode::BAD_GATEWAY, "bad_server", "the server of sessions is not understood")
            }
            UpstreamError::Silent => {
                Refusal::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the server of sessions did not answer in time")
            }
            UpstreamError::Connect { .. } | UpstreamError::Lost { .. } | UpstreamError::Random(_) => {
                Refusal::unreachable()
            }
        }
    }
}
