//! What a proxy for development says of itself, for people.

use crate::cli::table::{table, time};
use crate::dev::status::{Running, Status};
use crate::process::output::printable;
use std::fmt::Write;

/// A row of the table of all instances.
pub(in crate::cli) fn row(status: &Status) -> Vec<String> {
    let serving = status.generations.iter().find(|one| one.phase == "serving");
    vec![
        status.name.clone(),
        status.role.clone(),
        status.pid.to_string(),
        time(status.uptime_seconds),
        "-".into(),
        listeners(status),
        serving.map_or_else(|| status.phase.clone(), |one| one.number.to_string()),
    ]
}

/// In words.
pub(in crate::cli) fn describe(status: &Status) -> String {
    let Status { name, pid, phase, generation, backend, .. } = status;
    let since = time(status.uptime_seconds);
    let failed = if status.failed && phase == "up" { ", but the last change has failed" } else { "" };
    let mut text = format!("{name} (pid {pid}) leads from {} to {backend} for {since}\n", listeners(status));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "generation {generation} is {phase}{failed}");
    if !status.generations.is_empty() {
        let mut rows = vec![["GENERATION", "PHASE", "PID", "ADDRESS"].map(String::from).to_vec()];
        rows.extend(status.generations.iter().map(cells));
        text.push_str(&table(&rows));
    }
    let Status { restarts, held, in_progress, .. } = status;
    let _ = writeln!(text, "restarts {restarts}, requests held {held}, in progress {in_progress}");
    let _ = writeln!(text, "command: {}", printable(status.command.join(" ").as_bytes()));
    if let Some(change) = &status.last_change {
        let _ = writeln!(text, "last change: {}", printable(change.as_bytes()));
    }
    if let Some(failure) = &status.last_failure {
        let (summary, age) = (printable(failure.summary.as_bytes()), time(failure.age_seconds));
        let _ = writeln!(text, "last failure: {summary}, {age} ago");
        for line in &failure.lines {
            let _ = writeln!(text, "  {}", printable(line.as_bytes()));
        }
    }
    text
}

fn listeners(status: &Status) -> String {
    status.listeners.iter().map(|listener| listener.address.clone()).collect::<Vec<_>>().join(" ")
}

fn cells(one: &Running) -> Vec<String> {
    vec![
        one.number.to_string(),
        one.phase.clone(),
        one.pid.map_or("-".into(), |pid| pid.to_string()),
        one.address.clone().unwrap_or_else(|| "-".into()),
    ]
}
