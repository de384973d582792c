//! The gateway between HTTP and sessions: for browsers, for scripts, and for whatever gets through nothing else.
//!
//! It is itself only a client of the server of sessions. It keeps nothing but connections to it, so it may be started
//! anew, run several times, or be killed, and no session notices. `docs/session.md` has what it answers.
//!
//! Pure are `gate` (who may ask), `cookie`, `handshake` (coming to a session), `errand` and `glance` (what
//! needs no reader) and `reader` (who reads, one request after the other). `upstream` is a connection to the server, `visit` runs an errand by
//! it and `readers` the readers. `api` answers requests, `serve` takes connections in. All of that runs on the threads of
//! tokio; `driver` is the main thread, with signals and the control socket.

mod api;
mod cookie;
mod doors;
mod driver;
mod errand;
mod gate;
mod glance;
mod handshake;
mod page;
mod patient;
mod plain;
mod reader;
mod readers;
mod refusal;
mod serve;
mod upstream;
mod visit;

pub use driver::{Equipment, Gateway, WebError};

use crate::net::endpoint::{Connect, Listen};
use std::time::Duration;

/// The role, in `status`.
pub const ROLE: &str = "web";

/// What a gateway is to do.
#[derive(Debug)]
pub struct Settings {
    /// Where the server of sessions is; its paths are absolute.
    pub server: Connect,
    /// Where to listen; the paths are absolute.
    pub listens: Vec<Listen>,
    /// Names that requests may be meant for, besides our own.
    pub allow_hosts: Vec<String>,
    /// Origins of pages that may ask, besides our own.
    pub allow_origins: Vec<String>,
    /// How long requests may take at the end.
    pub stop_timeout: Duration,
    /// Listen on other addresses than this machine's own without TLS.
    pub insecure: bool,
}
