//! `session`: its commands, and how they find the server of an address.

#[cfg(feature = "http")]
pub(super) mod web;

use super::{Common, Failure};
use crate::reactor::Signals;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// `session COMMAND`
#[derive(Debug, Args)]
#[command(arg_required_else_help = false)]
pub(super) struct Session {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve sessions to browsers and scripts by HTTP, with a terminal page
    #[cfg(feature = "http")]
    Web(Box<web::Web>),
}

impl Session {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        match self.command {
            #[cfg(feature = "http")]
            Command::Web(web) => web.run(common, signals),
        }
    }
}
