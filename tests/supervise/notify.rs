//! What children say by sd_notify(3); what they store by it has a file of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::client::{Client, ask};
use crate::harness::load::Load;
use crate::harness::process::{Exit, alive};
use crate::harness::ran::{Ran, Running};
use crate::harness::scene::suite;
use crate::harness::{PATIENCE, Setup, Supervisor, eventually, trials, trials_of_root, trials_with};

trials![
    notify_waits_for_ready_and_for_nothing_else,
    auto_takes_ready_and_waits_for_it,
    auto_does_not_wait_for_what_only_tells_its_status,
    fd_waits_for_a_line_and_for_nothing_else,
    fd_is_never_ready_when_closed_without_a_line,
    status_is_shown,
    a_child_that_stops_pinging_is_replaced,
    a_child_that_says_it_hangs_is_replaced,
    a_child_sets_its_own_watchdog,
    a_start_that_needs_longer_gets_it,
    a_barrier_falls_when_all_before_it_is_done,
    strangers_are_left_out,
    what_is_no_message_harms_nobody,
    a_flood_of_words_delays_nobody,
    reloads_and_stops_are_told_whatever_strangers_say,
    a_word_that_is_left_out_is_told_of,
    the_socket_is_ours_alone_and_goes_with_us,
    a_second_instance_takes_nothing_away,
];
trials_of_root![another_user_is_left_out];
trials_with!["systemd-notify --version" => a_shell_script_speaks_by_systemd_notify];

/// Those that need another user or program, too.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_of_root(), trials_with()].into_iter().flatten().collect()
}

fn socket(supervisor: &Supervisor) -> std::path::PathBuf {
    supervisor.scene.path("run/t.child/notify")
}

/// Takes steps in a process that is nobody's child.
fn outside(supervisor: &Supervisor, steps: &str) -> Ran {
    let mut command = Command::new(suite());
    command.args(["child", "notifies"]).args(steps.split(' ')).arg("exit:0").env("NOTIFY_SOCKET", socket(supervisor));
    Running::start(supervisor.scene.mark(&mut command)).finish(PATIENCE)
}

pub(super) fn status_of(supervisor: &Supervisor) -> Value {
    let status = supervisor.status();
    crate::harness::supervisor::serving(&status).unwrap()["workers"][0]["status"].clone()
}

fn notify_waits_for_ready_and_for_nothing_else() {
    for pass in ["listener", "connections"] {
        let setup = Setup::alone().with("--ready notify --pass").with(pass);
        let role = "notifies hello say:STATUS=loading;READY=0 after:1300 say:X=1;READY=1 serve";
        let begin = Instant::now();
        let supervisor = setup.role(role).start();
        assert!(begin.elapsed() >= Duration::from_millis(1300), "ready after {:?}", begin.elapsed());
        ask(supervisor.address());
        let ran = supervisor.reload().expect(0);
        assert!(ran.took >= Duration::from_millis(1300), "{ran:?}");
        ask(supervisor.address());
        supervisor.wait_settled();
    }
}

fn auto_takes_ready_and_waits_for_it() {
    let role = "notifies say:STATUS=loading after:1500 say:READY=1 serve";
    let begin = Instant::now();
    let supervisor = Setup::alone().role(role).start();
    assert!(begin.elapsed() >= Duration::from_millis(1500), "ready after {:?}", begin.elapsed());
    ask(supervisor.address());
    // Its successors are waited for even when they say nothing at first.
    supervisor.scene.role("notifies after:1500 say:READY=1 serve");
    let ran = supervisor.reload().expect(0);
    assert!(ran.took >= Duration::from_millis(1500), "{ran:?}");
    ask(supervisor.address());
}

fn auto_does_not_wait_for_what_only_tells_its_status() {
    let supervisor = Setup::alone().role("notifies after:1200 say:STATUS=busy serve").start();
    supervisor.wait_status("it has told what it does", |status| {
        crate::harness::supervisor::serving(status).is_some_and(|one| one["workers"][0]["status"] == "busy")
    });
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn fd_waits_for_a_line_and_for_nothing_else() {
    for said in ["line:up\\n", "line:READY=1"] {
        let role = format!("notifies hello say:READY=1 after:1200 {said} serve");
        let begin = Instant::now();
        let supervisor = Setup::alone().with("--ready fd").role(&role).start();
        assert!(begin.elapsed() >= Duration::from_millis(1200), "ready after {:?}", begin.elapsed());
        ask(supervisor.address());
        let before = supervisor.census();
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        ask(supervisor.address());
        assert_eq!(supervisor.census(), before);
    }
}

fn fd_is_never_ready_when_closed_without_a_line() {
    let setup = Setup::alone().with("--ready fd --ready-timeout 1500ms");
    let supervisor = setup.role("notifies line:\\n serve").start();
    let old = supervisor.serving_pid();
    supervisor.scene.role("notifies line:not_yet serve");
    let ran = supervisor.reload().expect(1).complains().says("was not ready within");
    assert!(ran.took >= Duration::from_millis(1400), "{ran:?}");
    assert_eq!(supervisor.serving_pid(), old);
    ask(supervisor.address());
}

fn status_is_shown() {
    let setup = Setup::alone().role("notifies say:STATUS=serving%3%shops;READY=1 say:STATUS=serving%4%shops serve");
    let supervisor = setup.start();
    eventually("the last status is shown", || status_of(&supervisor) == "serving 4 shops");
    let table = supervisor.scene.cli(&["status", supervisor.name()]).expect(0).out;
    assert!(table.contains("generation 1 says: serving 4 shops\n"), "{table}");
    supervisor.scene.role("notifies say:READY=1 serve");
    supervisor.reload().expect(0);
    supervisor.wait_settled();
    assert_eq!(status_of(&supervisor), Value::Null);
}

/// Whoever asks while one child hangs and the next one starts is answered.
#[track_caller]
fn is_replaced(supervisor: &Supervisor) {
    let (old, address) = (supervisor.serving_pid(), supervisor.address());
    // What is replaced is sure to find clients waiting.
    let asking = std::thread::spawn(move || {
        let mut answers = 0;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let answer = Client::connect(address).and_then(|mut client| client.ask(Duration::ZERO, "x"));
            match answer {
                Ok(answer) if answer.pid != old.as_raw() => return answers,
                _ => answers += 1,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{answers} answers, none of another child");
    });
    supervisor.wait_status("another child serves", |status| status["counters"]["respawns"].as_u64() >= Some(1));
    asking.join().unwrap();
    eventually("the one that hung is gone", || !alive(old));
    let log = supervisor.scene.read("stderr");
    assert!(log.contains("gets SIGABRT"), "{log}");
}

fn a_child_that_stops_pinging_is_replaced() {
    for pass in ["listener", "connections"] {
        let setup = Setup::alone().with("--watchdog 800ms --respawn-delay 10ms..1s --pass").with(pass);
        let supervisor = setup.role("notifies say:READY=1 ping:200:1000000 serve").start();
        let old = supervisor.serving_pid();
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(supervisor.serving_pid(), old, "it pings");
        supervisor.scene.role("notifies say:READY=1 ping:200:5 serve");
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        supervisor.scene.role("notifies say:READY=1 ping:200:1000000 serve");
        is_replaced(&supervisor);
    }
}

fn a_child_that_says_it_hangs_is_replaced() {
    let setup = Setup::alone().with("--respawn-delay 10ms..1s");
    let supervisor = setup.role("notifies say:READY=1 after:1500 say:WATCHDOG=trigger serve").start();
    supervisor.scene.role("notifies say:READY=1 serve");
    is_replaced(&supervisor);
    // One that starts so has failed.
    supervisor.scene.role("notifies say:WATCHDOG=trigger");
    supervisor.reload().expect(1).complains().says("hangs");
}

fn a_child_sets_its_own_watchdog() {
    let setup = Setup::alone().with("--respawn-delay 10ms..1s");
    let supervisor = setup.role("notifies say:READY=1;WATCHDOG_USEC=1500000 serve").start();
    supervisor.scene.role("notifies say:READY=1;WATCHDOG_USEC=300000 say:WATCHDOG_USEC=0 serve");
    is_replaced(&supervisor);
    let pid = supervisor.serving_pid();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(supervisor.serving_pid(), pid, "it has switched the watch off");
    let variables = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&variables).contains("WATCHDOG_USEC"));
    let supervisor = Setup::alone().with("--watchdog 90s").start();
    let variables = fs::read(format!("/proc/{}/environ", supervisor.serving_pid())).unwrap();
    assert!(variables.split(|byte| *byte == 0).any(|variable| variable == b"WATCHDOG_USEC=90000000"));
}

fn a_start_that_needs_longer_gets_it() {
    let setup = Setup::alone().with("--ready notify --ready-timeout 1500ms");
    let longer = "say:EXTEND_TIMEOUT_USEC=1500000 after:1000";
    let role = format!("notifies after:1000 {longer} {longer} {longer} say:READY=1 serve");
    let supervisor = setup.role(&role).start();
    let old = supervisor.serving_pid();
    supervisor.scene.role("notifies say:EXTEND_TIMEOUT_USEC=2500000");
    let ran = supervisor.reload().expect(1).complains();
    assert!(ran.took >= Duration::from_millis(2400) && ran.took < Duration::from_secs(12), "{ran:?}");
    assert_eq!(supervisor.serving_pid(), old);
}

fn a_barrier_falls_when_all_before_it_is_done() {
    let setup = Setup::alone();
    let passed = setup.scene().path("passed");
    let role = format!("notifies say:STATUS=before barrier:{} after:600 say:READY=1 serve", passed.display());
    let supervisor = setup.role(&role).launch();
    eventually("the barrier has fallen", || passed.exists());
    let status = supervisor.status();
    assert_eq!(status["generations"][0]["workers"][0]["status"], "before", "{status}");
    assert_eq!(status["generations"][0]["phase"], "starting", "{status}");
    let mut supervisor = supervisor;
    supervisor.wait_serving();
}

/// The program of the distribution waits at a barrier, or its process would be gone before it is looked for.
fn a_shell_script_speaks_by_systemd_notify() {
    let setup = Setup::alone().with("--ready notify");
    let child = setup.scene().child().join(" ");
    let script =
        setup.scene().script("script", &format!("systemd-notify --ready --status='by a script'; exec {child}"));
    let supervisor = setup.role("notifies serve").command(&[script.to_str().unwrap()]).start();
    assert_eq!(status_of(&supervisor), "by a script");
    for _ in 0..5 {
        supervisor.reload().expect(0);
        supervisor.wait_settled();
    }
    ask(supervisor.address());
}

fn strangers_are_left_out() {
    let supervisor = Setup::alone().with("--ready notify").role("notifies say:STATUS=mine;READY=1 serve").start();
    let before = supervisor.census();
    let old = supervisor.serving_pid();
    outside(&supervisor, "say:STATUS=theirs say:WATCHDOG=trigger store:x:y say:FDSTOREREMOVE=1 after:100").expect(0);
    supervisor.scene.role("notifies after:1000 say:READY=1 serve");
    let mut reload = supervisor.begin_reload();
    while reload.runs() && Path::new(&format!("/proc/{}", reload.pid())).exists() {
        outside(&supervisor, "say:READY=1 say:STATUS=theirs").expect(0);
        let status = supervisor.status();
        let texts: Vec<_> =
            status["generations"].as_array().unwrap().iter().map(|one| &one["workers"][0]["status"]).collect();
        assert!(texts.iter().all(|text| **text != "theirs"), "{status}");
    }
    let ran = reload.finish(PATIENCE).expect(0);
    assert!(ran.took >= Duration::from_millis(1000), "a stranger's word made it ready: {ran:?}");
    supervisor.wait_settled();
    assert!(!alive(old));
    assert_eq!(supervisor.census(), before);
    let log = supervisor.scene.read("stderr");
    let told = log.lines().filter(|line| line.contains("is no child of ours")).count();
    assert!((1..10).contains(&told), "told {told} times: {log}");
}

fn another_user_is_left_out() {
    let supervisor = Setup::alone().role("notifies say:STATUS=mine;READY=1 serve").start();
    supervisor.scene.open_to_all();
    let program = supervisor.scene.copy(suite().as_ref(), "child");
    let say = || {
        let mut command = Command::new(&program);
        command.args(["child", "wrap", "user", "61237", "--"]).arg(&program);
        command.args(["child", "notifies", "say:STATUS=theirs", "exit:0"]);
        command.env("NOTIFY_SOCKET", socket(&supervisor));
        Running::start(supervisor.scene.mark(&mut command)).finish(PATIENCE)
    };
    say().expect(101).says("EACCES");
    // Even where the files would let it: the kernel tells who it is.
    for (path, mode) in [("run", 0o711), ("run/t.child", 0o711), ("run/t.child/notify", 0o666)] {
        fs::set_permissions(supervisor.scene.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    say().expect(0);
    eventually("it is told of", || supervisor.scene.read("stderr").contains("is no child of ours"));
    assert_eq!(status_of(&supervisor), "mine");
    fs::set_permissions(supervisor.scene.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn what_is_no_message_harms_nobody() {
    let supervisor = Setup::alone().role("notifies say:READY=1 serve").start();
    let before = supervisor.census();
    // Empty, a NUL inside, no text, no pair, endless, numbers out of range, names that are none.
    let odd = "hex: hex:00 hex:524541445900313d hex:ff3dff hex:3d hex:0a0a0a long:4096 long:4097 long:100000 \
               say:MAINPID=1 say:MAINPID=-1 say:MAINPID=99999999999 say:WATCHDOG_USEC=x say:EXTEND_TIMEOUT_USEC=-1 \
               say:FDSTORE=1 say:FDSTORE=1;FDNAME= say:BARRIER=1 say:WATCHDOG=never say:EXTEND_TIMEOUT_USEC=99999999999999999999";
    supervisor.scene.role(&format!("notifies {odd} say:STATUS=after;READY=1 serve"));
    let load = Load::on(supervisor.address());
    for _ in 0..3 {
        supervisor.reload().expect(0);
        outside(&supervisor, odd).expect(0);
    }
    load.finish().expect_nothing_noticed();
    supervisor.wait_settled();
    assert_eq!(status_of(&supervisor), "after");
    assert_eq!(supervisor.census(), before);
}

fn a_flood_of_words_delays_nobody() {
    let setup = Setup::alone().connections();
    let supervisor = setup
        .role("notifies say:READY=1 flood:STATUS=number flood:STOPPING=1;X= flood:MAINPID=1;X= flood_store serve")
        .start();
    let load = Load::on(supervisor.address());
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        slowest = slowest.max(supervisor.scene.cli(&["status", supervisor.name(), "--json"]).expect(0).took);
    }
    supervisor.reload().expect(0);
    let report = load.finish();
    report.expect_nothing_noticed();
    assert!(slowest < Duration::from_secs(2), "a status took {slowest:?}");
    assert!(report.slowest < Duration::from_secs(5), "{report:?}");
    let memory = fs::read_to_string(format!("/proc/{}/status", supervisor.pid())).unwrap();
    let resident = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
    let kilobytes: u64 = resident.split(' ').next().unwrap().parse().unwrap();
    assert!(kilobytes < 200_000, "{resident}");
    let log = supervisor.scene.read("stderr");
    assert!(log.len() < 100_000, "{} bytes of log", log.len());
}

fn reloads_and_stops_are_told_whatever_strangers_say() {
    let setup = Setup::alone();
    let go = setup.scene().path("go");
    let supervisor = setup
        .role(&format!("notifies say:READY=1 until:{} say:RELOADING=1 say:STOPPING=1 serve", go.display()))
        .start();
    outside(&supervisor, "say:STATUS=theirs after:100").expect(0);
    let log = || supervisor.scene.read("stderr");
    eventually("the stranger is told of", || log().contains("is no child of ours"));
    fs::write(&go, "").unwrap();
    for word in ["reloads", "stops"] {
        eventually(word, || log().contains(&format!("generation 1 says that it {word}\n")));
    }
}

fn a_word_that_is_left_out_is_told_of() {
    for (word, why) in [("long:5000", "it is too long"), ("hex:58003d", "it has a NUL in it")] {
        let supervisor = Setup::alone().role(&format!("notifies {word} say:READY=1 serve")).start();
        let log = supervisor.scene.read("stderr");
        assert!(log.contains(&format!("a word by sd_notify is left out: {why}\n")), "{log}");
    }
}

fn the_socket_is_ours_alone_and_goes_with_us() {
    let setup = Setup::alone().wrap("umask 000").role("notifies say:READY=1 serve");
    let mut supervisor = setup.start();
    let (path, directory) = (socket(&supervisor), supervisor.scene.path("run/t.child"));
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(!directory.exists());
    // What one that was killed left behind is in nobody's way.
    let scene = std::sync::Arc::clone(&supervisor.scene);
    let mut killed = scene.setup().start();
    killed.kill();
    assert!(path.exists());
    let next = scene.setup().start();
    ask(next.address());
    assert_eq!(mode(&path), 0o600);
    drop(next);
    // But nothing that others may change is used.
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    scene.setup().run().expect(1).complains().says("cannot make the children's socket").says("not ours alone");
    scene.clear();
}

fn a_second_instance_takes_nothing_away() {
    let supervisor = Setup::alone().role("notifies say:STATUS=one;READY=1 serve").start();
    supervisor.scene.setup().run().expect(1).complains().says("already running");
    assert!(socket(&supervisor).exists());
    let other = supervisor.scene.setup().name(Some("t.child")).start();
    ask(other.address());
    supervisor.scene.role("notifies say:STATUS=two;READY=1 serve");
    supervisor.reload().expect(0);
    assert_eq!(status_of(&supervisor), "two");
    assert_eq!(status_of(&other), "one");
    drop(other);
    supervisor.reload().expect(0);
    assert_eq!(supervisor.status()["generations"].as_array().unwrap().last().unwrap()["phase"], "serving");
}
