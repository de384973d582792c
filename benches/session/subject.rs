//! What is measured: the destination reached directly, through a relay, as a session, and through others' programs.

use crate::Plan;
use crate::client::Way;
use crate::common::Result;
use crate::common::machine::{free_port, on_cpu, own_path, wait_for, wait_until_idle};
use crate::common::process::Measured;
use crate::traffic::{Order, Outcome};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Nothing in between.
pub const DIRECT: &str = "direct";
/// Our plain relay: what a session is compared with.
pub const FORWARD: &str = "forward";
/// A session, its client speaking the protocol over TCP.
pub const SESSION: &str = "session";
/// A session, its client speaking the protocol over the gateway's WebSocket.
pub const GATEWAY: &str = "gateway";
/// What the gateway is compared with.
const WEBSOCKIFY: &str = "websockify";

const OURS: &str = env!("CARGO_BIN_EXE_socket-protector");
const RELAYS: &str =
    "{ours} forward -d {folder}/forward start -f --threads 1 127.0.0.1:{listen} tcp:host=127.0.0.1:port={target}";
const SERVES: &str = "{ours} session server --telnet off --run-dir {folder}/run --max-sessions {sessions} \
                      --proxy 127.0.0.1:{listen} 127.0.0.1:{target}";
const GATES: &str = "{ours} session web --run-dir {folder}/run --proxy 127.0.0.1:{target} --listen 127.0.0.1:{listen}";

/// Which cpus do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// Everything on cpu 0: nobody waits for a cpu to wake up.
    Shared,
    /// What is in between on cpu 0, client and destination on cpu 1.
    Apart,
    /// Nothing pinned.
    Free,
}

impl Cpus {
    fn between(self) -> Option<usize> {
        (self != Cpus::Free).then_some(0)
    }

    fn ends(self) -> Option<usize> {
        match self {
            Cpus::Shared => Some(0),
            Cpus::Apart => Some(1),
            Cpus::Free => None,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Cpus::Shared => "everything on one core",
            Cpus::Apart => "what is in between alone on a core",
            Cpus::Free => "nothing pinned",
        }
    }
}

/// One way to reach the destination.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub name: &'static str,
    pub way: Way,
    /// The programs in between, that next to the destination first; `{listen}` and `{target}` are replaced.
    templates: &'static [&'static str],
}

impl Subject {
    /// All that there are on this machine.
    pub fn all() -> Vec<Subject> {
        let subject = |name, way, templates| Subject { name, way, templates };
        let mut all = vec![
            subject(DIRECT, Way::Plain, &[]),
            subject(FORWARD, Way::Plain, &[RELAYS]),
            subject(SESSION, Way::Session, &[SERVES]),
            Subject::gateway(),
        ];
        if std::path::Path::new("/usr/bin/websockify").exists() {
            let template = &["/usr/bin/websockify 127.0.0.1:{listen} 127.0.0.1:{target}"];
            all.push(subject(WEBSOCKIFY, Way::WebSocket, template));
        } else {
            eprintln!("NOTE: websockify is not installed: not measured");
        }
        all
    }

    pub fn gateway() -> Subject {
        Subject { name: GATEWAY, way: Way::Page, templates: &[SERVES, GATES] }
    }

    pub fn session() -> Subject {
        Subject { name: SESSION, way: Way::Session, templates: &[SERVES] }
    }

    /// Whether a client may leave and come again.
    pub fn resumes(&self) -> bool {
        matches!(self.way, Way::Session | Way::Page)
    }
}

/// The destination, and what is between it and the client.
pub struct Running {
    between: Vec<(Measured, Vec<String>)>,
    /// Where the client goes.
    pub port: u16,
    way: Way,
    cpus: Cpus,
    log: File,
    _destination: (Measured, Option<ChildStdin>),
    _folder: TempDir,
}

impl Running {
    /// Starts everything. The destination is this program with this word.
    pub fn start(plan: &Plan, subject: &Subject, cpus: Cpus, destination: &str) -> Result<Running> {
        wait_until_idle(plan.patience);
        let mut command = Command::new(own_path()?);
        command.arg(destination).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = on_cpu(cpus.ends(), || Ok(command.spawn()?))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let destination = (Measured(child), input);
        let mut line = String::new();
        output.map_or(Ok(0), |output| BufReader::new(output).read_line(&mut line))?;
        // Of two ports the last one is that of the echo.
        let mut port: u16 = line.split_whitespace().last().ok_or("the destination did not say its port")?.parse()?;
        let folder = tempfile::tempdir()?;
        let log = File::create(folder.path().join("log"))?;
        let mut between = Vec::new();
        for template in subject.templates {
            let (target, listen) = (port, free_port()?);
            let fill = |word: &str| {
                word.replace("{ours}", OURS)
                    .replace("{listen}", &listen.to_string())
                    .replace("{target}", &target.to_string())
                    .replace("{sessions}", &plan.count("sessions").to_string())
                    .replace("{folder}", &folder.path().to_string_lossy())
            };
            let words = template.split_whitespace().map(fill).collect::<Vec<_>>();
            let mut process = start(&words, cpus, &log)?;
            wait_for(listen, &mut |_| process.is_alive()).map_err(|error| {
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                format!("{}: {error}; it says:\n{log}", subject.name)
            })?;
            between.push((process, words));
            port = listen;
        }
        // The connections of the waiting are forgotten.
        std::thread::sleep(Duration::from_millis(300));
        Ok(Running { between, port, way: subject.way, cpus, log, _destination: destination, _folder: folder })
    }

    /// What is in between; none if there is nothing.
    pub fn between(&self) -> impl Iterator<Item = &Measured> {
        self.between.iter().map(|(process, _)| process)
    }

    /// The processor time of what is in between so far, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        self.between().map(|process| Ok(process.cpu_with_children()?.as_secs_f64())).sum()
    }

    /// Kills what the client is connected to, and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        let (process, words) = self.between.last_mut().ok_or("there is nothing in between")?;
        process.0.kill()?;
        process.0.wait()?;
        *process = start(words, self.cpus, &self.log)?;
        Ok(())
    }

    /// A client from beginning to end.
    pub fn traffic(&self, order: &Order) -> Result<Outcome> {
        let output = self.begin(order)?.wait_with_output()?;
        let failed = || format!("{order:?} failed by {:?}", self.way);
        Ok(serde_json::from_slice(&output.stdout).map_err(|_| failed())?)
    }

    /// A client in a process of its own.
    pub fn begin(&self, order: &Order) -> Result<Child> {
        let mut command = Command::new(own_path()?);
        let order = serde_json::to_string(&(self.way, self.port, order))?;
        command.args(["traffic", &order]).stdin(Stdio::piped()).stdout(Stdio::piped());
        on_cpu(self.cpus.ends(), || Ok(command.spawn()?))
    }
}

fn start(words: &[String], cpus: Cpus, log: &File) -> Result<Measured> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    Ok(Measured(on_cpu(cpus.between(), || Ok(command.spawn()?))?))
}
