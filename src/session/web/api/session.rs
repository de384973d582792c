//! A look at a session, its end, the end of its input, and the size of its terminal.

use super::{Refusal, Visit, content, json, no_content};
use crate::session::frame::{Accept, Destination, NEVER};
use crate::session::web::errand::{Outcome, Task};
use crate::session::web::handshake::Pair;
use crate::session::web::visit;
use axum::body::Body;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn look(visit: &Visit<'_>, pair: &Arc<Pair>) -> Result<Response<Body>, Refusal> {
    let accept = match visit::run(&visit.gateway.server, pair, Task::Look).await? {
        Outcome::Looks(accept) => accept,
        outcome => return Err(refuse(outcome)),
    };
    let attached = visit::is_attached(&visit.gateway.server, pair).await?;
    Ok(json(
        StatusCode::OK,
        &json!({
            "id": pair.id.to_string(),
            "state": state(&accept, attached),
            "destination": destination(accept.destination),
            "output": { "base": accept.output_base, "next": accept.output_next },
            "input": { "next": accept.input_next },
            "fin": accept.output_ended,
            "input_fin": accept.input_ended,
            "expires_seconds": (accept.expires != NEVER).then_some(accept.expires),
        }),
    ))
}

pub(super) async fn close(visit: &Visit<'_>, pair: &Arc<Pair>) -> Result<Response<Body>, Refusal> {
    done(visit::run(&visit.gateway.server, pair, Task::Close).await?)
}

pub(super) async fn finish(visit: &Visit<'_>, pair: &Arc<Pair>) -> Result<Response<Body>, Refusal> {
    done(visit::run(&visit.gateway.server, pair, Task::Finish).await?)
}

pub(super) async fn resize(visit: &Visit<'_>, pair: &Arc<Pair>, body: Body) -> Result<Response<Body>, Refusal> {
    let wanted = content::json(visit, body).await?;
    let number = |name: &str| {
        let number = wanted.get(name).and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
        number.filter(|number| *number > 0)
    };
    let (Some(columns), Some(rows)) = (number("columns"), number("rows")) else {
        return Err(Refusal::bad("'columns' and 'rows' are numbers from 1 to 65535"));
    };
    done(visit::run(&visit.gateway.server, pair, Task::Resize { columns, rows }).await?)
}

fn done(outcome: Outcome) -> Result<Response<Body>, Refusal> {
    match outcome {
        Outcome::Done => Ok(no_content()),
        outcome => Err(refuse(outcome)),
    }
}

/// What has not come to what was wanted.
pub(super) fn refuse(outcome: Outcome) -> Refusal {
    let conflict = |code, message: &str| Refusal::new(StatusCode::CONFLICT, code, message);
    match outcome {
        Outcome::Refused(refusal) => refusal.into(),
        Outcome::Closed => Refusal::closed(),
        Outcome::Ended { next, written, destination: of } => {
            let refusal = conflict("ended", "the session takes no more input");
            refusal.with("next", next).with("written", written).with("destination", destination(of))
        }
        Outcome::Conflict { next } => {
            conflict("conflict", "other input is at this offset, or it is too old to be compared").with("next", next)
        }
        Outcome::Dismissed => conflict("ended", "the session does not take this any more"),
        Outcome::Overtaken => Refusal::later("busy", "others send input at the same time", 1),
        Outcome::Looks(_) | Outcome::Appended { .. } | Outcome::Gap { .. } | Outcome::Full { .. } | Outcome::Done => {
            Refusal::unreachable()
        }
    }
}

/// The word for a session's phase, as far as one can see who is connected to it.
fn state(accept: &Accept, attached: bool) -> &'static str {
    match accept.destination {
        Destination::Connecting | Destination::Open if attached => "attached",
        Destination::Connecting | Destination::Open => "detached",
        Destination::Eof | Destination::Reset => "ended",
        Destination::Refused | Destination::Timeout | Destination::Unresolved => "failed",
    }
}

/// The word for what has become of a destination.
pub(super) fn destination(destination: Destination) -> &'static str {
    match destination {
        Destination::Connecting => "connecting",
        Destination::Open => "open",
        Destination::Eof => "eof",
        Destination::Reset => "reset",
        Destination::Refused => "refused",
        Destination::Timeout => "timeout",
        Destination::Unresolved => "unresolved",
    }
}
