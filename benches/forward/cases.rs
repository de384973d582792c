//! The cases: what goes through each subject, and the table that comes of it.

use crate::Plan;
use crate::common::Result;
use crate::common::figures::{Figure, Table, number};
use crate::common::load::{self, Pace};
use crate::subject::{Behind, Cpus, DIRECT, Front, HAPROXY, OURS, RELAY, Running, Subject};
use crate::traffic::{Order, Outcome};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

/// So many connections are open at any time where many are.
const OPEN: usize = 64;
/// Socat has a process for each connection: so many of them are enough.
const FEW: usize = 500;

/// The figures of one subject in one case.
#[derive(Default)]
struct Row {
    speed: Figure,
    p50: Figure,
    p99: Figure,
    cpu: Figure,
    failed: u64,
}

/// What goes through, and what it is counted in.
struct Case<'a> {
    title: String,
    unit: &'a str,
    cpu_unit: &'a str,
    /// So many units are one of what is printed, and so much of them the processor time is told for.
    scale: (f64, f64),
    cpus: Cpus,
    front: Front,
    behind: Behind,
    run: &'a dyn Fn(&Running) -> Result<Outcome>,
}

fn compare(plan: &Plan, subjects: &[Subject], case: &Case<'_>) -> Result<()> {
    let mut all = BTreeMap::<&str, Row>::new();
    for subject in plan.interleaved(subjects) {
        eprintln!("{}: {}", case.title, subject.name);
        let running = Running::start(plan, subject, (case.front, case.behind), case.cpus)?;
        let before = running.cpu()?;
        let outcome = (case.run)(&running)?;
        let used = running.cpu()?.zip(before).map(|(after, before)| after - before);
        let row = all.entry(&subject.name).or_default();
        row.speed.push(outcome.done as f64 / outcome.seconds / case.scale.0);
        row.p50.push(outcome.p50);
        row.p99.push(outcome.p99);
        row.cpu.0.extend(used.map(|used| used * case.scale.1 / outcome.done as f64));
        row.failed += outcome.failed;
    }
    let none = Row::default();
    let reference = if all.contains_key(HAPROXY) { HAPROXY } else { OURS };
    let (direct, other) = (all.get(DIRECT).unwrap_or(&none), all.get(reference).unwrap_or(&none));
    let (speed, cpu) = (format!("x {reference}"), format!("its x {reference}"));
    let mut table = Table::new(&["", case.unit, "x direct", &speed, case.cpu_unit, &cpu, "p50 µs", "p99 µs", "failed"]);
    for subject in subjects {
        let row = &all[subject.name.as_str()];
        let ratios = [row.speed.over(&direct.speed), row.speed.over(&other.speed), row.cpu.over(&other.cpu)];
        let cells = [&row.speed, &ratios[0], &ratios[1], &row.cpu, &ratios[2], &row.p50, &row.p99];
        table.row(&subject.name, cells.map(Figure::to_string).into_iter().chain([row.failed.to_string()]));
    }
    table.print(&case.title);
    Ok(())
}

/// Streams that send all they can.
pub fn bulk(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    for cpus in [Cpus::Apart, Cpus::Free] {
        for streams in [1, 8] {
            let run = |running: &Running| {
                running.traffic(&Order::Bulk { port: running.port, streams, seconds: plan.seconds, tls: None })
            };
            compare(
                plan,
                subjects,
                &Case {
                    title: format!("Bulk, {streams} streams, {}", cpus.title()),
                    unit: "GB/s",
                    cpu_unit: "CPU s per GB",
                    scale: (1e9, 1e9),
                    cpus,
                    front: Front::Plain,
                    behind: Behind::Sink,
                    run: &run,
                },
            )?;
        }
    }
    Ok(())
}

/// Streams that send all they can by TLS, which ends at the forwarder.
pub fn tls(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let able = subjects.iter().filter(|subject| subject.ends_tls()).cloned().collect::<Vec<_>>();
    for cpus in [Cpus::Apart, Cpus::Free] {
        for streams in [1, 8] {
            let run = |running: &Running| {
                let (port, seconds, tls) = (running.port, plan.seconds, Some(running.folder()));
                running.traffic(&Order::Bulk { port, streams, seconds, tls })
            };
            compare(
                plan,
                &able,
                &Case {
                    title: format!("TLS 1.3 in, AES-256-GCM, {streams} streams, {}", cpus.title()),
                    unit: "GB/s",
                    cpu_unit: "CPU s per GB",
                    scale: (1e9, 1e9),
                    cpus,
                    front: Front::Tls,
                    behind: Behind::Sink,
                    run: &run,
                },
            )?;
        }
    }
    Ok(())
}

/// The relay of a supervisor beside that of the forwarder.
pub fn relay(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let mut both = subjects.iter().filter(|subject| subject.name == OURS).cloned().collect::<Vec<_>>();
    both.push(Subject::relay());
    for streams in [1, 8] {
        let run = |running: &Running| {
            running.traffic(&Order::Bulk { port: running.port, streams, seconds: plan.seconds, tls: None })
        };
        compare(
            plan,
            &both,
            &Case {
                title: format!("{RELAY} beside forward: bulk, {streams} streams, {}", Cpus::Free.title()),
                unit: "GB/s",
                cpu_unit: "CPU s per GB",
                scale: (1e9, 1e9),
                cpus: Cpus::Free,
                front: Front::Plain,
                behind: Behind::Sink,
                run: &run,
            },
        )?;
    }
    new_connections(plan, &both, Cpus::Free)
}

/// Small messages over connections that stay.
pub fn requests(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    for (cpus, connections) in [(Cpus::Shared, 1), (Cpus::Apart, OPEN), (Cpus::Free, OPEN)] {
        let run = |running: &Running| {
            running.traffic(&Order::Requests { port: running.port, connections, seconds: plan.seconds })
        };
        compare(
            plan,
            subjects,
            &Case {
                title: format!("Requests over {connections} connections, {}", cpus.title()),
                unit: "requests/s",
                cpu_unit: "CPU µs per request",
                scale: (1.0, 1e6),
                cpus,
                front: Front::Plain,
                behind: Behind::Echo,
                run: &run,
            },
        )?;
    }
    Ok(())
}

/// New connections, each with one request.
pub fn connections(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    [Cpus::Apart, Cpus::Free].into_iter().try_for_each(|cpus| new_connections(plan, subjects, cpus))
}

fn new_connections(plan: &Plan, subjects: &[Subject], cpus: Cpus) -> Result<()> {
    let run = |running: &Running| {
        let pace = Pace::Loop(OPEN);
        let order = load::Order { port: running.port, pace, seconds: plan.seconds, hold: 0, spread: false };
        let outcome = running.load(&order)?;
        let failed = outcome.failed();
        Ok(Outcome { done: outcome.answered, seconds: plan.seconds, failed, p50: outcome.p50, p99: outcome.p99 })
    };
    compare(
        plan,
        subjects,
        &Case {
            title: format!("New connections, {OPEN} at a time, {}", cpus.title()),
            unit: "connections/s",
            cpu_unit: "CPU µs per connection",
            scale: (1.0, 1e6),
            cpus,
            front: Front::Plain,
            behind: Behind::Daemon,
            run: &run,
        },
    )
}

/// Memory of connections that do nothing.
pub fn idle(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let mut table =
        Table::new(&["", "connections", "base RSS KiB", "RSS KiB per connection", "PSS KiB per connection"]);
    for subject in subjects.iter().filter(|subject| subject.name != DIRECT) {
        eprintln!("idle: {}", subject.name);
        let idle = plan.count("idle");
        let connections = if subject.name.starts_with("socat") { FEW.min(idle) } else { idle };
        let running = Running::start(plan, subject, (Front::Plain, Behind::Echo), Cpus::Free)?;
        let memory = || running.forwarder.as_ref().ok_or("no forwarder")?.memory_with_children();
        let before = memory()?;
        let order = serde_json::to_string(&Order::Idle { port: running.port, connections })?;
        let mut child = running.begin(&["traffic", &order])?;
        let mut line = String::new();
        child.stdout.take().map_or(Ok(0), |output| BufReader::new(output).read_line(&mut line))?;
        let outcome: Outcome = serde_json::from_str(&line)?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        let after = memory()?;
        drop(child.stdin.take());
        child.wait()?;
        let each = |before: f64, after: f64| number((after - before) / outcome.done as f64);
        let cells = [outcome.done.to_string(), number(before.0), each(before.0, after.0), each(before.1, after.1)];
        table.row(&subject.name, cells);
    }
    table.print("Idle connections, after one message and its echo");
    Ok(())
}
