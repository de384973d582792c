//! Becoming a daemon while the process that was started waits for the result and tells it.

use super::stray::{self, Stray};
use daemonize::{Daemonize, Outcome};
use nix::sys::stat::{Mode, umask};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The two processes that there are after [`daemonize()`].
pub enum Side {
    /// The one that was started, with the wait for the result, which it exits with.
    Starter(Wait),
    /// The one that goes on in the background.
    Daemon(StatusPipe),
}

/// How the start in the background went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StartResult {
    /// The exit code to end with.
    pub code: u8,
    /// What to tell: on standard output when the code is 0, else on standard error. May be empty.
    pub text: String,
    /// What to tell on standard error besides. May be empty.
    pub warning: String,
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

/// The daemon's way to tell its starter how the start went. When it is dropped untold, that tells a failure.
#[derive(Debug)]
pub struct StatusPipe(OwnedFd);

impl StatusPipe {
    /// Ends the starter's wait. Only the first result counts.
    pub fn tell(&self, result: &StartResult) {
        let mut bytes = vec![result.code];
        for text in [&result.text, &result.warning] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        if let Ok(mut pipe) = self.0.try_clone().map(File::from) {
            // A starter that has gone needs no answer.
            let _ = pipe.write_all(&bytes);
        }
    }

    /// The same pipe again.
    ///
    /// # Errors
    /// Those of fcntl(2), F_DUPFD_CLOEXEC.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(StatusPipe)
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
/// In the process that was started, when there is no second one; and in the second, when it cannot detach itself: the
/// first learns of that by the end of its wait.
pub fn daemonize() -> Result<Side, DaemonError> {
    let (read, write) = io::pipe().map_err(DaemonError::Pipe)?;
    let mask = umask(Mode::all());
    umask(mask);
    // "." and not a path: it is right even where the directory has been removed.
    match Daemonize::new().working_directory(".").umask(mask.bits()).execute() {
        Outcome::Parent(Ok(_)) => {
            drop(write);
            Ok(Side::Starter(Wait(File::from(OwnedFd::from(read)))))
        }
        Outcome::Child(Ok(_)) => {
            drop(read);
            stray::deal_with(Stray::Close);
            Ok(Side::Daemon(StatusPipe(write.into())))
        }
        Outcome::Parent(Err(error)) | Outcome::Child(Err(error)) => Err(DaemonError::Background(error)),
    }
}

/// The wait of the process that was started.
#[derive(Debug)]
pub struct Wait(File);

impl Wait {
    /// Waits until the daemon tells how the start went, or ends without a word.
    pub fn result(mut self) -> StartResult {
        self.read().unwrap_or_else(|_| StartResult {
            code: 1,
            text: "socket-protector: ended before it was ready\n".into(),
            ..StartResult::default()
        })
    }

    fn read(&mut self) -> io::Result<StartResult> {
        let mut code = [0];
        self.0.read_exact(&mut code)?;
        Ok(StartResult { code: code[0], text: self.read_text()?, warning: self.read_text()? })
    }

    fn read_text(&mut self) -> io::Result<String> {
        let (mut length, mut text) = ([0; 8], String::new());
        self.0.read_exact(&mut length)?;
        (&self.0).take(u64::from_le_bytes(length)).read_to_string(&mut text)?;
        Ok(text)
    }
}
