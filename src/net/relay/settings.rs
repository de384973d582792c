//! What a relay is started with.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::net::proxy_protocol::Trust;

/// How long a half-closed connection may be silent unless said otherwise.
pub(super) const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(3600);

/// What holds for all connections of a relay.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many loops there are, each a thread.
    pub threads: NonZeroUsize,
    /// How long it may take to reach a destination: lookup, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long nothing may go in either direction; `None` for as long as one likes.
    pub idle_timeout: Option<Duration>,
    /// The same, once one direction has ended.
    pub half_closed_timeout: Option<Duration>,
    /// How long a client may take for the PROXY header with which it has to begin.
    pub proxy_header_timeout: Duration,
    /// Whose PROXY headers are believed.
    pub trust: Trust,
    /// How many clients of a paused listener are accepted; the others wait in the kernel's backlog.
    pub most_parked: usize,
    /// Whether bytes of busy connections are moved within the kernel.
    pub splice: Splice,
    /// Whether the end of each connection is told; that costs a wake-up each.
    pub tell_ends: bool,
    /// How many connections there may be, those that are being made and parked clients included; `None` for as many as there
    /// are descriptors for.
    pub most_connections: Option<usize>,
    /// How many descriptors listeners and connections may use; `None` for what the limit of open files leaves.
    pub most_descriptors: Option<usize>,
}

/// How bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    /// By copy, and within the kernel as long as a connection is busy.
    Adaptive,
    /// By copy only.
    Never,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            connect_timeout: Duration::from_secs(30),
            idle_timeout: None,
            half_closed_timeout: Some(HALF_CLOSED_TIMEOUT),
            proxy_header_timeout: Duration::from_secs(5),
            trust: Trust::everybody(),
            most_parked: 4096,
            splice: Splice::Adaptive,
            tell_ends: false,
            most_connections: None,
            most_descriptors: None,
        }
    }
}
