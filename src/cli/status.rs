//! `status`: how an instance is, or all of a run directory.

use super::asked::{PATIENCE, no_answer, read, result, sockets};
use super::failure::Failure;
use super::print::{print, print_anew, print_json, watch};
use super::table::table;
use crate::control::client::ask;
use crate::control::wire::Request;
use crate::forward;
use crate::process::instance_name::{InstanceName, InstanceNameError};
use crate::process::run_dir::RunDir;
use crate::session;
use crate::supervise::status::SCHEMA;
use clap::Args;
use serde_json::{Value, json};
use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

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
            return print_json(&json!({ "schema": SCHEMA, "instances": found }));
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
                Role::Supervise => super::supervise::row(&read(status)?),
            });
        }
        self.show(&table(&rows))
    }
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
        Role::Supervise => super::supervise::describe(&read(status)?),
    })
}
