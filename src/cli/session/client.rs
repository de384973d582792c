//! `session client`: what it is asked for, and how it ends.

mod list;

use crate::cli::{Common, Failure};
use crate::reactor::Signals;
use crate::session::client::{ClientError, Options, Outcome, Way, default_name, run};
use crate::session::proxy::Proxy;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

const DETAILS: &str = "\
Without --follow each line of standard input, on a terminal each Enter, is one connection: it brings the line, with
CR LF at its end, prints what the destination has said meanwhile, and ends. An empty line only polls.

The session outlives the client. The state file keeps its id, its secret, how far its output was printed, and input that
has not arrived; the next client goes on there. One client at a time uses a file.

With --follow on a terminal, at the beginning of a line:
  ~.   leave; the session goes on
  ~^Z  stop this program for now
  ~A, ~B, ~I
       telnet's 'are you there', break and interrupt
  ~?   list these
  ~~   a ~

Exit codes:
  0 left, or the destination has ended well, 1 failed, 2 wrong use; one who is ended by a signal ends by it";

/// `session client`
#[derive(Debug, Args)]
#[command(after_long_help = DETAILS)]
pub(super) struct Client {
    /// Where the server is: HOST:PORT, of which each part may be left out, or ssl:, tls: or unix: as an endpoint
    #[arg(long, value_name = "HOST:PORT", default_value_t)]
    proxy: Proxy,
    /// Where the session is kept [default: in the run directory, a file for each server]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Start another session instead of the one that is kept
    #[arg(long)]
    new: bool,
    /// Stay connected until the destination ends; connect again when the connection breaks
    #[arg(short, long)]
    follow: bool,
    /// Only look on, beside the client that uses the session: print what there still is, and what comes
    #[arg(long, conflicts_with_all = ["new", "follow", "end_input"])]
    observe: bool,
    /// End the session's input, too, when standard input ends
    #[arg(short = 'N', long)]
    end_input: bool,
    /// Show the sessions that are kept, and do nothing else
    #[arg(long, conflicts_with_all = ["new", "follow", "observe", "end_input"])]
    list: bool,
    /// With --list: as JSON
    #[arg(long, requires = "list")]
    json: bool,
}

impl Client {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        if self.list {
            signals.release();
            return list::run(self.state.as_deref(), self.json, common);
        }
        let options = self.options(common)?;
        match run(options, signals) {
            Ok(Outcome::Left | Outcome::Ended | Outcome::Signal(_)) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(failure(&error)),
        }
    }

    fn options(self, common: &Common) -> Result<Options, Failure> {
        let usage = |error: &dyn std::error::Error| Failure::failed(error).code(2);
        let to = self.proxy.connect().map_err(|error| usage(&error))?;
        let here = std::env::current_dir();
        let here = here.map_err(|error| Failure::of_io("cannot find the working directory", &error))?;
        let to = to.with_paths_of(&here).map_err(|error| usage(&error))?;
        let state = match self.state {
            Some(state) => state,
            None => {
                let run_dir = common.run_dir()?;
                run_dir.prepare().map_err(|error| Failure::failed(&error))?;
                run_dir.path().join(default_name(&self.proxy.to_string()))
            }
        };
        let way = match (self.follow, self.observe) {
            (_, true) => Way::Observe,
            (true, false) => Way::Follow,
            (false, false) => Way::Poll,
        };
        let talks = common.verbosity() >= 0;
        let server = (self.proxy.to_string(), to);
        Ok(Options { server, state, new: self.new, way, end_input: self.end_input, talks })
    }
}

fn failure(error: &ClientError) -> Failure {
    let failure = Failure::failed(error);
    failure.hint_if(error.hint())
}
