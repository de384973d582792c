//! The cases that take time, and the tables that come of them.

use crate::Plan;
use crate::common::Result;
use crate::common::figures::{Figure, Table};
use crate::subject::{Cpus, DIRECT, FORWARD, GATEWAY, Running, Subject};
use crate::traffic::{Order, Outcome};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

/// What may wait to be sent again, in bytes.
const REPLAYS: [u64; 3] = [0, 256 * 1024, 1024 * 1024];
/// How often a client comes again in a repetition.
const TIMES: usize = 20;

/// The figures of one subject in one case.
#[derive(Default)]
struct Row {
    speed: Figure,
    p50: Figure,
    p99: Figure,
    cpu: Figure,
}

impl Row {
    fn push(&mut self, outcome: &Outcome, cpu: f64, (scale, cpu_scale): (f64, f64)) {
        self.speed.push(outcome.done as f64 / outcome.seconds / scale);
        self.p50.push(outcome.p50);
        self.p99.push(outcome.p99);
        self.cpu.push(cpu * cpu_scale / outcome.done as f64);
    }
}

/// The figures of all subjects for one order; `scale` is what the speed and the processor time are told for.
fn compare<'a>(
    plan: &Plan,
    subjects: &'a [Subject],
    (title, cpus): (&str, Cpus),
    order: Order,
    scale: (f64, f64),
) -> Result<BTreeMap<&'a str, Row>> {
    let mut all = BTreeMap::<&str, Row>::new();
    for subject in plan.interleaved(subjects) {
        eprintln!("{title}: {}", subject.name);
        let running = Running::start(plan, subject, cpus, "destination")?;
        let before = running.cpu()?;
        let outcome = running.traffic(&order)?;
        all.entry(subject.name).or_default().push(&outcome, running.cpu()? - before, scale);
    }
    Ok(all)
}

/// One byte, and back.
pub fn trips(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    for cpus in [Cpus::Shared, Cpus::Free] {
        let title = format!("Round trips of one byte, {}", cpus.title());
        let order = Order::Trips { seconds: plan.seconds };
        let all = compare(plan, subjects, (&title, cpus), order, (1.0, 1e6))?;
        let none = Row::default();
        let (direct, forward) = (all.get(DIRECT).unwrap_or(&none), all.get(FORWARD).unwrap_or(&none));
        let forwards = forward.p50.beyond(&direct.p50);
        let head = ["", "p50 µs", "p99 µs", "added p50 µs", "added x forward", "CPU µs per trip", "its x forward"];
        let mut table = Table::new(&head);
        for subject in subjects {
            let row = &all[subject.name];
            let added = row.p50.beyond(&direct.p50);
            let (ratio, cpu) = (added.over(&forwards), row.cpu.over(&forward.cpu));
            let cells = [&row.p50, &row.p99, &added, &ratio, &row.cpu, &cpu].map(Figure::to_string);
            table.row(subject.name, cells);
        }
        table.print(&title);
    }
    Ok(())
}

/// Streams, one way and the other.
pub fn bulk(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let orders =
        [("to the client", Order::Down { seconds: plan.seconds }), ("from it", Order::Up { seconds: plan.seconds })];
    for cpus in [Cpus::Apart, Cpus::Free] {
        for (direction, order) in orders {
            let title = format!("A stream {direction}, {}", cpus.title());
            let all = compare(plan, subjects, (&title, cpus), order, (1e6, 1e9))?;
            let none = Row::default();
            let forward = all.get(FORWARD).unwrap_or(&none);
            let mut table = Table::new(&["", "MB/s", "x forward", "CPU s per GB", "its x forward"]);
            for subject in subjects {
                let row = &all[subject.name];
                let ratios = [row.speed.over(&forward.speed), row.cpu.over(&forward.cpu)];
                let cells = [&row.speed, &ratios[0], &row.cpu, &ratios[1]].map(Figure::to_string);
                table.row(subject.name, cells);
            }
            table.print(&title);
        }
    }
    Ok(())
}

/// From the cut of a connection to the first byte and to all bytes.
pub fn resume(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let subjects = subjects.iter().copied().filter(Subject::resumes).collect::<Vec<_>>();
    let mut table = Table::new(&["", "to be sent again, KiB", "first byte ms", "p99 ms", "everything ms"]);
    for replay in REPLAYS {
        let mut all = BTreeMap::<&str, [Figure; 3]>::new();
        for subject in plan.interleaved(&subjects) {
            eprintln!("resume, {replay} bytes: {}", subject.name);
            let running = Running::start(plan, subject, Cpus::Free, "destination")?;
            let outcome = running.traffic(&Order::Resume { replay, times: TIMES })?;
            let row = all.entry(subject.name).or_default();
            let times = [outcome.p50, outcome.p99, outcome.whole];
            row.iter_mut().zip(times).for_each(|(figure, time)| figure.push(time / 1e3));
        }
        for subject in &subjects {
            let cells = all[subject.name].iter().map(Figure::to_string);
            table.row(subject.name, [(replay / 1024).to_string()].into_iter().chain(cells));
        }
    }
    table.print("Coming again after a cut, nothing pinned");
    Ok(())
}

/// From the death of the gateway to the first byte, and to all, by the next one.
pub fn restart(plan: &Plan) -> Result<()> {
    let mut table = Table::new(&["to be sent again, KiB", "first byte ms", "everything ms"]);
    for replay in REPLAYS {
        let (mut first, mut whole) = (Figure::default(), Figure::default());
        for _ in 0..plan.repetitions {
            eprintln!("restart, {replay} bytes: {GATEWAY}");
            let mut running = Running::start(plan, &Subject::gateway(), Cpus::Free, "destination")?;
            let mut child = running.begin(&Order::Restart { replay })?;
            let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
            output.read_line(&mut String::new())?;
            running.restart()?;
            let mut line = String::new();
            output.read_line(&mut line)?;
            child.wait()?;
            let outcome: Outcome = serde_json::from_str(&line)?;
            first.push(outcome.p50 / 1e3);
            whole.push(outcome.whole / 1e3);
        }
        table.row(&(replay / 1024).to_string(), [&first, &whole].map(Figure::to_string));
    }
    table.print("Coming again after the gateway was killed and started again");
    Ok(())
}
