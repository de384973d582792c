//! `dev`: its options, and how a proxy for development comes up and ends.

use super::value::{ProbePath, StopSignal, Time};
use super::{Common, Failure};
use crate::dev::address::{Backend, Bind};
use crate::dev::certificate::Identity;
use crate::dev::gate::Policy;
use crate::dev::settings::{Files, ReadyFrom, Settings};
use crate::dev::{DevError, keeper, run};
use crate::logging::{self, Destination};
use crate::net::listener::hint;
use crate::process::instance_name::InstanceName;
use crate::process::run_dir::{RunDir, RunDirError};
use crate::process::spawn::SpawnError;
use crate::reactor::Signals;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

mod status;

pub(super) use status::{describe, row};

/// Added to the number of the signal that ends a command, as shells do.
const SIGNALLED: u8 = 128;

/// `dev BIND BACKEND [OPTIONS] --exec COMMAND...`
#[derive(Debug, Args)]
#[command(after_long_help = DETAILS, override_usage = "socket-protector dev [OPTIONS] BIND BACKEND --exec COMMAND [ARG]...")]
pub(super) struct Dev {
    /// Where browsers come: PORT, HOST:PORT or [ADDRESS]:PORT; a port alone is that of localhost
    #[arg(value_name = "BIND")]
    bind: Bind,
    /// Where the server listens; port 0 or {port} is a fresh one for each start, which the command finds in $PORT
    #[arg(value_name = "BACKEND")]
    backend: Backend,
    /// Only files that match one of these matter [default: all]
    ///
    /// Relative to the working directory. `*` and `?` stop at a slash, `**` does not; {a,b} and [a-z] are known. A
    /// pattern without a slash is about a name in any directory, one that names a directory about all below it.
    #[arg(short, long, value_name = "GLOB", num_args = 1..)]
    pattern: Vec<String>,
    /// Files that match one of these do not
    #[arg(short = 'x', long, value_name = "GLOB", num_args = 1..)]
    exclude: Vec<String>,
    /// Files that .gitignore and .ignore name matter too
    #[arg(long)]
    no_ignore: bool,
    /// A line for the shell that runs before each start; if it fails, the last server answers on
    #[arg(long, value_name = "LINE")]
    build: Option<OsString>,
    /// The old server answers until the new one can; needs a BACKEND with a fresh port
    #[arg(long)]
    overlap: bool,
    /// What is asked of a new server until it answers with a status from 200 to 399 [default: HEAD of /, and any answer]
    #[arg(long, value_name = "PATH")]
    ready_path: Option<ProbePath>,
    /// Whose answers count: those of the server's own processes, or of anyone who listens at its port
    ///
    /// `anyone` is for a container whose published port another process listens at.
    #[arg(long, value_name = "WHO", default_value = "server", value_enum)]
    ready_from: ReadyFromOption,
    /// A server that has not answered by then has failed
    #[arg(long, value_name = "TIME", default_value = "60s")]
    ready_timeout: Time,
    /// The signal that asks a server to end
    #[arg(long, value_name = "SIGNAL", default_value = "TERM")]
    stop_signal: StopSignal,
    /// How long it may take to end; then KILL, to all its processes
    #[arg(long, value_name = "TIME", default_value = "2s")]
    stop_timeout: Time,
    /// How many requests wait at a time for a server that starts; the others are answered with status 503
    #[arg(long, value_name = "N", default_value_t = 256)]
    hold_limit: usize,
    /// How long a request waits; then it is answered with status 504
    #[arg(long, value_name = "TIME", default_value = "30s")]
    hold_timeout: Time,
    /// A name by which browsers may ask for us, besides localhost and addresses; with a dot in front all that end so
    #[arg(long, value_name = "NAME", num_args = 1..)]
    allow_host: Vec<String>,
    /// Put a script into pages that loads them again when there is something new; other pages can have it by
    /// <script src="/__socket_protector/reload.js"></script>
    #[arg(long)]
    inject: bool,
    /// Do not tell browser extensions of changes (LiveReload's protocol 7, on port 35729 of BIND's host)
    #[arg(long)]
    no_livereload: bool,
    /// Browsers come by https; a certificate for this machine is made at the first time, unless --cert names another
    #[arg(long)]
    tls: bool,
    /// The certificate, and those that lead to its root (PEM)
    #[arg(long, value_name = "FILE", requires = "tls")]
    cert: Option<PathBuf>,
    /// Its key (PEM), if it is in a file of its own
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The name of this instance [default: dev-PORT]
    #[arg(long)]
    name: Option<InstanceName>,
    /// The command of the server, and its arguments: all that follows; {port} in them is the server's port
    #[arg(long, value_name = "COMMAND", num_args = 1.., required = true, allow_hyphen_values = true)]
    exec: Vec<OsString>,
}

/// Whose answers say that a server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReadyFromOption {
    /// Those of its own processes
    Server,
    /// Those of whoever listens at its port
    Anyone,
}

const DETAILS: &str = "\
The command gets the port in $PORT, /dev/null as its standard input, and a process group of its own. While it starts,
requests wait. It is started anew when a file changes, and not before if it ends by itself.

Example:
  socket-protector dev localhost:8000 8001 --pattern 'src/**/*' --exclude 'src/**/test_*' \\
      --exec python ./manage.py runserver --noreload 8001

Signals:
  INT, TERM, HUP, QUIT          end the server and then us; a second one kills it

'socket-protector status NAME', 'reload NAME' and 'stop NAME' show it, start the server anew, and end it.

Exit codes:
  1 failed, 2 wrong use, 126 the command cannot be executed, 127 it is not found, 129, 130, 131, 143 ended by a signal";

impl Dev {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        let settings = self.settings(common.run_dir()?)?;
        logging::start(logging::level(common.verbosity()), &Destination::Stderr)
            .map_err(|error| Failure::failed(&error))?;
        let root =
            std::env::current_dir().map_err(|error| Failure::of_io("cannot find the working directory", &error))?;
        match run(settings, &root, signals) {
            Ok(Some(signal)) => Ok(ExitCode::from(SIGNALLED + u8::try_from(signal as i32).unwrap_or(0))),
            Ok(None) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(failure(&error)),
        }
    }

    fn settings(self, run_dir: RunDir) -> Result<Settings, Failure> {
        if self.overlap && self.backend.port.is_some() {
            let failure = Failure::usage("--overlap needs a port for each server");
            return Err(failure.hint("use {port} as BACKEND, and {port} or $PORT in the command"));
        }
        let policy = Policy {
            build: self.build.is_some(),
            overlap: self.overlap,
            ready_timeout: self.ready_timeout.duration(),
            stop_timeout: self.stop_timeout.duration(),
            hold_limit: self.hold_limit,
            hold_timeout: self.hold_timeout.duration(),
        };
        Ok(Settings {
            name: self.name,
            run_dir,
            bind: self.bind,
            backend: self.backend,
            command: self.exec,
            build: self.build,
            policy,
            stop_signal: self.stop_signal.signal(),
            ready_path: self.ready_path.map(ProbePath::into_string),
            ready_from: match self.ready_from {
                ReadyFromOption::Server => ReadyFrom::Server,
                ReadyFromOption::Anyone => ReadyFrom::Anyone,
            },
            files: Files { patterns: self.pattern, excludes: self.exclude, ignore_files: !self.no_ignore },
            allowed_hosts: self.allow_host,
            inject: self.inject,
            livereload: !self.no_livereload,
            tls: match self.cert {
                Some(certificate) => Some(Identity::Files { certificate, key: self.key }),
                None => self.tls.then_some(Identity::Local),
            },
        })
    }
}

fn failure(error: &DevError) -> Failure {
    match error {
        DevError::Spawn(SpawnError::NotFound { .. }) => Failure::failed(error).code(127),
        DevError::Spawn(SpawnError::NotExecutable { .. }) => Failure::failed(error).code(126),
        DevError::Pattern { .. } | DevError::RunDir(RunDirError::TooLong { .. }) => Failure::failed(error).code(2),
        DevError::Name { .. } => Failure::failed(error).hint("--name gives this one another name"),
        DevError::RunDir(_) => Failure::failed(error).hint("--run-dir names another"),
        DevError::PortTaken { .. } => {
            Failure::failed(error).hint("end that process, or use {port} as BACKEND for a port that is free")
        }
        DevError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Failure::failed(error).hint(hint::TAKEN)
        }
        DevError::Spawn(_)
        | DevError::Begin { .. }
        | DevError::Lock(_)
        | DevError::Control(_)
        | DevError::Resolve { .. }
        | DevError::Listen { .. }
        | DevError::NoPort { .. }
        | DevError::Identity(_)
        | DevError::Certificate { .. }
        | DevError::NoHome
        | DevError::Watch { .. } => Failure::failed(error),
    }
}

/// Is the process that keeps what a proxy starts, if these are its words; it is no command for anybody else.
pub(super) fn keep(arguments: &[OsString]) -> bool {
    match arguments {
        [_, command, kind] if command == keeper::COMMAND => {
            keeper::run(kind);
            true
        }
        _ => false,
    }
}
