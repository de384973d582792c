//! The port that browser extensions ask, and pages with LiveReload's script by hand.
//!
//! Whoever may ask is told when something has changed, and what a failed build has written. So a page of the web may not:
//! extensions may, pages of this machine and of the hosts that are allowed, and programs, which name no origin.

use super::browsers::Browsers;
use super::channel;
use super::proxy::hosts::Hosts;
use super::proxy::own;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, ORIGIN, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, warn};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many connections at a time; further ones wait.
const MOST: usize = 256;
/// So long a client may take for its request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// After a failure to accept, as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// The largest head.
const LARGEST_HEAD: usize = 64 * 1024;
/// What pages ask for that have LiveReload's element: our script, which speaks the same and connects to where it came from.
const SCRIPT: &str = "/livereload.js";
/// How the origins of extensions begin.
const EXTENSIONS: [&str; 3] = ["chrome-extension://", "moz-extension://", "safari-web-extension://"];

/// What all connections share.
#[derive(Debug)]
pub(super) struct Extensions {
    browsers: Arc<Browsers>,
    hosts: Hosts,
    room: Arc<Semaphore>,
}

impl Extensions {
    pub(super) fn new(browsers: Arc<Browsers>, hosts: Hosts) -> Arc<Extensions> {
        Arc::new(Extensions { browsers, hosts, room: Arc::new(Semaphore::new(MOST)) })
    }

    /// Accepts connections for ever.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok(place) = Arc::clone(&self.room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(Arc::clone(&self).serve(stream, Arc::new(place)))),
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, place: Arc<OwnedSemaphorePermit>) {
        let service = service_fn(|request| {
            let (this, place) = (Arc::clone(&self), Arc::clone(&place));
            async move { Ok::<_, Infallible>(this.answer(request, place).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false).max_buf_size(LARGEST_HEAD);
        if let Err(error) = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await {
            debug!("a connection of a browser extension has ended: {error}");
        }
    }

    async fn answer(&self, request: Request<Incoming>, place: Arc<OwnedSemaphorePermit>) -> Response<Full<Bytes>> {
        let (mut parts, _) = request.into_parts();
        let host = own::host(&parts);
        if host.as_deref().is_some_and(|host| !self.hosts.allow(host)) {
            return plain(StatusCode::FORBIDDEN, own::FOREIGN_HOST);
        }
        if parts.headers.contains_key(UPGRADE) {
            let origin = parts.headers.get(ORIGIN).map(HeaderValue::as_bytes);
            if !origin.is_none_or(|origin| allows(&self.hosts, origin, host.as_deref())) {
                return plain(StatusCode::FORBIDDEN, own::FOREIGN_ORIGIN);
            }
            return match channel::open(&mut parts, Arc::clone(&self.browsers), place).await {
                Ok(response) => response.map(|()| Full::default()),
                Err(status) => plain(status, own::NO_WEBSOCKET),
            };
        }
        if matches!(parts.method, Method::GET | Method::HEAD) && parts.uri.path() == SCRIPT {
            return own::script().map(Full::new);
        }
        plain(StatusCode::NOT_FOUND, "Here are LiveReload's WebSocket and /livereload.js.\n")
    }
}

/// Whether one with this origin may be told of changes.
fn allows(hosts: &Hosts, origin: &[u8], host: Option<&str>) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    EXTENSIONS.iter().any(|scheme| origin.starts_with(scheme)) || hosts.allow_origin(origin, host)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::allows;
    use crate::dev::proxy::hosts::Hosts;

    #[test]
    fn extensions_and_pages_of_this_machine_may_listen_and_no_others() {
        let hosts = Hosts::new(["my.test"]);
        for (origin, allowed) in [
            ("chrome-extension://jnihajbhpnppcggbcgedagnkighmdlei", true),
            ("moz-extension://0b0b", true),
            ("safari-web-extension://0b0b", true),
            ("http://localhost:8000", true),
            ("http://127.0.0.1:8000", true),
            ("https://my.test", true),
            ("http://10.0.0.7:9", true),
            ("http://10.0.0.8", false),
            ("http://evil.example", false),
            ("null", false),
            ("http://evil.example/chrome-extension://", false),
        ] {
            assert_eq!(allows(&hosts, origin.as_bytes(), Some("10.0.0.7:35729")), allowed, "{origin}");
        }
        assert!(!allows(&hosts, b"\xff", None));
    }
}
