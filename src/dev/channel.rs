//! The connection of one browser: a WebSocket that speaks LiveReload's protocol 7.
//!
//! Each has a task of its own, so that one that reads nothing delays nobody, and is given up when it takes nothing.

use super::browsers::Browsers;
use super::livereload::{self, LONGEST, Said};
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// So long a client may take for its first word, and for each of ours.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is asked whether it is still there.
const PULSE: Duration = Duration::from_secs(45);
/// What may wait to be written: one message of ours, and the answers to what the client says meanwhile.
const MOST_WAITING: usize = 256 * 1024;

/// Opens a channel: the answer that changes the protocol, or the status of a request that is none for that. `held` is kept
/// until the channel closes.
pub(super) async fn open<T: Send + 'static>(
    parts: &mut Parts,
    browsers: Arc<Browsers>,
    held: T,
) -> Result<Response<()>, StatusCode> {
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &());
    let upgrade = upgrade.await.map_err(|rejection| rejection.into_response().status())?;
    let upgrade = upgrade.max_message_size(LONGEST).max_frame_size(LONGEST);
    let upgrade = upgrade.write_buffer_size(0).max_write_buffer_size(MOST_WAITING);
    let answer = upgrade.on_upgrade(move |socket| async move {
        let _ = serve(socket, &browsers).await;
        drop(held);
    });
    Ok(answer.map(drop))
}

/// Until the client leaves or takes nothing any more.
async fn serve(mut socket: WebSocket, browsers: &Browsers) -> Option<()> {
    tokio::time::timeout(PATIENCE, greeting(&mut socket)).await.ok()??;
    let mut joined = browsers.join();
    let mut pulse = tokio::time::interval(PULSE);
    loop {
        for message in joined.first.drain(..) {
            send(&mut socket, text(&message)).await?;
        }
        tokio::select! {
            said = socket.recv() => drop(said?.ok()?),
            message = joined.news.recv() => match message {
                Ok(message) => send(&mut socket, text(&message)).await?,
                Err(RecvError::Lagged(_)) => joined = browsers.join_again(),
                Err(RecvError::Closed) => return None,
            },
            _ = pulse.tick() => send(&mut socket, Message::Ping(bytes::Bytes::new())).await?,
        }
    }
}

/// Waits for the word that it wants to be told.
async fn greeting(socket: &mut WebSocket) -> Option<()> {
    loop {
        if let Message::Text(message) = socket.recv().await?.ok()? {
            match livereload::read(&message) {
                Said::Hello => return Some(()),
                Said::OtherProtocol => return None,
                Said::Else => {}
            }
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Option<()> {
    tokio::time::timeout(PATIENCE, socket.send(message)).await.ok()?.ok()
}

fn text(message: &str) -> Message {
    Message::Text(Utf8Bytes::from(message))
}
