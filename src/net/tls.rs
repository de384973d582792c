//! TLS on either side of a connection, by rustls: who we are and whom we believe ([`ServerIdentity`],
//! [`ClientIdentity`]), that identity's files when they change ([`Watch`]), and one connection's state ([`Session`]).
//!
//! Files are read where an identity is loaded or looked at again, never where a connection is served. Which connection
//! is relayed where is the business of others.

mod certificate;
mod client;
mod error;
mod pem;
mod roots;
mod rotation;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use self::certificate::Moment;
pub use self::client::ClientIdentity;
pub use self::error::{LoadError, PemProblem, Remark};
pub use self::rotation::Refresh;
pub use self::server::ServerIdentity;
pub use self::session::{Got, Handshake, Session, SessionError};
pub use self::watch::{Change, Watch, What};

/// The cryptography that all sessions use. Named each time, since a process-wide default could be another's.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The names of application protocols (ALPN) as they are sent.
fn protocols(names: &[String]) -> Result<Vec<Vec<u8>>, LoadError> {
    names
        .iter()
        .map(|name| match name.len() {
            1..=255 => Ok(name.clone().into_bytes()),
            _ => Err(LoadError::Protocol { name: name.clone() }),
        })
        .collect()
}
