//! The examples for the two loops, as real processes.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::process::{self, CONNECTIONS, LISTENER, says_hello_and_ready};
use common::{Supervisor, clients, eventually, listener};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const EXAMPLES: [&str; 2] = ["mio_echo", "tokio_echo"];

/// Where cargo has put an example, beside the directory of this test. It builds the examples together with all tests,
/// but not when one test file is asked for.
fn path(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("examples").join(example);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example).with_extension("rs");
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    assert!(changed(&path) > changed(&source), "first build the examples: {} is missing or old", path.display());
    path
}

/// A running example, killed should the test fail.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Daemon {
        Daemon(command.spawn().unwrap())
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// It must end by itself, with success and nothing to report.
    fn ends(mut self) {
        eventually(|| !self.runs());
        let mut report = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(self.0.wait().unwrap().success() && report.is_empty(), "{report}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An example under a supervisor, and how clients come to it.
struct Supervised {
    daemon: Daemon,
    supervisor: Supervisor,
    /// Of the listener that was passed; none where connections are passed.
    address: Option<SocketAddr>,
}

impl Supervised {
    /// An example in both ways of passing.
    fn both_ways(example: &str) -> [Supervised; 2] {
        let (listener, address) = listener();
        let passed_listener = Supervised::start(example, LISTENER, OwnedFd::from(listener), Some(address));
        [passed_listener, Supervised::start(example, CONNECTIONS, Stdio::null(), None)]
    }

    fn start(example: &str, line: &str, input: impl Into<Stdio>, address: Option<SocketAddr>) -> Supervised {
        let (supervisor, channel) = Supervisor::new();
        let daemon = Daemon::start(process::daemon(&path(example), line, input, channel).arg("0"));
        says_hello_and_ready(&supervisor);
        Supervised { daemon, supervisor, address }
    }

    fn client(&self) -> Client {
        let Some(address) = self.address else {
            let (client, server) = clients(1).remove(0);
            self.supervisor.pass(&[(0, server.as_fd())]);
            return Client::new(client);
        };
        Client::new(TcpStream::connect(address).unwrap())
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(BufReader::new(stream))
    }

    /// Sends text and gets it back.
    fn echoes(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; text.len()];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(answer, text.as_bytes());
    }

    fn is_closed(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn every_client_gets_its_lines_back() {
    for example in EXAMPLES {
        for supervised in Supervised::both_ways(example) {
            let mut several: Vec<Client> = (0..20).map(|_| supervised.client()).collect();
            for text in ["one\n", "two\nthree\n", "fo", "ur\n"] {
                several.iter_mut().for_each(|client| client.echoes(text));
            }
            drop(several);
            drop(supervised.supervisor);
            supervised.daemon.ends();
        }
    }
}

#[test]
fn a_client_that_sends_much_before_it_reads_loses_nothing() {
    // Sixteen MiB, which is more than the kernel's buffers on both sides take.
    let text = (0..131_072).map(|number| format!("{number:7}\n")).collect::<String>().into_bytes().repeat(16);
    for example in EXAMPLES {
        for supervised in Supervised::both_ways(example) {
            let mut stream = supervised.client().0.into_inner();
            setsockopt(&stream, sockopt::RcvBuf, &32_768).unwrap();
            setsockopt(&stream, sockopt::SndBuf, &32_768).unwrap();
            let mut sending = stream.try_clone().unwrap();
            thread::scope(|threads| {
                threads.spawn(|| sending.write_all(&text).unwrap());
                eventually(|| is_full(&stream));
                let mut answer = vec![0; text.len()];
                stream.read_exact(&mut answer).unwrap();
                assert!(answer == text);
            });
            drop(supervised.supervisor);
            Client::new(stream).is_closed();
            supervised.daemon.ends();
        }
    }
}

/// Whether nothing more can be sent, not only for a moment.
fn is_full(stream: &TcpStream) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut watched = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    poll(&mut watched, PollTimeout::from(100_u8)).unwrap() == 0
}

#[test]
fn a_drain_ends_idle_clients_and_waits_for_the_others() {
    for example in EXAMPLES {
        for mut supervised in Supervised::both_ways(example) {
            let [mut fresh, mut in_a_line, mut idle] = [(); 3].map(|()| supervised.client());
            in_a_line.echoes("be");
            // The last one has its answer, so the first one was accepted before it.
            idle.echoes("done\n");
            drop(supervised.supervisor);
            idle.is_closed();
            in_a_line.echoes("fore ");
            assert!(supervised.daemon.runs());
            in_a_line.echoes("and after\n");
            in_a_line.is_closed();
            assert!(supervised.daemon.runs());
            fresh.echoes("at last\n");
            fresh.is_closed();
            supervised.daemon.ends();
        }
    }
}

#[test]
fn without_a_supervisor_it_listens_by_itself() {
    for example in EXAMPLES {
        let mut daemon = Daemon::start(Command::new(path(example)).arg("0").stderr(Stdio::piped()));
        let mut report = String::new();
        BufReader::new(daemon.0.stderr.as_mut().unwrap()).read_line(&mut report).unwrap();
        let (_, port) = report.trim_end().rsplit_once(':').unwrap();
        let mut client = Client::new(TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap());
        client.echoes("alone\n");
        assert!(daemon.runs());
    }
}
