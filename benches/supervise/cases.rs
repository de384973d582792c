//! The cases: what is done to each subject, and the table that comes of it.

use crate::Plan;
use crate::common::Result;
use crate::common::figures::{Figure, Table, number};
use crate::common::load::{Order, Outcome, Pace};
use crate::common::machine::now;
use crate::subject::{ALONE, LISTENER, Loading, Running, Subject};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The load under which daemons are reloaded: connections begun each second, and milliseconds each is in progress.
const PACE: Pace = Pace::Rate(1000.0);
const HOLD: u64 = 20;
/// How long the daemon of the slow cases needs to start.
const SLOW: Duration = Duration::from_millis(1500);
/// So many connections are open at any time in a closed loop.
const OPEN: usize = 64;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Connections each second, with everything on one cpu and with both cpus full.
pub fn rate(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    for (title, pinned, loads) in [("everything on cpu 0", true, 1), ("two loads, nothing pinned", false, 2)] {
        let mut all = BTreeMap::<&str, Rate>::new();
        for subject in plan.interleaved(subjects) {
            eprintln!("rate, {title}: {}", subject.name);
            all.entry(&subject.name).or_default().measure(plan, subject, pinned, loads)?;
        }
        let none = Rate::default();
        let (alone, listener) = (all.get(ALONE).unwrap_or(&none), all.get(LISTENER).unwrap_or(&none));
        let mut table = Table::new(&[
            "",
            "connections/s",
            "x alone",
            "x listener",
            "p50 µs",
            "p99 µs",
            "supervisor µs of cpu per connection",
            "failed",
        ]);
        for subject in subjects {
            let rate = &all[subject.name.as_str()];
            let ratios = [rate.speed.over(&alone.speed), rate.speed.over(&listener.speed)];
            let cells = [&rate.speed, &ratios[0], &ratios[1], &rate.p50, &rate.p99, &rate.cpu];
            table.row(&subject.name, cells.map(Figure::to_string).into_iter().chain([rate.failed.to_string()]));
        }
        table.print(&format!("Rate: {title}, {OPEN} connections a load"));
    }
    Ok(())
}

#[derive(Default)]
struct Rate {
    speed: Figure,
    p50: Figure,
    p99: Figure,
    cpu: Figure,
    failed: u64,
}

impl Rate {
    fn measure(&mut self, plan: &Plan, subject: &Subject, pinned: bool, loads: usize) -> Result<()> {
        let running = Running::start(plan, subject, Duration::ZERO, pinned)?;
        let before = running.process.cpu()?;
        let order = Order { port: running.port, pace: Pace::Loop(OPEN), seconds: plan.seconds, hold: 0, spread: true };
        let loads = (0..loads).map(|_| Loading::start(&order, pinned)).collect::<Result<Vec<_>>>()?;
        let outcomes = loads.into_iter().map(Loading::finish).collect::<Result<Vec<_>>>()?;
        let used = running.process.cpu()? - before;
        let answered = outcomes.iter().map(|outcome| outcome.answered).sum::<u64>() as f64;
        let worst = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).fold(0.0, f64::max);
        self.speed.push(answered / plan.seconds);
        self.p50.push(worst(|outcome| outcome.p50));
        self.p99.push(worst(|outcome| outcome.p99));
        // Alone, the process itself is the daemon.
        self.cpu.0.extend(subject.gap.map(|_| used.as_secs_f64() * 1e6 / answered));
        self.failed += outcomes.iter().map(Outcome::failed).sum::<u64>();
        Ok(())
    }
}

/// Reloads under a load in progress.
pub fn reload(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let mut all = BTreeMap::<&str, Reload>::new();
    for subject in plan.interleaved(subjects) {
        eprintln!("reload: {}", subject.name);
        all.entry(&subject.name).or_default().measure(plan, subject)?;
    }
    let mut table = Table::new(&[
        "",
        "failed / connections",
        "new generations",
        "HUP to main ms",
        "HUP to first answer ms",
        "worst stall ms",
    ]);
    for subject in subjects {
        let reload = &all[subject.name.as_str()];
        table.row(
            &subject.name,
            [
                format!("{} / {}", reload.failed, reload.answered + reload.failed),
                format!("{} of {}", reload.generations, reloads(plan)),
                reload.to_main.to_string(),
                reload.to_answer.to_string(),
                number(reload.stall.most()),
            ],
        );
    }
    table.print(&format!("Reload: {} reloads under 1,000 connections/s, each in progress {HOLD} ms", reloads(plan)));
    Ok(())
}

#[derive(Default)]
struct Reload {
    to_main: Figure,
    /// Less the daemon's own start.
    to_answer: Figure,
    stall: Figure,
    generations: usize,
    answered: u64,
    failed: u64,
}

impl Reload {
    fn measure(&mut self, plan: &Plan, subject: &Subject) -> Result<()> {
        let gap = subject.gap.unwrap_or_default();
        let count = reloads(plan) / plan.repetitions;
        let running = Running::start(plan, subject, Duration::ZERO, false)?;
        let time = gap.as_secs_f64() * count as f64 + 1.0;
        let load =
            Loading::start(&Order { port: running.port, pace: PACE, seconds: time, hold: HOLD, spread: true }, false)?;
        wait(seconds(0.5));
        let mut asked = Vec::new();
        for _ in 0..count {
            asked.push(now());
            running.reload()?;
            wait(gap);
        }
        let outcome = load.finish()?;
        asked.push(u64::MAX);
        for pair in asked.windows(2) {
            let new = outcome.daemons.iter().filter(|daemon| pair[0] < daemon.started && daemon.started < pair[1]);
            let Some(daemon) = new.min_by_key(|daemon| daemon.started) else {
                continue;
            };
            self.generations += 1;
            let own = daemon.ready - daemon.started;
            self.to_main.push((daemon.started - pair[0]) as f64 / 1e6);
            self.to_answer.push((daemon.answered - pair[0] - own) as f64 / 1e6 - HOLD as f64);
        }
        self.stall.push(outcome.worst / 1e3 - HOLD as f64);
        self.answered += outcome.answered;
        self.failed += outcome.failed();
        Ok(())
    }
}

/// What goes wrong, or is slow, in one of the cases in which supervisors differ.
type Trouble = fn(&Running, gap: Duration) -> Result<()>;

/// Title, the daemon's start, the load's seconds, what happens.
const TROUBLES: [(&str, Duration, f64, Trouble); 4] = [
    ("daemon needs 1.5 s to start", SLOW, 5.2, |running, _| {
        running.reload()?;
        wait(seconds(2.5));
        running.reload()
    }),
    ("new daemon exits at once, for 3 s", Duration::ZERO, 5.0, |running, _| {
        running.let_daemons_fail(true)?;
        running.reload()?;
        wait(seconds(3.0));
        running.let_daemons_fail(false)
    }),
    ("4 reloads 0.4 s apart, 1.5 s start", SLOW, 6.5, |running, _| {
        (0..4).try_for_each(|_| {
            running.reload()?;
            wait(seconds(0.4));
            Ok(())
        })
    }),
    ("daemon killed", Duration::ZERO, 3.0, |running, _| running.kill_daemons()),
];

/// The worst stall of a client, and connections lost, when things are not good.
pub fn stall(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let titles = TROUBLES.map(|(title, ..)| title);
    let mut table = Table::new(&[&[""], &titles[..]].concat());
    let mut all = BTreeMap::<(&str, &str), (Figure, Figure, usize)>::new();
    for subject in plan.interleaved(subjects) {
        for (title, start, time, trouble) in TROUBLES {
            eprintln!("stall, {title}: {}", subject.name);
            let mut running = Running::start(plan, subject, start, false)?;
            wait(seconds(0.7));
            let load = Loading::start(
                &Order { port: running.port, pace: PACE, seconds: time, hold: HOLD, spread: true },
                false,
            )?;
            wait(seconds(0.7));
            trouble(&running, subject.gap.unwrap_or_default())?;
            let outcome = load.finish()?;
            let (worst, lost, ended) = all.entry((&subject.name, title)).or_default();
            worst.push(outcome.worst / 1e3 - HOLD as f64);
            lost.push(outcome.failed() as f64);
            *ended += usize::from(!running.process.is_alive());
        }
    }
    for subject in subjects {
        let cells = titles.map(|title| {
            let (worst, lost, ended) = &all[&(subject.name.as_str(), title)];
            let lost = if lost.most() > 0.0 { format!("; {lost} lost") } else { String::new() };
            let ended = if *ended > 0 { format!("; supervisor ended {ended} times") } else { String::new() };
            format!("{worst}{lost}{ended}")
        });
        table.row(&subject.name, cells);
    }
    table.print("Worst stall of a client in ms, and connections lost");
    Ok(())
}

/// Memory and system calls of the supervisor.
pub fn cost(plan: &Plan, subjects: &[Subject]) -> Result<()> {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !strace {
        eprintln!("NOTE: strace is not installed: SYSTEM CALLS ARE NOT COUNTED");
    }
    let mut table = Table::new(&["", "RSS KiB", "PSS KiB", "RSS after load", "one by one", "64 at a time", "by call"]);
    for subject in subjects {
        eprintln!("cost: {}", subject.name);
        let running = Running::start(plan, subject, Duration::ZERO, false)?;
        wait(seconds(1.0));
        let (rss, pss) = running.process.memory()?;
        let mut cells = Vec::new();
        let mut by_call = Vec::new();
        for pace in [Pace::Rate(200.0), Pace::Loop(OPEN)] {
            let calls = if strace { calls(&running, pace)? } else { BTreeMap::new() };
            let total = calls.values().sum::<f64>();
            cells.push(if strace { number(total) } else { "-".into() });
            by_call.push(calls.iter().map(|(name, count)| format!("{name} {}", number(*count))).collect::<Vec<_>>());
        }
        let by_call = by_call.iter().map(|calls| calls.join(" ")).collect::<Vec<_>>().join(" / ");
        let memory = [number(rss), number(pss), number(running.process.memory()?.0)];
        table.row(&subject.name, memory.into_iter().chain(cells).chain([by_call]));
    }
    table.print("Cost: memory, and system calls of the supervisor per connection (under strace)");
    Ok(())
}

/// System calls per connection, by name; those below 0.005 are left out.
fn calls(running: &Running, pace: Pace) -> Result<BTreeMap<String, f64>> {
    let output = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(output.path()).args(["-p", &running.process.pid().to_string()]);
    let mut strace = strace.stderr(Stdio::null()).spawn()?;
    wait(seconds(0.5));
    let order = Order { port: running.port, pace, seconds: 1.5, hold: 0, spread: true };
    let answered = Loading::start(&order, false)?.finish()?.answered as f64;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(strace.id() as i32), nix::sys::signal::Signal::SIGINT)?;
    strace.wait()?;
    // Columns: share of time, seconds, microseconds a call, calls, errors or nothing, name.
    let text = std::fs::read_to_string(output.path())?;
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = rows.filter_map(|row| Some((*row.last()?, row.get(3)?.parse::<f64>().ok()? / answered)));
    Ok(counts
        .filter(|(name, count)| *name != "total" && *count >= 0.005)
        .map(|(name, count)| (name.to_owned(), count))
        .collect())
}

/// How many reloads there are in all: as many in each repetition.
fn reloads(plan: &Plan) -> usize {
    plan.count("reloads").next_multiple_of(plan.repetitions)
}
