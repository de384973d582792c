//! `make install`: what it puts where, and that a daemon's author can start from there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::process::Exit;
use crate::harness::ran::{Ran, Running};
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, trials, trials_with};
use crate::toolchain::{Standard, client_lib, compiles, library};

trials![everything_has_its_place, what_was_installed_can_be_removed];
trials_with!["pkg-config --version" => what_was_installed_is_enough_for_a_daemon];

/// Those that need another program, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

/// Where it is installed to. No place of the system's, which pkg-config would leave out.
const PREFIX: &str = "/opt/sp";

/// `make GOAL` into a folder of the scene, without building: cargo has just built what is installed.
fn make(scene: &Scene, goal: &str) -> (Ran, PathBuf) {
    let root = scene.path("root");
    let folder = binary().parent().unwrap();
    library();
    let profile = if folder.ends_with("release") { "PROFILE=release" } else { "PROFILE=dev" };
    // Under a mask that would make everything private.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec make \"$@\"", "sh", goal, profile, "LIBRARY_PROFILE=dev"]);
    command.arg(format!("PREFIX={PREFIX}")).arg(format!("DESTDIR={}", root.display()));
    command.args(["CARGO=/nonexistent", &format!("GENERATED={}", scene.path("generated").display())]);
    let target = folder.parent().unwrap();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", target);
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    let ran = Running::start(scene.mark(&mut command)).finish(PATIENCE * 2);
    (ran, root.join(PREFIX.trim_start_matches('/')))
}

/// Every file below a folder, links with what they point to.
fn files(folder: &Path, below: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(below).unwrap().display().to_string();
        if let Ok(link) = std::fs::read_link(&path) {
            all.push(format!("{name} -> {}", link.display()));
        } else if path.is_dir() {
            files(&path, below, all);
        } else {
            all.push(name);
        }
    }
    all.sort();
}

fn everything_has_its_place() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let (ran, place) = make(&scene, "install");
    ran.expect(0);
    let mut all = Vec::new();
    files(&place, &place, &mut all);
    let version = env!("CARGO_PKG_VERSION");
    let shared = format!("lib/libsocket_protector.so.{version}");
    let expected = [
        "bin/socket-protector",
        "include/SocketProtector.h",
        "include/socket_protector.h",
        "lib/libSocketProtector.a -> libsocket_protector.a",
        "lib/libSocketProtector.so -> libsocket_protector.so",
        "lib/libsocket_protector.a",
        "lib/libsocket_protector.so -> libsocket_protector.so.0",
        &format!("lib/libsocket_protector.so.0 -> libsocket_protector.so.{version}"),
        &shared,
        "lib/pkgconfig/socket_protector.pc",
        "share/bash-completion/completions/socket-protector",
        "share/doc/socket-protector/README.md",
        "share/doc/socket-protector/docs/c.md",
        "share/doc/socket-protector/examples/echo_poll.c",
        "share/doc/socket-protector/init.d/socket-protector",
        "share/fish/vendor_completions.d/socket-protector.fish",
        "share/man/man1/socket-protector-reload.1",
        "share/man/man1/socket-protector.1",
        "share/zsh/site-functions/_socket-protector",
    ];
    for file in expected {
        assert!(all.iter().any(|found| found == file), "{file} is not in {all:#?}");
    }
    let program = ["bin/socket-protector", shared.as_str(), "share/doc/socket-protector/init.d/socket-protector"];
    for name in all.iter().filter(|name| !name.contains(" -> ")) {
        let mode = std::fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777;
        let wanted = if program.contains(&name.as_str()) { 0o755 } else { 0o644 };
        assert_eq!(format!("{mode:o}"), format!("{wanted:o}"), "{name}");
        assert!(std::fs::metadata(place.join(name)).unwrap().len() > 0, "{name} is empty");
    }
}

fn what_was_installed_is_enough_for_a_daemon() {
    let scene = Scene::new();
    let (ran, place) = make(&scene, "install");
    ran.expect(0);
    let ask = |what: &str| {
        let mut command = Command::new("pkg-config");
        command.args(what.split(' ')).arg("socket_protector");
        command.env("PKG_CONFIG_PATH", place.join("lib/pkgconfig"));
        command.env("PKG_CONFIG_SYSROOT_DIR", scene.path("root"));
        let ran = Running::start(&mut command).finish(PATIENCE);
        ran.expect(0).out.trim().to_owned()
    };
    assert_eq!(ask("--modversion"), env!("CARGO_PKG_VERSION"));
    for (standard, source) in [(Standard::C11, "echo_poll.c"), (Standard::Cpp17, "echo_class.cpp")] {
        if !compiles(standard) {
            continue;
        }
        for statically in [false, true] {
            let program = scene.path("echo");
            let mut command = Command::new(standard.compiler());
            command.arg(client_lib().join("examples/c").join(source)).arg(standard.option()).arg("-o").arg(&program);
            command
                .args(ask(if statically { "--static --cflags --libs" } else { "--cflags --libs" }).split_whitespace());
            if statically {
                command.arg("-static-libgcc");
                std::fs::remove_file(place.join("lib/libsocket_protector.so")).unwrap();
            }
            Running::start(command.arg("-pthread")).finish(PATIENCE * 2).expect(0);
            let mut run = Command::new(&program);
            // Without words it says how it is used, or that there is nothing to serve; so it was loaded.
            let ran = Running::start(run.env("LD_LIBRARY_PATH", place.join("lib"))).finish(PATIENCE);
            assert!(matches!(ran.exit, Exit::Code(1 | 2)), "{ran:?}");
            if statically {
                std::os::unix::fs::symlink("libsocket_protector.so.0", place.join("lib/libsocket_protector.so"))
                    .unwrap();
            }
        }
    }
}

fn what_was_installed_can_be_removed() {
    let scene = Scene::new();
    make(&scene, "install").0.expect(0);
    let (ran, place) = make(&scene, "uninstall");
    ran.expect(0);
    let mut left = Vec::new();
    files(&place, &place, &mut left);
    assert!(left.is_empty(), "{left:#?}");
}
