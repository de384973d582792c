//! The stream between the two processes, and the words on it: a line of JSON each.

use nix::sys::socket::{MsgFlags, recv};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use socket_protector_client::handoff;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use zeroize::Zeroize;

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
    /// The new process could serve the plan, and its role speaks this version.
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

/// Why two processes have come to no understanding.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
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
    #[error("the other program speaks version {theirs} of this protocol, and this one speaks {ours}")]
    Version {
        /// Its version.
        theirs: u64,
        /// The one that it should be.
        ours: u32,
    },
    /// It says something that is not its turn.
    #[error("the other process said {0:?} out of turn")]
    OutOfTurn(Word),
    /// It says so.
    #[error("the new process cannot take over: {0}")]
    Failed(String),
    /// Something that was announced did not come.
    #[error("{0} did not come")]
    Missing(&'static str),
    /// Nobody needs this process any more.
    #[error("the other process goes on without this one")]
    Unwanted,
}

impl ExchangeError {
    fn of(error: io::Error, limit: Duration) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ExchangeError::Late(limit),
            _ => ExchangeError::Lost(error),
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

    fn error(&self, error: io::Error) -> ExchangeError {
        ExchangeError::of(error, self.limit)
    }

    /// Says something.
    ///
    /// # Errors
    /// The other process has gone, or does not listen in time.
    pub fn say(&self, what: &impl Serialize) -> Result<(), ExchangeError> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(self.left())).map_err(|error| self.error(error))?;
        (&self.stream).write_all(&line).map_err(|error| self.error(error))
    }

    /// Hears a line, and not a byte behind it, where descriptors may be.
    ///
    /// # Errors
    /// The other process has gone, says nothing in time, or something else.
    pub fn hear<T: DeserializeOwned>(&self) -> Result<T, ExchangeError> {
        let mut line = Vec::new();
        let mut chunk = vec![0; CHUNK];
        while line.last() != Some(&b'\n') {
            if Instant::now() >= self.until {
                return Err(ExchangeError::Late(self.limit));
            }
            self.stream.set_read_timeout(Some(self.left())).map_err(|error| self.error(error))?;
            let seen = match recv(self.stream.as_raw_fd(), &mut chunk, MsgFlags::MSG_PEEK) {
                Ok(0) => return Err(ExchangeError::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(seen) => seen,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(self.error(errno.into())),
            };
            let wanted = chunk[..seen].iter().position(|byte| *byte == b'\n').map_or(seen, |at| at + 1);
            let wanted = &mut chunk[..wanted];
            (&self.stream).read_exact(wanted).map_err(|error| self.error(error))?;
            line.extend_from_slice(wanted);
            if line.len() > LONGEST_LINE {
                return Err(ExchangeError::Endless);
            }
        }
        Ok(serde_json::from_slice(&line)?)
    }

    /// Sends bytes, with their number before them. Each such sending has the whole time.
    ///
    /// # Errors
    /// As [`Exchange::say`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ExchangeError> {
        self.wind();
        for mut part in [&(bytes.len() as u64).to_be_bytes()[..], bytes] {
            while !part.is_empty() {
                if Instant::now() >= self.until {
                    return Err(ExchangeError::Late(self.limit));
                }
                self.stream.set_write_timeout(Some(self.left())).map_err(|error| self.error(error))?;
                match (&self.stream).write(&part[..part.len().min(CHUNK)]) {
                    Ok(count) => part = &part[count..],
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.error(error)),
                }
            }
        }
        Ok(())
    }

    /// Receives bytes that were sent so, and has no room for more of them than have come.
    ///
    /// # Errors
    /// As [`Exchange::hear`].
    pub fn receive(&mut self) -> Result<Vec<u8>, ExchangeError> {
        self.wind();
        let mut length = [0; 8];
        self.read_exact(&mut length)?;
        let mut left = u64::from_be_bytes(length);
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; CHUNK]);
        while left > 0 {
            let part = &mut chunk[..usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
            self.read_exact(part)?;
            bytes.extend_from_slice(part);
            left -= part.len() as u64;
        }
        chunk.zeroize();
        Ok(bytes)
    }

    fn read_exact(&self, mut room: &mut [u8]) -> Result<(), ExchangeError> {
        while !room.is_empty() {
            if Instant::now() >= self.until {
                return Err(ExchangeError::Late(self.limit));
            }
            self.stream.set_read_timeout(Some(self.left())).map_err(|error| self.error(error))?;
            match (&self.stream).read(room) {
                Ok(0) => return Err(ExchangeError::Lost(ErrorKind::UnexpectedEof.into())),
                Ok(count) => room = &mut room[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(())
    }

    /// Hears that the new process is ready, in the version that we speak.
    ///
    /// # Errors
    /// It is not.
    pub fn hear_ready(&self, ours: u32) -> Result<(), ExchangeError> {
        match self.hear()? {
            Word::Ready(theirs) if theirs == ours => Ok(()),
            Word::Ready(theirs) => Err(ExchangeError::Version { theirs: theirs.into(), ours }),
            Word::Failed(why) => Err(ExchangeError::Failed(why)),
            word @ (Word::Registered | Word::Commit | Word::Taken) => Err(ExchangeError::OutOfTurn(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exchange, ExchangeError, Word};
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
        assert!(matches!(ours.hear::<Word>(), Err(ExchangeError::Lost(_))));
    }

    #[test]
    fn bytes_of_any_number_arrive_and_no_room_is_had_for_more() {
        let (mut ours, theirs) = pair(Duration::from_secs(10));
        let says = std::thread::spawn(move || {
            let mut theirs = Exchange::new(theirs, Duration::from_secs(10));
            for length in [0, 1, 64 * 1024, 3_000_000] {
                theirs.send(&vec![7; length]).unwrap();
            }
            theirs.say(&Word::Commit).unwrap();
            // One that promises more than it has.
            theirs.stream().write_all(&u64::MAX.to_be_bytes()).unwrap();
            theirs.stream().write_all(b"few").unwrap();
        });
        for length in [0, 1, 64 * 1024, 3_000_000] {
            assert_eq!(ours.receive().unwrap(), vec![7; length]);
        }
        assert_eq!(ours.hear::<Word>().unwrap(), Word::Commit);
        assert!(matches!(ours.receive(), Err(ExchangeError::Lost(_))));
        says.join().unwrap();
        let (mut ours, _theirs) = pair(Duration::from_millis(50));
        assert!(matches!(ours.receive(), Err(ExchangeError::Late(_))));
        assert!(matches!(ours.send(&vec![7; 3_000_000]), Err(ExchangeError::Late(_))), "nobody reads");
    }

    #[test]
    fn silence_nonsense_and_other_versions_are_told_apart() {
        let (ours, mut theirs) = pair(Duration::from_millis(50));
        assert!(matches!(ours.hear::<Word>(), Err(ExchangeError::Late(_))));
        let (ours, mut other) = pair(Duration::from_secs(10));
        other.write_all(b"{\"ready\":7}\n{\"ready\":1}\nwhat?\n\"taken\"\n").unwrap();
        assert!(matches!(ours.hear_ready(1), Err(ExchangeError::Version { theirs: 7, ours: 1 })));
        ours.hear_ready(1).unwrap();
        assert!(matches!(ours.hear_ready(1), Err(ExchangeError::Line(_))));
        assert!(matches!(ours.hear_ready(1), Err(ExchangeError::OutOfTurn(Word::Taken))));
        theirs.write_all(b"\"ta").unwrap();
        let (ours, theirs) = (Exchange::new(theirs, Duration::from_millis(50)), ours);
        assert!(matches!(ours.hear::<Word>(), Err(ExchangeError::Late(_))), "half a line is none");
        drop(theirs);
    }
}
