//! The place of a server in the file system: claimed, and given up only while it is ours.
//!
//! Two servers that start at once must not both find the same stale socket and then take away each other's fresh one.
//! So the steps (look, take away what is stale, bind, listen) are taken under a lock on the directory, which leaves no
//! file behind. The socket is bound under another name in the same directory and gets its own when it listens, so that
//! whoever sees the file can connect, and a name that is taken meanwhile is not overwritten.

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
        let error = error.into();
        match error.raw_os_error() {
            // By bind(2) and link(2): the name was taken after it was looked at.
            Some(libc::EADDRINUSE | libc::EEXIST) => Refusal::InUse,
            _ => Refusal::Failed(error),
        }
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

    /// What this process has just bound.
    fn of(path: &Path) -> io::Result<Place> {
        let identity = identity(&fs::symlink_metadata(path)?);
        Ok(Place { path: path.to_owned(), identity, process: std::process::id() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody replaces it between the look and the removal: the socket still listens.
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
    let listener = unix_socket(SockType::Stream)?;
    // The kernel takes the mode of the file from that of the socket, less the umask, which is the whole process's.
    fchmod(&listener, Mode::from_bits_truncate(mode))?;
    let first_name = path.with_file_name(format!(".handoff-{}", std::process::id()));
    // One that is longer than the path itself may be too long. Then there is a moment between the file and the listening.
    let bound = match UnixAddr::new(&first_name) {
        Ok(address) if first_name != path => {
            let _ = fs::remove_file(&first_name);
            bind(listener.as_raw_fd(), &address)?;
            // Removed if anything fails; after it the file has one name.
            let bound = Place::of(&first_name)?;
            finish(&listener, &bound, mode)?;
            fs::hard_link(&first_name, path)?;
            Place::of(path)?
        }
        _ => {
            bind(listener.as_raw_fd(), &address)?;
            let bound = Place::of(path)?;
            finish(&listener, &bound, mode)?;
            bound
        }
    };
    Ok((bound, listener))
}

/// Gives the file its mode where the umask took something of it, and listens.
fn finish(listener: &OwnedFd, place: &Place, mode: u32) -> io::Result<()> {
    let mode = mode & 0o777;
    if fs::symlink_metadata(&place.path)?.permissions().mode() & 0o777 != mode {
        fs::set_permissions(&place.path, Permissions::from_mode(mode))?;
    }
    Ok(listen(listener, Backlog::MAXCONN)?)
}

fn unix_socket(kind: SockType) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

/// Asks by a socket for datagrams: where somebody has bound the file, the kernel refuses it for its type, and otherwise
/// because nobody has. A server that listens there learns nothing of it; a client would be given its sequence.
fn remove_if_stale(path: &Path, address: &UnixAddr) -> Result<(), Refusal> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(Refusal::NotASocket),
        Err(error) => return Err(error.into()),
    }
    match connect(unix_socket(SockType::Datagram)?.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => Ok(fs::remove_file(path)?),
        // It went meanwhile.
        Err(Errno::ENOENT) => Ok(()),
        Ok(()) | Err(Errno::EPROTOTYPE) => Err(Refusal::InUse),
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
