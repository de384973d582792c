//! Standard error that is never waited for. Its file description is shared with others, so it cannot be made
//! non-blocking; instead it is asked first whether it takes a write, and a write is never longer than it then takes.

use super::Dropped;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A pipe that takes a write takes at least this much without waiting; see pipe(7), PIPE_BUF.
const SURE: usize = 4096;

/// Standard error, or nothing when it is gone.
#[derive(Debug, Default)]
pub struct StandardError {
    dropped: Dropped,
}

impl StandardError {
    /// Writes as much as can be written without waiting; 0 when nothing can be now.
    ///
    /// # Errors
    /// Those of write(2), when whoever read it has gone.
    pub fn write_now(bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() && writable() {
            let end = bytes.len().min(written + SURE);
            written += nix::unistd::write(io::stderr().as_fd(), &bytes[written..end])?;
        }
        Ok(written)
    }
}

fn writable() -> bool {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

impl Write for StandardError {
    /// A whole message, or none of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !writable() {
            self.dropped.note();
        } else {
            let noted = self.dropped.take().map(|note| [note.as_bytes(), line].concat());
            let bytes = noted.as_deref().unwrap_or(line);
            // A message longer than that is cut rather than waited for; ours are shorter.
            let bytes = &bytes[..bytes.len().min(SURE)];
            if nix::unistd::write(io::stderr().as_fd(), bytes).is_err() {
                self.dropped.note();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
