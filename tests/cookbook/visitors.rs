//! A few clients in a loop, in the language of the server. Each answer is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients at a time.
const VISITORS: usize = 6;

/// What a client does with its time between two requests.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a client waits before it calls the server dead.
const DEADLINE: Duration = Duration::from_secs(20);

/// What is spoken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speech {
    Http,
    FastCgi,
    /// A line, answered by a line.
    Line,
}

/// What the clients have seen.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What went wrong, and how often.
    pub(super) failures: BTreeMap<String, u64>,
    /// How many requests were answered as they should be.
    pub(super) answered: u64,
}

/// The pids that have answered.
type Met = Arc<Mutex<BTreeSet<String>>>;

/// The clients at work.
pub(super) struct Visitors {
    stop: Arc<AtomicBool>,
    met: Met,
    clients: Vec<JoinHandle<Report>>,
}

impl Visitors {
    /// `script` is what a FastCGI server is asked to run.
    pub(super) fn of(address: SocketAddr, speech: Speech, script: &Path) -> Visitors {
        let stop = Arc::new(AtomicBool::new(false));
        let met = Met::default();
        let start = |number: usize| {
            let (stop, met) = (Arc::clone(&stop), Arc::clone(&met));
            let script = script.to_str().unwrap().to_owned();
            std::thread::spawn(move || {
                let mut report = Report::default();
                for count in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let word = format!("/visitor-{number}-{count}");
                    match ask(address, &request(speech, &word, &script)).and_then(|answer| check(&answer, &word)) {
                        Ok(pid) => {
                            report.answered += 1;
                            met.lock().unwrap().insert(pid);
                        }
                        Err(failure) => *report.failures.entry(failure).or_insert(0) += 1,
                    }
                    std::thread::sleep(PAUSE);
                }
                report
            })
        };
        let clients = (0..VISITORS).map(start).collect();
        Visitors { stop, met, clients }
    }

    /// The pids that have answered until now.
    pub(super) fn met(&self) -> BTreeSet<String> {
        self.met.lock().unwrap().clone()
    }

    /// Lets each finish what it does, and adds up what they saw.
    pub(super) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Report::default();
        for client in self.clients {
            let report = client.join().unwrap();
            report
                .failures
                .into_iter()
                .for_each(|(failure, count)| *total.failures.entry(failure).or_insert(0) += count);
            total.answered += report.answered;
        }
        total
    }
}

/// One connection: the request, and everything up to the end of the answer.
fn ask(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>, String> {
    let told = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).map_err(told("connect"))?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(told("set the timeout"))?;
    stream.write_all(request).map_err(told("write"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(told("read"))?;
    Ok(answer)
}

/// The answer has the word asked for, and the pid of who answered, which is the result.
fn check(answer: &[u8], word: &str) -> Result<String, String> {
    let answer = String::from_utf8_lossy(answer);
    let said = answer.split_once(&format!("{word} pid=")).ok_or_else(|| format!("wrong answer: {answer:?}"))?.1;
    let (pid, _) = said.split_once('\n').ok_or_else(|| format!("half an answer: {answer:?}"))?;
    Ok(pid.to_owned())
}

fn request(speech: Speech, word: &str, script: &str) -> Vec<u8> {
    match speech {
        Speech::Http => format!("GET {word} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes(),
        Speech::Line => format!("{word}\n").into_bytes(),
        Speech::FastCgi => fastcgi(&[("SCRIPT_FILENAME", script), ("REQUEST_METHOD", "GET"), ("REQUEST_URI", word)]),
    }
}

/// A request in FastCGI 1.0: the role of responder, the parameters, and no body.
fn fastcgi(parameters: &[(&str, &str)]) -> Vec<u8> {
    let short = |length: usize| u8::try_from(length).ok().filter(|&length| length < 128).expect("a short value");
    let mut pairs = Vec::new();
    for (name, value) in parameters {
        pairs.extend([short(name.len()), short(value.len())]);
        pairs.extend_from_slice(name.as_bytes());
        pairs.extend_from_slice(value.as_bytes());
    }
    let record = |kind: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
    };
    [record(1, &[0, 1, 0, 0, 0, 0, 0, 0]), record(4, &pairs), record(4, &[]), record(5, &[])].concat()
}
