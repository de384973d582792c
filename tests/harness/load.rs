//! Many clients at once, none of which may notice anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, Failure};

/// Clients of the usual load.
pub(crate) const CLIENTS: usize = 64;

/// Every so many clients there is one whose requests take seconds.
const PATIENT: usize = 8;

/// A client that saw this many failures gives up, lest it spin on a closed port.
const ENOUGH: u64 = 50;

/// What the clients have seen, together.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) connections: u64,
    pub(crate) answered: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
    pub(crate) children: BTreeSet<i32>,
    pub(crate) slowest: Duration,
}

/// A load under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Report>>,
}

impl Load {
    /// Starts the usual number of clients against `address`.
    pub(crate) fn on(address: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number| {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().stack_size(128 * 1024).spawn(move || client(address, number, &stop)).unwrap()
        };
        let clients = (0..CLIENTS).map(start).collect();
        Load { stop, clients }
    }

    /// Lets every client finish what it does and adds up what they saw.
    pub(crate) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Report::default();
        for client in self.clients {
            total.add(client.join().unwrap());
        }
        total
    }
}

impl Report {
    fn add(&mut self, other: Report) {
        self.connections += other.connections;
        self.answered += other.answered;
        other.failures.into_iter().for_each(|(failure, count)| *self.failures.entry(failure).or_insert(0) += count);
        self.children.extend(other.children);
        self.slowest = self.slowest.max(other.slowest);
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Fails the test if any client saw anything.
    #[track_caller]
    pub(crate) fn expect_nothing_noticed(&self) {
        assert!(self.answered > 0, "the load did nothing: {self:?}");
        assert!(self.failures.is_empty(), "clients noticed: {self:?}");
    }
}

/// Connects, asks a few times, closes, and again. The hold in each request paces the load.
fn client(address: SocketAddr, number: usize, stop: &AtomicBool) -> Report {
    let mut report = Report::default();
    let (requests, hold) = match number % PATIENT {
        0 => (2, Duration::from_millis(1200)),
        odd if odd % 2 == 1 => (1, Duration::from_millis(25)),
        _ => (4, Duration::from_millis(25)),
    };
    while !stop.load(Ordering::Relaxed) {
        report.connections += 1;
        if let Err(failure) = converse(address, number, requests, hold, &mut report) {
            *report.failures.entry(failure).or_insert(0) += 1;
            if report.failed() >= ENOUGH {
                break;
            }
        }
    }
    report
}

fn converse(
    address: SocketAddr,
    number: usize,
    requests: usize,
    hold: Duration,
    report: &mut Report,
) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut client = Client::connect(address)?;
    for request in 0..requests {
        let word = format!("{number}.{}.{request}", report.connections);
        let answer = client.ask(hold, &word)?;
        report.answered += 1;
        report.children.insert(answer.pid);
    }
    let extra = begin.elapsed().saturating_sub(hold * u32::try_from(requests).unwrap());
    report.slowest = report.slowest.max(extra);
    Ok(())
}
