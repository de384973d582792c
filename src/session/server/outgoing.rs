//! Bytes that a socket has not taken yet.

use super::wire::Wire;
use crate::session::credential::wipe;
use std::io;

/// Room that an empty one keeps.
const KEPT: usize = 4096;

/// What is to be sent next, in its order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// So many of them are sent.
    sent: usize,
    /// There was a secret among them.
    secret: bool,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// To be appended to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The next bytes have a secret among them: what becomes of them is wiped. At most `size` follow until they are sent, so
    /// that no copy stays behind where the buffer was.
    pub(super) fn keep_secret(&mut self, size: usize) {
        let mut roomy = Vec::with_capacity(self.len() + size);
        roomy.extend_from_slice(&self.bytes[self.sent..]);
        self.forget();
        self.bytes = roomy;
        self.secret = true;
    }

    /// Writes as much as is taken now; whether that was all.
    ///
    /// # Errors
    /// The wire's.
    pub(super) fn write_to(&mut self, wire: &mut Wire) -> io::Result<bool> {
        while !self.is_empty() {
            match wire.write(&self.bytes[self.sent..])? {
                0 => return Ok(false),
                count => self.sent += count,
            }
        }
        self.forget();
        Ok(true)
    }

    /// Drops everything.
    pub(super) fn forget(&mut self) {
        if std::mem::take(&mut self.secret) {
            wipe(&mut self.bytes);
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.sent = 0;
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.forget();
    }
}
