//! The process that a generation lives by, where that is not its leader: MAINPID of sd_notify(3).

use super::Source;
use super::state::Number;
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// It is no child of ours, so nothing but its descriptor keeps its number from meaning another.
#[derive(Debug)]
pub struct MainProcess {
    pid: Pid,
    process: Registered<Descriptor<OwnedFd>>,
}

impl MainProcess {
    /// Watches for its end.
    ///
    /// # Errors
    /// Those of pidfd_open(2) and epoll_ctl(2).
    pub fn watch(reactor: &mut Reactor<Source>, pid: Pid, number: Number) -> io::Result<Self> {
        let process = reactor.register(Descriptor(sys::pidfd_open(pid)?), Source::Main(number), READABLE)?;
        Ok(MainProcess { pid, process })
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        poll(&mut [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)
            .is_ok_and(|count| count > 0)
    }

    /// Sends it a signal; one that has ended gets none, and neither does another of its number.
    pub fn signal(&self, signal: Signal) {
        let _ = sys::pidfd_send_signal(self.process.as_fd(), signal);
    }

    /// Whether its process group is this one.
    pub fn is_in_group(&self, group: Pid) -> bool {
        getpgid(Some(self.pid)) == Ok(group)
    }

    /// Ends it, and its own process group if it leads one.
    pub fn kill(&self) {
        // While it is stopped it cannot end, so the number of its group stays its own.
        self.signal(Signal::SIGSTOP);
        if !self.has_ended() && self.is_in_group(self.pid) {
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        self.signal(Signal::SIGKILL);
    }
}
