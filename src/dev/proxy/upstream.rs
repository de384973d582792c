//! One request to one server, on a connection of its own.
//!
//! None is kept for the next request: many servers for development answer one connection at a time, and one that is kept
//! open would let all others wait. It also makes a request that its server has lost a thing that can be told.

use super::body::{BodyError, Sending};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use log::debug;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// So long a connection may take: a server of this host has it at once, unless its backlog is full.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest head of an answer, which is also what the library buffers of one that the client does not take.
const LARGEST_HEAD: usize = 256 * 1024;
const MOST_FIELDS: usize = 500;

/// The server has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// A part of the request may have reached it.
    pub(super) sent: bool,
}

/// Asks, and gives the answer's head with its body to come.
pub(super) async fn ask<B>(address: SocketAddr, request: Request<Sending<B>>) -> Result<Response<Incoming>, Unanswered>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let unsent = |what: &dyn std::fmt::Display| {
        debug!("cannot connect to {address}: {what}");
        Unanswered { sent: false }
    };
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
    let stream = connecting.await.map_err(|late| unsent(&late))?.map_err(|error| unsent(&error))?;
    // A socket may be connected to itself when nobody listens.
    if stream.local_addr().ok() == Some(address) {
        return Err(unsent(&"nobody listens there"));
    }
    let _ = stream.set_nodelay(true);
    let mut client = http1::Builder::new();
    client.preserve_header_case(true).max_headers(MOST_FIELDS).max_header_size(LARGEST_HEAD).max_buf_size(LARGEST_HEAD);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(|error| unsent(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!("the connection to {address} has failed: {error}");
        }
    });
    sender.try_send_request(request).await.map_err(|error| {
        debug!("{address} has not answered: {}", error.error());
        Unanswered { sent: error.message().is_none() }
    })
}
