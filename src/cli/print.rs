//! Standard output, which may be closed: whoever does not read on has got what he wanted.

use super::failure::Failure;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Writes text to standard output.
pub(super) fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of_io("cannot write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// Prints JSON, on one line.
pub(super) fn print_json(value: &Value) -> Result<ExitCode, Failure> {
    print(&format!("{value}\n"))
}

/// Shows something anew every second, as long as it says that it will and somebody reads.
pub(super) fn watch(mut show: impl FnMut() -> bool) {
    while !is_left() {
        std::thread::sleep(EVERY);
        if !show() {
            break;
        }
    }
}

/// Prints in place of what was shown before, on a terminal; else behind it.
pub(super) fn print_anew(text: &str) -> Result<ExitCode, Failure> {
    let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
    print(&format!("{clear}{text}"))
}

/// Whether nobody reads standard output any more: the reader of a pipe has gone.
fn is_left() -> bool {
    let stdout = io::stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked[0].revents().is_some_and(|events| events.intersects(gone))
}
