//! What is asked for by HTTP: who may ask, what is meant, and what is answered.

use super::cookie;
use super::gate::{Gate, Heads, Proof};
use super::handshake::Pair;
use super::page;
use super::readers::Readers;
use super::refusal::Refusal;
use super::upstream::Server;
use crate::session::credential::{Secret, SessionId};
use axum::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use log::debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

mod content;
mod create;
mod events;
mod input;
mod output;
mod plain;
mod query;
mod session;
mod socket;

/// What all requests have in common.
#[derive(Debug)]
pub struct Gateway {
    /// The server of sessions.
    pub server: Arc<Server>,
    /// Who reads.
    pub readers: Readers,
    /// Room for the content of requests, in bytes.
    pub room: Semaphore,
    /// How many connections there are.
    pub connections: AtomicUsize,
    /// Whether the gateway is about to end.
    pub drain: watch::Receiver<bool>,
}

/// Shows that a connection is there, as long as somebody has it.
#[derive(Clone, Debug)]
pub struct Counted(Arc<Count>);

#[derive(Debug)]
struct Count {
    gateway: Arc<Gateway>,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    /// The connection that this permit was given for.
    pub fn new(gateway: Arc<Gateway>, permit: OwnedSemaphorePermit) -> Counted {
        gateway.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::new(Count { gateway, _permit: permit }))
    }

    /// What its requests are answered by.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.0.gateway
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.gateway.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request, as far as its content is not looked at.
struct Visit<'a> {
    gateway: &'a Arc<Gateway>,
    gate: &'a Gate,
    parts: &'a mut Parts,
}

/// What of a session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Session,
    Output,
    Input,
    Events,
    Socket,
    Fin,
    Resize,
}

/// What the scripts of our page add to their requests.
const OWN_PAGE: &str = "x-session-page";

/// Answers a request.
pub async fn answer(counted: Counted, gate: Arc<Gate>, mut request: Request<Body>) -> Response<Body> {
    let gateway = Arc::clone(counted.gateway());
    request.extensions_mut().insert(counted);
    let (mut parts, body) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let mut visit = Visit { gateway: &gateway, gate: &gate, parts: &mut parts };
    let mut response = match visit.answer(&path, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    };
    debug!("{method} {path}: {}", response.status().as_u16());
    add_common(response.headers_mut());
    response
}

/// What every answer has, unless it has its own.
fn add_common(headers: &mut HeaderMap) {
    const COMMON: [(HeaderName, &str); 5] = [
        (header::CACHE_CONTROL, page::NEVER),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Whoever is in front of us shall pass on what comes when it comes.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in COMMON {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

impl Visit<'_> {
    async fn answer(&mut self, path: &str, body: Body) -> Result<Response<Body>, Refusal> {
        self.gate.enter(&heads(&self.parts.headers, &hosts(self.parts), self.follows_link(path)))?;
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["v1", "sessions"] => {
                self.method(&[Method::POST], "POST")?;
                create::create(self, body).await
            }
            ["v1", "sessions", id] => self.session(id, What::Session, body).await,
            ["v1", "sessions", id, "output"] => self.session(id, What::Output, body).await,
            ["v1", "sessions", id, "input"] => self.session(id, What::Input, body).await,
            ["v1", "sessions", id, "events"] => self.session(id, What::Events, body).await,
            ["v1", "sessions", id, "ws"] => self.session(id, What::Socket, body).await,
            ["v1", "sessions", id, "fin"] => self.session(id, What::Fin, body).await,
            ["v1", "sessions", id, "resize"] => self.session(id, What::Resize, body).await,
            ["plain"] => plain::start(self, body).await,
            ["plain", id] => plain::session(self, id, body).await,
            ["healthz"] => {
                self.method(&[Method::GET, Method::HEAD], "GET, HEAD")?;
                Ok(text(StatusCode::OK, "ok\n"))
            }
            _ => self.document(path),
        }
    }

    /// The pages and what they consist of.
    fn document(&self, path: &str) -> Result<Response<Body>, Refusal> {
        let is_page = path == "/";
        let file = path.strip_prefix(page::FOLDER).and_then(page::file);
        if !is_page && file.is_none() {
            return Err(Refusal::nothing_there());
        }
        self.method(&[Method::GET, Method::HEAD], "GET, HEAD")?;
        let Some(sent) = file else {
            let mut response = Response::new(Body::from(page::terminal()));
            put(&mut response, header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            let policy = HeaderValue::from_static(page::TERMINAL_POLICY);
            put(&mut response, header::CONTENT_SECURITY_POLICY, policy);
            return Ok(response);
        };
        let known = self.parts.headers.get(header::IF_NONE_MATCH);
        let known = known.is_some_and(|tags| tags.as_bytes() == sent.etag.as_bytes());
        let mut response = Response::new(if known { Body::empty() } else { Body::from(sent.file.body) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        put(&mut response, header::CONTENT_TYPE, HeaderValue::from_static(sent.file.content_type));
        put(&mut response, header::CACHE_CONTROL, HeaderValue::from_static(sent.cache));
        if let Ok(etag) = HeaderValue::from_str(&sent.etag) {
            put(&mut response, header::ETAG, etag);
        }
        Ok(response)
    }

    /// Something about one session.
    async fn session(&mut self, id: &str, what: What, body: Body) -> Result<Response<Body>, Refusal> {
        match what {
            What::Session => self.method(&[Method::GET, Method::DELETE], "GET, DELETE")?,
            What::Output | What::Events | What::Socket => self.method(&[Method::GET], "GET")?,
            What::Input | What::Fin | What::Resize => self.method(&[Method::POST], "POST")?,
        }
        let pair = Arc::new(self.pair(id, what)?);
        let done = match what {
            What::Session if self.parts.method == Method::DELETE => session::close(self, &pair).await,
            What::Session => session::look(self, &pair).await,
            What::Output => output::read(self, &pair).await,
            What::Input => input::append(self, &pair, body).await,
            What::Events => events::follow(self, &pair).await,
            What::Socket => socket::upgrade(self, &pair).await,
            What::Fin => session::finish(self, &pair).await,
            What::Resize => session::resize(self, &pair, body).await,
        };
        let gone = match &done {
            Ok(_) => self.parts.method == Method::DELETE,
            Err(refusal) => refusal.is_unknown(),
        };
        let mut response = done.unwrap_or_else(Refusal::response);
        // A secret that is good for nothing need not be sent again.
        if gone && cookie::sessions(cookies(&self.parts.headers)).contains(&id) {
            for secure in [false, true] {
                set_cookie(response.headers_mut(), &cookie::forget(id, secure));
            }
        }
        Ok(response)
    }

    /// The session that is meant and the secret that comes with the request, if it may come from there.
    fn pair(&self, id: &str, what: What) -> Result<Pair, Refusal> {
        let headers = &self.parts.headers;
        let bearer = bearer(headers);
        let secret = bearer.or_else(|| cookie::find(cookies(headers), id, self.comes_by_tls()));
        let proof = match (bearer, secret) {
            (Some(_), _) => Proof::Header,
            (None, Some(_)) => Proof::Cookie,
            (None, None) => Proof::None,
        };
        let safe = self.parts.method.is_safe() && what != What::Socket;
        let hosts = hosts(self.parts);
        let heads = heads(headers, &hosts, false);
        self.gate.admit(&heads, safe, proof)?;
        if !self.parts.method.is_safe() {
            self.gate.content(&heads)?;
        }
        let secret = secret.ok_or_else(Refusal::unauthorized)?;
        match (id.parse::<SessionId>(), Secret::from_text(secret)) {
            // One session has one name: the cookies go by it.
            (Ok(known), Ok(secret)) if known.to_string() == id => Ok(Pair { id: known, secret }),
            _ => Err(Refusal::unknown()),
        }
    }

    fn method(&self, allowed: &[Method], names: &'static str) -> Result<(), Refusal> {
        if allowed.contains(&self.parts.method) { Ok(()) } else { Err(Refusal::method(names)) }
    }

    /// Whether the browser is known to have come by TLS, to us or to somebody in front, who says so. A browser says that of
    /// itself for no page.
    fn comes_by_tls(&self) -> bool {
        let told = self.parts.headers.get("x-forwarded-proto");
        self.gate.speaks_tls() || told.is_some_and(|told| told.as_bytes().eq_ignore_ascii_case(b"https"))
    }

    /// Whether a browser asks ahead of its user, who may never see the page.
    fn is_ahead(&self) -> bool {
        let says = |name: &str| {
            let mut values = self.parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.any(|value| value.trim_start().to_ascii_lowercase().starts_with("prefetch"))
        };
        says("sec-purpose") || says("purpose")
    }

    /// Whether a user follows a link to a page of ours.
    fn follows_link(&self, path: &str) -> bool {
        let is = |name: &str, value: &str| self.parts.headers.get(name).is_some_and(|given| given == value);
        let document = !path.starts_with("/v1/") && self.parts.method == Method::GET;
        document && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
    }
}

fn heads<'a>(headers: &'a HeaderMap, (hosts, origins): &'a (Vec<&'a str>, Vec<&'a str>), navigates: bool) -> Heads<'a> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    Heads {
        hosts,
        origins,
        site: text(HeaderName::from_static("sec-fetch-site")),
        navigates,
        marked: headers.contains_key(OWN_PAGE),
        content_type: text(header::CONTENT_TYPE),
    }
}

/// Each `Host`, with that of an absolute target, and each `Origin`. What is no text is nobody's.
fn hosts(parts: &Parts) -> (Vec<&str>, Vec<&str>) {
    let all = |name: HeaderName| parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    let target = parts.uri.authority().map(|authority| authority.as_str());
    (all(header::HOST).chain(target).collect(), all(header::ORIGIN).collect())
}

/// The secret of `Authorization: Bearer`; one that is malformed is a wrong one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok())
}

fn set_cookie(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        headers.append(header::SET_COOKIE, value);
    }
}

fn put(response: &mut Response<Body>, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    put(&mut response, header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    put(&mut response, header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
