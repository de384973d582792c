//! Restart: everything goes from one process to the next, by words and descriptors on a socket pair.
//!
//! [`protocol`] decides what follows what. [`plan`] is what the old process knows, [`descriptors`] what it has,
//! [`rest`] what the two tell each other about the connections that stay, [`same_signal`] which signal to stop counts once. The two sides are in `driver/leaving` and
//! `driver/taking_over`. docs/forward.md has the words byte by byte.

pub mod descriptors;
pub mod plan;
pub mod protocol;
pub mod rest;
pub mod same_signal;

use nix::sys::socket::{MsgFlags, recv};
use plan::SCHEMA;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use socket_protector_client::handoff;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long the new process may take to get ready, and how long all that follows may take.
pub const LIMIT: Duration = Duration::from_secs(10);
/// The longest line.
const LONGEST_LINE: usize = 64 * 1024 * 1024;
/// How much of a line is looked at, at once.
const CHUNK: usize = 64 * 1024;

/// What is said besides plans and descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The new process could serve the plan, and speaks this version.
    Ready(u32),
    /// It has every descriptor.
    Registered,
    /// It may begin.
    Commit,
    /// It begins.
    Taken,
    /// It cannot.
    Failed(String),
}

/// Why a restart came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The stream between the two.
    #[error("lost the other process")]
    Lost(#[source] io::Error),
    /// It said nothing for so long.
    #[error("the other process said nothing for {}", crate::time::Time::of(*.0))]
    Late(Duration),
    /// Descriptors on the stream.
    #[error("cannot hand descriptors over")]
    Handoff(#[from] handoff::Error),
    /// A line that says something else.
    #[error("the other process is not understood")]
    Line(#[from] serde_json::Error),
    /// A line without an end.
    #[error("the other process is not understood: a line is longer than {LONGEST_LINE} bytes")]
    Endless,
    /// It speaks another version of this.
    #[error("the other program speaks version {0} of the restart protocol, and this one speaks {SCHEMA}")]
    Version(u64),
    /// It says something that is not its turn.
    #[error("the other process said {0:?} out of turn")]
    OutOfTurn(Word),
    /// It says so.
    #[error("the new process cannot take over: {0}")]
    Failed(String),
    /// Something that was announced did not come.
    #[error("{0} did not come")]
    Missing(&'static str),
}

impl RestartError {
    fn of(error: io::Error, limit: Duration) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => RestartError::Late(limit),
            _ => RestartError::Lost(error),
        }
    }
}

/// One end of the stream, with a time by which all must be said.
#[derive(Debug)]
pub struct Exchange {
    stream: UnixStream,
    limit: Duration,
    until: Instant,
}

impl Exchange {
    /// The time runs from now on.
    pub fn new(stream: UnixStream, limit: Duration) -> Self {
        Exchange { stream, limit, until: Instant::now() + limit }
    }

    /// The time begins anew.
    pub fn wind(&mut self) {
        self.until = Instant::now() + self.limit;
    }

    /// The stream.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The stream, for what comes after the exchange.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// What is left of the time, never nothing: the shortest time is waited at least.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn error(&self, error: io::Error) -> RestartError {
        RestartError::of(error, self.limit)
    }

    /// Says something.
    ///
    /// # Errors
    /// The other process has gone, or does not listen in time.
    pub fn say(&self, what: &impl Serialize) -> Result<(), RestartError> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(self.left())).map_err(|error| self.error(error))?;
        (&self.stream).write_all(&line).map_err(|error| self.error(error))
    }

    /// Hears a line, and not a byte behind it, where descriptors may be.
    ///
    /// # Errors
    /// The other process has gone, says nothing in time, or something else.
    pub fn hear<T: DeserializeOwned>(&self) -> Result<T, RestartError> {
        let mut line = Vec::new();
        let mut chunk = vec![0; CHUNK];
        while line.last() != Some(&b'\n') {
            if Instant::now() >= self.until {
                return Err(RestartError::Late(self.limit));
            }
            self.stream.set_read_timeout(Some(self.left())).map_err(|error| self.error(error))?;
            let seen = match recv(self.stream.as_raw_fd(), &mut chunk, MsgFlags::MSG_PEEK) {
                Ok(0) => return Err(RestartError::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(seen) => seen,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(self.error(errno.into())),
            };
            let wanted = chunk[..seen].iter().position(|byte| *byte == b'\n').map_or(seen, |at| at + 1);
            let wanted = &mut chunk[..wanted];
            (&self.stream).read_exact(wanted).map_err(|error| self.error(error))?;
            line.extend_from_slice(wanted);
            if line.len() > LONGEST_LINE {
                return Err(RestartError::Endless);
            }
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// Hears that the new process is ready, in the version that we speak.
    ///
    /// # Errors
    /// It is not.
    pub fn hear_ready(&self) -> Result<(), RestartError> {
        match self.hear()? {
            Word::Ready(SCHEMA) => Ok(()),
            Word::Ready(other) => Err(RestartError::Version(other.into())),
            Word::Failed(why) => Err(RestartError::Failed(why)),
            word @ (Word::Registered | Word::Commit | Word::Taken) => Err(RestartError::OutOfTurn(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exchange, RestartError, Word};
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn pair(limit: Duration) -> (Exchange, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Exchange::new(one, limit), other)
    }

    #[test]
    fn lines_are_heard_one_at_a_time_whatever_their_length() {
        let (ours, mut theirs) = pair(Duration::from_secs(10));
        let long = "x".repeat(300_000);
        let said = long.clone();
        let says = std::thread::spawn(move || {
            writeln!(theirs, "\"registered\"\n{{\"failed\":\"{said}\"}}").unwrap();
            theirs
        });
        assert_eq!(ours.hear::<Word>().unwrap(), Word::Registered);
        assert_eq!(ours.hear::<Word>().unwrap(), Word::Failed(long));
        drop(says.join().unwrap());
        assert!(matches!(ours.hear::<Word>(), Err(RestartError::Lost(_))));
    }

    #[test]
    fn silence_nonsense_and_other_versions_are_told_apart() {
        let (ours, mut theirs) = pair(Duration::from_millis(50));
        assert!(matches!(ours.hear::<Word>(), Err(RestartError::Late(_))));
        let (ours, mut other) = pair(Duration::from_secs(10));
        other.write_all(b"{\"ready\":7}\n{\"ready\":1}\nwhat?\n\"taken\"\n").unwrap();
        assert!(matches!(ours.hear_ready(), Err(RestartError::Version(7))));
        ours.hear_ready().unwrap();
        assert!(matches!(ours.hear_ready(), Err(RestartError::Line(_))));
        assert!(matches!(ours.hear_ready(), Err(RestartError::OutOfTurn(Word::Taken))));
        theirs.write_all(b"\"ta").unwrap();
        let (ours, theirs) = (Exchange::new(theirs, Duration::from_millis(50)), ours);
        assert!(matches!(ours.hear::<Word>(), Err(RestartError::Late(_))), "half a line is none");
        drop(theirs);
    }
}
