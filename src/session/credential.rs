//! Who may resume a session: its id, its secret, and the proofs by which each side shows that it knows it.
//!
//! The secret crosses the wire once. After that both sides prove that they have it, by an HMAC (RFC 2104) over what
//! was said; the server keeps its SHA-256, the key of those proofs, and cannot say the secret again. Secret and key
//! are wiped when they are dropped and cannot be printed. The random numbers are the system's (getrandom(2)).

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

#[cfg(test)]
mod tests;
mod text;

/// What a secret's text begins with, so that a search for secrets finds it.
pub const PREFIX: &str = "sks_";

/// Names a session: 128 random bits, shown as 32 hexadecimal digits. It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// Names a start of a server that has no sessions from before: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

/// A number that is used once: 256 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

/// A proof. Two are compared in a time that does not depend on them.
#[derive(Clone, Copy, Debug)]
pub struct Mac(pub [u8; 32]);

impl PartialEq for Mac {
    fn eq(&self, other: &Mac) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Mac {}

/// What a client needs to resume a session: 256 random bits. It cannot be printed by accident: it has neither
/// `Debug` nor `Display`, and is wiped when dropped.
pub struct Secret([u8; 32]);

/// What the server keeps of a secret: enough to check proofs, and so to be kept like one.
pub struct Key([u8; 32]);

/// What was said before a proof is made: each proof is good for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// The version that both speak.
    pub version: u8,
    /// The server's start.
    pub boot: BootId,
    /// The server's number for this connection.
    pub server: Nonce,
    /// The client's.
    pub client: Nonce,
}

/// The system has no random numbers for us.
#[derive(Debug, Error)]
#[error("cannot get random numbers from the system")]
pub struct RandomError(#[source] getrandom::Error);

/// Why a text is no id or secret. It does not repeat the text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// Not the text of an id.
    #[error("a session's id has 32 hexadecimal digits")]
    Id,
    /// Not the text of a secret.
    #[error("a session's secret is {PREFIX} and 43 letters of base64url")]
    Secret,
}

/// Fills it with the system's random numbers.
pub fn random<const SIZE: usize>() -> Result<[u8; SIZE], RandomError> {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// Overwrites what may have been a secret.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl FromStr for SessionId {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text::from_hex(text).map(SessionId).ok_or(TextError::Id)
    }
}

impl Secret {
    /// From its bytes, which may be the caller's to wipe.
    pub fn new(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// From its text.
    pub fn from_text(text: &str) -> Result<Self, TextError> {
        text.strip_prefix(PREFIX).and_then(text::from_base64url).map(Secret).ok_or(TextError::Secret)
    }

    /// As text: [`PREFIX`] and 43 letters of base64url. It is wiped when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        text::to_base64url(PREFIX, &self.0)
    }

    /// Its bytes: for the wire, and nothing else.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of its proofs.
    pub fn key(&self) -> Key {
        Key(Sha256::digest(self.0).into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Key {
    /// From its bytes, as a server hands them to its successor.
    pub fn new(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// Its bytes: for the successor, and nobody else.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A client's proof that it may resume: over what was said, the session, where it goes on, and as what it comes.
    pub fn resume(&self, said: &Transcript, id: SessionId, next: u64, mode: u8) -> Mac {
        self.mac(b"resume", said, &[&id.0, &next.to_be_bytes(), &[mode]])
    }

    /// A client's proof that the secret has arrived.
    pub fn confirm(&self, said: &Transcript, id: SessionId) -> Mac {
        self.mac(b"confirm", said, &[&id.0])
    }

    /// The server's proof: over what was said, and the ACCEPT that it is sent in, up to the proof itself.
    pub fn accept(&self, said: &Transcript, accept: &[u8]) -> Mac {
        self.mac(b"accept", said, &[accept])
    }

    /// The label and a zero first, so that no proof is good for something else.
    fn mac(&self, label: &[u8], said: &Transcript, rest: &[&[u8]]) -> Mac {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        mac.update(label);
        mac.update(&[0, said.version]);
        mac.update(&said.boot.0);
        mac.update(&said.server.0);
        mac.update(&said.client.0);
        rest.iter().for_each(|part| mac.update(part));
        Mac(mac.finalize().into_bytes().into())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Checks proofs so that nobody learns which sessions there are: one of an unknown session is compared as well, to one
/// that is made with a key of nobody's.
pub struct Checker {
    nobody: Key,
}

impl Checker {
    /// With random bytes for the key of nobody.
    pub fn new(nobody: [u8; 32]) -> Self {
        Checker { nobody: Key(nobody) }
    }

    /// Whether there is the session and the proof is right. `key`: the session's, if there is one.
    pub fn may_resume(&self, key: Option<&Key>, expected: impl FnOnce(&Key) -> Mac, given: &Mac) -> bool {
        let right = expected(key.unwrap_or(&self.nobody)) == *given;
        right & key.is_some()
    }
}
