//! `session web`: its options, and how a gateway comes up.

use crate::cli::table::time;
use crate::cli::value::Time;
use crate::cli::{Common, Failure};
use crate::logging::{self, Destination};
use crate::net::adopt::Inherited;
use crate::net::endpoint::{Listen, ParseError};
use crate::process::instance_name::InstanceName;
use crate::process::limits::raise_open_files;
use crate::process::pid_file::{PidFile, PidFileError};
use crate::process::run_dir::RunDir;
use crate::process::service;
use crate::process::stray::{self, Stray};
use crate::reactor::Signals;
use crate::session::proxy::Proxy;
use crate::session::web::{Equipment, Gateway, Settings, WebError};
use clap::Args;
use log::{info, warn};
use serde::Deserialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Scripts of any user read it.
const PID_FILE_MODE: u32 = 0o644;
/// Nobody reads it, and who cannot open it cannot lock it.
const LOCK_MODE: u32 = 0o600;

/// `session web`
#[derive(Debug, Args)]
#[command(after_long_help = ADDRESSES)]
pub(in crate::cli) struct Web {
    /// Where the server of sessions is; host and port default independently
    #[arg(long, value_name = "HOST:PORT", default_value_t = Proxy::default())]
    proxy: Proxy,
    /// Where to speak HTTP; repeatable
    ///
    /// A host's name stands for all addresses that it has. An address that other machines can reach needs TLS, or
    /// --insecure.
    #[arg(long, value_name = "LISTEN", default_value = "localhost:8080")]
    listen: Vec<Listen>,
    /// The origin of a page that may use sessions, as https://term.example.com; repeatable
    ///
    /// Pages of the gateway itself may, by the names that it is reached by.
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_origin: Vec<String>,
    /// A name that the gateway is reached by, as term.example.com, with any port or with one; repeatable
    ///
    /// A loopback listener has the names localhost, 127.0.0.1 and [::1] with its port; another one its addresses.
    #[arg(long, value_name = "HOST", value_parser = host)]
    allow_host: Vec<String>,
    /// How long a stop leaves requests to finish
    #[arg(long, value_name = "TIME", default_value = "30s")]
    stop_timeout: Time,
    /// Listen without TLS where other machines can reach it: secrets cross the network in the clear
    #[arg(long)]
    insecure: bool,
    /// The name of this instance [default: web-PORT]
    #[arg(long)]
    name: Option<InstanceName>,
    /// Write our pid to this file, and hold its lock as long as we run
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Log to this file [default: standard error]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

const ADDRESSES: &str = "\
LISTEN:
  8080, HOST:PORT, [::1]:PORT, tcp:8080[:interface=ADDRESS], unix:PATH[:mode=660], @NAME
  ssl:443:privateKey=KEY.pem[:certKey=CERT.pem][:interface=ADDRESS]
  systemd:domain=INET:index=0, fd:3
                                a socket that the gateway was started with

Signals:
  TERM, INT, QUIT               stop: polls are answered, streams end, clients come again; a second one ends at once
  USR1                          reopen the log file";

/// As a browser writes it: a scheme, a host, and the port unless it is the usual one.
fn origin(text: &str) -> Result<String, String> {
    let expected = || Err("expected an origin, such as https://term.example.com or http://localhost:3000".to_owned());
    let Some((scheme, rest)) = text.split_once("://") else {
        return expected();
    };
    let is_host = !rest.is_empty() && !rest.contains(['/', '?', '#', '@', '*', ' ', ',']);
    if ["http", "https"].contains(&scheme) && is_host { Ok(text.to_owned()) } else { expected() }
}

/// As a browser writes it, with or without a port.
fn host(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['/', '?', '#', '@', '*', ' ', ',']) {
        return Err("expected the name of a host, such as term.example.com or term.example.com:8443".to_owned());
    }
    Ok(text.to_owned())
}

impl Web {
    pub(in crate::cli) fn run(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        let settings = self.settings()?;
        let inherited = Inherited::take(settings.listens.iter()).map_err(|error| Failure::failed(&error))?;
        let run_dir = common.run_dir()?;
        if let Some(name) = &self.name {
            run_dir.socket_path(name).map_err(|error| Failure::failed(&error).code(2))?;
        }
        stray::deal_with(Stray::CloseOnExec);
        let destination = self.log_file.clone().map_or(Destination::Stderr, Destination::File);
        let logging = logging::start(logging::level(common.verbosity()), &destination);
        let logging = logging.map_err(|error| Failure::failed(&error))?;
        raise_open_files().map_err(|error| Failure::of_io("cannot raise the limit of open files", &error))?;
        run_dir.prepare().map_err(|error| Failure::failed(&error).hint("--run-dir names another"))?;
        let pid_file = self.pid_file.as_deref().map(|path| PidFile::create(path, PID_FILE_MODE)).transpose();
        let _pid_file = pid_file.map_err(|error| Failure::failed(&error))?;
        let equipment = Equipment { signals, inherited, logging };
        let gateway = Gateway::open(settings, equipment).map_err(|error| failure(&error))?;
        let (name, _lock) = self.name(&gateway, &run_dir)?;
        let control = run_dir.socket_path(&name).map_err(|error| Failure::failed(&error).code(2))?;
        let listening = gateway.addresses();
        gateway.run(name.to_string(), control, || ready(&listening)).map_err(|error| failure(&error))?;
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let here = std::path::absolute(Path::new("."));
        let here = here.map_err(|error| Failure::of_io("cannot find the working directory", &error))?;
        let no_path = |error| Failure::failed(&error).code(2);
        let server = self.proxy.connect().map_err(|error| no_endpoint(&error))?;
        let server = server.with_paths_of(&here).map_err(no_path)?;
        let listens = self.listen.iter().map(|listen| listen.clone().with_paths_of(&here).map_err(no_path));
        Ok(Settings {
            server,
            listens: listens.collect::<Result<_, _>>()?,
            allow_hosts: self.allow_host.clone(),
            allow_origins: self.allow_origin.clone(),
            stop_timeout: self.stop_timeout.duration(),
            insecure: self.insecure,
        })
    }

    /// The name and its lock. One that nobody has chosen makes way for a gateway that has it: while a supervisor reloads
    /// there are two of them.
    fn name(&self, gateway: &Gateway, run_dir: &RunDir) -> Result<(InstanceName, PidFile), Failure> {
        let text = self.name.as_ref().map_or_else(|| gateway.default_name(), ToString::to_string);
        let lock = |text: &str| -> Result<(InstanceName, Result<PidFile, PidFileError>), Failure> {
            let name: InstanceName = text.parse().map_err(|error| Failure::failed(&error).code(2))?;
            let control = run_dir.socket_path(&name).map_err(|error| Failure::failed(&error).code(2))?;
            Ok((name, PidFile::create(&control.with_extension("lock"), LOCK_MODE)))
        };
        match lock(&text)? {
            (name, Ok(held)) => Ok((name, held)),
            (_, Err(PidFileError::Held { .. })) if self.name.is_none() => {
                let (name, held) = lock(&format!("{text}-{}", std::process::id()))?;
                Ok((name, held.map_err(|error| Failure::failed(&error))?))
            }
            (name, Err(PidFileError::Held { .. })) => {
                let message = format!("an instance named {name} is already running");
                Err(Failure::told(message).hint("--name gives this one another name"))
            }
            (_, Err(error)) => Err(Failure::failed(&error)),
        }
    }
}

fn ready(listening: &[String]) {
    for address in listening {
        info!("listening on {address}");
    }
    if let Err(error) = service::tell("READY=1") {
        warn!("cannot tell the outer manager: {error}");
    }
}

fn no_endpoint(error: &ParseError) -> Failure {
    Failure::usage(error.to_string())
}

fn failure(error: &WebError) -> Failure {
    let failure = Failure::failed(error).code(if error.is_wrong_use() { 2 } else { 1 });
    failure.hint_if(error.hint())
}

/// What a gateway says of itself.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Status {
    name: String,
    role: String,
    pid: u32,
    uptime_seconds: u64,
    server: String,
    listeners: Vec<Listener>,
    connections: u64,
    readers: u64,
    draining: bool,
}

#[derive(Debug, Deserialize)]
struct Listener {
    endpoint: String,
    address: String,
}

/// A row of the table of all instances.
pub(in crate::cli) fn row(status: &Status) -> Vec<String> {
    let listeners = status.listeners.iter().map(|listener| listener.address.clone()).collect::<Vec<_>>();
    vec![
        status.name.clone(),
        status.role.clone(),
        status.pid.to_string(),
        time(status.uptime_seconds),
        "-".into(),
        listeners.join(" "),
        if status.draining { "draining".into() } else { status.server.clone() },
    ]
}

/// In words.
pub(in crate::cli) fn describe(status: &Status) -> String {
    let Status { name, pid, server, connections, readers, .. } = status;
    let since = time(status.uptime_seconds);
    let mut text = format!("{name} (pid {pid}) serves sessions of {server} by HTTP for {since}\n");
    for Listener { endpoint, address } in &status.listeners {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "listening on {address} ({endpoint})");
    }
    let end = if status.draining { ", and ends" } else { "" };
    let _ = writeln!(text, "{connections} connections, {readers} readers{end}");
    text
}
