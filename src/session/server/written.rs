//! Connections to destinations and of clients as they go to the process that takes over: what is known of them besides
//! their sockets.

use super::client::{self, Client};
use super::clock::Clock;
use super::link::{self, Link, Shutdown};
use super::outgoing::Outgoing;
use crate::session::credential::Nonce;
use crate::session::frame::Decoder;
use crate::session::state::Connection;
use crate::session::telnet::Telnet;
use crate::session::written::{Form, FormError, Reader, Writer, form_of_enum, form_of_struct};
use std::net::IpAddr;
use std::time::Instant;

form_of_enum!(Shutdown { 1 => No, 2 => Due, 3 => Done });

/// How far a connection to a destination has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkStage {
    Waiting,
    /// It is made anew, until this time at the latest.
    Connecting(Instant),
    /// Its socket comes along.
    Open,
    Closed,
}
form_of_enum!(LinkStage { 1 => Waiting, 2 => Connecting(until), 3 => Open, 4 => Closed });

/// All that is known of a connection to a destination.
pub(super) struct WrittenLink {
    pub(super) stage: LinkStage,
    pub(super) telnet: Telnet,
    pub(super) out: Vec<u8>,
    pub(super) pending: usize,
    pub(super) shutdown: Shutdown,
    pub(super) ended: bool,
    pub(super) broken: Option<u32>,
    pub(super) born: Instant,
    pub(super) moved: Instant,
}
form_of_struct!(WrittenLink { stage, telnet, out, pending, shutdown, ended, broken, born, moved });

impl Link {
    /// All times are by that clock.
    pub(super) fn written(&self, clock: &Clock) -> WrittenLink {
        let Link { stage, telnet, out, pending, shutdown, ended, broken, born, moved } = self;
        let stage = match stage {
            link::Stage::Waiting => LinkStage::Waiting,
            link::Stage::Connecting(connecting) => LinkStage::Connecting(clock.of_loop(connecting.deadline())),
            link::Stage::Securing(_, until) => LinkStage::Connecting(clock.of_loop(*until)),
            link::Stage::Open(_) => LinkStage::Open,
            link::Stage::Closing(_) | link::Stage::Closed => LinkStage::Closed,
        };
        WrittenLink {
            stage,
            telnet: telnet.clone(),
            out: out.unsent().to_vec(),
            pending: *pending,
            shutdown: *shutdown,
            ended: *ended,
            broken: *broken,
            born: *born,
            moved: *moved,
        }
    }

    /// The link in this process; `stage` is what has become of its socket.
    pub(super) fn of(written: WrittenLink, stage: link::Stage) -> Self {
        let WrittenLink { stage: _, telnet, out, pending, shutdown, ended, broken, born, moved } = written;
        Link { stage, telnet, out: Outgoing::of(out, false), pending, shutdown, ended, broken, born, moved }
    }
}

/// How far a client has come. Whoever has guessed wrong does not come along, nor whoever speaks TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientStage {
    New,
    Greeted(Nonce),
    Attached,
    Leaving,
}
form_of_enum!(ClientStage { 1 => New, 2 => Greeted(nonce), 3 => Attached, 4 => Leaving });

/// All that is known of a client.
pub(super) struct WrittenClient {
    pub(super) connection: Connection,
    pub(super) stage: ClientStage,
    pub(super) peer: String,
    pub(super) source: Option<IpAddr>,
    pub(super) spoke: bool,
    pub(super) told: bool,
    pub(super) decoder: Decoder,
    pub(super) secret: bool,
    pub(super) out: Vec<u8>,
}

impl Client {
    /// What goes to another process of it, if it does.
    pub(super) fn stage_written(&self) -> Option<ClientStage> {
        match self.stage {
            _ if self.wire.is_secure() => None,
            client::Stage::Securing | client::Stage::Denied(_) => None,
            client::Stage::New => Some(ClientStage::New),
            client::Stage::Greeted { nonce } => Some(ClientStage::Greeted(nonce)),
            client::Stage::Attached => Some(ClientStage::Attached),
            client::Stage::Leaving => Some(ClientStage::Leaving),
        }
    }

    /// Writes it as [`WrittenClient::read`] reads it. There may be a secret in it.
    pub(super) fn write(&self, connection: Connection, stage: &ClientStage, to: &mut Writer) {
        connection.write(to);
        stage.write(to);
        self.peer.write(to);
        self.source.write(to);
        self.spoke.write(to);
        self.told.write(to);
        self.decoder.write(to);
        self.out.has_secret().write(to);
        self.out.unsent().len().write(to);
        to.put_secret(self.out.unsent());
    }
}

impl WrittenClient {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        Ok(WrittenClient {
            connection: Form::read(from)?,
            stage: Form::read(from)?,
            peer: Form::read(from)?,
            source: Form::read(from)?,
            spoke: Form::read(from)?,
            told: Form::read(from)?,
            decoder: Form::read(from)?,
            secret: Form::read(from)?,
            out: Form::read(from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{LinkStage, WrittenLink};
    use crate::session::server::link::Shutdown;
    use crate::session::telnet::{Mode, Telnet, Terminal};
    use crate::session::written::{Form, FormError, Reader, Writer};
    use std::time::{Duration, Instant};

    fn read(bytes: &[u8], now: Instant) -> Result<WrittenLink, FormError> {
        let mut from = Reader::new(bytes, now)?;
        let link = WrittenLink::read(&mut from)?;
        from.end().map(|()| link)
    }

    #[test]
    fn a_connection_to_a_destination_comes_back_and_half_of_one_does_not() {
        let now = Instant::now();
        let connecting = LinkStage::Connecting(now + Duration::from_secs(3));
        for stage in [LinkStage::Waiting, connecting, LinkStage::Open, LinkStage::Closed] {
            let link = WrittenLink {
                stage,
                telnet: Telnet::new(Mode::Auto, Terminal::default()),
                out: b"answers".to_vec(),
                pending: 3,
                shutdown: Shutdown::Due,
                ended: true,
                broken: Some(104),
                born: now - Duration::from_secs(2),
                moved: now,
            };
            let written = |link: &WrittenLink| {
                let mut to = Writer::new(now);
                link.write(&mut to);
                to.into_bytes()
            };
            let bytes = written(&link);
            let again = read(&bytes, now).unwrap();
            assert_eq!(written(&again), bytes);
            assert_eq!((again.stage, again.pending, again.broken), (link.stage, 3, Some(104)));
            for length in 0..bytes.len() {
                assert!(read(&bytes[..length], now).is_err(), "{length}");
            }
        }
    }
}
