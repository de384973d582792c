//! What is measured: the server reached directly, or through a proxy.

use crate::Plan;
use crate::client::{Order, Outcome, get};
use crate::common::Result;
use crate::common::machine::{own_path, wait_until_idle};
use crate::common::process::Measured;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No proxy.
pub const DIRECT: &str = "direct";
/// Ours.
pub const OURS: &str = "ours";
/// What ours is compared with.
pub const PLAIN: &str = "hyper";

/// Other builds of ours, to be compared with this one: `before|/path/to/socket-protector;;…`.
const BUILDS: &str = "DEV_BUILDS";

/// One way to reach the server.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: String,
    ours: bool,
    /// Words in which `{own}`, `{listen}`, `{target}` and `{folder}` are replaced; none for the direct way.
    template: Option<String>,
}

impl Subject {
    /// All that there are on this machine.
    pub fn all() -> Vec<Subject> {
        let subject =
            |name: &str, template: &str| Subject { name: name.into(), ours: false, template: Some(template.into()) };
        let mut all = vec![
            Subject { name: DIRECT.into(), ours: false, template: None },
            Subject::ours(OURS, env!("CARGO_BIN_EXE_socket-protector")),
            subject(PLAIN, "{own} plain {listen} {target}"),
        ];
        let builds = std::env::var(BUILDS).unwrap_or_default();
        let builds = builds.split(";;").filter_map(|build| build.split_once('|'));
        all.extend(builds.map(|(name, path)| Subject::ours(name.trim(), path.trim())));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
        if folders.any(|folder| folder.join("nginx").exists()) {
            all.push(subject("nginx", "nginx -e {folder}/nginx.err -c {folder}/nginx.conf"));
        } else {
            eprintln!("NOTE: nginx is not installed: NOT MEASURED");
        }
        all
    }

    fn ours(name: &str, path: &str) -> Subject {
        let template = format!(
            "{path} -q dev 127.0.0.1:{{listen}} 127.0.0.1:{{target}} --no-livereload --run-dir {{folder}}/run \
             --exec {{own}} web {{target}}"
        );
        Subject { name: name.into(), ours: true, template: Some(template) }
    }

    pub fn is_ours(&self) -> bool {
        self.ours
    }
}

/// The server, and perhaps a proxy before it.
pub struct Running {
    pub proxy: Option<Measured>,
    /// Ours starts its server itself.
    _server: Option<Measured>,
    /// Where clients go.
    pub port: u16,
    ours: bool,
    folder: TempDir,
}

impl Running {
    pub fn start(plan: &Plan, subject: &Subject) -> Result<Running> {
        wait_until_idle(plan.patience);
        let (folder, target, listen) = (tempfile::tempdir()?, free_port()?, free_port()?);
        fs::create_dir(folder.path().join("site"))?;
        let own = own_path()?;
        let server = if subject.is_ours() { None } else { Some(start(&folder, &[&own, "web", &target.to_string()])?) };
        let Some(template) = &subject.template else {
            let running = Running { proxy: None, _server: server, port: target, ours: false, folder };
            running.wait_for_an_answer()?;
            return Ok(running);
        };
        write_configuration(folder.path(), listen, target)?;
        let fill = |word: &str| {
            word.replace("{own}", &own)
                .replace("{listen}", &listen.to_string())
                .replace("{target}", &target.to_string())
                .replace("{folder}", &folder.path().to_string_lossy())
        };
        let words = template.split_whitespace().map(fill).collect::<Vec<_>>();
        let proxy = Some(start(&folder, &words)?);
        let running = Running { proxy, _server: server, port: listen, ours: subject.is_ours(), folder };
        running.wait_for_an_answer()?;
        Ok(running)
    }

    fn wait_for_an_answer(&self) -> Result<()> {
        let began = Instant::now();
        while !matches!(get(self.port), Ok(Some(_))) {
            if began.elapsed() > Duration::from_secs(15) {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("no answer; it says:\n{log}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A file that ours watches.
    pub fn watched(&self) -> PathBuf {
        self.folder.path().join("site/file")
    }

    /// The processor time of the proxy so far, in seconds; without the server, which is ours' child.
    pub fn cpu(&self) -> Result<Option<f64>> {
        let cpu = |proxy: &Measured| if self.ours { proxy.cpu() } else { proxy.cpu_with_children() };
        self.proxy.as_ref().map(|proxy| Ok(cpu(proxy)?.as_secs_f64())).transpose()
    }

    /// The most memory that it has had resident, in KiB; with nginx's worker, where there is one.
    pub fn peak(&self) -> Result<f64> {
        let proxy = self.proxy.as_ref().ok_or("no proxy")?;
        let others = if self.ours { Vec::new() } else { proxy.children()? };
        let peaks = others.into_iter().chain([proxy.pid()]).map(|pid| -> Result<f64> {
            let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        });
        peaks.sum()
    }

    /// The processor time of the proxy's first process so far, in ticks, as `ps` and `top` have it.
    pub fn ticks(&self) -> Result<u64> {
        let pid = self.proxy.as_ref().ok_or("no proxy")?.pid();
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may have spaces; utime and stime are the fields 14 and 15, and the third comes after it.
        let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        Ok(fields.skip(11).take(2).map_while(|field| field.parse::<u64>().ok()).sum())
    }

    /// What clients do, from beginning to end.
    pub fn clients(&self, order: &Order) -> Result<Outcome> {
        let done = Command::new(own_path()?).args(["client", &serde_json::to_string(order)?]).output()?;
        serde_json::from_slice(&done.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&done.stderr)).into())
    }
}

fn start<T: AsRef<str>>(folder: &TempDir, words: &[T]) -> Result<Measured> {
    let log = File::options().create(true).append(true).open(folder.path().join("log"))?;
    let mut command = Command::new(words[0].as_ref());
    command.args(words[1..].iter().map(AsRef::as_ref)).current_dir(folder.path().join("site"));
    Ok(Measured(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A proxy that passes bodies on as they come, and keeps no connection to the server, as it does unless told otherwise.
fn write_configuration(folder: &Path, listen: u16, target: u16) -> Result<()> {
    let name = folder.display();
    let text = format!(
        "daemon off;\nworker_processes 2;\npid {name}/nginx.pid;\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {name}/body; proxy_temp_path {name}/proxy;\n\
         fastcgi_temp_path {name}/fastcgi; uwsgi_temp_path {name}/uwsgi; scgi_temp_path {name}/scgi;\n\
         keepalive_requests 1000000000; client_max_body_size 0;\n\
         server {{ listen 127.0.0.1:{listen}; location / {{ proxy_pass http://127.0.0.1:{target};\n\
         proxy_http_version 1.1; proxy_set_header Connection close; proxy_set_header Host $host;\n\
         proxy_request_buffering off; proxy_buffering off; }} }} }}\n"
    );
    Ok(fs::write(folder.join("nginx.conf"), text)?)
}
