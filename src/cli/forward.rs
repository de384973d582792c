//! `forward`: its commands, and how they ask the forwarder of a directory.

mod list;
mod start;
mod switch;
mod wait;

use super::asked::{PATIENCE, result};
use super::print::print;
use super::value::{Time, TimeOrNever};
use super::{Common, Failure};
use crate::control::client::{AskError, ask, ask_last};
use crate::forward::request::{Done, Request};
use crate::net::endpoint::{Connect, Listen, ParseError};
use crate::process::output::printable;
use crate::process::run_dir::RunDir;
use crate::reactor::Signals;
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub(super) use list::{describe, row};

/// The patience with a forwarder, where it may have to look up a host or read certificates first.
const PATIENCE_TO_LISTEN: Duration = Duration::from_secs(60);

/// `forward [-d DIR] COMMAND`
#[derive(Debug, Args)]
#[command(after_long_help = ENDPOINTS, arg_required_else_help = false)]
pub(super) struct Forward {
    /// The forwarder's directory: its control socket, pid, log and rules [default: the run directory]
    #[arg(short, long = "basedir", value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const ENDPOINTS: &str = "\
SRC:
  9000, HOST:PORT, [::1]:PORT, tcp:9000[:interface=ADDRESS], tcp6:9000
  unix:PATH[:mode=660], @NAME
  ssl:443:privateKey=KEY.pem[:certKey=CERT.pem][:clientCAs=CAS.pem][:alpn=h2,http/1.1]
  haproxy:SRC                   a PROXY header, version 1 or 2, comes first
DST:
  HOST:PORT, tcp:HOST:PORT, tcp:host=HOST:port=PORT[:timeout=10][:proxy=v1|v2]
  tls:HOST:PORT[:hostname=NAME][:trustRoots=DIR][:certificate=FILE:privateKey=FILE]
  unix:PATH, @NAME

Exit codes:
  0 done, 1 failed, 2 wrong use, 3 not reached in time";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start forwarding from SRC to DST; without them, what was saved
    #[command(after_help = "With -v the log has a line for the end of each connection.")]
    Start(start::Start),
    /// Let new connections go to DST; running ones stay where they are
    #[command(visible_alias = "x")]
    Switch(switch::Switch),
    /// Show each destination that gets new connections or still has some
    Ls(list::Ls),
    /// Wait until no connection runs on a former destination
    #[command(visible_alias = "w")]
    Wait(wait::Wait),
    /// End a rule, or all of them and the forwarder
    Stop(Stop),
    /// Swap the running process for the program that is installed now; no connection is lost
    Restart,
    /// Let clients wait
    Pause(Rule),
    /// Let clients that wait go on
    Resume(Rule),
}

/// `stop [SRC] [--drain [T]]`
#[derive(Debug, Args)]
struct Stop {
    /// Which rule, to be forgotten; without it all of them, which stay saved
    #[arg(value_name = "SRC")]
    source: Option<String>,
    /// Let running connections finish, within this time if one is given; without it they are cut
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "never")]
    drain: Option<TimeOrNever>,
}

/// `pause SRC`, `resume SRC`
#[derive(Debug, Args)]
struct Rule {
    /// Which rule
    #[arg(value_name = "SRC")]
    source: String,
}

impl Forward {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        let dir = match &self.dir {
            Some(dir) => common.run_dir_at(dir)?,
            None => common.run_dir()?,
        };
        let asked = Asked { socket: dir.forwarder_socket().map_err(|error| Failure::failed(&error).code(2))?, dir };
        match self.command {
            Command::Start(start) => start.run(&asked, common, signals),
            Command::Switch(switch) => switch.run(asked.by(signals)),
            Command::Ls(ls) => ls.run(asked.by(signals), common.verbosity() > 0),
            Command::Wait(wait) => wait.run(asked.by(signals)),
            Command::Stop(stop) => stop.run(asked.by(signals)),
            Command::Restart => restart(asked.by(signals)),
            Command::Pause(rule) => asked.by(signals).change(&Request::Pause { source: source(&rule.source)? }),
            Command::Resume(rule) => asked.by(signals).change(&Request::Resume { source: source(&rule.source)? }),
        }
    }
}

impl Stop {
    fn run(&self, asked: &Asked) -> Result<ExitCode, Failure> {
        let source = self.source.as_deref().map(source).transpose()?;
        let everything = source.is_none();
        let limit_ms = self.drain.and_then(TimeOrNever::limit).map(milliseconds);
        let request = Request::Stop { source, drain: self.drain.is_some(), limit_ms };
        let reply = if everything { ask_last(&asked.socket, &request) } else { ask(&asked.socket, &request, None) };
        let done = result::<Done>(reply.map_err(|error| asked.no_answer(&error))?)?;
        print("Stopped\n")?;
        match (done.cut, self.drain) {
            (None, _) | (_, None) if everything && done.warning.is_some() => {
                Err(Failure::told(printable(done.warning.unwrap_or_default().as_bytes())))
            }
            (Some(count), Some(limit)) => {
                settled(&done);
                let were = if count == 1 { "connection was" } else { "connections were" };
                Err(Failure::not_in_time(format!("{count} {were} cut: not at an end after {limit}")))
            }
            _ => {
                settled(&done);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn restart(asked: &Asked) -> Result<ExitCode, Failure> {
    let reply = ask(&asked.socket, &Request::Restart, None).map_err(|error| asked.no_answer(&error))?;
    result::<Done>(reply).map(|_| ExitCode::SUCCESS).map_err(|failure| failure.about("cannot restart"))
}

/// The forwarder of a directory, which may or may not run.
struct Asked {
    dir: RunDir,
    socket: PathBuf,
}

impl Asked {
    /// By one who only asks and does not stay: ^C shall end it.
    fn by(&self, signals: Signals) -> &Self {
        signals.release();
        self
    }

    /// Asks, and takes an answer that has nothing to show.
    fn change(&self, request: &Request) -> Result<ExitCode, Failure> {
        let reply = ask(&self.socket, request, Some(PATIENCE)).map_err(|error| self.no_answer(&error))?;
        settled(&result::<Done>(reply)?);
        Ok(ExitCode::SUCCESS)
    }

    fn no_answer(&self, error: &AskError) -> Failure {
        if error.is_nobody() {
            Failure::told(format!("no forwarder is running in {}", self.dir.path().display()))
                .hint("'socket-protector forward start' starts one; -d DIR names another directory")
        } else {
            Failure::failed(error)
        }
    }
}

/// Tells what was done but is not as it should be.
fn settled(done: &Done) {
    if let Some(warning) = &done.warning {
        warn(warning);
    }
}

fn warn(text: &str) {
    // Nobody left to tell is no failure.
    let _ = writeln!(io::stderr(), "socket-protector: {}", printable(text.as_bytes()));
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn time_ms(time: Time) -> u64 {
    milliseconds(time.duration())
}

/// SRC as the forwarder shall read it, whose working directory is another.
fn source(text: &str) -> Result<String, Failure> {
    let listen = text.parse::<Listen>().map_err(|error| no_endpoint(&error))?;
    let absolute = listen.clone().with_paths_of(&here()?).map_err(|error| Failure::failed(&error).code(2))?;
    Ok(if absolute == listen { text.to_owned() } else { absolute.to_string() })
}

/// DST in the same way.
fn destination(text: &str) -> Result<String, Failure> {
    let connect = text.parse::<Connect>().map_err(|error| no_endpoint(&error))?;
    let absolute = connect.clone().with_paths_of(&here()?).map_err(|error| Failure::failed(&error).code(2))?;
    Ok(if absolute == connect { text.to_owned() } else { absolute.to_string() })
}

fn here() -> Result<PathBuf, Failure> {
    std::path::absolute(Path::new(".")).map_err(|error| Failure::of_io("cannot find the working directory", &error))
}

fn no_endpoint(error: &ParseError) -> Failure {
    let lines = error.pointed().lines().map(str::to_owned).collect();
    Failure::failed(error).code(2).lines(lines)
}
