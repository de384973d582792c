//! Why a forwarder cannot come up or go on, or a request cannot be met.

use super::store::StoreError;
use crate::control::server::ControlError;
use crate::net::endpoint::ParseError;
use crate::net::listener::ListenError;
use crate::net::tls::LoadError;
use std::io;

/// Why a forwarder cannot come up or go on, or a request cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Waiting for events, or watching for them.
    #[error("cannot watch for events")]
    Reactor(#[from] io::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The threads that relay.
    #[error("cannot start the loops that relay")]
    Relay(#[source] io::Error),
    /// The saved rules.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Accepting from it.
    #[error("cannot accept from {endpoint}")]
    Accept {
        /// The listener.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates and keys of a listener or a destination.
    #[error("cannot speak TLS at {endpoint}")]
    Tls {
        /// The listener or destination.
        endpoint: String,
        /// What is wrong.
        source: LoadError,
    },
    /// Text that is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] ParseError),
    /// Datagrams are no connections.
    #[error("cannot forward from {endpoint}: datagrams are no connections")]
    Datagrams {
        /// The listener.
        endpoint: String,
    },
    /// No rule has this source.
    #[error("no rule for {endpoint}")]
    NoRule {
        /// What was asked for.
        endpoint: String,
    },
    /// A rule has it already.
    #[error("{endpoint} is forwarded already, to {destination}")]
    Known {
        /// What was asked for.
        endpoint: String,
        /// Where its connections go.
        destination: String,
    },
    /// A share for the destination that gets the rest.
    #[error("{destination} gets all connections but a share; --weight is for another destination")]
    Share {
        /// Where the rest goes.
        destination: String,
    },
    /// It is not what `--probe` takes.
    #[error(transparent)]
    Probe(#[from] super::probe::ProbeError),
    /// Another process cannot take over, or could not.
    #[error(transparent)]
    Restart(#[from] crate::takeover::ExchangeError),
    /// A new process is on its way.
    #[error("a restart is under way already")]
    Restarting,
    /// Whoever started the process watches it, and would take its end for that of the forwarder.
    #[error("the forwarder runs in the foreground, and whoever started it would see it end")]
    Unwatched,
    /// Options that mean nothing.
    #[error(transparent)]
    Settings(super::SettingsError),
    /// The new process cannot be started.
    #[error(transparent)]
    Start(#[from] crate::takeover::leaving::StartError),
    /// The directory.
    #[error(transparent)]
    RunDir(#[from] crate::process::run_dir::RunDirError),
    /// The pid file.
    #[error(transparent)]
    PidFile(#[from] crate::process::pid_file::PidFileError),
    /// Everything is about to end.
    #[error("the forwarder is stopping")]
    Stopping,
}

impl DriverError {
    /// What could be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            DriverError::Listen(error) => error.hint(),
            DriverError::NoRule { .. } => Some("'socket-protector forward ls' shows the rules"),
            DriverError::Known { .. } => Some("'socket-protector forward switch SRC DST' changes where"),
            DriverError::Unwatched => Some("start it without -f, or under an outer manager that sets NOTIFY_SOCKET"),
            _ => None,
        }
    }
}
