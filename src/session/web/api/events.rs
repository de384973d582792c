//! Reading on and on, by server-sent events.

use super::output::{destination, happened};
use super::{Refusal, Visit, put, query};
use crate::session::frame::{Closed, OLDEST};
use crate::session::web::handshake::Pair;
use crate::session::web::reader::{Item, Reason};
use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// After so much silence something is sent, which keeps those in between from taking the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How soon a browser comes again, in milliseconds: it does so to acknowledge, too.
const COMES_AGAIN: u32 = 200;

pub(super) async fn follow(visit: &Visit<'_>, pair: &Arc<Pair>) -> Result<Response<Body>, Refusal> {
    let from = from(visit)?;
    let mut pieces = visit.gateway.readers.follow(pair, from).await;
    let offset = match pieces.recv().await {
        Some(Item::Begin { offset }) => offset,
        Some(Item::Over(over)) => return Err(Refusal::of_reading(over, if from == OLDEST { 0 } else { from })),
        Some(_) | None => return Err(Refusal::of_reading(Reason::Again, 0)),
    };
    // An id alone is no event, but a browser that has to come again begins there.
    let first = format!("retry: {COMES_AGAIN}\nid: {offset}\n\n");
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let stream = futures_util::stream::unfold((pieces, heartbeat, Some(first), false), next);
    let mut response = Response::new(Body::from_stream(stream));
    put(&mut response, CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// Where it begins: behind what a browser that comes again has got, else where the target says.
fn from(visit: &Visit<'_>) -> Result<u64, Refusal> {
    if let Some(last) = visit.parts.headers.get("last-event-id").filter(|last| !last.is_empty()) {
        let last = last.to_str().ok().and_then(query::number);
        return last.ok_or_else(|| Refusal::bad("'Last-Event-ID' is the number of a byte"));
    }
    query::value(visit.parts.uri.query(), "from")?.map_or(Ok(OLDEST), query::offset)
}

type State = (mpsc::Receiver<Item>, Interval, Option<String>, bool);

/// The next text, when there is one and the connection takes it.
async fn next((mut pieces, mut heartbeat, first, ended): State) -> Option<(Result<Bytes, Infallible>, State)> {
    if let Some(first) = first {
        return Some((Ok(first.into()), (pieces, heartbeat, None, ended)));
    }
    if ended {
        return None;
    }
    let (text, ended) = tokio::select! {
        item = pieces.recv() => {
            heartbeat.reset();
            let item = item?;
            let ended = matches!(item, Item::End(_) | Item::Over(_));
            (event(item)?, ended)
        }
        _ = heartbeat.tick() => (":\n\n".to_owned(), false),
    };
    Some((Ok(text.into()), (pieces, heartbeat, None, ended)))
}

/// An event as text; none where the stream just ends, so that the browser comes again.
fn event(item: Item) -> Option<String> {
    Some(match item {
        Item::Begin { offset } => format!("id: {offset}\n\n"),
        Item::Output { offset, bytes } => {
            let next = offset + bytes.len() as u64;
            format!("event: output\nid: {next}\ndata: {}\n\n", BASE64_STANDARD.encode(bytes))
        }
        Item::Happened(event) => format!("event: happened\ndata: {}\n\n", happened(&event)),
        Item::Gap { from, to } => format!("event: gap\nid: {to}\ndata: {}\n\n", json!({ "from": from, "to": to })),
        Item::End(end) => format!("event: end\ndata: {}\n\n", json!({ "destination": destination(end) })),
        Item::Over(Reason::TakenOver) => "event: taken_over\ndata: {}\n\n".into(),
        Item::Over(Reason::Dismissed(_)) => "event: detached\ndata: {}\n\n".into(),
        Item::Over(Reason::Closed(reason)) => {
            format!("event: closed\ndata: {}\n\n", json!({ "reason": closed(reason) }))
        }
        Item::Over(Reason::Refused(_) | Reason::Unreachable | Reason::Again) => return None,
    })
}

fn closed(reason: Closed) -> &'static str {
    match reason {
        Closed::ByClient => "by_client",
        Closed::Complete => "complete",
        Closed::Expired => "expired",
        Closed::ByAdministrator => "by_administrator",
        Closed::Stopped => "stopped",
        Closed::Other(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::event;
    use crate::session::client_state::End;
    use crate::session::frame::{self, Refusal};
    use crate::session::web::reader::{Happened, Item, Reason};

    #[test]
    fn each_piece_is_an_event() {
        let output = Item::Output { offset: 7, bytes: b"hi\xff".to_vec() };
        assert_eq!(event(output).unwrap(), "event: output\nid: 10\ndata: aGn/\n\n");
        let echo = Happened { offset: 7, kind: frame::event::ECHO, body: vec![1] };
        let text = "event: happened\ndata: {\"offset\":7,\"kind\":\"echo\",\"value\":true}\n\n";
        assert_eq!(event(Item::Happened(echo)).unwrap(), text);
        let gap = event(Item::Gap { from: 0, to: 9 }).unwrap();
        assert_eq!(gap, "event: gap\nid: 9\ndata: {\"from\":0,\"to\":9}\n\n");
        assert_eq!(event(Item::End(End::Eof)).unwrap(), "event: end\ndata: {\"destination\":\"eof\"}\n\n");
        assert_eq!(event(Item::Over(Reason::TakenOver)).unwrap(), "event: taken_over\ndata: {}\n\n");
        assert!(
            event(Item::Over(Reason::Again)).is_none() && event(Item::Over(Reason::Refused(Refusal::Denied))).is_none()
        );
    }
}
