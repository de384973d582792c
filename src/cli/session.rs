//! `session`: its commands, and how they find the server of an address.

mod ask;
mod client;
mod server;
mod status;
mod upgrade;
#[cfg(feature = "http")]
pub(super) mod web;

use super::{Common, Failure};
use crate::reactor::Signals;
use clap::{Args, Subcommand};
use std::process::ExitCode;

pub(super) use status::{describe, row};

/// `session COMMAND`
#[derive(Debug, Args)]
#[command(after_long_help = ADDRESSES, arg_required_else_help = false)]
pub(super) struct Session {
    #[command(subcommand)]
    command: Command,
}

const ADDRESSES: &str = "\
--proxy:
  HOST, :PORT, HOST:PORT, [::1]:PORT
                                what is left out of localhost:9009 is as in it
  ssl:9009:privateKey=KEY.pem:certKey=CERT.pem[:clientCAs=CAS.pem], unix:PATH[:mode=600], @NAME,
  systemd:domain=INET:index=0, fd:N
                                for the server: where it listens
  tls:HOST:PORT[:trustRoots=DIR], unix:PATH, @NAME
                                for its clients: where it is
DEST:
  HOST:PORT, tcp:HOST:PORT, tcp:host=HOST:port=PORT[:timeout=10]
  tls:HOST:PORT[:hostname=NAME][:trustRoots=DIR][:certificate=FILE:privateKey=FILE]
  unix:PATH, @NAME

Exit codes:
  0 done, 1 failed, 2 wrong use, 3 not reached in time";

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep connections to DEST for clients that come and go
    Server(Box<server::Server>),
    /// Use a session: print what its destination has said, and send what is typed
    Client(client::Client),
    /// Show the sessions of a server
    Status(status::Status),
    /// End a session
    Close(ask::Close),
    /// Send away the client of a session, which goes on without it
    Detach(ask::Detach),
    /// Let clients have what there is, and end the server; waits until it has ended
    Drain(ask::Drain),
    /// Let the installed program take over all sessions of a server; waits until it serves or has failed
    Upgrade(upgrade::Upgrade),
    /// Serve sessions to browsers and scripts by HTTP, with a terminal page
    #[cfg(feature = "http")]
    Web(Box<web::Web>),
}

impl Session {
    pub(super) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        // Those that only ask do not stay: ^C shall end them.
        let run_dir = |signals: Signals| {
            signals.release();
            common.run_dir()
        };
        match self.command {
            Command::Server(server) => server.run(common, signals),
            Command::Client(client) => client.run(common, signals),
            Command::Status(status) => status.run(&run_dir(signals)?),
            Command::Close(close) => close.run(&run_dir(signals)?),
            Command::Detach(detach) => detach.run(&run_dir(signals)?),
            Command::Drain(drain) => drain.run(&run_dir(signals)?),
            Command::Upgrade(upgrade) => upgrade.run(&run_dir(signals)?),
            #[cfg(feature = "http")]
            Command::Web(web) => web.run(common, signals),
        }
    }
}
