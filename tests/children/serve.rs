//! The service of every child that serves: lines `HOLD-MS WORD`, answers `GENERATION PID PLACE WORD`,
//! where PLACE is the connection's number in this process, from 1 in the order of arrival.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// The connections of this process.
#[derive(Clone)]
pub(super) struct Service {
    generation: u64,
    counts: Arc<(Mutex<Counts>, Condvar)>,
    http: Option<Http>,
}

/// Answers a request by HTTP, given its first line.
pub(super) type Http = Arc<dyn Fn(&str, &mut &TcpStream) + Send + Sync>;

#[derive(Default)]
struct Counts {
    open: usize,
    arrived: u64,
}

impl Service {
    /// None yet; `generation` is what the answers name.
    pub(super) fn new(generation: u64) -> Service {
        Service { generation, counts: Arc::default(), http: None }
    }

    /// The same, and whoever asks by HTTP is answered like this.
    pub(super) fn with_http(self, http: Http) -> Service {
        Service { http: Some(http), ..self }
    }

    /// Serves a connection in a thread of its own.
    pub(super) fn take(&self, connection: OwnedFd) {
        let place = {
            let mut counts = self.counts.0.lock().unwrap();
            counts.open += 1;
            counts.arrived += 1;
            counts.arrived
        };
        let service = self.clone();
        let work = move || {
            // What the client does to its connection is its own affair.
            let _ = service.converse(&TcpStream::from(connection), place);
            service.counts.0.lock().unwrap().open -= 1;
            service.counts.1.notify_all();
        };
        thread::Builder::new().stack_size(128 * 1024).spawn(work).unwrap();
    }

    /// Waits until no connection is left.
    pub(super) fn finish(&self) {
        self.wait_for_fewer_than(1);
    }

    /// Waits until fewer connections than that are open: of descriptors there are only so many.
    pub(super) fn wait_for_fewer_than(&self, open: usize) {
        let mut counts = self.counts.0.lock().unwrap();
        while counts.open >= open {
            counts = self.counts.1.wait(counts).unwrap();
        }
    }

    /// Waits until one more of those that are open now has ended.
    pub(super) fn wait_for_an_end(&self) {
        let open = self.counts.0.lock().unwrap().open;
        if open > 0 {
            self.wait_for_fewer_than(open);
        }
    }

    /// Without another descriptor: children are tried that have few.
    fn converse(&self, stream: &TcpStream, place: u64) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        let mut lines = BufReader::new(stream).lines();
        let mut stream = stream;
        let pid = std::process::id();
        while let Some(line) = lines.next().transpose()? {
            if let (Some(http), true) = (&self.http, line.starts_with("GET ")) {
                while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
                http(&line, &mut stream);
                stream.shutdown(std::net::Shutdown::Write)?;
                // Whoever asked closes when all has been read.
                return stream.read_to_end(&mut Vec::new()).map(drop);
            }
            let Some((hold, word)) = line.split_once(' ') else {
                break;
            };
            let Ok(hold) = hold.parse() else { break };
            thread::sleep(Duration::from_millis(hold));
            stream.write_all(format!("{} {pid} {place} {word}\n", self.generation).as_bytes())?;
        }
        Ok(())
    }
}
