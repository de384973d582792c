//! The asking side: one request, one answer, and no wait beyond the caller's.

use super::wire::{LONGEST_ANSWER, Reply};
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In milliseconds. From the end of file to the end of the process it is a matter of microseconds.
const LAST_MOMENT: u16 = 1000;

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
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let stream = connect(path, deadline)?;
    exchange(stream, request, deadline).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::TimedOut { path: path.into() },
        _ => AskError::Broken { path: path.into(), source },
    })
}

/// An instance that is stuck may have a full backlog: connect(2) waits for it as long as a write may wait, see socket(7).
fn connect(path: &Path, deadline: Option<Instant>) -> Result<UnixStream, AskError> {
    let connected = || -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let address = SockAddr::unix(path)?;
        loop {
            socket.set_write_timeout(left(deadline)?)?;
            match socket.connect(&address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                connected => return connected.map(|()| socket.into()),
            }
        }
    };
    connected().map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::TimedOut { path: path.into() },
        _ => AskError::Connect { path: path.into(), source },
    })
}

/// Asks, and waits after the answer until the instance has gone.
///
/// # Errors
/// As [`ask`].
pub fn ask_last(path: &Path, request: &impl Serialize) -> Result<Reply, AskError> {
    let broken = |source| AskError::Broken { path: path.into(), source };
    let stream = connect(path, None)?;
    let process = process_of(&stream);
    let mut rest = stream.try_clone().map_err(broken)?;
    let reply = exchange(stream, request, None).map_err(broken)?;
    // End of file, or a reset: either way it is gone, or about to: an exit closes descriptors first.
    let _ = rest.read(&mut [0]);
    if let Some(process) = process {
        let _ = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::from(LAST_MOMENT));
    }
    Ok(reply)
}

/// The process that listens there, as unix(7) tells by SO_PEERCRED. One that has taken the socket over from it is another, and one
/// of another pid namespace has no number here.
fn process_of(stream: &UnixStream) -> Option<OwnedFd> {
    let peer = getsockopt(stream, PeerCredentials).ok()?;
    sys::pidfd_open(Pid::from_raw(peer.pid())).ok()
}

/// How long may still be waited; `None`: for ever.
fn left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn exchange(mut stream: UnixStream, request: &impl Serialize, deadline: Option<Instant>) -> io::Result<Reply> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
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
