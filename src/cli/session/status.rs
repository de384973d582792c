//! `session status`: the sessions of a server, as a table or as JSON, once or again and again.

use super::ask::find;
use crate::cli::Failure;
use crate::cli::print::{print, print_anew, watch};
use crate::cli::table::{table, time};
use crate::process::output::printable;
use crate::process::run_dir::RunDir;
use crate::session::proxy::Proxy;
use crate::session::server::{self as session, SessionStatus};
use clap::Args;
use std::process::ExitCode;

/// `session status`
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Where the server listens; host and port default independently
    #[arg(long, value_name = "HOST:PORT", default_value_t = Proxy::default())]
    proxy: Proxy,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it again every second, until the server ends
    #[arg(short, long)]
    watch: bool,
}

impl Status {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let (_, status) = find(run_dir, &self.proxy)?;
        let shown = self.show(&status)?;
        if !self.watch {
            return Ok(shown);
        }
        watch(|| find(run_dir, &self.proxy).is_ok_and(|(_, status)| self.show(&status).is_ok()));
        Ok(shown)
    }

    fn show(&self, status: &session::Status) -> Result<ExitCode, Failure> {
        if self.json {
            let text = serde_json::to_string(status)
                .map_err(|error| Failure::told(format!("the answer is not understood: {error}")))?;
            return print(&format!("{text}\n"));
        }
        let text = describe(status);
        if self.watch { print_anew(&text) } else { print(&text) }
    }
}

/// For people.
pub(in crate::cli) fn describe(status: &session::Status) -> String {
    let listeners = status.listeners.iter().map(|listener| listener.address.clone()).collect::<Vec<_>>().join(" ");
    let stopping = if status.stopping { ", stopping" } else { "" };
    let mut text = format!(
        "{} (pid {}) keeps sessions with {} for {}, listening on {listeners}{stopping}\n",
        status.name,
        status.pid,
        printable(status.destination.as_bytes()),
        time(status.uptime_seconds),
    );
    let head =
        ["SESSION", "STATE", "AGE", "IDLE", "PEER", "IN", "OUT", "BUFFERED", "BLOCKED", "DESTINATION", "EXPIRES"];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(status.sessions.iter().map(cells));
    text.push_str(&table(&rows));
    text
}

fn cells(session: &SessionStatus) -> Vec<String> {
    vec![
        session.id.clone(),
        session.state.clone(),
        time(session.age_seconds),
        time(session.idle_seconds),
        session.peer.as_ref().map_or("-".into(), |peer| printable(peer.as_bytes())),
        session.bytes_in.to_string(),
        session.bytes_out.to_string(),
        format!("{}/{}", session.buffered, session.limit),
        time(session.blocked_seconds),
        session.destination.clone(),
        session.expires_seconds.map_or("-".into(), time),
    ]
}

/// Its row among those of all instances.
pub(in crate::cli) fn row(status: &session::Status) -> Vec<String> {
    let listeners = status.listeners.iter().map(|listener| listener.address.clone()).collect::<Vec<_>>();
    vec![
        status.name.clone(),
        status.role.clone(),
        status.pid.to_string(),
        time(status.uptime_seconds),
        "-".into(),
        listeners.join(" "),
        format!("{} sessions", status.sessions.len()),
    ]
}
