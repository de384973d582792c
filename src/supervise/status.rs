//! What `status NAME --json` says; the names stay, and only grow.

use serde::{Deserialize, Serialize};

/// The version of the form.
pub const SCHEMA: u32 = 1;

/// A supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/supervise.md what they count")]
pub struct Status {
    pub schema: u32,
    pub role: String,
    pub name: String,
    pub pid: i32,
    pub version: String,
    pub uptime_seconds: u64,
    pub pass: String,
    pub paused: bool,
    pub listeners: Vec<Listener>,
    pub generations: Vec<Generation>,
    pub counters: Counters,
    pub last_reload: Option<LastReload>,
}

/// A listener.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/supervise.md what they count")]
pub struct Listener {
    pub name: String,
    pub endpoint: String,
    pub address: String,
    pub held: usize,
    pub accepted: u64,
}

/// A generation that is not gone.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/supervise.md what they count")]
pub struct Generation {
    pub number: u64,
    pub phase: String,
    pub command: Vec<String>,
    pub age_seconds: u64,
    pub workers: Vec<Worker>,
}

/// A child process.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/supervise.md what they count")]
pub struct Worker {
    pub index: u32,
    pub pid: i32,
    pub status: Option<String>,
    pub connections_passed: u64,
    pub connections_open: Option<u64>,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/supervise.md what they count")]
pub struct Counters {
    pub reloads: u64,
    pub reloads_failed: u64,
    pub respawns: u64,
    pub accepted: u64,
    pub passed: u64,
    pub reclaimed: u64,
    pub given_back: u64,
}

/// The result of the last reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/supervise.md what they count")]
pub struct LastReload {
    pub generation: u64,
    pub ok: bool,
    pub reason: Option<String>,
    pub milliseconds: u64,
}
