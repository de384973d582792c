//! `session`: connections that outlive the clients that use them.

mod client;

use super::{Common, Failure};
use crate::reactor::Signals;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// `session COMMAND`
#[derive(Debug, Args)]
pub(super) struct Session {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Use a session: print what its destination has said, and send what is typed
    Client(client::Client),
}

impl Session {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Client(client) => client.run(common, signals),
        }
    }
}
