//! What the trials stand on: scenes with supervisors in them, clients, load, and a view of `/proc`.
//! It knows nothing of the supervisor's insides, only its command line, its files and its sockets.

#[cfg(feature = "http")]
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod guest;
pub(crate) mod island;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod ran;
pub(crate) mod scene;
pub(crate) mod supervisor;
pub(crate) mod unix;

pub(crate) use client::Failure;
pub(crate) use ran::Ran;
pub(crate) use scene::Scene;
pub(crate) use supervisor::{Setup, Supervisor};

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Generous: a loaded machine is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `look` answers with a value, or fails with what was seen last.
#[track_caller]
pub(crate) fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = LOOK;
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {patience:?} in vain until {what}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(LOOK * 10);
    }
}

/// Waits until `holds` is true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, PATIENCE, || if holds() { Ok(()) } else { Err("not so".to_owned()) });
}

/// Looks again and again for so long, and fails as soon as it is not so. For what no later event can show.
#[track_caller]
pub(crate) fn stays(what: &str, window: Duration, holds: impl FnMut() -> bool) {
    assert!(holds_for(window, holds), "it is no longer so that {what}");
}

/// Whether it is so at every look for so long.
pub(crate) fn holds_for(window: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + window;
    while Instant::now() < deadline {
        if !holds() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    holds()
}

/// A port that nobody listens at, and that nobody gets who leaves the choice to the kernel, as whoever listens beside it does:
/// that chooses from 32768 up (ip(7), `ip_local_port_range`).
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() as u16).wrapping_mul(97);
    loop {
        let port = 10_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let is_taken = |host| TcpListener::bind((host, port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        if !["::", "127.0.0.1"].into_iter().any(is_taken) {
            return port;
        }
    }
}

/// Builds the list of a module's trials, each named after its function.
macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().split_once("::").map_or("", |(_, module)| module);
            vec![$(libtest_mimic::Trial::test(
                format!("{module}::{}", stringify!($name)),
                || { $name(); Ok(()) },
            )),+]
        }
    };
}
pub(crate) use trials;

/// Builds the list of a module's trials that only root can run.
macro_rules! trials_of_root {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn trials_of_root() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().split_once("::").map_or("", |(_, module)| module);
            let has = $crate::harness::guest::ROOT;
            vec![$($crate::harness::guest::Guest { name: stringify!($name), has, body: $name }.trial(module)),+]
        }
    };
}
pub(crate) use trials_of_root;

/// Builds the list of a module's trials that need other people's programs, each behind what they need: a shell command that
/// succeeds where they are.
macro_rules! trials_with {
    ($($has:expr => $name:ident),+ $(,)?) => {
        pub(crate) fn trials_with() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().split_once("::").map_or("", |(_, module)| module);
            vec![$(
                $crate::harness::guest::Guest { name: stringify!($name), has: $has, body: $name }.trial(module)
            ),+]
        }
    };
}
pub(crate) use trials_with;
