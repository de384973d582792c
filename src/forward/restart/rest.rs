//! What two processes tell each other after a restart, about the connections that stayed in the old one.
//!
//! One JSON object a line. The old process tells counts, the whole of them each time, so a line that finds no room is made
//! up for by the next one. End of file says that the other process has gone.

use crate::reactor::{Descriptor, Registered};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// The longest line; a count is a tenth of a kilobyte.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// What has stayed on a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Its number.
    pub destination: u64,
    /// Connections that run.
    pub connections: u64,
    /// Bytes from clients since the restart.
    pub bytes_in: u64,
    /// Bytes to clients since the restart.
    pub bytes_out: u64,
    /// Connections that could not be made, since the restart.
    pub failures: u64,
}

/// What the old process tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromOld {
    /// What has stayed, of all destinations.
    Rest(Vec<Rest>),
    /// A connection could not be made.
    Failed {
        /// To which destination.
        destination: u64,
        /// Why.
        why: String,
    },
    /// It was told to stop by a signal that was meant for the forwarder.
    Stop,
}

/// What the new process tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToOld {
    /// End what runs on these destinations.
    Cut(Vec<u64>),
    /// Reopen the log.
    Reopen,
    /// The new process serves: pid file and control socket are its own.
    Serving,
}

/// A stream of such lines that never waits.
#[derive(Debug)]
pub struct Lines {
    stream: Registered<Descriptor<UnixStream>>,
    heard: Vec<u8>,
    unsent: Vec<u8>,
}

impl Lines {
    /// `heard`: the beginning of a line that another process has read.
    pub fn new(stream: Registered<Descriptor<UnixStream>>, heard: Vec<u8>) -> Self {
        Lines { stream, heard, unsent: Vec::new() }
    }

    /// The stream for another process, and the beginning of a line that was read already.
    pub fn lend(&self) -> (BorrowedFd<'_>, &[u8]) {
        (self.stream.as_fd(), &self.heard)
    }

    /// Tells something, when there is room again; `false` if what was told before has found none yet, and nothing is told.
    pub fn tell(&mut self, what: &impl Serialize) -> bool {
        if !self.unsent.is_empty() && !self.write() {
            return false;
        }
        if let Ok(mut line) = serde_json::to_vec(what) {
            line.push(b'\n');
            self.unsent = line;
            self.write();
        }
        true
    }

    /// Goes on with what found no room; whether all of it has found some.
    pub fn write(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.0.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // Who has gone is heard of by the end of file.
                Err(_) => self.unsent.clear(),
            }
        }
        true
    }

    /// The whole lines that have come, and whether the other process is still there.
    pub fn read(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut chunk = [0; 16 * 1024];
        let there = loop {
            match self.stream.0.read(&mut chunk) {
                Ok(0) => break false,
                Ok(count) => self.heard.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(_) => break false,
            }
            if self.heard.len() > LONGEST_LINE {
                break false;
            }
        };
        let whole = self.heard.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = self.heard.drain(..whole).collect::<Vec<_>>();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec);
        (lines.collect(), there)
    }
}
