//! The paths that are ours and not the server's: the script of pages, and the channel that it connects to.

use super::Front;
use super::body::{Body, whole};
use super::page;
use crate::dev::channel;
use crate::dev::inject::policy::{CHANNEL, SCRIPT};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;

/// What all of our paths begin with.
const PREFIX: &str = "/__socket_protector/";
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

pub(in crate::dev) const FOREIGN_HOST: &str =
    "This host is none of this machine's names. If it is meant to be one: --allow-host NAME.\n";
pub(in crate::dev) const FOREIGN_ORIGIN: &str = "Pages of this origin are not told of changes.\n";
pub(in crate::dev) const NO_WEBSOCKET: &str = "Here is a WebSocket.\n";

/// Whether a request is for us.
pub(super) fn is_ours<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with(PREFIX)
}

/// The host that is asked.
pub(in crate::dev) fn host(parts: &Parts) -> Option<String> {
    let named = parts.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    named.or_else(|| parts.uri.authority().map(ToString::to_string))
}

/// Our script.
pub(in crate::dev) fn script() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(include_bytes!("../reload.js")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// Answers a request that is ours, whose host is allowed.
pub(super) async fn serve(front: &Front, request: Request<Incoming>) -> Response<Body> {
    let (mut parts, _) = request.into_parts();
    match parts.uri.path() {
        SCRIPT if matches!(parts.method, Method::GET | Method::HEAD) => script().map(whole),
        CHANNEL if parts.headers.contains_key(UPGRADE) => open(front, &mut parts).await,
        CHANNEL => page::plain(StatusCode::UPGRADE_REQUIRED, NO_WEBSOCKET.into()),
        _ => page::plain(StatusCode::NOT_FOUND, "The proxy has nothing here.\n".into()),
    }
}

async fn open(front: &Front, parts: &mut Parts) -> Response<Body> {
    let (origin, host) = (parts.headers.get(ORIGIN), host(parts));
    // Without an origin it is no page, which could be anybody's.
    let fine = origin
        .is_none_or(|origin| origin.to_str().is_ok_and(|origin| front.hosts.allow_origin(origin, host.as_deref())));
    if !fine {
        return page::plain(StatusCode::FORBIDDEN, FOREIGN_ORIGIN.into());
    }
    match channel::open(parts, Arc::clone(&front.browsers), ()).await {
        Ok(response) => response.map(|()| whole("")),
        Err(status) => page::plain(status, NO_WEBSOCKET.into()),
    }
}
