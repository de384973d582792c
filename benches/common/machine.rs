//! The machine that is measured on: its clock, its limits, and whether it has anything else to do.

use super::Result;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;
use nix::unistd::Pid;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Prints where the figures come from, and whether the machine had anything else to do.
pub fn describe(when: &str) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cpu = cpu.trim_start_matches(['\t', ' ', ':']);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    println!("\n{when}: {count} x {cpu}, Linux {}, load average {load}", read("/proc/sys/kernel/osrelease").trim());
}

/// Waits until nobody else uses the cpus, but not for ever; says so if somebody still does.
pub fn wait_until_idle(patience: Duration) {
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
            return;
        };
        if (idle_now - idle) as f64 >= 0.95 * (all_now - all) as f64 {
            return;
        }
        if began.elapsed() > patience {
            eprintln!("    THE MACHINE IS BUSY: this measurement is disturbed");
            return;
        }
    }
}

/// The monotonic clock, which is the same in every process, in nanoseconds.
pub fn now() -> u64 {
    let now = ClockId::CLOCK_MONOTONIC.now().map(Duration::from).unwrap_or_default();
    now.as_nanos() as u64
}

/// This program.
pub fn own_path() -> Result<String> {
    Ok(std::env::current_exe()?.to_string_lossy().into_owned())
}

/// As many open files as are allowed: a stall makes many connections wait.
pub fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Starts something that shall have this cpu only, if it shall.
pub fn on_cpu<T>(cpu: Option<usize>, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(cpu) = cpu else {
        return start();
    };
    let (this, mut only) = (Pid::from_raw(0), CpuSet::new());
    let before = sched_getaffinity(this)?;
    only.set(cpu)?;
    sched_setaffinity(this, &only)?;
    let started = start();
    sched_setaffinity(this, &before)?;
    started
}

/// A port of the loopback that nobody uses at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until somebody serves there, as long as `alive` says so of whoever is to do it.
pub fn wait_for(port: u16, alive: &mut dyn FnMut(u16) -> bool) -> Result<()> {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if !alive(port) || began.elapsed() > Duration::from_secs(15) {
            return Err(format!("nobody serves on port {port}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
