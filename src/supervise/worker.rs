//! One child process of a generation, and how it is started.

use super::address::AddressError;
use super::channel::Channel;
use super::conventions::Given;
use super::main_process::MainProcess;
use super::output::{Output, Sink};
use super::ready_line::ReadyLine;
use super::seldom::Seldom;
use super::settings::{ChildLog, Pass, Settings};
use super::state::{Number, Readiness};
use super::{Source, Stream};
use crate::logging::{LogError, open_append};
use crate::process::output::{Tail, pipe};
use crate::process::spawn::{Exit, Launch, Process, SpawnError, null_device, signal_group, signal_leader, spawn};
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
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
    /// An address of its own.
    #[error(transparent)]
    Address(#[from] AddressError),
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
    /// The process that it lives by, where that is another.
    pub main: Option<MainProcess>,
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
    /// Where it says that it is ready, with `--ready fd`, until it has.
    pub ready: Option<ReadyLine>,
    /// What it says of itself.
    pub status: Option<String>,
    /// What is told of it: that it lives by another process,
    pub main_told: Seldom,
    /// that it reloads,
    pub reloads_told: Seldom,
    /// and that it stops.
    pub stops_told: Seldom,
    /// How many connections it says that it has open.
    pub open: Option<u32>,
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

/// What a child is given besides what the settings say.
pub struct Gifts<'a> {
    /// The listeners with their names, in order.
    pub listeners: Vec<(&'a str, BorrowedFd<'a>)>,
    /// What Server::Starter would call the listeners, in the same order.
    pub keys: Vec<&'a str>,
    /// Stored descriptors with their names, in order.
    pub stored: Vec<(&'a str, BorrowedFd<'a>)>,
    /// The socket for sd_notify(3).
    pub notify: PathBuf,
    /// The socket for einhorn's ACK.
    pub einhorn: PathBuf,
    /// The port that it is to listen on, where it has one of its own.
    pub port: Option<u16>,
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
    gifts: &Gifts<'_>,
) -> Result<Started, StartError> {
    let listeners = gifts.listeners.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let stored = gifts.stored.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let given = Given {
        pass: settings.pass,
        listeners: &listeners,
        keys: &gifts.keys,
        stored: &stored,
        number,
        name: &settings.name,
        notify: &gifts.notify,
        einhorn: &gifts.einhorn,
        port: gifts.port,
        supervisor: std::process::id(),
        watchdog: settings.policy.watchdog,
        ready_descriptor: settings.policy.readiness == Readiness::Descriptor,
    };
    let channel = Channel::open(reactor, number)?;
    let null = null_device()?;
    let streams = Streams::open(&settings.child_log)?;
    let ready = given.ready_descriptor.then(pipe).transpose()?;

    let mut descriptors = vec![(null.as_fd(), 0)];
    descriptors.extend(streams.child_ends.iter().map(|(end, at)| (end.as_fd(), *at)));
    let inherited = gifts.listeners.iter().filter(|_| settings.pass == Pass::Listener).chain(&gifts.stored);
    descriptors.extend(inherited.zip(FIRST_LISTEN_FD..).map(|((_, descriptor), at)| (*descriptor, at)));
    descriptors.extend(channel.child_end().map(|end| (end, given.channel_descriptor())));
    descriptors.extend(ready.iter().map(|(_, end)| (end.as_fd(), given.ready_descriptor())));
    if settings.keep_orphans {
        descriptors.push((channel.our_end(), given.ready_descriptor() + 1));
    }
    let process = spawn(&Launch {
        command: &command,
        environment: &given.environment(&settings.environment),
        listen_pid: given.announces(),
        descriptors: &descriptors,
        directory: settings.directory.as_deref(),
        open_files: Some(settings.open_files),
        death_signal: (!settings.keep_orphans).then_some(settings.drain_signal),
        session: false,
    })?;
    watch(reactor, number, command, process, channel, streams, ready.map(|(ours, _)| ours))
}

fn watch(
    reactor: &mut Reactor<Source>,
    number: Number,
    command: Rc<[OsString]>,
    process: Process,
    channel: Channel,
    streams: Streams,
    ready: Option<OwnedFd>,
) -> Result<Started, StartError> {
    let pid = process.pid();
    let watched = || -> io::Result<_> {
        let ready = ready.map(|end| ReadyLine::watch(reactor, end, number)).transpose()?;
        let exit = reactor.register(Descriptor(process.exit_descriptor()?), Source::Exit(number), READABLE)?;
        let mut outputs = Vec::new();
        for (stream, end, sink) in streams.ours {
            outputs.push((stream, Output::watch(reactor, end, (number, pid), stream, sink)?));
        }
        Ok((exit, outputs, ready))
    };
    match watched() {
        Ok((exit, outputs, ready)) => Ok(Started {
            worker: Worker {
                process,
                main: None,
                channel,
                command,
                started: Instant::now(),
                exit: None,
                signalled: false,
                heirs_told: false,
                reclaim: false,
                passed: 0,
                status: None,
                main_told: Seldom::default(),
                reloads_told: Seldom::default(),
                stops_told: Seldom::default(),
                ready,
                open: None,
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
    /// The process that it lives by.
    pub fn main_pid(&self) -> Pid {
        self.main.as_ref().map_or(self.process.pid(), MainProcess::pid)
    }

    /// Sends a signal to the process that it lives by.
    pub fn signal_main(&self, signal: Signal) {
        match &self.main {
            Some(main) => main.signal(signal),
            None => signal_leader(&self.process, signal),
        }
    }

    /// Sends a signal to the whole process group, and to the process that it lives by if that has left the group.
    pub fn signal_all(&self, signal: Signal) {
        if let Some(main) = self.main.as_ref().filter(|main| !main.is_in_group(self.process.pid())) {
            if signal == Signal::SIGKILL { main.kill() } else { main.signal(signal) }
        }
        signal_group(&self.process, signal);
    }

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
