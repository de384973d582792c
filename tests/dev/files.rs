//! Which changes count, and that each is noticed once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::stage::{Proxy, Setup};
use crate::harness::{eventually, stays, trials, until};

trials![
    the_reason_of_a_restart_is_told,
    the_start_is_no_change,
    an_atomic_save_is_one_restart,
    only_files_that_match_count,
    ignored_files_and_those_of_editors_do_not_count,
    an_ignore_file_that_changes_is_read_again,
    files_in_new_directories_count,
    directories_that_are_replaced_stay_watched,
    links_are_followed_and_loops_are_none,
    a_storm_of_changes_is_few_restarts,
    what_git_changes_counts_once_it_is_done,
    a_directory_that_is_moved_away_is_a_change_and_watched_no_more,
    what_links_lead_to_is_watched_wherever_it_is,
    a_link_that_comes_later_or_leads_elsewhere_is_followed_and_one_that_goes_is_not,
    an_ignore_file_that_goes_or_comes_above_the_directory_counts,
    a_server_that_writes_at_its_start_is_not_started_for_ever,
];

/// Waits until a change of this file is told, and nothing else since the last one.
#[track_caller]
pub(super) fn wait_reload(proxy: &Proxy, number: usize, words: &str) {
    until("the change is told", Duration::from_secs(20), || {
        let said = proxy.said();
        let told: Vec<_> =
            said.lines().filter_map(|line| line.split_once(" reload: ").map(|(_, words)| words.to_owned())).collect();
        match told.get(number - 1) {
            Some(line) if told.len() == number && *line == format!("{words} changed") => Ok(()),
            _ => Err(format!("{told:?}; {said}")),
        }
    });
}

fn the_reason_of_a_restart_is_told() {
    let proxy = Setup::new().start();
    proxy.wait_version("1");
    fs::create_dir(proxy.site("src")).unwrap();
    proxy.touch("src/app.py");
    wait_reload(&proxy, 1, "src/app.py");
    fs::remove_file(proxy.site("src/app.py")).unwrap();
    wait_reload(&proxy, 2, "src/app.py");
}

fn the_start_is_no_change() {
    let setup = Setup::new();
    fs::write(setup.scene().path("site/there.py"), "").unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    // A file that is read is none that changes; the first change is the one that is made.
    fs::read(proxy.site("there.py")).unwrap();
    proxy.touch("first.py");
    wait_reload(&proxy, 1, "first.py");
}

fn an_atomic_save_is_one_restart() {
    save_in_every_way(Setup::new());
}

pub(super) fn save_in_every_way(setup: Setup) {
    let proxy = setup.fixed().start();
    proxy.wait_version("1");
    fs::write(proxy.site("app.py"), "old").unwrap();
    wait_reload(&proxy, 1, "app.py");
    // Another file, renamed over it.
    fs::write(proxy.site("app.py.tmp.123"), "new").unwrap();
    fs::rename(proxy.site("app.py.tmp.123"), proxy.site("app.py")).unwrap();
    wait_reload(&proxy, 2, "app.py");
    // A backup, then a new one.
    fs::rename(proxy.site("app.py"), proxy.site("app.py~")).unwrap();
    fs::write(proxy.site("app.py"), "newer").unwrap();
    wait_reload(&proxy, 3, "app.py");
    // Emptied, then written.
    fs::write(proxy.site("app.py"), "").unwrap();
    fs::write(proxy.site("app.py"), "newest").unwrap();
    wait_reload(&proxy, 4, "app.py");
    // A file that comes and goes.
    fs::write(proxy.site("passing"), "").unwrap();
    fs::remove_file(proxy.site("passing")).unwrap();
    fs::write(proxy.site("app.py"), "last").unwrap();
    wait_reload(&proxy, 5, "app.py");
}

fn only_files_that_match_count() {
    let setup = Setup::new().with(&["--pattern", "src/**/*", "conf.toml", "--exclude", "src/**/test_*", "src/out"]);
    for folder in ["src/deep", "src/out", "lib"] {
        fs::create_dir_all(setup.scene().path("site").join(folder)).unwrap();
    }
    let proxy = setup.start();
    proxy.wait_version("1");
    for (number, file) in ["src/a.py", "src/deep/b.py", "conf.toml", "lib/conf.toml"].into_iter().enumerate() {
        for other in ["lib/c.py", "d.py", "src/test_a.py", "src/deep/test_b.py", "src/out/e.py"] {
            proxy.touch(other);
        }
        proxy.touch(file);
        wait_reload(&proxy, number + 1, file);
    }
}

fn ignored_files_and_those_of_editors_do_not_count() {
    let setup = Setup::new();
    let site = setup.scene().path("site");
    for folder in [".git", "build/deep", "src"] {
        fs::create_dir_all(site.join(folder)).unwrap();
    }
    fs::write(site.join(".gitignore"), "build/\n*.log\n").unwrap();
    fs::write(site.join("src/.gitignore"), "!kept.log\n").unwrap();
    fs::write(site.join(".ignore"), "*.pyc\n").unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    let quiet = ["build/deep/x.py", "a.log", "src/b.log", "c.pyc", ".git/index", "src/.a.py.swp", "a.py~", "#a.py#"];
    for (number, file) in ["a.py", "src/kept.log"].into_iter().enumerate() {
        quiet.iter().for_each(|other| proxy.touch(other));
        proxy.touch(file);
        wait_reload(&proxy, number + 1, file);
    }
    let setup = Setup::new().with(&["--no-ignore"]);
    fs::write(setup.scene().path("site/.gitignore"), "*.log\n").unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    proxy.touch("a.log");
    wait_reload(&proxy, 1, "a.log");
}

fn an_ignore_file_that_changes_is_read_again() {
    let setup = Setup::new().with(&["--exclude", ".gitignore"]);
    let site = setup.scene().path("site");
    fs::create_dir(site.join("out")).unwrap();
    fs::write(site.join(".gitignore"), "out\n").unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    fs::write(proxy.site(".gitignore"), "nothing\n").unwrap();
    // When exactly it has been read again cannot be seen but by this.
    eventually("what was ignored counts", || {
        proxy.touch("out/x.py");
        std::thread::sleep(Duration::from_millis(100));
        proxy.reloads() > 0
    });
    assert!(proxy.said().contains("out/x.py changed"), "{}", proxy.said());
}

fn files_in_new_directories_count() {
    let proxy = Setup::new().fixed().start();
    proxy.wait_version("1");
    // All at once, and so before anybody could watch the inner ones.
    fs::create_dir_all(proxy.site("new/very/deep")).unwrap();
    proxy.touch("new/very/deep/a.py");
    wait_reload(&proxy, 1, "new/very/deep/a.py");
    proxy.touch("new/very/deep/a.py");
    wait_reload(&proxy, 2, "new/very/deep/a.py");
    // Made elsewhere, and moved in.
    fs::create_dir_all(proxy.scene.path("elsewhere/in")).unwrap();
    fs::write(proxy.scene.path("elsewhere/in/b.py"), "").unwrap();
    fs::rename(proxy.scene.path("elsewhere"), proxy.site("moved")).unwrap();
    wait_reload(&proxy, 3, "moved/in/b.py");
    proxy.touch("moved/in/c.py");
    wait_reload(&proxy, 4, "moved/in/c.py");
}

fn directories_that_are_replaced_stay_watched() {
    replace_directories(Setup::new());
}

pub(super) fn replace_directories(setup: Setup) {
    let setup = setup.fixed().with(&["--pattern", "*.py"]);
    fs::create_dir_all(setup.scene().path("site/src/in")).unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    proxy.touch("src/in/a.py");
    wait_reload(&proxy, 1, "src/in/a.py");
    fs::remove_dir_all(proxy.site("src")).unwrap();
    wait_reload(&proxy, 2, "src/in/a.py");
    fs::create_dir_all(proxy.site("src/in")).unwrap();
    proxy.touch("src/in/b.py");
    wait_reload(&proxy, 3, "src/in/b.py");
    fs::rename(proxy.site("src"), proxy.site("other")).unwrap();
    wait_reload(&proxy, 4, "other/in/b.py and 1 more");
    proxy.touch("other/in/b.py");
    wait_reload(&proxy, 5, "other/in/b.py");
}

fn links_are_followed_and_loops_are_none() {
    let setup = Setup::new().with(&["--pattern", "linked/*.py"]);
    let site = setup.scene().path("site");
    fs::create_dir(setup.scene().path("outside")).unwrap();
    symlink("../outside", site.join("linked")).unwrap();
    symlink(".", site.join("loop")).unwrap();
    symlink("nowhere", site.join("dangling")).unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    fs::write(proxy.scene.path("outside/a.py"), "").unwrap();
    wait_reload(&proxy, 1, "linked/a.py");
}

fn a_storm_of_changes_is_few_restarts() {
    let proxy = Setup::new().fixed().with(&["--exclude", "app.py"]).start();
    proxy.wait_version("1");
    for folder in 0..20 {
        fs::create_dir(proxy.site(&format!("d{folder}"))).unwrap();
        for file in 0..250 {
            fs::write(proxy.site(&format!("d{folder}/f{file}.py")), "").unwrap();
        }
    }
    proxy.version("2");
    proxy.touch("last.py");
    proxy.wait_version("2");
    let reloads = proxy.reloads();
    assert!(reloads <= 6, "{reloads} restarts for 5000 files");
}

fn a_server_that_writes_at_its_start_is_not_started_for_ever() {
    let proxy = Setup::new().fixed().shell("echo \"$$\" > made.log; exec $WEB").start();
    let hint = "--exclude 'made.log' helps";
    proxy.wait_said(hint);
    // A save is heard all the same, and is what answers.
    proxy.change("2");
    proxy.wait_version("2");
    until("it goes on, more slowly", Duration::from_secs(60), || {
        let said = proxy.said();
        let reloads = said.lines().filter(|line| line.contains("reload: made.log changed")).count();
        if reloads >= 6 { Ok(()) } else { Err(said) }
    });
    assert_eq!(proxy.said().matches(hint).count(), 1, "{}", proxy.said());
}

fn a_directory_that_is_moved_away_is_a_change_and_watched_no_more() {
    let setup = Setup::new().fixed().with(&["--pattern", "*.py"]);
    let site = setup.scene().path("site");
    for file in ["src/in/a.py", "empty/a.txt"] {
        fs::create_dir_all(site.join(file).parent().unwrap()).unwrap();
        fs::write(site.join(file), "").unwrap();
    }
    let proxy = setup.start();
    proxy.wait_version("1");
    let away = |name: &str| proxy.scene.path(name);
    fs::rename(proxy.site("empty"), away("empty")).unwrap();
    fs::rename(proxy.site("src"), away("src")).unwrap();
    wait_reload(&proxy, 1, "src");
    fs::write(away("src/in/a.py"), "elsewhere").unwrap();
    proxy.touch("b.py");
    wait_reload(&proxy, 2, "b.py");
    fs::rename(away("src"), proxy.site("back")).unwrap();
    wait_reload(&proxy, 3, "back/in/a.py");
    proxy.touch("back/in/a.py");
    wait_reload(&proxy, 4, "back/in/a.py");
}

fn what_links_lead_to_is_watched_wherever_it_is() {
    let setup = Setup::new().fixed().with(&["--pattern", "conf.py", "current/*.py"]);
    let (site, scene) = (setup.scene().path("site"), setup.scene().clone());
    for folder in ["outside", "site/v1", "site/v2"] {
        fs::create_dir_all(scene.path(folder)).unwrap();
    }
    scene.write("outside/real.py", "");
    scene.write("site/v2/a.py", "");
    symlink("../outside/real.py", site.join("conf.py")).unwrap();
    symlink("v1", site.join("current")).unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    scene.write("outside/real.py", "1");
    wait_reload(&proxy, 1, "conf.py");
    // An atomic save of what it leads to.
    scene.write("outside/new", "2");
    scene.write("outside/beside.py", "is nobody's");
    fs::rename(scene.path("outside/new"), scene.path("outside/real.py")).unwrap();
    wait_reload(&proxy, 2, "conf.py");
    proxy.touch("v1/a.py");
    wait_reload(&proxy, 3, "current/a.py");
    // The link leads elsewhere from now on.
    symlink("v2", site.join("next")).unwrap();
    fs::rename(site.join("next"), site.join("current")).unwrap();
    wait_reload(&proxy, 4, "current/a.py");
    proxy.touch("v2/b.py");
    wait_reload(&proxy, 5, "current/b.py");
}

fn a_link_that_comes_later_or_leads_elsewhere_is_followed_and_one_that_goes_is_not() {
    let setup = Setup::new().fixed().with(&["--pattern", "conf.py", "b.py"]);
    let (site, scene) = (setup.scene().path("site"), setup.scene().clone());
    for folder in ["one", "two"] {
        fs::create_dir(scene.path(folder)).unwrap();
        scene.write(&format!("{folder}/real.py"), "");
    }
    let proxy = setup.start();
    proxy.wait_version("1");
    symlink("../one/real.py", site.join("conf.py")).unwrap();
    wait_reload(&proxy, 1, "conf.py");
    scene.write("one/real.py", "1");
    wait_reload(&proxy, 2, "conf.py");
    symlink("../two/real.py", scene.path("next")).unwrap();
    fs::rename(scene.path("next"), site.join("conf.py")).unwrap();
    wait_reload(&proxy, 3, "conf.py");
    scene.write("two/real.py", "2");
    wait_reload(&proxy, 4, "conf.py");
    fs::remove_file(site.join("conf.py")).unwrap();
    wait_reload(&proxy, 5, "conf.py");
    // Neither is anybody's any more.
    scene.write("one/real.py", "3");
    scene.write("two/real.py", "3");
    proxy.touch("b.py");
    wait_reload(&proxy, 6, "b.py");
}

fn an_ignore_file_that_goes_or_comes_above_the_directory_counts() {
    let setup = Setup::new().with(&["--pattern", "*.py"]);
    let scene = setup.scene().clone();
    fs::create_dir(scene.path(".git")).unwrap();
    for folder in ["site/out", "site/lib"] {
        fs::create_dir(scene.path(folder)).unwrap();
    }
    scene.write(".gitignore", "site/out\n");
    scene.write("site/.gitignore", "lib\n");
    let proxy = setup.start();
    proxy.wait_version("1");
    // Both at once, as another program may do it.
    fs::remove_file(proxy.site(".gitignore")).unwrap();
    proxy.touch("lib/a.py");
    wait_reload(&proxy, 1, "lib/a.py");
    scene.write(".gitignore", "site/lib\n");
    proxy.touch("out/a.py");
    wait_reload(&proxy, 2, "out/a.py");
    proxy.touch("lib/a.py");
    proxy.touch("out/b.py");
    wait_reload(&proxy, 3, "out/b.py");
}

/// While git has this lock it is at work. `last` is changed last.
pub(super) fn nothing_counts_before_git_is_done(proxy: &Proxy, lock: &Path, last: &str) {
    fs::write(lock, "").unwrap();
    proxy.touch("a.py");
    stays("it waits", Duration::from_millis(500), || proxy.reloads() == 0);
    proxy.touch("b.py");
    proxy.touch(last);
    fs::remove_file(lock).unwrap();
    wait_reload(proxy, 1, "a.py and 1 more");
}

fn what_git_changes_counts_once_it_is_done() {
    let setup = Setup::new().fixed();
    let lock = setup.scene().path("site/.git/index.lock");
    fs::create_dir(setup.scene().path("site/.git")).unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    nothing_counts_before_git_is_done(&proxy, &lock, "b.py");
    // One that was left behind is no obstacle: a save counts long before what never rests would.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::create(&lock).unwrap().set_modified(old).unwrap();
    proxy.touch("c.py");
    wait_reload(&proxy, 2, "c.py");
}
