//! In the background: the starter's answer, the pid file, and the second instance.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::harness::client::ask;
use crate::harness::process::{self, Exit, alive, parent};
use crate::harness::{Scene, Setup, eventually, trials, trials_of_root};

trials![
    the_starter_ends_when_the_first_generation_is_ready,
    the_daemon_leaves_its_starter,
    the_starter_tells_of_a_child_that_fails,
    the_starter_tells_of_a_child_that_is_never_ready,
    the_starter_tells_of_a_command_that_is_not_found,
    the_starter_tells_of_a_command_that_cannot_run,
    the_pid_file_holds_the_pid_and_goes_with_the_instance,
    a_foreground_instance_has_a_pid_file_too,
    a_second_instance_is_refused_before_the_file_is_touched,
    a_stale_pid_file_is_no_obstacle,
    a_pid_file_left_by_a_crash_is_no_obstacle,
    a_pid_file_that_somebody_else_replaced_is_left_alone,
    a_pid_file_in_no_directory_is_a_failure,
    a_second_instance_of_the_same_name_is_refused,
    a_relative_pid_file_is_the_callers,
    hup_right_after_the_pid_file_appears_is_a_reload,
    without_syslog_it_serves_all_the_same,
    a_pid_file_that_is_no_file_is_a_failure,
    a_run_directory_that_is_no_directory_is_a_failure,
    whoever_reads_the_starters_output_reads_its_end,
];

/// Trials that need another user.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

trials_of_root![a_privileged_port_is_a_failure, a_pid_file_without_rights_is_a_failure];

fn the_starter_ends_when_the_first_generation_is_ready() {
    // No wait for anything after the starter: what it promised holds at once.
    let daemon = Setup::alone().daemon().role("slow_start 700").launch();
    let status = daemon.status();
    assert_eq!(status["generations"][0]["phase"], "serving", "{status}");
    assert_eq!(ask(daemon.address()).pid, daemon.serving_pid().as_raw());
}

fn the_daemon_leaves_its_starter() {
    let daemon = Setup::alone().daemon().start();
    let starter = std::process::id();
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let session: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().parse().unwrap();
    let ours = nix::unistd::getsid(None).unwrap();
    assert_ne!(session, ours.as_raw(), "it is still in our session");
    assert_eq!(parent(daemon.pid()).unwrap().as_raw(), i32::try_from(starter).unwrap(), "the subreaper has it");
    for (number, target) in process::descriptors_of(daemon.pid()).into_iter().take_while(|(number, _)| *number < 3) {
        assert_eq!(target, "/dev/null", "descriptor {number} of the daemon");
    }
}

fn the_starter_tells_of_a_child_that_fails() {
    let setup = Setup::alone().daemon().role("crash_before_ready 100 5");
    let scene = Arc::clone(setup.scene());
    let ran = setup.run().expect(1).complains();
    ran.says("exit").says("5").says("no such database: accounts");
    assert!(!scene.path("pid").exists(), "the pid file stays behind");
}

fn the_starter_tells_of_a_child_that_is_never_ready() {
    let ran = Setup::alone().daemon().role("never_ready").with("--ready channel --ready-timeout 500ms").run();
    ran.expect(1).complains().says("ready");
}

fn the_starter_tells_of_a_command_that_is_not_found() {
    Setup::alone().daemon().command(&["/no/such/program"]).run().expect(127).complains().says("/no/such/program");
    Setup::alone().daemon().command(&["no-such-program-anywhere"]).run().expect(127).complains();
}

fn the_starter_tells_of_a_command_that_cannot_run() {
    let scene = Scene::new();
    let file = scene.write("not-executable", "#!/bin/sh\n");
    scene.setup().daemon().command(&[file.to_str().unwrap()]).run().expect(126).complains().says("not-executable");
    let folder = scene.path("run");
    scene.setup().daemon().command(&[folder.to_str().unwrap()]).run().expect(126).complains();
}

fn the_pid_file_holds_the_pid_and_goes_with_the_instance() {
    let mut daemon = Setup::alone().daemon().start();
    let scene = Arc::clone(&daemon.scene);
    assert_eq!(scene.read("pid"), format!("{}\n", daemon.pid()));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(), Exit::Code(0));
    assert!(!scene.path("pid").exists(), "the pid file stays behind");
    let leftover: Vec<_> = fs::read_dir(scene.path("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!leftover.contains(&"t.sock".into()), "{leftover:?}");
}

fn a_foreground_instance_has_a_pid_file_too() {
    let mut supervisor = Setup::alone().with_path("--pid-file", "pid").start();
    assert_eq!(supervisor.scene.read("pid"), format!("{}\n", supervisor.pid()));
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(!supervisor.scene.path("pid").exists(), "the pid file stays behind");
}

fn a_second_instance_is_refused_before_the_file_is_touched() {
    let first = Setup::alone().daemon().start();
    let scene = Arc::clone(&first.scene);
    let before = fs::metadata(scene.path("pid")).unwrap();
    let again = || scene.setup().name(Some("other"));
    again().with_path("--pid-file", "pid").run().expect(1).complains().says("pid");
    again().daemon().run().expect(1).complains().says("pid");
    let after = fs::metadata(scene.path("pid")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec(), before.len()), (after.ino(), after.mtime_nsec(), after.len()));
    assert_eq!(scene.read("pid"), format!("{}\n", first.pid()));
    ask(first.address());
}

fn a_stale_pid_file_is_no_obstacle() {
    let scene = Scene::new();
    // The recorded process lives, but it is a stranger.
    scene.write("pid", &format!("{}\n", std::process::id()));
    let daemon = scene.setup().daemon().start();
    assert_eq!(scene.read("pid"), format!("{}\n", daemon.pid()));
    drop(daemon);
    for text in ["", "not a pid\n", "0\n", "-1\n"] {
        scene.write("pid", text);
        let daemon = scene.setup().daemon().start();
        assert_eq!(scene.read("pid"), format!("{}\n", daemon.pid()));
    }
}

fn a_pid_file_left_by_a_crash_is_no_obstacle() {
    let mut first = Setup::alone().daemon().start();
    let scene = Arc::clone(&first.scene);
    first.kill();
    assert!(scene.path("pid").exists());
    let second = scene.setup().daemon().start();
    assert_eq!(scene.read("pid"), format!("{}\n", second.pid()));
    ask(second.address());
}

fn a_pid_file_that_somebody_else_replaced_is_left_alone() {
    let mut daemon = Setup::alone().daemon().start();
    let scene = Arc::clone(&daemon.scene);
    let other = scene.write("other", "1\n");
    fs::rename(other, scene.path("pid")).unwrap();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit(), Exit::Code(0));
    assert_eq!(scene.read("pid"), "1\n");
}

fn a_pid_file_in_no_directory_is_a_failure() {
    let setup = Setup::alone().with_path("--pid-file", "no/such/place");
    setup.run().expect(1).complains().says("no/such/place").says("(os error 2)");
    let scene = Scene::new();
    let setup = scene.setup().with_path("--pid-file", "no/such/place").with_path("--log-file", "log");
    setup.run().expect(1).complains();
}

fn a_second_instance_of_the_same_name_is_refused() {
    let first = Setup::alone().start();
    let ran = first.scene.setup().run();
    ran.expect(1).complains().says("t");
    ask(first.address());
    assert_eq!(first.status()["pid"], first.pid().as_raw());
}

fn a_relative_pid_file_is_the_callers() {
    let scene = Scene::new();
    let mut setup = scene.setup().cwd(scene.path(".")).with("--pid-file relative.pid");
    setup = setup.with_path("--log-file", "log");
    let supervisor = setup.start();
    assert_eq!(scene.read("relative.pid"), format!("{}\n", supervisor.pid()));
}

fn hup_right_after_the_pid_file_appears_is_a_reload() {
    let mut supervisor = Setup::alone().with_path("--pid-file", "pid").role("slow_start 300").launch();
    let scene = Arc::clone(&supervisor.scene);
    eventually("the pid file is there", || scene.read("pid").ends_with('\n'));
    supervisor.hup();
    supervisor.wait_serving();
    supervisor.wait_status("a second generation serves", |status| {
        status["generations"].as_array().unwrap().iter().any(|it| it["number"] == 2 && it["phase"] == "serving")
    });
    supervisor.wait_settled();
    ask(supervisor.address());
    assert!(alive(supervisor.pid()));
}

fn without_syslog_it_serves_all_the_same() {
    // Whether there is a syslog here or not: nobody's connection depends on it.
    let daemon = Setup::alone().daemon_with_syslog().role("prints lines 2000").start();
    ask(daemon.address());
    daemon.signal(Signal::SIGUSR1);
    daemon.reload().expect(0);
    assert_eq!(ask(daemon.address()).generation, 2);
}

fn a_pid_file_that_is_no_file_is_a_failure() {
    let scene = Scene::new();
    fs::create_dir(scene.path("folder")).unwrap();
    scene.setup().with_path("--pid-file", "folder").run().expect(1).complains();
    nix::unistd::mkfifo(&scene.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    scene.setup().with_path("--pid-file", "fifo").run().expect(1).complains();
    assert!(scene.path("folder").is_dir() && scene.path("fifo").exists(), "they were replaced");
}

fn a_run_directory_that_is_no_directory_is_a_failure() {
    let scene = Scene::new();
    scene.write("file", "precious");
    scene.setup().with_path("--run-dir", "file").run().expect(1).complains();
    assert_eq!(scene.read("file"), "precious");
}

fn whoever_reads_the_starters_output_reads_its_end() {
    let scene = Scene::new();
    scene.role("prints lines 100");
    let mut command = Command::new(crate::harness::scene::binary());
    let options =
        ["--name", "t", "--pid-file", scene.path("pid").to_str().unwrap(), "127.0.0.1:0", "--"].map(str::to_owned);
    scene.mark(command.args(options).args(scene.child()));
    // This is what `$(socket-protector …)` in a script does.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(command.output().unwrap()));
    let output = receiver.recv_timeout(crate::harness::PATIENCE).expect("the end of the output");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("127.0.0.1:") && !said.contains("127.0.0.1:0"), "an ephemeral port is reported: {said:?}");
    scene.cli(&["stop", "t"]).expect(0);
}

fn a_privileged_port_is_a_failure() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() == "0" {
        return;
    }
    let scene = Scene::new();
    let ran = as_user(&scene, &["-f", "127.0.0.1:80", "--", "true"]);
    ran.expect(1).complains().says("cannot listen on").says("Permission denied (os error 13)");
}

fn a_pid_file_without_rights_is_a_failure() {
    let scene = Scene::new();
    let locked = scene.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    let file = locked.join("pid");
    let ran = as_user(&scene, &["--pid-file", file.to_str().unwrap(), "127.0.0.1:0", "--", "sleep", "100"]);
    ran.expect(1).complains().says("Permission denied (os error 13)");
}

/// Runs as a user without rights, from copies of both programs that this user may execute.
fn as_user(scene: &Scene, args: &[&str]) -> crate::harness::Ran {
    scene.open_to_all();
    let run = scene.path("run-of-user");
    fs::create_dir(&run).unwrap();
    std::os::unix::fs::chown(&run, Some(65533), Some(65533)).unwrap();
    let program = scene.copy(crate::harness::scene::binary(), "program");
    let mut command = Command::new(crate::harness::scene::suite());
    command.args(["child", "wrap", "user", "65533", "--"]).arg(&program).args(args);
    scene.mark(&mut command).env("SOCKET_PROTECTOR_RUN_DIR", run);
    crate::harness::ran::Running::start(&mut command).finish(crate::harness::PATIENCE)
}
