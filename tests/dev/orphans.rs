//! That none of the server's processes is left however it and we end, and that nobody else's is touched.

use std::fs;
use std::process::{Child, Command};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::stage::{Proxy, Setup};
use crate::harness::process::{Exit, alive, census, children, parent, send, stopped};
use crate::harness::{eventually, trials, trials_of_root};

trials![
    processes_that_have_left_the_group_end_too,
    when_we_are_killed_nothing_is_left,
    when_a_keeper_is_killed_its_server_has_failed,
    processes_that_we_have_not_started_are_left_alone,
];

trials_of_root![
    processes_that_came_into_our_container_are_left_alone,
    what_cannot_be_killed_holds_neither_a_restart_nor_our_end,
    what_a_build_leaves_and_cannot_be_killed_does_not_hold_the_server,
];

/// A line for the shell that leaves two processes without parents, in sessions of their own; one has no environment either.
const SCATTERED: &str = "setsid sh -c 'sleep 1000 & exit' ; env -i setsid sh -c 'sleep 2000 & exit'; exec $WEB";

/// The commands below a process that do nothing but sleep.
fn sleepers(below: Pid) -> Vec<Pid> {
    let sleeps = |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"));
    descendants(below).into_iter().filter(sleeps).collect()
}

fn descendants(pid: Pid) -> Vec<Pid> {
    let children = children(pid);
    children.iter().flat_map(|child| descendants(*child)).chain(children.iter().copied()).collect()
}

fn none_lives(pids: &[Pid]) -> bool {
    !pids.iter().any(|pid| alive(*pid))
}

fn processes_that_have_left_the_group_end_too() {
    // With overlap another server answers all the time, so nothing can be told by there being none.
    for setup in [Setup::new().fixed(), Setup::new().with(&["--overlap"])] {
        let mut proxy = setup.shell(SCATTERED).start();
        proxy.wait_version("1");
        eventually("both are there", || sleepers(proxy.pid()).len() == 2);
        let first = sleepers(proxy.pid());
        proxy.change("2");
        proxy.wait_version("2");
        eventually("the first two are gone", || none_lives(&first));
        eventually("there are two others", || sleepers(proxy.pid()).len() == 2);
        let second = sleepers(proxy.pid());
        assert_eq!(proxy.stop(Signal::SIGINT), Exit::Code(130));
        assert!(none_lives(&second), "nothing outlives us");
    }
}

fn when_we_are_killed_nothing_is_left() {
    for line in ["exec $WEB", "$WEB & sleep 1000 & wait", SCATTERED] {
        let mut proxy = Setup::new().with(&["--overlap"]).shell(line).start();
        proxy.wait_version("1");
        let all = descendants(proxy.pid());
        assert!(all.len() >= 2, "a keeper and a server");
        send(proxy.pid(), Signal::SIGKILL);
        assert_eq!(proxy.wait_exit(), Exit::Signal(Signal::SIGKILL));
        eventually("all are gone", || none_lives(&all));
        proxy.nothing_left();
    }
}

fn when_a_keeper_is_killed_its_server_has_failed() {
    let mut proxy = Setup::new().fixed().shell("setsid sleep 1000 & $WEB & wait").start();
    proxy.wait_version("1");
    let all = descendants(proxy.pid());
    let keepers = children(proxy.pid());
    assert_eq!(keepers.len(), 1);
    send(keepers[0], Signal::SIGKILL);
    eventually("all are gone", || none_lives(&all));
    eventually("it has failed", || proxy.get("/").0 == 503);
    proxy.change("2");
    proxy.wait_version("2");
    assert_eq!(proxy.stop(Signal::SIGTERM), Exit::Code(143));
}

fn processes_that_we_have_not_started_are_left_alone() {
    // A shell that becomes us leaves us its children: a dead one is reaped, and the living one is somebody else's.
    let wrap = ["sh", "-c", "sleep 3000 & true & exec \"$@\"", "sh"];
    let mut proxy = Setup::new().fixed().shell(SCATTERED).wrap(&wrap).start();
    proxy.wait_version("1");
    let foreign: Vec<_> = sleepers(proxy.pid()).into_iter().filter(|pid| parent(*pid) == Some(proxy.pid())).collect();
    assert_eq!(foreign.len(), 1);
    proxy.change("2");
    proxy.wait_version("2");
    eventually("the dead one is reaped", || census(proxy.pid()).children == 2);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait_exit(), Exit::Code(143));
    eventually("only that one is left", || proxy.scene.processes() == foreign);
    proxy.scene.clear();
}

fn processes_that_came_into_our_container_are_left_alone() {
    // We are the first process of a namespace, so what has lost its parent there comes to us.
    let wrap = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut proxy = Setup::new().fixed().shell(SCATTERED).wrap(&wrap).start();
    proxy.wait_version("1");
    let ours = children(proxy.pid())[0];
    let enter = format!("--target={ours}");
    let line = "setsid sleep 3000 & exit";
    let entered = proxy.scene.mark(Command::new("nsenter").args([&enter, "--pid", "sh", "-c", line])).status();
    assert!(entered.unwrap().success());
    let guests = || sleepers(ours).into_iter().filter(|pid| parent(*pid) == Some(ours)).collect::<Vec<_>>();
    eventually("it has come to us", || guests().len() == 1);
    proxy.change("2");
    proxy.wait_version("2");
    assert_eq!(guests().len(), 1, "a restart is none of its business");
    send(ours, Signal::SIGTERM);
    assert_eq!(proxy.wait_exit(), Exit::Code(143));
}

/// Somebody who has come into a namespace of processes from elsewhere, and is not reaped: the first process there ends only
/// when all others have been.
struct Guest {
    parent: Child,
}

impl Guest {
    fn enter(proxy: &Proxy, namespace_of: Pid) -> Guest {
        let target = format!("--target={namespace_of}");
        let mut command = Command::new("nsenter");
        let parent = proxy.scene.mark(command.args([&target, "--pid", "sleep", "1000"])).spawn().unwrap();
        let guest = Guest { parent };
        eventually("it has come in", || sleepers(guest.pid()).len() == 1);
        send(guest.pid(), Signal::SIGSTOP);
        eventually("its parent is stopped", || stopped(guest.pid()));
        guest
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.parent.id()).unwrap())
    }

    fn leave(mut self) {
        send(self.pid(), Signal::SIGCONT);
        self.parent.wait().unwrap();
    }
}

fn what_cannot_be_killed_holds_neither_a_restart_nor_our_end() {
    let line = "if [ -e ../once ]; then exec $WEB; fi; touch ../once; exec unshare --pid --fork $WEB";
    let mut proxy = Setup::new().fixed().with(&["--stop-timeout", "100ms"]).shell(line).start();
    proxy.wait_version("1");
    let web = descendants(proxy.pid()).into_iter().find(|pid| children(*pid).is_empty()).unwrap();
    let guest = Guest::enter(&proxy, web);
    proxy.change("2");
    proxy.wait_version("2");
    proxy.wait_said(&format!("(pid {web}) of the server cannot be killed, and is waited for no longer"));
    assert!(alive(web));
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait_exit(), Exit::Code(143));
    assert!(alive(web));
    guest.leave();
    // Its keeper has not forgotten it.
    proxy.nothing_left();
}

fn what_a_build_leaves_and_cannot_be_killed_does_not_hold_the_server() {
    let build = "unshare --pid --fork sleep 5000 & while [ ! -e ../go ]; do sleep 0.02; done";
    let mut proxy = Setup::new().with(&["--build", build]).start();
    let first_of_namespace = || {
        let line = |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        sleepers(proxy.pid()).into_iter().find(|pid| line(pid) == b"sleep\x005000\0")
    };
    eventually("the build runs", || first_of_namespace().is_some());
    let left = first_of_namespace().unwrap();
    let guest = Guest::enter(&proxy, left);
    proxy.scene.write("go", "");
    proxy.wait_version("1");
    proxy.wait_said(&format!("(pid {left}) of the build cannot be killed, and is waited for no longer"));
    assert!(alive(left));
    guest.leave();
    assert_eq!(proxy.stop(Signal::SIGTERM), Exit::Code(143));
}
