//! Where a server of sessions is tried: its process, its commands, and what it holds.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::client::Ticket;
use crate::harness::process::{self, Census, Exit};
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Ran, Scene, until};

/// A server in a scene of its own. It is ended with this.
pub(super) struct Place {
    pub(super) scene: Arc<Scene>,
    pub(super) address: SocketAddr,
    child: Option<Child>,
    pid: Pid,
}

impl Place {
    /// A server that leads there.
    #[track_caller]
    pub(super) fn to(destination: &str) -> Place {
        Place::with(destination, &[])
    }

    /// The same, with options.
    #[track_caller]
    pub(super) fn with(destination: &str, options: &[&str]) -> Place {
        Place::at("127.0.0.1:0", destination, options)
    }

    #[track_caller]
    pub(super) fn at(proxy: &str, destination: &str, options: &[&str]) -> Place {
        Place::in_scene(Scene::new(), proxy, destination, options)
    }

    #[track_caller]
    pub(super) fn in_scene(scene: Arc<Scene>, proxy: &str, destination: &str, options: &[&str]) -> Place {
        let mut command = Command::new(binary());
        scene
            .mark(&mut command)
            .args(["session", "server", &format!("--proxy={proxy}")])
            .args(options)
            .arg(destination);
        Place::started(scene, &mut command)
    }

    /// A server by this command, which says where it listens.
    #[track_caller]
    pub(super) fn started(scene: Arc<Scene>, command: &mut Command) -> Place {
        let log = std::fs::File::create(scene.path("server.log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("it said {line:?}; log: {}", scene.read("server.log")));
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        Place { scene, address, child: Some(child), pid }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn proxy(&self) -> String {
        format!("--proxy={}", self.address)
    }

    /// `session COMMAND --proxy=… ARGS`, run to its end.
    #[track_caller]
    pub(super) fn run(&self, command: &str, args: &[&str]) -> Ran {
        self.scene.cli(&[&["session", command, &self.proxy()], args].concat())
    }

    /// `session status --json`.
    #[track_caller]
    pub(super) fn status(&self) -> Value {
        self.run("status", &["--json"]).expect(0).json()
    }

    /// What `status` says of a session.
    #[track_caller]
    pub(super) fn session(&self, ticket: &Ticket) -> Option<Value> {
        let status = self.status();
        let found = status["sessions"].as_array().unwrap().iter().find(|session| session["id"] == *ticket.short());
        found.cloned()
    }

    /// Waits until `status` says this of a session.
    #[track_caller]
    pub(super) fn wait_session(&self, ticket: &Ticket, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(what, PATIENCE, || match self.session(ticket) {
            Some(session) if holds(&session) => Ok(session),
            other => Err(format!("{other:?}")),
        })
    }

    #[track_caller]
    pub(super) fn wait_state(&self, ticket: &Ticket, state: &str) -> Value {
        self.wait_session(ticket, &format!("the session is {state}"), |session| session["state"] == *state)
    }

    /// Waits until there are so many sessions.
    #[track_caller]
    pub(super) fn wait_sessions(&self, count: usize) {
        until(&format!("there are {count} sessions"), PATIENCE, || {
            let status = self.status();
            let there = status["sessions"].as_array().unwrap().len();
            if there == count && status["unattached"] == 0 { Ok(()) } else { Err(status.to_string()) }
        });
    }

    pub(super) fn log(&self) -> String {
        self.scene.read("server.log")
    }

    /// Waits until its log has these words.
    #[track_caller]
    pub(super) fn wait_log(&self, words: &str) {
        until("the log has it", PATIENCE, || {
            let log = self.log();
            if log.contains(words) { Ok(()) } else { Err(format!("{words:?} is not in {log}")) }
        });
    }

    pub(super) fn signal(&self, signal: Signal) {
        process::send(self.pid, signal);
    }

    /// What it holds, once nobody is there.
    #[track_caller]
    pub(super) fn census(&self) -> Census {
        process::census(self.pid)
    }

    /// Waits until it holds no more than then.
    #[track_caller]
    pub(super) fn wait_census(&self, before: &Census) {
        until("it holds what it held before", PATIENCE, || {
            let now = self.census();
            if now == *before { Ok(()) } else { Err(format!("{now:?}, before: {before:?}")) }
        });
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits for its end.
    #[track_caller]
    pub(super) fn wait_exit(&mut self) -> Exit {
        let mut child = self.child.take().unwrap();
        let status = until("the server has ended", PATIENCE * 2, || {
            child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        });
        match std::os::unix::process::ExitStatusExt::signal(&status) {
            Some(signal) => Exit::Signal(Signal::try_from(signal).unwrap()),
            None => Exit::Code(status.code().unwrap()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::send(self.pid, Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}
