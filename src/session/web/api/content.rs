//! The content of a request: of bounded length, in bounded time, and in bounded memory for all of them together.

use super::{Refusal, Visit};
use crate::session::web::gate::essence;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// All of it, and the room that it takes.
pub(super) async fn read<'a>(
    visit: &Visit<'a>,
    body: Body,
    most: usize,
) -> Result<(Bytes, SemaphorePermit<'a>), Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("{most} bytes are the most"));
    let slow = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the content did not come in time");
    let hint = body.size_hint();
    let length = usize::try_from(hint.upper().unwrap_or(most as u64)).unwrap_or(usize::MAX);
    if usize::try_from(hint.lower()).unwrap_or(usize::MAX) > most || (hint.upper().is_some() && length > most) {
        return Err(too_large());
    }
    let all = async {
        // Room is taken by what has come: to announce content costs nothing, and keeps nobody waiting.
        let mut room = room(visit, 0).await?;
        let mut body = pin!(body);
        let mut bytes = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let frame = frame.map_err(|_| Refusal::bad("the content is not whole"))?;
            let part = frame.into_data().unwrap_or_default();
            if bytes.len() + part.len() > most {
                return Err(too_large());
            }
            room.merge(self::room(visit, part.len()).await?);
            bytes.extend_from_slice(&part);
        }
        Ok((bytes.freeze(), room))
    };
    tokio::time::timeout(PATIENCE, all).await.map_err(slow)?
}

/// Room for so many bytes of content; waits for it.
async fn room<'a>(visit: &Visit<'a>, bytes: usize) -> Result<SemaphorePermit<'a>, Refusal> {
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    let room = visit.gateway.room.acquire_many(permits).await;
    room.map_err(|_| Refusal::later("unavailable", "the gateway ends", 1))
}

/// The content, which has to be said to be JSON. `None` of it is like `{}`.
pub(super) async fn json(visit: &Visit<'_>, body: Body) -> Result<serde_json::Map<String, serde_json::Value>, Refusal> {
    const MOST: usize = 4096;
    let kind = visit.parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(essence);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        let message = "this takes content of the type application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message));
    }
    let (bytes, _room) = read(visit, body, MOST).await?;
    if bytes.is_empty() {
        return Ok(serde_json::Map::new());
    }
    serde_json::from_slice(&bytes).map_err(|_| Refusal::bad("the content is not an object of JSON"))
}
