//! A command that ran to its end, with everything it said.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::process::{Exit, send};

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

/// A command under way.
pub(crate) struct Running {
    child: Child,
    out: File,
    err: File,
    since: Instant,
    line: String,
}

impl Running {
    /// Starts it with its output going to files, so that it can never block on us.
    pub(crate) fn start(command: &mut Command) -> Running {
        let out = tempfile::tempfile().unwrap();
        let err = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null());
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let line = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        Running { child, out, err, since: Instant::now(), line }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Waits for its end; one that takes longer than `patience` is killed and fails the test.
    #[track_caller]
    pub(crate) fn finish(mut self, patience: Duration) -> Ran {
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                send(self.pid(), Signal::SIGKILL);
                self.child.wait().unwrap();
                panic!("{} did not end within {patience:?}; stderr: {}", self.line, text(&mut self.err));
            }
            std::thread::sleep(super::LOOK);
        };
        let exit = match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(Signal::try_from(signal).unwrap()),
            (None, None) => panic!("{} ended in no known way", self.line),
        };
        Ran { exit, out: text(&mut self.out), err: text(&mut self.err), took: self.since.elapsed() }
    }
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ran {
    /// Checks the exit code and shows everything if it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        assert_eq!(self.exit, Exit::Code(code), "\nstdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Checks that stderr mentions `words`, in whatever case.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Ran {
        let said = self.err.to_lowercase();
        assert!(said.contains(&words.to_lowercase()), "stderr does not mention {words:?}: {}", self.err);
        self
    }

    /// Checks the form of error messages: our name, lower case, at most one hint, never a panic.
    #[track_caller]
    pub(crate) fn complains(self) -> Ran {
        let message = self.err.lines().find_map(|line| line.strip_prefix("socket-protector: "));
        let message = message.unwrap_or_else(|| panic!("no message in the agreed form: {:?}", self.err));
        assert!(!message.starts_with(char::is_uppercase), "upper case: {message}");
        let hints = self.err.lines().filter(|line| line.starts_with("hint: ")).count();
        assert!(hints <= 1, "{hints} hints: {}", self.err);
        assert!(!self.err.contains("panicked") && !self.err.contains("RUST_BACKTRACE"), "{}", self.err);
        self
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {:?}; stderr: {}", self.out, self.err))
    }
}
