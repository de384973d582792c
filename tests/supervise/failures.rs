//! Reloads that fail: the old generation serves on, and the command says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

use crate::harness::client::ask;
use crate::harness::process::descriptors_of;
use crate::harness::scene::suite;
use crate::harness::{Ran, Scene, Setup, Supervisor, eventually, trials};

trials![
    a_child_that_exits_at_once,
    a_child_that_exits_after_a_while,
    a_child_that_is_killed,
    a_child_that_is_never_ready,
    a_child_that_fails_leaves_no_group_behind,
    a_command_that_is_missing,
    a_command_that_is_not_executable,
    a_command_that_is_a_directory,
    a_command_of_a_wrong_format,
    a_command_that_is_being_written,
    an_interpreter_that_is_missing,
    a_child_that_exits_after_ready_is_a_crash,
    a_new_command_that_fails_does_not_replace_the_old,
    the_first_generation_in_the_foreground,
    failed_reloads_leave_nothing_behind,
];

/// A supervisor whose old generation serves, and what must be true of it after a failed reload.
struct Before {
    supervisor: Supervisor,
    pid: Pid,
}

impl Before {
    fn start(setup: Setup) -> Before {
        let supervisor = setup.start();
        let pid = supervisor.serving_pid();
        Before { supervisor, pid }
    }

    /// Reloads into the role, expects a failure, and that the old one serves on.
    #[track_caller]
    fn fails_with(&self, role: &str) -> Ran {
        self.supervisor.scene.role(role);
        let failed = self.supervisor.status()["counters"]["reloads_failed"].as_u64().unwrap();
        let ran = self.supervisor.reload().expect(1).complains();
        self.serves_on(failed + 1);
        ran
    }

    #[track_caller]
    fn serves_on(&self, failed: u64) {
        assert_eq!(ask(self.supervisor.address()).pid, self.pid.as_raw(), "another child answers");
        let status = self.supervisor.status();
        assert_eq!(status["counters"]["reloads_failed"], failed, "{status}");
        assert_eq!(status["last_reload"]["ok"], false, "{status}");
        assert!(status["last_reload"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{status}");
        self.supervisor.wait_settled();
        // And it can still be reloaded.
        self.supervisor.scene.role("echo");
    }
}

fn a_child_that_exits_at_once() {
    let before = Before::start(Setup::alone());
    let ran = before.fails_with("crash_before_ready 0 3");
    ran.says("3").says("reading the configuration").says("no such database: accounts");
    before.supervisor.reload().expect(0);
    assert_eq!(before.supervisor.status()["last_reload"]["ok"], true);
}

fn a_child_that_exits_after_a_while() {
    let before = Before::start(Setup::alone().connections());
    before.fails_with("crash_before_ready 300 4").says("4").says("no such database: accounts");
    // Success as an exit code is no success before ready.
    before.fails_with("crash_before_ready 10 0");
}

fn a_child_that_is_killed() {
    let before = Before::start(Setup::alone());
    before.supervisor.scene.role("never_ready");
    let reload = before.supervisor.begin_reload();
    let status = before.supervisor.wait_status("a second generation starts", |status| {
        status["generations"].as_array().unwrap().iter().any(|it| it["phase"] == "starting")
    });
    let starting =
        status["generations"].as_array().unwrap().iter().find(|it| it["phase"] == "starting").unwrap().clone();
    crate::harness::process::send(crate::harness::supervisor::worker_pid(&starting), nix::sys::signal::Signal::SIGKILL);
    reload.finish(Duration::from_secs(20)).expect(1).complains().says("KILL");
    before.serves_on(1);
}

fn a_child_that_is_never_ready() {
    for pass in ["listener", "connections"] {
        // The one before has to be ready in time, too, on a machine that is busy.
        let setup = Setup::alone().with("--ready channel --ready-timeout 2s --pass").with(pass);
        let before = Before::start(setup);
        let ran = before.fails_with("never_ready");
        assert!(ran.took >= Duration::from_secs(2), "{ran:?}");
        ran.says("ready");
        before.fails_with("silent_alive").says("ready");
        eventually("only the old child is left", || {
            crate::harness::process::children(before.supervisor.pid()) == [before.pid]
        });
    }
}

fn a_child_that_fails_leaves_no_group_behind() {
    let before = Before::start(Setup::alone());
    before.fails_with("leader_leaves").says("9");
    // The shell that ignores TERM was in the failed leader's group.
    eventually("only the supervisor and the old child are left", || before.supervisor.scene.processes().len() == 2);
}

/// Reloads into a command that cannot run.
fn cannot_run(make: impl FnOnce(&Scene), words: &[&str]) {
    let scene = Scene::new();
    let old = scene.script("service", &format!("exec {}", scene.child().join(" ")));
    let path = old.to_str().unwrap().to_owned();
    let before = Before::start(scene.setup().command(&[&path]));
    make(&scene);
    let mut ran = before.supervisor.reload().expect(1).complains();
    for word in words {
        ran = ran.says(word);
    }
    before.serves_on(1);
    let reason = before.supervisor.status()["last_reload"]["reason"].to_string();
    for word in words {
        assert!(reason.to_lowercase().contains(&word.to_lowercase()), "{word:?} is not the reason: {reason}");
    }
}

fn a_command_that_is_missing() {
    let remove = |scene: &Scene| {
        fs::remove_file(scene.path("service")).unwrap();
    };
    cannot_run(remove, &["service", "No such file or directory (os error 2)"]);
}

fn a_command_that_is_not_executable() {
    let forbid = |scene: &Scene| {
        fs::set_permissions(scene.path("service"), fs::Permissions::from_mode(0o644)).unwrap();
    };
    cannot_run(forbid, &["service", "Permission denied (os error 13)"]);
}

fn a_command_that_is_a_directory() {
    let replace = |scene: &Scene| {
        fs::remove_file(scene.path("service")).unwrap();
        fs::create_dir(scene.path("service")).unwrap();
    };
    cannot_run(replace, &["service"]);
}

fn a_command_of_a_wrong_format() {
    let spoil = |scene: &Scene| {
        scene.executable("service", "\u{1}\u{2}\u{3} no program\n");
    };
    cannot_run(spoil, &["service", "Exec format error (os error 8)"]);
}

fn a_command_that_is_being_written() {
    let scene = Scene::new();
    let program = scene.copy(suite().as_ref(), "service");
    let mut command = scene.child();
    command[0] = program.to_str().unwrap().to_owned();
    let before = Before::start(scene.setup().command(&command));
    // The file of a running program cannot be written, so a copy takes its place.
    scene.copy(suite().as_ref(), "service");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec sleep 1000 3>>\"$0\""]).arg(&program);
    let mut writing = scene.mark(&mut shell).spawn().unwrap();
    let writer = Pid::from_raw(i32::try_from(writing.id()).unwrap());
    eventually("somebody writes it", || descriptors_of(writer).get(&3).is_some_and(|it| Path::new(it) == program));
    before.supervisor.reload().expect(1).complains().says("(os error 26)");
    before.serves_on(1);
    writing.kill().unwrap();
    writing.wait().unwrap();
    before.supervisor.reload().expect(0);
}

fn an_interpreter_that_is_missing() {
    let spoil = |scene: &Scene| {
        scene.executable("service", "#!/no/such/interpreter\n");
    };
    cannot_run(spoil, &["service", "(os error 2)"]);
}

fn a_child_that_exits_after_ready_is_a_crash() {
    let supervisor = Setup::alone().with("--respawn-delay 10ms..100ms").start();
    supervisor.scene.role("crash_after_ready 100");
    supervisor.reload().expect(0);
    supervisor.scene.role("echo");
    supervisor
        .wait_status("a good child serves", |status| status["counters"]["respawns"].as_u64().is_some_and(|n| n > 0));
    ask(supervisor.address());
}

fn a_new_command_that_fails_does_not_replace_the_old() {
    let before = Before::start(Setup::alone());
    let scene = &before.supervisor.scene;
    scene.cli(&["reload", "t", "--", "/no/such/program", "x"]).expect(1).complains().says("/no/such/program");
    before.serves_on(1);
    scene.cli(&["reload", "t", "--", "false"]).expect(1).complains();
    before.serves_on(2);
    let status = before.supervisor.status();
    assert_eq!(status["generations"][0]["command"], serde_json::json!(scene.child()), "{status}");
    // A reload without a command takes the old one, which is still the command.
    before.supervisor.reload().expect(0);
    let status = before.supervisor.status();
    assert_eq!(status["generations"].as_array().unwrap().last().unwrap()["command"], serde_json::json!(scene.child()));
}

fn the_first_generation_in_the_foreground() {
    let ran = Setup::alone().role("crash_before_ready 50 3").run();
    ran.expect(1).complains().says("3");
    let ran = Setup::alone().role("crash_before_ready 0 0").run();
    ran.expect(1).complains();
    let ran = Setup::alone().role("never_ready").with("--ready-timeout 400ms --ready channel").run();
    ran.expect(1).complains().says("ready");
    Setup::alone().command(&["/no/such/program"]).run().expect(127).complains().says("/no/such/program");
    Setup::alone().command(&["no-such-program-in-path"]).run().expect(127).complains();
    Setup::alone().command(&["/"]).run().expect(126).complains();
    Setup::alone().command(&["/etc/passwd"]).run().expect(126).complains();
    Setup::alone().command(&[""]).run().complains();
}

fn failed_reloads_leave_nothing_behind() {
    let supervisor = Setup::alone().connections().with("--ready channel --ready-timeout 100ms").start();
    let roles = ["crash_before_ready 0 1", "never_ready", "exec /no/such/program", "leader_leaves"];
    let round = || {
        for role in roles {
            supervisor.scene.role(role);
            supervisor.reload().expect(1);
        }
    };
    round();
    supervisor.wait_settled();
    let before = supervisor.census();
    for _ in 0..5 {
        round();
    }
    crate::harness::until("descriptors and processes are as they were", crate::harness::PATIENCE, || {
        let now = supervisor.census();
        if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
}
