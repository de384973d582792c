//! The init script, run as init runs it: almost no environment, and only its exit code counts.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::client::{Client, ask};
use crate::harness::process::{alive, reap, send};
use crate::harness::ran::Running;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Ran, Scene, eventually, trials, trials_with};

trials![
    the_life_of_a_service,
    a_service_that_is_not_running,
    a_service_that_was_killed,
    a_pid_file_that_names_a_stranger,
    a_start_that_fails_says_why,
    a_reload_that_fails_says_why,
    a_reload_takes_the_command_as_configured_now,
    a_stop_ends_when_the_process_has_gone,
    a_stop_that_has_to_kill,
    a_restart_that_could_not_start_again_does_not_stop,
    what_is_not_installed,
    what_is_not_configured,
    wrong_arguments,
    quoted_words,
    started_by_a_numbered_link,
    without_the_functions_of_the_lsb,
];

trials_with!["bash --version" => the_life_of_a_service_by_bash];

/// Those that need another shell, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

/// The shells that init may run it by.
const SH: &[&str] = &["sh"];
const BASH: &[&str] = &["bash", "--posix"];

const SCRIPT: &str = include_str!("../init.d/socket-protector");

/// A service with its script and its configuration in a scene.
struct Service {
    scene: Arc<Scene>,
    script: PathBuf,
    shell: &'static [&'static str],
}

impl Service {
    fn new() -> Service {
        let scene = Scene::new();
        scene.role("echo");
        let folder = scene.path("default").to_str().unwrap().to_owned();
        assert!(SCRIPT.contains("/etc/default"));
        fs::create_dir(&folder).unwrap();
        let script = scene.write("mydaemon", &SCRIPT.replace("/etc/default", &folder));
        let service = Service { scene, script, shell: SH };
        service.configure(&[]);
        service
    }

    /// Writes the configuration, with these settings instead of or besides those that work.
    fn configure(&self, changes: &[(&str, &str)]) {
        let path = |name: &str| self.scene.path(name).to_str().unwrap().to_owned();
        let mut settings = vec![
            ("DAEMON", binary().to_str().unwrap().to_owned()),
            ("PIDFILE", path("pid")),
            ("RUN_DIR", path("run")),
            ("LISTEN", "127.0.0.1:0".to_owned()),
            ("OPTIONS", format!("--log-file {}", path("log"))),
            ("COMMAND", self.scene.child().join(" ")),
        ];
        for (name, value) in changes {
            settings.retain(|(setting, _)| setting != name);
            settings.push((name, (*value).to_owned()));
        }
        let lines = settings.iter().map(|(name, value)| format!("{name}='{value}'\n"));
        self.scene.write("default/mydaemon", &lines.collect::<String>());
    }

    /// Runs the script; the surroundings are those of service(8).
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(self.shell[0]);
        command.args(&self.shell[1..]).arg(&self.script).args(arguments).env_clear().env("LANG", "C");
        Running::start(self.scene.mark(&mut command)).finish(PATIENCE * 2)
    }

    fn status(&self) -> Value {
        self.scene.cli(&["status", "mydaemon", "--json"]).expect(0).json()
    }

    fn address(&self) -> SocketAddr {
        self.status()["listeners"][0]["address"].as_str().unwrap().parse().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.scene.read("pid").trim().parse().unwrap())
    }

    /// Stops it and checks that nothing is left.
    #[track_caller]
    fn stop(&self) -> Ran {
        let pid = self.pid();
        let ran = self.run(&["stop"]).expect(0);
        assert!(!alive(pid), "it runs after its stop");
        reap(pid);
        self.run(&["status"]).expect(3);
        ran
    }
}

fn the_life_of_a_service() {
    lives_by(SH);
}

fn the_life_of_a_service_by_bash() {
    lives_by(BASH);
}

fn lives_by(shell: &'static [&'static str]) {
    let service = Service { shell, ..Service::new() };
    service.run(&["status"]).expect(3);
    service.run(&["start"]).expect(0);
    let pid = service.pid();
    let status = service.run(&["status"]).expect(0);
    assert!(status.out.contains(&pid.to_string()), "{status:?}");
    assert_eq!(ask(service.address()).generation, 1);
    service.run(&["start"]).expect(0);
    assert_eq!(service.pid(), pid, "a second start has replaced it");
    service.run(&["reload"]).expect(0);
    assert_eq!(ask(service.address()).generation, 2);
    service.run(&["force-reload"]).expect(0);
    assert_eq!(ask(service.address()).generation, 3);
    assert_eq!(service.pid(), pid);
    for restart in ["restart", "try-restart"] {
        let pid = service.pid();
        service.run(&[restart]).expect(0);
        reap(pid);
        assert_ne!(service.pid(), pid, "{restart} has left it as it was");
        assert_eq!(ask(service.address()).generation, 1);
    }
    service.stop();
    assert!(!service.scene.path("pid").exists(), "the pid file stays behind");
}

fn a_service_that_is_not_running() {
    let service = Service::new();
    service.run(&["stop"]).expect(0);
    service.run(&["reload"]).expect(7);
    service.run(&["force-reload"]).expect(7);
    service.run(&["try-restart"]).expect(0);
    service.run(&["status"]).expect(3);
    service.run(&["restart"]).expect(0);
    ask(service.address());
    service.stop();
}

fn a_service_that_was_killed() {
    let service = Service::new();
    for next in ["stop", "start"] {
        service.run(&["start"]).expect(0);
        let pid = service.pid();
        send(pid, Signal::SIGKILL);
        eventually("it is dead", || !alive(pid));
        service.run(&["status"]).expect(1);
        service.run(&["reload"]).expect(7);
        service.run(&[next]).expect(0);
        reap(pid);
    }
    ask(service.address());
    service.stop();
}

fn a_pid_file_that_names_a_stranger() {
    let service = Service::new();
    for text in [&format!("{}\n", std::process::id()), "", "0\n", "-1\n", "1 2\n", "not a pid\n"] {
        service.scene.write("pid", text);
        service.run(&["status"]).expect(1);
        service.run(&["reload"]).expect(7);
        service.run(&["start"]).expect(0);
        ask(service.address());
        service.stop();
    }
}

fn a_start_that_fails_says_why() {
    let service = Service::new();
    service.scene.role("crash_before_ready 0 3");
    service.run(&["start"]).expect(1).says("no such database: accounts");
    service.run(&["status"]).expect(3);
}

fn a_reload_that_fails_says_why() {
    let service = Service::new();
    service.run(&["start"]).expect(0);
    let before = ask(service.address()).pid;
    service.scene.role("crash_before_ready 0 3");
    service.run(&["reload"]).expect(1).says("no such database: accounts");
    service.run(&["status"]).expect(0);
    assert_eq!(ask(service.address()).pid, before, "another child answers");
    service.stop();
}

fn a_reload_takes_the_command_as_configured_now() {
    let service = Service::new();
    service.run(&["start"]).expect(0);
    service.configure(&[("COMMAND", &format!("{} plus", service.scene.child().join(" ")))]);
    // A word too many, and the role does not start.
    service.run(&["reload"]).expect(1);
    service.scene.script("wrapped", &format!("exec {}", service.scene.child().join(" ")));
    service.configure(&[("COMMAND", service.scene.path("wrapped").to_str().unwrap())]);
    service.run(&["reload"]).expect(0);
    let status = service.status();
    let serving = status["generations"].as_array().unwrap().iter().find(|it| it["phase"] == "serving").unwrap();
    assert_eq!(serving["command"][0], service.scene.path("wrapped").to_str().unwrap(), "{status}");
    service.stop();
}

fn a_stop_ends_when_the_process_has_gone() {
    let service = Service::new();
    service.run(&["start"]).expect(0);
    let mut client = Client::connect(service.address()).unwrap();
    client.ask(Duration::ZERO, "before").unwrap();
    client.send(Duration::from_millis(700), "meanwhile").unwrap();
    let waiting = std::thread::spawn(move || client.receive("meanwhile").map(drop));
    let ran = service.stop();
    waiting.join().unwrap().unwrap();
    assert!(ran.took >= Duration::from_millis(500), "it did not wait for the connection: {ran:?}");
}

fn a_stop_that_has_to_kill() {
    let service = Service::new();
    let log = service.scene.path("log");
    service.configure(&[("OPTIONS", &format!("--log-file {} --stop-timeout 100ms", log.display()))]);
    service.scene.role("ignores_drain");
    service.run(&["start"]).expect(0);
    service.stop().says("killed");
}

fn a_restart_that_could_not_start_again_does_not_stop() {
    let service = Service::new();
    service.run(&["start"]).expect(0);
    let pid = service.pid();
    service.configure(&[("LISTEN", "")]);
    service.run(&["restart"]).expect(6);
    service.run(&["status"]).expect(0);
    assert_eq!(service.pid(), pid);
    ask(service.address());
    service.stop();
}

fn what_is_not_installed() {
    let service = Service::new();
    service.configure(&[("DAEMON", "/no/such/program")]);
    service.run(&["start"]).expect(5).says("/no/such/program");
    service.run(&["reload"]).expect(5);
    service.run(&["stop"]).expect(0);
    service.run(&["status"]).expect(3);
    service.configure(&[("COMMAND", "/no/such/command")]);
    service.run(&["start"]).expect(5).says("/no/such/command");
}

fn what_is_not_configured() {
    let service = Service::new();
    for (setting, value) in [("LISTEN", ""), ("COMMAND", ""), ("LISTEN", "70000"), ("OPTIONS", "--no-such-option")] {
        service.configure(&[(setting, value)]);
        service.run(&["start"]).expect(6);
        service.run(&["status"]).expect(3);
    }
    fs::remove_file(service.scene.path("default/mydaemon")).unwrap();
    service.run(&["start"]).expect(6);
}

fn wrong_arguments() {
    let service = Service::new();
    for arguments in [&[][..], &["dance"], &["start", "now"], &[""]] {
        service.run(arguments).expect(2).says("usage: ");
    }
    service.run(&["status"]).expect(3);
}

fn quoted_words() {
    let service = Service::new();
    let role = service.scene.write("a role * of blanks", "echo");
    let command = service.scene.child();
    service.configure(&[("COMMAND", &format!("{} \"{}\"", command[..3].join(" "), role.display()))]);
    service.run(&["start"]).expect(0);
    let status = service.status();
    assert_eq!(status["generations"][0]["command"][3], role.to_str().unwrap(), "{status}");
    service.run(&["reload"]).expect(0);
    service.stop();
}

fn started_by_a_numbered_link() {
    let service = Service::new();
    let link = service.scene.path("S20mydaemon");
    std::os::unix::fs::symlink(&service.script, &link).unwrap();
    let linked = Service { script: link, ..service };
    linked.run(&["start"]).expect(0);
    assert_eq!(linked.status()["name"], "mydaemon");
    linked.stop();
}

fn without_the_functions_of_the_lsb() {
    let service = Service::new();
    let text = fs::read_to_string(&service.script).unwrap();
    assert!(text.contains("/lib/lsb/init-functions"));
    service.scene.write("mydaemon", &text.replace("/lib/lsb/init-functions", "/no/such/file"));
    service.run(&["start"]).expect(0);
    assert!(service.run(&["status"]).expect(0).out.contains("mydaemon is running"));
    service.stop();
    service.run(&["reload"]).expect(7).says("mydaemon: not running");
}
