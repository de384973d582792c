//! `upgrade`: lets the installed program take over from a running instance.

use super::Failure;
use super::asked::{no_answer, result, socket};
use super::print::{print, print_json};
use super::value::Time;
use crate::control::client::{AskError, ask};
use crate::process::instance_name::InstanceName;
use crate::process::run_dir::RunDir;
use crate::session::server::{Request, SCHEMA, Upgraded};
use clap::Args;
use serde_json::json;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// `upgrade NAME [--timeout T]`
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// Which instance
    name: InstanceName,
    #[command(flatten)]
    how: How,
}

/// What holds however the instance is named.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Wait no longer than this, and exit with 3 then; the upgrade itself goes on
    #[arg(long, value_name = "TIME")]
    timeout: Option<Time>,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

impl Upgrade {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        self.how.upgrade(run_dir, &socket(run_dir, &self.name)?, &self.name)
    }
}

impl How {
    /// Upgrades the instance behind a control socket.
    pub(super) fn upgrade(&self, run_dir: &RunDir, path: &Path, name: &dyn Display) -> Result<ExitCode, Failure> {
        let reply = ask(path, &Request::Upgrade, self.timeout.map(Time::duration));
        let reply = reply.map_err(|error| match (error, self.timeout) {
            (AskError::TimedOut { .. }, Some(time)) => {
                Failure::not_in_time(format!("the upgrade of {name} is not done after {time}; it goes on"))
            }
            (error, _) => no_answer(run_dir, name, &error),
        })?;
        if self.json {
            let code = if reply.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            let of = |key: &str| reply.result.as_ref().and_then(|result| result.get(key)).cloned();
            print_json(&json!({
                "schema": SCHEMA, "ok": reply.ok, "pid": of("pid"), "version": of("version"),
                "milliseconds": of("milliseconds"), "reason": reply.error, "stderr": reply.lines,
            }))?;
            return Ok(code);
        }
        match result::<Upgraded>(reply) {
            Ok(done) => print(&format!("process {} serves after {} ms\n", done.pid, done.milliseconds)),
            Err(failure) => Err(failure.about(&format!("cannot upgrade {name}"))),
        }
    }
}
