//! COMMAND is resolved afresh at every start.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::client::ask;
use crate::harness::process::children;
use crate::harness::scene::binary;
use crate::harness::{Scene, eventually, trials, until};

trials![
    a_changed_script_is_what_runs_next,
    a_moved_symlink_is_what_runs_next,
    a_symlinked_directory_is_what_runs_next,
    a_relative_command_is_the_callers,
    a_relative_command_of_a_daemon_is_the_callers,
    a_command_is_found_in_path,
    a_working_directory_that_is_deleted,
    arguments_arrive_as_they_are,
];

/// A script that remembers its name and then serves.
fn remembering(scene: &Scene, name: &str, word: &str) -> String {
    let file = scene.path("which").display().to_string();
    let body = format!("echo {word} > {file}.new && mv {file}.new {file}\nexec {}", scene.child().join(" "));
    scene.script(name, &body).to_str().unwrap().to_owned()
}

fn a_changed_script_is_what_runs_next() {
    let scene = Scene::new();
    let script = remembering(&scene, "service", "one");
    let supervisor = scene.setup().command(&[script]).start();
    assert_eq!(scene.read("which"), "one\n");
    remembering(&scene, "service", "two");
    supervisor.reload().expect(0);
    assert_eq!(scene.read("which"), "two\n");
}

fn a_moved_symlink_is_what_runs_next() {
    let scene = Scene::new();
    let one = remembering(&scene, "one", "one");
    let two = remembering(&scene, "two", "two");
    let link = scene.path("service");
    symlink(one, &link).unwrap();
    let supervisor = scene.setup().command(&[link.to_str().unwrap()]).start();
    assert_eq!(scene.read("which"), "one\n");
    symlink(two, scene.path("next")).unwrap();
    fs::rename(scene.path("next"), &link).unwrap();
    supervisor.reload().expect(0);
    assert_eq!(scene.read("which"), "two\n");
}

fn a_symlinked_directory_is_what_runs_next() {
    let scene = Scene::new();
    for release in ["one", "two"] {
        fs::create_dir(scene.path(release)).unwrap();
        remembering(&scene, &format!("{release}/service"), release);
    }
    symlink("one", scene.path("current")).unwrap();
    let command = scene.path("current/service");
    let supervisor = scene.setup().command(&[command.to_str().unwrap()]).start();
    symlink("two", scene.path("next")).unwrap();
    fs::rename(scene.path("next"), scene.path("current")).unwrap();
    supervisor.reload().expect(0);
    assert_eq!(scene.read("which"), "two\n");
    // The same from inside such a directory, as init scripts start things.
    let supervisor = scene.setup().name(Some("in")).cwd(scene.path("current")).command(&["./service"]).start();
    assert_eq!(scene.read("which"), "two\n");
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn a_relative_command_is_the_callers() {
    let scene = Scene::new();
    remembering(&scene, "service", "one");
    let supervisor = scene.setup().cwd(scene.path(".")).command(&["./service"]).start();
    supervisor.reload().expect(0);
    ask(supervisor.address());
    let cwd = |pid| fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd(supervisor.serving_pid()), fs::canonicalize(scene.path(".")).unwrap());
}

fn a_relative_command_of_a_daemon_is_the_callers() {
    let scene = Scene::new();
    remembering(&scene, "service", "one");
    let daemon = scene.setup().daemon().cwd(scene.path(".")).command(&["./service"]).start();
    daemon.reload().expect(0);
    ask(daemon.address());
    let cwd = fs::read_link(format!("/proc/{}/cwd", daemon.serving_pid())).unwrap();
    assert_eq!(cwd, fs::canonicalize(scene.path(".")).unwrap(), "also when daemonized");
}

fn a_command_is_found_in_path() {
    let scene = Scene::new();
    fs::create_dir(scene.path("bin")).unwrap();
    remembering(&scene, "bin/service-of-ours", "one");
    let path = format!("{}:{}", scene.path("bin").display(), std::env::var("PATH").unwrap());
    let supervisor = scene.setup().env("PATH", &path).command(&["service-of-ours"]).start();
    remembering(&scene, "bin/service-of-ours", "two");
    supervisor.reload().expect(0);
    assert_eq!(scene.read("which"), "two\n");
}

fn a_working_directory_that_is_deleted() {
    let scene = Scene::new();
    let cwd = scene.path("gone");
    fs::create_dir(&cwd).unwrap();
    let supervisor = scene.setup().cwd(cwd.clone()).start();
    fs::remove_dir(&cwd).unwrap();
    supervisor.reload().expect(0);
    assert_eq!(ask(supervisor.address()).generation, 2);
    // A relative command has no place to be found any more: the old one serves on.
    fs::create_dir(&cwd).unwrap();
    remembering(&scene, "gone/service", "one");
    let supervisor = scene.setup().name(Some("relative")).cwd(cwd.clone()).command(&["./service"]).start();
    fs::remove_dir_all(&cwd).unwrap();
    supervisor.reload().expect(1).complains().says("service").says("(os error 2)");
    ask(supervisor.address());
    // And started where there is no directory any more, absolute commands run.
    let nowhere = scene.path("nowhere");
    fs::create_dir(&nowhere).unwrap();
    let supervisor = scene.setup().name(Some("nowhere")).cwd(nowhere).wrap("leave now").start();
    ask(supervisor.address());
}

fn arguments_arrive_as_they_are() {
    let scene = Scene::new();
    let file = scene.path("arguments").display().to_string();
    let script = scene.script("service", &format!("printf '%s\\n' \"$@\" > {file}\nexec sleep 1000"));
    let words = [script.to_str().unwrap(), "-f", "--", "a b", "", "--pid-file", "{port}", "*", "\u{fc}"];
    let supervisor = scene.setup().with("--ready alive:100ms").command(&words).start();
    assert_eq!(scene.read("arguments"), words[1..].iter().map(|word| format!("{word}\n")).collect::<String>());
    // Bytes that are no text are arguments, too.
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let mut command = Command::new(binary());
    scene.mark(
        command.args(["-f", "--name", "odd", "--ready", "alive:100ms", "127.0.0.1:0", "--"]).arg(&script).arg(odd),
    );
    let mut running = command.spawn().unwrap();
    until("the bytes have arrived", crate::harness::PATIENCE, || {
        let seen = fs::read(scene.path("arguments")).unwrap();
        if seen == b"\xff\xfe\n" { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).unwrap());
    eventually("its status is JSON all the same", || {
        let ran = scene.cli(&["status", "odd", "--json"]);
        ran.exit == crate::harness::process::Exit::Code(0) && ran.json()["pid"] == pid.as_raw()
    });
    assert_eq!(children(pid).len(), 1);
    crate::harness::process::send(pid, nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.wait().unwrap().code(), Some(0));
    drop(supervisor);
}
