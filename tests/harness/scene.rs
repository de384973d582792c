//! One test's place: its directory, its instances, and everything it ever started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::process::{describe, descriptors_of, send, tagged};
use super::ran::{Ran, Running};
use super::{PATIENCE, Setup};

/// The name of the variable by which our processes are found again.
const TAG: &str = "SUITE_TAG";

/// A directory of one's own and a mark on every process started in it.
#[derive(Debug)]
pub(crate) struct Scene {
    dir: TempDir,
    tag: String,
}

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_socket-protector"))
}

/// This program, which is also every child.
pub(crate) fn suite() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

impl Scene {
    pub(crate) fn new() -> Arc<Scene> {
        static SCENES: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("sp-").tempdir().unwrap();
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        std::fs::create_dir(dir.path().join("run")).unwrap();
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            &dir.path().join("run"),
            nix::sys::stat::Mode::S_IRWXU,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .unwrap();
        Arc::new(Scene { dir, tag: format!("{}-{number}", std::process::id()) })
    }

    /// A path in the scene's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read(self.path(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Writes an executable shell script; by rename, so that a running one is not disturbed.
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        self.executable(name, &format!("#!/bin/sh\n{body}\n"))
    }

    /// Writes an executable file; by rename, so that a running one is not disturbed.
    pub(crate) fn executable(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let text = self.write(&format!("{name}.text"), text);
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.copy(&text, name)
    }

    /// Copies a program into the scene; by rename, so that a running one is not disturbed.
    ///
    /// Another process writes it: a descriptor of ours, open for writing, would be inherited by whatever
    /// another thread just forks, and a file that somebody writes cannot be executed.
    pub(crate) fn copy(&self, program: &Path, name: &str) -> PathBuf {
        let new = self.path(&format!("{name}.new"));
        Running::start(Command::new("cp").arg("--preserve=mode").arg(program).arg(&new)).finish(PATIENCE).expect(0);
        std::fs::rename(new, self.path(name)).unwrap();
        self.path(name)
    }

    /// A directory that every user may enter, for tests that run as somebody else.
    pub(crate) fn open_to_all(&self) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    }

    /// Decides what the children started from now on are.
    pub(crate) fn role(&self, role: &str) {
        let new = self.write("role.new", role);
        std::fs::rename(new, self.path("role")).unwrap();
    }

    /// The command of a child whose role is read when it starts.
    pub(crate) fn child(&self) -> Vec<String> {
        vec![suite(), "child".to_owned(), "from".to_owned(), self.path("role").to_str().unwrap().to_owned()]
    }

    /// A supervisor to be, in this scene.
    pub(crate) fn setup(self: &Arc<Scene>) -> Setup {
        Setup::new(Arc::clone(self))
    }

    /// Gives a command our mark and our directory of sockets.
    pub(crate) fn mark<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(TAG, &self.tag).env("SOCKET_PROTECTOR_RUN_DIR", self.path("run"))
    }

    /// Starts `socket-protector ARGS`.
    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        Running::start(self.mark(Command::new(binary()).args(args)))
    }

    /// Runs `socket-protector ARGS` to its end.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Ran {
        self.begin(args).finish(Duration::from_secs(60))
    }

    /// The living processes of this scene.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        tagged(&format!("{TAG}={}", self.tag))
    }

    /// Ends whatever still runs, in a test that leaves processes behind on purpose.
    pub(crate) fn clear(&self) {
        super::eventually("every process of the scene is gone", || {
            let left = self.processes();
            left.iter().for_each(|&pid| send(pid, Signal::SIGKILL));
            left.is_empty()
        });
    }

    fn report(&self) {
        let mut text = format!("--- scene {} ---\n", self.dir.path().display());
        for pid in self.processes() {
            text += &format!("{}\n", describe(pid));
            for (fd, target) in descriptors_of(pid) {
                text += &format!("    {fd} -> {target}\n");
            }
        }
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path()).unwrap().filter_map(|file| file.ok()).collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        for file in files.into_iter().filter(|file| file.file_type().is_ok_and(|kind| kind.is_file())) {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            if bytes.starts_with(b"\x7fELF") {
                continue;
            }
            let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned();
            text += &format!("--- {} ({} bytes) ---\n{tail}\n", file.path().display(), bytes.len());
        }
        eprintln!("{text}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
            self.processes().into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
            return;
        }
        let deadline = std::time::Instant::now() + PATIENCE / 4;
        let mut left = self.processes();
        while !left.is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(super::LOOK);
            left = self.processes();
        }
        if !left.is_empty() {
            let list: Vec<_> = left.iter().map(|&pid| describe(pid)).collect();
            self.report();
            left.into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
            panic!("processes left behind: {list:#?}");
        }
    }
}
