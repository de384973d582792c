//! How a session can fail.

use std::io;

use rustls::InvalidMessage;
use thiserror::Error;

/// Why a session is over before its time.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The socket's own error.
    #[error("the connection failed")]
    Io {
        /// What the kernel says.
        source: io::Error,
    },
    /// One side does not accept the other.
    #[error("the TLS handshake failed")]
    Handshake {
        /// What rustls says; an alert that was received is the peer's reason.
        source: rustls::Error,
    },
    /// The peer has broken the protocol, or refuses us after the handshake, as TLS 1.3 lets a server do.
    #[error("the TLS session failed")]
    Protocol {
        /// What rustls says.
        source: rustls::Error,
    },
    /// Something else than TLS came, as from a browser that was sent to the wrong port.
    #[error("the peer does not speak TLS")]
    NotTls {
        /// What rustls says.
        source: rustls::Error,
    },
    /// End of file where the handshake should go on.
    #[error("the peer left during the TLS handshake")]
    Left,
    /// End of file without the alert that says so.
    #[error("the connection ended without the end of its TLS session, so what came may not be all")]
    Truncated,
}

impl SessionError {
    pub(in crate::net::tls) fn setup(source: rustls::Error) -> Self {
        Self::Handshake { source }
    }

    pub(super) fn io(source: io::Error) -> Self {
        Self::Io { source }
    }

    /// `first` is the first byte that the peer has sent.
    pub(super) fn tls(source: rustls::Error, handshaking: bool, first: Option<u8>) -> Self {
        // The content types of TLS. RFC 8446, section 5.1.
        let no_record = first.is_some_and(|first| !(20..=24).contains(&first));
        match source {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) if no_record => Self::NotTls { source },
            _ if handshaking => Self::Handshake { source },
            _ => Self::Protocol { source },
        }
    }
}
