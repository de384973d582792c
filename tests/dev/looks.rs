//! Where the system does not tell of every change: it is looked at all files, and nothing is lost.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::files::{replace_directories, save_in_every_way, wait_reload};
use super::stage::Setup;
use crate::harness::guest::guests;
use crate::harness::process::send;
use crate::harness::{trials, until};

guests![
    "unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_inotify_instances'";
    where_nothing_can_be_watched_it_is_looked_at,
    where_it_is_looked_at_saves_and_directories_count_alike,
    where_no_more_can_be_watched_nothing_is_lost,
];

trials![
    more_events_than_the_kernel_keeps_are_one_look_at_all,
    a_root_that_goes_and_comes_back_is_found_again,
    a_root_in_a_repository_that_is_made_anew_is_found_and_run_in,
];

/// A proxy to be in a user namespace of its own, where this limit of inotify(7) is as told.
fn limited(setup: Setup, limit: &str, value: u32) -> Setup {
    let line = format!("echo {value} > /proc/sys/user/{limit} && exec \"$@\"");
    setup.wrap(&["unshare", "--user", "--map-root-user", "sh", "-c", &line, "sh"])
}

/// Nobody may have an inotify instance.
fn blind(setup: Setup) -> Setup {
    limited(setup, "max_inotify_instances", 0)
}

fn where_nothing_can_be_watched_it_is_looked_at() {
    let proxy = blind(Setup::new().fixed()).start();
    proxy.wait_said("they are looked at again and again");
    proxy.wait_version("1");
    proxy.change("2");
    proxy.wait_version("2");
    fs::create_dir(proxy.site("new")).unwrap();
    proxy.touch("new/a.py");
    wait_reload(&proxy, 2, "new/a.py");
    fs::write(proxy.site("tmp~"), "x").unwrap();
    fs::rename(proxy.site("tmp~"), proxy.site("new/a.py")).unwrap();
    wait_reload(&proxy, 3, "new/a.py");
}

fn where_it_is_looked_at_saves_and_directories_count_alike() {
    save_in_every_way(blind(Setup::new()));
    replace_directories(blind(Setup::new()));
    let setup = blind(Setup::new().with(&["--pattern", "*.py"]));
    fs::create_dir(setup.scene().path("site/out")).unwrap();
    setup.scene().write("site/.gitignore", "out\n");
    let proxy = setup.start();
    proxy.wait_said("they are looked at again and again");
    proxy.wait_version("1");
    fs::remove_file(proxy.site(".gitignore")).unwrap();
    proxy.touch("out/a.py");
    wait_reload(&proxy, 1, "out/a.py");
}

fn where_no_more_can_be_watched_nothing_is_lost() {
    let setup = Setup::new().fixed().with(&["--pattern", "*.py"]);
    fs::create_dir(setup.scene().path("site/src")).unwrap();
    // One watch is left when it begins.
    let proxy = limited(setup, "max_inotify_watches", 3).start();
    proxy.wait_version("1");
    proxy.touch("src/a.py");
    wait_reload(&proxy, 1, "src/a.py");
    // More directories than can be watched, with all that happens at the same time.
    for number in 0..8 {
        fs::create_dir(proxy.site(&format!("new{number}"))).unwrap();
    }
    proxy.touch("new7/b.py");
    proxy.touch("src/c.py");
    proxy.wait_said("they are looked at again and again");
    until("both are told, at once or not", Duration::from_secs(20), || {
        let said = proxy.said();
        let told = |words: &str| said.contains(&format!("reload: {words} changed"));
        let both = told("new7/b.py and 1 more") || (told("new7/b.py") && told("src/c.py"));
        if both { Ok(()) } else { Err(said) }
    });
    let before = proxy.reloads();
    proxy.touch("new3/d.py");
    wait_reload(&proxy, before + 1, "new3/d.py");
    fs::rename(proxy.site("src"), proxy.scene.path("src")).unwrap();
    wait_reload(&proxy, before + 2, "src/a.py and 1 more");
}

fn more_events_than_the_kernel_keeps_are_one_look_at_all() {
    // While it stands still, more happens than fits into the queue.
    let setup = Setup::new().fixed().with(&["--pattern", "*.py"]);
    fs::create_dir(setup.scene().path("site/many")).unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    send(proxy.pid(), Signal::SIGSTOP);
    for file in 0..8_000 {
        fs::write(proxy.site(&format!("many/f{file}.txt")), "made, opened, written and closed").unwrap();
    }
    fs::create_dir(proxy.site("late")).unwrap();
    proxy.version("2");
    proxy.touch("late/a.py");
    send(proxy.pid(), Signal::SIGCONT);
    proxy.wait_version("2");
    assert!(proxy.reloads() <= 2, "{}", proxy.said());
    assert!(
        proxy.said().contains("reload: more files than can be told changed")
            || proxy.said().contains("and many more changed"),
        "{}",
        proxy.said()
    );
    proxy.version("3");
    proxy.touch("late/b.py");
    proxy.wait_version("3");
}

fn a_root_that_goes_and_comes_back_is_found_again() {
    let setup = Setup::new().fixed();
    fs::write(setup.scene().path("site/a.py"), "").unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    let away = proxy.scene.path("away");
    fs::rename(proxy.site(""), &away).unwrap();
    proxy.wait_said("is gone: it is looked for again and again");
    fs::rename(&away, proxy.site("")).unwrap();
    proxy.version("2");
    proxy.touch("b.py");
    proxy.wait_version("2");
}

fn a_root_in_a_repository_that_is_made_anew_is_found_and_run_in() {
    let setup = Setup::new().fixed();
    fs::create_dir(setup.scene().path(".git")).unwrap();
    fs::write(setup.scene().path("site/a.py"), "").unwrap();
    let proxy = setup.start();
    proxy.wait_version("1");
    fs::remove_dir_all(proxy.site("")).unwrap();
    proxy.wait_said("is gone: it is looked for again and again");
    fs::create_dir(proxy.site("")).unwrap();
    proxy.version("2");
    proxy.touch("b.py");
    proxy.wait_version("2");
    let site = fs::canonicalize(proxy.site("")).unwrap();
    for server in proxy.servers() {
        assert_eq!(fs::read_link(format!("/proc/{server}/cwd")).unwrap(), site);
    }
    proxy.version("3");
    proxy.touch("b.py");
    proxy.wait_version("3");
}
