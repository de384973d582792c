//! PostgreSQL behind the forwarder: its clients are moved from one server to another.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Guest, Program, wait_listening};
use crate::forward::place::{Place, free_port, free_source, row};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, eventually, until};

const HAS: &str = "test -x /usr/lib/postgresql/15/bin/postgres && command -v psql && command -v pgbench";

pub(super) const GUESTS: &[Guest] = &[
    Guest { name: "pgbench_loses_nothing_over_switches", has: HAS, body: pgbench_loses_nothing_over_switches },
    Guest { name: "sessions_of_psql_stay_on_their_server", has: HAS, body: sessions_of_psql_stay_on_their_server },
];

/// Starting a database takes longer than most of what the trials wait for.
const LONG: Duration = Duration::from_secs(120);
/// Postgres refuses to be root: somebody without any rights, as every system has.
const NOBODY: u32 = 65534;

/// Two servers with the same content, that tell each other apart by their ports.
struct Servers {
    ports: [u16; 2],
    _running: [Program; 2],
}

fn unprivileged(program: &str) -> Command {
    let mut command = Command::new(format!("/usr/lib/postgresql/15/bin/{program}"));
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

impl Servers {
    fn start(place: &Place) -> Servers {
        let scene = &place.scene;
        scene.open_to_all();
        let path = |name: &str| scene.path(name).to_str().unwrap().to_owned();
        let mut initdb = unprivileged("initdb");
        initdb.args(["-A", "trust", "-U", "postgres", "-N", "--no-instructions", "-D", &path("one")]);
        Running::start(initdb.current_dir(path("."))).finish(LONG).expect(0);
        Running::start(Command::new("cp").args(["-a", &path("one"), &path("other")])).finish(LONG).expect(0);
        let ports = [free_port(), free_port()];
        let running = [("one", ports[0]), ("other", ports[1])].map(|(name, port)| {
            let mut server = unprivileged("postgres");
            server.args(["-D", &path(name), "-p", &port.to_string(), "-k", &path("."), "-h", "127.0.0.1", "-F"]);
            server.args(["-c", "shared_buffers=16MB"]).current_dir(path("."));
            Program::start(scene, name, &mut server, Signal::SIGQUIT)
        });
        let servers = Servers { ports, _running: running };
        for port in ports {
            wait_listening(([127, 0, 0, 1], port).into());
            until("the database answers", LONG, || servers.psql(port).asked());
        }
        servers
    }

    fn endpoint(&self, number: usize) -> String {
        format!("tcp:host=127.0.0.1:port={}", self.ports[number])
    }

    /// A session of psql at this port.
    fn psql(&self, port: u16) -> Session {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-w"]).args(place_of(port)).arg("postgres");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Session { child, to: Some(to), from }
    }
}

fn place_of(port: u16) -> [String; 6] {
    ["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()].map(str::to_owned)
}

/// One psql that stays connected.
struct Session {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Session {
    /// The port of the server that answers.
    fn asked(mut self) -> Result<u16, String> {
        self.ask()
    }

    fn ask(&mut self) -> Result<u16, String> {
        let mut line = String::new();
        let said = self.to.as_mut().unwrap().write_all(b"select current_setting('port');\n");
        said.map_err(|error| error.to_string())?;
        self.from.read_line(&mut line).map_err(|error| error.to_string())?;
        line.trim().parse().map_err(|_| format!("answered {line:?}"))
    }

    /// It leaves as at the end of a script.
    fn end(mut self) {
        drop(self.to.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

/// Runs pgbench, with a connection for each transaction, again and again until it is told to stop. How many there were.
fn bench(front: SocketAddr, stop: &AtomicBool, script: &str) -> u64 {
    const CLIENTS: u64 = 4;
    const EACH: u64 = 10;
    let mut connections = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut pgbench = Command::new("pgbench");
        pgbench.args(["-n", "-C", "-c", &CLIENTS.to_string(), "-t", &EACH.to_string(), "-f", script]);
        let ran = Running::start(pgbench.args(place_of(front.port())).arg("postgres")).finish(LONG).expect(0);
        let all = format!("actually processed: {0}/{0}", CLIENTS * EACH);
        assert!(ran.out.contains(&all), "{}\n{}", ran.out, ran.err);
        // One to look at the server first, then one for each transaction.
        connections += CLIENTS * EACH;
    }
    connections
}

fn pgbench_loses_nothing_over_switches() {
    const SWITCHES: usize = 20;
    let place = Place::new();
    let servers = Servers::start(&place);
    let (source, front) = free_source();
    place.start(&source, &servers.endpoint(0));
    let script = place.scene.write("script.sql", "select 1;\n").to_str().unwrap().to_owned();
    let (stop, mut totals) = (AtomicBool::new(false), [0; 2]);
    let transactions = std::thread::scope(|scope| {
        let load = scope.spawn(|| bench(front, &stop, &script));
        for number in 1..=SWITCHES {
            place.switch(&source, &servers.endpoint(number % 2));
            // Each gets some before the next change. A failed load ends this as well.
            place.wait_list("the new server has connections", |list| {
                let active = &list["rules"][0]["destinations"][0];
                load.is_finished() || active["total"].as_u64().unwrap() > 2
            });
            totals[number % 2] += 1;
        }
        stop.store(true, Ordering::SeqCst);
        load.join().unwrap()
    });
    assert!(transactions > 0 && totals == [10, 10]);
    place.quietly(&["wait"]);
    place.wait_rows(&[row(&source, &servers.endpoint(0), 0, "active")]);
    let list = place.list();
    assert_eq!(list["rules"][0]["destinations"][0]["failures"], 0, "{list}");
}

fn sessions_of_psql_stay_on_their_server() {
    let place = Place::new();
    let servers = Servers::start(&place);
    let [one, other] = servers.ports;
    let (source, front) = free_source();
    place.start(&source, &servers.endpoint(0));
    let mut old: Vec<_> = (0..3).map(|_| servers.psql(front.port())).collect();
    assert!(old.iter_mut().all(|session| session.ask() == Ok(one)));
    place.switch(&source, &servers.endpoint(1));
    let mut new = servers.psql(front.port());
    assert_eq!(new.ask(), Ok(other));
    assert!(old.iter_mut().all(|session| session.ask() == Ok(one)));
    let mut waits = place.begin(&["wait"]);
    eventually("it waits", || place.control_clients() == 1);
    // Not even a new process in between is noticed.
    place.quietly(&["restart"]);
    assert!(old.iter_mut().all(|session| session.ask() == Ok(one)));
    assert_eq!(new.ask(), Ok(other));
    place.wait_rows(&[
        row(&source, &servers.endpoint(1), 1, "active"),
        row(&source, &servers.endpoint(0), 3, "inactive"),
    ]);
    if !waits.runs() {
        panic!("three still run, and the wait is over: {:?}", waits.finish(PATIENCE));
    }
    old.into_iter().for_each(Session::end);
    waits.finish(PATIENCE).expect(0);
    assert_eq!(new.ask(), Ok(other));
    new.end();
    place.wait_rows(&[row(&source, &servers.endpoint(1), 0, "active")]);
}
