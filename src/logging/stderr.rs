//! Standard error that is never waited for. Its open file description is shared with others, so it cannot be made
//! non-blocking; a pipe or a terminal is opened once more for ourselves instead.

use super::Dropped;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, PoisonError, RwLock};

/// A pipe that takes a write takes at least this much, and as a whole; see pipe(7), PIPE_BUF.
const SURE: usize = 4096;

/// How standard error is written without waiting, by what it is.
enum Way {
    /// A pipe or a terminal: through an open file description of our own, which does not block.
    Own(File),
    /// A socket: each call says that it does not wait.
    Socket,
    /// A file: writing to it is not waited for.
    File,
    /// Something that cannot be opened again: asked first whether it takes a write.
    Asked,
}

static WAY: RwLock<Option<Arc<Way>>> = RwLock::new(None);

/// Standard error, as the log writes it.
#[derive(Debug, Default)]
pub struct StandardError {
    dropped: Dropped,
}

impl StandardError {
    /// Finds out anew what standard error is: something else has been put in its place.
    pub fn look_again() {
        *WAY.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Writes as much as can be written without waiting; 0 when nothing can be now.
    ///
    /// # Errors
    /// Those of write(2), when whoever read it has gone.
    pub fn write_now(bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            let end = bytes.len().min(written + SURE);
            match write_some(&bytes[written..end]) {
                Ok(count) => written += count,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(written)
    }
}

fn write_some(bytes: &[u8]) -> Result<usize, Errno> {
    let stderr = io::stderr();
    match &*Way::present() {
        Way::Own(file) => nix::unistd::write(file, bytes),
        Way::Socket => send(stderr.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
        Way::File => nix::unistd::write(stderr.as_fd(), bytes),
        Way::Asked => {
            let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut asked, PollTimeout::ZERO)? {
                0 => Err(Errno::EAGAIN),
                _ => nix::unistd::write(stderr.as_fd(), bytes),
            }
        }
    }
}

impl Way {
    fn present() -> Arc<Way> {
        let known = WAY.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.unwrap_or_else(|| {
            Arc::clone(WAY.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::new(Way::choose())))
        })
    }

    fn choose() -> Way {
        let kind = fstat(io::stderr()).map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode));
        match kind & SFlag::S_IFMT {
            SFlag::S_IFREG => Way::File,
            SFlag::S_IFSOCK => Way::Socket,
            _ => {
                let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
                let own = OpenOptions::new().append(true).custom_flags(flags).open("/proc/self/fd/2");
                own.map_or(Way::Asked, Way::Own)
            }
        }
    }
}

impl Write for StandardError {
    /// A whole message, or none of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let noted = self.dropped.note_before(line);
        // A longer message is cut rather than torn; ours are shorter.
        let bytes = &noted[..noted.len().min(SURE)];
        match write_some(bytes) {
            Ok(_) => self.dropped.forget(),
            Err(_) => self.dropped.note(),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
