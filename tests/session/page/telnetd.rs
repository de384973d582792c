//! A real telnetd behind the page: a login, and all that may happen to it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::stage::Stage;
use super::{destinations, guests};
use crate::harness::PATIENCE;
use crate::harness::browser::key;
use crate::harness::ran::Running;

guests!["command -v chromedriver && command -v chromium && command -v telnetd && command -v useradd && [ \"$(id -u)\" = 0 ]";
    a_login_goes_on_over_reloads_and_restarts_and_every_way,
    a_password_is_not_shown_across_a_reload,
    a_program_is_told_the_size_and_is_interrupted,
];

const PASSWORD: &str = "correct-horse";

/// A user that is there as long as the trial.
struct User(String);

/// The list of users is one file.
static USERS: Mutex<()> = Mutex::new(());

impl User {
    fn new() -> User {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sp{}n{number}", std::process::id());
        let _one = USERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hashed =
            Running::start(Command::new("openssl").args(["passwd", "-6", PASSWORD])).finish(PATIENCE).expect(0).out;
        let mut add = Command::new("/usr/sbin/useradd");
        add.args(["--create-home", "--shell", "/bin/sh", "--password", hashed.trim(), &name]);
        Running::start(&mut add).finish(PATIENCE).expect(0);
        User(name)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _one = USERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut remove = Command::new("/usr/sbin/userdel");
        let ran = Running::start(remove.args(["--force", "--remove", &self.0])).finish(PATIENCE);
        if !std::thread::panicking() {
            ran.expect(0);
        }
    }
}

/// Starts a telnetd for each connection, as inetd does.
fn telnetd() -> SocketAddr {
    destinations::serve(|stream| {
        let ends = [stream.try_clone().unwrap(), stream].map(|end| Stdio::from(OwnedFd::from(end)));
        let [input, output] = ends;
        let mut daemon = Command::new("/usr/sbin/telnetd");
        let mut daemon = daemon.stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap();
        std::thread::spawn(move || daemon.wait());
    })
}

fn enter(stage: &Stage, text: &str) {
    stage.browser.keys(text);
    stage.browser.keys(key::ENTER);
}

fn log_in(stage: &Stage, user: &User) {
    stage.wait_screen("login:", |screen| screen.trim_end().ends_with("login:"));
    enter(stage, &user.0);
    stage.wait_screen("Password:", |screen| screen.trim_end().ends_with("Password:"));
    enter(stage, PASSWORD);
    stage.wait_screen("a prompt", |screen| screen.trim_end().ends_with('$'));
}

fn a_login_goes_on_over_reloads_and_restarts_and_every_way() {
    let user = User::new();
    let mut stage = Stage::new(telnetd());
    stage.open("/");
    log_in(&stage, &user);
    enter(&stage, "echo $((6 * 7)) answers; kept=yes");
    stage.wait_line("42 answers");

    stage.browser.reload();
    stage.wait_phase("live");
    stage.wait_line("42 answers");

    stage.kill_gateway();
    stage.wait_phase("away");
    enter(&stage, "echo typed w''hile away: $kept");
    stage.start_gateway();
    stage.wait_phase("live");
    let screen = stage.wait_line("typed while away: yes");
    assert!(screen.contains("42 answers"), "{screen}");

    for way in ["poll", "sse", "ws"] {
        stage.open(&format!("/?transport={way}"));
        stage.wait_line("typed while away: yes");
        enter(&stage, &format!("echo o''ver {way}: $kept"));
        let screen = stage.wait_line(&format!("over {way}: yes"));
        assert_eq!(screen.matches("42 answers").count(), 1, "{screen}");
    }
    assert!(!stage.screen().contains(PASSWORD));
    enter(&stage, "exit");
    stage.wait_phase("ended");
    assert_eq!(stage.browser.text("#why"), "The destination has closed the connection.");
    stage.expect_quiet_console();
}

fn a_password_is_not_shown_across_a_reload() {
    let user = User::new();
    let stage = Stage::new(telnetd());
    stage.open("/");
    stage.wait_screen("login:", |screen| screen.trim_end().ends_with("login:"));
    enter(&stage, &user.0);
    stage.wait_screen("Password:", |screen| screen.trim_end().ends_with("Password:"));
    let (first, rest) = PASSWORD.split_at(7);
    stage.browser.keys(first);
    stage.browser.reload();
    stage.wait_phase("live");
    stage.wait_screen("Password:", |screen| screen.trim_end().ends_with("Password:"));
    enter(&stage, rest);
    let screen = stage.wait_screen("a prompt", |screen| screen.trim_end().ends_with('$'));
    assert!(!screen.contains(first) && !screen.contains(rest), "{screen}");
    enter(&stage, "exit");
    stage.wait_phase("ended");
}

fn a_program_is_told_the_size_and_is_interrupted() {
    let user = User::new();
    let stage = Stage::new(telnetd());
    stage.open("/");
    log_in(&stage, &user);
    stage.browser.size(1050, 500);
    let rows = stage.browser.until(
        "it fits",
        "const rows = document.querySelectorAll('.xterm-rows > div').length; return rows < 27 && rows",
    );
    stage.wait_screen("the size", |screen| {
        if !screen.trim_end().ends_with('$') {
            return false;
        }
        enter(&stage, "stty size");
        stage.wait_screen("an answer", |later| later.len() > screen.len() && later.trim_end().ends_with('$'));
        stage.screen().lines().any(|line| line.starts_with(&format!("{rows} ")))
    });
    enter(&stage, "echo sleeping; sleep 1000; echo woken by $?");
    stage.wait_line("sleeping");
    stage.browser.click("#interrupt");
    stage.wait_screen("a prompt", |screen| screen.trim_end().ends_with('$'));
    stage.browser.click("#ayt");
    stage.wait_line("[Yes]");
    enter(&stage, "exit");
    stage.wait_phase("ended");
}
