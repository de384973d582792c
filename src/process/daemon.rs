//! Becoming a daemon while the process that was started waits for the result and tells it.

use super::stray::{self, Stray};
use daemonize::{Daemonize, Outcome};
use nix::sys::stat::{Mode, umask};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The two processes that there are after [`daemonize`].
#[derive(Debug)]
pub enum Side {
    /// The one that was started. It waits for the result and exits with it.
    Starter(StartResult),
    /// The one that goes on in the background.
    Daemon(StatusPipe),
}

/// How the start in the background went.
#[derive(Debug, PartialEq, Eq)]
pub struct StartResult {
    /// The exit code to end with.
    pub code: u8,
    /// What to tell: on standard output when the code is 0, else on standard error. May be empty.
    pub text: String,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No pipe for the result.
    #[error("cannot make a pipe for the result of the start")]
    Pipe(#[source] io::Error),
    /// No process in the background.
    #[error("cannot go into the background")]
    Background(#[source] daemonize::Error),
}

/// The daemon's way to tell its starter how the start went. Dropping it untold tells a failure.
#[derive(Debug)]
pub struct StatusPipe(OwnedFd);

impl StatusPipe {
    /// Ends the starter's wait.
    pub fn tell(self, result: &StartResult) {
        let bytes = [&[result.code], result.text.as_bytes()].concat();
        // A starter that has gone needs no answer.
        let _ = File::from(self.0).write_all(&bytes);
    }
}

impl AsFd for StatusPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Goes into the background: a session of its own without a terminal, standard descriptors at the null device, the
/// caller's working directory and umask. Make no epoll and no pidfd before this: they would belong to the starter.
///
/// # Errors
/// In the starter, when there is no second process; in the daemon the error has been told to the starter already.
pub fn daemonize() -> Result<Side, DaemonError> {
    let (read, write) = io::pipe().map_err(DaemonError::Pipe)?;
    let mask = umask(Mode::all());
    umask(mask);
    // "." and not a path: it is right even where the directory has been removed.
    match Daemonize::new()
        .working_directory(".")
        .umask(mask.bits())
        .execute()
    {
        Outcome::Parent(Ok(_)) => {
            drop(write);
            Ok(Side::Starter(wait_for_result(File::from(OwnedFd::from(
                read,
            )))))
        }
        Outcome::Child(Ok(_)) => {
            drop(read);
            stray::deal_with(Stray::Close);
            Ok(Side::Daemon(StatusPipe(write.into())))
        }
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => {
            Err(DaemonError::Background(error))
        }
    }
}

fn wait_for_result(mut pipe: File) -> StartResult {
    let mut bytes = Vec::new();
    let read = pipe.read_to_end(&mut bytes);
    match (read, bytes.split_first()) {
        (Ok(_), Some((code, text))) => StartResult {
            code: *code,
            text: String::from_utf8_lossy(text).into_owned(),
        },
        (Ok(_), None) => StartResult {
            code: 1,
            text: "the daemon ended before it was ready\n".into(),
        },
        (Err(error), _) => StartResult {
            code: 1,
            text: format!("cannot learn how the start went: {error}\n"),
        },
    }
}
