//! The command line: what its words mean, and a file for each role's own.

mod asked;
mod background;
mod control;
#[cfg(feature = "http")]
mod dev;
mod failure;
mod forward;
mod generate;
mod print;
mod session;
mod status;
mod supervise;
mod table;
mod upgrade;
pub mod value;

use crate::process::run_dir::RunDir;
use crate::reactor::Signals;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::Failure;
use nix::unistd::Uid;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "socket-protector",
    version,
    about = "Keeps every connection while the program behind them is replaced",
    long_about = "Binds the listeners, launches COMMAND behind them, and keeps them open while COMMAND is replaced:\n\
                  on SIGHUP or `socket-protector reload NAME` a new child starts, and once it is ready the old one\n\
                  gets no new connection, finishes those that it has, and exits. If the new child fails, the old one\n\
                  serves on.",
    after_long_help = AFTER_HELP,
    override_usage = "socket-protector [OPTIONS] [NAME=]LISTEN... -- COMMAND [ARG]...\n       socket-protector \
                      <forward|session|dev|status|reload|upgrade|stop|completions|man> ...",
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    supervise: supervise::Options,
}

const AFTER_HELP: &str = "\
LISTEN:
  4321                          all addresses, IPv6 and IPv4
  HOST:PORT, [::1]:PORT         one address
  tcp:4321[:interface=ADDRESS][:backlog=N], tcp6:4321[:...]
  unix:PATH[:mode=660][:backlog=N], @NAME
                                a unix socket; @NAME is an abstract one, which is no file
  udp:4321[:interface=ADDRESS]  datagrams, with --pass listener
  systemd:domain=INET:index=0, systemd:domain=INET6:name=web, systemd:domain=UNIX:...
                                a socket that the manager above us passed by LISTEN_FDS
  fd:N                          a socket that we were started with, by its number
  Port 0 takes a free port. A name for a child to know a listener by goes before it: web=4321.
  Inside a value a colon is written \\: and an equal sign \\=, as in tcp6:4321:interface=\\:\\:1.

Signals:
  HUP                           reload
  TERM, INT, QUIT               stop and drain; a second one sends TERM, a third KILL
  USR1                          reopen the log file

Exit codes:
  0 done, 1 failed, 2 wrong use, 3 not reached in time, 126 the command cannot be executed, 127 it is not found";

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// Where control sockets are
    ///
    /// By default $SOCKET_PROTECTOR_RUN_DIR, else /run/socket-protector for root, else
    /// $XDG_RUNTIME_DIR/socket-protector, else ~/.socket-protector.
    #[arg(long, value_name = "DIR", global = true)]
    run_dir: Option<PathBuf>,
    /// Say more; twice: even more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Say less; twice: only errors
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    quiet: u8,
    /// Take over from the process at the other end of standard input
    #[arg(long, global = true, hide = true)]
    take_over: bool,
}

impl Common {
    fn run_dir(&self) -> Result<RunDir, Failure> {
        let chosen = RunDir::choose(self.run_dir.as_deref(), Uid::effective(), |name| std::env::var_os(name));
        chosen.map_err(|error| Failure::failed(&error))
    }

    fn run_dir_at(&self, dir: &std::path::Path) -> Result<RunDir, Failure> {
        RunDir::choose(Some(dir), Uid::effective(), |_| None).map_err(|error| Failure::failed(&error))
    }

    fn verbosity(&self) -> i16 {
        i16::from(self.verbose) - i16::from(self.quiet)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a running instance, or all of them
    Status(status::Status),
    /// Start a new generation, and wait until it serves or has failed
    Reload(control::Reload),
    /// Let the installed program take over from a running instance, and wait until it serves or has failed
    Upgrade(upgrade::Upgrade),
    /// Drain and stop an instance, and wait until it has gone
    Stop(control::Stop),
    /// Forward connections to a destination that can be changed while they run
    Forward(forward::Forward),
    /// Keep connections for clients that come and go
    Session(session::Session),
    /// Serve what a command serves, and start it anew when files change; requests wait meanwhile
    #[cfg(feature = "http")]
    Dev(dev::Dev),
    /// Write a completion script for a shell to standard output
    Completions(generate::Completions),
    /// Write the manual pages into a directory
    Man(generate::Man),
}

/// Parses, runs, and gives the exit code. `signals` have been caught since the first statement of main.
pub fn main(signals: std::io::Result<Signals>) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "http")]
    if dev::keep(&arguments) {
        return ExitCode::SUCCESS;
    }
    let done = parse(arguments).and_then(|cli| run(cli, signals));
    match done {
        Ok(code) => code,
        Err(failure) => failure.print(),
    }
}

fn run(cli: Cli, signals: std::io::Result<Signals>) -> Result<ExitCode, Failure> {
    let signals = signals.map_err(|error| Failure::of_io("cannot catch signals", &error))?;
    let Some(command) = cli.command else {
        return supervise::run(cli.supervise, &cli.common, signals);
    };
    // Those that only ask do not stay: ^C shall end them.
    let run_dir = |signals: Signals| {
        signals.release();
        cli.common.run_dir()
    };
    match command {
        Command::Forward(forward) => forward.run(&cli.common, signals),
        Command::Session(session) => session.run(&cli.common, signals),
        Command::Status(status) => status.run(&run_dir(signals)?),
        Command::Reload(reload) => reload.run(&run_dir(signals)?),
        Command::Upgrade(upgrade) => upgrade.run(&run_dir(signals)?),
        Command::Stop(stop) => stop.run(&run_dir(signals)?),
        #[cfg(feature = "http")]
        Command::Dev(dev) => dev.run(&cli.common, signals),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<Cli, Failure> {
    let has_dashes = arguments.iter().any(|word| word == "--");
    let matches = Cli::command().try_get_matches_from(arguments);
    let matches = matches.map_err(|error| Failure::of_clap(&error, has_dashes))?;
    if let Some((name, _)) = matches.subcommand() {
        let options = supervise::Options::augment_args(clap::Command::new("supervise"));
        let given = |option: &&clap::Arg| {
            matches.try_contains_id(option.get_id().as_str()).unwrap_or(false)
                && matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
        };
        if let Some(option) = options.get_arguments().find(given) {
            let option = option.get_long().map_or("a listener".into(), |long| format!("--{long}"));
            return Err(Failure::usage(format!("{option} is not for '{name}'")));
        }
    }
    Cli::from_arg_matches(&matches).map_err(|error| Failure::of_clap(&error, has_dashes))
}
