//! `reload` and `stop`: asking a running instance by its name.

use super::asked::{no_answer, result, socket};
use super::failure::Failure;
use super::print::{print, print_json};
use super::value::Time;
use crate::control::client::{AskError, ask, ask_last};
use crate::control::wire::{Request, Switched};
use crate::process::instance_name::InstanceName;
use crate::process::run_dir::RunDir;
use crate::supervise::status;
use clap::Args;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::process::ExitCode;

/// `reload NAME [--timeout T] [-- COMMAND ARG…]`
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Which instance
    name: InstanceName,
    /// Wait no longer than this, and exit with 3 then; the reload itself goes on
    #[arg(long, value_name = "TIME")]
    timeout: Option<Time>,
    /// The result as JSON
    #[arg(long)]
    json: bool,
    /// A command that replaces the present one, should it become ready
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// `stop NAME`
#[derive(Debug, Args)]
pub(super) struct Stop {
    /// Which instance
    name: InstanceName,
}

impl Reload {
    pub(super) fn run(self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let path = socket(run_dir, &self.name)?;
        let command = (!self.command.is_empty()).then(|| words(&self.command)).transpose()?;
        let timeout = self.timeout.map(Time::duration);
        let reply = ask(&path, &Request::Reload { command }, timeout);
        let reply = reply.map_err(|error| match (error, self.timeout) {
            (AskError::TimedOut { .. }, Some(time)) => {
                Failure::not_in_time(format!("the reload of {} is not done after {time}; it goes on", self.name))
            }
            (error, _) => no_answer(run_dir, &self.name, &error),
        })?;
        if self.json {
            let code = if reply.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            let generation = reply.result.as_ref().and_then(|result| result.get("generation")).cloned();
            let milliseconds = reply.result.as_ref().and_then(|result| result.get("milliseconds")).cloned();
            print_json(&json!({
                "schema": status::SCHEMA, "ok": reply.ok, "generation": generation, "milliseconds": milliseconds,
                "reason": reply.error, "stderr": reply.lines,
            }))?;
            return Ok(code);
        }
        match result::<Switched>(reply) {
            Ok(done) => print(&format!("generation {} serves after {} ms\n", done.generation, done.milliseconds)),
            Err(failure) => Err(failure.about(&format!("cannot reload {}", self.name))),
        }
    }
}

impl Stop {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let path = socket(run_dir, &self.name)?;
        let reply = ask_last(&path, &Request::Stop).map_err(|error| no_answer(run_dir, &self.name, &error))?;
        result::<Value>(reply).map_err(|failure| failure.about(&format!("stopped {}", self.name)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A command for another process: what is relative to our directory would be something else there.
fn words(command: &[OsString]) -> Result<Vec<String>, Failure> {
    let mut words = Vec::with_capacity(command.len());
    for (index, word) in command.iter().enumerate() {
        let is_path = index == 0 && word.as_encoded_bytes().contains(&b'/');
        let absolute = is_path.then(|| std::path::absolute(word)).transpose();
        let absolute = absolute.map_err(|error| Failure::of_io("cannot find the working directory", &error))?;
        let word = absolute.as_ref().map_or(word.as_os_str(), |path| path.as_os_str());
        let text = word.to_str().ok_or_else(|| Failure::usage(format!("{word:?} is not UTF-8")))?;
        words.push(text.to_string());
    }
    Ok(words)
}
