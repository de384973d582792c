//! A proxy for development on a scene: its directory of files, its server that follows scripts, and what it says.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::wire::Client;
pub(crate) use crate::harness::free_port;
use crate::harness::process::{Exit, send};
use crate::harness::scene::{Scene, binary, suite};
use crate::harness::{PATIENCE, eventually, until};

/// A proxy to be.
pub(crate) struct Setup {
    scene: Arc<Scene>,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    front: String,
    livereload: bool,
    backend: String,
    command: Option<Vec<String>>,
    wrap: Vec<String>,
}

/// A proxy that runs.
pub(crate) struct Proxy {
    pub(crate) scene: Arc<Scene>,
    child: Child,
    /// Where browsers come.
    pub(crate) address: SocketAddr,
    exit: Option<Exit>,
}

/// Where browsers may come, once a proxy has said so.
pub(crate) fn address_in(said: &str) -> Option<SocketAddr> {
    let line = said.lines().find(|line| line.contains(" leads to "))?;
    let (_, rest) = line.split_once("://").unwrap();
    Some(rest.split(' ').next().unwrap().parse().unwrap())
}

/// The status and the body of one GET.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Client::connect(address);
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let head = client.head();
    (head.status, String::from_utf8_lossy(&client.body(&head)).into_owned())
}

impl Setup {
    /// With a server on a fresh port for each generation, version 1, and a directory `site` that is watched.
    pub(crate) fn new() -> Setup {
        let scene = Scene::new();
        for folder in ["site", "web", "web/scripts"] {
            fs::create_dir(scene.path(folder)).unwrap();
        }
        scene.write("web/version", "1");
        Setup::on(scene)
    }

    /// On a scene that there is.
    pub(crate) fn on(scene: Arc<Scene>) -> Setup {
        let (front, backend) = ("127.0.0.1:0".into(), "127.0.0.1:{port}".into());
        let (options, environment, wrap) = (Vec::new(), Vec::new(), Vec::new());
        Setup { scene, options, environment, front, livereload: false, backend, command: None, wrap }
    }

    /// On a port of its own that stays the same.
    pub(crate) fn fixed(mut self) -> Setup {
        self.backend = format!("127.0.0.1:{}", free_port());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where browsers come: HOST:PORT.
    pub(crate) fn front(mut self, address: &str) -> Setup {
        self.front = address.into();
        self
    }

    /// On an address of this machine that nobody else uses, and with the port of LiveReload there.
    pub(crate) fn livereload(mut self) -> Setup {
        static ADDRESSES: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 16 + ADDRESSES.fetch_add(1, Ordering::Relaxed);
        let [_, second, third, fourth] = number.to_be_bytes();
        self.front = format!("127.{}.{third}.{fourth}:0", second | 128);
        self.livereload = true;
        self
    }

    pub(crate) fn backend(mut self, backend: &str) -> Setup {
        self.backend = backend.into();
        self
    }

    pub(crate) fn with(mut self, options: &[&str]) -> Setup {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// What the server does for a path, a step a line.
    pub(crate) fn script(self, name: &str, steps: &str) -> Setup {
        self.scene.write(&format!("web/scripts/{name}"), steps);
        self
    }

    pub(crate) fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// The host of the address where browsers come.
    pub(crate) fn host(&self) -> &str {
        self.front.rsplit_once(':').unwrap().0
    }

    pub(crate) fn port(&self) -> u16 {
        self.backend.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The command of the server that follows scripts, for this role.
    pub(crate) fn web(&self, role: &str) -> Vec<String> {
        let dir = self.scene.path("web").to_str().unwrap().to_owned();
        let port = self.backend.rsplit(':').next().unwrap().to_owned();
        let port = if port == "0" { "{port}".to_owned() } else { port };
        vec![suite(), "child".into(), role.into(), dir, format!("127.0.0.1:{port}")]
    }

    pub(crate) fn command(mut self, command: &[&str]) -> Setup {
        self.command = Some(command.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    /// A line for the shell in which `$WEB` is the server that follows scripts.
    pub(crate) fn shell(self, line: &str) -> Setup {
        let web = self.web("web").join(" ");
        let line = line.replace("$WEB", &web);
        self.command(&["sh", "-c", &line])
    }

    /// Start it by these words.
    pub(crate) fn wrap(mut self, words: &[&str]) -> Setup {
        self.wrap = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The command; where its output goes is not said yet.
    pub(crate) fn line(&self) -> Command {
        let mut words = self.wrap.clone();
        words.extend([binary().to_str().unwrap().to_owned(), "dev".into(), self.front.clone(), self.backend.clone()]);
        words.extend(self.options.iter().cloned());
        if !self.livereload {
            words.push("--no-livereload".into());
        }
        words.push("--exec".into());
        words.extend(self.command.clone().unwrap_or_else(|| self.web("web")));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.scene.path("site"));
        command.env("XDG_DATA_HOME", self.scene.path("data")).envs(self.environment.iter().cloned());
        self.scene.mark(&mut command);
        command
    }

    /// The process, with its output in `dev.out` and `dev.err`.
    pub(crate) fn spawn(&self) -> Child {
        let file = |name: &str| File::create(self.scene.path(name)).unwrap();
        self.line().stdin(Stdio::null()).stdout(file("dev.out")).stderr(file("dev.err")).spawn().unwrap()
    }

    /// Starts it and waits until browsers may come; not until the server answers.
    #[track_caller]
    pub(crate) fn start(self) -> Proxy {
        let child = self.spawn();
        let scene = Arc::clone(&self.scene);
        let address = until("the proxy listens", PATIENCE, || {
            let said = scene.read("dev.err");
            address_in(&said).ok_or(said)
        });
        Proxy { scene, child, address, exit: None }
    }
}

impl Proxy {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        self.scene.read("dev.err")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The status and the body of one GET.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.address, path)
    }

    /// The status of one GET; none if nobody listens any more.
    pub(crate) fn try_get(&self) -> Option<u16> {
        std::net::TcpStream::connect(self.address).ok().map(|_| self.get("/").0)
    }

    /// Makes the next version, and says so by a file that is watched.
    pub(crate) fn change(&self, version: &str) {
        self.version(version);
        self.touch("app.py");
    }

    /// What a server that starts from now on is.
    pub(crate) fn version(&self, version: &str) {
        self.scene.write("web/version.new", version);
        fs::rename(self.scene.path("web/version.new"), self.scene.path("web/version")).unwrap();
    }

    /// Writes a watched file, in one step: one that is made and then filled is two, however long there is between them.
    pub(crate) fn touch(&self, name: &str) {
        let written = self.scene.write("touched", &format!("{:?}", Instant::now()));
        fs::rename(written, self.site(name)).unwrap();
    }

    /// A path below the watched directory.
    pub(crate) fn site(&self, name: &str) -> PathBuf {
        self.scene.path("site").join(name)
    }

    /// Waits until this version answers.
    #[track_caller]
    pub(crate) fn wait_version(&self, version: &str) {
        until("the version answers", PATIENCE, || match self.get("/") {
            (200, body) if body == version => Ok(()),
            other => Err(format!("{other:?}; {}", self.said())),
        });
    }

    /// How often it was started anew because of a change.
    pub(crate) fn reloads(&self) -> usize {
        self.said().lines().filter(|line| line.contains(" reload: ")).count()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(crate) fn wait_said(&self, words: &str) {
        self.wait_said_often(words, 1);
    }

    /// Waits until it has said this so often.
    #[track_caller]
    pub(crate) fn wait_said_often(&self, words: &str, times: usize) {
        until("it says so", PATIENCE, || {
            let said = self.said();
            if said.matches(words).count() >= times { Ok(()) } else { Err(said) }
        });
    }

    /// The processes that it has started, its keeper aside.
    pub(crate) fn servers(&self) -> Vec<Pid> {
        let ours = |pid: &Pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            *pid != self.pid() && !String::from_utf8_lossy(&line).contains("dev-keeper")
        };
        self.scene.processes().into_iter().filter(ours).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> Exit {
        use std::os::unix::process::ExitStatusExt;
        if let Some(exit) = self.exit {
            return exit;
        }
        let status = until("it ends", PATIENCE, || {
            self.child.try_wait().unwrap().ok_or_else(|| fs::read_to_string(self.scene.path("dev.err")).unwrap())
        });
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(Signal::try_from(signal.unwrap()).unwrap()),
        };
        self.exit = Some(exit);
        exit
    }

    /// Ends it by a signal, and sees that nothing is left.
    #[track_caller]
    pub(crate) fn stop(&mut self, signal: Signal) -> Exit {
        self.signal(signal);
        let exit = self.wait_exit();
        self.nothing_left();
        exit
    }

    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        eventually("no process is left", || self.scene.processes().is_empty());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.exit.is_none() {
            send(self.pid(), Signal::SIGTERM);
            let deadline = Instant::now() + PATIENCE;
            while self.child.try_wait().unwrap().is_none() {
                if Instant::now() > deadline {
                    send(self.pid(), Signal::SIGKILL);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}
