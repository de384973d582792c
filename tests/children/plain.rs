//! A daemon of the old school: knows LISTEN_FDS and SIGTERM, nothing of channels, and blocks in accept.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{SockFlag, accept4};
use std::os::fd::{AsFd, AsRawFd};

use super::serve::Service;
use super::wire::{generation, listeners};
use crate::sys::{adopt, interrupt_on, signal_thread, this_thread};

/// Accepts until TERM, then finishes what it has.
pub(super) fn run() -> ExitCode {
    let listeners = listeners();
    let listener = listeners.first().expect("a listener by LISTEN_FDS and LISTEN_PID");
    let term = Arc::new(AtomicBool::new(false));
    wake_on_term(&term);
    let service = Service::new(generation());
    while !term.load(Ordering::SeqCst) {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Ok(connection) => service.take(adopt(connection)),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            // The socket is shared, and another generation may have made it non-blocking.
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            }
            Err(error) => panic!("cannot accept: {error}"),
        }
    }
    service.finish();
    ExitCode::SUCCESS
}

/// On TERM raises the flag and interrupts the accepting thread until the process has gone, so that
/// a signal between its look at the flag and its accept is not lost.
fn wake_on_term(term: &Arc<AtomicBool>) {
    interrupt_on(Signal::SIGUSR1);
    let accepting = this_thread();
    let term = Arc::clone(term);
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGTERM]).unwrap();
    thread::spawn(move || {
        signals.forever().next();
        term.store(true, Ordering::SeqCst);
        loop {
            signal_thread(accepting, Signal::SIGUSR1);
            thread::sleep(Duration::from_millis(20));
        }
    });
}
