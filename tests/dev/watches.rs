//! What is watched, and no longer than it has to be.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::stage::{Proxy, Setup};
use crate::harness::{eventually, trials};

trials![links_that_lead_elsewhere_again_and_again_leave_nothing_watched];

/// The inodes that a process is told about; see proc_pid_fdinfo(5).
fn watched(proxy: &Proxy) -> Vec<u64> {
    let entries = fs::read_dir(format!("/proc/{}/fdinfo", proxy.pid())).unwrap().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect::<String>();
    let lines = texts.lines().filter(|line| line.starts_with("inotify "));
    let inode =
        |line: &str| u64::from_str_radix(line.split_whitespace().find_map(|word| word.strip_prefix("ino:"))?, 16).ok();
    lines.filter_map(inode).collect()
}

#[track_caller]
fn wait_watched(proxy: &Proxy, path: &Path) {
    let inode = fs::metadata(path).unwrap().ino();
    eventually("it is watched", || watched(proxy).contains(&inode));
}

fn links_that_lead_elsewhere_again_and_again_leave_nothing_watched() {
    let setup = Setup::new().fixed().with(&["--pattern", "*.py"]);
    let scene = setup.scene().clone();
    for number in 0..20 {
        fs::create_dir_all(scene.path(&format!("v{number}/in"))).unwrap();
        fs::create_dir_all(scene.path(&format!("c{number}"))).unwrap();
        scene.write(&format!("c{number}/conf.py"), "");
    }
    let lead = |to: &str, name: &str| {
        symlink(to, scene.path("next")).unwrap();
        fs::rename(scene.path("next"), scene.path("site").join(name)).unwrap();
    };
    lead("../v0", "current");
    lead("../c0/conf.py", "conf.py");
    let proxy = setup.start();
    proxy.wait_version("1");
    wait_watched(&proxy, &scene.path("c0"));
    let begin = watched(&proxy).len();
    for round in 1..=200 {
        let number = round % 20;
        lead(&format!("../v{number}"), "current");
        lead(&format!("../c{number}/conf.py"), "conf.py");
        wait_watched(&proxy, &scene.path(&format!("v{number}/in")));
        wait_watched(&proxy, &scene.path(&format!("c{number}")));
    }
    eventually("no more is watched than before", || watched(&proxy).len() == begin);
    eventually("the changes of the other link are told", || proxy.reloads() > 0);
    // What the links lead to now is watched still.
    fs::write(scene.path("v0/in/a.py"), "").unwrap();
    eventually("it counts", || proxy.said().contains("current/in/a.py"));
}
