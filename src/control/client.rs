//! The asking side: one request, one answer, and no wait beyond the caller's.

use super::wire::{LONGEST_ANSWER, Reply};
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there.
    #[error("cannot reach {}", .path.display())]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// What connect(2) said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("no answer from {} in time", .path.display())]
    TimedOut {
        /// The control socket.
        path: PathBuf,
    },
    /// It went away, or something else answered.
    #[error("lost the connection to {}", .path.display())]
    Broken {
        /// The control socket.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

impl AskError {
    /// Whether no instance listens there.
    pub fn is_nobody(&self) -> bool {
        match self {
            AskError::Connect { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            AskError::TimedOut { .. } | AskError::Broken { .. } => false,
        }
    }
}

/// Asks the instance behind a control socket and waits for its answer; `timeout`: no longer than that.
///
/// # Errors
/// Nobody there, no answer in time, or the connection lost.
pub fn ask(path: &Path, request: &impl Serialize, timeout: Option<Duration>) -> Result<Reply, AskError> {
    let stream = connect(path)?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    exchange(stream, request, deadline).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::TimedOut { path: path.into() },
        _ => AskError::Broken { path: path.into(), source },
    })
}

fn connect(path: &Path) -> Result<UnixStream, AskError> {
    let connected = || -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // An instance that is stuck has a full backlog, and a blocking connect would wait for it.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_nonblocking(false)?;
        Ok(socket.into())
    };
    connected().map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => AskError::TimedOut { path: path.into() },
        _ => AskError::Connect { path: path.into(), source },
    })
}

/// Asks, and waits after the answer until the instance has gone.
///
/// # Errors
/// As [`ask`].
pub fn ask_last(path: &Path, request: &impl Serialize) -> Result<Reply, AskError> {
    let broken = |source| AskError::Broken { path: path.into(), source };
    let stream = connect(path)?;
    let mut rest = stream.try_clone().map_err(broken)?;
    let reply = exchange(stream, request, None).map_err(broken)?;
    // End of file, or a reset: either way it is gone.
    let _ = rest.read(&mut [0]);
    Ok(reply)
}

fn exchange(mut stream: UnixStream, request: &impl Serialize, deadline: Option<Instant>) -> io::Result<Reply> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let left = |deadline: Option<Instant>| match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    stream.set_write_timeout(left(deadline)?)?;
    stream.write_all(&line)?;
    let mut reader = BufReader::new(stream).take(LONGEST_ANSWER);
    let mut answer = Vec::new();
    // A read that ends early because of its time limit leaves what it has got in `answer`.
    while answer.last() != Some(&b'\n') {
        reader.get_ref().get_ref().set_read_timeout(left(deadline)?)?;
        if reader.read_until(b'\n', &mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(serde_json::from_slice(&answer)?)
}
