//! Our script in an answer that passes: its fields, and its body as it streams. `inject` says where.

use super::body::{Body, BodyError};
use crate::dev::inject::policy::{self, Ours};
use crate::dev::inject::{self, Answer, Asked, Injection};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH,
};
use hyper::http::request::Parts;
use hyper::http::response::Parts as AnswerParts;
use hyper::{HeaderMap, Response};
use log::debug;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

const WANTED_FOR: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// What only scripts send, which put the answer into a page that is there.
const OF_SCRIPTS: [&str; 4] = ["hx-request", "x-requested-with", "x-pjax", "turbo-frame"];
/// What tells of the bytes as the server made them.
const OF_BYTES: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// A request whose answer may get the script.
#[derive(Debug)]
pub(super) struct Insertion {
    method: String,
    wanted_for: Option<String>,
    by_script: bool,
    path: String,
}

impl Insertion {
    /// Of what is asked. A page is asked for as it can be read, and whole: one that a browser has kept shows that it came
    /// from an older server, and would be loaded again and again.
    pub(super) fn of(parts: &mut Parts) -> Insertion {
        let insertion = Insertion {
            method: parts.method.to_string(),
            wanted_for: text(&parts.headers, &WANTED_FOR).map(str::to_ascii_lowercase),
            by_script: OF_SCRIPTS.iter().any(|name| parts.headers.contains_key(*name)),
            path: parts.uri.path().to_owned(),
        };
        // A program that takes anything gets it as it is.
        let by_browser = text(&parts.headers, &ACCEPT).is_some_and(|accepted| accepted.contains("text/html"));
        if inject::may_be_page(&insertion.asked()) && (insertion.wanted_for.is_some() || by_browser) {
            parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            parts.headers.remove(IF_NONE_MATCH);
            parts.headers.remove(IF_MODIFIED_SINCE);
        }
        insertion
    }

    fn asked(&self) -> Asked<'_> {
        Asked { method: &self.method, wanted_for: self.wanted_for.as_deref(), by_script: self.by_script }
    }

    /// The answer with the script in it, if it is a page.
    pub(super) fn into_answer<B>(self, response: Response<B>, ours: Option<Ours>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + Unpin + 'static,
    {
        let (mut head, body) = response.into_parts();
        match ours.and_then(|ours| self.injection(&mut head, ours)) {
            Some(injection) => {
                let body = Inserting { body, injection: Some(injection), trailers: None };
                Response::from_parts(head, body.boxed_unsync())
            }
            None => Response::from_parts(head, body.boxed_unsync()),
        }
    }

    fn injection(&self, head: &mut AnswerParts, ours: Ours) -> Option<Injection> {
        let (headers, path) = (&head.headers, &self.path);
        let answer = Answer {
            status: head.status.as_u16(),
            content_type: text(headers, &CONTENT_TYPE),
            encoding: text(headers, &CONTENT_ENCODING),
            disposition: text(headers, &CONTENT_DISPOSITION),
        };
        if !inject::is_page(&self.asked(), &answer) {
            if let Some(encoding) = answer.encoding
                && inject::is_page(&self.asked(), &Answer { encoding: None, ..answer })
            {
                debug!("{path} gets no script: the server has encoded it as {encoding}, though it was not to");
            }
            return None;
        }
        let Some(policies) = allowed(headers, &CONTENT_SECURITY_POLICY, &ours) else {
            debug!("{path} gets no script: its policy forbids all of them");
            return None;
        };
        let reported = allowed(headers, &CONTENT_SECURITY_POLICY_REPORT_ONLY, &ours);
        let injection = Injection::new(&answer, ours);
        replace(&mut head.headers, &CONTENT_SECURITY_POLICY, policies);
        replace(&mut head.headers, &CONTENT_SECURITY_POLICY_REPORT_ONLY, reported.unwrap_or_default());
        changed(&mut head.headers);
        Some(injection)
    }
}

/// The values of a field that is a policy, which allow ours as well. None: one of them cannot.
fn allowed(headers: &HeaderMap, name: &HeaderName, ours: &Ours) -> Option<Vec<HeaderValue>> {
    let lines = headers.get_all(name).into_iter();
    lines.map(|line| HeaderValue::from_str(&policy::allow(line.to_str().ok()?, ours)?).ok()).collect()
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    if !values.is_empty() {
        headers.remove(name);
        for value in values {
            headers.append(name, value);
        }
    }
}

/// The bytes are others than those that the server has told of.
fn changed(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    OF_BYTES.iter().for_each(|name| drop(headers.remove(*name)));
    // The same page, but not byte for byte (RFC 9110, 8.8.1).
    let weak = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    if let Some(weak) = weak.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        headers.insert(ETAG, weak);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The body of a page, with the script in it.
struct Inserting<B> {
    body: B,
    /// Gone with the end of the page.
    injection: Option<Injection>,
    trailers: Option<HeaderMap>,
}

impl<B> HttpBody for Inserting<B>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Some(injection) = &mut this.injection else {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let out = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                // A page that ends badly is to be seen as such.
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => injection.push(&bytes),
                    Err(frame) => {
                        this.trailers = frame.into_trailers().ok();
                        this.injection.take().map(|mut injection| injection.finish()).unwrap_or_default()
                    }
                },
                None => this.injection.take().map(|mut injection| injection.finish()).unwrap_or_default(),
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
    }
}

#[cfg(test)]
mod tests;
