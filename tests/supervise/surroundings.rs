//! What a child finds: descriptors, signals, environment, directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::harness::{Scene, Setup, Supervisor, eventually, trials};

trials![
    a_child_has_its_listeners_and_its_channel_and_nothing_else,
    inherited_junk_does_not_reach_the_child,
    closed_standard_streams_are_replaced,
    what_an_outer_manager_set_is_removed,
    directory_and_umask_are_the_callers,
    the_next_generation_finds_the_same,
    a_child_leads_its_own_group,
    the_supervisor_keeps_nothing_it_inherited,
];

/// A child that first has its signals written down by the shell, since its own runtime changes them,
/// and then describes itself.
struct Probe {
    supervisor: Supervisor,
    json: PathBuf,
    status: PathBuf,
}

impl Probe {
    fn start(setup: Setup) -> Probe {
        let scene = Arc::clone(setup.scene());
        let (json, status) = (scene.path("probe.json"), scene.path("probe.status"));
        let mut command: Vec<String> =
            ["/bin/sh", "-c", "cat /proc/self/status > \"$0\" && exec \"$@\""].map(str::to_owned).into();
        command.push(status.to_str().unwrap().to_owned());
        command.extend(scene.child()[..2].iter().cloned());
        command.extend(["probe".to_owned(), json.to_str().unwrap().to_owned()]);
        let supervisor = setup.command(&command).start();
        Probe { supervisor, json, status }
    }

    /// The description by the latest child.
    fn seen(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.json).unwrap()).unwrap()
    }

    /// One line of the status that a program executed by the child sees.
    fn signals(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(&self.status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim().to_owned();
        u64::from_str_radix(&line, 16).unwrap()
    }

    fn descriptors(&self) -> BTreeMap<i32, String> {
        let seen = self.seen();
        let all = seen["descriptors"].as_object().unwrap().iter();
        all.map(|(number, it)| (number.parse().unwrap(), it["target"].as_str().unwrap().to_owned())).collect()
    }

    /// Default dispositions and an empty mask.
    #[track_caller]
    fn expect_clean_signals(&self) {
        for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd"] {
            assert_eq!(self.signals(name), 0, "{name} {:x}", self.signals(name));
        }
    }

    #[track_caller]
    fn expect_clean_descriptors(&self, listeners: i32) {
        let seen = self.seen();
        let channel: i32 = seen["environment"]["SOCKET_PROTECTOR_CHANNEL"].as_str().unwrap().parse().unwrap();
        let descriptors = self.descriptors();
        assert_eq!(descriptors[&0], "/dev/null", "stdin: {descriptors:?}");
        for number in 0..3 {
            assert!(descriptors.contains_key(&number), "{number} is closed: {descriptors:?}");
        }
        for number in (3..3 + listeners).chain([channel]) {
            assert!(descriptors[&number].starts_with("socket:"), "{number}: {descriptors:?}");
        }
        let expected = 3 + listeners + 1;
        assert_eq!(i32::try_from(descriptors.len()).unwrap(), expected, "{descriptors:?}");
    }
}

fn a_child_has_its_listeners_and_its_channel_and_nothing_else() {
    let probe = Probe::start(Setup::alone().listen(&["127.0.0.1:0", "127.0.0.1:0"]));
    probe.expect_clean_descriptors(2);
    probe.expect_clean_signals();
    let probe = Probe::start(Setup::alone().connections().listen(&["127.0.0.1:0", "127.0.0.1:0"]));
    probe.expect_clean_descriptors(0);
    let environment = probe.seen()["environment"].clone();
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        assert_eq!(environment[name], Value::Null, "{name} without sockets: {environment}");
    }
    let probe = Probe::start(Setup::alone().daemon());
    probe.expect_clean_descriptors(1);
    probe.expect_clean_signals();
}

fn inherited_junk_does_not_reach_the_child() {
    let junk = "stray 3 stray 4 stray 5 stray 9 stray 20 stray 63 ignore SIGHUP ignore SIGPIPE ignore SIGCHLD \
                ignore SIGUSR1 ignore SIGTERM block SIGHUP block SIGTERM block SIGCHLD block SIGUSR2 block SIGALRM";
    for daemon in [false, true] {
        let setup = Setup::alone().wrap(junk);
        let probe = Probe::start(if daemon { setup.daemon() } else { setup });
        probe.expect_clean_descriptors(1);
        probe.expect_clean_signals();
        // Nor does it harm the supervisor: it sees the end of a child, a reload, a stop.
        probe.supervisor.hup();
        probe.supervisor.wait_status("the reload is done", |status| status["counters"]["reloads"] == 1);
        probe.supervisor.wait_settled();
    }
}

fn closed_standard_streams_are_replaced() {
    for closed in ["close 0", "close 1", "close 2", "close 0 close 1 close 2"] {
        let probe = Probe::start(Setup::alone().wrap(closed));
        probe.expect_clean_descriptors(1);
        probe.supervisor.reload().expect(0);
        let probe = Probe::start(Setup::alone().wrap(closed).daemon());
        probe.expect_clean_descriptors(1);
    }
}

fn what_an_outer_manager_set_is_removed() {
    let outer = [
        ("LISTEN_FDS", "2"),
        ("LISTEN_PID", "1"),
        ("LISTEN_FDNAMES", "a:b"),
        ("NOTIFY_SOCKET", "/no/such/socket"),
        ("NOTIFY_FD", "9"),
        ("WATCHDOG_USEC", "1000000"),
        ("WATCHDOG_PID", "1"),
        ("SERVER_STARTER_PORT", "80=3"),
        ("SERVER_STARTER_GENERATION", "9"),
        ("EINHORN_MASTER_PID", "1"),
        ("EINHORN_SOCK_PATH", "/no/such/socket"),
        ("EINHORN_FD_COUNT", "9"),
        ("EINHORN_FD_0", "9"),
        ("EINHORN_FDS", "9"),
        ("EINHORN_CHILD_INDEX", "3"),
        ("SOCKET_PROTECTOR_CHANNEL", "99"),
        ("SOCKET_PROTECTOR_GENERATION", "99"),
        ("SOCKET_PROTECTOR_LISTENERS", "99"),
        ("SOCKET_PROTECTOR_NAME", "outer"),
    ];
    for pass in ["listener", "connections"] {
        let mut setup = Setup::alone().with("--pass").with(pass).env("KEPT", "as it is");
        for (name, value) in outer {
            setup = setup.env(name, value);
        }
        let probe = Probe::start(setup);
        let seen = probe.seen();
        let environment = &seen["environment"];
        for (name, value) in outer {
            assert_ne!(environment[name], value, "{name} of the outer manager has passed: {environment}");
        }
        let notify = probe.supervisor.scene.path("run/t.child/notify");
        assert_eq!(environment["NOTIFY_SOCKET"], notify.to_str().unwrap());
        for name in ["NOTIFY_FD", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            assert_eq!(environment[name], Value::Null, "{environment}");
        }
        assert_eq!(environment["KEPT"], "as it is");
        assert_eq!(environment["SOCKET_PROTECTOR_NAME"], "t");
        assert_eq!(environment["SOCKET_PROTECTOR_GENERATION"], "1");
        let sockets = if pass == "listener" { Value::from("1") } else { Value::Null };
        assert_eq!(environment["LISTEN_FDS"], sockets);
    }
}

fn directory_and_umask_are_the_callers() {
    for daemon in [false, true] {
        let scene = Scene::new();
        let setup = scene.setup().cwd(scene.path(".")).wrap("umask 027");
        let probe = Probe::start(if daemon { setup.daemon() } else { setup });
        let seen = probe.seen();
        assert_eq!(seen["cwd"], std::fs::canonicalize(scene.path(".")).unwrap().to_str().unwrap());
        assert_eq!(seen["status"]["Umask"], "0027");
    }
}

fn the_next_generation_finds_the_same() {
    let probe = Probe::start(Setup::alone());
    let first = probe.seen();
    for generation in 2..5 {
        probe.supervisor.reload().expect(0);
        probe.supervisor.wait_settled();
        probe.expect_clean_descriptors(1);
        probe.expect_clean_signals();
        let seen = probe.seen();
        assert_eq!(seen["environment"]["SOCKET_PROTECTOR_GENERATION"], generation.to_string());
        assert_eq!(seen["environment"]["LISTEN_PID"], seen["pid"].to_string());
        for what in ["cwd", "ppid"] {
            assert_eq!(seen[what], first[what]);
        }
    }
}

fn a_child_leads_its_own_group() {
    for daemon in [false, true] {
        let setup = Setup::alone();
        let probe = Probe::start(if daemon { setup.daemon() } else { setup });
        let seen = probe.seen();
        assert_eq!(seen["group"], seen["pid"]);
        assert_eq!(seen["ppid"], probe.supervisor.pid().as_raw());
    }
}

fn the_supervisor_keeps_nothing_it_inherited() {
    let junk = "stray 3 stray 7 stray 40";
    for daemon in [false, true] {
        let setup = Setup::alone().wrap(junk);
        let probe = Probe::start(if daemon { setup.daemon() } else { setup });
        // A daemon that keeps the pipe of whoever started it would make that one wait for ever.
        if daemon {
            eventually("the strays are closed", || !probe.supervisor.census().descriptors.contains_key("/etc/passwd"));
        }
    }
}
