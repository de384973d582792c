//! Measures supervision side by side: `cargo bench --bench supervise [-- CASE…] [name=value…]`.
//!
//! The cases are rate, reload, stall and cost; all of them when none is named. `repetitions=5`, `seconds=2`,
//! `reloads=50` and `only=alone,listener` change what is done. Before each measurement it waits at most `patience=30`
//! seconds until the machine has nothing else to do. This program is also the daemon that is supervised and
//! the load, each in a process of its own. `docs/performance.md` says what the figures mean.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures, and what is under way")]

mod cases;
mod daemon;
mod figures;
mod load;
mod subject;
mod sys;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use subject::{ALONE, FEW_FILES, LIBRARY, Subject};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How much is done.
struct Plan {
    cases: Vec<String>,
    repetitions: usize,
    seconds: f64,
    reloads: usize,
    patience: Duration,
    only: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words[..] {
        ["daemon", ..] => daemon::run(&arguments[1..]),
        ["load", order] => load::run(order).map(|outcome| println!("{outcome}")),
        ["files", limit, program, ref rest @ ..] => {
            let limit = limit.parse()?;
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
            Err(Command::new(program).args(rest).exec().into())
        }
        // Cargo says --bench when it is to be measured, and nothing when it only tries whether the target runs.
        _ if words.contains(&"--bench") => measure(&Plan::read(&words)?),
        _ => Ok(()),
    }
}

impl Plan {
    fn read(words: &[&str]) -> Result<Plan> {
        let mut plan = Plan {
            cases: Vec::new(),
            repetitions: 5,
            seconds: 2.0,
            reloads: 50,
            patience: Duration::from_secs(30),
            only: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("repetitions", value)) => plan.repetitions = value.parse::<usize>()?.max(1),
                Some(("seconds", value)) => plan.seconds = value.parse()?,
                Some(("reloads", value)) => plan.reloads = value.parse()?,
                Some(("patience", value)) => plan.patience = Duration::from_secs(value.parse()?),
                Some(("only", value)) => plan.only = Some(value.split(',').map(str::to_owned).collect()),
                None if ["rate", "reload", "stall", "cost"].contains(word) => plan.cases.push((*word).into()),
                None if *word == "--bench" => {}
                Some(_) | None => return Err(format!("neither a case nor a setting: {word}").into()),
            }
        }
        plan.reloads = plan.reloads.next_multiple_of(plan.repetitions);
        Ok(plan)
    }

    fn has(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|named| named == case)
    }
}

fn measure(plan: &Plan) -> Result<()> {
    let mut subjects = Subject::all()?;
    if let Some(only) = &plan.only {
        subjects.retain(|subject| only.contains(&subject.name));
    }
    let without = |left_out: &[&str]| -> Vec<Subject> {
        let is_left_out =
            |name: &str| left_out.iter().any(|word| name == *word || *word == FEW_FILES && name.ends_with(word));
        subjects.iter().filter(|subject| !is_left_out(&subject.name)).cloned().collect()
    };
    machine("before");
    if plan.has("rate") {
        cases::rate(plan, &without(&[FEW_FILES]))?;
    }
    if plan.has("reload") {
        cases::reload(plan, &without(&[ALONE, LIBRARY]))?;
    }
    if plan.has("stall") {
        cases::stall(plan, &without(&[ALONE, LIBRARY, FEW_FILES]))?;
    }
    if plan.has("cost") {
        cases::cost(plan, &without(&[ALONE, LIBRARY, FEW_FILES]))?;
    }
    machine("after");
    Ok(())
}

/// Where the figures come from, and whether the machine had anything else to do.
fn machine(when: &str) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cpu = cpu.trim_start_matches(['\t', ' ', ':']);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    println!("\n{when}: {count} x {cpu}, Linux {}, load average {load}", read("/proc/sys/kernel/osrelease").trim());
}

/// Waits until nobody else uses the cpus, but not for ever; false if somebody still does.
fn wait_until_idle(patience: Duration) -> bool {
    // user nice system idle iowait …, in ticks since the start of the machine.
    let ticks = || -> Option<(u64, u64)> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let ticks = text.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok());
        let ticks = ticks.take(8).collect::<Vec<u64>>();
        Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
    };
    let began = Instant::now();
    while let Some((idle, all)) = ticks() {
        std::thread::sleep(Duration::from_millis(500));
        let Some((idle_now, all_now)) = ticks() else {
            break;
        };
        if (idle_now - idle) as f64 >= 0.95 * (all_now - all) as f64 {
            return true;
        }
        if began.elapsed() > patience {
            return false;
        }
    }
    true
}

/// The monotonic clock, which is the same in every process, in nanoseconds.
fn now() -> u64 {
    let now = ClockId::CLOCK_MONOTONIC.now().map(Duration::from).unwrap_or_default();
    now.as_nanos() as u64
}

fn own_path() -> Result<String> {
    Ok(std::env::current_exe()?.to_string_lossy().into_owned())
}

/// As many open files as are allowed: a stall makes many connections wait.
fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
