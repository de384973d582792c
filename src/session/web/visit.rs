//! Doing an [errand](super::errand), and making a session: a connection to the server that lives as long as that takes.

use super::errand::{Errand, Outcome, Task};
use super::glance::Glance;
use super::handshake::{Attached, Handshake, Pair, Step, Want};
use super::upstream::{Server, Upstream, UpstreamError};
use crate::session::credential::{Nonce, random};
use crate::session::frame::{Frame, Mode, Refusal, encode_preface};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long all of it may take: a denial takes eight seconds.
const PATIENCE: Duration = Duration::from_secs(12);
/// So often others may be faster.
const TRIES: usize = 8;
/// What is asked to know that the server has heard what came before.
const HEARD: [u8; 8] = *b"heard it";
/// No output comes so far.
const NOWHERE: u64 = u64::MAX - 1;

/// Does it. Where others were faster it is tried again; where what they have sent stands in its place, it is told where the input
/// is now.
///
/// # Errors
/// The server cannot be reached, or is not understood.
pub async fn run(server: &Arc<Server>, pair: &Arc<Pair>, task: Task) -> Result<Outcome, UpstreamError> {
    let deadline = Instant::now() + PATIENCE;
    let all = async {
        let mut outcome = once(server, pair, task.clone()).await?;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Overtaken) {
                break;
            }
            outcome = once(server, pair, task.clone()).await?;
        }
        Ok(outcome)
    };
    let outcome = timeout_at(deadline, all).await.unwrap_or(Err(UpstreamError::Silent))?;
    match outcome {
        Outcome::Conflict { next } => {
            let look = timeout_at(deadline, once(server, pair, Task::Look)).await;
            Ok(conflict(next, look.unwrap_or(Err(UpstreamError::Silent))))
        }
        outcome => Ok(outcome),
    }
}

/// A conflict, with where the input is by a look behind it. It is known already, whatever comes of the look.
fn conflict(known: u64, look: Result<Outcome, UpstreamError>) -> Outcome {
    match look {
        Ok(Outcome::Looks(accept)) => Outcome::Conflict { next: accept.input_next },
        _ => Outcome::Conflict { next: known },
    }
}

async fn once(server: &Arc<Server>, pair: &Arc<Pair>, task: Task) -> Result<Outcome, UpstreamError> {
    let mut upstream = Arc::clone(server).open().await?;
    let want = Want::Resume { pair: Arc::clone(pair), mode: Mode::Input, next: 0 };
    let handshake = Handshake::new(want, Nonce(random()?));
    let mut errand = Errand::new(task, handshake, &mut upstream.bytes.out);
    loop {
        let received = upstream.turn().await;
        let length = match (received, errand.lost()) {
            (Err(UpstreamError::Lost { .. }), Some(outcome)) => return Ok(outcome),
            (received, _) => received?,
        };
        let mut outcome = None;
        upstream.frames(length, |frame, out| {
            if outcome.is_none() {
                outcome = errand.hear(frame, out)?;
            }
            Ok(errand.is_proved())
        })?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
}

/// A session that was made, and that the server drops unless it is [confirmed](Made::confirm).
pub struct Made {
    /// What the server says of it.
    pub attached: Box<Attached>,
    upstream: Upstream,
}

/// Makes a session; `ttl` seconds as NEW has them.
///
/// # Errors
/// The server cannot be reached, or is not understood.
pub async fn make(server: &Arc<Server>, ttl: u32) -> Result<Result<Made, Refusal>, UpstreamError> {
    Ok(match come(server, Want::New { ttl }).await? {
        (upstream, Ok(attached)) => Ok(Made { attached, upstream }),
        (_, Err(refusal)) => Err(refusal),
    })
}

/// Comes to a session, or does not.
async fn come(server: &Arc<Server>, want: Want) -> Result<(Upstream, Result<Box<Attached>, Refusal>), UpstreamError> {
    let all = async {
        let mut upstream = Arc::clone(server).open().await?;
        let mut handshake = Handshake::new(want, Nonce(random()?));
        encode_preface(&mut upstream.bytes.out);
        loop {
            let length = upstream.turn().await?;
            let mut step = Step::Wait;
            upstream.frames(length, |frame, out| {
                if matches!(step, Step::Wait) {
                    step = handshake.hear(frame, out)?;
                }
                Ok(matches!(step, Step::Attached(_)))
            })?;
            match step {
                Step::Wait => {}
                Step::Attached(attached) => return Ok((upstream, Ok(attached))),
                Step::Refused(refusal) => return Ok((upstream, Err(refusal))),
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap_or(Err(UpstreamError::Silent))
}

impl Made {
    /// The secret is on its way to whoever asked: the session is to stay. The connection is left once the server has heard
    /// that: one that is closed while something is unread may take along what it carried.
    ///
    /// # Errors
    /// The server cannot be told.
    pub async fn confirm(mut self) -> Result<(), UpstreamError> {
        if let Some((_, mac)) = &self.attached.new {
            Frame::Confirm(*mac).encode(&mut self.upstream.bytes.out);
        }
        tokio::time::timeout(PATIENCE, heard(self.upstream)).await.unwrap_or(Err(UpstreamError::Silent))
    }
}

/// Whether the session has a client. It is asked for as a client that yields to another one, and that wants output which
/// there cannot be: so it never becomes one.
///
/// # Errors
/// The server cannot be reached, or is not understood.
pub async fn is_attached(server: &Arc<Server>, pair: &Arc<Pair>) -> Result<bool, UpstreamError> {
    let want = Want::Resume { pair: Arc::clone(pair), mode: Mode::Refuse, next: NOWHERE };
    let (_, came) = come(server, want).await?;
    Ok(matches!(came, Err(Refusal::InUse { .. })))
}

/// Looks at output, which begins where the glance says, until it is whole or nothing more comes for `patience`. What is before
/// `seen`, which is no more than there is, counts as arrived, unless the session has a client, whose business that is; nobody
/// is disturbed.
///
/// # Errors
/// The server cannot be reached, or is not understood.
pub async fn glance(
    server: &Arc<Server>,
    pair: &Arc<Pair>,
    glance: &mut Glance,
    seen: Option<u64>,
    patience: Duration,
) -> Result<Result<(), Refusal>, UpstreamError> {
    let want = Want::Resume { pair: Arc::clone(pair), mode: Mode::Observe, next: glance.asks() };
    let mut upstream = Arc::clone(server).open().await?;
    let mut handshake = Handshake::new(want, Nonce(random()?));
    let (mut came, mut refused) = (false, None);
    encode_preface(&mut upstream.bytes.out);
    while refused.is_none() && !(came && glance.is_whole()) {
        let limit = if came { patience } else { PATIENCE };
        let length = match tokio::time::timeout(limit, upstream.turn()).await {
            Err(_) if came => break,
            Err(_) => return Err(UpstreamError::Silent),
            Ok(length) => length?,
        };
        upstream.frames(length, |frame, out| {
            if came {
                glance.hear(&frame);
            } else {
                match handshake.hear(frame, out)? {
                    Step::Wait => {}
                    Step::Attached(_) => came = true,
                    Step::Refused(refusal) => refused = Some(refusal),
                }
            }
            Ok(came)
        })?;
    }
    let told = match (refused, seen) {
        (Some(refusal), _) => return Ok(Err(refusal)),
        (None, None) => return Ok(Ok(())),
        (None, Some(next)) => {
            Frame::Seen { next }.encode(&mut upstream.bytes.out);
            tokio::time::timeout(PATIENCE, heard(upstream)).await
        }
    };
    match told {
        // The session may be over by now.
        Ok(Ok(()) | Err(UpstreamError::Lost { .. })) => Ok(Ok(())),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(UpstreamError::Silent),
    }
}

/// Waits until the server has heard all that it was sent, or hears nothing any more.
async fn heard(mut upstream: Upstream) -> Result<(), UpstreamError> {
    Frame::Ping(HEARD).encode(&mut upstream.bytes.out);
    let mut heard = false;
    while !heard {
        let length = upstream.turn().await?;
        upstream.frames(length, |frame, _| {
            heard |= matches!(frame, Frame::Pong(HEARD) | Frame::Closed(_) | Frame::Detached(_));
            Ok(true)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Outcome, UpstreamError, conflict};
    use crate::session::frame::{Accept, Refusal};
    use crate::session::web::handshake::tests::accept;

    #[test]
    fn a_conflict_stays_one_whatever_comes_of_the_look_behind_it() {
        let at = |look| match conflict(7, look) {
            Outcome::Conflict { next } => next,
            other => panic!("{other:?}"),
        };
        assert_eq!(at(Ok(Outcome::Looks(Box::new(Accept { input_next: 9, ..accept() })))), 9);
        for failed in [Err(UpstreamError::Silent), Ok(Outcome::Closed), Ok(Outcome::Refused(Refusal::Denied))] {
            assert_eq!(at(failed), 7);
        }
    }
}
