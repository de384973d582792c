//! The daemons with event loops, client-lib/examples/tokio_echo.rs and mio_echo.rs, under a real supervisor.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::harness::process::{alive, descriptors_of};
use crate::harness::{PATIENCE, Setup, Supervisor, eventually, trials};
use crate::toolchain::client_lib;

trials![
    reloads_under_load_lose_nothing,
    what_is_begun_is_finished_by_the_old_one,
    a_crash_loses_nothing_that_was_unread
];

const EXAMPLES: [&str; 2] = ["tokio_echo", "mio_echo"];
const PASSES: [&str; 2] = ["--pass listener", "--pass connections"];
const RELOADS: usize = 8;
const CLIENTS: usize = 6;
/// How many answers there are to be from each generation.
const EACH: usize = 50;

/// An example, built from the present sources.
fn example(name: &str) -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        // This program is TARGET/debug/deps/NAME, or in another folder for another profile.
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--package",
            "socket-protector-client",
            "--features",
            "tokio,mio",
            "--examples",
        ]);
        let built = build.arg("--target-dir").arg(target).current_dir(client_lib()).output().unwrap();
        assert!(built.status.success(), "cannot build the examples: {}", String::from_utf8_lossy(&built.stderr));
        target.join("debug/examples")
    });
    folder.join(name).to_str().unwrap().to_owned()
}

/// Each example in each way of passing.
fn setups() -> impl Iterator<Item = Setup> {
    let with = |name: &'static str| {
        let program = example(name);
        PASSES.map(|pass| {
            Setup::alone().with(pass).with("--respawn-delay 10ms..50ms").command(&[program.as_str(), "4321"])
        })
    };
    EXAMPLES.into_iter().flat_map(with)
}

/// Sends words and expects just them back.
fn echoes(mut client: &TcpStream, words: &str) -> Result<(), String> {
    let told = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    client.set_read_timeout(Some(PATIENCE)).map_err(told("set the timeout"))?;
    client.write_all(words.as_bytes()).map_err(told("write"))?;
    let mut echoed = vec![0; words.len()];
    client.read_exact(&mut echoed).map_err(told("read"))?;
    if echoed == words.as_bytes() { Ok(()) } else { Err(format!("{words:?} was answered by {echoed:?}")) }
}

/// A few clients, each with one line for each of its connections, every other line in two parts.
struct Echoes {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

impl Echoes {
    fn of(address: SocketAddr) -> Echoes {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let start = |number: usize| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                for count in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let client = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
                    if count % 2 == 0 {
                        echoes(&client, "first half, ")?;
                    }
                    echoes(&client, &format!("line {count} of client {number}\n"))?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let clients = (0..CLIENTS).map(start).collect();
        Echoes { stop, answered, clients }
    }

    /// Waits until so many more were answered, or one was not.
    fn go_on(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + EACH;
        let failed = || self.clients.iter().any(JoinHandle::is_finished);
        eventually("more lines are answered", || self.answered.load(Ordering::Relaxed) >= goal || failed());
    }

    fn expect_nothing_noticed(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert_eq!(client.join().unwrap(), Ok(()));
        }
    }
}

fn reloads_under_load_lose_nothing() {
    for setup in setups() {
        let supervisor = setup.start();
        let before = supervisor.census();
        let of_first = descriptors_of(supervisor.serving_pid()).len();
        let load = Echoes::of(supervisor.address());
        for _ in 0..RELOADS {
            load.go_on();
            supervisor.reload().expect(0);
        }
        load.go_on();
        load.expect_nothing_noticed();
        supervisor.wait_settled();
        assert_eq!(supervisor.census(), before);
        let child = supervisor.serving_pid();
        eventually("the child holds no more than the first did", || descriptors_of(child).len() <= of_first);
        let counters = &supervisor.status()["counters"];
        assert_eq!((&counters["respawns"], &counters["reloads"]), (&0.into(), &RELOADS.into()), "{counters}");
    }
}

fn what_is_begun_is_finished_by_the_old_one() {
    for setup in setups() {
        let supervisor = setup.start();
        let first = supervisor.serving_pid();
        let (begun, idle) = (connected(&supervisor), connected(&supervisor));
        echoes(&begun, "first half, ").unwrap();
        echoes(&idle, "a line\n").unwrap();
        supervisor.reload().expect(0);
        // One that waits between two lines is told to come again, and one in the middle of a line is not.
        assert_eq!((&idle).read(&mut [0]).unwrap(), 0);
        assert!(alive(first));
        echoes(&begun, "second half\n").unwrap();
        assert_eq!((&begun).read(&mut [0]).unwrap(), 0);
        supervisor.wait_settled();
        assert!(!alive(first));
        echoes(&connected(&supervisor), "for the next\n").unwrap();
    }
}

fn a_crash_loses_nothing_that_was_unread() {
    use nix::sys::signal::Signal;
    for setup in setups() {
        let supervisor = setup.start();
        let child = supervisor.serving_pid();
        // Stopped, it reads nothing.
        crate::harness::process::send(child, Signal::SIGSTOP);
        let waiting: Vec<TcpStream> = (0..20).map(|_| connected(&supervisor)).collect();
        for mut client in &waiting {
            client.write_all(b"early, ").unwrap();
        }
        crate::harness::process::send(child, Signal::SIGKILL);
        for mut client in &waiting {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.read_exact(&mut [0; 7]).unwrap();
            echoes(client, "late\n").unwrap();
        }
    }
}

fn connected(supervisor: &Supervisor) -> TcpStream {
    TcpStream::connect(supervisor.address()).unwrap()
}
