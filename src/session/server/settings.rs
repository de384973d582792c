//! What the options of the command line decide.

use crate::net::endpoint::Connect;
use crate::session::sessions::Limits;
use crate::session::state::Policy;
use crate::session::telnet::Mode;
use std::sync::Arc;
use std::time::Duration;

/// What holds for a server from its start to its end.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the instance.
    pub name: String,
    /// Where every session's destination is.
    pub destination: Arc<Connect>,
    /// How long connecting to it may take, looking it up and TLS included, unless the destination says otherwise.
    pub connect_timeout: Duration,
    /// What a session may have, and how long it lasts.
    pub policy: Policy,
    /// How many there may be, and what all of them may have.
    pub limits: Limits,
    /// Whether telnet is spoken with destinations.
    pub telnet: Mode,
    /// How long a stop may take.
    pub stop_timeout: Duration,
}
