//! The programs that the trials supervise, good ones and bad ones: `suite child ROLE [ARG]...`.
//!
//! They speak the documented wire themselves (`wire`), so that the supervisor is checked against
//! its documentation and not against the client library; `echo_library` uses the library.

mod binds;
mod datagrams;
mod echo;
mod einhorn;
mod give_back;
#[path = "../../client-lib/examples/line_counter.rs"]
mod line_counter;
mod misbehave;
mod notifies;
pub(crate) mod original;
mod output;
#[cfg(feature = "http")]
mod pages;
#[cfg(feature = "http")]
pub(crate) mod pattern;
mod plain;
mod probe;
mod probed;
mod serve;
pub(crate) mod successor;
#[cfg(feature = "http")]
mod web;
#[cfg(feature = "http")]
pub(crate) mod websocket;
mod wire;
mod wrap;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Runs the role that the words name.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["from", file] => from(file),
        ["echo"] => echo::run(),
        ["binds"] => binds::run(None),
        ["binds", address] => binds::run(Some(address)),
        ["binds_late", ms] => {
            std::thread::sleep(milliseconds(ms));
            binds::run(None)
        }
        ["repeats"] => binds::repeats(),
        ["records", file] => binds::records(file),
        ["binds_and_gives_back"] => binds::gives_back(),
        ["one_by_one", ms] => echo::one_by_one(milliseconds(ms)),
        ["process_per_connection"] => echo::process_per_connection(),
        ["serve_stdin"] => echo::serve_stdin(),
        ["echo_library"] => echo::with_library(),
        ["datagrams"] => datagrams::run(),
        ["slow_start", ms] => {
            std::thread::sleep(milliseconds(ms));
            echo::run()
        }
        ["line_counter"] => line_counter::main().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        ["gives_all_and_dies", file] => give_back::gives_all_and_dies(file.as_ref()),
        ["gives_first", count] => give_back::gives_first(count.parse().unwrap()),
        ["gives_heavy"] => give_back::gives_heavy(),
        ["gives_badly", count] => give_back::gives_badly(count.parse().unwrap()),
        ["tells_much"] => give_back::tells_much(),
        ["listener_plain"] => plain::run(),
        ["never_ready"] => misbehave::never_ready(),
        ["silent_alive"] => misbehave::park(),
        ["crash_before_ready", ms, code] => misbehave::crash_before_ready(milliseconds(ms), code.parse().unwrap()),
        ["crash_after_ready", ms] => misbehave::crash_after_ready(milliseconds(ms)),
        ["ignores_drain"] => misbehave::ignores_drain(),
        ["slow_drain", ms] => misbehave::slow_drain(milliseconds(ms)),
        ["stops_reading"] => misbehave::stops_reading(),
        ["reads", count] => misbehave::reads(count.parse().unwrap()),
        ["shuts_listener_down"] => misbehave::shuts_listener_down(),
        ["shuts_listener_down_for", ms] => misbehave::shuts_listener_down_for(milliseconds(ms)),
        ["leaks_fd"] => misbehave::leaks_fd(),
        ["grandchild"] => misbehave::grandchild(),
        ["leader_leaves"] => misbehave::leader_leaves(),
        ["wrong_version"] => misbehave::wrong_version(),
        ["garbage", what] => misbehave::garbage(what),
        ["prints", what, count] => output::run(what, count.parse().unwrap()),
        ["einhorn", ms, form, from] => einhorn::run(milliseconds(ms), form, from),
        ["einhorn_ack", form] => einhorn::acknowledge(form),
        ["einhorn_says", what] => einhorn::says(what),
        ["original", port, late] => original::run(port, milliseconds(late)),
        ["original_one_by_one", port, late] => original::one_by_one(port, milliseconds(late)),
        ["original_hidden", port] => original::hidden(port, usize::MAX),
        ["original_hidden_reads", port, count] => original::hidden(port, count.parse().unwrap()),
        ["original_reads", port, count] => original::reads(port, count.parse().unwrap()),
        ["original_twice", port] => original::twice(port),
        ["original_has_one", port] => original::has_one(port),
        ["original_refused", port] => original::refused(port),
        ["original_mistaken", port] => original::mistaken(port),
        ["keeps_by_library", file] => notifies::by_library(file.as_ref()),
        ["notifies", ..] => notifies::run(&words[1..]),
        ["relay", name, ..] => crate::relay::run(name, &words[2..]),
        ["successor", last, ..] => successor::run(last.parse().unwrap()),
        ["successor_says", words] => successor::says(words),
        ["successor_hears", file] => successor::hears(file.as_ref()),
        ["successor_records", file] => successor::records(file.as_ref()),
        ["probe", file] => probe::run(file.as_ref()),
        ["probed", late, what, until] => probed::run(milliseconds(late), what, milliseconds(until)),
        ["probed_second"] => probed::second(),
        ["probed_with_many", count] => probed::with_many(count.parse().unwrap()),
        ["probed_opaque"] => probed::opaque(),
        ["probed_greets"] => probed::greets(),
        ["probed_deaf"] => probed::deaf(),
        ["probed_by_orphan"] => probed::by_orphan(),
        ["probed_by_worker"] => probed::by_worker(),
        #[cfg(feature = "http")]
        ["pages", address] => pages::run(address),
        #[cfg(feature = "http")]
        ["web", dir, address] => web::run(dir, address),
        #[cfg(feature = "http")]
        ["web_stubborn", dir, address] => web::stubborn(dir, address),
        ["wrap", ..] => wrap::run(&words[1..]),
        _ => panic!("no such child: {words:?}"),
    }
}

/// Becomes what the file says now. A word `exec` first replaces the program altogether.
fn from(file: &str) -> ExitCode {
    let text = std::fs::read_to_string(file).unwrap();
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words[0] == "exec" {
        let error = Command::new(&words[1]).args(&words[2..]).exec();
        panic!("cannot execute {}: {error}", words[1]);
    }
    std::fs::write("/proc/self/comm", IN_ROLE).unwrap();
    run(&words)
}

/// The name of a process that has read what it is to be.
const IN_ROLE: &str = "in its role";

/// Whether a child that reads its role from a file has done so: what is written there from now on is for others.
pub(crate) fn has_its_role(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == IN_ROLE)
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap())
}
