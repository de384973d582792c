//! Making a session. Its secret goes into a cookie for a page of ours, which no script reads, and else into the answer.

use super::{Refusal, Visit, content, cookies, heads, hosts, json, set_cookie};
use crate::session::frame::NEVER;
use crate::session::web::cookie;
use crate::session::web::gate::{Gate, Proof};
use crate::session::web::visit::{self, Made};
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::header::ORIGIN;
use hyper::{Response, StatusCode};
use log::debug;
use serde_json::json;
use std::pin::Pin;
use std::task::{Context, Poll};
use zeroize::Zeroizing;

pub(super) async fn create(visit: &mut Visit<'_>, body: Body) -> Result<Response<Body>, Refusal> {
    {
        let hosts = hosts(visit.parts);
        let heads = heads(&visit.parts.headers, &hosts, false);
        visit.gate.admit(&heads, false, Proof::None)?;
        visit.gate.content(&heads)?;
    }
    let wanted = content::json(visit, body).await?;
    let ttl = ttl(wanted.get("ttl_seconds"))?;
    let (made, id, secret) = made(visit, ttl).await?;
    let expires = made.attached.accept.expires;
    let expires = (expires != NEVER).then_some(expires);
    let origin = visit.parts.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let mut said = json!({ "id": id, "offset": 0, "expires_seconds": expires });
    if origin.is_none() {
        said = json!({ "id": id, "secret": secret.as_str(), "offset": 0, "expires_seconds": expires });
    }
    let mut response = json(StatusCode::CREATED, &said);
    if let Some(origin) = origin {
        let secure = Gate::is_secure(origin);
        for old in cookie::surplus(cookies(&visit.parts.headers)) {
            set_cookie(response.headers_mut(), &cookie::forget(old, secure));
        }
        set_cookie(response.headers_mut(), &cookie::set(&id, &secret, secure));
    }
    Ok(response.map(|_| Body::new(Confirming::new(said.to_string().into(), made))))
}

/// A session with its id and its secret as text.
pub(super) async fn made(visit: &Visit<'_>, ttl: u32) -> Result<(Made, String, Zeroizing<String>), Refusal> {
    let made = visit::make(&visit.gateway.server, ttl).await??;
    let (pair, _) = made.attached.new.as_ref().ok_or_else(Refusal::unreachable)?;
    let (id, secret) = (pair.id.to_string(), pair.secret.to_text());
    Ok((made, id, secret))
}

/// Seconds as NEW has them.
fn ttl(wanted: Option<&serde_json::Value>) -> Result<u32, Refusal> {
    match wanted {
        None | Some(serde_json::Value::Null) => Ok(0),
        Some(value) => {
            let seconds = value.as_u64().filter(|seconds| *seconds > 0);
            let seconds = seconds.ok_or_else(|| Refusal::bad("'ttl_seconds' is a number of seconds above 0"))?;
            Ok(u32::try_from(seconds).unwrap_or(NEVER - 1).min(NEVER - 1))
        }
    }
}

/// The answer, which confirms the session once it is on its way. If whoever asked has left before, nobody knows of the
/// session, and the server drops it.
pub(super) struct Confirming {
    text: Option<Bytes>,
    made: Option<Made>,
}

impl Confirming {
    /// With this text.
    pub(super) fn new(text: Bytes, made: Made) -> Confirming {
        Confirming { text: Some(text), made: Some(made) }
    }
}

impl http_body::Body for Confirming {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let text = self.text.take();
        if text.is_some()
            && let Some(made) = self.made.take()
        {
            tokio::spawn(async move {
                if let Err(error) = made.confirm().await {
                    debug!("{}", crate::chain(&error));
                }
            });
        }
        Poll::Ready(text.map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64))
    }
}
