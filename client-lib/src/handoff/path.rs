//! The place of a server in the file system: claimed, and given up only while it is ours.
//!
//! Two servers that start at once must not both find the same stale socket and then take away each other's fresh one.
//! So the steps (look, take away what is stale, bind, listen) are taken under a lock on the directory, which leaves no
//! file behind.

use super::deadline::Deadline;
use super::error::Error;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another server may take for its steps, which are a few system calls.
const PATIENCE: Duration = Duration::from_secs(5);

/// The file of a socket that this process has bound; removed when dropped, if it is still that file.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    identity: Identity,
    /// A process that is forked has a copy of this, but not the place.
    process: u32,
}

/// Device and inode. The inode of a bound socket cannot be used again before the socket is closed.
type Identity = (u64, u64);

/// Why a path was not claimed.
enum Refusal {
    InUse,
    NotASocket,
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::Failed(error.into())
    }
}

impl Place {
    /// Claims a path: a listening, non-blocking socket whose file has this mode from the first moment.
    pub(super) fn claim(path: &Path, mode: u32) -> Result<(Place, OwnedFd), Error> {
        claimed(path, mode).map_err(|refusal| match refusal {
            Refusal::InUse => Error::InUse { path: path.to_owned() },
            Refusal::NotASocket => Error::NotASocket { path: path.to_owned() },
            Refusal::Failed(source) => Error::Listen { path: path.to_owned(), source },
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody replaces it meanwhile: the socket still listens.
        let ours = || fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if self.process == std::process::id() && ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn claimed(path: &Path, mode: u32) -> Result<(Place, OwnedFd), Refusal> {
    let address = UnixAddr::new(path)?;
    let _lock = lock(path)?;
    remove_if_stale(path, &address)?;
    let listener = unix_stream()?;
    // The kernel takes the mode of the file from that of the socket, less the umask, which is the whole process's.
    fchmod(&listener, Mode::from_bits_truncate(mode))?;
    match bind(listener.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => return Err(Refusal::InUse),
        bound => bound?,
    }
    let place =
        Place { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?), process: std::process::id() };
    if fs::symlink_metadata(path)?.permissions().mode() & 0o777 != mode & 0o777 {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o777))?;
    }
    listen(&listener, Backlog::MAXCONN)?;
    Ok((place, listener))
}

fn unix_stream() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

fn remove_if_stale(path: &Path, address: &UnixAddr) -> Result<(), Refusal> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(Refusal::NotASocket),
        Err(error) => return Err(error.into()),
    }
    match connect(unix_stream()?.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => Ok(fs::remove_file(path)?),
        // It went meanwhile.
        Err(Errno::ENOENT) => Ok(()),
        // A full backlog is somebody's, and so is a socket of another type.
        Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => Err(Refusal::InUse),
        Err(errno) => Err(errno.into()),
    }
}

fn lock(path: &Path) -> io::Result<Flock<File>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let deadline = Deadline::after(Some(PATIENCE));
    let mut file = File::open(directory)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((unlocked, Errno::EWOULDBLOCK | Errno::EINTR)) => file = unlocked,
            Err((_, errno)) => return Err(errno.into()),
        }
        deadline.pause()?;
    }
}

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}
