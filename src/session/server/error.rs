//! Why a server of sessions cannot come up or go on.

use crate::control::server::ControlError;
use crate::net::listener::ListenError;
use crate::net::tls::LoadError;
use crate::session::credential::RandomError;
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
}

impl ServerError {
    /// What could be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ServerError::Listen(error) => error.hint(),
            ServerError::Clear { .. } => {
                Some("use --proxy=ssl:PORT:privateKey=FILE:certKey=FILE, or --insecure on a network that you trust")
            }
            ServerError::Reactor(_)
            | ServerError::Control(_)
            | ServerError::Random(_)
            | ServerError::Tls { .. }
            | ServerError::Kind { .. } => None,
        }
    }

    /// Whether the command line asks for what must not be, and not the system refuses what may be.
    pub fn is_wrong_use(&self) -> bool {
        match self {
            ServerError::Clear { .. } | ServerError::Kind { .. } => true,
            ServerError::Reactor(_)
            | ServerError::Control(_)
            | ServerError::Listen(_)
            | ServerError::Random(_)
            | ServerError::Tls { .. } => false,
        }
    }
}
