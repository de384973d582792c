//! What `status` tells of a server of sessions. Nothing of it is secret, and no byte of a stream is in it.

use super::{Server, short};
use crate::session::credential::SessionId;
use crate::session::frame::Destination;
use crate::session::state::{Phase, Session};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The role, as `status` calls it.
pub const ROLE: &str = "session";
/// Grows with every change that is no addition.
pub const SCHEMA: u32 = 1;

/// A server of sessions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`ROLE`].
    pub role: String,
    /// The instance.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// Since its start.
    pub uptime_seconds: u64,
    /// Whether it is about to end.
    pub stopping: bool,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// Where sessions lead, as an endpoint.
    pub destination: String,
    /// Clients that are attached to nothing.
    pub unattached: usize,
    /// What all streams together have in memory, in bytes.
    pub memory: usize,
    /// And may have.
    pub memory_limit: usize,
    /// All of them, by id.
    pub sessions: Vec<SessionStatus>,
}

/// A listener.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// As it was asked for.
    pub endpoint: String,
    /// Where it is bound.
    pub address: String,
}

/// A session.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The first letters of its id.
    pub id: String,
    /// provisional, attached, detached, ended or failed.
    pub state: String,
    /// Since it was made.
    pub age_seconds: u64,
    /// Since a byte or a word came from either side.
    pub idle_seconds: u64,
    /// The attached client.
    pub peer: Option<String>,
    /// How many clients were attached so far.
    pub epoch: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes from the destination.
    pub bytes_out: u64,
    /// Bytes from the destination that have not arrived.
    pub buffered: usize,
    /// How many there may be.
    pub limit: usize,
    /// How long, in all, the destination has waited for room.
    pub blocked_seconds: u64,
    /// connecting, open, eof, reset, refused, timeout or unresolved.
    pub destination: String,
    /// When it ends if nobody comes.
    pub expires_seconds: Option<u64>,
}

impl Server {
    pub(super) fn status(&self) -> Status {
        let listener = |listening: &super::Listening| ListenerStatus {
            endpoint: listening.endpoint.to_string(),
            address: listening.address.to_string(),
        };
        Status {
            schema: SCHEMA,
            role: ROLE.into(),
            name: self.settings.name.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.since.elapsed().as_secs(),
            stopping: self.reads_no_more(),
            listeners: self.listening.iter().map(listener).collect(),
            destination: self.settings.destination.to_string(),
            unattached: self.passing.len(),
            memory: self.sessions.memory(),
            memory_limit: self.settings.limits.memory,
            sessions: self.sessions.iter().map(|(id, session)| self.one(id, session)).collect(),
        }
    }

    fn one(&self, id: SessionId, session: &Session) -> SessionStatus {
        let now = self.clock.now();
        let since = |time: Instant| now.saturating_duration_since(time).as_secs();
        let link = self.links.get(&id);
        let client = session.client().and_then(|connection| self.clients.get(&connection));
        SessionStatus {
            id: short(id),
            state: phase(session.phase()).into(),
            age_seconds: link.map_or(0, |link| since(link.born)),
            idle_seconds: link.map_or(0, |link| since(link.moved)),
            peer: client.map(|client| client.peer.clone()),
            epoch: session.epoch(),
            bytes_in: session.bytes_in().0,
            bytes_out: session.bytes_out().0,
            buffered: session.buffered(),
            limit: session.limit(),
            blocked_seconds: session.blocked(now).as_secs(),
            destination: destination(session.destination()).into(),
            expires_seconds: session.expiry().map(|expiry| rounded_up(expiry.saturating_duration_since(now))),
        }
    }
}

/// 0 only where there is no time left.
fn rounded_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Provisional => "provisional",
        Phase::Attached => "attached",
        Phase::Detached => "detached",
        Phase::Ended => "ended",
        Phase::Failed => "failed",
        Phase::Gone => "gone",
    }
}

fn destination(destination: Destination) -> &'static str {
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
