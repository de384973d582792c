//! What a user can do about a listener that could not be had.

use super::ListenError;
use crate::net::endpoint::Listen;
use std::io::ErrorKind;

/// What could be done about a TCP port that is taken.
pub const TAKEN: &str = "another process listens there; 'ss -ltnp' shows which";

impl ListenError {
    /// What could be done about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ListenError::Bind { endpoint, source } => match (endpoint.socket(), source.kind()) {
                (Listen::Tcp(_) | Listen::Tls(_) | Listen::Udp(_), ErrorKind::PermissionDenied) => {
                    Some("ports below 1024 need root or CAP_NET_BIND_SERVICE")
                }
                (Listen::Tcp(_) | Listen::Tls(_), ErrorKind::AddrInUse) => Some(TAKEN),
                (Listen::Udp(_), ErrorKind::AddrInUse) => Some("another process has that port; 'ss -lunp' shows which"),
                _ => None,
            },
            ListenError::InUse { .. } => Some("'ss -lxp' shows which"),
            ListenError::NotASocket { .. } => Some("only a socket that nobody listens to any more is replaced"),
            ListenError::Lookup { .. }
            | ListenError::NoAddress { .. }
            | ListenError::Zone { .. }
            | ListenError::Locked { .. }
            | ListenError::NotALock { .. }
            | ListenError::Adopt { .. } => None,
        }
    }
}
