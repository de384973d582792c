//! The server behind the proxy, and the plain proxy that ours is compared with: a loop over hyper that adds nothing.

use crate::common::Result;
use crate::common::machine::now;
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// How much of a large answer is given at a time.
const PIECE: usize = 64 * 1024;
/// As many as ours has.
const THREADS: usize = 2;

/// Serves until it is ended: `/` tells when this process began and when it could serve, `/large/N` gives N bytes, and a POST is
/// told how many came.
pub fn serve(port: u16) -> Result<()> {
    let began = now();
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = listen(port).await?;
        let stamp = format!("{:020} {:020}", began, now());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let stamp = stamp.clone();
            let service = service_fn(move |request| answer(stamp.clone(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// A socket on which an old server's connections are no obstacle.
async fn listen(port: u16) -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(stamp: String, request: Request<Incoming>) -> std::result::Result<Response<Body>, hyper::Error> {
    let large = request.uri().path().strip_prefix("/large/").and_then(|length| length.parse::<usize>().ok());
    if let Some(length) = large {
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let pieces = (0..length / PIECE).map(move |_| Ok(Frame::data(piece.clone())));
        return Ok(Response::new(StreamBody::new(stream::iter(pieces)).boxed()));
    }
    let mut body = request.into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        count += frame?.data_ref().map_or(0, Bytes::len);
    }
    let text = if count > 0 { format!("{count:041}") } else { stamp };
    Ok(Response::new(Full::new(Bytes::from(text)).boxed()))
}

/// Passes each request on by a connection of its own, as ours does, and does nothing else.
pub fn proxy(port: u16, target: u16) -> Result<()> {
    Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?.block_on(async {
        let listener = listen(port).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service_fn(move |request| pass(target, request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn pass(target: u16, request: Request<Incoming>) -> std::result::Result<Response<Incoming>, Failed> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

type Failed = Box<dyn std::error::Error + Send + Sync>;
