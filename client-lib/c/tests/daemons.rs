//! Daemons in C and C++ as real processes. This test is their supervisor, or the original's.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../../tests/common/mod.rs"]
mod common;
mod toolchain;

use common::{Supervisor, clients, eventually, listener};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, socket};
use nix::unistd::Pid;
use socket_protector_client::wire::{FromChild, MAX_STATE};
use socket_protector_client::{Connection, descriptors};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;
use toolchain::{Standard, client_lib, program};

/// The channel as 9, a listener as 3, and then `exec`, which keeps the process number that LISTEN_PID names.
const CONNECTIONS: &str = "SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" 9<&1 0</dev/null 1>&2";
const LISTENER: &str = "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" \
                        3<&0 9<&1 0</dev/null 1>&2";
const ALONE: &str = "exec \"$0\" \"$@\" 1>&2";

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// The program in C, once with the shared library and once with the static one; none without a compiler.
fn in_c() -> Vec<PathBuf> {
    let link = |library: &str| program(&source("daemon.c"), Standard::C11, &[library]);
    ["-lsocket_protector", "-l:libsocket_protector.a"].into_iter().filter_map(link).collect()
}

/// The program for the original library, as C++ of its time and of now.
fn of_the_original() -> Vec<PathBuf> {
    let link = |standard| program(&source("original.cpp"), standard, &["-lSocketProtector"]);
    [Standard::Cpp98, Standard::Cpp17].into_iter().filter_map(link).collect()
}

/// A daemon under way, and what it says.
struct Daemon {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts it by a shell line whose standard input and output are these descriptors.
    fn start(line: &str, program: &Path, word: &str, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Daemon {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).arg(program).arg(word).stdin(input).stdout(output).stderr(Stdio::piped());
        if line != ALONE {
            command.envs([("SOCKET_PROTECTOR_GENERATION", "12"), ("SOCKET_PROTECTOR_NAME", "web.1")]);
        }
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Daemon { child, said }
    }

    /// With its channel, for connections.
    fn on(channel: OwnedFd, program: &Path, word: &str) -> Daemon {
        Daemon::start(CONNECTIONS, program, word, Stdio::null(), channel)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), expected);
    }

    /// The rest of what it says, which ends with its success.
    #[track_caller]
    fn ends(mut self, expected: &str) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() && rest == expected, "{status}:\n{rest}");
    }

    /// Waits until it sleeps in a system call for waiting.
    fn asleep(&self) {
        eventually(|| {
            let waits = std::fs::read_to_string(format!("/proc/{}/wchan", self.pid())).unwrap_or_default();
            ["poll", "futex"].iter().any(|place| waits.contains(place))
        });
    }
}

fn answered(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
}

/// Passes so many connections in one record; their servers' sockets are closed here.
fn pass(supervisor: &Supervisor, count: usize) -> Vec<TcpStream> {
    let all = clients(count);
    let record: Vec<(u16, BorrowedFd<'_>)> =
        all.iter().enumerate().map(|(index, (_, server))| (index as u16, server.as_fd())).collect();
    supervisor.pass(&record);
    all.into_iter().map(|(client, _)| client).collect()
}

/// Passes a connection that was given back.
fn pass_with_state(supervisor: &Supervisor, listener: u16, state: &[u8]) -> TcpStream {
    let (client, server) = clients(1).remove(0);
    supervisor.pass_with_state(listener, state, server.as_fd());
    client
}

#[track_caller]
fn hears(supervisor: &Supervisor, expected: FromChild) {
    let mut heard = None;
    eventually(|| {
        heard = supervisor.heard();
        heard.is_some()
    });
    assert_eq!(heard, Some(expected));
}

#[test]
fn null_is_an_error_and_no_crash() {
    for program in in_c() {
        Daemon::start(ALONE, &program, "null", Stdio::null(), Stdio::null()).ends("done\n");
    }
}

#[test]
fn without_a_supervisor_every_reason_has_its_number() {
    for program in in_c() {
        Daemon::start(ALONE, &program, "nobody", Stdio::null(), Stdio::null()).ends("done\n");
    }
}

#[test]
fn connections_are_served_until_the_drain() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "tell");
        daemon.says("web.1 12");
        hears(&supervisor, FromChild::Hello { version: 1 });
        hears(&supervisor, FromChild::Ready);
        for mut client in pass(&supervisor, 3) {
            answered(&mut client);
        }
        descriptors::send(supervisor.end.as_fd(), &[0x01, 0x07, 0, 0], &[]).unwrap();
        let mut last = pass(&supervisor, 1);
        assert_eq!(supervisor.heard(), None);
        drop(supervisor);
        answered(&mut last[0]);
        daemon
            .ends("listener 0\nlistener 1\nlistener 2\naccept EBADMSG\nlistener 0\naccept ESHUTDOWN\nclosed 1\ndone\n");
    }
}

#[test]
fn a_listener_is_served_until_the_drain() {
    for program in in_c() {
        let (listener, address) = listener();
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::start(LISTENER, &program, "tell", OwnedFd::from(listener), channel);
        daemon.says("web.1 12 web");
        for _ in 0..2 {
            answered(&mut TcpStream::connect(address).unwrap());
            daemon.says("listener 0");
        }
        drop(supervisor);
        daemon.ends("accept ESHUTDOWN\nclosed 2\ndone\n");
    }
}

#[test]
fn a_wrong_environment_is_told_by_errno() {
    for program in in_c() {
        let (_supervisor, channel) = Supervisor::new();
        let line = "SOCKET_PROTECTOR_CHANNEL=x exec \"$0\" \"$@\" 1>&2";
        Daemon::start(line, &program, "original", Stdio::null(), channel).ends("create EINVAL\ndone\n");
        let line = "SOCKET_PROTECTOR_CHANNEL=0 exec \"$0\" \"$@\" 1>&2";
        Daemon::start(line, &program, "original", Stdio::null(), Stdio::null()).ends("create ENOTSOCK\ndone\n");
        let line = "SOCKET_PROTECTOR_CHANNEL=99 exec \"$0\" \"$@\" 1>&2";
        Daemon::start(line, &program, "original", Stdio::null(), Stdio::null()).ends("create EBADF\ndone\n");
        let (_supervisor, channel) = Supervisor::new();
        let line = LISTENER.replace("$$", "1");
        let input = OwnedFd::from(listener().0);
        Daemon::start(&line, &program, "original", input, channel).ends("create EPERM\ndone\n");
    }
}

#[test]
fn a_signal_handler_ends_the_waiting() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let daemon = Daemon::on(channel, &program, "blocked");
        hears(&supervisor, FromChild::Hello { version: 1 });
        hears(&supervisor, FromChild::Ready);
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGTERM).unwrap();
        daemon.ends("accept ECANCELED\ndone\n");
    }
}

#[test]
fn a_signal_handler_ends_the_waiting_of_every_thread() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let daemon = Daemon::on(channel, &program, "threads");
        hears(&supervisor, FromChild::Hello { version: 1 });
        for mut client in pass(&supervisor, 2) {
            answered(&mut client);
        }
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGTERM).unwrap();
        daemon.ends("canceled 2\ndone\n");
    }
}

#[test]
fn what_was_read_is_served_before_the_end() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut clients = pass(&supervisor, 3);
        clients.append(&mut pass(&supervisor, 1));
        let _unread = pass(&supervisor, 1);
        Daemon::on(channel.try_clone().unwrap(), &program, "order").ends("left 2\ndone\n");
        clients.iter_mut().for_each(answered);
        // What it did not read is there for the next generation.
        let mut taken = Vec::new();
        let received = descriptors::receive(channel.as_fd(), &mut [0; 64], &mut taken, false).unwrap();
        assert_eq!((received.bytes, taken.len()), (4, 1));
    }
}

#[test]
fn one_descriptor_tells_an_event_loop_of_everything() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "polled");
        daemon.says("empty 0");
        pass(&supervisor, 2).iter_mut().for_each(answered);
        daemon.says("empty 1");
        drop(supervisor);
        daemon.ends("done\n");
        let (_supervisor, channel) = Supervisor::new();
        Daemon::on(channel, &program, "rung").ends("done\n");
    }
}

#[test]
fn without_descriptors_connections_wait() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut waiting = pass(&supervisor, 1);
        drop(supervisor);
        Daemon::on(channel, &program, "few").ends("done\n");
        answered(&mut waiting[0]);
    }
}

#[test]
fn processes_that_fork_share_the_connections_and_not_the_end() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "forked");
        let mut pids = vec![daemon.pid().as_raw()];
        for _ in 0..2 {
            let mut line = String::new();
            daemon.said.read_line(&mut line).unwrap();
            pids.push(line.trim_end().strip_prefix("pid ").unwrap().parse().unwrap());
        }
        let ended = pids.remove(1);
        eventually(|| stat(ended).is_none_or(|fields| fields[0] == "Z"));
        // Nobody is kept awake by the one that has ended: they sleep, and use no time.
        let used = || -> u64 { pids.iter().map(|&pid| ticks(pid)).sum() };
        eventually(|| pids.iter().all(|&pid| stat(pid).is_some_and(|fields| fields[0] == "S")));
        let before = used();
        std::thread::sleep(Duration::from_millis(200));
        assert!(used() - before <= 4, "{} ticks", used() - before);
        for _ in 0..5 {
            pass(&supervisor, 2).iter_mut().for_each(answered);
        }
        drop(supervisor);
        daemon.ends("done\n");
    }
}

/// The fields of /proc/PID/stat from the state on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn ticks(pid: i32) -> u64 {
    stat(pid).map_or(0, |fields| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

#[test]
fn a_listener_of_its_own_serves() {
    for program in in_c() {
        let (listener, address) = listener();
        let daemon = Daemon::start(ALONE, &program, "standalone", OwnedFd::from(listener), Stdio::null());
        (0..2).for_each(|_| answered(&mut TcpStream::connect(address).unwrap()));
        daemon.ends("done\n");
    }
}

#[test]
fn a_state_comes_whole_or_stays_with_its_connection() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut clients = pass(&supervisor, 1);
        clients.push(pass_with_state(&supervisor, 1, b"a state"));
        Daemon::on(channel, &program, "states").ends("done\n");
        clients.iter_mut().for_each(answered);
    }
}

#[test]
fn an_empty_state_is_one_and_the_longest_fits() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let states = [&[][..], &[7; MAX_STATE], &[7; MAX_STATE]];
        let daemon = Daemon::on(channel, &program, "long_states");
        let mut clients = states.map(|state| pass_with_state(&supervisor, 0, state));
        drop(supervisor);
        daemon.ends("done\n");
        clients.iter_mut().for_each(answered);
    }
}

#[test]
fn a_connection_is_given_back_or_stays_the_callers() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut clients = pass(&supervisor, 3);
        let mut daemon = Daemon::on(channel, &program, "give");
        daemon.says("given 2");
        for expected in [
            FromChild::Hello { version: 1 },
            FromChild::Ready,
            FromChild::OpenConnections(3),
            FromChild::Status("tätig \u{fffd}".to_owned()),
        ] {
            assert_eq!(supervisor.heard(), Some(expected));
        }
        for (client, listener, state) in [(0, 3, b"so far".to_vec()), (1, 65_535, vec![0; MAX_STATE])] {
            let (record, sockets) = supervisor.heard_with_sockets().unwrap();
            assert_eq!(record, FromChild::GiveBack { listener, state });
            common::answers(Connection::new(sockets.into_iter().next().unwrap(), 0), &mut clients[client]);
        }
        drop(supervisor);
        daemon.ends("done\n");
        answered(&mut clients[2]);
    }
}

#[test]
fn with_a_full_channel_only_giving_back_waits() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "full");
        daemon.says("full 0");
        daemon.asleep();
        eventually(|| {
            let heard = supervisor.heard_with_sockets();
            matches!(heard, Some((FromChild::GiveBack { .. }, sockets)) if sockets.len() == 1)
        });
        daemon.ends("done\n");
    }
}

#[test]
fn an_event_loop_of_a_forked_process_is_told_of_its_own_alone() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut waiting = pass(&supervisor, 2);
        Daemon::on(channel, &program, "forked_polled").ends("done\n");
        waiting.iter_mut().for_each(answered);
    }
}

/// What comes to the socket of sd_notify(3): the text, and how many descriptors.
fn notified(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let (mut buffer, mut descriptors) = ([0; 256], Vec::new());
    let received = descriptors::receive(socket.as_fd(), &mut buffer, &mut descriptors, true).unwrap();
    (String::from_utf8(buffer[..received.bytes].to_vec()).unwrap(), descriptors)
}

#[test]
fn descriptors_are_taken_and_stored() {
    const LINE: &str = "LISTEN_FDS=3 LISTEN_PID=$$ LISTEN_FDNAMES=state:more:state SOCKET_PROTECTOR_LISTENERS=0 \
                        SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" 3<&0 4<&0 5<&0 9<&1 0</dev/null 1>&2";
    for program in in_c().into_iter().take(1) {
        let folder = own_folder();
        let path = folder.join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let line = format!("NOTIFY_SOCKET={} {LINE}", path.display());
        let (_supervisor, channel) = Supervisor::new();
        let input = std::fs::File::open("/dev/null").unwrap();
        let mut daemon = Daemon::start(&line, &program, "stored", input, channel);
        for (text, count) in [("FDSTORE=1\nFDNAME=kept", 2), ("FDSTOREREMOVE=1\nFDNAME=state", 0)] {
            let (said, sent) = notified(&socket);
            assert_eq!((said.as_str(), sent.len()), (text, count));
            let (said, barrier) = notified(&socket);
            assert_eq!((said.as_str(), barrier.len()), ("BARRIER=1", 1));
        }
        daemon.says("stored 2");
        daemon.ends("done\n");
        std::fs::remove_file(path).unwrap();
    }
}

/// A folder for this test binary.
fn own_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_supervisor_that_never_reads_is_a_timeout_with_its_number() {
    for program in in_c().into_iter().take(1) {
        let (_supervisor, channel) = Supervisor::new();
        Daemon::on(channel, &program, "stuck").ends("done\n");
    }
}

/// The original's supervisor, on a port for each test: the name is the whole machine's.
struct Original {
    socket: OwnedFd,
}

impl Original {
    fn at(port: u16) -> Original {
        let mut name = format!("sock_srv_{port}").into_bytes();
        name.resize(107, 0);
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(&name).unwrap()).unwrap();
        listen(&socket, Backlog::new(1).unwrap()).unwrap();
        Original { socket }
    }

    /// The channel of the child that connects.
    #[allow(unsafe_code, reason = "nix accepts to a number")]
    fn child(&self) -> OwnedFd {
        let number = accept(self.socket.as_raw_fd()).unwrap();
        // SAFETY: it is new, and nobody else's.
        unsafe { OwnedFd::from_raw_fd(number) }
    }
}

/// Its message: a byte and a descriptor.
fn pass_as_original(channel: &OwnedFd) -> TcpStream {
    let (client, server) = clients(1).remove(0);
    descriptors::send(channel.as_fd(), b"x", &[server.as_fd()]).unwrap();
    client
}

#[test]
fn it_runs_under_the_original_too() {
    let original = Original::at(4321);
    for program in in_c() {
        let start = || Daemon::start(ALONE, &program, "original", Stdio::null(), Stdio::null());
        // Drained by the end of file: what is there comes first.
        let mut daemon = start();
        let channel = original.child();
        daemon.says("sock_srv_4321");
        let mut clients: Vec<TcpStream> = (0..3).map(|_| pass_as_original(&channel)).collect();
        clients.iter_mut().for_each(answered);
        let mut last = pass_as_original(&channel);
        drop(channel);
        answered(&mut last);
        daemon.ends("accept ESHUTDOWN\nterminated 0\ndraining 1\ngive back ENOTCONN\ndone\n");
        // By a byte without a descriptor.
        let mut daemon = start();
        let channel = original.child();
        daemon.says("sock_srv_4321");
        descriptors::send(channel.as_fd(), b"x", &[]).unwrap();
        daemon.ends("accept ESHUTDOWN\nterminated 0\ndraining 0\ngive back ENOTCONN\ndone\n");
        // By a signal.
        let mut daemon = start();
        let _channel = original.child();
        daemon.says("sock_srv_4321");
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGTERM).unwrap();
        daemon.ends("accept ECANCELED\nterminated 1\ndraining 0\ngive back ENOTCONN\ndone\n");
    }
}

#[test]
fn ours_is_preferred_and_the_port_then_of_no_importance() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "original");
        daemon.says("web.1");
        pass(&supervisor, 1).iter_mut().for_each(answered);
        drop(supervisor);
        daemon.ends("accept ESHUTDOWN\nterminated 0\ndraining 1\ngive back EPIPE\ndone\n");
    }
}

/// The program of docs/c.md.
#[test]
fn the_page_for_users_has_a_daemon_that_works() {
    let page = std::fs::read_to_string(client_lib().join("../docs/c.md")).unwrap();
    let (_, rest) = page.split_once("```c\n").unwrap();
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page.c");
    std::fs::write(&source, rest.split_once("```").unwrap().0).unwrap();
    let Some(program) = program(&source, Standard::C11, &["-lsocket_protector"]) else {
        return;
    };
    let (supervisor, channel) = Supervisor::new();
    let daemon = Daemon::on(channel, &program, "");
    hears(&supervisor, FromChild::Hello { version: 1 });
    let mut answer = String::new();
    pass(&supervisor, 1)[0].read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Hello, World\n");
    drop(supervisor);
    daemon.ends("");
    let outside = Command::new(program).output().unwrap();
    assert_eq!(outside.status.code(), Some(1));
    assert_eq!(outside.stderr, b"no supervisor: No such file or directory\n");
}

fn tells(mut client: &TcpStream, daemon: &mut Daemon) {
    daemon.says("new connection");
    client.write_all(b"Hello, World\n").unwrap();
    daemon.says("Hello, World");
    client.shutdown(Shutdown::Both).unwrap();
    daemon.says("end of connection");
}

#[test]
fn a_daemon_of_the_original_needs_no_change() {
    for program in of_the_original() {
        // Connections passed by ours.
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "4321");
        daemon.says("port 4321");
        tells(&pass(&supervisor, 1)[0], &mut daemon);
        drop(supervisor);
        daemon.ends("ended, drained\n");
        // A listener passed by ours; then a signal.
        let (listener, address) = listener();
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::start(LISTENER, &program, "4321", OwnedFd::from(listener), channel);
        daemon.says("port 4321");
        tells(&TcpStream::connect(address).unwrap(), &mut daemon);
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGINT).unwrap();
        daemon.ends("ended, terminated\n");
        drop(supervisor);
        // Under its own supervisor.
        let original = Original::at(4322);
        let mut daemon = Daemon::start(ALONE, &program, "4322", Stdio::null(), Stdio::null());
        let channel = original.child();
        daemon.says("port 4322");
        tells(&pass_as_original(&channel), &mut daemon);
        drop(channel);
        daemon.ends("ended, drained\n");
        // Under none.
        drop(original);
        let daemon = Daemon::start(ALONE, &program, "4322", Stdio::null(), Stdio::null());
        daemon.ends("port 4322\nended, terminated\n");
    }
}

fn echoes(client: &mut TcpStream, text: &str) {
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    let mut echoed = vec![0; text.len()];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, text.as_bytes());
}

#[test]
fn the_examples_echo_and_drain() {
    let examples = client_lib().join("examples/c");
    let poll = program(&examples.join("echo_poll.c"), Standard::C11, &["-lsocket_protector"]);
    let class = program(&examples.join("echo_class.cpp"), Standard::Cpp17, &["-lsocket_protector"]);
    for program in poll.into_iter().chain(class) {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "4321");
        hears(&supervisor, FromChild::Hello { version: 1 });
        hears(&supervisor, FromChild::Ready);
        let mut clients = pass(&supervisor, 16);
        clients.iter_mut().for_each(|client| echoes(client, "before"));
        drop(supervisor);
        clients.iter_mut().for_each(|client| echoes(client, "after the drain"));
        assert!(daemon.child.try_wait().unwrap().is_none());
        drop(clients);
        daemon.ends("");
    }
}
