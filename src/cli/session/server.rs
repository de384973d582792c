//! `session server`: its options, and how it comes up.

use super::upgrade::successor;
use crate::cli::value::{Size, Time, TimeOrNever};
use crate::cli::{Common, Failure, background};
use crate::logging::{self, Destination};
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Connect, ParseError};
use crate::net::tls::ClientIdentity;
use crate::process::daemon::{StartResult, StatusPipe};
use crate::process::instance_name::InstanceName;
use crate::process::limits::raise_open_files;
use crate::process::pid_file::{PidFile, PidFileError};
use crate::process::run_dir::RunDir;
use crate::process::service;
use crate::reactor::Signals;
use crate::session::proxy::Proxy;
use crate::session::server::{self as session, Entrance, Equipment, LOCK_MODE, Locks, PID_FILE_MODE};
use crate::session::server::{ServerError, Settings};
use crate::session::sessions::Limits;
use crate::session::state::{Allowance, Policy};
use crate::session::telnet::Mode;
use crate::takeover::program;
use clap::{Args, ValueEnum};
use log::{info, warn};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// So many sessions that have all they may have fit into the memory of all at least.
const FULL_SESSIONS: usize = 4;

/// `session server DEST`
#[derive(Debug, Args)]
pub(super) struct Server {
    /// Where to listen; host and port default independently
    ///
    /// A host's name at every address that it has. An address that other machines can reach needs TLS or --insecure.
    #[arg(long, value_name = "HOST:PORT", default_value_t = Proxy::default())]
    pub(super) proxy: Proxy,
    /// How long a session is kept while no client is attached
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: TimeOrNever,
    /// The same once its destination has ended and nobody has come to hear of it
    #[arg(long, value_name = "TIME", default_value = "10m")]
    linger: Time,
    /// How much output is kept for a client that is away or slow; beyond, the destination waits
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    buffer: Size,
    /// How much output is kept after it has arrived, for a page that is loaded again
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    scrollback: Size,
    /// How many sessions there may be at a time
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: u32,
    /// What all sessions together may have in memory; beyond, each gets little and none is made
    /// [default: 512MiB, or four sessions with all they may have]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Whether telnet is spoken with destinations; auto: with those who begin with it
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    telnet: TelnetOption,
    /// For looking up, connecting to, and a TLS handshake with a destination together
    #[arg(long, value_name = "TIME", default_value = "10s")]
    connect_timeout: Time,
    /// How long a stop leaves clients and destinations to take what there is
    #[arg(long, value_name = "TIME", default_value = "30s")]
    stop_timeout: Time,
    /// Listen without TLS where other machines can reach it: secrets cross the network in the clear
    #[arg(long)]
    insecure: bool,
    /// The name of this instance [default: session-PORT]
    #[arg(long)]
    name: Option<InstanceName>,
    /// Go into the background; the command returns once clients can come
    #[arg(long)]
    pub(super) daemon: bool,
    /// Write our pid to this file, and hold its lock as long as we run
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Log to this file instead of standard error (foreground) or syslog (background); USR1 reopens it
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Where each session's connection goes
    #[arg(value_name = "DEST")]
    destination: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TelnetOption {
    Auto,
    On,
    Off,
}

/// What is found out before it goes into the background.
struct Plan {
    options: Server,
    destination: Arc<Connect>,
    inherited: Inherited,
    run_dir: RunDir,
    verbosity: i16,
}

impl Server {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        if common.take_over {
            return self.take_over(common, signals);
        }
        let destination = Arc::new(self.destination()?);
        for (option, time) in [("connect-timeout", self.connect_timeout), ("linger", self.linger)] {
            if time.duration().is_zero() {
                return Err(Failure::usage(format!("--{option} must be longer than nothing")));
            }
        }
        let listen = self.proxy.listen().map_err(|error| no_endpoint(&error))?;
        let inherited = Inherited::take([&listen].into_iter()).map_err(|error| Failure::failed(&error))?;
        let (daemon, run_dir, verbosity) = (self.daemon, common.run_dir()?, common.verbosity());
        let has_log = self.log_file.is_some();
        let plan = Plan { options: self, destination, inherited, run_dir, verbosity };
        if daemon && !has_log && !logging::has_syslog() {
            let _ =
                writeln!(io::stderr(), "socket-protector: no system log is there to log to; --log-file names a file");
        }
        let serve = |signals, starter| plan.serve(signals, starter);
        if daemon { background::leave(signals, serve) } else { background::stay(signals, serve) }
    }

    /// DEST, with its paths being ours.
    pub(super) fn destination(&self) -> Result<Connect, Failure> {
        destination(&self.destination)
    }

    /// Where to log.
    pub(super) fn log(&self) -> Destination {
        match (&self.log_file, self.daemon) {
            (Some(path), _) => Destination::File(path.clone()),
            (None, false) => Destination::Stderr,
            (None, true) => Destination::Syslog,
        }
    }

    pub(super) fn settings(&self, name: String, destination: Arc<Connect>) -> Settings {
        let allowance = Allowance {
            output: self.buffer.bytes().max(1),
            scrollback: self.scrollback.bytes(),
            ..Allowance::default()
        };
        let full = (allowance.output + allowance.scrollback + allowance.input).saturating_mul(FULL_SESSIONS);
        let limits = Limits::default();
        Settings {
            name,
            destination,
            connect_timeout: self.connect_timeout.duration(),
            policy: Policy { ttl: self.ttl.limit(), linger: self.linger.duration(), allowance, ..Policy::default() },
            limits: Limits {
                sessions: self.max_sessions as usize,
                memory: self.memory.map_or(limits.memory.max(full), Size::bytes),
                ..limits
            },
            telnet: match self.telnet {
                TelnetOption::Auto => Mode::Auto,
                TelnetOption::On => Mode::On,
                TelnetOption::Off => Mode::Off,
            },
            stop_timeout: self.stop_timeout.duration(),
        }
    }
}

impl Plan {
    fn serve(self, signals: Signals, starter: Option<StatusPipe>) -> Result<(), Failure> {
        let logging = logging::start(logging::level(self.verbosity), &self.options.log())
            .map_err(|error| Failure::failed(&error))?;
        raise_open_files().map_err(|error| Failure::of_io("cannot raise the limit of open files", &error))?;
        self.run_dir.prepare().map_err(|error| Failure::failed(&error).hint("--run-dir names another"))?;
        let pid_file = self.options.pid_file.as_deref().map(|path| PidFile::create(path, PID_FILE_MODE)).transpose();
        let pid_file = pid_file.map_err(|error| Failure::failed(&error))?;
        let listen = self.options.listen()?;
        let entrances =
            session::bind(&listen, self.inherited, self.options.insecure).map_err(|error| failed(&error))?;
        let name = self.options.name.clone().map_or_else(|| name_of(&entrances), Ok)?;
        let control = self.run_dir.socket_path(&name).map_err(|error| Failure::failed(&error).code(2))?;
        let instance =
            PidFile::create(&control.with_extension("lock"), LOCK_MODE).map_err(|error| taken(&name, &error))?;
        let locks = Locks { instance, pid_file };
        let identity = identity(&self.destination)?;
        let text = announcement(&entrances);
        for entrance in &entrances {
            info!("listening on {} ({listen}), for {}", entrance.bound.address, self.destination);
        }
        let settings = self.options.settings(name.to_string(), self.destination);
        let command = successor(self.options.daemon, program());
        let equipment = Equipment { signals, entrances, identity, control, locks, logging, command };
        let server = session::Server::new(settings, equipment).map_err(|error| failed(&error))?;
        match starter {
            Some(pipe) => pipe.tell(&StartResult { text, ..StartResult::default() }),
            None => drop(crate::cli::print::print(&text)?),
        }
        if let Err(error) = service::tell("READY=1") {
            warn!("cannot tell the outer manager: {error}");
        }
        server.run().map_err(|error| failed(&error))
    }
}

/// DEST, with its paths being ours.
fn destination(text: &str) -> Result<Connect, Failure> {
    let connect = text.parse::<Connect>().map_err(|error| no_endpoint(&error))?;
    let about_one = if connect.proxy.is_some() {
        Some("a session has many clients, so no header tells its destination of one: proxy=")
    } else if connect.idle_timeout.is_some() || connect.half_closed_timeout.is_some() {
        Some("a session is kept by --ttl and --linger: idleTimeout= and halfClosedTimeout=")
    } else {
        None
    };
    if let Some(text) = about_one {
        return Err(Failure::usage(format!("{text} cannot be given here")));
    }
    connect.with_paths_of(&here()?).map_err(|error| Failure::failed(&error).code(2))
}

/// Whom we believe at the destination, and who we are there, where TLS is spoken.
pub(super) fn identity(connect: &Connect) -> Result<Option<Arc<ClientIdentity>>, Failure> {
    let Some(tls) = &connect.tls else {
        return Ok(None);
    };
    let endpoint = connect.to_string();
    let identity = ClientIdentity::load(tls, &connect.place);
    let identity = identity.map_err(|source| failed(&ServerError::Tls { endpoint: endpoint.clone(), source }))?;
    identity.remarks().iter().for_each(|remark| warn!("{endpoint}: {remark}"));
    Ok(Some(Arc::new(identity)))
}

/// `session-` and the port, or the name of the socket's file.
fn name_of(entrances: &[Entrance]) -> Result<InstanceName, Failure> {
    let part = entrances.first().map_or_else(String::new, |entrance| entrance.bound.address.default_name());
    let name: String = format!("session-{part}").chars().take(64).collect();
    name.parse().map_err(|error| Failure::failed(&error).code(2))
}

/// What nobody can know without it.
fn announcement(entrances: &[Entrance]) -> String {
    let chosen = entrances.iter().filter(|entrance| entrance.chosen);
    chosen.map(|entrance| format!("listening on {}\n", entrance.bound.address)).collect()
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

pub(super) fn failed(error: &ServerError) -> Failure {
    let failure = Failure::failed(error);
    let failure = if error.is_wrong_use() { failure.code(2) } else { failure };
    failure.hint_if(error.hint())
}

pub(super) fn no_endpoint(error: &ParseError) -> Failure {
    let lines = error.pointed().lines().map(str::to_owned).collect();
    Failure::failed(error).code(2).lines(lines)
}

pub(super) fn here() -> Result<PathBuf, Failure> {
    std::path::absolute(Path::new(".")).map_err(|error| Failure::of_io("cannot find the working directory", &error))
}
