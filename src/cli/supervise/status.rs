//! What a supervisor says of itself, for people.

use crate::cli::table::{table, time};
use crate::process::output::printable;
use crate::supervise::status::Status;

/// A row of the table of all instances.
pub(in crate::cli) fn row(status: &Status) -> Vec<String> {
    let listeners = status.listeners.iter().map(|listener| listener.address.clone()).collect::<Vec<_>>();
    let serving = status.generations.iter().find(|generation| generation.phase == "serving");
    vec![
        status.name.clone(),
        status.role.clone(),
        status.pid.to_string(),
        time(status.uptime_seconds),
        status.pass.clone(),
        listeners.join(" "),
        serving.map_or("-".into(), |generation| generation.number.to_string()),
    ]
}

/// In words.
pub(in crate::cli) fn describe(status: &Status) -> String {
    let counters = &status.counters;
    let mut text = format!(
        "{} (pid {}) supervises for {}, passing {}\n",
        status.name,
        status.pid,
        time(status.uptime_seconds),
        status.pass
    );
    let mut rows = vec![["LISTENER", "ENDPOINT", "ADDRESS", "HELD", "ACCEPTED"].map(String::from).to_vec()];
    for one in &status.listeners {
        let numbers = [one.held.to_string(), one.accepted.to_string()];
        rows.push([vec![one.name.clone(), one.endpoint.clone(), one.address.clone()], numbers.to_vec()].concat());
    }
    text.push_str(&table(&rows));
    let mut rows = vec![["GENERATION", "PHASE", "PID", "AGE", "PASSED", "OPEN", "COMMAND"].map(String::from).to_vec()];
    for one in &status.generations {
        for worker in &one.workers {
            rows.push(vec![
                one.number.to_string(),
                one.phase.clone(),
                worker.pid.to_string(),
                time(one.age_seconds),
                worker.connections_passed.to_string(),
                worker.connections_open.map_or("-".into(), |open| open.to_string()),
                printable(one.command.join(" ").as_bytes()),
            ]);
        }
    }
    text.push_str(&table(&rows));
    for one in &status.generations {
        for said in one.workers.iter().filter_map(|worker| worker.status.as_ref()) {
            text.push_str(&format!("generation {} says: {}\n", one.number, printable(said.as_bytes())));
        }
    }
    text.push_str(&format!(
        "reloads {} ({} failed), respawns {}, accepted {}, passed {}, reclaimed {}, given back {}\n",
        counters.reloads,
        counters.reloads_failed,
        counters.respawns,
        counters.accepted,
        counters.passed,
        counters.reclaimed,
        counters.given_back
    ));
    if let Some(last) = &status.last_reload {
        let result = printable(last.reason.as_deref().unwrap_or("done").as_bytes());
        text.push_str(&format!("last reload: {result}, after {} ms\n", last.milliseconds));
    }
    text
}
