//! What sessions cost besides time: system calls and memory.

use crate::Plan;
use crate::common::Result;
use crate::common::figures::{Table, number};
use crate::subject::{Cpus, Running, Subject};
use crate::traffic::Order;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long an order is carried out under strace, in seconds.
const SECONDS: f64 = 1.0;
/// How long strace may need until it has everything.
const ATTACHES: Duration = Duration::from_millis(500);
/// How long everything may need to be as it stays.
const CALM: Duration = Duration::from_secs(1);
/// What is read from a clock costs no system call but under some hypervisors.
const NOT_COUNTED: &str = "clock_gettime";

/// System calls of what is in between: per round trip and per MiB.
pub fn calls(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("NOTE: strace is not installed: SYSTEM CALLS ARE NOT COUNTED");
        return Ok(());
    }
    let orders = [
        ("a round trip", Order::Trips { seconds: SECONDS }, 1.0),
        ("a MiB to the client", Order::Down { seconds: SECONDS }, f64::from(1 << 20)),
        ("a MiB from it", Order::Up { seconds: SECONDS }, f64::from(1 << 20)),
    ];
    let mut table = Table::new(&["", "for", "calls", "by call"]);
    for subject in subjects {
        for (name, order, scale) in orders {
            let running = Running::start(plan, subject, Cpus::Free, "destination")?;
            if running.between().next().is_none() {
                continue;
            }
            eprintln!("calls for {name}: {}", subject.name);
            let calls = counted(&running, order, scale)?;
            let by_call = calls.iter().map(|(name, count)| format!("{name} {}", number(*count))).collect::<Vec<_>>();
            let cells = [name.to_owned(), number(calls.values().sum::<f64>()), by_call.join(" ")];
            table.row(subject.name, cells);
        }
    }
    table.print("System calls of what is in between, under strace");
    Ok(())
}

/// By name; those below 0.005 are left out.
fn counted(running: &Running, order: Order, scale: f64) -> Result<BTreeMap<String, f64>> {
    let output = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(output.path());
    for process in running.between() {
        strace.args(["-p", &process.pid().to_string()]);
    }
    let mut strace = strace.stderr(Stdio::null()).spawn()?;
    std::thread::sleep(ATTACHES);
    let done = running.traffic(&order)?.done as f64 / scale;
    kill(Pid::from_raw(strace.id() as i32), Signal::SIGINT)?;
    strace.wait()?;
    // Columns: share of time, seconds, microseconds a call, calls, errors or nothing, name.
    let text = std::fs::read_to_string(output.path())?;
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = rows.filter_map(|row| Some((*row.last()?, row.get(3)?.parse::<f64>().ok()? / done)));
    Ok(counts
        .filter(|(name, count)| !["total", NOT_COUNTED].contains(name) && *count >= 0.005)
        .map(|(name, count)| (name.to_owned(), count))
        .collect())
}

/// Memory of sessions whose clients have left.
pub fn memory(plan: &Plan) -> Result<()> {
    eprintln!("memory of {} sessions", plan.count("sessions"));
    let running = Running::start(plan, &Subject::session(), Cpus::Free, "echo")?;
    let server = running.between().next().ok_or("no server")?;
    std::thread::sleep(CALM);
    let before = server.memory()?;
    let outcome = running.traffic(&Order::Leave { sessions: plan.count("sessions") })?;
    std::thread::sleep(CALM);
    let after = server.memory()?;
    let each = |before: f64, after: f64| number((after - before) / outcome.done as f64);
    let mut table = Table::new(&["detached", "base RSS KiB", "RSS KiB each", "PSS KiB each", "sessions made/s"]);
    let rate = number(outcome.done as f64 / outcome.seconds);
    table.row(&outcome.done.to_string(), [number(before.0), each(before.0, after.0), each(before.1, after.1), rate]);
    table.print("Sessions whose clients have said a line, have had it back and have left");
    Ok(())
}
