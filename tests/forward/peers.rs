//! The forwarder with programs that others have written: a database, clients and servers of TLS, other proxies; and where the
//! network or the disk itself fails.

mod conformance;
mod haproxy;
mod names;
mod postgres;
mod proxies;
mod scarcity;
mod secure;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::harness::guest::{Guest, search_path};
use crate::harness::process::send;
use crate::harness::{PATIENCE, Scene, until};

/// Every trial with other people's programs.
pub(super) fn trials() -> Vec<Trial> {
    let guests = [conformance::GUESTS, haproxy::GUESTS, postgres::GUESTS, secure::GUESTS].concat();
    let mut trials: Vec<_> = guests.into_iter().map(|guest| guest.trial("forward::peers")).collect();
    trials.extend(names::trials_with());
    trials.extend(scarcity::trials());
    trials.extend(scarcity::trials_with());
    trials.push(Trial::test("forward::peers::the_trials_that_the_page_names_are_there", || {
        the_trials_that_the_page_names_are_there();
        Ok(())
    }));
    trials
}

/// The table of docs/testing.md.
fn the_trials_that_the_page_names_are_there() {
    let all = [crate::forward::trials(), crate::relay::trials(), crate::supervise::trials()];
    let all: BTreeSet<_> = all.iter().flatten().map(|trial| trial.name().to_owned()).collect();
    let page = include_str!("../../docs/testing.md");
    let table = page.lines().skip_while(|line| !line.starts_with("| what | tried by |")).skip(2);
    let mut rows = 0;
    for line in table.take_while(|line| line.starts_with('|')) {
        rows += 1;
        // Between the backticks.
        let names: Vec<_> = line.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing tries it: {line}");
        let missing: Vec<_> = names.iter().filter(|name| !all.contains(**name)).collect();
        assert!(missing.is_empty(), "there are no such trials: {missing:?}");
    }
    assert!(rows > 30, "{rows} rows");
}

/// A program that runs until it is dropped. What it says is in a file of the scene.
struct Program {
    child: Child,
    end: Signal,
}

impl Program {
    /// `end` makes it leave at once, with all of its processes.
    fn start(scene: &Scene, name: &str, command: &mut Command, end: Signal) -> Program {
        let log = File::create(scene.path(&format!("{name}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Program { child, end }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        send(Pid::from_raw(self.child.id().cast_signed()), self.end);
        // A failure to wait means that there is nothing to wait for.
        let _ = self.child.wait();
    }
}

/// Waits until somebody listens there.
#[track_caller]
fn wait_listening(address: SocketAddr) {
    until("somebody listens", PATIENCE, || TcpStream::connect(address).map(drop).map_err(|error| error.to_string()));
}
