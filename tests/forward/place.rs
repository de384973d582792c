//! Where a forwarder is tried: its directory, its commands, and destinations that say who they are.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::poll::{self, PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

pub(super) use crate::harness::free_port;
use crate::harness::process::{self, Exit};
use crate::harness::ran::Running;
use crate::harness::unix::connections_to;
use crate::harness::{PATIENCE, Ran, Scene, until};

/// A forwarder's directory in a scene of its own. Whatever runs there is ended with it.
pub(super) struct Place {
    pub(super) scene: Arc<Scene>,
}

impl Place {
    pub(super) fn new() -> Place {
        Place { scene: Scene::new() }
    }

    /// `forward ARGS`, run to its end.
    #[track_caller]
    pub(super) fn run(&self, args: &[&str]) -> Ran {
        self.begin(args).finish(PATIENCE * 2)
    }

    /// `forward ARGS`.
    pub(super) fn begin(&self, args: &[&str]) -> Running {
        self.scene.begin(&[&["forward"], args].concat())
    }

    /// `forward ARGS` from a directory of the scene.
    pub(super) fn run_in(&self, folder: PathBuf, args: &[&str]) -> Ran {
        let mut command = Command::new(crate::harness::scene::binary());
        self.scene.mark(&mut command).arg("forward").args(args).current_dir(folder);
        Running::start(&mut command).finish(PATIENCE * 2)
    }

    /// `start SRC DST`, which must work.
    #[track_caller]
    pub(super) fn start(&self, source: &str, destination: &str) {
        let ran = self.run(&["start", source, destination]).expect(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("Started\n", ""), "start");
    }

    /// A command that works and prints nothing.
    #[track_caller]
    pub(super) fn quietly(&self, args: &[&str]) {
        let ran = self.run(args).expect(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""), "{args:?}");
    }

    #[track_caller]
    pub(super) fn switch(&self, source: &str, destination: &str) {
        self.quietly(&["switch", source, destination]);
    }

    /// What `ls` prints, without its header.
    #[track_caller]
    pub(super) fn rows(&self) -> Vec<String> {
        let ran = self.run(&["ls"]).expect(0);
        let mut lines = ran.out.lines().map(str::to_owned);
        assert_eq!(lines.next().as_deref(), Some("src dst connections status"));
        lines.collect()
    }

    /// Waits until `ls` prints these rows.
    #[track_caller]
    pub(super) fn wait_rows(&self, wanted: &[String]) {
        until("ls shows what it should", PATIENCE, || {
            let rows = self.rows();
            if rows == wanted { Ok(()) } else { Err(format!("{rows:#?}, wanted {wanted:#?}")) }
        });
    }

    /// `ls --json`.
    #[track_caller]
    pub(super) fn list(&self) -> Value {
        self.run(&["ls", "--json"]).expect(0).json()
    }

    /// Waits until `ls --json` is as wanted.
    #[track_caller]
    pub(super) fn wait_list(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        until(what, PATIENCE, || {
            let list = self.list();
            if holds(&list) { Ok(()) } else { Err(list.to_string()) }
        });
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.scene.read(&format!("run/{name}"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scene.path(&format!("run/{name}"))
    }

    /// The process that the pid file names.
    #[track_caller]
    pub(super) fn pid(&self) -> Pid {
        let text = self.file("forward.pid");
        Pid::from_raw(text.trim().parse().unwrap_or_else(|error| panic!("pid file {text:?}: {error}")))
    }

    /// Ends it so that it can say nothing.
    #[track_caller]
    pub(super) fn kill(&self) {
        let pid = self.pid();
        process::send(pid, Signal::SIGKILL);
        self.wait_end(pid);
    }

    /// Waits until it has gone, and says how.
    #[track_caller]
    pub(super) fn wait_end(&self, pid: Pid) -> Exit {
        until("the forwarder has ended", PATIENCE, || process::reap(pid).ok_or_else(|| process::describe(pid)))
    }

    /// Connections to the control socket.
    pub(super) fn control_clients(&self) -> usize {
        connections_to(&self.path("forward.sock"))
    }

    /// Waits until its log has these words.
    #[track_caller]
    pub(super) fn wait_log(&self, words: &str) {
        until("the log has it", PATIENCE, || {
            let log = self.file("forward.log");
            if log.contains(words) { Ok(()) } else { Err(format!("{words:?} is not in {log}")) }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- forward.log ---\n{}", self.file("forward.log"));
        }
        self.scene.clear();
    }
}

/// A row of `ls`.
pub(super) fn row(source: &str, destination: &str, connections: u64, status: &str) -> String {
    format!("{source} {destination} {connections} {status}")
}

/// A source on such a port, and where its clients connect.
pub(super) fn free_source() -> (String, SocketAddr) {
    let port = free_port();
    (format!("tcp:{port}:interface=127.0.0.1"), ([127, 0, 0, 1], port).into())
}

/// A destination: answers each line with its name and the line.
pub(super) struct Backend {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Backend {
    pub(super) fn new(name: &'static str) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let backend = Backend { address, closed: Arc::default(), accepted: Arc::default() };
        let (closed, accepted) = (Arc::clone(&backend.closed), Arc::clone(&backend.accepted));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                accepted.fetch_add(1, Ordering::SeqCst);
                let connection = connection.unwrap();
                std::thread::spawn(move || answer(&connection, &connection, name));
            }
        });
        backend
    }

    /// As DST.
    pub(super) fn endpoint(&self) -> String {
        format!("tcp:host=127.0.0.1:port={}", self.address.port())
    }

    /// As DST, spelled otherwise.
    pub(super) fn other_spelling(&self) -> String {
        format!("127.0.0.1:{}", self.address.port())
    }

    /// How many connections have come.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Accepts no more; what runs goes on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        until("nobody listens there", PATIENCE, || match TcpStream::connect(self.address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            drop(TcpStream::connect(self.address));
        }
    }
}

/// A destination behind a unix socket.
pub(super) fn unix_backend(path: &std::path::Path, name: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            std::thread::spawn(move || answer(&connection, &connection, name));
        }
    });
}

fn answer(from: impl Read, mut to: impl Write, name: &str) {
    for line in BufReader::new(from).lines() {
        let Ok(line) = line else {
            return;
        };
        if to.write_all(format!("{name} {line}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// A client of the forwarder.
pub(super) struct Client<S: Read + Write> {
    stream: BufReader<S>,
}

impl Client<TcpStream> {
    #[track_caller]
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    pub(super) fn local_port(&self) -> u16 {
        self.stream.get_ref().local_addr().unwrap().port()
    }
}

impl Client<TcpStream> {
    /// Whether something has come, be it the end.
    pub(super) fn has_answer(&self) -> bool {
        let mut poll = [PollFd::new(self.stream.get_ref().as_fd(), PollFlags::POLLIN)];
        !self.stream.buffer().is_empty() || poll::poll(&mut poll, 1_u8).unwrap() > 0
    }
}

impl Client<UnixStream> {
    #[track_caller]
    pub(super) fn connect_unix(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> Client<S> {
    pub(super) fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Sends a line, and says whether this destination answers. It may have been closed before that.
    pub(super) fn try_ask(&mut self, name: &str) -> bool {
        self.stream.get_mut().write_all(b"hello\n").is_ok() && self.try_line() == format!("{name} hello")
    }

    /// Sends a line and expects that this destination answers.
    #[track_caller]
    pub(super) fn ask(&mut self, name: &str) {
        self.send("hello\n");
        assert_eq!(self.line(), format!("{name} hello"));
    }

    #[track_caller]
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line, or nothing.
    pub(super) fn try_line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// Ends it from here, and waits for the other side's end.
    #[track_caller]
    pub(super) fn end(&mut self)
    where
        S: Shutdown,
    {
        self.stream.get_ref().shut_down();
        self.ends();
    }

    /// Waits for the end: true for an end of file, false for a reset.
    #[track_caller]
    pub(super) fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("it does not end: {error}"),
        }
    }
}

/// What can say that it sends no more.
pub(super) trait Shutdown {
    fn shut_down(&self);
}

impl Shutdown for TcpStream {
    fn shut_down(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// A connected client that has had an answer from this destination.
#[track_caller]
pub(super) fn client(address: SocketAddr, name: &str) -> Client<TcpStream> {
    let mut client = Client::connect(address);
    client.ask(name);
    client
}

/// For a moment in which something must *not* happen.
pub(super) const MOMENT: Duration = Duration::from_millis(300);
