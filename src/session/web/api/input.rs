//! Sending input: what fits is taken, and what comes twice counts once.

use super::{Refusal, Visit, content, json, query};
use crate::session::web::errand::{Cut, Outcome, Task};
use crate::session::web::handshake::Pair;
use crate::session::web::visit;
use axum::body::Body;
use hyper::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// The most of one request.
const MOST: usize = 1024 * 1024;

pub(super) async fn append(visit: &Visit<'_>, pair: &Arc<Pair>, body: Body) -> Result<Response<Body>, Refusal> {
    let mut offsets = visit.parts.headers.get_all("stream-offset").iter();
    let offset = match (offsets.next(), offsets.next()) {
        (Some(offset), None) => offset.to_str().ok().and_then(query::number),
        _ => None,
    };
    let offset = offset.filter(|offset| offset.checked_add(MOST as u64).is_some());
    let offset = offset.ok_or_else(|| Refusal::bad("'Stream-Offset' says where in the input the content belongs"))?;
    let (bytes, _room) = content::read(visit, body, MOST).await?;
    let task = Task::Append { offset, bytes: bytes.as_ref().into(), cut: Cut::Anywhere };
    match visit::run(&visit.gateway.server, pair, task).await? {
        Outcome::Appended { next } => Ok(json(StatusCode::OK, &json!({ "next": next }))),
        Outcome::Gap { next } => Err(Refusal::gap(next)),
        Outcome::Full { next } => {
            Err(Refusal::later("full", "the destination does not take its input", 1).with("next", next))
        }
        outcome => Err(super::session::refuse(outcome)),
    }
}
