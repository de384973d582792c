//! Where clients are tried: a server, a destination that does what the trial says, and what stands between.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

pub(super) use crate::harness::free_port;
use crate::harness::process::{Exit, send};
use crate::harness::ran::Running;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, eventually, until};

/// A server of sessions in a scene of its own. Whatever runs there is ended with it.
pub(super) struct Place {
    pub(super) scene: Arc<Scene>,
    pub(super) port: u16,
    server: Option<Running>,
    commands: AtomicU32,
}

impl Place {
    /// With a server in front of this destination.
    pub(super) fn new(destination: &str) -> Place {
        Place::with(&[destination])
    }

    /// With a server that has these arguments.
    pub(super) fn with(arguments: &[&str]) -> Place {
        let port = free_port();
        let mut place = Place { scene: Scene::new(), port, server: None, commands: AtomicU32::new(0) };
        place.serve(arguments);
        place
    }

    /// Starts a server, where there is none.
    pub(super) fn serve(&mut self, arguments: &[&str]) {
        let proxy = format!("--proxy={}", self.proxy());
        self.server = Some(self.scene.begin(&[&["session", "server", &proxy][..], arguments].concat()));
        eventually("the server listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Ends the server, at once.
    pub(super) fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            send(server.pid(), Signal::SIGKILL);
            eventually("the server is gone", || !server.runs());
        }
    }

    /// The server's address.
    pub(super) fn proxy(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The state file.
    pub(super) fn state(&self) -> PathBuf {
        self.scene.path("state")
    }

    /// `session client ARGS`, by way of this port, with this state file.
    pub(super) fn command(&self, port: u16, state: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        self.scene.mark(&mut command).args(["session", "client"]);
        command.arg(format!("--proxy=127.0.0.1:{port}"));
        command.arg("--state").arg(self.scene.path(state)).args(arguments);
        command
    }

    /// Starts a command with standard input, output and error of its own.
    pub(super) fn start(&self, mut command: Command) -> Talk {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.scene.path(&format!("{kind}-{number}"));
        let (out, err) = (file("out"), file("err"));
        command.stdin(Stdio::piped()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        Talk { stdin: child.stdin.take(), child, out, err }
    }

    /// A client of the server itself with the usual state file.
    pub(super) fn client(&self, arguments: &[&str]) -> Talk {
        self.start(self.command(self.port, "state", arguments))
    }

    /// A client that gets this as its whole input, to its end.
    #[track_caller]
    pub(super) fn poll(&self, input: &str) -> Ended {
        self.poll_by(self.port, "state", input)
    }

    /// The same by way of this port, with this state file.
    #[track_caller]
    pub(super) fn poll_by(&self, port: u16, state: &str, input: &str) -> Ended {
        let mut talk = self.start(self.command(port, state, &[]));
        talk.say(input);
        talk.end()
    }

    /// Polls until this has been printed.
    #[track_caller]
    pub(super) fn poll_until(&self, wanted: &str) {
        let mut seen = Vec::new();
        until("what is wanted is printed", PATIENCE, || {
            seen.extend(self.poll("\n").expect(0).out);
            let text = String::from_utf8_lossy(&seen).into_owned();
            if text == wanted { Ok(()) } else { Err(text) }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill_server();
    }
}

/// A client that runs.
pub(super) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

/// What a client left behind.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) out: Vec<u8>,
    pub(super) err: String,
}

impl Talk {
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(super) fn say(&mut self, text: &str) {
        self.try_say(text.as_bytes()).unwrap();
    }

    pub(super) fn try_say(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stdin.as_mut().unwrap().write_all(bytes)
    }

    pub(super) fn close_input(&mut self) {
        self.stdin = None;
    }

    pub(super) fn out(&self) -> Vec<u8> {
        std::fs::read(&self.out).unwrap()
    }

    pub(super) fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// Waits until this is all that was printed.
    #[track_caller]
    pub(super) fn prints(&self, wanted: &str) {
        until(&format!("{wanted:?} is printed"), PATIENCE, || {
            let seen = String::from_utf8_lossy(&self.out()).into_owned();
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}, {}", self.err())) }
        });
    }

    /// Waits until this was said on standard error.
    #[track_caller]
    pub(super) fn tells(&self, words: &str) {
        until(&format!("{words:?} is said"), PATIENCE, || {
            let seen = self.err();
            if seen.contains(words) { Ok(()) } else { Err(seen) }
        });
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(super) fn finish(mut self) -> Ended {
        let mut status = None;
        until("the client has ended", PATIENCE * 3, || {
            status = self.child.try_wait().unwrap();
            status.map(|_| ()).ok_or_else(|| self.err())
        });
        let status = status.unwrap();
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(Signal::try_from(signal).unwrap()),
            (None, None) => panic!("{status}"),
        };
        Ended { exit, out: self.out(), err: self.err() }
    }

    /// Closes its input and waits until it has ended.
    #[track_caller]
    pub(super) fn end(mut self) -> Ended {
        self.close_input();
        self.finish()
    }

    /// Kills it.
    pub(super) fn kill(self) -> Ended {
        send(self.pid(), Signal::SIGKILL);
        self.finish()
    }
}

impl Ended {
    #[track_caller]
    pub(super) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.exit, Exit::Code(code), "stderr: {}", self.err);
        self
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    #[track_caller]
    pub(super) fn says(self, words: &str) -> Ended {
        assert!(self.err.contains(words), "stderr does not say {words:?}: {}", self.err);
        self
    }
}

/// A destination that does what the trial says.
pub(super) struct Destination(TcpListener);

impl Destination {
    pub(super) fn new() -> Destination {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Destination(listener)
    }

    pub(super) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.0.local_addr().unwrap().port())
    }

    /// The next connection, which must come soon.
    #[track_caller]
    pub(super) fn accept(&self) -> TcpStream {
        until("the destination is connected to", PATIENCE, || match self.0.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
                stream.set_write_timeout(Some(PATIENCE * 2)).unwrap();
                Ok(stream)
            }
            Err(error) => Err(error.to_string()),
        })
    }

    /// Whether nobody else has come.
    pub(super) fn is_alone(&self) -> bool {
        self.0.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// Reads so many bytes.
#[track_caller]
pub(super) fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Bytes each of which tells its place: numbers of sixteen letters.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    let numbers = (0..length.div_ceil(16)).flat_map(|number| format!("{number:015}\n").into_bytes());
    numbers.take(length).collect()
}

/// Where a piece of the pattern begins.
#[track_caller]
pub(super) fn place_of(piece: &[u8], pattern: &[u8]) -> usize {
    let at = piece.iter().position(|byte| *byte == b'\n').unwrap();
    let number = &piece[at + 1..at + 16];
    let number: usize = std::str::from_utf8(number).unwrap().parse().unwrap();
    let place = number * 16 - (at + 1);
    assert!(pattern[place..].starts_with(piece), "not a piece of the pattern");
    place
}

/// xorshift64*: the same on every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// After how many bytes a connection is cut, each way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) up: usize,
    pub(super) down: usize,
}

pub(super) const WHOLE: Cut = Cut { up: usize::MAX, down: usize::MAX };

/// Stands between clients and the server, and cuts each connection as it is told.
pub(super) struct Chaos {
    port: u16,
    plan: Arc<Mutex<Vec<Cut>>>,
    frozen: Arc<(Mutex<bool>, Condvar)>,
}

impl Chaos {
    pub(super) fn new(server: u16) -> Chaos {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let chaos = Chaos { port, plan: Arc::default(), frozen: Arc::default() };
        let (plan, frozen) = (Arc::clone(&chaos.plan), Arc::clone(&chaos.frozen));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let next = plan.lock().unwrap().pop();
                between(&client, &server, next.unwrap_or(WHOLE), &frozen);
            }
        });
        chaos
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The next connections are cut like this; those that come after them are not.
    pub(super) fn plan(&self, cuts: impl IntoIterator<Item = Cut>) {
        let mut cuts: Vec<_> = cuts.into_iter().collect();
        cuts.reverse();
        *self.plan.lock().unwrap() = cuts;
    }

    /// How many cuts are still to come.
    pub(super) fn left(&self) -> usize {
        self.plan.lock().unwrap().len()
    }

    /// Holds up all bytes, or lets them go.
    pub(super) fn freeze(&self, frozen: bool) {
        *self.frozen.0.lock().unwrap() = frozen;
        self.frozen.1.notify_all();
    }
}

fn between(client: &TcpStream, server: &TcpStream, cut: Cut, frozen: &Arc<(Mutex<bool>, Condvar)>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ways = [(client, server, cut.up), (server, client, cut.down)];
    for (from, to, most) in ways {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let frozen = Arc::clone(frozen);
        std::thread::spawn(move || {
            carry(&from, &to, most, &frozen);
            // Both ways at once: that is what it is to be cut.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, most: usize, frozen: &(Mutex<bool>, Condvar)) {
    let mut left = most;
    let mut bytes = [0; 16 * 1024];
    while left > 0 {
        let room = left.min(bytes.len());
        let Ok(count @ 1..) = from.read(&mut bytes[..room]) else { return };
        let held = frozen.1.wait_while(frozen.0.lock().unwrap(), |frozen| *frozen).unwrap();
        drop(held);
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
        left -= if left == usize::MAX { 0 } else { count };
    }
}

/// Whether it becomes so within this time.
pub(super) fn within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// A folder in memory, where nothing waits for a disk; on the disk where there is none.
pub(super) fn in_memory() -> tempfile::TempDir {
    let builder = || tempfile::Builder::new();
    builder().prefix("sp-").tempdir_in("/dev/shm").or_else(|_| builder().prefix("sp-").tempdir()).unwrap()
}
