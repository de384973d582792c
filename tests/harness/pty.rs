//! A terminal, and a command that runs at it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use super::{LOOK, PATIENCE, Scene, until};

/// A terminal, and what runs at it.
pub(crate) struct Pty {
    master: File,
    /// Ours, so that the terminal outlives what runs at it.
    slave: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Reader,
}

/// Who reads what is shown.
struct Reader {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(mut master: File, sink: Arc<Mutex<Vec<u8>>>) -> Reader {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            let pause = PollTimeout::try_from(LOOK).unwrap();
            while !told.load(Ordering::Relaxed) {
                if poll(&mut [PollFd::new(master.as_fd(), PollFlags::POLLIN)], pause) == Ok(0) {
                    continue;
                }
                let Ok(count @ 1..) = master.read(&mut bytes) else { break };
                sink.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Reader { over, thread: Some(thread) }
    }

    /// Reads no more, and lets its end of the terminal go.
    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A terminal's two ends. Nobody inherits them, or it would not be closed when we close it.
fn open() -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut options = File::options();
    let slave = options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(ptsname_r(&master).unwrap());
    (File::from(OwnedFd::from(master)), slave.unwrap())
}

fn resize(slave: &File, columns: u16, rows: u16) {
    let line = format!("stty cols {columns} rows {rows}");
    let stty = Command::new("sh").args(["-c", &line]).stdin(slave.try_clone().unwrap()).status().unwrap();
    assert!(stty.success());
}

impl Pty {
    /// Starts a command whose controlling terminal it is, 80 by 24.
    pub(crate) fn start(scene: &Scene, command: &Command) -> Pty {
        let (master, slave) = open();
        resize(&slave, 80, 24);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        leader.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
        let child = scene.mark(&mut leader).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reader = Reader::start(master.try_clone().unwrap(), Arc::clone(&seen));
        Pty { master, slave, child, seen, reader }
    }

    /// Closes the terminal, as a window is closed; what runs at it goes on as it may.
    #[cfg(feature = "http")]
    pub(crate) fn hang_up(&mut self) {
        self.reader.end();
        let nothing = || File::open("/dev/null").unwrap();
        (self.master, self.slave) = (nothing(), nothing());
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What is on the screen so far.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until this is on the screen, and forgets what came up to there.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        until(&format!("{text:?} is shown"), PATIENCE, || {
            let screen = self.screen();
            let Some(at) = screen.find(text) else { return Err(format!("{screen:?}")) };
            self.seen.lock().unwrap().drain(..at + text.len());
            Ok(())
        });
    }

    /// The terminal itself.
    pub(crate) fn terminal(&self) -> &File {
        &self.slave
    }

    /// The process group that its keys are for.
    #[cfg(feature = "http")]
    pub(crate) fn foreground(&self) -> Pid {
        nix::unistd::tcgetpgrp(&self.master).unwrap()
    }

    /// How the terminal treats keys now.
    pub(crate) fn modes(&self) -> Termios {
        tcgetattr(self.slave.as_fd()).unwrap()
    }

    /// Waits until it treats keys so: lines, echo.
    #[track_caller]
    pub(crate) fn waits_for(&self, lines: bool, echo: bool, signals: bool) {
        until("the terminal is set", PATIENCE, || {
            let flags = self.modes().local_flags;
            let has = |flag| flags.contains(flag);
            let now = (has(LocalFlags::ICANON), has(LocalFlags::ECHO), has(LocalFlags::ISIG));
            if now == (lines, echo, signals) { Ok(()) } else { Err(format!("{now:?}")) }
        });
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.slave, columns, rows);
    }

    /// The exit code, once it has ended.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        until("it has ended", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.map(|_| ()).ok_or_else(|| self.screen())
        });
        status.unwrap()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reader.end();
    }
}
