//! Programs whose first process is not the one that serves: MAINPID of sd_notify(3).

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::harness::client::ask;
use crate::harness::load::Load;
use crate::harness::process::{self, Exit, alive, children, stopped};
use crate::harness::supervisor::worker_pid;
use crate::harness::unix::{ask_unix, unix};
use crate::harness::{PATIENCE, Setup, Supervisor, eventually, trials, trials_of_root};

trials![
    a_daemon_that_leaves_its_starter_is_followed,
    a_daemon_that_names_itself_is_followed,
    a_starter_that_names_itself_again_is_followed,
    naming_one_again_and_again_fills_no_log,
    the_drain_signal_goes_to_the_main_process,
    the_end_of_the_main_process_is_the_end_of_the_generation,
    a_main_process_may_hand_over_and_end_at_once,
    a_main_process_that_dies_before_it_is_ready_has_failed,
    a_watchdog_aborts_the_main_process,
    a_kill_reaches_a_daemon_in_its_own_session,
    only_a_process_of_ones_own_can_be_named,
];

trials_of_root![what_a_starter_said_is_heard_before_its_end];

/// Trials that need a network of their own, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    trials().into_iter().chain(trials_of_root()).collect()
}

/// The starter has gone, and is kept as a zombie: its number is that of the process group.
#[track_caller]
fn starter_gone(supervisor: &Supervisor) {
    eventually("the starter has gone", || {
        let left = children(supervisor.pid());
        left.is_empty()
    });
}

fn a_daemon_that_leaves_its_starter_is_followed() {
    for how in ["group", "session"] {
        let role = format!("notifies fork:{how}:serve mainpid:last say:READY=1 exit:0");
        let supervisor = Setup::alone().connections().with("--ready notify").role(&role).start();
        let before = supervisor.census();
        let load = Load::on(supervisor.address());
        for _ in 0..4 {
            starter_gone(&supervisor);
            let pid = supervisor.serving_pid();
            assert!(alive(pid));
            supervisor.reload().expect(0);
            supervisor.wait_settled();
            eventually("the last one has drained", || !alive(pid));
            assert_eq!(ask(supervisor.address()).pid, supervisor.serving_pid().as_raw());
        }
        load.finish().expect_nothing_noticed();
        assert_eq!(supervisor.status()["counters"]["respawns"], 0);
        assert_eq!(supervisor.census(), before);
    }
}

fn a_daemon_that_names_itself_is_followed() {
    let setup = Setup::alone().connections();
    let told = setup.scene().path("told").to_str().unwrap().to_owned();
    let daemon = format!("mainpid.self+barrier.{told}+after.300+say.STATUS=served%alone;READY=1+serve");
    let supervisor = setup.role(&format!("notifies fork:session:{daemon} until:{told} exit:0")).start();
    starter_gone(&supervisor);
    for _ in 0..3 {
        let answer = ask(supervisor.address());
        let status = supervisor.status();
        let serving = crate::harness::supervisor::serving(&status).unwrap();
        assert_eq!(worker_pid(serving).as_raw(), answer.pid);
        assert_eq!(serving["workers"][0]["status"], "served alone");
        supervisor.reload().expect(0);
        supervisor.wait_settled();
    }
}

fn a_starter_that_names_itself_again_is_followed() {
    let setup = Setup::alone().connections().with("--respawn-delay 10ms..1s");
    let go = setup.scene().path("go");
    let daemon = format!("until.{}+exit.0", go.display());
    let supervisor =
        setup.role(&format!("notifies fork:group:{daemon} mainpid:last mainpid:self say:READY=1 serve")).start();
    let starter = supervisor.serving_pid();
    assert!(children(supervisor.pid()).contains(&starter));
    std::fs::write(go, "").unwrap();
    eventually("the other one has ended", || !children(starter).into_iter().any(alive));
    assert_eq!(ask(supervisor.address()).pid, starter.as_raw());
    assert_eq!(supervisor.serving_pid(), starter);
    assert!(supervisor.scene.read("stderr").contains("from now on"));
}

fn naming_one_again_and_again_fills_no_log() {
    let role = "notifies fork:group:after.100000 mainpid_many:2000 say:STATUS=done;READY=1 serve";
    let supervisor = Setup::alone().with("--ready notify").role(role).start();
    ask(supervisor.address());
    let log = supervisor.scene.read("stderr");
    let told = log.matches("from now on").count();
    assert!((1..20).contains(&told), "told {told} times");
}

fn the_drain_signal_goes_to_the_main_process() {
    let role = "notifies fork:session:serve_alone mainpid:last say:READY=1";
    let supervisor = Setup::alone().role(role).start();
    let old = supervisor.serving_pid();
    let starter = children(supervisor.pid());
    assert!(starter.len() == 1 && starter[0] != old, "{starter:?}");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert!(!alive(old) && !alive(starter[0]));
    ask(supervisor.address());
}

fn the_end_of_the_main_process_is_the_end_of_the_generation() {
    for (how, end) in [("group", ""), ("session", "exit:0"), ("session", "")] {
        let setup = Setup::alone().connections().with("--respawn-delay 10ms..1s");
        let supervisor = setup.role(&format!("notifies fork:{how}:serve mainpid:last say:READY=1 {end}")).start();
        let old = supervisor.serving_pid();
        process::send(old, Signal::SIGKILL);
        supervisor.wait_status("another one serves", |status| {
            status["counters"]["respawns"] == 1 && crate::harness::supervisor::serving(status).is_some()
        });
        ask(supervisor.address());
        assert_ne!(supervisor.serving_pid(), old);
        supervisor.wait_settled();
        eventually("nothing is left of the first", || supervisor.scene.processes().len() <= 3);
    }
}

/// Its last word and its end come to us together, and its end is not that of the one that it has named.
fn a_main_process_may_hand_over_and_end_at_once() {
    let setup = Setup::alone().connections().with("--respawn-delay 10ms..1s");
    let go = setup.scene().path("go");
    let first = format!("mainpid.self+say.READY=1+until.{}+fork.session.serve+mainpid.last+exit.0", go.display());
    let supervisor = setup.role(&format!("notifies fork:session:{first}")).start();
    let old = supervisor.serving_pid();
    supervisor.signal(Signal::SIGSTOP);
    eventually("we sleep", || stopped(supervisor.pid()));
    std::fs::write(go, "").unwrap();
    eventually("it has ended", || !alive(old));
    supervisor.signal(Signal::SIGCONT);
    supervisor.wait_status("its successor is known", |status| {
        crate::harness::supervisor::serving(status).is_some_and(|serving| worker_pid(serving) != old)
    });
    let answer = ask(supervisor.address());
    assert_eq!((answer.generation, answer.pid), (1, supervisor.serving_pid().as_raw()));
    assert_eq!(supervisor.status()["counters"]["respawns"], 0);
}

fn a_main_process_that_dies_before_it_is_ready_has_failed() {
    let supervisor = Setup::alone().connections().start();
    let old = supervisor.serving_pid();
    for end in ["", "exit:0"] {
        supervisor.scene.role(&format!("notifies fork:session:after.300+exit.3 mainpid:last {end}"));
        let ran = supervisor.reload().expect(1).complains().says("before it was ready");
        assert!(ran.took < Duration::from_secs(10), "{ran:?}");
    }
    assert_eq!(ask(supervisor.address()).pid, old.as_raw());
    supervisor.wait_settled();
}

fn a_watchdog_aborts_the_main_process() {
    let setup = Setup::alone().connections().with("--respawn-delay 10ms..1s --watchdog 1500ms");
    let supervisor = setup.role("notifies fork:session:serve mainpid:last say:READY=1 exit:0").start();
    let old = supervisor.serving_pid();
    supervisor.scene.role("notifies say:READY=1;WATCHDOG_USEC=0 serve");
    supervisor.wait_status("another one serves", |status| status["counters"]["respawns"] == 1);
    eventually("the one that hung is gone", || !alive(old));
    supervisor.wait_settled();
    ask(supervisor.address());
}

fn a_kill_reaches_a_daemon_in_its_own_session() {
    // It has a process of its own, which shares its session and its group.
    let daemon = "deaf+fork.group.deaf+after.100000";
    let role = format!("notifies fork:session:{daemon} mainpid:last say:READY=1 exit:0");
    let mut supervisor = Setup::alone().connections().role(&role).start();
    let main = supervisor.serving_pid();
    eventually("its own process runs", || children(main).len() == 1);
    let own = children(main)[0];
    for _ in 0..3 {
        supervisor.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(supervisor.wait_exit(), Exit::Code(1));
    assert!(!alive(main));
    eventually("its own process is gone", || !alive(own));
}

fn only_a_process_of_ones_own_can_be_named() {
    let supervisor = Setup::alone().role("echo").start();
    let first = supervisor.serving_pid();
    for pid in [1, supervisor.pid().as_raw(), std::process::id().cast_signed(), first.as_raw(), i32::MAX] {
        supervisor.scene.role(&format!("notifies mainpid:{pid} mainpid:self say:STATUS=named;READY=1 serve"));
        supervisor.reload().expect(0);
        supervisor.wait_status("one serves", |status| {
            let serving = crate::harness::supervisor::serving(status).unwrap();
            let own = children(supervisor.pid());
            serving["workers"][0]["status"] == "named" && own == [worker_pid(serving)]
        });
        assert_eq!(ask(supervisor.address()).pid, supervisor.serving_pid().as_raw());
    }
    assert!(alive(Pid::from_raw(std::process::id().cast_signed())));
    let log = supervisor.scene.read("stderr");
    assert!(log.contains("which is none of its own"), "{log}");
}

/// Although there is more to hear than is heard at once.
fn what_a_starter_said_is_heard_before_its_end() {
    // Root of a container may not be allowed a network of its own.
    if !Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        return;
    }
    let setup = Setup::alone().connections().wrap("queue 512").with("--ready notify");
    let (go, endpoint) = (setup.scene().path("go"), unix(setup.scene(), "s"));
    let supervisor = setup.listen(&[&endpoint]).role("notifies say:READY=1 serve").start();
    let old = supervisor.serving_pid();
    let said = "say_many:STATUS=starting:300 mainpid:last say:READY=1 exit:0";
    supervisor.scene.role(&format!("notifies until:{} fork:session:serve {said}", go.display()));
    let reload = supervisor.begin_reload();
    let starter = || children(supervisor.pid()).into_iter().find(|child| *child != old);
    eventually("the starter runs", || starter().is_some());
    supervisor.signal(Signal::SIGSTOP);
    eventually("we sleep", || stopped(supervisor.pid()));
    std::fs::write(go, "").unwrap();
    eventually("the starter has ended", || starter().is_none());
    supervisor.signal(Signal::SIGCONT);
    reload.finish(PATIENCE).expect(0);
    assert_eq!(ask_unix(&endpoint), 2);
}
