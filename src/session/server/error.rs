//! Why a server of sessions cannot come up or go on.

use crate::control::server::ControlError;
use crate::net::listener::ListenError;
use crate::net::tls::LoadError;
use crate::process::pid_file::PidFileError;
use crate::process::run_dir::RunDirError;
use crate::session::credential::RandomError;
use crate::session::written::FormError;
use crate::takeover::ExchangeError;
use crate::takeover::leaving::StartError;
use std::io;

/// Why a server of sessions cannot come up or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Waiting for events, or watching for them.
    #[error("cannot watch for events")]
    Reactor(#[from] io::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system has no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Certificates and keys of a listener or of the destination.
    #[error("cannot speak TLS at {endpoint}")]
    Tls {
        /// The listener or destination.
        endpoint: String,
        /// What is wrong.
        source: LoadError,
    },
    /// Clients cannot come in by this.
    #[error("cannot serve sessions at {endpoint}: only connections without a header of the PROXY protocol are taken")]
    Kind {
        /// What was asked for.
        endpoint: String,
    },
    /// Secrets would be for everybody on the way to read.
    #[error(
        "cannot serve sessions at {endpoint}: {address} can be reached from other machines, and secrets would cross the network in the clear"
    )]
    Clear {
        /// What was asked for.
        endpoint: String,
        /// An address that it means.
        address: String,
    },
    /// Another process cannot take over, or could not.
    #[error(transparent)]
    TakeOver(#[from] ExchangeError),
    /// The new process cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What the old process says of sessions or clients is not what this version says.
    #[error("the other process is not understood")]
    Form(#[from] FormError),
    /// The new process would be another server.
    #[error("the other process serves {theirs}, and this one is to serve {ours}")]
    Other {
        /// What is handed over.
        theirs: String,
        /// What the command line says.
        ours: String,
    },
    /// The name of the instance, or its place.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A file by whose lock the instance is known.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// A new process is on its way.
    #[error("an upgrade is under way already")]
    Upgrading,
    /// All is about to end.
    #[error("the server is stopping")]
    Stopping,
    /// Whoever started the process watches it, and would take its end for that of the server.
    #[error("the server runs in the foreground, and whoever started it would see it end")]
    Unwatched,
    /// A destination speaks TLS, and there is no connection to what would stay of it.
    #[error("cannot make a connection within this machine for a destination that speaks TLS")]
    Pair(#[source] io::Error),
}

impl ServerError {
    /// What could be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ServerError::Listen(error) => error.hint(),
            ServerError::Clear { .. } => {
                Some("use --proxy=ssl:PORT:privateKey=FILE:certKey=FILE, or --insecure on a network that you trust")
            }
            ServerError::Unwatched => Some("start it with --daemon, or under an outer manager that sets NOTIFY_SOCKET"),
            _ => None,
        }
    }

    /// Whether the command line asks for what must not be, and not the system refuses what may be.
    pub fn is_wrong_use(&self) -> bool {
        matches!(self, ServerError::Clear { .. } | ServerError::Kind { .. })
    }
}
