//! Why a connection was not made.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::net::connecting::ConnectError;
use crate::net::endpoint::Connect;
use crate::net::proxy_protocol::HeaderError;
use crate::net::tls::SessionError;

/// What was wrong with a destination.
#[derive(Debug, Error)]
pub enum DestinationFailure {
    /// It could not be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no TLS with it.
    #[error("cannot connect to {destination}")]
    Tls {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// What went wrong.
        source: SessionError,
    },
    /// Its TLS handshake took too long.
    #[error("cannot connect to {destination}: its TLS handshake was not done in time")]
    TlsTimedOut {
        /// What was to be connected to.
        destination: Arc<Connect>,
    },
    /// It went away before anything could be said.
    #[error("cannot send a PROXY header to {destination}")]
    Header {
        /// What was to be connected to.
        destination: Arc<Connect>,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// What was wrong with a client.
#[derive(Debug, Error)]
pub enum ClientFailure {
    /// It may not say for whom it speaks.
    #[error("not trusted to send a PROXY header")]
    NotTrusted,
    /// It did not say it, or not in time.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// There is no TLS with it.
    #[error(transparent)]
    Tls(#[from] SessionError),
    /// Its TLS handshake took too long.
    #[error("the TLS handshake was not done in time")]
    TlsTimedOut,
}
