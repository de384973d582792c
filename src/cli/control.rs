//! Asking running instances: status, reload, stop.

use super::failure::Failure;
use super::print::{print, print_anew, watch};
use super::table::table;
use super::value::Time;
use crate::control::client::{AskError, ask, ask_last};
use crate::control::wire::{Reply, Request, Switched};
use crate::forward;
use crate::process::instance_name::{InstanceName, InstanceNameError};
use crate::process::output::printable;
use crate::process::run_dir::RunDir;
use crate::session;
use crate::supervise::status;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// An instance that does not answer for so long is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// `status [NAME] [--json] [--watch]`
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Which instance, 'forward' for the forwarder; without it, all of the run directory
    name: Option<Which>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Show it again every second, until the instance ends
    #[arg(short, long)]
    watch: bool,
}

/// An instance by its name; the forwarder has one that no other can have.
#[derive(Clone, Debug)]
enum Which {
    Forwarder,
    Named(InstanceName),
}

impl FromStr for Which {
    type Err = InstanceNameError;

    fn from_str(text: &str) -> Result<Self, InstanceNameError> {
        if text == forward::NAME { Ok(Which::Forwarder) } else { text.parse().map(Which::Named) }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Forwarder => f.write_str(forward::NAME),
            Which::Named(name) => name.fmt(f),
        }
    }
}

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

impl Status {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let shown = self.once(run_dir)?;
        if self.watch {
            // One that was named and has gone is the end; among all, others may come.
            watch(|| self.once(run_dir).is_ok() || self.name.is_none());
        }
        Ok(shown)
    }

    fn once(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let Some(name) = &self.name else { return self.all(run_dir) };
        let path = match name {
            Which::Forwarder => run_dir.forwarder_socket(),
            Which::Named(name) => run_dir.socket_path(name),
        };
        let path = path.map_err(|error| Failure::failed(&error).code(2))?;
        let reply = ask(&path, &Request::Status, Some(PATIENCE)).map_err(|error| no_answer(run_dir, name, &error))?;
        let status = result::<Value>(reply)?;
        if self.json { print_json(&status) } else { self.show(&in_words(status)?) }
    }

    /// Prints for people: on a terminal in place of what was shown before.
    fn show(&self, text: &str) -> Result<ExitCode, Failure> {
        if self.watch { print_anew(text) } else { print(text) }
    }

    fn all(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let (mut found, mut silent) = (Vec::new(), None);
        for path in sockets(run_dir.path())? {
            match ask(&path, &Request::Status, Some(PATIENCE))
                .map_err(|error| (error.is_nobody(), Failure::failed(&error)))
            {
                Ok(reply) => found.push(result::<Value>(reply)?),
                Err((true, _)) => {}
                // One that is stuck does not hide the others.
                Err((false, failure)) => silent = Some(failure),
            }
        }
        let shown = self.show_all(found)?;
        silent.map_or(Ok(shown), Err)
    }

    fn show_all(&self, found: Vec<Value>) -> Result<ExitCode, Failure> {
        if self.json {
            return print_json(&json!({ "schema": status::SCHEMA, "instances": found }));
        }
        let mut rows = vec![["NAME", "ROLE", "PID", "UP", "PASS", "LISTENERS", "SERVING"].map(String::from).to_vec()];
        for status in found {
            rows.push(match role(&status) {
                Role::Forward => super::forward::row(&read(status)?),
                Role::Session => super::session::row(&read(status)?),
                #[cfg(feature = "http")]
                Role::Web => super::session::web::row(&read(status)?),
                #[cfg(feature = "http")]
                Role::Dev => super::dev::row(&read(status)?),
                Role::Supervise => row(&read(status)?),
            });
        }
        self.show(&table(&rows))
    }
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

pub(super) fn socket(run_dir: &RunDir, name: &InstanceName) -> Result<PathBuf, Failure> {
    run_dir.socket_path(name).map_err(|error| Failure::failed(&error).code(2))
}

/// The control sockets of a run directory, by name. A directory that is not there holds none.
pub(super) fn sockets(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::of_io(&format!("cannot read {}", directory.display()), &error));
        }
    };
    let mut paths = entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension() == Some(OsStr::new("sock")));
    paths.sort();
    Ok(paths)
}

pub(super) fn no_answer(run_dir: &RunDir, name: &dyn fmt::Display, error: &AskError) -> Failure {
    if error.is_nobody() {
        Failure::told(format!("no instance named {name} is running in {}", run_dir.path().display()))
            .hint("'socket-protector status' shows those that are")
    } else {
        Failure::failed(error)
    }
}

pub(super) fn result<T: DeserializeOwned>(reply: Reply) -> Result<T, Failure> {
    if reply.ok {
        return read(reply.result.unwrap_or_default());
    }
    let lines = reply.lines.iter().map(|line| printable(line.as_bytes()));
    Err(Failure::told(printable(reply.error.as_deref().unwrap_or("failed").as_bytes())).lines(lines.collect()))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::told(format!("the answer is not understood: {error}")))
}

pub(super) fn print_json(value: &Value) -> Result<ExitCode, Failure> {
    print(&format!("{value}\n"))
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

/// What an instance is for.
enum Role {
    Forward,
    Session,
    #[cfg(feature = "http")]
    Web,
    #[cfg(feature = "http")]
    Dev,
    Supervise,
}

fn role(status: &Value) -> Role {
    match status["role"].as_str() {
        Some(forward::NAME) => Role::Forward,
        Some(session::server::ROLE) => Role::Session,
        #[cfg(feature = "http")]
        Some(session::web::ROLE) => Role::Web,
        #[cfg(feature = "http")]
        Some(crate::dev::status::ROLE) => Role::Dev,
        _ => Role::Supervise,
    }
}

fn in_words(status: Value) -> Result<String, Failure> {
    Ok(match role(&status) {
        Role::Forward => super::forward::describe(&read(status)?),
        Role::Session => super::session::describe(&read(status)?),
        #[cfg(feature = "http")]
        Role::Web => super::session::web::describe(&read(status)?),
        #[cfg(feature = "http")]
        Role::Dev => super::dev::describe(&read(status)?),
        Role::Supervise => describe(&read(status)?),
    })
}

fn row(status: &status::Status) -> Vec<String> {
    let listeners = status.listeners.iter().map(|listener| listener.address.clone()).collect::<Vec<_>>();
    let serving = status.generations.iter().find(|generation| generation.phase == "serving");
    vec![
        status.name.clone(),
        status.role.clone(),
        status.pid.to_string(),
        time(status.uptime_seconds),
        status.pass.clone(),
        listeners.join(" "),
        serving.map_or("-".into(), |generation| generation.number.to_string()),
    ]
}

fn describe(status: &status::Status) -> String {
    let counters = &status.counters;
    let mut text = format!(
        "{} (pid {}) supervises for {}, passing {}\n",
        status.name,
        status.pid,
        time(status.uptime_seconds),
        status.pass
    );
    let mut rows = vec![["LISTENER", "ENDPOINT", "ADDRESS", "HELD", "ACCEPTED"].map(String::from).to_vec()];
    for one in &status.listeners {
        let numbers = [one.held.to_string(), one.accepted.to_string()];
        rows.push([vec![one.name.clone(), one.endpoint.clone(), one.address.clone()], numbers.to_vec()].concat());
    }
    text.push_str(&table(&rows));
    let mut rows = vec![["GENERATION", "PHASE", "PID", "AGE", "PASSED", "OPEN", "COMMAND"].map(String::from).to_vec()];
    for one in &status.generations {
        for worker in &one.workers {
            rows.push(vec![
                one.number.to_string(),
                one.phase.clone(),
                worker.pid.to_string(),
                time(one.age_seconds),
                worker.connections_passed.to_string(),
                worker.connections_open.map_or("-".into(), |open| open.to_string()),
                printable(one.command.join(" ").as_bytes()),
            ]);
        }
    }
    text.push_str(&table(&rows));
    for one in &status.generations {
        for said in one.workers.iter().filter_map(|worker| worker.status.as_ref()) {
            text.push_str(&format!("generation {} says: {}\n", one.number, printable(said.as_bytes())));
        }
    }
    text.push_str(&format!(
        "reloads {} ({} failed), respawns {}, accepted {}, passed {}, reclaimed {}, given back {}\n",
        counters.reloads,
        counters.reloads_failed,
        counters.respawns,
        counters.accepted,
        counters.passed,
        counters.reclaimed,
        counters.given_back
    ));
    if let Some(last) = &status.last_reload {
        let result = printable(last.reason.as_deref().unwrap_or("done").as_bytes());
        text.push_str(&format!("last reload: {result}, after {} ms\n", last.milliseconds));
    }
    text
}

/// A length of time for people.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        86_400.. => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}
