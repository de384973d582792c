//! The session protocol over a WebSocket: the gateway proves in the place of the page, whose scripts have no secret, and
//! passes all else on, both ways, as it is.

use super::{Gateway, Refusal, Visit};
use crate::session::credential::Mac;
use crate::session::frame::{Decoder, Frame, HEAD, MAX_PAYLOAD, PREFACE};
use crate::session::web::handshake::Pair;
use crate::session::web::upstream::{Receiver, Sender, Upstream};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::{Response, StatusCode};
use log::debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is spoken.
const PROTOCOL: &str = "socket-protector.v1";
/// The longest message: any frame of the session protocol fits.
const LONGEST: usize = HEAD + MAX_PAYLOAD;
/// How much goes into one message of ours.
const PIECE: usize = 16 * 1024;
/// How long the page may take to resume.
const RESUMES: Duration = Duration::from_secs(12);
/// How long it may take to take its leave.
const LEAVES: Duration = Duration::from_secs(2);

/// Why a WebSocket is closed, by the codes of RFC 6455 and its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Why(u16, &'static str);

const FINISHED: Why = Why(1000, "");
const GOING_AWAY: Why = Why(1001, "the gateway starts anew");
const BROKE: Why = Why(1002, "not the WebSocket protocol");
const TEXT: Why = Why(1003, "only binary messages");
const REFUSED: Why = Why(1008, "only RESUME of this session");
const SLOW: Why = Why(1008, "too slow");
const TOO_LONG: Why = Why(1009, "too long a message");
const LOST: Why = Why(1011, "lost the server of sessions");
const UNREACHABLE: Why = Why(1013, "the server of sessions cannot be reached");

pub(super) async fn upgrade(visit: &mut Visit<'_>, pair: &Arc<Pair>) -> Result<Response<Body>, Refusal> {
    let upgrade = WebSocketUpgrade::from_request_parts(visit.parts, &()).await;
    let upgrade =
        upgrade.map_err(|rejection| Refusal::new(StatusCode::BAD_REQUEST, "bad_upgrade", rejection.body_text()))?;
    let offers = |name: &str| upgrade.requested_protocols().any(|protocol| protocol.as_bytes() == name.as_bytes());
    if !offers(PROTOCOL) {
        return Err(Refusal::bad(format!("only the subprotocol {PROTOCOL} is spoken")));
    }
    // The connection counts until the WebSocket has ended.
    let counted = visit.parts.extensions.get::<super::Counted>().cloned();
    let (gateway, pair) = (Arc::clone(visit.gateway), Arc::clone(pair));
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(LONGEST).max_frame_size(LONGEST);
    let upgrade = upgrade.write_buffer_size(0).max_write_buffer_size(4 * LONGEST);
    Ok(upgrade.on_upgrade(move |socket| async move {
        serve(socket, gateway, pair).await;
        drop(counted);
    }))
}

type Up = SplitStream<WebSocket>;
type Down = SplitSink<WebSocket, Message>;

async fn serve(socket: WebSocket, gateway: Arc<Gateway>, pair: Arc<Pair>) {
    let (mut down, mut up) = socket.split();
    let mut drain = gateway.drain.clone();
    let why = tokio::select! {
        why = pass(&mut up, &mut down, &gateway, &pair) => why,
        _ = drained(&mut drain) => GOING_AWAY,
    };
    debug!("a WebSocket of session {} is closed: {} {}", pair.id, why.0, why.1);
    let leave = async {
        let close = Message::Close(Some(CloseFrame { code: why.0, reason: why.1.into() }));
        if down.send(close).await.is_ok() {
            // Whoever still sends would find a reset in the place of our last words.
            while let Some(Ok(_)) = up.next().await {}
        }
    };
    let _ = tokio::time::timeout(LEAVES, leave).await;
}

async fn drained(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|drains| *drains).await;
}

async fn pass(up: &mut Up, down: &mut Down, gateway: &Gateway, pair: &Pair) -> Why {
    let begun = tokio::time::timeout(RESUMES, begin(up, down, gateway, pair)).await;
    let (receiver, sender) = match begun {
        Ok(Ok(upstream)) => upstream.into_bytes().split(),
        Ok(Err(why)) => return why,
        Err(_) => return SLOW,
    };
    tokio::select! {
        why = to_page(receiver, down) => why,
        why = from_page(up, sender) => why,
    }
}

/// Lets both greet each other, and puts our proof into the page's RESUME.
async fn begin(up: &mut Up, down: &mut Down, gateway: &Gateway, pair: &Pair) -> Result<Upstream, Why> {
    let mut decoder = Decoder::new();
    let versions = loop {
        if let Some(versions) = decoder.preface().map_err(|_| REFUSED)? {
            break versions;
        }
        take_in(up, &mut decoder).await?;
    };
    let opened = Arc::clone(&gateway.server).open().await;
    let mut upstream = opened.map_err(|error| {
        debug!("{}", crate::chain(&error));
        UNREACHABLE
    })?;
    upstream.bytes.out.extend_from_slice(&PREFACE);
    upstream.bytes.out.extend_from_slice(&[versions.least, versions.most]);
    let hello = loop {
        let length = upstream.turn().await.map_err(|_| LOST)?;
        let (mut said, mut hello, mut over) = (Vec::new(), None, false);
        let heard = upstream.frames(length, |frame, _| {
            frame.encode(&mut said);
            match frame {
                Frame::Hello(greeting) => hello = Some(greeting),
                _ => over = true,
            }
            Ok(false)
        });
        heard.map_err(|_| LOST)?;
        down.send(Message::Binary(said.into())).await.map_err(|_| FINISHED)?;
        match hello {
            _ if over => return Err(FINISHED),
            Some(hello) => break hello,
            None => {}
        }
    };
    let mut resume = loop {
        match decoder.frame().map_err(|_| REFUSED)? {
            Some(Frame::Resume(resume)) if resume.id == pair.id => break resume,
            Some(_) => return Err(REFUSED),
            None => take_in(up, &mut decoder).await?,
        }
    };
    let said = crate::session::credential::Transcript {
        version: hello.version,
        boot: hello.boot,
        server: hello.nonce,
        client: resume.nonce,
    };
    // Where the id is not known nobody shall learn whether there was another start of the server.
    resume.boot_seen = hello.boot;
    let mac = pair.secret.key().resume(&said, resume.id, resume.next, resume.mode.code());
    resume.mac = Mac(mac.0);
    Frame::Resume(resume).encode(&mut upstream.bytes.out);
    // Nothing is to be said before the answer.
    if decoder.held() > 0 {
        return Err(REFUSED);
    }
    upstream.bytes.flush().await.map_err(|_| LOST)?;
    Ok(upstream)
}

/// Takes in one message of a page that has proved nothing.
async fn take_in(up: &mut Up, decoder: &mut Decoder) -> Result<(), Why> {
    let bytes = message(up).await?;
    if decoder.feed(&bytes) < bytes.len() { Err(REFUSED) } else { Ok(()) }
}

/// The next binary message.
async fn message(up: &mut Up) -> Result<Bytes, Why> {
    loop {
        match up.next().await {
            None | Some(Ok(Message::Close(_))) => return Err(FINISHED),
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Message::Text(_))) => return Err(TEXT),
            // Answered by the library.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(error)) => return Err(why(error)),
        }
    }
}

fn why(error: axum::Error) -> Why {
    use tungstenite::Error;
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => TOO_LONG,
        Some(Error::Protocol(_)) => BROKE,
        Some(Error::Utf8(_)) => TEXT,
        _ => FINISHED,
    }
}

async fn to_page(mut receiver: Receiver, down: &mut Down) -> Why {
    loop {
        match receiver.next(PIECE).await {
            // It has said why, as a frame.
            Ok([]) => return FINISHED,
            Ok(bytes) => {
                let message = Message::Binary(Bytes::copy_from_slice(bytes));
                if down.send(message).await.is_err() {
                    return FINISHED;
                }
            }
            Err(_) => return LOST,
        }
    }
}

async fn from_page(up: &mut Up, mut sender: Sender) -> Why {
    loop {
        match message(up).await {
            Ok(bytes) if sender.send(&bytes).await.is_ok() => {}
            Ok(_) => return LOST,
            Err(why) => return why,
        }
    }
}
