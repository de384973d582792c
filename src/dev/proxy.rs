//! The connections of browsers: each request is read, waits where the gate says so, goes to the server that the gate names,
//! and comes back.
//!
//! `framed` and `framing` let in only what can be read in one way, `service` has the life of one request, `fields` what a proxy
//! adds and takes away, `inserted` puts our script into pages, `refused` is what we answer instead of a server, `own` what we
//! have ourselves, `body` is what may be sent twice, `upstream` the server's end, and `tunnel` what is no HTTP any more.

mod body;
mod fields;
mod framed;
mod framing;
pub mod hosts;
mod inserted;
pub(super) mod own;
mod page;
pub(super) mod refused;
mod service;
mod ticket;
mod tunnel;
mod upstream;

use super::browsers::Browsers;
use super::door::Door;
use super::event::Inbox;
use super::gate::Request as Number;
use super::inject::policy::Ours;
use super::livereload::Build;
use body::Body;
use framed::{Framed, Line};
use framing::{LONGEST_HEAD, MOST_FIELDS};
use hosts::Hosts;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use log::{debug, warn};
use refused::Commands;
use service::Client;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// After a failure to accept, as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// So long a client may take for the head of a request, from its first byte.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// So long a client may take for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The fields of a request by HTTP/2, as it counts them, and how many requests there may be at a time.
const HEADERS: u32 = 64 * 1024;
const STREAMS: u32 = 200;
/// What the library may buffer of a connection: a whole head, and what comes with it.
const BUFFER: usize = 2 * LONGEST_HEAD;

/// What all connections share.
pub(super) struct Front {
    pub(super) inbox: Inbox,
    /// The way in while a server answers.
    pub(super) door: Arc<Door>,
    /// Which hosts browsers may name.
    pub(super) hosts: Hosts,
    /// Our name in `Via`, which no other instance has.
    pub(super) via: String,
    /// The authority for requests that name none, as HTTP/1.0 allows.
    pub(super) authority: String,
    /// How browsers come by TLS, if they do.
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) next: AtomicU64,
    /// Who is told of changes.
    pub(super) browsers: Arc<Browsers>,
    /// Pages get our script.
    pub(super) inject: bool,
    /// What is run.
    pub(super) commands: Commands,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("via", &self.via).finish_non_exhaustive()
    }
}

impl Front {
    /// How a browser's address of us begins.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn number(&self) -> Number {
        Number(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// What a page needs to load itself again. None where it names no host, or without random numbers.
    fn ours(&self, client: &service::Client, host: Option<&str>, build: Option<Build>) -> Option<Ours> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let nonce = format!("{:032x}", u128::from_ne_bytes(random));
        let host = host.unwrap_or(&self.authority);
        Ours::on(host, client.scheme == "https", self.browsers.id(build), nonce)
    }
}

/// Tells connections that we end, and waits for them.
#[derive(Debug)]
pub(super) struct Closing {
    end: watch::Sender<bool>,
    /// Each connection has a sender; when all are gone, they are.
    open: mpsc::Receiver<Infallible>,
}

/// What a connection has of it.
#[derive(Clone, Debug)]
pub(super) struct Open {
    end: watch::Receiver<bool>,
    _open: mpsc::Sender<Infallible>,
}

/// The two ends of what ends the connections.
pub(super) fn closing() -> (Closing, Open) {
    let (end, ended) = watch::channel(false);
    let (sender, open) = mpsc::channel(1);
    (Closing { end, open }, Open { end: ended, _open: sender })
}

impl Closing {
    /// Lets answers that are under way finish, for so long.
    pub(super) async fn close(mut self, patience: Duration) {
        let _ = self.end.send(true);
        let _ = tokio::time::timeout(patience, self.open.recv()).await;
    }
}

/// Accepts connections until we end.
pub(super) async fn accept(listener: TcpListener, front: Arc<Front>, mut open: Open) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = open.end.changed() => return,
        };
        match accepted {
            Ok((stream, client)) => drop(tokio::spawn(serve(stream, client, Arc::clone(&front), open.clone()))),
            Err(error) => {
                warn!("cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection.
async fn serve(stream: TcpStream, address: SocketAddr, front: Arc<Front>, open: Open) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = &front.tls else { return http1(stream, address, front, open).await };
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            http2(stream, address, front, open).await
        }
        Ok(Ok(stream)) => http1(stream, address, front, open).await,
        Ok(Err(error)) => debug!("{address} speaks no TLS with us: {error}"),
        Err(late) => debug!("{address} has not finished its handshake: {late}"),
    }
}

async fn http1<S>(stream: S, address: SocketAddr, front: Arc<Front>, mut open: Open)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let line = Arc::new(Line::default());
    let service = service(address, &front, Arc::clone(&line));
    let mut server = http1::Builder::new();
    server.preserve_header_case(true).max_headers(MOST_FIELDS + 1).max_buf_size(BUFFER);
    let connection =
        server.serve_connection(TokioIo::new(Framed::new(stream, line, HEAD_TIME)), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = open.end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    tell(address, ended);
}

/// The library itself sees to the framing of HTTP/2.
async fn http2<S>(stream: S, address: SocketAddr, front: Arc<Front>, mut open: Open)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service(address, &front, Arc::default());
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.max_header_list_size(HEADERS).max_concurrent_streams(STREAMS);
    let mut connection = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = open.end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    tell(address, ended);
}

fn tell(address: SocketAddr, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!("the connection of {address} has ended: {error}");
    }
}

/// What answers the requests of a connection.
fn service(
    address: SocketAddr,
    front: &Arc<Front>,
    line: Arc<Line>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + use<> {
    let (front, client) = (Arc::clone(front), Client { address, scheme: front.scheme(), line });
    service_fn(move |request| {
        let (front, client) = (Arc::clone(&front), client.clone());
        async move { Ok(service::serve(&front, &client, request).await) }
    })
}
