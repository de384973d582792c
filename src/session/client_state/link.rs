//! What there is of a connection, from HELLO to its end.

use super::arriving::Course;
use crate::session::credential::{Mac, Nonce, Transcript};
use crate::session::frame::Command;
use std::time::{Duration, Instant};

/// The connection.
#[derive(Debug)]
pub(super) enum Link {
    None,
    /// HELLO is to come.
    Greeting {
        nonce: Nonce,
        until: Instant,
    },
    /// ACCEPT is to come.
    Coming {
        said: Transcript,
        terms: Terms,
        until: Instant,
        resumes: bool,
    },
    Attached(Attached),
}

/// What HELLO says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) longest: usize,
    pub(super) window: u32,
    pub(super) heartbeat: Duration,
}

/// A connection that is attached.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) since: Instant,
    pub(super) terms: Terms,
    pub(super) course: Course,
    /// Up to here input may be sent; nothing before the server has said so.
    pub(super) input_granted: Option<u64>,
    /// Up to here output may come.
    pub(super) output_granted: u64,
    /// The output begins with the oldest that there is.
    pub(super) oldest: bool,
    /// How far the output had come when it was attached, and whether it had ended there.
    pub(super) announced: (u64, bool),
    /// What was acknowledged last.
    pub(super) acked: u64,
    pub(super) ack_due: Option<Instant>,
    pub(super) heard: Instant,
    pub(super) pings: u32,
    pub(super) owed: Owed,
}

/// Frames that are due. Each kind is there at most once, so a server that says much and reads nothing costs nothing.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pub(super) confirm: Option<Mac>,
    pub(super) ack: bool,
    pub(super) pong: Option<[u8; 8]>,
    pub(super) ping: bool,
    pub(super) size: bool,
    pub(super) close: bool,
    pub(super) fin: bool,
    pub(super) commands: Vec<Command>,
    pub(super) checks: Checks,
}

/// Questions behind everything that was to be sent then, as counts of how many were asked and answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checks {
    pub(super) wanted: bool,
    pub(super) asked: u32,
    pub(super) answered: u32,
}

impl Checks {
    /// What a question asks, which no PING of the heartbeat does.
    pub(super) fn question(number: u32) -> [u8; 8] {
        (u64::MAX << 32 | u64::from(number)).to_be_bytes()
    }
}
