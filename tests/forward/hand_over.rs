//! The moment in which a forwarder changes hands: signals that come just then, those who come to ask, programs that are
//! started by another, and descriptors that run short.

use super::control::Wire;
use super::place::{Backend, Place, client, free_source};
use crate::harness::process::{Exit, alive, descriptors_of, send, stopped};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, eventually, scene, trials, trials_with, until};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

trials![
    term_for_a_process_that_is_about_to_be_followed_ends_all,
    term_for_a_process_that_has_left_is_passed_on_until_the_other_serves,
    those_who_ask_at_that_moment_are_answered,
    those_who_come_to_wait_at_that_moment_wait,
    a_program_that_is_started_by_another_is_the_one_in_the_pid_file,
    without_a_free_descriptor_everything_changes_hands,
    a_process_with_too_few_descriptors_leaves_all_to_the_old_one,
];

trials_with![
    STRACE => term_while_the_pid_file_names_the_old_process_ends_all,
    STRACE => term_before_the_old_process_knows_that_it_is_not_meant_ends_all,
    STRACE => a_directory_that_is_removed_at_that_moment_is_made_again,
    STRACE => what_a_killed_process_has_prepared_is_cleaned_up,
];

/// It looks into a process.
const STRACE: &str = "strace --version";

/// Those that need strace(1), too.
pub(super) fn all() -> Vec<Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

impl Place {
    #[track_caller]
    fn wait_nothing_is_left(&self) {
        until("nothing is left", PATIENCE, || {
            let left = self.scene.processes();
            let left = left.into_iter().map(crate::harness::process::describe).collect::<Vec<_>>();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        });
    }
}

fn term_for_a_process_that_is_about_to_be_followed_ends_all() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start_copy(&free_source().0, &a.endpoint());
    place.scene.script("program", "exec sleep 1000");
    let restarts = place.begin(&["restart"]);
    place.wait_log("is getting ready");
    let old = place.pid();
    send(old, Signal::SIGTERM);
    assert_eq!(place.wait_end(old), Exit::Code(0));
    restarts.finish(PATIENCE).expect(1).complains();
    place.wait_nothing_is_left();
}

/// The new process is one that hears what the old one says, and does not say that it serves.
fn term_for_a_process_that_has_left_is_passed_on_until_the_other_serves() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start_copy(&free_source().0, &a.endpoint());
    let heard = place.scene.path("heard");
    let script = format!("exec {} child successor_hears {}", scene::suite(), heard.display());
    place.scene.script("program", &script);
    let _restarts = place.begin(&["restart"]);
    place.wait_log("has taken over");
    let old = place.pid();
    send(old, Signal::SIGTERM);
    until("it is told", PATIENCE, || {
        let heard = place.scene.read("heard");
        if heard.lines().filter(|line| *line == "\"stop\"").count() == 1 { Ok(()) } else { Err(heard) }
    });
    // And the second one, which cuts.
    send(old, Signal::SIGTERM);
    eventually("it is told again", || place.scene.read("heard").matches("\"stop\"").count() == 2);
    assert_eq!(place.wait_end(old), Exit::Code(0));
}

/// A restart in which everything has been handed over, and the rename(2) that makes the pid file the new one's takes its
/// time.
fn slow_restart(place: &Place, program: &std::path::Path) -> Running {
    let aside = place.scene.path("aside");
    std::fs::rename(program, &aside).unwrap();
    let delay = "-e trace=rename -e inject=rename:delay_enter=2000000";
    place.scene.script("program", &format!("exec strace -f -o /dev/null {delay} {} \"$@\"", aside.display()));
    let restarts = place.begin(&["restart"]);
    place.wait_log("has taken over");
    restarts
}

fn term_while_the_pid_file_names_the_old_process_ends_all() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let (held, old) = (client(address, "a"), place.pid());
    let restarts = slow_restart(&place, &program);
    assert_eq!(place.pid(), old, "whoever reads the pid file now");
    send(old, Signal::SIGTERM);
    place.wait_log("stopping; connections may finish");
    drop(held);
    assert_eq!(place.wait_end(old), Exit::Code(0));
    place.wait_nothing_is_left();
    restarts.finish(PATIENCE);
    assert!(!place.path("forward.pid").exists() && !place.path("forward.sock").exists());
}

/// Whoever sent it may have read the pid file before.
fn term_before_the_old_process_knows_that_it_is_not_meant_ends_all() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let program = place.start_copy(&free_source().0, &a.endpoint());
    let old = place.pid();
    let restarts = slow_restart(&place, &program);
    send(old, Signal::SIGSTOP);
    eventually("it is stopped", || stopped(old));
    restarts.finish(PATIENCE).expect(0);
    eventually("the pid file is the other one's", || place.pid() != old);
    send(old, Signal::SIGTERM);
    send(old, Signal::SIGCONT);
    assert_eq!(place.wait_end(old), Exit::Code(0));
    place.wait_nothing_is_left();
}

/// The new process finds no place for its pid file.
fn a_directory_that_is_removed_at_that_moment_is_made_again() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let (mut held, old) = (client(address, "a"), place.pid());
    let restarts = slow_restart(&place, &program);
    std::fs::remove_dir_all(place.path("")).unwrap();
    restarts.finish(PATIENCE).expect(0);
    let of_another = || place.file("forward.pid").trim().parse::<i32>().is_ok_and(|pid| pid != old.as_raw());
    eventually("there is a pid file again", of_another);
    eventually("and the socket", || place.path("forward.sock").exists());
    assert!(place.file("forward.json").contains(&source));
    held.ask("a");
    place.run(&["start"]).expect(1).complains().says("already running");
    drop(held);
    place.run(&["stop"]).expect(0);
    place.wait_nothing_is_left();
}

/// Some just connect and others ask already, all the time.
fn those_who_ask_at_that_moment_are_answered() {
    let times = std::env::var("RESTART_WAITS").map_or(10, |times| times.parse().unwrap());
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start(&free_source().0, &a.endpoint());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asks = || {
            let mut answered = 0;
            let mut next = Wire::connect(&place);
            while !over.load(Ordering::SeqCst) {
                let mut wire = std::mem::replace(&mut next, Wire::connect(&place));
                let answer = wire.ask(&serde_json::json!({"request": "wait"}));
                assert_eq!(answer["ok"], true, "{answer}");
                answered += 1;
            }
            answered
        };
        let crowd = (0..3).map(|_| scope.spawn(asks)).collect::<Vec<_>>();
        (0..times).for_each(|_| place.quietly(&["restart"]));
        over.store(true, Ordering::SeqCst);
        assert!(crowd.into_iter().all(|asks| asks.join().unwrap() > 0));
    });
}

fn those_who_come_to_wait_at_that_moment_wait() {
    let times = std::env::var("RESTART_WAITS").map_or(10, |times| times.parse().unwrap());
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut waiting = Vec::new();
    for _ in 0..times {
        let restarts = place.begin(&["restart"]);
        waiting.extend((0..4).map(|_| place.begin(&["wait"])));
        restarts.finish(PATIENCE).expect(0);
        for waits in &mut waiting {
            assert!(waits.runs(), "one who waits has ended");
        }
        // So many may wait, and no more.
        if waiting.len() > 200 {
            waiting.drain(..).for_each(|waits| {
                send(waits.pid(), Signal::SIGKILL);
                waits.finish(PATIENCE);
            });
        }
    }
    drop(held);
    waiting.into_iter().for_each(|waits| drop(waits.finish(PATIENCE).expect(0)));
}

/// The program is a script that starts another and waits for it, as those do that prepare a program's surroundings.
fn a_program_that_is_started_by_another_is_the_one_in_the_pid_file() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let path = place.scene.path("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = notify.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let program = place.scene.copy(scene::binary(), "program");
    let mut command = Command::new(&program);
    place.scene.mark(&mut command).args(["forward", "start", "-f", &source, &a.endpoint()]).env("NOTIFY_SOCKET", &path);
    let first = Running::start(&mut command);
    assert_eq!(told(), "READY=1");
    let mut held = client(address, "a");
    let aside = place.scene.path("aside");
    std::fs::rename(&program, &aside).unwrap();
    place.scene.script("program", &format!("{} \"$@\"\nexit $?", aside.display()));
    place.quietly(&["restart"]);
    let new = place.pid();
    assert_eq!(std::fs::read_link(format!("/proc/{new}/exe")).unwrap(), aside, "the pid file names the script");
    assert_eq!(told(), format!("MAINPID={new}"));
    first.finish(PATIENCE).expect(0).says("restarted: the new process has taken over\n");
    held.ask("a");
    client(address, "a");
    assert!(!place.file("forward.log").contains("stopped"));
    send(new, Signal::SIGTERM);
    drop(held);
    place.wait_nothing_is_left();
    assert!(!place.path("forward.pid").exists());
}

/// It has made its pid file, which is not in its place yet, when it is killed; and it is no child of the old process.
fn what_a_killed_process_has_prepared_is_cleaned_up() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let mut held = client(address, "a");
    let aside = place.scene.path("aside");
    std::fs::rename(&program, &aside).unwrap();
    let kill = "-e trace=fchmod -e inject=fchmod:signal=KILL";
    place.scene.script("program", &format!("exec strace -f -o /dev/null {kill} {} \"$@\"", aside.display()));
    let old = place.pid();
    place.run(&["restart"]).expect(1).complains().says("cannot restart");
    let left = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with(".pid")), "{left:?}");
    assert_eq!(place.pid(), old);
    held.ask("a");
}

/// Lets a process have no descriptor more than it has; with this hard limit.
fn leave_no_descriptor(pid: Pid, hard: Option<usize>) {
    let used = descriptors_of(pid);
    let free = (0..).find(|number| !used.contains_key(number)).unwrap();
    let hard = hard.map_or_else(String::new, |hard| hard.to_string());
    let soft = hard.parse().unwrap_or(free);
    let ran = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={soft}:{hard}")]).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn without_a_free_descriptor_everything_changes_hands() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let program = place.start_copy(&source, &a.endpoint());
    let mut held = (0..20).map(|_| client(address, "a")).collect::<Vec<_>>();
    // From the beginning of the restart on.
    leave_no_descriptor(place.pid(), None);
    place.restart();
    held.iter_mut().for_each(|client| client.ask("a"));
    // And from the middle of it on.
    let (aside, go) = (place.scene.path("aside"), place.scene.path("go"));
    std::fs::rename(&program, &aside).unwrap();
    let slow = format!("while [ ! -e {} ]; do sleep 0.05; done; exec {} \"$@\"", go.display(), aside.display());
    place.scene.script("program", &slow);
    let old = place.pid();
    let restarts = place.begin(&["restart"]);
    until("it is under way", PATIENCE, || {
        let log = place.file("forward.log");
        if log.matches("is getting ready").count() == 2 { Ok(()) } else { Err(log) }
    });
    leave_no_descriptor(old, None);
    std::fs::write(go, "").unwrap();
    restarts.finish(PATIENCE).expect(0);
    held.iter_mut().for_each(|client| client.ask("a"));
    client(address, "a");
    assert_eq!(a.accepted(), 21, "nobody has connected again");
    assert_eq!(place.wait_end(old), Exit::Code(0));
}

fn a_process_with_too_few_descriptors_leaves_all_to_the_old_one() {
    const CONNECTIONS: usize = 200;
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start_copy(&source, &a.endpoint());
    let mut held = (0..CONNECTIONS).map(|_| client(address, "a")).collect::<Vec<_>>();
    let old = place.pid();
    // Enough to come up, and not for all that is handed over.
    leave_no_descriptor(old, Some(CONNECTIONS));
    place.run(&["restart"]).expect(1).complains().says("cannot restart").says("no more could be opened");
    assert_eq!(place.pid(), old);
    assert!(alive(old));
    held.iter_mut().for_each(|client| client.ask("a"));
    held.drain(..CONNECTIONS * 3 / 4);
    client(address, "a");
    held.iter_mut().for_each(|client| client.ask("a"));
    assert_eq!(a.accepted(), CONNECTIONS + 1, "nobody has connected again");
}
