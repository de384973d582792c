//! A client at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::harness::{PATIENCE, Scene, until};

/// A terminal, and what runs at it.
pub(super) struct Pty {
    master: File,
    /// Ours, so that the terminal outlives what runs at it.
    slave: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Starts a command whose controlling terminal it is, 80 by 24.
    pub(super) fn start(scene: &Scene, command: &Command) -> Pty {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        let child = scene.mark(&mut leader).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                sink.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Pty { master, slave, child, seen }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(super) fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What is on the screen so far.
    pub(super) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until this is on the screen, and forgets what came up to there.
    #[track_caller]
    pub(super) fn shows(&self, text: &str) {
        until(&format!("{text:?} is shown"), PATIENCE, || {
            let screen = self.screen();
            let Some(at) = screen.find(text) else { return Err(format!("{screen:?}")) };
            self.seen.lock().unwrap().drain(..at + text.len());
            Ok(())
        });
    }

    /// The terminal itself.
    pub(super) fn terminal(&self) -> &File {
        &self.slave
    }

    /// How the terminal treats keys now.
    pub(super) fn modes(&self) -> Termios {
        tcgetattr(self.slave.as_fd()).unwrap()
    }

    /// Waits until it treats keys so: lines, echo.
    #[track_caller]
    pub(super) fn waits_for(&self, lines: bool, echo: bool, signals: bool) {
        until("the terminal is set", PATIENCE, || {
            let flags = self.modes().local_flags;
            let has = |flag| flags.contains(flag);
            let now = (has(LocalFlags::ICANON), has(LocalFlags::ECHO), has(LocalFlags::ISIG));
            if now == (lines, echo, signals) { Ok(()) } else { Err(format!("{now:?}")) }
        });
    }

    /// Gives the terminal another size.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        let line = format!("stty cols {columns} rows {rows}");
        let stty = Command::new("sh").args(["-c", &line]).stdin(self.slave.try_clone().unwrap()).status().unwrap();
        assert!(stty.success());
    }

    /// The exit code, once it has ended.
    #[track_caller]
    pub(super) fn ends(&mut self) -> std::process::ExitStatus {
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
    }
}
