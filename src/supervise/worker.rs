//! One child process of a generation, and how it is started.

use super::channel::Channel;
use super::conventions::{channel_descriptor, environment};
use super::output::{Output, Sink};
use super::settings::{ChildLog, Pass, Settings};
use super::state::Number;
use super::{Source, Stream};
use crate::logging::{LogError, open_append};
use crate::process::output::{Tail, pipe};
use crate::process::spawn::{Exit, Launch, Process, SpawnError, null_device, signal_group, spawn};
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use socket_protector_client::environment::FIRST_LISTEN_FD;
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// How much of a child's log file is looked at for its last lines.
const TAIL_BYTES: u64 = 4096;

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its log file.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A descriptor that it, or we, need for it.
    #[error("cannot make what a child needs")]
    Descriptor(#[from] io::Error),
}

/// One child process.
#[derive(Debug)]
pub struct Worker {
    /// The process, until it is reaped.
    pub process: Process,
    /// Our end of its channel.
    pub channel: Channel,
    /// What it was started as.
    pub command: Rc<[OsString]>,
    /// When it was started.
    pub started: Instant,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// The drain signal was sent to it.
    pub signalled: bool,
    /// And to the rest of its group after it.
    pub heirs_told: bool,
    /// What it has not read is to be taken back.
    pub reclaim: bool,
    /// How many connections were passed to it.
    pub passed: u64,
    /// The last lines of its standard error, where it passes through us.
    pub tail: Tail,
    /// The log file it writes to itself, and where in it its own lines begin.
    file: Option<(PathBuf, u64)>,
    _exit: Registered<Descriptor<OwnedFd>>,
}

/// A child that has just been started, with what it writes.
pub struct Started {
    /// The child.
    pub worker: Worker,
    /// Its streams that lead to us.
    pub outputs: Vec<(Stream, Output)>,
}

/// Where the two output streams of a child lead: its ends and ours.
struct Streams {
    child_ends: Vec<(OwnedFd, RawFd)>,
    ours: Vec<(Stream, OwnedFd, Sink)>,
    file: Option<(PathBuf, u64)>,
}

/// Starts the child of a generation.
///
/// # Errors
/// What could not be made or started; nothing is left behind.
pub fn start(
    reactor: &mut Reactor<Source>,
    settings: &Settings,
    number: Number,
    command: Rc<[OsString]>,
    listeners: &[(&str, BorrowedFd<'_>)],
) -> Result<Started, StartError> {
    let channel = Channel::open(reactor, number)?;
    let null = null_device()?;
    let streams = Streams::open(&settings.child_log)?;
    let names = listeners.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let channel_at = channel_descriptor(settings.pass, listeners.len());

    let mut descriptors = vec![(null.as_fd(), 0)];
    descriptors.extend(streams.child_ends.iter().map(|(end, at)| (end.as_fd(), *at)));
    if settings.pass == Pass::Listener {
        descriptors.extend(listeners.iter().zip(FIRST_LISTEN_FD..).map(|((_, socket), at)| (*socket, at)));
    }
    descriptors.extend(channel.child_end().map(|end| (end, channel_at)));
    if settings.keep_orphans {
        descriptors.push((channel.our_end(), channel_at + 1));
    }
    let process = spawn(&Launch {
        command: &command,
        environment: &environment(&settings.environment, settings.pass, &names, number, &settings.name),
        listen_pid: settings.pass == Pass::Listener,
        descriptors: &descriptors,
        directory: settings.directory.as_deref(),
        open_files: Some(settings.open_files),
        death_signal: (!settings.keep_orphans).then_some(settings.drain_signal),
    })?;
    watch(reactor, number, command, process, channel, streams)
}

fn watch(
    reactor: &mut Reactor<Source>,
    number: Number,
    command: Rc<[OsString]>,
    process: Process,
    channel: Channel,
    streams: Streams,
) -> Result<Started, StartError> {
    let pid = process.pid();
    let watched = || -> io::Result<_> {
        let exit = reactor.register(Descriptor(process.exit_descriptor()?), Source::Exit(number), READABLE)?;
        let mut outputs = Vec::new();
        for (stream, end, sink) in streams.ours {
            outputs.push((stream, Output::watch(reactor, end, (number, pid), stream, sink)?));
        }
        Ok((exit, outputs))
    };
    match watched() {
        Ok((exit, outputs)) => Ok(Started {
            worker: Worker {
                process,
                channel,
                command,
                started: Instant::now(),
                exit: None,
                signalled: false,
                heirs_told: false,
                reclaim: false,
                passed: 0,
                tail: Tail::default(),
                file: streams.file,
                _exit: exit,
            },
            outputs,
        }),
        Err(error) => {
            // A child whose end we could not learn of must not run.
            signal_group(&process, Signal::SIGKILL);
            process.reap();
            Err(error.into())
        }
    }
}

impl Worker {
    /// The last lines of its standard error.
    pub fn last_lines(&self) -> Vec<String> {
        match &self.file {
            None => self.tail.lines().map(str::to_string).collect(),
            Some((path, from)) => last_lines_of_file(path, *from).unwrap_or_default(),
        }
    }
}

fn last_lines_of_file(path: &PathBuf, from: u64) -> io::Result<Vec<String>> {
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // A fifo or a terminal has no last lines that we could read, and reading would take what is another's.
        return Ok(Vec::new());
    }
    let end = metadata.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let mut tail = Tail::default();
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| tail.push(line));
    Ok(tail.lines().map(str::to_string).collect())
}

impl Streams {
    fn open(child_log: &ChildLog) -> Result<Streams, StartError> {
        match child_log {
            ChildLog::Inherit => Streams::through_us(&[(Stream::Stderr, 2, Sink::StandardError)]),
            ChildLog::Log => Streams::through_us(&[(Stream::Stdout, 1, Sink::Log), (Stream::Stderr, 2, Sink::Log)]),
            ChildLog::File(path) => {
                let stdout = open_append(path)?;
                // Opening must not wait; the child's writing may.
                fcntl(&stdout, FcntlArg::F_SETFL(OFlag::O_APPEND)).map_err(io::Error::from)?;
                let from = stdout.metadata()?.len();
                let stderr = stdout.try_clone()?;
                Ok(Streams {
                    child_ends: vec![(stdout.into(), 1), (stderr.into(), 2)],
                    ours: Vec::new(),
                    file: Some((path.clone(), from)),
                })
            }
        }
    }

    fn through_us(wanted: &[(Stream, RawFd, Sink)]) -> Result<Streams, StartError> {
        let mut streams = Streams { child_ends: Vec::new(), ours: Vec::new(), file: None };
        for &(stream, at, sink) in wanted {
            let (ours, child_end) = pipe()?;
            streams.child_ends.push((child_end, at));
            streams.ours.push((stream, ours, sink));
        }
        Ok(streams)
    }
}
