//! Taking connections in, and letting them go: listeners, limits, TLS and HTTP/1.1.

use super::api::{self, Counted, Gateway};
use super::gate::Gate;
use super::patient::Patient;
use crate::net::listener::is_the_connections_own;
use crate::net::tls::ServerIdentity;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, warn};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// How long the head of a request may take to come, or the next request of a connection.
const HEAD: Duration = Duration::from_secs(30);
/// How long a handshake of TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection that has asked nothing yet may take for that while the gateway drains: the request of a new one may
/// be on its way.
const FIRST: Duration = Duration::from_secs(5);
/// How large the head of a request may be, in bytes, and in fields.
const LONGEST_HEAD: usize = 32 * 1024;
const MOST_FIELDS: usize = 100;
/// Before accepting is tried again when there are no descriptors.
const SHORT: Duration = Duration::from_millis(100);

/// A listening socket of either kind.
#[derive(Debug)]
pub enum Socket {
    /// Over IP.
    Tcp(TcpListener),
    /// Within this host.
    Unix(UnixListener),
}

/// A listener with what it lets through.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub socket: Socket,
    /// Who may ask by it.
    pub gate: Arc<Gate>,
    /// What is shown to clients, if TLS is spoken.
    pub identity: Option<Arc<ServerIdentity>>,
    /// Its address, for messages.
    pub name: String,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Socket {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // What is small and comes late shall not wait for more.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Socket::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Takes connections until the gateway is to end. No more than there are permits; others wait in the backlog.
pub async fn accept(door: Door, gateway: Arc<Gateway>, permits: Arc<Semaphore>) {
    let door = Arc::new(door);
    let mut drain = gateway.drain.clone();
    let mut short = false;
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, door.socket.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = comes_true(&mut drain) => return,
        };
        let (Ok(permit), stream) = (permit, accepted) else {
            return;
        };
        match stream {
            Ok(stream) => {
                short = false;
                let (door, gateway) = (Arc::clone(&door), Arc::clone(&gateway));
                tokio::spawn(serve(stream, door, Counted::new(gateway, permit)));
            }
            Err(error) if is_the_connections_own(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut short, true) {
                    warn!("cannot accept from {}: {error}; clients wait in the backlog", door.name);
                }
                tokio::time::sleep(SHORT).await;
            }
        }
    }
}

async fn comes_true(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|is_set| *is_set).await;
}

async fn serve(stream: Box<dyn Stream>, door: Arc<Door>, counted: Counted) {
    let stream: Box<dyn Stream> = match &door.identity {
        None => stream,
        Some(identity) => {
            let handshake = TlsAcceptor::from(identity.config()).accept(stream);
            match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(error)) => return debug!("{}: no TLS: {error}", door.name),
                Err(_) => return debug!("{}: no TLS in time", door.name),
            }
        }
    };
    let mut drain = counted.gateway().drain.clone();
    let (asks, mut asked) = watch::channel(false);
    let service = service_fn(move |request: Request<Incoming>| {
        asks.send_replace(true);
        let (gate, counted) = (Arc::clone(&door.gate), counted.clone());
        async move { Ok::<_, Infallible>(api::answer(counted, gate, request.map(Body::new)).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(MOST_FIELDS).max_buf_size(LONGEST_HEAD);
    let connection = http.serve_connection(TokioIo::new(Patient::new(stream)), service).with_upgrades();
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        _ = comes_true(&mut drain) => {
            // What was asked for is still answered. The library would close a connection of which it has read nothing.
            let first = tokio::time::timeout(FIRST, comes_true(&mut asked));
            tokio::select! {
                done = connection.as_mut() => done,
                _ = first => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = done {
        debug!("a connection of HTTP has ended: {}", crate::chain(&error));
    }
}
