//! The cases: what goes through each subject, and the table that comes of it.

use crate::Plan;
use crate::client::{Order, get};
use crate::common::Result;
use crate::common::figures::{Figure, Table, number};
use crate::common::machine::now;
use crate::subject::{DIRECT, OURS, PLAIN, Running, Subject};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many connections are open at any time where many are.
const OPEN: usize = 64;
/// So long it is looked whether one that has nothing to do does nothing.
const REST: Duration = Duration::from_secs(10);

/// The figures of one subject in one case.
#[derive(Default)]
struct Row {
    speed: Figure,
    p50: Figure,
    p99: Figure,
    cpu: Figure,
}

/// One connection that stays: how long its requests take.
pub fn latency(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    requests(plan, subjects, 1)
}

/// Many connections: how many requests there are in a second.
pub fn rate(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    requests(plan, subjects, OPEN)
}

/// Every subject once in each repetition, each time beginning with another, so that none has the quiet end.
fn requests(plan: &Plan, subjects: &[Subject], connections: usize) -> Result<()> {
    let mut all = BTreeMap::<&str, Row>::new();
    for at in 0..plan.repetitions * subjects.len() {
        let subject = &subjects[(at + at / subjects.len()) % subjects.len()];
        eprintln!("{connections} connections: {}", subject.name);
        let running = Running::start(plan, subject)?;
        let before = running.cpu()?;
        let outcome = running.clients(&Order::Requests { port: running.port, connections, seconds: plan.seconds })?;
        let used = running.cpu()?.zip(before).map(|(after, before)| after - before);
        let row = all.entry(&subject.name).or_default();
        row.speed.push(outcome.done as f64 / plan.seconds);
        row.p50.push(outcome.p50);
        row.p99.push(outcome.p99);
        row.cpu.0.extend(used.map(|used| used * 1e6 / outcome.done as f64));
    }
    let none = Row::default();
    let (direct, plain) = (all.get(DIRECT).unwrap_or(&none), all.get(PLAIN).unwrap_or(&none));
    let added = |row: &Row| Figure(row.p50.0.iter().zip(&direct.p50.0).map(|(with, without)| with - without).collect());
    let mut table = Table::new(&[
        "",
        "requests/s",
        "x hyper",
        "p50 µs",
        "added µs",
        "added, x hyper",
        "p99 µs",
        "CPU µs per request",
        "CPU x hyper",
    ]);
    for subject in subjects {
        let row = &all[subject.name.as_str()];
        let (speed, cpu) = (row.speed.over(&plain.speed), row.cpu.over(&plain.cpu));
        let (added, ratio) = (added(row), added(row).over(&added(plain)));
        let cells = [&row.speed, &speed, &row.p50, &added, &ratio, &row.p99, &row.cpu, &cpu];
        table.row(&subject.name, cells.map(Figure::to_string));
    }
    table.print(&format!("{connections} connections that stay, two threads, nothing pinned"));
    Ok(())
}

/// From a save until the new server answers.
pub fn save(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let Some(ours) = subjects.iter().find(|subject| subject.name == OURS) else {
        return Ok(());
    };
    eprintln!("saves");
    let running = Running::start(plan, ours)?;
    let [mut all, mut begun, mut own, mut answered] = [const { Figure(Vec::new()) }; 4];
    for number in 0..plan.count("saves") {
        // The watch has nothing to do with the file before.
        std::thread::sleep(Duration::from_millis(1500));
        std::fs::write(running.watched(), number.to_string())?;
        let saved = now();
        let (began, served) = loop {
            let text = get(running.port)?.ok_or("a request has failed")?;
            let (began, served) = text.split_once(' ').ok_or("no answer of the server")?;
            let (began, served) = (began.parse::<u64>()?, served.parse::<u64>()?);
            if began > saved {
                break (began, served);
            }
        };
        let done = now();
        let milliseconds = |from: u64, to: u64| (to - from) as f64 / 1e6;
        all.push(milliseconds(saved, done) - milliseconds(began, served));
        begun.push(milliseconds(saved, began));
        own.push(milliseconds(began, served));
        answered.push(milliseconds(served, done));
    }
    let mut table = Table::new(&["", "less its own start", "save to main", "its own start", "listening to the answer"]);
    table.row("ms", [&all, &begun, &own, &answered].map(Figure::to_string));
    table.print(&format!(
        "{} saves, until the new server has answered; 50 ms of it are for files to settle",
        plan.count("saves")
    ));
    Ok(())
}

/// Memory after much has been streamed.
pub fn memory(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let mut table =
        Table::new(&["", "peak before, KiB", "after the download", "after the upload", "MB/s down", "MB/s up"]);
    for subject in subjects.iter().filter(|subject| subject.name != DIRECT) {
        eprintln!("memory: {}", subject.name);
        let running = Running::start(plan, subject)?;
        let (port, bytes) = (running.port, plan.count("mib") as u64 * 1024 * 1024);
        let before = running.peak()?;
        let down = running.clients(&Order::Down { port, bytes })?;
        let after_down = running.peak()?;
        let up = running.clients(&Order::Up { port, bytes })?;
        if down.done < bytes || up.done != bytes {
            return Err(format!("{}: {} bytes came down, {} went up", subject.name, down.done, up.done).into());
        }
        let speed = |seconds: f64| number(bytes as f64 / 1e6 / seconds);
        let cells =
            [number(before), number(after_down), number(running.peak()?), speed(down.seconds), speed(up.seconds)];
        table.row(&subject.name, cells);
    }
    table.print(&format!("{} MiB streamed each way (VmHWM)", plan.count("mib")));
    Ok(())
}

/// Processor time while nothing happens.
pub fn idle(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let mut table = Table::new(&["", "ticks in 10 s"]);
    for subject in subjects.iter().filter(|subject| subject.name != DIRECT) {
        eprintln!("idle: {}", subject.name);
        let running = Running::start(plan, subject)?;
        std::thread::sleep(Duration::from_secs(1));
        let before = running.ticks()?;
        std::thread::sleep(REST);
        table.row(&subject.name, [(running.ticks()? - before).to_string()]);
    }
    table.print("Nothing to do");
    Ok(())
}
