//! How the gateway comes to a session on behalf of whoever asks: HELLO, NEW or RESUME, ACCEPT. Pure.

use crate::session::client_state::Breach;
use crate::session::credential::{Mac, Nonce, Secret, SessionId, Transcript, wipe};
use crate::session::frame::{Accept, Frame, Hello, MAX_DATA, MAX_PAYLOAD, Mode, New, Refusal, Resume, VERSION};
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
pub(in crate::session::web) mod tests;

/// A session and its secret, as whoever asks names them. Whether they belong together is the server's to say.
#[derive(PartialEq, Eq)]
pub struct Pair {
    /// The session.
    pub id: SessionId,
    /// What shall be its secret.
    pub secret: Secret,
}

impl std::fmt::Debug for Pair {
    /// Without the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Pair {{ {}, .. }}", self.id)
    }
}

/// What is wanted of the server.
#[derive(Clone, Debug)]
pub enum Want {
    /// A session, kept for so many seconds while nobody is there; 0: as the server likes.
    New {
        /// Seconds.
        ttl: u32,
    },
    /// A session that there is.
    Resume {
        /// Which, and the proof.
        pair: Arc<Pair>,
        /// As what.
        mode: Mode,
        /// Where its output shall begin.
        next: u64,
    },
}

/// The beginning of one connection to the server.
#[derive(Debug)]
pub struct Handshake {
    want: Want,
    nonce: Nonce,
    said: Option<(Transcript, Terms)>,
}

/// What the server says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How many bytes of a stream fit into a frame.
    pub longest: usize,
    /// How much output it sends before it hears of us.
    pub window: u32,
    /// After so much silence somebody asks; zero: nobody does.
    pub heartbeat: Duration,
}

/// The server has let us in.
#[derive(Debug)]
pub struct Attached {
    /// What it says of the session, without the secret.
    pub accept: Accept,
    /// What it says of the connection.
    pub terms: Terms,
    /// A new session's secret, and the proof that it has arrived.
    pub new: Option<(Pair, Mac)>,
}

/// How far it has come.
#[derive(Debug)]
pub enum Step {
    /// There is more to come.
    Wait,
    /// We are in.
    Attached(Box<Attached>),
    /// We are not. The connection is over.
    Refused(Refusal),
}

impl Handshake {
    /// For one connection. The nonce is for it alone, from the system's random numbers.
    pub fn new(want: Want, nonce: Nonce) -> Handshake {
        Handshake { want, nonce, said: None }
    }

    /// Takes in what the server says first, and appends what is to be answered.
    ///
    /// # Errors
    /// It is no server of sessions, or not the one that knows this secret.
    pub fn hear(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<Step, Breach> {
        match (frame, self.said.take()) {
            (Frame::Hello(hello), None) => {
                self.greeted(&hello, out)?;
                Ok(Step::Wait)
            }
            (Frame::Accept(accept), Some((said, terms))) => {
                self.accepted(accept, &said, terms).map(|attached| Step::Attached(Box::new(attached)))
            }
            (Frame::Reject(refusal), _) => Ok(Step::Refused(refusal)),
            _ => Err(Breach::Order),
        }
    }

    fn greeted(&mut self, hello: &Hello, out: &mut Vec<u8>) -> Result<(), Breach> {
        let terms = terms(hello)?;
        let said = Transcript { version: hello.version, boot: hello.boot, server: hello.nonce, client: self.nonce };
        match &self.want {
            Want::New { ttl } => Frame::New(New { nonce: self.nonce, ttl: *ttl }).encode(out),
            Want::Resume { pair, mode, next } => {
                let mac = pair.secret.key().resume(&said, pair.id, *next, mode.code());
                // As if this start of the server were the one that we know, so that a session that was never there and
                // one that is no more are told alike.
                let resume =
                    Resume { id: pair.id, boot_seen: hello.boot, nonce: self.nonce, next: *next, mode: *mode, mac };
                Frame::Resume(resume).encode(out);
            }
        }
        self.said = Some((said, terms));
        Ok(())
    }

    fn accepted(&mut self, mut accept: Accept, said: &Transcript, terms: Terms) -> Result<Attached, Breach> {
        // Room for all of it, so that no copy of a secret stays behind.
        let mut proved = Vec::with_capacity(256);
        accept.proved(&mut proved);
        let secret = accept.secret.take();
        let right = match (&self.want, &secret) {
            (Want::Resume { pair, .. }, None) => {
                pair.id == accept.id && pair.secret.key().accept(said, &proved) == accept.mac
            }
            (Want::New { .. }, Some(secret)) => secret.key().accept(said, &proved) == accept.mac,
            (Want::Resume { .. }, Some(_)) | (Want::New { .. }, None) => false,
        };
        wipe(&mut proved);
        if !right {
            return Err(Breach::Proof);
        }
        let new = secret.map(|secret| {
            let confirm = secret.key().confirm(said, accept.id);
            (Pair { id: accept.id, secret }, confirm)
        });
        Ok(Attached { accept, terms, new })
    }
}

/// What can be worked with.
fn terms(hello: &Hello) -> Result<Terms, Breach> {
    const DATA_OFFSET: usize = MAX_PAYLOAD - MAX_DATA;
    let longest = usize::from(hello.max_payload).saturating_sub(DATA_OFFSET);
    if hello.version != VERSION || longest == 0 {
        return Err(Breach::Hello);
    }
    Ok(Terms { longest, window: hello.window, heartbeat: Duration::from_secs(hello.heartbeat.into()) })
}
