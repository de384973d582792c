//! The relay itself, without the programs around it. Each trial has a process of its own, so that its descriptors can be
//! counted: `suite child relay NAME`.

mod carried;
mod ends;
mod flaps;
mod introduced;
mod limits;
mod parked;
mod paths;
mod reach;
mod scene;
mod threads;
mod tls;
mod unix_sockets;

use std::process::{Command, ExitCode, Stdio};

type Body = fn();

/// All bodies by name.
fn all() -> Vec<(&'static str, Body)> {
    [
        ends::BODIES,
        paths::BODIES,
        reach::BODIES,
        limits::BODIES,
        parked::BODIES,
        threads::BODIES,
        carried::BODIES,
        flaps::BODIES,
        introduced::BODIES,
        tls::BODIES,
        unix_sockets::BODIES,
    ]
    .concat()
}

/// Builds the list of a file's bodies, each under its name.
macro_rules! bodies {
    ($($name:ident),+ $(,)?) => {
        pub(super) const BODIES: &[(&str, super::Body)] = &[$((stringify!($name), $name)),+];
    };
}
use bodies;
pub(crate) use scene::wait_acknowledged;

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let trial = |(name, _): (&'static str, Body)| {
        libtest_mimic::Trial::test(format!("relay::{name}"), move || in_its_own_process(name))
    };
    all().into_iter().map(trial).collect()
}

fn in_its_own_process(name: &str) -> Result<(), libtest_mimic::Failed> {
    let own = std::env::current_exe().unwrap();
    let child = Command::new(own).args(["child", "relay", name]).stdin(Stdio::null()).output().unwrap();
    if child.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", child.status, String::from_utf8_lossy(&child.stderr)).into())
}

/// The other life: one body, or one of the programs that a body needs.
pub(crate) fn run(name: &str, words: &[&str]) -> ExitCode {
    if name == "limited" {
        return limits::relay_of_few_descriptors(words);
    }
    let bodies = all();
    let (_, body) = bodies.iter().find(|(other, _)| *other == name).unwrap();
    let before = scene::descriptors();
    body();
    assert_eq!(scene::descriptors(), before, "descriptors after the trial and before it");
    ExitCode::SUCCESS
}
