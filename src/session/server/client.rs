//! One client's connection: its socket, what it has said so far, what is on its way to it, and how far it has come.

use super::outgoing::Outgoing;
use super::wire::Wire;
use crate::session::credential::Nonce;
use crate::session::frame::{Decoder, Frame, Refusal};
use std::io;
use std::net::IpAddr;

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// TLS is being agreed on.
    Securing,
    /// Nothing of the protocol has been said.
    New,
    /// It was told HELLO with this nonce, and is to say what it wants.
    Greeted {
        /// Ours.
        nonce: Nonce,
    },
    /// It has guessed wrong, and is to wait for the answer.
    Denied(Refusal),
    /// It belongs to a session.
    Attached,
    /// It is told the last words and not heard any more.
    Leaving,
}

/// One client's connection.
pub(super) struct Client {
    pub(super) wire: Wire,
    /// Who it is, for people.
    pub(super) peer: String,
    /// Where it comes from, for limits; `None`: from this machine.
    pub(super) source: Option<IpAddr>,
    pub(super) decoder: Decoder,
    pub(super) out: Outgoing,
    pub(super) stage: Stage,
    /// It has said something.
    pub(super) spoke: bool,
    /// All last words are with the socket.
    pub(super) told: bool,
}

impl Client {
    pub(super) fn new(wire: Wire, peer: String, source: Option<IpAddr>) -> Self {
        let stage = if wire.is_secure() { Stage::Securing } else { Stage::New };
        let (decoder, out) = (Decoder::new(), Outgoing::default());
        Client { wire, peer, source, decoder, out, stage, spoke: false, told: false }
    }

    pub(super) fn say(&mut self, frame: &Frame<'_>) {
        frame.encode(self.out.bytes());
    }

    /// Sends what there is and, if those were the last words, the end behind them; whether everything is sent.
    ///
    /// # Errors
    /// The wire's.
    pub(super) fn send(&mut self) -> io::Result<bool> {
        if !self.out.write_to(&mut self.wire)? || !self.wire.flush()? {
            return Ok(false);
        }
        if self.stage == Stage::Leaving && !self.told {
            self.told = true;
            self.wire.shutdown()?;
        }
        Ok(true)
    }
}
