//! What is measured: a daemon alone, or behind a supervisor; how it is started, watched and ended.

use crate::Plan;
use crate::common::Result;
use crate::common::daemon::{FAIL_FILE, START_MS};
use crate::common::load::{Order, Outcome};
use crate::common::machine::{on_cpu, own_path, wait_until_idle};
use crate::common::process::Measured;
use nix::sys::signal::{Signal, kill};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Further supervisors: `name|seconds between two reloads|command`, separated by `;;`. The command is a template; in
/// it `{self} files 1024` before a command allows it so many files.
const PEERS: &str = "SUPERVISE_PEERS";

/// The daemon without a supervisor, whose port it binds itself.
pub const ALONE: &str = "alone";
/// It inherits the listener and accepts as a daemon of its own does.
pub const LISTENER: &str = "listener";
/// It inherits the listener and accepts by the client library.
pub const LIBRARY: &str = "listener, library";
/// The supervisor accepts and passes.
pub const CONNECTIONS: &str = "connections";
/// How the names end of subjects that may open few files: some supervisors close every number that may be open.
pub const FEW_FILES: &str = ", 1024 files";

/// One way to serve.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: String,
    /// The time between two reloads; none for what cannot reload.
    pub gap: Option<Duration>,
    /// Words in which `{port}`, `{folder}`, `{ours}`, `{self}` and, as a word of its own, `{daemon}` are replaced.
    template: String,
}

impl Subject {
    fn new(name: &str, gap: f64, template: &str) -> Subject {
        let gap = (gap > 0.0).then(|| Duration::from_secs_f64(gap));
        Subject { name: name.into(), gap, template: template.into() }
    }

    /// All that there are on this machine.
    pub fn all() -> Result<Vec<Subject>> {
        const OURS: &str = "{ours} -f -q --run-dir {folder} 0.0.0.0:{port}";
        let mut all = vec![
            Subject::new(ALONE, 0.0, "{daemon} bind:{port}"),
            Subject::new(LISTENER, 0.5, &format!("{OURS} -- {{daemon}}")),
            Subject::new(LIBRARY, 0.5, &format!("{OURS} -- {{daemon}} library")),
            Subject::new(CONNECTIONS, 0.5, &format!("{OURS} --pass connections -- {{daemon}}")),
            Subject::new(&format!("{LISTENER}{FEW_FILES}"), 0.5, &format!("{{self}} files 1024 {OURS} -- {{daemon}}")),
        ];
        let starter = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|folder| folder.join("start_server").exists());
        if starter {
            let command = "start_server --port=0.0.0.0:{port} --interval=1 --backlog=4096 -- {daemon}";
            all.push(Subject::new("Server::Starter", 1.6, command));
        } else {
            eprintln!("NOTE: start_server (libserver-starter-perl) is not installed: not measured");
        }
        let peers = std::env::var(PEERS).unwrap_or_default();
        for peer in peers.split(";;").filter(|peer| !peer.trim().is_empty()) {
            match peer.splitn(3, '|').map(str::trim).collect::<Vec<_>>()[..] {
                [name, gap, command] => all.push(Subject::new(name, gap.parse()?, command)),
                _ => return Err(format!("{PEERS}: expected name|seconds|command, found {peer:?}").into()),
            }
        }
        Ok(all)
    }

    fn words(&self, port: u16, folder: &str) -> Result<Vec<String>> {
        let own = own_path()?;
        let mut words = Vec::new();
        for word in self.template.split_whitespace() {
            let word = word.replace("{port}", &port.to_string()).replace("{folder}", folder);
            match word.replace("{ours}", env!("CARGO_BIN_EXE_socket-protector")).replace("{self}", &own).as_str() {
                "{daemon}" => words.extend([own.clone(), "daemon".into()]),
                word => words.push(word.into()),
            }
        }
        Ok(words)
    }
}

/// A subject that serves; ended when dropped.
pub struct Running {
    pub process: Measured,
    pub port: u16,
    fail_file: PathBuf,
    folder: TempDir,
}

impl Running {
    /// Starts it, on cpu 0 alone if `pinned`, with a daemon that needs `start` until it can serve.
    pub fn start(plan: &Plan, subject: &Subject, start: Duration, pinned: bool) -> Result<Running> {
        wait_until_idle(plan.patience);
        let port = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let fail_file = folder.path().join("fail");
        let log = File::create(folder.path().join("log"))?;
        let words = subject.words(port, &folder.path().to_string_lossy())?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.env(FAIL_FILE, &fail_file).env(START_MS, start.as_millis().to_string());
        let process = Measured(on_cpu(pinned.then_some(0), || Ok(command.spawn()?))?);
        let mut running = Running { process, port, fail_file, folder };
        running.wait_until_it_answers(subject)?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(running)
    }

    fn wait_until_it_answers(&mut self, subject: &Subject) -> Result<()> {
        let started = Instant::now();
        while !ask(self.port).unwrap_or(false) {
            if !self.process.is_alive() || started.elapsed() > Duration::from_secs(15) {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("{} does not serve; it says:\n{log}", subject.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub fn reload(&self) -> Result<()> {
        Ok(kill(self.process.pid(), Signal::SIGHUP)?)
    }

    /// From now on a new daemon fails at once, or no longer does.
    pub fn let_daemons_fail(&self, fail: bool) -> Result<()> {
        Ok(if fail { fs::write(&self.fail_file, "") } else { fs::remove_file(&self.fail_file) }?)
    }

    /// Kills the daemons, which are the children of the process that was started.
    pub fn kill_daemons(&self) -> Result<()> {
        self.process.children()?.into_iter().try_for_each(|pid| Ok(kill(pid, Signal::SIGKILL)?))
    }
}

/// A load that is under way.
pub struct Loading(Child);

impl Loading {
    pub fn start(order: &Order, pinned: bool) -> Result<Loading> {
        let mut command = Command::new(own_path()?);
        command.args(["load", &serde_json::to_string(order)?]).stdin(Stdio::null()).stdout(Stdio::piped());
        on_cpu(pinned.then_some(0), || Ok(Loading(command.spawn()?)))
    }

    pub fn finish(mut self) -> Result<Outcome> {
        let mut text = String::new();
        self.0.stdout.take().map_or(Ok(0), |mut output| output.read_to_string(&mut text))?;
        self.0.wait()?;
        let outcome: Outcome = serde_json::from_str(&text)?;
        if outcome.failed() > 0 {
            eprintln!("    failed: {:?}", outcome.failed);
        }
        Ok(outcome)
    }
}

/// Whether a request is answered.
fn ask(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"0\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.ends_with("OK\n"))
}
