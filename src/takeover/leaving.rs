//! The old process' side: the new process is started, heard and, where it comes to nothing, ended. What is to be handed
//! over, and how it is put back, is the role's own.

use super::protocol::{Old, OldDoes, OldHears};
use super::{Exchange, ExchangeError, LIMIT, Word};
use crate::control::wire::Reply;
use crate::process::group::{survivors, wait_for_exits};
use crate::process::output::printable;
use crate::process::spawn::{Launch, Process, SpawnError, signal_group, spawn};
use log::{error, info};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How many of the last lines that a failed process has written are shown.
const LAST_LINES: usize = 10;
/// How much of what it has written is looked at for them.
const LAST_BYTES: u64 = 16 * 1024;
/// A process that has closed its stream is about to end; so long is waited to tell how.
const TO_END: u16 = 500;

/// Why there is no new process.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No stream to it, or no place for what it writes.
    #[error("cannot prepare for a new process")]
    Prepare(#[from] io::Error),
    /// The program.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// A new process on its way, as the old one sees it.
#[derive(Debug, Default)]
pub struct Leaving {
    stage: Old,
    process: Option<Process>,
    /// What it writes to standard output and standard error.
    output: Option<File>,
    exchange: Option<Exchange>,
    /// What went wrong first.
    why: Option<String>,
    /// That was that the new process has gone.
    gone: bool,
}

impl Leaving {
    /// How far it has come.
    pub fn stage(&self) -> Old {
        self.stage
    }

    /// What is to be done, one after the other, when this is heard.
    pub fn on(&mut self, heard: OldHears) -> &'static [OldDoes] {
        self.stage.on(heard)
    }

    /// Why it comes to nothing, unless that is known already.
    pub fn fails(&mut self, why: String) {
        self.why.get_or_insert(why);
    }

    /// Starts the new process. Our end of the stream, on which somebody is to tell it the plan and to
    /// [hear that it is ready](Exchange::hear_ready), without keeping others waiting.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, command: &[OsString]) -> Result<Exchange, StartError> {
        let (here, there) = UnixStream::pair()?;
        let output = File::from(memfd_create("restart", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?);
        let environment = std::env::vars_os().collect::<Vec<_>>();
        let process = spawn(&Launch {
            command,
            environment: &environment,
            listen_pid: false,
            descriptors: &[(there.as_fd(), 0), (output.as_fd(), 1), (output.as_fd(), 2)],
            directory: None,
            open_files: None,
            death_signal: None,
            session: false,
        })?;
        info!("process {} is getting ready to take over", process.pid());
        (self.process, self.output) = (Some(process), Some(output));
        Ok(Exchange::new(here, LIMIT))
    }

    /// The stream is back, and this came of getting ready.
    pub fn met(&mut self, exchange: Exchange, ready: Result<(), ExchangeError>) -> OldHears {
        self.exchange = Some(exchange);
        match ready {
            Ok(()) => OldHears::Ready,
            Err(error) => self.not_heard(&error),
        }
    }

    /// What it means that something was not heard.
    pub fn not_heard(&mut self, error: &ExchangeError) -> OldHears {
        self.gone |= self.why.is_none() && matches!(error, ExchangeError::Lost(_));
        self.fails(crate::chain(error));
        meaning(error)
    }

    /// Sends everything by this, and hears what the new process says to it.
    pub fn offer(&mut self, send: impl FnOnce(&mut Exchange) -> Result<(), ExchangeError>) -> OldHears {
        let sent = self.exchange.as_mut().map(|exchange| {
            exchange.wind();
            send(exchange)
        });
        match sent {
            Some(Err(error)) => self.not_heard(&error),
            Some(Ok(())) | None => self.hear(),
        }
    }

    /// Tells the new process to begin, and hears what it says to it.
    pub fn commit(&mut self) -> OldHears {
        match self.exchange.as_ref().map(|exchange| exchange.say(&Word::Commit)) {
            Some(Err(error)) => self.not_heard(&error),
            Some(Ok(())) | None => self.hear(),
        }
    }

    /// What the new process says. One that was ended may have said it before.
    pub fn hear(&mut self) -> OldHears {
        if let Some(exchange) = &mut self.exchange {
            exchange.wind();
        }
        match self.exchange.as_ref().map(|exchange| exchange.hear::<Word>()) {
            Some(Ok(Word::Registered)) => OldHears::Registered,
            Some(Ok(Word::Taken)) => OldHears::Taken,
            Some(Ok(Word::Failed(why))) => self.not_heard(&ExchangeError::Failed(why)),
            Some(Ok(word @ (Word::Ready(_) | Word::Commit))) => self.not_heard(&ExchangeError::OutOfTurn(word)),
            Some(Err(error)) => self.not_heard(&error),
            None => OldHears::Gone,
        }
    }

    /// Kills the new process, and learns how it had ended by itself, if it had. Which one it was.
    pub fn end(&mut self) -> Option<Pid> {
        let process = self.process.take()?;
        if self.gone {
            // One that has closed the stream ends in a moment.
            if let Ok(exit) = process.exit_descriptor() {
                let _ = poll(&mut [PollFd::new(exit.as_fd(), PollFlags::POLLIN)], PollTimeout::from(TO_END));
            }
            if let Some(exit) = process.exit() {
                self.why = Some(format!("the new process {exit}"));
            }
        }
        let pid = process.pid();
        // With its group: the program may be a script that has started another, which may have the lock of a pid file.
        let others = survivors(pid).exit_descriptors();
        signal_group(&process, Signal::SIGKILL);
        process.reap();
        wait_for_exits(others, Duration::from_millis(TO_END.into()));
        Some(pid)
    }

    /// It has come to nothing: the answer for whoever has asked, with the last lines of the new process. `what`: what the
    /// role calls it.
    pub fn failed(&mut self, what: &str) -> Reply {
        let Leaving { output, why, .. } = std::mem::take(self);
        let why = why.unwrap_or_else(|| "it failed".to_owned());
        error!("the {what} has failed, and this process goes on: {why}");
        Reply { lines: output.as_ref().map(last_lines).unwrap_or_default(), ..Reply::failed(why) }
    }

    /// The new process serves: which one it is, and the stream to it.
    pub fn left(&mut self) -> Option<(Pid, Exchange)> {
        self.output = None;
        self.process.take().map(|process| process.pid()).zip(self.exchange.take())
    }
}

/// The process that has taken over is a child of this one, which has stayed, and may go before it.
pub fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
}

fn meaning(error: &ExchangeError) -> OldHears {
    match error {
        ExchangeError::Lost(_) => OldHears::Gone,
        ExchangeError::Late(_) => OldHears::Late,
        ExchangeError::Failed(_) => OldHears::Failed,
        ExchangeError::Handoff(_)
        | ExchangeError::Line(_)
        | ExchangeError::Endless
        | ExchangeError::Version { .. }
        | ExchangeError::OutOfTurn(_)
        | ExchangeError::Missing(_)
        | ExchangeError::Unwanted => OldHears::Nonsense,
    }
}

/// The last lines of what a process has written.
fn last_lines(output: &File) -> Vec<String> {
    let length = output.metadata().map_or(0, |metadata| metadata.len());
    let from = length.saturating_sub(LAST_BYTES);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or_default()];
    let bytes = match output.read_exact_at(&mut bytes, from) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(printable);
    let lines = lines.collect::<Vec<_>>();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}
