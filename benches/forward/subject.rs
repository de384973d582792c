//! What is measured: the server reached directly, or through a forwarder.

use crate::Plan;
use crate::common::Result;
use crate::common::load;
use crate::common::machine::{free_port, on_cpu, own_path, wait_for, wait_until_idle};
use crate::common::process::Measured;
use crate::traffic::{Order, Outcome};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Further forwarders: `name|command`, separated by `;;`. The command is a template.
const PEERS: &str = "FORWARD_PEERS";

/// No forwarder.
pub const DIRECT: &str = "direct";
/// Ours.
pub const OURS: &str = "ours";
/// Ours, as a supervisor that relays.
pub const RELAY: &str = "--pass relay";
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
    /// The same, where it ends TLS with the files in `{folder}`.
    secure: Option<String>,
    /// It is its own server's supervisor: `{server}` begins that server's command.
    supervises: bool,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Plain,
    Tls,
}

impl Subject {
    /// All that there are on this machine.
    pub fn all() -> Result<Vec<Subject>> {
        let subject = |name: &str, template: &str| Subject {
            name: name.into(),
            template: Some(template.into()),
            secure: None,
            supervises: false,
        };
        let ends_tls = |subject: Subject, template: &str| Subject { secure: Some(template.into()), ..subject };
        let ours = env!("CARGO_BIN_EXE_socket-protector");
        let mut all = vec![
            Subject { name: DIRECT.into(), template: None, secure: None, supervises: false },
            ends_tls(
                subject(
                    OURS,
                    &format!(
                        "{ours} forward -d {{folder}}/run start -f --threads {{threads}} \
                     tcp:{{listen}}:interface=127.0.0.1:backlog=4096 tcp:host=127.0.0.1:port={{target}}"
                    ),
                ),
                &format!(
                    "{ours} forward -d {{folder}}/run start -f --threads {{threads}} \
                 ssl:{{listen}}:interface=127.0.0.1:backlog=4096:privateKey={{folder}}/server.pem \
                 tcp:host=127.0.0.1:port={{target}}"
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
                let subject = subject(name, template);
                // The whole of what differs between the two files is the listener.
                let secure = template.replace("haproxy.cfg", "haproxy-tls.cfg").replace("nginx.conf", "nginx-tls.conf");
                all.push(if secure == template { subject } else { ends_tls(subject, &secure) });
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

    /// A supervisor of ours that relays to the server, its child.
    pub fn relay() -> Subject {
        let ours = env!("CARGO_BIN_EXE_socket-protector");
        let template = format!(
            "{ours} -f --pass relay --ready tcp --run-dir {{folder}}/run --backlog 4096 127.0.0.1:{{listen}} -- {{server}}"
        );
        Subject { name: RELAY.into(), template: Some(template), secure: None, supervises: true }
    }

    pub fn ends_tls(&self) -> bool {
        self.secure.is_some()
    }
}

/// The server, and perhaps a forwarder before it.
pub struct Running {
    pub forwarder: Option<Measured>,
    /// Where the load goes.
    pub port: u16,
    cpus: Cpus,
    supervises: bool,
    _server: Server,
    folder: TempDir,
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
    pub fn start(plan: &Plan, subject: &Subject, (front, behind): (Front, Behind), cpus: Cpus) -> Result<Running> {
        wait_until_idle(plan.patience);
        let server = Server::start(behind, cpus)?;
        let folder = tempfile::tempdir()?;
        let template = if front == Front::Tls { &subject.secure } else { &subject.template };
        let supervises = subject.supervises;
        let Some(template) = template else {
            return Ok(Running { forwarder: None, port: server.port, cpus, supervises, _server: server, folder });
        };
        crate::stream::make_files(folder.path())?;
        let own = own_path()?;
        let child = if behind == Behind::Daemon { "daemon bind:{port}" } else { "backend {port}" };
        let port = free_port()?;
        write_configurations(folder.path(), port, server.port, cpus.threads())?;
        let log = File::create(folder.path().join("log"))?;
        let fill = |word: &str| {
            word.replace("{own}", &own)
                .replace("{listen}", &port.to_string())
                .replace("{target}", &server.port.to_string())
                .replace("{threads}", &cpus.threads().to_string())
                .replace("{folder}", &folder.path().to_string_lossy())
        };
        let template = template.replace("{server}", &format!("{{own}} {child}"));
        let words = template.split_whitespace().map(fill).collect::<Vec<_>>();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut forwarder = Measured(on_cpu(cpus.forwarder(), || Ok(command.spawn()?))?);
        wait_for(port, &mut |_| forwarder.is_alive()).map_err(|error| {
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            format!("{}: {error}; it says:\n{log}", subject.name)
        })?;
        std::thread::sleep(Duration::from_millis(200));
        if supervises {
            // Connections are held until its child is ready.
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(Running { forwarder: Some(forwarder), port, cpus, supervises, _server: server, folder })
    }

    /// Where the files for TLS are.
    pub fn folder(&self) -> String {
        self.folder.path().to_string_lossy().into_owned()
    }

    /// The processor time of the forwarder so far, in seconds; without the server, where that is its child.
    pub fn cpu(&self) -> Result<Option<f64>> {
        let cpu = |forwarder: &Measured| if self.supervises { forwarder.cpu() } else { forwarder.cpu_with_children() };
        self.forwarder.as_ref().map(|forwarder| Ok(cpu(forwarder)?.as_secs_f64())).transpose()
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

/// For the peers that take theirs from a file.
fn write_configurations(folder: &Path, listen: u16, target: u16, threads: usize) -> Result<()> {
    // HAProxy does not start when twice its connections exceed the limit of open files.
    let haproxy = |most: usize, global: &str, defaults: &str, bind: &str| {
        format!(
            "global\n  nbthread {threads}\n  maxconn {most}\n{global}\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n{defaults}\
             listen l\n  bind 127.0.0.1:{listen} backlog 4096{bind}\n  server s 127.0.0.1:{target}\n"
        )
    };
    let folder_name = folder.display();
    fs::write(folder.join("haproxy.cfg"), haproxy(9400, "", "", ""))?;
    fs::write(folder.join("haproxy-splice.cfg"), haproxy(9000, "  maxpipes 400\n", "  option splice-auto\n", ""))?;
    let ciphers =
        "  ssl-default-bind-ciphersuites TLS_AES_256_GCM_SHA384\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n";
    let bind = format!(" ssl crt {folder_name}/server.pem");
    fs::write(folder.join("haproxy-tls.cfg"), haproxy(9000, ciphers, "", &bind))?;
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let module = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let nginx = |ssl: &str, files: &str| {
        format!(
            "{module}daemon off;\nworker_processes {threads};\npid {folder_name}/nginx.pid;\n\
             events {{ worker_connections 19000; }}\n\
             stream {{ server {{ listen 127.0.0.1:{listen} backlog=4096{ssl}; proxy_pass 127.0.0.1:{target};\n\
             proxy_timeout 1h; tcp_nodelay on; proxy_half_close on;{files} }} }}\n"
        )
    };
    let files = format!(
        " ssl_certificate {folder_name}/server.pem; ssl_certificate_key {folder_name}/server.pem;\n\
         ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;"
    );
    fs::write(folder.join("nginx.conf"), nginx("", ""))?;
    fs::write(folder.join("nginx-tls.conf"), nginx(" ssl", &files))?;
    Ok(())
}
