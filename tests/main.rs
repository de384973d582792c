//! The suite: real supervisors, real children, real connections.
//!
//! One binary with two lives. Started by `cargo test` it runs the trials; started as
//! `suite child ROLE [ARG]...` it is one of the programs that the trials supervise, so that every
//! kind of good and bad child is at hand without a second executable.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "tests and their children talk")]
#![allow(clippy::unwrap_used, reason = "an unexpected error is a failed test")]

mod architecture;
mod c_daemons;
mod children;
mod cli;
mod control;
mod cookbook;
mod daemon;
#[cfg(feature = "http")]
mod dev;
mod forward;
mod handoff;
mod harness;
mod initd;
mod install;
mod logs;
mod loop_daemons;
mod readme;
mod relay;
mod session;
mod supervise;
mod sys;
#[path = "../client-lib/c/tests/toolchain/mod.rs"]
mod toolchain;

use std::process::ExitCode;

/// Most trials wait for other processes, so a few may overlap; more would measure the machine.
const TRIALS_AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("child") {
        return children::run(&words.collect::<Vec<_>>());
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(TRIALS_AT_A_TIME);
    harness::process::become_subreaper();
    harness::process::raise_descriptor_limit();
    let trials = [
        architecture::trials(),
        c_daemons::trials(),
        cli::trials(),
        control::all(),
        cookbook::trials(),
        daemon::all(),
        #[cfg(feature = "http")]
        dev::trials(),
        forward::trials(),
        handoff::trials_with(),
        initd::all(),
        install::all(),
        logs::trials(),
        loop_daemons::trials(),
        readme::all(),
        relay::trials(),
        session::trials(),
        supervise::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
}
