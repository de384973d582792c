//! A thread with a network and mounts of its own: what is done to them, nobody else notices. Only root may.

use super::guest::search_path;
use nix::sched::{CloneFlags, unshare};
use std::process::Command;

/// What it needs.
pub(crate) const ISLAND: &str = "unshare --net --mount mount --make-rprivate / && command -v ip";

/// Runs `body` there. Programs and threads that it starts are there as well.
pub(crate) fn on_an_island(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let island = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            shell("mount --make-rprivate / && ip link set lo up");
            body();
        });
        if let Err(panic) = island.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a line of shell, which must work.
#[track_caller]
pub(crate) fn shell(line: &str) {
    // Where Debian has ip(8), which is not in everybody's path.
    let ran = Command::new("sh").args(["-c", line]).env("PATH", search_path()).output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
}
