//! When a generation may serve.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::client::ask;
use crate::harness::process::Exit;
use crate::harness::{Setup, trials};

trials![
    nobody_is_switched_to_before_it_is_ready,
    a_child_that_never_speaks_is_ready_when_it_lives,
    after_one_that_spoke_its_successors_are_waited_for,
    alive_counts_from_the_start,
    channel_waits_for_the_word,
    connections_need_no_word_when_alive_is_asked_for,
    a_start_in_place_of_the_old_one,
    a_start_in_place_of_the_old_one_that_fails,
    times_are_understood,
];

fn nobody_is_switched_to_before_it_is_ready() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--pass").with(pass).start();
        let old = supervisor.serving_pid().as_raw();
        supervisor.scene.role("slow_start 800");
        let mut reload = supervisor.begin_reload();
        let mut asked = 0;
        while reload.runs() {
            let answer = ask(supervisor.address());
            if reload.runs() && answer.pid != old {
                // The switch comes just before the command returns.
                assert_eq!(supervisor.generation(), 2, "answered by a generation that does not serve");
            }
            asked += 1;
        }
        reload.finish(Duration::from_secs(20)).expect(0);
        assert!(asked > 3);
        supervisor.wait_settled();
        assert_ne!(ask(supervisor.address()).pid, old);
    }
}

fn a_child_that_never_speaks_is_ready_when_it_lives() {
    let begin = Instant::now();
    let supervisor = Setup::alone().role("listener_plain").start();
    assert!(begin.elapsed() >= Duration::from_secs(1), "ready after {:?}", begin.elapsed());
    ask(supervisor.address());
    let ran = supervisor.reload().expect(0);
    assert!(ran.took >= Duration::from_millis(900), "{ran:?}");
    supervisor.wait_settled();
    ask(supervisor.address());
}

fn after_one_that_spoke_its_successors_are_waited_for() {
    let supervisor = Setup::alone().with("--ready-timeout 2500ms").start();
    let old = supervisor.serving_pid().as_raw();
    supervisor.scene.role("listener_plain");
    let ran = supervisor.reload().expect(1).complains().says("ready");
    assert!(ran.took >= Duration::from_millis(2500), "{ran:?}");
    assert_eq!(ask(supervisor.address()).pid, old);
}

fn alive_counts_from_the_start() {
    let supervisor = Setup::alone().role("listener_plain").with("--ready alive:200ms").start();
    let ran = supervisor.reload().expect(0);
    assert!(ran.took >= Duration::from_millis(200) && ran.took < Duration::from_secs(10), "{ran:?}");
    supervisor.scene.role("crash_before_ready 50 1");
    supervisor.reload().expect(1).complains();
    ask(supervisor.address());
}

fn channel_waits_for_the_word() {
    let mut supervisor = Setup::alone().role("slow_start 1500").with("--ready channel").launch();
    let begin = Instant::now();
    supervisor.wait_serving();
    assert!(begin.elapsed() >= Duration::from_millis(1300), "ready after {:?}", begin.elapsed());
    ask(supervisor.address());
}

fn connections_need_no_word_when_alive_is_asked_for() {
    let supervisor = Setup::alone().connections().with("--ready alive:100ms").start();
    ask(supervisor.address());
    supervisor.reload().expect(0);
    ask(supervisor.address());
}

fn a_start_in_place_of_the_old_one() {
    for pass in ["listener", "connections"] {
        let supervisor = Setup::alone().with("--stop-first --pass").with(pass).start();
        let old = supervisor.serving_pid();
        supervisor.scene.role("slow_start 400");
        let load = crate::harness::load::Load::on(supervisor.address());
        let mut reload = supervisor.begin_reload();
        let mut both = 0;
        while reload.runs() {
            if crate::harness::process::children(supervisor.pid()).len() > 1 {
                both += 1;
            }
        }
        reload.finish(Duration::from_secs(30)).expect(0);
        load.finish().expect_nothing_noticed();
        assert_eq!(both, 0, "two generations at once");
        assert_ne!(supervisor.serving_pid(), old);
    }
}

fn a_start_in_place_of_the_old_one_that_fails() {
    let supervisor = Setup::alone().with("--stop-first --respawn-delay 50ms..200ms").start();
    supervisor.scene.role("crash_before_ready 0 3");
    supervisor.reload().expect(1).complains().says("no such database");
    // There is no old one to go back to, so it is tried again until it works.
    let late = std::thread::spawn({
        let address = supervisor.address();
        move || ask(address)
    });
    supervisor.scene.role("echo");
    late.join().unwrap();
    supervisor.wait_settled();
}

fn times_are_understood() {
    for time in ["90", "1500ms", "10s", "5m", "1h", "never"] {
        let mut supervisor = Setup::alone().with("--drain-timeout").with(time).start();
        supervisor.signal(Signal::SIGTERM);
        assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    }
}
