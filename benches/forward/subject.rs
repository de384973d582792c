//! What is measured: the server reached directly, or through a forwarder.

use crate::Plan;
use crate::common::Result;
use crate::common::load;
use crate::common::machine::{on_cpu, own_path, wait_until_idle};
use crate::common::process::Measured;
use crate::traffic::{Order, Outcome};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Further forwarders: `name|command`, separated by `;;`. The command is a template.
const PEERS: &str = "FORWARD_PEERS";

/// No forwarder.
pub const DIRECT: &str = "direct";
/// Ours.
pub const OURS: &str = "ours";
/// What ours is compared with.
pub const HAPROXY: &str = "haproxy";

/// Which cpus do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// Everything on cpu 0, with one thread: nobody waits for a cpu to wake up.
    Shared,
    /// The forwarder alone on cpu 0, with one thread; load and server on cpu 1.
    Apart,
    /// Nothing pinned, two threads.
    Free,
}

impl Cpus {
    fn forwarder(self) -> Option<usize> {
        (self != Cpus::Free).then_some(0)
    }

    fn load(self) -> Option<usize> {
        match self {
            Cpus::Shared => Some(0),
            Cpus::Apart => Some(1),
            Cpus::Free => None,
        }
    }

    fn threads(self) -> usize {
        if self == Cpus::Free { 2 } else { 1 }
    }

    pub fn title(self) -> &'static str {
        match self {
            Cpus::Shared => "everything on one core",
            Cpus::Apart => "forwarder alone on a core, one thread",
            Cpus::Free => "two threads, nothing pinned",
        }
    }
}

/// One way to reach the server.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: String,
    /// Words in which `{listen}`, `{target}`, `{threads}` and `{folder}` are replaced; none for the direct way.
    template: Option<String>,
}

impl Subject {
    /// All that there are on this machine.
    pub fn all() -> Result<Vec<Subject>> {
        let subject = |name: &str, template: &str| Subject { name: name.into(), template: Some(template.into()) };
        let ours = env!("CARGO_BIN_EXE_socket-protector");
        let mut all = vec![
            Subject { name: DIRECT.into(), template: None },
            subject(
                OURS,
                &format!(
                    "{ours} forward -d {{folder}}/run start -f --threads {{threads}} \
                     tcp:{{listen}}:interface=127.0.0.1:backlog=4096 tcp:host=127.0.0.1:port={{target}}"
                ),
            ),
        ];
        let peers = [
            (HAPROXY, "haproxy", "haproxy -db -q -f {folder}/haproxy.cfg"),
            ("haproxy, splice", "haproxy", "haproxy -db -q -f {folder}/haproxy-splice.cfg"),
            ("nginx", "nginx", "nginx -e {folder}/nginx.err -c {folder}/nginx.conf"),
            (
                "socat",
                "socat",
                "socat TCP-LISTEN:{listen},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay \
                 TCP:127.0.0.1:{target},nodelay",
            ),
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        for (name, program, template) in peers {
            let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
            if folders.any(|folder| folder.join(program).exists()) {
                all.push(subject(name, template));
            } else {
                eprintln!("NOTE: {program} is not installed: not measured");
            }
        }
        let more = std::env::var(PEERS).unwrap_or_default();
        for peer in more.split(";;").filter(|peer| !peer.trim().is_empty()) {
            let (name, template) = peer.split_once('|').ok_or_else(|| format!("{PEERS}: expected name|command"))?;
            all.push(subject(name.trim(), template.trim()));
        }
        Ok(all)
    }
}

/// The server, and perhaps a forwarder before it.
pub struct Running {
    pub forwarder: Option<Measured>,
    /// Where the load goes.
    pub port: u16,
    cpus: Cpus,
    _server: Server,
    _folder: TempDir,
}

/// What is behind the forwarder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    Sink,
    Echo,
    /// A daemon that answers once and closes.
    Daemon,
}

/// The server, which ends with its input.
struct Server {
    port: u16,
    _process: Measured,
    _input: Option<ChildStdin>,
}

impl Server {
    fn start(behind: Behind, cpus: Cpus) -> Result<Server> {
        let mut command = Command::new(own_path()?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let daemon_port = free_port()?;
        match behind {
            Behind::Sink | Behind::Echo => command.arg("backend"),
            Behind::Daemon => command.args(["daemon", &format!("bind:{daemon_port}")]),
        };
        let mut child = on_cpu(cpus.load(), || Ok(command.spawn()?))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let process = Measured(child);
        let port = if behind == Behind::Daemon {
            daemon_port
        } else {
            let mut line = String::new();
            output.map_or(Ok(0), |output| BufReader::new(output).read_line(&mut line))?;
            let mut ports = line.split_whitespace().map(str::parse::<u16>);
            let at = usize::from(behind == Behind::Echo);
            ports.nth(at).ok_or("the server did not say its ports")??
        };
        wait_for(port, &mut |_| true)?;
        Ok(Server { port, _process: process, _input: input })
    }
}

impl Running {
    pub fn start(plan: &Plan, subject: &Subject, behind: Behind, cpus: Cpus) -> Result<Running> {
        wait_until_idle(plan.patience);
        let server = Server::start(behind, cpus)?;
        let folder = tempfile::tempdir()?;
        let Some(template) = &subject.template else {
            return Ok(Running { forwarder: None, port: server.port, cpus, _server: server, _folder: folder });
        };
        let port = free_port()?;
        write_configurations(folder.path(), port, server.port, cpus.threads())?;
        let log = File::create(folder.path().join("log"))?;
        let fill = |word: &str| {
            word.replace("{listen}", &port.to_string())
                .replace("{target}", &server.port.to_string())
                .replace("{threads}", &cpus.threads().to_string())
                .replace("{folder}", &folder.path().to_string_lossy())
        };
        let words = template.split_whitespace().map(fill).collect::<Vec<_>>();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut forwarder = Measured(on_cpu(cpus.forwarder(), || Ok(command.spawn()?))?);
        wait_for(port, &mut |_| forwarder.is_alive()).map_err(|error| {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            format!("{}: {error}; it says:\n{log}", subject.name)
        })?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(Running { forwarder: Some(forwarder), port, cpus, _server: server, _folder: folder })
    }

    /// The processor time of the forwarder so far, in seconds.
    pub fn cpu(&self) -> Result<Option<f64>> {
        self.forwarder.as_ref().map(|forwarder| Ok(forwarder.cpu_with_children()?.as_secs_f64())).transpose()
    }

    /// Traffic from beginning to end.
    pub fn traffic(&self, order: &Order) -> Result<Outcome> {
        let child = self.begin(&["traffic", &serde_json::to_string(order)?])?;
        Ok(serde_json::from_slice(&child.wait_with_output()?.stdout)?)
    }

    /// A load of short connections from beginning to end.
    pub fn load(&self, order: &load::Order) -> Result<load::Outcome> {
        let child = self.begin(&["load", &serde_json::to_string(order)?])?;
        Ok(serde_json::from_slice(&child.wait_with_output()?.stdout)?)
    }

    /// A process of this program, with its standard input and output.
    pub fn begin(&self, words: &[&str]) -> Result<Child> {
        let mut command = Command::new(own_path()?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        on_cpu(self.cpus.load(), || Ok(command.spawn()?))
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16, alive: &mut dyn FnMut(u16) -> bool) -> Result<()> {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if !alive(port) || began.elapsed() > Duration::from_secs(15) {
            return Err(format!("nobody serves on port {port}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// For the peers that take theirs from a file.
fn write_configurations(folder: &Path, listen: u16, target: u16, threads: usize) -> Result<()> {
    // HAProxy does not start when twice its connections exceed the limit of open files.
    let haproxy = |most: usize, global: &str, defaults: &str| {
        format!(
            "global\n  nbthread {threads}\n  maxconn {most}\n{global}\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n{defaults}\
             listen l\n  bind 127.0.0.1:{listen} backlog 4096\n  server s 127.0.0.1:{target}\n"
        )
    };
    fs::write(folder.join("haproxy.cfg"), haproxy(9400, "", ""))?;
    fs::write(folder.join("haproxy-splice.cfg"), haproxy(9000, "  maxpipes 400\n", "  option splice-auto\n"))?;
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let module = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let folder_name = folder.display();
    fs::write(
        folder.join("nginx.conf"),
        format!(
            "{module}daemon off;\nworker_processes {threads};\npid {folder_name}/nginx.pid;\n\
             events {{ worker_connections 19000; }}\n\
             stream {{ server {{ listen 127.0.0.1:{listen} backlog=4096; proxy_pass 127.0.0.1:{target};\n\
             proxy_timeout 1h; tcp_nodelay on; proxy_half_close on; }} }}\n"
        ),
    )?;
    Ok(())
}
