//! At a terminal: its keys, its end, job control, and what servers do with it.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcsetattr};
use nix::unistd::Pid;

use super::stage::{Setup, address_in, get};
use crate::harness::process::{children, stopped};
use crate::harness::pty::Pty;
use crate::harness::{PATIENCE, Scene, eventually, trials, until};

trials![
    control_c_ends_it_and_all_that_it_has_started,
    a_second_control_c_does_not_wait,
    a_terminal_that_is_closed_ends_it,
    the_words_of_a_server_are_on_the_terminal,
    the_terminal_is_nothing_for_a_server_to_read,
    a_server_that_uses_the_terminal_is_not_stopped,
    it_is_a_job_that_stops_and_goes_on_and_may_be_in_the_background,
];

const CONTROL_C: &str = "\x03";
const CONTROL_Z: &str = "\x1a";

/// A proxy at a terminal.
struct AtTerminal {
    scene: Arc<Scene>,
    pty: Pty,
    address: SocketAddr,
    modes: Termios,
}

impl AtTerminal {
    #[track_caller]
    fn start(setup: &Setup) -> AtTerminal {
        AtTerminal::with(setup, |_| ())
    }

    /// The same, on a terminal that is set by `set` before anything is written.
    #[track_caller]
    fn with(setup: &Setup, set: impl FnOnce(&mut Termios)) -> AtTerminal {
        // The terminal is there before the program that waits for a key.
        let line = setup.line();
        let mut waiting = std::process::Command::new("sh");
        waiting.args(["-c", "read key; exec \"$@\"", "sh"]).arg(line.get_program()).args(line.get_args());
        waiting.envs(line.get_envs().filter_map(|(name, value)| Some((name, value?))));
        waiting.current_dir(line.get_current_dir().unwrap());
        let mut pty = Pty::start(setup.scene(), &waiting);
        let mut modes = pty.modes();
        set(&mut modes);
        tcsetattr(pty.terminal(), SetArg::TCSANOW, &modes).unwrap();
        pty.keys("\n");
        let address = wait_address(&pty);
        AtTerminal { scene: Arc::clone(setup.scene()), pty, address, modes }
    }

    #[track_caller]
    fn wait_version(&self, version: &str) {
        wait_version(&self.pty, self.address, version);
    }

    /// The exit code, once it has ended; nothing is left then, and the terminal is as it was.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let status = self.pty.ends();
        assert_eq!(status.signal(), None);
        eventually("no process is left", || self.scene.processes().is_empty());
        assert_eq!(self.pty.modes(), self.modes);
        status.code()
    }
}

#[track_caller]
fn wait_address(pty: &Pty) -> SocketAddr {
    until("the proxy listens", PATIENCE, || {
        let said = pty.screen();
        address_in(&said).ok_or(said)
    })
}

#[track_caller]
fn wait_version(pty: &Pty, address: SocketAddr, version: &str) {
    until("the version answers", PATIENCE, || match get(address, "/") {
        (200, body) if body == version => Ok(()),
        other => Err(format!("{other:?}; {}", pty.screen())),
    });
}

fn control_c_ends_it_and_all_that_it_has_started() {
    // The key is for the foreground group, which is ours alone: the servers and what they have scattered are asked by us.
    let setup = Setup::new().shell("$WEB & sleep 1000 & setsid sh -c 'sleep 1000 & exit'; wait");
    let mut dev = AtTerminal::start(&setup);
    dev.wait_version("1");
    dev.pty.keys(CONTROL_C);
    assert_eq!(dev.ends(), Some(130));
}

fn a_second_control_c_does_not_wait() {
    let setup = Setup::new().with(&["--stop-timeout", "300s"]);
    let web = setup.web("web_stubborn");
    let setup = setup.command(&web.iter().map(String::as_str).collect::<Vec<_>>());
    let mut dev = AtTerminal::start(&setup);
    dev.wait_version("1");
    dev.pty.keys(CONTROL_C);
    eventually("those who ask are told", || {
        std::net::TcpStream::connect(dev.address).is_err() || get(dev.address, "/").0 == 503
    });
    dev.pty.keys(CONTROL_C);
    assert_eq!(dev.ends(), Some(130));
}

fn a_terminal_that_is_closed_ends_it() {
    let setup = Setup::new().shell("$WEB & sleep 1000 & echo words; echo more words >&2; wait");
    let mut dev = AtTerminal::start(&setup);
    dev.wait_version("1");
    dev.pty.hang_up();
    let status = dev.pty.ends();
    assert_eq!((status.code(), status.signal()), (Some(129), None));
    eventually("no process is left", || dev.scene.processes().is_empty());
}

fn the_words_of_a_server_are_on_the_terminal() {
    let line = "test -t 1 && echo this is a terminal; echo an error >&2; exec $WEB";
    let mut dev = AtTerminal::start(&Setup::new().shell(line));
    until("both are shown", PATIENCE, || {
        let screen = dev.pty.screen();
        let shown = ["this is a terminal", "an error"].iter().all(|words| screen.contains(words));
        if shown { Ok(()) } else { Err(screen) }
    });
    dev.wait_version("1");
    dev.pty.keys(CONTROL_C);
    assert_eq!(dev.ends(), Some(130));
}

fn the_terminal_is_nothing_for_a_server_to_read() {
    let line = "test -t 0 || echo no terminal; cat; echo the end of it; exec $WEB";
    let mut dev = AtTerminal::start(&Setup::new().shell(line));
    dev.pty.keys("typed\n");
    dev.pty.shows("no terminal");
    dev.pty.shows("the end of it");
    dev.wait_version("1");
    dev.pty.keys(CONTROL_C);
    assert_eq!(dev.ends(), Some(130));
}

/// Many a program asks the terminal itself, sets it, or writes to one where only the foreground may (`stty tostop`). A process
/// in another group than that of the foreground would be stopped by the kernel then, for nobody to notice.
fn a_server_that_uses_the_terminal_is_not_stopped() {
    let line = "echo written; stty -echo < /dev/stdout; head -c 1 /dev/tty; echo gone on; exec $WEB";
    for options in [&[][..], &["--build", "echo built; head -c 1 /dev/tty; true"]] {
        let setup = Setup::new().with(options).shell(line);
        let mut dev = AtTerminal::with(&setup, |modes| modes.local_flags.insert(LocalFlags::TOSTOP));
        dev.pty.shows("gone on");
        dev.wait_version("1");
        assert!(!dev.scene.processes().into_iter().any(stopped));
        dev.pty.keys(CONTROL_C);
        assert_eq!(dev.ends(), Some(130));
    }
}

fn it_is_a_job_that_stops_and_goes_on_and_may_be_in_the_background() {
    let setup = Setup::new().fixed();
    let line = setup.line();
    let words: Vec<_> = line.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
    let mut shell = std::process::Command::new("bash");
    shell.args(["--norc", "--noprofile", "--noediting", "-i"]).env("PS1", "ready> ").env("PROGRAM", line.get_program());
    shell.env("XDG_DATA_HOME", setup.scene().path("data")).current_dir(line.get_current_dir().unwrap());
    let mut pty = Pty::start(setup.scene(), &shell);
    pty.shows("ready> ");
    pty.keys(&format!("\"$PROGRAM\" {} &\n", words.join(" ")));
    let address = wait_address(&pty);
    wait_version(&pty, address, "1");
    let job = || -> Pid {
        let jobs = children(pty.pid());
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs[0]
    };
    let job = job();
    pty.keys("fg\n");
    pty.shows("fg");
    wait_version(&pty, address, "1");
    pty.keys(CONTROL_Z);
    eventually("it is stopped", || stopped(job));
    pty.shows("ready> ");
    // A client that comes now waits.
    let mut client = super::wire::Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    pty.keys("bg\n");
    assert_eq!(client.head().status, 200);
    pty.keys("fg\n");
    pty.shows("fg");
    eventually("it is in the foreground", || pty.foreground() == job);
    pty.keys(CONTROL_C);
    pty.shows("ready> ");
    pty.keys("echo \"code $?\"\n");
    pty.shows("code 130");
    pty.keys("exit\n");
    assert!(pty.ends().success());
}
