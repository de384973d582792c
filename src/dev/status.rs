//! What a proxy for development says of itself when it is asked.

use serde::{Deserialize, Serialize};

/// The value of `role`.
pub const ROLE: &str = "dev";
/// The form of what is said; it only grows.
pub const SCHEMA: u32 = 1;

/// How it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`ROLE`].
    pub role: String,
    /// The instance's.
    pub name: String,
    /// The proxy's process.
    pub pid: u32,
    /// Of the program.
    pub version: String,
    /// Since it began.
    pub uptime_seconds: u64,
    /// `building`, `starting`, `up`, `failed` or `stopping`.
    pub phase: String,
    /// The last change has failed, whether or not an older server answers.
    pub failed: bool,
    /// The generation that was begun last.
    pub generation: u64,
    /// Where browsers come.
    pub listeners: Vec<Listener>,
    /// Where servers listen: an address, with a port or `{port}`.
    pub backend: String,
    /// The server's.
    pub command: Vec<String>,
    /// What runs: builds and servers, the oldest first.
    pub generations: Vec<Running>,
    /// How many servers have been started after the first.
    pub restarts: u64,
    /// How many requests wait for a server.
    pub held: u64,
    /// How many requests servers have.
    pub in_progress: u64,
    /// What has changed last: `src/app.py`.
    pub last_change: Option<String>,
    /// What went wrong last; it may be over.
    pub last_failure: Option<LastFailure>,
}

/// A listener.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listener {
    /// `http://127.0.0.1:8000`.
    pub address: String,
}

/// What of a generation runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Running {
    /// The generation.
    pub number: u64,
    /// `building`, `starting`, `serving`, `parked` (it could answer, and gets no requests) or `stopping`.
    pub phase: String,
    /// The first of its processes; none while its port is looked at.
    pub pid: Option<u32>,
    /// Where the server listens, once it has answered.
    pub address: Option<String>,
}

/// What went wrong.
#[derive(Debug, Serialize, Deserialize)]
pub struct LastFailure {
    /// `the server exited with status 1`.
    pub summary: String,
    /// What was written last.
    pub lines: Vec<String>,
    /// How long ago it was.
    pub age_seconds: u64,
}
