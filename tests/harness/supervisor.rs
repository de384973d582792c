//! A running supervisor, and how to start one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use super::process::{self, Census, Exit};
use super::ran::{Ran, Running};
use super::scene::{Scene, binary, suite};
use super::unix::connections_to;
use super::{PATIENCE, until};

/// Everything a supervisor is started with.
pub(crate) struct Setup {
    scene: Arc<Scene>,
    name: Option<String>,
    listen: Vec<String>,
    args: Vec<String>,
    command: Option<Vec<String>>,
    wrap: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    program: PathBuf,
    daemon: bool,
    piped: bool,
}

/// A supervisor that was started.
pub(crate) struct Supervisor {
    pub(crate) scene: Arc<Scene>,
    name: String,
    pid: Pid,
    child: Option<Child>,
    exit: Option<Exit>,
}

impl Setup {
    pub(crate) fn new(scene: Arc<Scene>) -> Setup {
        if !scene.path("role").exists() {
            scene.role("echo");
        }
        Setup {
            scene,
            name: Some("t".to_owned()),
            listen: vec!["127.0.0.1:0".to_owned()],
            args: Vec::new(),
            command: None,
            wrap: Vec::new(),
            env: Vec::new(),
            cwd: None,
            program: binary().to_owned(),
            daemon: false,
            piped: false,
        }
    }

    /// In a scene of its own.
    pub(crate) fn alone() -> Setup {
        Scene::new().setup()
    }

    pub(crate) fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// The instance name; `None` leaves it to the program.
    pub(crate) fn name(mut self, name: Option<&str>) -> Setup {
        self.name = name.map(str::to_owned);
        self
    }

    pub(crate) fn listen(mut self, listen: &[&str]) -> Setup {
        self.listen = listen.iter().map(|&text| text.to_owned()).collect();
        self
    }

    /// More options, separated by blanks.
    pub(crate) fn with(mut self, options: &str) -> Setup {
        self.args.extend(options.split_whitespace().map(str::to_owned));
        self
    }

    /// An option whose value is a path of the scene.
    pub(crate) fn with_path(mut self, option: &str, name: &str) -> Setup {
        self.args.extend([option.to_owned(), self.scene.path(name).to_str().unwrap().to_owned()]);
        self
    }

    /// `--pass connections`.
    pub(crate) fn connections(self) -> Setup {
        self.with("--pass connections")
    }

    /// What the first child is.
    pub(crate) fn role(self, role: &str) -> Setup {
        self.scene.role(role);
        self
    }

    /// Another command than a child with a role.
    pub(crate) fn command<T: AsRef<str>>(mut self, command: &[T]) -> Setup {
        self.command = Some(command.iter().map(|word| word.as_ref().to_owned()).collect());
        self
    }

    /// Start it in the surroundings that the role `wrap` makes of these words.
    pub(crate) fn wrap(mut self, words: &str) -> Setup {
        self.wrap.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cwd(mut self, path: PathBuf) -> Setup {
        self.cwd = Some(path);
        self
    }

    /// Another copy of the program under test.
    pub(crate) fn program(mut self, path: &Path) -> Setup {
        self.program = path.to_owned();
        self
    }

    /// In the background, with a pid file and a log file.
    pub(crate) fn daemon(self) -> Setup {
        self.daemon_with_syslog().with_path("--log-file", "log")
    }

    /// In the background, with a pid file; what it says goes to syslog, if there is one.
    pub(crate) fn daemon_with_syslog(mut self) -> Setup {
        self.daemon = true;
        self.with_path("--pid-file", "pid")
    }

    /// With stdout and stderr as pipes that the test holds.
    pub(crate) fn piped(mut self) -> Setup {
        self.piped = true;
        self
    }

    fn build(&self) -> Command {
        let mut command = if self.wrap.is_empty() {
            Command::new(&self.program)
        } else {
            let mut wrapped = Command::new(suite());
            wrapped.args(["child", "wrap"]).args(&self.wrap).arg("--").arg(&self.program);
            wrapped
        };
        self.scene.mark(&mut command);
        command.env("RUST_LOG", "info").envs(self.env.iter().map(|(name, value)| (name, value)));
        if !self.daemon {
            command.arg("-f");
        }
        if let Some(name) = &self.name {
            command.args(["--name", name]);
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.args(&self.args).args(&self.listen).arg("--");
        command.args(self.command.clone().unwrap_or_else(|| self.scene.child()));
        command
    }

    /// Starts it and runs it to its end, for supervisors that shall fail.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        Running::start(&mut self.build()).finish(PATIENCE * 2)
    }

    /// Starts it without waiting for anything but a daemon's starter.
    #[track_caller]
    pub(crate) fn launch(self) -> Supervisor {
        let mut command = self.build();
        let name = self.name.clone().unwrap_or_else(|| self.listen[0].clone());
        let scene = Arc::clone(&self.scene);
        if self.daemon {
            Running::start(&mut command).finish(PATIENCE * 2).expect(0);
            let pid = scene.read("pid").trim().parse().expect("a pid in the pid file");
            return Supervisor { scene, name, pid: Pid::from_raw(pid), child: None, exit: None };
        }
        command.stdin(Stdio::null());
        if self.piped {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else {
            let append =
                |file: &str| std::fs::File::options().append(true).create(true).open(scene.path(file)).unwrap();
            command.stdout(append("stdout")).stderr(append("stderr"));
        }
        let child = command.spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        Supervisor { scene, name, pid, child: Some(child), exit: None }
    }

    /// Starts it and waits until a generation serves.
    #[track_caller]
    pub(crate) fn start(self) -> Supervisor {
        let mut supervisor = self.launch();
        supervisor.wait_serving();
        supervisor
    }
}

impl Supervisor {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The pipes of a supervisor started with `piped`; once.
    pub(crate) fn pipes(&mut self) -> (ChildStdout, ChildStderr) {
        let child = self.child.as_mut().unwrap();
        (child.stdout.take().unwrap(), child.stderr.take().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        assert!(self.exit.is_none(), "{signal} for a supervisor that has ended");
        process::send(self.pid, signal);
    }

    pub(crate) fn hup(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Waits until one generation serves.
    #[track_caller]
    pub(crate) fn wait_serving(&mut self) {
        until("a generation serves", PATIENCE, || {
            if let Some(exit) = self.ended() {
                panic!("the supervisor ended ({exit:?}) before it served; stderr: {}", self.scene.read("stderr"));
            }
            let status = self.try_status()?;
            serving(&status).map(|_| ()).ok_or_else(|| status.to_string())
        });
    }

    /// `status NAME --json`, or why there is none.
    pub(crate) fn try_status(&self) -> Result<Value, String> {
        let ran = self.scene.cli(&["status", &self.name, "--json"]);
        if ran.exit == Exit::Code(0) { Ok(ran.json()) } else { Err(ran.err) }
    }

    /// `status NAME --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.scene.cli(&["status", &self.name, "--json"]).expect(0).json()
    }

    /// What the status says of a listener.
    #[track_caller]
    pub(crate) fn listener(&self, index: usize) -> Value {
        self.status()["listeners"][index].clone()
    }

    /// Waits until the status is as wanted, and answers it.
    #[track_caller]
    pub(crate) fn wait_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(what, PATIENCE, || {
            let status = self.try_status()?;
            if holds(&status) { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Where clients connect: the first listener.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Where clients connect: every listener.
    #[track_caller]
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let status = self.status();
        let listeners = status["listeners"].as_array().unwrap();
        listeners.iter().map(|listener| reachable(listener["address"].as_str().unwrap())).collect()
    }

    /// The serving generation's number.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        let status = self.status();
        serving(&status).unwrap_or_else(|| panic!("nothing serves: {status}"))["number"].as_u64().unwrap()
    }

    /// The serving child's pid.
    #[track_caller]
    pub(crate) fn serving_pid(&self) -> Pid {
        let status = self.status();
        worker_pid(serving(&status).unwrap_or_else(|| panic!("nothing serves: {status}")))
    }

    /// `reload NAME`.
    #[track_caller]
    pub(crate) fn reload(&self) -> Ran {
        self.scene.cli(&["reload", &self.name])
    }

    /// `reload NAME` that is not waited for.
    pub(crate) fn begin_reload(&self) -> Running {
        self.scene.begin(&["reload", &self.name])
    }

    /// Connections to the control socket, which is not one of them itself.
    pub(crate) fn control_clients(&self) -> usize {
        connections_to(&self.scene.path("run").join(format!("{}.sock", self.name)))
    }

    /// What it holds once nobody asks it anything.
    #[track_caller]
    pub(crate) fn census(&self) -> Census {
        super::eventually("its clients have been let go", || self.control_clients() == 0);
        // Only then what they took from the reserve is put back; it does both before it waits again.
        super::eventually("it waits", || process::sleeps(self.pid));
        process::census(self.pid)
    }

    /// Waits until only the serving generation is left.
    #[track_caller]
    pub(crate) fn wait_settled(&self) {
        self.wait_status("only one generation is left, and it serves", |status| {
            let generations = status["generations"].as_array().unwrap();
            generations.len() == 1 && generations[0]["phase"] == "serving"
        });
    }

    /// The exit, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = process::reap(self.pid);
        }
        self.exit
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> Exit {
        self.wait_exit_within(PATIENCE * 2)
    }

    #[track_caller]
    pub(crate) fn wait_exit_within(&mut self, patience: Duration) -> Exit {
        until("the supervisor has ended", patience, || self.ended().ok_or_else(|| "it runs".to_owned()))
    }

    /// Kills it and nothing else.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait_exit(), Exit::Signal(Signal::SIGKILL));
    }
}

impl Drop for Supervisor {
    /// Ends it with all three steps of a stop at once, which leaves nothing behind.
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        for signal in [Signal::SIGCONT, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
            process::send(self.pid, signal);
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.ended().is_none() {
            if std::time::Instant::now() > deadline {
                process::send(self.pid, Signal::SIGKILL);
                let seen = process::describe(self.pid);
                if std::thread::panicking() {
                    return;
                }
                panic!("the supervisor does not end on TERM, INT and QUIT: {seen}");
            }
            std::thread::sleep(super::LOOK);
        }
    }
}

/// The serving generation in a status.
pub(crate) fn serving(status: &Value) -> Option<&Value> {
    status["generations"].as_array()?.iter().find(|generation| generation["phase"] == "serving")
}

/// The pid of a generation's first worker.
pub(crate) fn worker_pid(generation: &Value) -> Pid {
    let pid = generation["workers"][0]["pid"].as_i64().unwrap_or_else(|| panic!("no pid: {generation}"));
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// An address to connect to, where the listener may be bound to all addresses.
fn reachable(address: &str) -> SocketAddr {
    let mut address: SocketAddr = address.parse().unwrap_or_else(|error| panic!("address {address:?}: {error}"));
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}
