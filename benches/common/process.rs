//! A process that is measured: what it uses, and its end.

use super::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

/// A process, ended when dropped.
pub struct Measured(pub Child);

impl Measured {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// The process itself and its children of the first degree, as workers are.
    fn family(&self) -> Result<Vec<Pid>> {
        let mut family = vec![self.pid()];
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if status.lines().any(|line| line == format!("PPid:\t{}", self.pid())) {
                family.push(Pid::from_raw(pid));
            }
        }
        Ok(family)
    }

    /// Its children of the first degree.
    pub fn children(&self) -> Result<Vec<Pid>> {
        Ok(self.family()?.split_off(1))
    }

    /// The processor time that it has used, without its children.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(self.pid())
    }

    /// The processor time that it and its children have used, those included that have ended.
    pub fn cpu_with_children(&self) -> Result<Duration> {
        let running = self.family()?.into_iter().filter_map(|pid| cpu_of(pid).ok()).sum::<Duration>();
        Ok(running + cpu_of_the_reaped(self.pid())?)
    }

    /// Resident and proportional memory, in KiB, without its children.
    pub fn memory(&self) -> Result<(f64, f64)> {
        memory_of(self.pid())
    }

    /// Resident and proportional memory, in KiB, with its children.
    pub fn memory_with_children(&self) -> Result<(f64, f64)> {
        let parts = self.family()?.into_iter().filter_map(|pid| memory_of(pid).ok());
        Ok(parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1)))
    }
}

fn cpu_of(pid: Pid) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// That of children which have ended and were waited for; see proc_pid_stat(5).
fn cpu_of_the_reaped(pid: Pid) -> Result<Duration> {
    const TICKS_A_SECOND: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may have spaces; cutime and cstime are the fields 16 and 17, and the third comes after it.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks = fields.skip(13).take(2).map_while(|field| field.parse::<f64>().ok()).sum::<f64>();
    Ok(Duration::from_secs_f64(ticks / TICKS_A_SECOND))
}

fn memory_of(pid: Pid) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let value = |name: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    value("Rss:").zip(value("Pss:")).ok_or_else(|| "no memory in smaps_rollup".into())
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let asked = Instant::now();
        while self.is_alive() && asked.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.is_alive() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
