//! Waiting until a former destination is out of use.

use super::place::{Backend, MOMENT, Place, client, free_source, row};
use crate::harness::process::{Exit, alive, calls, send, stopped};
use crate::harness::{PATIENCE, eventually, stays, trials, trials_with};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

trials![
    a_timeout_has_its_own_exit_code_and_touches_nothing,
    only_the_time_that_was_asked_for_ends_a_wait,
    one_who_waits_and_is_killed_leaves_nothing_behind,
    a_crowd_that_waits_keeps_nobody_from_asking,
    a_wait_for_all_rules_and_for_one,
    a_wait_for_a_rule_that_is_not_there_fails,
    a_wait_goes_on_with_a_rule_that_drains,
    a_wait_for_what_is_cut_fails,
    there_is_no_bar_where_there_is_no_terminal,
];
trials_with!["script --version" => there_is_a_bar_on_a_terminal];

/// Those that need another program, too.
pub(super) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

fn a_timeout_has_its_own_exit_code_and_touches_nothing() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let ran = place.run(&["wait", &source, "--timeout", "200ms"]).expect(3).complains();
    ran.says("200ms").says("still run");
    held.ask("a");
    drop(held);
    place.quietly(&["wait", &source, "--timeout", "20s"]);
}

/// Whoever comes while the forwarder stands still, and so many have come before that the kernel keeps no more for it.
fn only_the_time_that_was_asked_for_ends_a_wait() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start(&free_source().0, &a.endpoint());
    let pid = place.pid();
    send(pid, Signal::SIGSTOP);
    eventually("it is stopped", || stopped(pid));
    let path = socket2::SockAddr::unix(place.path("forward.sock")).unwrap();
    let connected = || {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&path).ok().map(|()| socket)
    };
    let crowd = std::iter::from_fn(connected).collect::<Vec<_>>();
    let mut waits = [place.begin(&["wait", "--timeout", "60s"]), place.begin(&["wait"])];
    eventually("they are about to connect", || waits.iter().all(|waits| calls(waits.pid(), libc::SYS_connect)));
    place.run(&["wait", "--timeout", "300ms"]).expect(3).complains().says("300ms");
    stays("they wait for their turn", MOMENT, || waits.iter_mut().all(|waits| waits.runs()));
    drop(crowd);
    send(pid, Signal::SIGCONT);
    waits.into_iter().for_each(|waits| drop(waits.finish(PATIENCE).expect(0)));
}

fn one_who_waits_and_is_killed_leaves_nothing_behind() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let (killed, stays) = (place.begin(&["wait"]), place.begin(&["wait"]));
    eventually("both wait", || place.control_clients() == 2);
    send(killed.pid(), Signal::SIGKILL);
    assert_eq!(killed.finish(PATIENCE).exit, Exit::Signal(Signal::SIGKILL));
    eventually("the one that was killed is forgotten", || place.control_clients() == 1);
    drop(held);
    stays.finish(PATIENCE).expect(0);
    client(address, "b");
    assert!(alive(place.pid()));
}

fn a_crowd_that_waits_keeps_nobody_from_asking() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let ask = |index| {
        let mut stream = UnixStream::connect(place.path("forward.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"{\"request\":\"wait\"}\n").unwrap();
        eventually("it is taken in", || place.control_clients() > index);
        stream
    };
    let mut crowd: Vec<_> = (0..512).map(ask).collect();
    // One too many is told so, and whoever asks for something else is answered.
    let line = |stream: &mut UnixStream| {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    assert!(line(&mut ask(0)).contains("512 clients wait for an answer already"));
    drop(crowd.split_off(100));
    eventually("those who left are forgotten", || place.control_clients() <= 100);
    assert_eq!(place.rows().len(), 2);
    drop(held);
    assert!(crowd.iter_mut().all(|stream| line(stream).contains("\"ok\":true")));
}

fn a_wait_for_all_rules_and_for_one() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((one, address), (two, _)) = (free_source(), free_source());
    place.start(&one, &a.endpoint());
    place.start(&two, &a.endpoint());
    let held = client(address, "a");
    place.switch(&one, &b.endpoint());
    place.switch(&two, &b.endpoint());
    place.quietly(&["wait", &two]);
    let mut waits = place.begin(&["wait"]);
    eventually("it is there", || place.control_clients() == 1);
    // The first rule has a connection on a former destination.
    stays("it waits", MOMENT, || waits.runs());
    drop(held);
    waits.finish(PATIENCE).expect(0);
}

fn a_wait_for_a_rule_that_is_not_there_fails() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start(&free_source().0, &a.endpoint());
    place.run(&["wait", "tcp:1"]).expect(1).complains().says("no rule for tcp:1");
    place.run(&["wait", "tcp:x"]).expect(2).complains();
}

fn a_wait_goes_on_with_a_rule_that_drains() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    let mut stops = place.begin(&["stop", &source, "--drain"]);
    place.wait_rows(&[row(&source, &a.endpoint(), 1, "inactive")]);
    let mut waits = place.begin(&["wait", &source]);
    eventually("both are there", || place.control_clients() == 2);
    stays("both wait", MOMENT, || waits.runs() && stops.runs());
    held.ask("a");
    drop(held);
    waits.finish(PATIENCE).expect(0);
    stops.finish(PATIENCE).expect(0);
}

fn a_wait_for_what_is_cut_fails() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let mut held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    stays("it waits", MOMENT, || waits.runs());
    place.run(&["stop", &source]).expect(0);
    held.ends();
    waits.finish(PATIENCE).expect(1).complains().says("cut");
}

fn there_is_no_bar_where_there_is_no_terminal() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = client(address, "a");
    place.switch(&source, &b.endpoint());
    let mut waits = place.begin(&["wait", &source]);
    eventually("it is there", || place.control_clients() == 1);
    // A bar would have been drawn by then, more than once.
    stays("it waits", MOMENT * 2, || waits.runs());
    drop(held);
    let ran = waits.finish(PATIENCE).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
}

fn there_is_a_bar_on_a_terminal() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let held = (client(address, "a"), client(address, "a"));
    place.switch(&source, &b.endpoint());
    // script(1) runs a command on a terminal of its own and writes down what it shows.
    let shown = place.scene.path("shown");
    let line = format!("{} forward wait {source}", crate::harness::scene::binary().display());
    let mut command = std::process::Command::new("script");
    command.args(["-qefc", &line]).arg(&shown);
    let waits = crate::harness::ran::Running::start(place.scene.mark(&mut command).env("TERM", "xterm"));
    eventually("it tells how many are left", || place.scene.read("shown").contains("2 left"));
    drop(held.0);
    eventually("it tells that one is left", || place.scene.read("shown").contains("1 left"));
    drop(held.1);
    waits.finish(PATIENCE + Duration::from_secs(1)).expect(0);
}
