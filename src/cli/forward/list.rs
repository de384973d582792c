//! `ls`, and what the common `status` shows of a forwarder.

use super::Asked;
use crate::cli::Failure;
use crate::cli::asked::{PATIENCE, result};
use crate::cli::print::{print, print_json};
use crate::cli::table::{table, time};
use crate::control::client::ask;
use crate::forward::request::{List, ListedDestination, ListedRule, Paths, Request, Status};
use clap::Args;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long `ls -v` looks for the rates.
const RATE_OVER: Duration = Duration::from_millis(500);

/// `ls [--json]`
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) fn run(&self, asked: &Asked, all: bool) -> Result<ExitCode, Failure> {
        let list = || {
            let request = Request::List { detail: all };
            ask(&asked.socket, &request, Some(PATIENCE)).map_err(|error| asked.no_answer(&error))
        };
        if self.json {
            return print_json(&result::<serde_json::Value>(list()?)?);
        }
        let before = (Instant::now(), result::<List>(list()?)?.rules);
        if !all {
            return print(&plain(&before.1));
        }
        std::thread::sleep(RATE_OVER);
        let rules = result::<List>(list()?)?.rules;
        print(&in_full(&rules, Some((&before.1, before.0.elapsed()))))
    }
}

fn rows(rules: &[ListedRule]) -> impl Iterator<Item = (&ListedRule, &ListedDestination)> {
    rules.iter().flat_map(|rule| rule.destinations.iter().map(move |destination| (rule, destination)))
}

/// For people and for scripts that split lines at blanks.
fn plain(rules: &[ListedRule]) -> String {
    let mut text = String::from("src dst connections status\n");
    for (rule, one) in rows(rules) {
        text.push_str(&format!("{} {} {} {}\n", rule.source, one.endpoint, one.connections, one.status));
    }
    text
}

/// `before`: the same some time ago, from which the rates follow.
fn in_full(rules: &[ListedRule], before: Option<(&[ListedRule], Duration)>) -> String {
    let head = [
        "src",
        "dst",
        "connections",
        "status",
        "weight",
        "total",
        "failures",
        "in",
        "out",
        "rate",
        "age",
        "path",
        "rule",
    ];
    let mut all = vec![head.map(String::from).to_vec()];
    for (rule, one) in rows(rules) {
        all.push(vec![
            rule.source.clone(),
            one.endpoint.clone(),
            one.connections.to_string(),
            one.status.clone(),
            format!("{}%", one.weight),
            one.total.to_string(),
            one.failures.to_string(),
            bytes(one.bytes_in),
            bytes(one.bytes_out),
            before.map_or_else(|| "-".into(), |before| rate(rule, one, before)),
            time(one.age_seconds),
            paths(one.paths.as_ref()),
            condition(rule),
        ]);
    }
    table(&all)
}

/// What went through within the time since `before`, both ways together, for each second of it.
fn rate(rule: &ListedRule, now: &ListedDestination, (before, time): (&[ListedRule], Duration)) -> String {
    let mut known = rows(before).filter(|(known, one)| known.source == rule.source && one.endpoint == now.endpoint);
    let sum = |one: &ListedDestination| one.bytes_in + one.bytes_out;
    let then = known.next().map_or(0, |(_, one)| sum(one));
    let each_second = sum(now).saturating_sub(then) as f64 / time.as_secs_f64();
    format!("{}/s", bytes(each_second as u64))
}

fn condition(rule: &ListedRule) -> String {
    match rule {
        ListedRule { draining: true, .. } => "draining".into(),
        ListedRule { paused: true, parked, .. } => format!("paused, {parked} wait"),
        ListedRule { address, certificate_expires: Some(time), .. } => format!("{address}, certificate until {time}"),
        ListedRule { address, .. } => address.clone(),
    }
}

fn paths(paths: Option<&Paths>) -> String {
    let Some(Paths { setting_up, copy, splice, tls }) = paths else {
        return "-".into();
    };
    let all = [(setting_up, "setting up"), (copy, "copy"), (splice, "splice"), (tls, "tls")];
    let some = all.iter().filter(|(count, _)| **count > 0).map(|(count, name)| format!("{count} {name}"));
    let some = some.collect::<Vec<_>>().join(", ");
    if some.is_empty() { "-".into() } else { some }
}

/// With three digits, in units of 1024.
fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{count}B") } else { format!("{value:.1}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1}TiB")
}

/// The forwarder's line among all instances.
pub(in crate::cli) fn row(status: &Status) -> Vec<String> {
    let addresses = status.rules.iter().filter(|rule| !rule.draining).map(|rule| rule.address.clone());
    let connections = rows(&status.rules).map(|(_, one)| one.connections).sum::<u64>();
    vec![
        status.name.clone(),
        status.role.clone(),
        status.pid.to_string(),
        time(status.uptime_seconds),
        "-".into(),
        addresses.collect::<Vec<_>>().join(" "),
        format!("{connections} connection{}", if connections == 1 { "" } else { "s" }),
    ]
}

/// The forwarder alone.
pub(in crate::cli) fn describe(status: &Status) -> String {
    let up = time(status.uptime_seconds);
    format!("{} (pid {}) forwards for {up}\n{}", status.name, status.pid, in_full(&status.rules, None))
}

#[cfg(test)]
mod tests {
    use super::{bytes, rate};
    use crate::forward::request::{ListedDestination, ListedRule};
    use std::time::Duration;

    fn rule(source: &str, bytes_in: u64, bytes_out: u64) -> ListedRule {
        let destination =
            ListedDestination { endpoint: "tcp:b".into(), bytes_in, bytes_out, ..ListedDestination::default() };
        ListedRule { source: source.into(), destinations: vec![destination], ..ListedRule::default() }
    }

    #[test]
    fn a_rate_is_what_went_both_ways_since_the_first_look() {
        let before = [rule("other", 9999, 9999), rule("a", 1000, 500)];
        let now = rule("a", 1500, 2000);
        let half = Duration::from_millis(500);
        assert_eq!(rate(&now, &now.destinations[0], (&before, half)), "3.9KiB/s");
        assert_eq!(rate(&now, &now.destinations[0], (&[], Duration::from_secs(1))), "3.4KiB/s", "it is new");
        assert_eq!(
            rate(&before[1], &before[1].destinations[0], (std::slice::from_ref(&now), half)),
            "0B/s",
            "it began anew"
        );
    }

    #[test]
    fn bytes_are_told_in_a_unit_that_fits() {
        let told = [0, 999, 1000, 1536, 1024 * 1024, 5 << 30, 7 << 40].map(bytes);
        assert_eq!(told, ["0B", "999B", "1.0KiB", "1.5KiB", "1.0MiB", "5.0GiB", "7.0TiB"]);
    }
}
