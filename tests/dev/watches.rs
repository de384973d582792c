//! What is watched, and no longer than it has to be.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use super::files::{nothing_counts_before_git_is_done, wait_reload};
use super::stage::{Proxy, Setup};
use crate::harness::{eventually, trials, trials_with};

trials![links_that_lead_elsewhere_again_and_again_leave_nothing_watched, directories_that_are_removed_are_told_of_once,];
trials_with![
    GIT => a_further_working_tree_is_one_of_its_repository,
    GIT => a_submodule_has_rules_and_a_lock_of_its_own,
    GIT => what_git_keeps_apart_is_not_watched,
];

const GIT: &str = "git --version";

/// Runs git in a directory, and gives what it prints.
#[track_caller]
fn git(directory: &Path, words: &str) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "protocol.file.allow=always"]);
    command.args(words.split(' ')).current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Makes a repository with one file in its first version.
fn repository(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    git(directory, "init --quiet");
    fs::write(directory.join("first.py"), "").unwrap();
    git(directory, "add first.py");
    git(directory, "commit --quiet -m first");
}

/// What git says is ignored is, and while it is at work nothing counts.
fn knows_its_repository(setup: Setup, site: &Path) {
    let own = |name: &str| site.join(git(site, &format!("rev-parse --git-path {name}")));
    fs::create_dir_all(own("info")).unwrap();
    fs::write(own("info/exclude"), "ignored.py\n").unwrap();
    let lock = own("index.lock");
    let proxy = setup.start();
    proxy.wait_version("1");
    nothing_counts_before_git_is_done(&proxy, &lock, "ignored.py");
    // What git does for itself is no change.
    git(site, "add a.py");
    git(site, "commit --quiet -m second");
    fs::write(site.join(".git"), fs::read(site.join(".git")).unwrap()).unwrap();
    proxy.touch("c.py");
    wait_reload(&proxy, 2, "c.py");
}

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

fn directories_that_are_removed_are_told_of_once() {
    let setup = Setup::new().with(&["--pattern", "*.py"]);
    for number in 0..100 {
        fs::create_dir_all(setup.scene().path(&format!("site/all/{number}"))).unwrap();
    }
    let proxy = setup.start();
    proxy.wait_version("1");
    eventually("all are watched", || watched(&proxy).len() == 102);
    fs::remove_dir_all(proxy.site("all")).unwrap();
    eventually("only the root is", || watched(&proxy).len() == 1);
    proxy.touch("a.py");
    wait_reload(&proxy, 1, "a.py");
    assert!(!proxy.said().contains("WARN"), "{}", proxy.said());
}

fn a_further_working_tree_is_one_of_its_repository() {
    let setup = Setup::new().fixed();
    let (main, site) = (setup.scene().path("main"), setup.scene().path("site"));
    repository(&main);
    git(&main, &format!("worktree add --quiet {}", site.display()));
    assert!(site.join(".git").is_file());
    knows_its_repository(setup, &site);
}

fn a_submodule_has_rules_and_a_lock_of_its_own() {
    let setup = Setup::new().fixed();
    let (library, whole, site) = (setup.scene().path("library"), setup.scene().path(""), setup.scene().path("site"));
    repository(&library);
    git(&whole, "init --quiet");
    fs::remove_dir(&site).unwrap();
    git(&whole, &format!("submodule --quiet add {} site", library.display()));
    assert!(site.join(".git").is_file());
    // What the repository around it says is not about it.
    fs::write(whole.join(".gitignore"), "*.py\n").unwrap();
    knows_its_repository(setup, &site);
}

fn what_git_keeps_apart_is_not_watched() {
    let setup = Setup::new().with(&["--no-ignore"]);
    let site = setup.scene().path("site");
    fs::create_dir(site.join("src")).unwrap();
    git(&site, "init --quiet --separate-git-dir=data");
    assert!(site.join(".git").is_file());
    let proxy = setup.start();
    proxy.wait_version("1");
    wait_watched(&proxy, &site.join("src"));
    assert_eq!(watched(&proxy).len(), 2, "the directory and the one in it");
    fs::write(site.join("data/first"), "").unwrap();
    proxy.touch("src/a.py");
    wait_reload(&proxy, 1, "src/a.py");
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
    lead("../c0/conf.py", "z.py");
    let proxy = setup.start();
    proxy.wait_version("1");
    wait_watched(&proxy, &scene.path("c0"));
    let begin = watched(&proxy).len();
    for round in 1..=200 {
        let number = round % 20;
        lead(&format!("../v{number}"), "current");
        lead(&format!("../c{number}/conf.py"), "z.py");
        wait_watched(&proxy, &scene.path(&format!("v{number}/in")));
        wait_watched(&proxy, &scene.path(&format!("c{number}")));
    }
    eventually("no more is watched than before", || watched(&proxy).len() == begin);
    eventually("the changes of the other link are told", || proxy.reloads() > 0);
    // What the links lead to now is watched still. (Of what has changed together, the first by its name is told.)
    fs::write(scene.path("v0/in/a.py"), "").unwrap();
    eventually("it counts", || proxy.said().contains("current/in/a.py"));
}
