//! Reading once: a poll that is answered at once, or one that waits.

use super::{Refusal, Visit, json, no_content, put, query};
use crate::session::client_state::End;
use crate::session::frame::{OLDEST, event};
use crate::session::web::handshake::Pair;
use crate::session::web::reader::{Answer, Happened};
use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whoever is in front of us waits a minute at the most, as a rule.
const LONGEST_WAIT: u64 = 55;

const OFFSET: HeaderName = HeaderName::from_static("stream-offset");
const NEXT: HeaderName = HeaderName::from_static("stream-next-offset");
const FIN: HeaderName = HeaderName::from_static("stream-fin");

pub(super) async fn read(visit: &Visit<'_>, pair: &Arc<Pair>) -> Result<Response<Body>, Refusal> {
    let asked = visit.parts.uri.query();
    let from = query::value(asked, "from")?;
    let from = query::offset(from.ok_or_else(|| Refusal::bad("'from' says where the output shall begin"))?)?;
    let wait = match query::value(asked, "wait")? {
        None => 0,
        Some(text) => {
            let wait = query::number(text).filter(|wait| *wait <= LONGEST_WAIT);
            wait.ok_or_else(|| Refusal::bad(format!("'wait' is a number of seconds from 0 to {LONGEST_WAIT}")))?
        }
    };
    let as_json = wants_json(visit);
    let until = Instant::now() + Duration::from_secs(wait);
    match visit.gateway.readers.poll(pair, from, until, as_json).await {
        Answer::Output { offset, bytes, end, events } if as_json => {
            let next = offset + bytes.len() as u64;
            let mut said = json!({
                "offset": offset, "next": next, "data": BASE64_STANDARD.encode(bytes), "fin": end.is_some(),
                "events": events.iter().map(happened).collect::<Vec<_>>(),
            });
            if let Some(end) = end {
                said["destination"] = json!(destination(end));
            }
            Ok(json(StatusCode::OK, &said))
        }
        Answer::Output { offset, bytes, end, .. } => {
            let next = offset + bytes.len() as u64;
            let mut response = Response::new(Body::from(bytes));
            put(&mut response, CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            put(&mut response, OFFSET, offset.into());
            put(&mut response, NEXT, next.into());
            put(&mut response, FIN, HeaderValue::from_static(if end.is_some() { "true" } else { "false" }));
            Ok(response)
        }
        Answer::Nothing { next } => {
            let mut response = no_content();
            put(&mut response, NEXT, next.into());
            Ok(response)
        }
        Answer::Over(over) => Err(Refusal::of_reading(over, if from == OLDEST { 0 } else { from })),
    }
}

/// Whether JSON is asked for by name.
fn wants_json(visit: &Visit<'_>) -> bool {
    let kinds = visit.parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = kinds.flat_map(|kinds| kinds.split(','));
    kinds.any(|kind| crate::session::web::gate::essence(kind).eq_ignore_ascii_case("application/json"))
}

/// An event as pages get it.
pub(super) fn happened(event: &Happened) -> Value {
    let is_on = event.body.first() == Some(&1);
    let (kind, value) = match event.kind {
        event::ECHO => ("echo", json!(is_on)),
        event::BINARY => ("binary", json!(is_on)),
        event::END_OF_RECORD => ("end_of_record", Value::Null),
        event::CHARSET => ("charset", json!(String::from_utf8_lossy(&event.body))),
        event::INPUT_LOST => {
            let written = <[u8; 8]>::try_from(event.body.as_slice()).map_or(0, u64::from_be_bytes);
            ("input_lost", json!(written))
        }
        _ => ("other", json!(event.kind)),
    };
    json!({ "offset": event.offset, "kind": kind, "value": value })
}

/// The word for what has become of a destination.
pub(super) fn destination(end: End) -> &'static str {
    match end {
        End::Eof => "eof",
        End::Reset(_) => "reset",
        End::Failed(destination) => super::session::destination(destination),
    }
}
