//! What a session may have, and how long it lasts.

use std::time::Duration;

/// What the options of the command line decide.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a session is kept while nobody is connected; `None`: without end.
    pub ttl: Option<Duration>,
    /// How long it is kept when the destination has ended and nobody is connected.
    pub linger: Duration,
    /// How long a session is kept whose client has not shown that it knows of it.
    pub provisional: Duration,
    /// After so long a silence a client is asked whether it is there; after three times that it is not.
    pub heartbeat: Duration,
    /// What it may have of each.
    pub allowance: Allowance,
    /// How much output is sent before its first acknowledgement.
    pub window: u32,
    /// The longest payload that is sent.
    pub max_payload: usize,
}

/// How many bytes a session may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// From so much output on that has not arrived the destination is not read from, until half of it has arrived.
    pub output: usize,
    /// How much output is kept after it has arrived.
    pub scrollback: usize,
    /// How much input waits for the destination at the most.
    pub input: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { output: 1024 * 1024, scrollback: 256 * 1024, input: 256 * 1024 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            ttl: Some(Duration::from_secs(3600)),
            linger: Duration::from_secs(600),
            provisional: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            allowance: Allowance::default(),
            window: 256 * 1024,
            max_payload: 16 * 1024,
        }
    }
}
