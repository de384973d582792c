//! The plain page: what is shown of a session, and what its forms mean. Its forms have a content type that any page may
//! send, so they are believed by three things together: the cookie, the origin, and a token that is made of the cookie.

use super::create::{Confirming, made};
use super::{Refusal, Visit, content, cookies, heads, hosts, put, set_cookie};
use crate::session::credential::{self, SessionId};
use crate::session::frame::{self, Accept};
use crate::session::web::cookie;
use crate::session::web::errand::{Cut, Outcome, Task};
use crate::session::web::gate::{Foreign, Gate, Proof, essence};
use crate::session::web::glance::{Glance, Part};
use crate::session::web::handshake::Pair;
use crate::session::web::page::{PLAIN_POLICY, PLAIN_REFERRER_POLICY};
use crate::session::web::plain::{self, Action, Form, MAX_FORM, Query, View, token};
use crate::session::web::visit;
use axum::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// How long a page waits for what a form has caused.
const WAITS: Duration = Duration::from_secs(1);
/// So often a page is looked for that becomes too old meanwhile.
const LOOKS: u32 = 3;

/// `/plain`
pub(super) async fn start(visit: &mut Visit<'_>, body: Body) -> Result<Response<Body>, Refusal> {
    visit.method(&[Method::GET, Method::POST], "GET, POST")?;
    if visit.parts.method == Method::GET {
        admit_look(visit)?;
        return show_start(visit, None);
    }
    let form = form(visit, body).await?;
    let secret = cookie::plain(cookies(&visit.parts.headers), visit.comes_by_tls()).unwrap_or_default();
    check(visit, &form, secret)?;
    if form.action != Action::Open {
        return Err(Refusal::bad("there is no session here"));
    }
    let (made, id, secret) = made(visit, 0).await?;
    let mut response = see_other(&Query::default().location(&id, Some(0)));
    let secure = is_secure(visit);
    for old in cookie::surplus(cookies(&visit.parts.headers)) {
        set_cookie(response.headers_mut(), &cookie::forget(old, secure));
    }
    set_cookie(response.headers_mut(), &cookie::set(&id, &secret, secure));
    Ok(response.map(|_| Body::new(Confirming::new("see there\n".into(), made))))
}

/// `/plain/ID`
pub(super) async fn session(visit: &mut Visit<'_>, id: &str, body: Body) -> Result<Response<Body>, Refusal> {
    visit.method(&[Method::GET, Method::POST], "GET, POST")?;
    let secret = cookie::find(cookies(&visit.parts.headers), id, visit.comes_by_tls()).map(str::to_owned);
    if visit.parts.method == Method::GET {
        admit_look(visit)?;
        let Some(secret) = secret else {
            return show_start(visit, Some("This browser does not know that session."));
        };
        return match pair(id, &secret) {
            Ok(pair) => {
                let query = Query::parse(visit.parts.uri.query().unwrap_or_default());
                show(visit, &Arc::new(pair), &secret, query, None).await
            }
            Err(_) => show_start(visit, Some("There is no such session any more.")),
        };
    }
    let secret = secret.ok_or_else(Refusal::unauthorized)?;
    let form = form(visit, body).await?;
    check(visit, &form, &secret)?;
    act(visit, &Arc::new(pair(id, &secret)?), &secret, &form).await
}

/// Whether a page may be looked at: by its user, and by no page of somebody else, which may be on this host, too.
fn admit_look(visit: &Visit<'_>) -> Result<(), Refusal> {
    let hosts = hosts(visit.parts);
    let heads = heads(&visit.parts.headers, &hosts, false);
    if !heads.origins.is_empty() {
        visit.gate.admit(&heads, true, Proof::Cookie)?;
    }
    let neighbour = heads.site.is_some_and(|site| site.eq_ignore_ascii_case("same-site"));
    if neighbour && !visit.follows_link(visit.parts.uri.path()) {
        return Err(Foreign::Site.into());
    }
    Ok(())
}

fn pair(id: &str, secret: &str) -> Result<Pair, Refusal> {
    match (id.parse::<SessionId>(), credential::Secret::from_text(secret)) {
        (Ok(known), Ok(secret)) if known.to_string() == id => Ok(Pair { id: known, secret }),
        _ => Err(Refusal::unknown()),
    }
}

/// The form of a request that may come from our own page.
async fn form(visit: &Visit<'_>, body: Body) -> Result<Form, Refusal> {
    {
        let hosts = hosts(visit.parts);
        let heads = heads(&visit.parts.headers, &hosts, false);
        visit.gate.admit(&heads, false, Proof::Cookie)?;
        let kind = heads.content_type.map(essence).unwrap_or_default();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Foreign::ContentType.into());
        }
    }
    let (bytes, _room) = content::read(visit, body, MAX_FORM).await?;
    Form::parse(&bytes).map_err(|error| match error {
        plain::BadForm::Field("token") => no_token(),
        error => Refusal::bad(error.to_string()),
    })
}

fn check(visit: &Visit<'_>, form: &Form, secret: &str) -> Result<(), Refusal> {
    let right = !secret.is_empty() && token::is_right(secret.as_bytes(), &form.token);
    if right && visit.parts.method == Method::POST { Ok(()) } else { Err(no_token()) }
}

fn no_token() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "no_token", "the form is none of a page that we have sent to this browser")
}

/// Does what the form says, and shows the session again.
async fn act(visit: &Visit<'_>, pair: &Arc<Pair>, secret: &str, form: &Form) -> Result<Response<Body>, Refusal> {
    if form.action == Action::LeaveOut {
        return Ok(see_other(&form.query.location(&pair.id.to_string(), None)));
    }
    let server = &visit.gateway.server;
    let task = task(form)?;
    let after = match visit::run(server, pair, Task::Look).await? {
        Outcome::Looks(accept) => Some(accept.output_next),
        _ => None,
    };
    let outcome = visit::run(server, pair, task).await?;
    if form.action == Action::End {
        return Ok(see_other(plain::PATH));
    }
    match outcome {
        // A form of before, whose line was sent, is shown what there is now.
        Outcome::Conflict { .. } => {
            let query = Query { conflict: true, ..form.query };
            Ok(see_other(&query.location(&pair.id.to_string(), None)))
        }
        outcome => match left(form, &outcome) {
            Some(left) => show(visit, pair, secret, form.query, Some(left)).await,
            None if matches!(outcome, Outcome::Appended { .. } | Outcome::Done) => {
                Ok(see_other(&form.query.location(&pair.id.to_string(), after)))
            }
            None => Err(super::session::refuse(outcome)),
        },
    }
}

/// What a form wants done.
fn task(form: &Form) -> Result<Task, Refusal> {
    Ok(match form.action {
        Action::Open => return Err(Refusal::bad("there is a session already")),
        Action::Send => Task::Append { offset: form.offset, bytes: plain::line(&form.line).into(), cut: Cut::Text },
        Action::End => Task::Close,
        Action::Interrupt | Action::Break | Action::AreYouThere | Action::LeaveOut => match plain::command(form.action)
        {
            Some(command) => Task::Command(command),
            None => return Err(Refusal::bad("there is no such command")),
        },
    })
}

/// What is left of a line that was not sent as a whole. It is told with the page itself, since only that has room for it.
struct Left<'a> {
    status: StatusCode,
    notice: &'static str,
    line: &'a str,
}

fn left<'a>(form: &'a Form, outcome: &Outcome) -> Option<Left<'a>> {
    let all = plain::line(&form.line).len() as u64;
    let (status, notice, sent) = match outcome {
        Outcome::Appended { next } if *next < form.offset.saturating_add(all) => {
            (StatusCode::CONFLICT, plain::NOT_ALL, next.saturating_sub(form.offset))
        }
        Outcome::Gap { .. } => (StatusCode::CONFLICT, plain::NOT_ALL, 0),
        Outcome::Full { .. } => (StatusCode::SERVICE_UNAVAILABLE, plain::NOTHING, 0),
        Outcome::Ended { .. } if form.action == Action::Send => (StatusCode::CONFLICT, plain::NO_MORE, 0),
        _ => return None,
    };
    Some(Left { status, notice, line: plain::rest(&form.line, sent) })
}

async fn show(
    visit: &Visit<'_>,
    pair: &Arc<Pair>,
    secret: &str,
    query: Query,
    left: Option<Left<'_>>,
) -> Result<Response<Body>, Refusal> {
    let id = pair.id.to_string();
    let Some((accept, shown)) = look(visit, pair, query).await? else {
        let mut response = show_start(visit, Some("There is no such session any more."))?;
        for secure in [false, true] {
            set_cookie(response.headers_mut(), &cookie::forget(&id, secure));
        }
        return Ok(response);
    };
    let view = View {
        id: &id,
        output: &shown.bytes,
        base: shown.base,
        more: shown.there.saturating_sub(shown.next()),
        first: shown.first,
        input_next: accept.input_next,
        echo: shown.echo,
        destination: accept.destination,
        query,
        notice: left.as_ref().map(|left| left.notice),
        line: left.as_ref().map_or("", |left| left.line),
    };
    let mut response = document(plain::session(&view, &token::make(secret.as_bytes())));
    if let Some(left) = left {
        *response.status_mut() = left.status;
    }
    Ok(response)
}

/// How the session is, and its output as the page is to show it; none if there is no such session.
async fn look(visit: &Visit<'_>, pair: &Arc<Pair>, query: Query) -> Result<Option<(Box<Accept>, Glance)>, Refusal> {
    let server = &visit.gateway.server;
    let mut tries = 0;
    loop {
        let accept = match visit::run(server, pair, Task::Look).await? {
            Outcome::Looks(accept) => accept,
            Outcome::Refused(refusal) if Refusal::from(refusal).is_unknown() => return Ok(None),
            outcome => return Err(super::session::refuse(outcome)),
        };
        let part = Part::of((accept.output_base, accept.output_next), query.seen, query.from);
        let after = query.after.filter(|_| !accept.output_ended);
        let mut shown = Glance::new(part, accept.output_next, after);
        // What a browser asks for before its user wants it has been seen by nobody.
        let seen = query.seen.filter(|_| !visit.is_ahead()).map(|seen| seen.min(accept.output_next));
        tries += 1;
        match visit::glance(server, pair, &mut shown, seen, WAITS).await? {
            Ok(()) => return Ok(Some((accept, shown))),
            // It has become too old since the look.
            Err(frame::Refusal::OutOfRange { .. }) if tries < LOOKS => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

/// The page of somebody at no session, with a cookie that its form is believed by.
fn show_start(visit: &Visit<'_>, notice: Option<&str>) -> Result<Response<Body>, Refusal> {
    let headers = &visit.parts.headers;
    let known = cookie::plain(cookies(headers), visit.comes_by_tls()).map(str::to_owned);
    let value = match &known {
        Some(value) => value.clone(),
        None => random_text()?,
    };
    let ids = cookie::sessions(cookies(headers));
    let mut response = document(plain::start(&token::make(value.as_bytes()), &ids, notice));
    if known.is_none() {
        set_cookie(response.headers_mut(), &cookie::set_plain(&value, is_secure(visit)));
    }
    Ok(response)
}

fn random_text() -> Result<String, Refusal> {
    let bytes: [u8; 32] = credential::random().map_err(|_| Refusal::unreachable())?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Whether the browser has come by TLS, to us or to somebody in front.
fn is_secure(visit: &Visit<'_>) -> bool {
    let origin = visit.parts.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.map_or(visit.comes_by_tls(), Gate::is_secure)
}

fn document(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    put(&mut response, header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    put(&mut response, header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PLAIN_POLICY));
    put(&mut response, header::REFERRER_POLICY, HeaderValue::from_static(PLAIN_REFERRER_POLICY));
    response
}

/// Loading the page again posts nothing again.
fn see_other(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::from("see there\n"));
    *response.status_mut() = StatusCode::SEE_OTHER;
    put(&mut response, header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(location) = HeaderValue::from_str(location) {
        put(&mut response, header::LOCATION, location);
    }
    response
}
