//! `start`: how a forwarder comes up, or a running one gets a further rule.

use super::{Asked, PATIENCE_TO_LISTEN, destination, settled, source, warn as warn_of};
use crate::cli::asked::result;
use crate::cli::value::{Time, TimeOrNever};
use crate::cli::{Common, Failure, background};
use crate::control::client::ask;
use crate::forward::request::{Done, Request};
use crate::forward::store::{SCHEMA, Saved, SavedOptions, SavedRule, Store};
use crate::forward::{Driver, DriverError, Equipment, PID_FILE, PID_FILE_MODE, Settings, Successor, take_over};
use crate::logging::{self, Destination};
use crate::net::adopt::Inherited;
use crate::net::endpoint::Listen;
use crate::process::daemon::{StartResult, StatusPipe};
use crate::process::limits::raise_open_files;
use crate::process::pid_file::{PidFile, PidFileError};
use crate::process::service;
use crate::reactor::Signals;
use crate::takeover::program;
use clap::Args;
use log::warn;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is printed when everything works.
const STARTED: &str = "Started\n";
/// Between two attempts to ask one that is coming up.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What follows what is said at the start alone.
const ALREADY: &str = "is for the forwarder's start, and it is running already";
/// What follows damage.
const INSTEAD: &str = "; serving the rules that were saved before those";

/// `start [SRC DST]`
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Stay in the foreground, and log to standard error
    #[arg(short, long)]
    foreground: bool,
    /// For looking up, connecting, and a TLS handshake together [default: 30s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<Time>,
    /// End connections on which nothing moves for so long [default: never]
    #[arg(long, value_name = "TIME")]
    idle_timeout: Option<TimeOrNever>,
    /// The same for connections of which one direction has ended [default: 1h]
    #[arg(long, value_name = "TIME")]
    half_closed_timeout: Option<TimeOrNever>,
    /// How long a client may take for its PROXY header [default: 5s]
    #[arg(long, value_name = "TIME")]
    proxy_header_timeout: Option<Time>,
    /// From whom a PROXY header is taken, as 10.0.0.0/8; repeatable [default: everybody]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    trust: Vec<String>,
    /// How many loops relay [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How many connections there may be; further clients wait [default: as many as there are descriptors for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// How long TERM leaves connections to finish [default: 30s]
    #[arg(long, value_name = "TIME")]
    stop_timeout: Option<Time>,
    /// Log to this file [default: forward.log in the directory; standard error in the foreground]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Where to listen
    #[arg(value_name = "SRC", requires = "destination")]
    source: Option<String>,
    /// Where connections go
    #[arg(value_name = "DST")]
    destination: Option<String>,
}

/// What a forwarder needs to come up, found out before it goes into the background.
struct Plan {
    rule: Option<SavedRule>,
    options: SavedOptions,
    inherited: Inherited,
    log: Destination,
    verbosity: i16,
    successor: Option<Vec<OsString>>,
    foreground: bool,
    /// Nothing is given that another forwarder, which was faster, would have to be started with.
    may_be_added: bool,
}

impl Start {
    pub(super) fn run(self, asked: &Asked, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        if common.take_over {
            return self.take_over(asked, common, signals);
        }
        let (rule, options) = (self.rule()?, self.options());
        Settings::of(&options).map_err(|error| Failure::failed(&error).code(2))?;
        if let Some(rule) = &rule
            && !self.foreground
            && let Some(code) = self.add(asked, rule, common)?
        {
            signals.release();
            return Ok(code);
        }
        let sources = match &rule {
            Some(rule) => vec![rule.source.clone()],
            None => saved(asked)?.rules.into_iter().map(|rule| rule.source).collect(),
        };
        let wanted = sources.iter().filter_map(|source| source.parse::<Listen>().ok()).collect::<Vec<_>>();
        let inherited = Inherited::take(wanted.iter()).map_err(|error| Failure::failed(&error))?;
        let log = self.log(asked);
        let successor = self.successor(asked, &log, common, program());
        let plan = Plan {
            rule,
            options,
            inherited,
            log,
            verbosity: common.verbosity(),
            successor,
            foreground: self.foreground,
            may_be_added: self.for_the_forwarder().is_empty(),
        };
        let serve = |signals, starter| plan.serve(asked, signals, starter);
        if self.foreground {
            return background::stay(signals, serve);
        }
        // Where the log is to be.
        asked.dir.prepare().map_err(|error| Failure::failed(&error).hint("-d names another directory"))?;
        background::leave(signals, serve)
    }

    /// Where to log.
    fn log(&self, asked: &Asked) -> Destination {
        match (&self.log_file, self.foreground) {
            (Some(path), _) => Destination::File(path.clone()),
            (None, true) => Destination::Stderr,
            (None, false) => Destination::File(asked.dir.path().join("forward.log")),
        }
    }

    /// Goes on for a process that hands everything over.
    fn take_over(&self, asked: &Asked, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        let stream = io::stdin().as_fd().try_clone_to_owned();
        let stream = UnixStream::from(stream.map_err(|error| Failure::of_io("cannot use standard input", &error))?);
        let log = self.log(asked);
        let logging = logging::start(logging::level(common.verbosity()), &log);
        let logging = logging.map_err(|error| Failure::failed(&error))?;
        raise_open_files().map_err(|error| Failure::of_io("cannot raise the limit of open files", &error))?;
        // The path as the process before us had it, whatever leads there now.
        let program = std::env::args_os().next().map_or_else(program, PathBuf::from);
        let equipment = Successor {
            signals,
            logging,
            directory: asked.dir.path().to_owned(),
            successor: self.successor(asked, &log, common, program),
        };
        take_over(stream, equipment).map_err(|error| failure(&error)).map(|()| ExitCode::SUCCESS)
    }

    /// The command of a process that takes over; none where our end would be taken for that of the forwarder.
    fn successor(&self, asked: &Asked, log: &Destination, common: &Common, program: PathBuf) -> Option<Vec<OsString>> {
        if self.foreground && !service::is_watched() {
            return None;
        }
        let mut command = vec![program.into_os_string()];
        command.extend(["forward", "-d"].map(OsString::from));
        command.push(asked.dir.path().as_os_str().to_owned());
        command.extend(["start", "--take-over"].map(OsString::from));
        if self.foreground {
            command.push("--foreground".into());
        }
        if let Destination::File(path) = log {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            command.extend(["--log-file".into(), path.into_os_string()]);
        }
        command.extend((0..common.verbose).map(|_| OsString::from("-v")));
        command.extend((0..common.quiet).map(|_| OsString::from("-q")));
        Some(command)
    }

    /// Adds the rule to the forwarder that runs; `None`: none does.
    fn add(&self, asked: &Asked, rule: &SavedRule, common: &Common) -> Result<Option<ExitCode>, Failure> {
        let request = Request::Start { source: rule.source.clone(), destination: rule.destination.clone() };
        let refused = self.for_the_forwarder();
        if !refused.is_empty() && ask(&asked.socket, &Request::Status, Some(super::PATIENCE)).is_ok() {
            return Err(Failure::usage(format!("{} {ALREADY}", refused.join(", "))));
        }
        match ask(&asked.socket, &request, Some(PATIENCE_TO_LISTEN)) {
            Err(error) if error.is_nobody() => Ok(None),
            Err(error) => Err(Failure::failed(&error)),
            Ok(reply) => {
                let done = result::<Done>(reply)?;
                settled(&done);
                if common.verbosity() != 0 {
                    warn_of(&format!("-v and -q change nothing: how much is logged {ALREADY}"));
                }
                super::print(&started(done.listening.as_deref())).map(Some)
            }
        }
    }

    /// Those options that are given which hold for the forwarder and not for a rule.
    fn for_the_forwarder(&self) -> Vec<&'static str> {
        let given = [
            ("--connect-timeout", self.connect_timeout.is_some()),
            ("--idle-timeout", self.idle_timeout.is_some()),
            ("--half-closed-timeout", self.half_closed_timeout.is_some()),
            ("--proxy-header-timeout", self.proxy_header_timeout.is_some()),
            ("--trust", !self.trust.is_empty()),
            ("--threads", self.threads.is_some()),
            ("--max-connections", self.max_connections.is_some()),
            ("--stop-timeout", self.stop_timeout.is_some()),
            ("--log-file", self.log_file.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    fn rule(&self) -> Result<Option<SavedRule>, Failure> {
        match (&self.source, &self.destination) {
            (Some(from), Some(to)) => {
                let (source, destination) = (source(from)?, destination(to)?);
                Ok(Some(SavedRule { source, destination, share: None, paused: false }))
            }
            _ => Ok(None),
        }
    }

    fn options(&self) -> SavedOptions {
        SavedOptions {
            connect_timeout: self.connect_timeout,
            idle_timeout: self.idle_timeout,
            half_closed_timeout: self.half_closed_timeout,
            proxy_header_timeout: self.proxy_header_timeout,
            stop_timeout: self.stop_timeout,
            threads: self.threads,
            max_connections: self.max_connections,
            trust: self.trust.clone(),
        }
    }
}

/// Another start was faster: it gets our rule, as soon as it can be asked.
fn add_to_faster(asked: &Asked, rule: &SavedRule, pipe: &StatusPipe) -> Result<(), Failure> {
    let request = Request::Start { source: rule.source.clone(), destination: rule.destination.clone() };
    let until = Instant::now() + super::PATIENCE;
    loop {
        match ask(&asked.socket, &request, Some(PATIENCE_TO_LISTEN)) {
            Err(error) if error.is_nobody() && Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(error) => return Err(asked.no_answer(&error)),
            Ok(reply) => {
                let done = result::<Done>(reply)?;
                let text = started(done.listening.as_deref());
                pipe.tell(&StartResult { code: 0, text, warning: done.warning.unwrap_or_default() });
                return Ok(());
            }
        }
    }
}

/// What nobody can know without it comes first.
fn started(listening: Option<&str>) -> String {
    listening.map_or_else(|| STARTED.into(), |address| format!("listening on {address}\n{STARTED}"))
}

impl Plan {
    fn serve(self, asked: &Asked, signals: Signals, starter: Option<StatusPipe>) -> Result<(), Failure> {
        let directory = asked.dir.path();
        asked.dir.prepare().map_err(|error| Failure::failed(&error).hint("-d names another directory"))?;
        let pid_file = PidFile::create(&directory.join(PID_FILE), PID_FILE_MODE);
        let pid_file = match (pid_file, starter.as_ref(), self.rule.as_ref()) {
            (Err(PidFileError::Held { .. }), Some(pipe), Some(rule)) if self.may_be_added => {
                return add_to_faster(asked, rule, pipe);
            }
            (pid_file, ..) => pid_file.map_err(|error| taken(asked, &error))?,
        };
        let logging = logging::start(logging::level(self.verbosity), &self.log);
        let logging = logging.map_err(|error| Failure::failed(&error))?;
        raise_open_files().map_err(|error| Failure::of_io("cannot raise the limit of open files", &error))?;
        let mut store = Store::new(directory);
        let saved = what_to_serve(&mut store, self.rule, self.options)?;
        let settings = Settings::of(&saved.options).map_err(|error| Failure::failed(&error))?;
        let equipment = Equipment {
            signals,
            inherited: self.inherited,
            control: asked.socket.clone(),
            store,
            saved,
            logging,
            pid_file,
            successor: self.successor,
        };
        let driver = Driver::new(settings, equipment).map_err(|error| failure(&error))?;
        let text = started(driver.chosen().as_deref());
        match starter {
            Some(pipe) => pipe.tell(&StartResult { code: 0, text, ..StartResult::default() }),
            None => drop(super::print(&text)?),
        }
        // A service of Type=notify is one that stays in the foreground.
        if self.foreground
            && let Err(error) = service::tell("READY=1")
        {
            warn!("cannot tell the outer manager: {error}");
        }
        driver.run().map_err(|error| failure(&error))
    }
}

/// What is saved, told of while the caller can be told.
fn saved(asked: &Asked) -> Result<Saved, Failure> {
    let loaded = Store::new(asked.dir.path()).load().map_err(|error| Failure::failed(&error))?;
    let Some(loaded) = loaded.filter(|loaded| !loaded.saved.rules.is_empty()) else {
        let text = format!("no rules are saved in {}", asked.dir.path().display());
        return Err(Failure::told(text).hint("give SRC and DST: socket-protector forward start SRC DST"));
    };
    if let Some(why) = loaded.instead_of {
        warn_of(&format!("{}{INSTEAD}", crate::chain(&why)));
    }
    Ok(loaded.saved)
}

/// The rule that was given, and nothing of what was saved; or all that was saved.
fn what_to_serve(store: &mut Store, rule: Option<SavedRule>, options: SavedOptions) -> Result<Saved, Failure> {
    let loaded = store.load();
    if let Some(rule) = rule {
        return Ok(Saved { schema: SCHEMA, options, rules: vec![rule] });
    }
    let loaded = loaded.map_err(|error| Failure::failed(&error))?;
    let loaded = loaded.ok_or_else(|| Failure::told("the saved rules are gone"))?;
    if let Some(why) = loaded.instead_of {
        warn!("{}{INSTEAD}", crate::chain(&why));
    }
    Ok(Saved { options: options.or(loaded.saved.options), ..loaded.saved })
}

fn taken(asked: &Asked, error: &PidFileError) -> Failure {
    match error {
        PidFileError::Held { pid, .. } => {
            let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            Failure::told(format!("a forwarder is already running in {}{who}", asked.dir.path().display()))
        }
        _ => Failure::failed(error),
    }
}

fn failure(error: &DriverError) -> Failure {
    let failure = Failure::failed(error);
    failure.hint_if(error.hint())
}
