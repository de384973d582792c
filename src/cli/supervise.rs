//! The main job: its options, and how a supervisor comes up.

mod listeners;
mod status;

use super::value::{CountOrNever, DelayRange, DrainSignal, ProbePath, Time, TimeOrNever};
use super::{Common, Failure, background};
use crate::logging::{self, Destination};
use crate::net::adopt::Inherited;
use crate::net::endpoint::{NamedListen, ProxyVersion};
use crate::process::daemon::{StartResult, StatusPipe};
use crate::process::instance_name::InstanceName;
use crate::process::limits::raise_open_files;
use crate::process::pid_file::{PidFile, PidFileError};
use crate::process::run_dir::RunDir;
use crate::reactor::Signals;
use crate::supervise::probe::Question;
use crate::supervise::state::{Policy, Readiness};
use crate::supervise::{
    ChildLog, Driver, EINHORN, Ending, Equipment, NOTIFY, Pass, Settings, wants_socket, without_managers,
};
use clap::{Args, ValueEnum};
use log::info;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

pub(super) use status::{describe, row};

/// Scripts of any user read it.
const PID_FILE_MODE: u32 = 0o644;
/// The longest name that a child's own socket gets before a million generations have started.
const LONGEST_SOCKET: &str = "999999.sock";
/// Nobody reads it, and who cannot open it cannot lock it.
const LOCK_MODE: u32 = 0o600;

/// Options of the main job.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Stay in the foreground
    ///
    /// By default we go into the background, and the command returns once the first child is ready, with exit code 0,
    /// or else with the reason.
    #[arg(short, long)]
    foreground: bool,
    /// Write our pid to this file, and hold its lock as long as we run
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The name of this instance, for status, reload and stop [default: the first port, or file name of a unix socket]
    #[arg(long)]
    name: Option<InstanceName>,
    /// What a child gets: the listening sockets, each accepted connection, or their bytes
    ///
    /// relay: for programs that can only bind their own port. {port} or {socket} in an ARG, and $PORT, name an address
    /// of its own for each child, to which we relay; --ready auto means tcp then.
    #[arg(long, value_enum, default_value = "listener")]
    pass: PassOption,
    /// Tell the child the client's address by a header of the PROXY protocol (with --pass relay)
    #[arg(long, value_name = "VERSION", value_enum)]
    proxy_protocol: Option<ProxyOption>,
    /// Stop the old child before the new one starts; clients wait meanwhile
    #[arg(long)]
    stop_first: bool,
    /// When a child may serve: auto, channel, notify, fd (when it says so by that way), tcp, http:PATH (when it
    /// passes our probe), or alive:TIME
    ///
    /// auto: when it says so on its channel or by sd_notify(3); a child that says nothing, when it has lived for a
    /// second, unless an earlier child of this instance did speak. channel, notify: when it says so on its channel, by
    /// READY=1 of sd_notify(3). fd: a line, or READY=1, on the descriptor $NOTIFY_FD.
    /// tcp: when it accepts a connection to the first listener (TCP or unix). http:/healthz: when it answers a GET of
    /// that path with a status from 200 to 399, without TLS. Only what the new child itself does counts. alive:TIME:
    /// when it has lived for that long.
    #[arg(long, value_name = "HOW", default_value = "auto")]
    ready: ReadyOption,
    /// A child that is not ready by then has failed
    #[arg(long, value_name = "TIME", default_value = "60s")]
    ready_timeout: Time,
    /// How often a serving child must say WATCHDOG=1 by sd_notify(3); it is told in $WATCHDOG_USEC [default: off]
    #[arg(long, value_name = "TIME")]
    watchdog: Option<Time>,
    /// The signal that tells a child to drain, unless it uses its channel
    #[arg(long, value_name = "SIGNAL", default_value = "TERM")]
    drain_signal: DrainSignal,
    /// How long a drain may take; then TERM, and 10s later KILL, to the whole process group
    #[arg(long, value_name = "TIME", default_value = "never")]
    drain_timeout: TimeOrNever,
    /// How long drains may take when we stop ourselves
    #[arg(long, value_name = "TIME", default_value = "30s")]
    stop_timeout: Time,
    /// The delay before a crashed child is started again, doubled with each failure
    ///
    /// After a good run the first start follows at once.
    #[arg(long, value_name = "MIN..MAX", default_value = "100ms..30s")]
    respawn_delay: DelayRange,
    /// Give up, with exit code 1, when more starts in a row than this have failed
    #[arg(long, value_name = "N", default_value = "never")]
    max_respawns: CountOrNever,
    /// The most connections held for each listener while no child can take them; more wait in the backlog
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    hold_limit: u32,
    /// The most connections that the kernel keeps for a listener until they are accepted
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    backlog: u32,
    /// Log to this file instead of standard error (foreground) or syslog (background); USR1 reopens it
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Where a child's output goes: inherit, log, or a file [default: inherit in the foreground, else log]
    ///
    /// inherit: standard output is ours, standard error passes through us byte for byte. log: line by line into our
    /// log. A file is appended to by the child itself.
    #[arg(long, value_name = "inherit|log|FILE")]
    child_log: Option<ChildLogOption>,
    /// What children do when we are killed: drain, or keep running (which needs --child-log FILE)
    #[arg(long, value_enum, default_value = "drain")]
    orphans: Orphans,
    /// Where to listen
    #[arg(value_name = "LISTEN")]
    listen: Vec<NamedListen>,
    /// The command, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PassOption {
    Listener,
    Connections,
    Relay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProxyOption {
    V1,
    V2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Orphans {
    Drain,
    Keep,
}

/// When a child may serve, and what it is asked if that is to be found out by asking it.
#[derive(Clone, Debug)]
struct ReadyOption(Readiness, Option<Question>);

impl FromStr for ReadyOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(ReadyOption(Readiness::Auto, None)),
            None if text == "channel" => Ok(ReadyOption(Readiness::Channel, None)),
            None if text == "notify" => Ok(ReadyOption(Readiness::Notify, None)),
            None if text == "fd" => Ok(ReadyOption(Readiness::Descriptor, None)),
            None if text == "tcp" => Ok(ReadyOption(Readiness::Probe, Some(Question::Accept))),
            Some(("http", path)) => match path.parse::<ProbePath>() {
                Ok(path) => Ok(ReadyOption(Readiness::Probe, Some(Question::Get(path.into_string())))),
                Err(error) => Err(error.to_string()),
            },
            Some(("alive", time)) => match time.parse::<Time>() {
                Ok(time) => Ok(ReadyOption(Readiness::Alive(time.duration()), None)),
                Err(error) => Err(error.to_string()),
            },
            None | Some(_) => Err("expected auto, channel, notify, fd, tcp, http:PATH or alive:TIME".into()),
        }
    }
}

#[derive(Clone, Debug)]
struct ChildLogOption(ChildLog);

impl FromStr for ChildLogOption {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(ChildLogOption(match text {
            "inherit" => ChildLog::Inherit,
            "log" => ChildLog::Log,
            path => ChildLog::File(path.into()),
        }))
    }
}

/// Comes up, supervises, and ends.
pub(super) fn run(options: Options, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
    check(&options)?;
    let inherited = listeners::take(&options)?;
    let run_dir = common.run_dir()?;
    let name = options.name.clone().map_or_else(|| listeners::longest_instance_name(&options, &inherited), Ok)?;
    run_dir
        .socket_path(&name)
        .and_then(|_| run_dir.child_socket_path(&name, NOTIFY))
        .and_then(|_| run_dir.child_socket_path(&name, EINHORN))
        .and_then(|_| run_dir.child_socket_path(&name, LONGEST_SOCKET))
        .map_err(|error| Failure::failed(&error).code(2).hint("choose a shorter --run-dir or --name"))?;
    let verbosity = common.verbosity();
    let foreground = options.foreground;
    if !foreground && options.log_file.is_none() && !logging::has_syslog() {
        let _ = writeln!(io::stderr(), "socket-protector: no system log is there to log to; --log-file names a file");
    }
    let serve = |signals, starter| serve(options, inherited, &run_dir, verbosity, signals, starter);
    if foreground { background::stay(signals, serve) } else { background::leave(signals, serve) }
}

fn check(options: &Options) -> Result<(), Failure> {
    if options.listen.is_empty() {
        return Err(Failure::usage("no listener given"));
    }
    if options.command.first().is_none_or(|command| command.is_empty()) {
        let hint = "the command comes after '--', as in: socket-protector 4321 -- mydaemon";
        return Err(Failure::usage("no command given").hint(hint));
    }
    check_relay(options)?;
    let to_file = matches!(&options.child_log, Some(ChildLogOption(ChildLog::File(_))));
    if options.orphans == Orphans::Keep && !to_file {
        return Err(Failure::usage("--orphans keep needs --child-log FILE: a pipe to us would end with us"));
    }
    if let Readiness::Alive(time) = options.ready.0
        && time >= options.ready_timeout.duration()
    {
        return Err(Failure::usage("--ready alive:TIME must be shorter than --ready-timeout"));
    }
    Ok(())
}

fn check_relay(options: &Options) -> Result<(), Failure> {
    let relays = options.pass == PassOption::Relay;
    if options.proxy_protocol.is_some() && !relays {
        return Err(Failure::usage("--proxy-protocol needs --pass relay: otherwise no byte passes through us"));
    }
    if relays && let Err(error) = wants_socket(&options.command) {
        return Err(Failure::failed(&error).code(2));
    }
    Ok(())
}

fn serve(
    options: Options,
    inherited: Inherited,
    run_dir: &RunDir,
    verbosity: i16,
    signals: Signals,
    starter: Option<StatusPipe>,
) -> Result<(), Failure> {
    let destination = match (&options.log_file, options.foreground) {
        (Some(path), _) => Destination::File(path.clone()),
        (None, true) => Destination::Stderr,
        (None, false) => Destination::Syslog,
    };
    let logging = logging::start(logging::level(verbosity), &destination).map_err(|error| Failure::failed(&error))?;
    let open_files =
        raise_open_files().map_err(|error| Failure::of_io("cannot raise the limit of open files", &error))?;
    run_dir.prepare().map_err(|error| Failure::failed(&error).hint("--run-dir names another"))?;
    let _pid_file = options.pid_file.as_deref().map(|path| PidFile::create(path, PID_FILE_MODE)).transpose();
    let _pid_file = _pid_file.map_err(|error| Failure::failed(&error))?;
    let listeners = listeners::bind(&options, inherited)?;
    let name = options.name.clone().map_or_else(|| listeners::instance_name_of(&listeners), Ok)?;
    let control = run_dir.socket_path(&name).map_err(|error| Failure::failed(&error).code(2))?;
    let _instance =
        PidFile::create(&control.with_extension("lock"), LOCK_MODE).map_err(|error| taken(&name, &error))?;
    let text = listeners::announcement(&listeners);
    for (_, bound) in &listeners {
        info!("listening on {} ({})", bound.address, bound.endpoint);
    }
    let equipment = Equipment {
        signals,
        listeners,
        control,
        starter: starter.map(|pipe| (pipe, StartResult { code: 0, text, ..StartResult::default() })),
        logging,
    };
    let max_respawns = options.max_respawns;
    let settings = settings(options, name.to_string(), open_files);
    let driver = Driver::new(settings, equipment).map_err(|error| Failure::failed(&error))?;
    match driver.run().map_err(|error| Failure::failed(&error))? {
        Ending::Stopped => Ok(()),
        Ending::Killed => Err(Failure::told("stopped, but a child had to be killed")),
        Ending::NeverServed { reason, lines, code } => Err(Failure::told(reason).lines(lines).code(code)),
        Ending::GaveUp => {
            Err(Failure::told(format!("gave up: the child failed again and again (--max-respawns {max_respawns})")))
        }
    }
}

fn taken(name: &InstanceName, error: &PidFileError) -> Failure {
    match error {
        PidFileError::Held { pid, .. } => {
            let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            let message = format!("an instance named {name} is already running{who}");
            Failure::told(message).hint("--name gives this one another name")
        }
        _ => Failure::failed(error),
    }
}

fn settings(options: Options, name: String, open_files: (u64, u64)) -> Settings {
    let ready = match options.ready {
        // Most programs that bind a port of their own say nothing, and to us only that port matters.
        ReadyOption(Readiness::Auto, _) if options.pass == PassOption::Relay => {
            ReadyOption(Readiness::Probe, Some(Question::Accept))
        }
        ready => ready,
    };
    let default_log = if options.foreground { ChildLog::Inherit } else { ChildLog::Log };
    Settings {
        name,
        pass: match options.pass {
            PassOption::Listener => Pass::Listener,
            PassOption::Connections => Pass::Connections,
            PassOption::Relay => Pass::Relay,
        },
        proxy: options.proxy_protocol.map(|version| match version {
            ProxyOption::V1 => ProxyVersion::V1,
            ProxyOption::V2 => ProxyVersion::V2,
        }),
        policy: Policy {
            readiness: ready.0,
            ready_timeout: options.ready_timeout.duration(),
            guard: Duration::ZERO,
            stop_first: options.stop_first,
            drain_timeout: options.drain_timeout.limit(),
            stop_timeout: options.stop_timeout.duration(),
            respawn_delay: (options.respawn_delay.min(), options.respawn_delay.max()),
            watchdog: options.watchdog.map(Time::duration),
            max_respawns: options.max_respawns.limit(),
        },
        probe: ready.1,
        drain_signal: options.drain_signal.signal(),
        backlog: options.backlog,
        hold_limit: options.hold_limit as usize,
        child_log: options.child_log.map_or(default_log, |option| option.0),
        keep_orphans: options.orphans == Orphans::Keep,
        command: options.command,
        environment: without_managers(std::env::vars_os()),
        directory: logical_directory(),
        open_files,
    }
}

/// The working directory as the caller's shell names it, if that is where we are: a symbolic link in it that is moved
/// later, to a new release, is followed afresh at every start.
fn logical_directory() -> Option<PathBuf> {
    let here = std::fs::metadata(".").ok()?;
    let named = std::env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    let same = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino()))
    };
    named.filter(same).or_else(|| std::env::current_dir().ok())
}
