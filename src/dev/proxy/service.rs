//! The life of one request.

use super::Front;
use super::body::{Answering, Body, Sending, Source, whole};
use super::fields::{self, Asking};
use super::framed::Line;
use super::framing::Fault;
use super::inserted::Insertion;
use super::refused::{self, Form};
use super::ticket::Ticket;
use super::{own, page};
use super::{tunnel, upstream};
use crate::dev::event::{Refusal, Verdict};
use crate::dev::gate::{Attempt, Why, may_replay};
use crate::dev::livereload::Build;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Whose requests they are.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) scheme: &'static str,
    pub(super) line: Arc<Line>,
}

/// Answers one request.
pub(super) async fn serve(front: &Front, client: &Client, request: Request<Incoming>) -> Response<Body> {
    let (place, fault) = client.line.take_request();
    if let Some(fault) = fault {
        return page::fault(fault);
    }
    let response = match refuse(front, &request) {
        Some(response) => response,
        None if own::is_ours(&request) => own::serve(front, request).await,
        None => Passing::new(front, client, place, request).pass().await,
    };
    client.line.answered();
    // Whatever follows a request for another protocol that was not granted is the next request.
    client.line.decide(place, response.status() == StatusCode::SWITCHING_PROTOCOLS);
    response
}

/// What no server is asked.
fn refuse(front: &Front, request: &Request<Incoming>) -> Option<Response<Body>> {
    let host = match request.headers().get(HOST) {
        Some(host) => host.to_str().ok(),
        None => request.uri().authority().map(hyper::http::uri::Authority::as_str),
    };
    let authority = request.uri().authority().map(hyper::http::uri::Authority::as_str);
    if request.method() == Method::CONNECT
        || authority.is_some_and(|authority| !host.is_some_and(|host| host.eq_ignore_ascii_case(authority)))
    {
        let fault =
            if request.method() == Method::CONNECT { Fault::Connect } else { Fault::Malformed("it names two hosts") };
        return Some(page::fault(fault));
    }
    if host.is_some_and(|host| !front.hosts.allow(host)) {
        return Some(page::plain(StatusCode::FORBIDDEN, own::FOREIGN_HOST.into()));
    }
    if fields::has_passed(request.headers(), &front.via) {
        let text = "The request has come back to where it was: the server's address leads to the proxy.\n";
        return Some(page::plain(StatusCode::LOOP_DETECTED, text.into()));
    }
    None
}

/// A request on its way.
struct Passing<'a> {
    front: &'a Front,
    client: &'a Client,
    /// Which one of its connection it is.
    place: u64,
    parts: Parts,
    body: Source<Incoming>,
    /// The protocol that the client asks for, and its end of the connection then.
    upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// The answer may get our script.
    insertion: Option<Insertion>,
    /// A part of an answer has gone to the client.
    answered: Arc<AtomicBool>,
}

impl<'a> Passing<'a> {
    fn new(front: &'a Front, client: &'a Client, place: u64, mut request: Request<Incoming>) -> Self {
        let upgrade = fields::upgrade(request.headers()).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
        let (mut parts, body) = request.into_parts();
        parts.extensions.remove::<OnUpgrade>();
        let host = parts.headers.get(HOST).cloned();
        let host = host.or_else(|| HeaderValue::from_str(parts.uri.authority()?.as_str()).ok());
        fields::strip(&mut parts.headers);
        fields::join_cookies(&mut parts.headers);
        let asking = Asking { client: client.address, host: host.as_ref(), scheme: client.scheme, via: &front.via };
        fields::add_forwarded(&mut parts.headers, asking);
        if let Some(host) = host.or_else(|| HeaderValue::from_str(&front.authority).ok()) {
            parts.headers.insert(HOST, host);
        }
        if let Some((protocol, _)) = &upgrade {
            set_upgrade(&mut parts.headers, protocol);
        }
        parts.uri = origin_form(&parts.uri);
        let insertion = front.inject.then(|| Insertion::of(&mut parts));
        Passing { front, client, place, parts, body: Source::new(body), upgrade, insertion, answered: Arc::default() }
    }

    async fn pass(self) -> Response<Body> {
        let method = self.parts.method.as_str();
        let bound = !may_replay(Attempt { method, sent: true, body_kept: self.body.will_be_kept(), answered: false });
        let (mut ticket, mut verdict) = Ticket::ask(self.front, bound).await;
        loop {
            let (generation, address) = match verdict {
                Some(Verdict::Forward(generation, address)) => (generation, address),
                Some(Verdict::Refuse(refusal)) => return self.refuse(&refusal),
                None => return self.refuse(&Refusal { why: Why::Ending, failure: None, build: None }),
            };
            match upstream::ask(address, self.request()).await {
                Ok(response) => return self.answer(response, Build { generation, up: true }, ticket),
                Err(unanswered) => {
                    if let Some(fault) = self.client.line.fault(self.place) {
                        return page::fault(fault);
                    }
                    let may_replay = may_replay(Attempt {
                        method: self.parts.method.as_str(),
                        sent: unanswered.sent,
                        body_kept: self.body.is_kept(),
                        answered: self.answered.load(Ordering::Relaxed),
                    });
                    verdict = ticket.lost(may_replay).await;
                }
            }
        }
    }

    /// What the next attempt sends.
    fn request(&self) -> Request<Sending<Incoming>> {
        let expects =
            self.parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let (asked, expected) = oneshot::channel();
        let mut request = Request::new(self.body.send(expects.then_some(expected)));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.headers_mut() = self.parts.headers.clone();
        let body = request.body();
        if !body.is_end_stream() && body.size_hint().exact().is_none() {
            // Without it the library sends no content of a GET.
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        *request.extensions_mut() = self.parts.extensions.clone();
        let (asked, answered) = (Mutex::new(Some(asked)), Arc::clone(&self.answered));
        let line = (self.parts.version == Version::HTTP_11).then(|| Arc::clone(&self.client.line));
        hyper::ext::on_informational(&mut request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                // Reading the body makes the library tell the client to send it.
                if let Some(asked) = asked.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    let _ = asked.send(());
                }
            } else if let Some(line) = &line {
                answered.store(true, Ordering::Relaxed);
                line.interim(&interim_head(interim.status(), interim.headers()));
            }
        });
        request
    }

    /// No server answers.
    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        let ours = self.front.ours(self.client, self.host(), refusal.build);
        refused::answer(refusal, Form::of(&self.parts.headers), &self.front.commands, ours.as_ref())
    }

    fn host(&self) -> Option<&str> {
        self.parts.headers.get(HOST)?.to_str().ok()
    }

    /// What the client gets of the server's answer.
    fn answer(self, mut response: Response<Incoming>, build: Build, ticket: Ticket) -> Response<Body> {
        if fields::is_ambiguous(response.headers()) {
            return bad_answer("it has a length and is in chunks");
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.change(response, ticket);
        }
        ticket.bind(!fields::is_event_stream(response.headers()));
        fields::strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        let ours = self.insertion.as_ref().and_then(|_| self.front.ours(self.client, self.host(), Some(build)));
        let response = response.map(|body| Answering::new(body, self.body, ticket));
        match self.insertion {
            Some(insertion) => insertion.into_answer(response, ours),
            None => response.map(BodyExt::boxed_unsync),
        }
    }

    /// The server speaks another protocol from now on.
    fn change(self, mut response: Response<Incoming>, ticket: Ticket) -> Response<Body> {
        let Some((asked, client)) = self.upgrade else {
            return bad_answer("it changes the protocol, and nobody has asked for that");
        };
        let protocol = response.headers().get(UPGRADE).cloned().unwrap_or(asked);
        let server = hyper::upgrade::on(&mut response);
        fields::strip(response.headers_mut());
        set_upgrade(response.headers_mut(), &protocol);
        ticket.bind(false);
        tokio::spawn(tunnel::join(client, server, ticket));
        response.map(|_| whole(""))
    }
}

fn bad_answer(what: &str) -> Response<Body> {
    page::plain(StatusCode::BAD_GATEWAY, format!("The server's answer is malformed: {what}.\n"))
}

fn set_upgrade(headers: &mut hyper::HeaderMap, protocol: &HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

/// The target as a server gets it: without scheme and host.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    path.parse().unwrap_or_default()
}

/// An interim answer as it is written.
fn interim_head(status: StatusCode, headers: &hyper::HeaderMap) -> Vec<u8> {
    let mut headers = headers.clone();
    fields::strip(&mut headers);
    let mut head =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Interim")).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::{interim_head, origin_form};
    use hyper::{HeaderMap, StatusCode};

    #[test]
    fn a_server_gets_the_target_without_the_host() {
        for (uri, form) in [("http://x:80/a?b", "/a?b"), ("/a?b#", "/a?b"), ("*", "*"), ("http://x", "/"), ("/", "/")] {
            assert_eq!(origin_form(&uri.parse().unwrap()), form, "{uri}");
        }
    }

    #[test]
    fn an_interim_answer_is_written_without_what_is_about_one_connection() {
        let mut headers = HeaderMap::new();
        headers.insert("link", "</a.css>".parse().unwrap());
        headers.insert("connection", "close".parse().unwrap());
        let head = interim_head(StatusCode::EARLY_HINTS, &headers);
        assert_eq!(head, b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    }
}
