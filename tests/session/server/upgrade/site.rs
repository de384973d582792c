//! Where upgrades are tried: a server in the background, by a copy of the program that can be replaced.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::process::{self, Exit, alive};
use crate::harness::ran::Running;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Ran, Scene, until};
use crate::session::server::client::Ticket;

/// The name of every server here.
pub(super) const NAME: &str = "kept";

/// A server in a scene of its own. Whatever runs there is ended with it.
pub(super) struct Site {
    pub(super) scene: Arc<Scene>,
    pub(super) address: SocketAddr,
    pub(super) program: PathBuf,
}

impl Site {
    #[track_caller]
    pub(super) fn to(destination: &str) -> Site {
        Site::with(Scene::new(), "127.0.0.1:0", destination, &[])
    }

    #[track_caller]
    pub(super) fn with(scene: Arc<Scene>, proxy: &str, destination: &str, options: &[&str]) -> Site {
        let program = scene.copy(binary(), "program");
        let mut command = Command::new(&program);
        scene.mark(&mut command).args(["session", "server", "--daemon", "--name", NAME, "--log-file"]);
        command.arg(scene.path("log")).arg("--pid-file").arg(scene.path("pid"));
        command.arg(format!("--proxy={proxy}")).args(options).arg(destination);
        let ran = Running::start(&mut command).finish(PATIENCE * 2).expect(0);
        let said = ran.out.lines().next().and_then(|line| line.strip_prefix("listening on ")?.parse().ok());
        let address = said.unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        Site { scene, address, program }
    }

    /// The process that the pid file names.
    #[track_caller]
    pub(super) fn pid(&self) -> Pid {
        let text = self.scene.read("pid");
        Pid::from_raw(text.trim().parse().unwrap_or_else(|error| panic!("pid file {text:?}: {error}")))
    }

    #[track_caller]
    pub(super) fn status(&self) -> Value {
        self.scene.cli(&["status", NAME, "--json"]).expect(0).json()
    }

    /// What `status` says of a session.
    #[track_caller]
    pub(super) fn session(&self, ticket: &Ticket) -> Option<Value> {
        let status = self.status();
        status["sessions"].as_array().unwrap().iter().find(|session| session["id"] == *ticket.short()).cloned()
    }

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

    /// `upgrade`, which must work; the new process.
    #[track_caller]
    pub(super) fn upgrade(&self) -> Pid {
        let old = self.pid();
        let ran = self.scene.cli(&["upgrade", NAME]).expect(0);
        self.upgraded(old, &ran)
    }

    /// What holds when an upgrade has worked; the new process.
    #[track_caller]
    pub(super) fn upgraded(&self, old: Pid, ran: &Ran) -> Pid {
        let new = self.pid();
        assert_ne!(old, new, "the pid file names the old process");
        assert!(ran.out.starts_with(&format!("process {new} serves after ")) && ran.err.is_empty(), "{ran:?}");
        assert_eq!(self.wait_end(old), Exit::Code(0));
        assert!(alive(new));
        new
    }

    /// `upgrade`, which must fail and change nothing.
    #[track_caller]
    pub(super) fn upgrade_in_vain(&self, words: &str) {
        let old = self.pid();
        self.scene.cli(&["upgrade", NAME]).expect(1).complains().says("cannot upgrade kept").says(words);
        assert_eq!(self.pid(), old);
        self.wait_alone(old);
    }

    /// Waits until nothing else runs here.
    #[track_caller]
    pub(super) fn wait_alone(&self, pid: Pid) {
        until("nothing is left of another process", PATIENCE, || {
            let all = self.scene.processes();
            if all == [pid] { Ok(()) } else { Err(format!("{all:?}, and not {pid} alone")) }
        });
    }

    /// Waits until a process that is gone can say how.
    #[track_caller]
    pub(super) fn wait_end(&self, pid: Pid) -> Exit {
        until("the process has ended", PATIENCE, || process::reap(pid).ok_or_else(|| process::describe(pid)))
    }

    #[track_caller]
    pub(super) fn wait_log(&self, words: &str) {
        until("the log has it", PATIENCE, || {
            let log = self.scene.read("log");
            if log.contains(words) { Ok(()) } else { Err(format!("{words:?} is not in {log}")) }
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log ---\n{}", self.scene.read("log"));
        }
        self.scene.clear();
    }
}
