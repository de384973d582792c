//! A session's connection to its destination, with the telnet that is spoken on it.

use super::outgoing::Outgoing;
use super::settings::Settings;
use super::wire::Wire;
use crate::net::connecting::Connecting;
use crate::net::stream::Stream;
use crate::session::telnet::{Telnet, Terminal};
use std::time::Instant;

/// How far the connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nobody knows of the session yet.
    Waiting,
    /// It is being made.
    Connecting(Box<Connecting<Stream>>),
    /// TLS is being agreed on, until this time at the latest.
    Securing(Wire, Instant),
    /// Bytes go both ways.
    Open(Wire),
    /// Of no more use to the session. What is in its TLS session is still to be sent, and a destination that may have
    /// something of ours to read is heard to its end: to close before would reset the connection, and take that along.
    Closing(Wire),
    /// It is over, or there never was one.
    Closed,
}

/// Where the end of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// None is due.
    No,
    /// The destination is to be told, behind what is on its way to it.
    Due,
    /// It was told.
    Done,
}

/// A session's connection to its destination. There is one for each session, from its beginning to its end.
pub(super) struct Link {
    pub(super) stage: Stage,
    pub(super) telnet: Telnet,
    /// What the destination is to be sent and is no input, or input as telnet has it.
    pub(super) out: Outgoing,
    /// So many bytes of the input are in `out` or in the TLS session.
    pub(super) pending: usize,
    pub(super) shutdown: Shutdown,
    /// The output has come to its end.
    pub(super) ended: bool,
    /// Writing has failed with this error; the output may go on.
    pub(super) broken: Option<u32>,
    /// When the session was made.
    pub(super) born: Instant,
    /// When something of it moved last.
    pub(super) moved: Instant,
}

impl Link {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        Link {
            stage: Stage::Waiting,
            telnet: Telnet::new(settings.telnet, Terminal::default()),
            out: Outgoing::default(),
            pending: 0,
            shutdown: Shutdown::No,
            ended: false,
            broken: None,
            born: now,
            moved: now,
        }
    }

    /// Whether the connection can be closed without a loss: the destination has ended, takes nothing, or got nothing.
    pub(super) fn is_heard_out(&self) -> bool {
        let written = match &self.stage {
            Stage::Open(wire) | Stage::Closing(wire) => wire.has_written(),
            Stage::Waiting | Stage::Connecting(_) | Stage::Securing(..) | Stage::Closed => false,
        };
        self.ended || self.broken.is_some() || !written
    }

    /// The socket, while bytes go both ways.
    pub(super) fn wire(&mut self) -> Option<&mut Wire> {
        match &mut self.stage {
            Stage::Open(wire) => Some(wire),
            Stage::Waiting | Stage::Connecting(_) | Stage::Securing(..) | Stage::Closing(_) | Stage::Closed => None,
        }
    }
}
