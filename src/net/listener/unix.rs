//! Unix sockets that listen: claiming a path, and giving it up.
//!
//! A path is claimed in four steps: is something there, does somebody listen there, take away what is stale, bind. Two
//! of us that start at once must not both find the same stale socket and then take away each other's fresh one, so the
//! steps are taken under the lock of a file beside the path, which is removed again. (The socket cannot be bound
//! elsewhere and renamed into its place: its name would stay the first one, and programs compare names.) Programs that
//! do not know the lock should not lose a fresh socket either: what is taken away has been looked at twice, and is first
//! moved aside and looked at. Only one that binds and does not listen for long can lose its file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
#[cfg(target_env = "gnu")]
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Refusal, signed};
use crate::net::endpoint::{Unix, UnixAddress};

/// Everybody may connect, as everybody may to a port, unless the endpoint or the directory says otherwise.
const DEFAULT_MODE: u32 = 0o666;

/// How long another of us may take for its steps, which are a few system calls.
const PATIENCE: Duration = Duration::from_secs(5);
/// The end of the name of a lock, by which no other program calls a file.
const LOCK: &str = "socket-protector.lock";
/// From bind(2) to listen(2) a program without the lock should take no longer.
const A_MOMENT: Duration = Duration::from_millis(50);
/// Programs without the lock come and go in between; nobody meets that many.
const ATTEMPTS: usize = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The file of a unix socket that we have bound. It is removed with this, if it is still that file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    /// The file at this path as ours: the socket that is bound there has been handed to us.
    ///
    /// # Errors
    /// Those of lstat(2).
    pub fn take_over(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) })
    }

    /// The socket has been handed to another process: the file stays.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

/// Device and inode. The inode of a bound socket cannot be used again before the socket is closed.
type Identity = (u64, u64);

/// Whether the caller can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// At the start nobody is kept waiting.
    None,
    /// In the loop, which is kept from everything else and tries again later.
    Loop,
}

/// What is at a path.
enum Occupant {
    Nothing,
    /// A socket that nobody listens to.
    Stale(Identity),
    /// A socket that is in use.
    Live,
    NotASocket,
}

/// A socket that listens, and its file if it has one.
pub(super) fn open(unix: &Unix, backlog: u32, haste: Haste) -> Result<(Option<SocketFile>, Socket), Refusal> {
    match &unix.address {
        UnixAddress::Abstract(name) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            match socket.bind(&SockAddr::unix(format!("\0{name}"))?) {
                Err(error) if is(&error, Errno::EADDRINUSE) => return Err(Refusal::InUse),
                bound => bound?,
            }
            socket.listen(signed(backlog))?;
            Ok((None, socket))
        }
        UnixAddress::Path(path) => {
            let (file, socket) = open_path(Path::new(path), unix.mode.unwrap_or(DEFAULT_MODE), backlog, haste)?;
            Ok((Some(file), socket))
        }
    }
}

fn open_path(path: &Path, mode: u32, backlog: u32, haste: Haste) -> Result<(SocketFile, Socket), Refusal> {
    let address = SockAddr::unix(path)?;
    let _lock = Lock::take(path, haste)?;
    let mut seen = None;
    for _ in 0..ATTEMPTS {
        match occupant(path, &address)? {
            Occupant::Nothing => break,
            // A socket that was bound a moment ago, and does not listen yet, looks the same.
            Occupant::Stale(identity) if haste == Haste::None && seen != Some(identity) => {
                seen = Some(identity);
                sleep(A_MOMENT);
            }
            Occupant::Stale(identity) => remove_if(path, identity)?,
            Occupant::Live => return Err(Refusal::InUse),
            Occupant::NotASocket => return Err(Refusal::NotASocket),
        };
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    {
        let _masked = Masked::all_but(mode);
        socket.bind(&address)?;
    }
    // From here on: an error removes the file again.
    let identity = identity(&fs::symlink_metadata(path)?);
    let file = SocketFile { path: std::path::absolute(path)?, identity };
    // Only now can anybody connect, and the mode is as it shall be.
    socket.listen(signed(backlog))?;
    Ok((file, socket))
}

fn occupant(path: &Path, address: &SockAddr) -> io::Result<Occupant> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nothing),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Ok(Occupant::NotASocket);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(address) {
        Err(error) if is(&error, Errno::ECONNREFUSED) => Ok(Occupant::Stale(identity(&found))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nothing),
        // A full backlog, and another type of socket.
        Err(error) if is(&error, Errno::EAGAIN) || is(&error, Errno::EPROTOTYPE) => Ok(Occupant::Live),
        Err(error) => Err(error),
        Ok(()) => Ok(Occupant::Live),
    }
}

/// Removes the file at a path if it is this one.
fn remove_if(path: &Path, wanted: Identity) -> io::Result<()> {
    if !is_file(path, wanted) {
        return Ok(());
    }
    // Nothing removes a file only if it is a certain one. So it is moved where nobody else has to do with it.
    let aside = move_aside(path)?;
    if !is_file(&aside, wanted) {
        // Somebody put another there a moment ago; back with it, unless there is yet another.
        let _ = fs::hard_link(&aside, path);
    }
    fs::remove_file(&aside)
}

/// Gives a file a name in its directory that there was not and that nobody could foresee.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let mut attempts = 0..ATTEMPTS;
    loop {
        let aside = beside(path, &format!("{:016x}.gone", RandomState::new().build_hasher().finish()));
        match rename_to_new(path, &aside) {
            Ok(()) => return Ok(aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts.next().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Renames without replacing anything, where the file system can.
#[cfg(target_env = "gnu")]
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::rename(from, to),
        done => Ok(done?),
    }
}

#[cfg(not(target_env = "gnu"))]
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or in a directory that has become read-only: the next start finds it stale.
        let _ = remove_if(&self.path, self.identity);
    }
}

/// The right to claim a path, among all that ask this way.
struct Lock {
    path: PathBuf,
    file: Flock<File>,
}

impl Lock {
    fn take(path: &Path, haste: Haste) -> Result<Lock, Refusal> {
        let path = beside(path, LOCK);
        let deadline = Instant::now() + if haste == Haste::Loop { Duration::ZERO } else { PATIENCE };
        loop {
            let file = Lock::open(&path)?;
            let opened = identity(&file.metadata()?);
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => {
                    // The one that had it removed the file; whoever comes next makes a new one.
                    if is_file(&path, opened) {
                        return Ok(Lock { path, file: locked });
                    }
                }
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => {}
                Err((_, errno)) => return Err(io::Error::from(errno).into()),
            }
            if Instant::now() >= deadline {
                return Err(Refusal::Locked { path });
            }
            sleep(LOOK_AGAIN);
        }
    }

    /// Anybody who may write to the directory can put anything there. Opening it must not wait (a FIFO), nor follow.
    fn open(path: &Path) -> Result<File, Refusal> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags.bits())
            .open(path);
        match opened {
            Ok(file) if file.metadata()?.is_file() => Ok(file),
            Err(error) if fs::symlink_metadata(path).is_err() => Err(error.into()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Refusal::Locked { path: path.into() }),
            Ok(_) | Err(_) => Err(Refusal::NotALock { path: path.into() }),
        }
    }

    /// Whether one of us made it: it is empty, and of our user.
    fn is_ours(&self) -> bool {
        let made = |found: fs::Metadata| found.len() == 0 && found.uid() == Uid::effective().as_raw();
        self.file.metadata().is_ok_and(made)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that it can be no other's.
        if self.is_ours() && self.file.metadata().is_ok_and(|found| is_file(&self.path, identity(&found))) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The umask that gives a new socket its mode from the first moment. Back to what it was when dropped.
struct Masked(Mode);

impl Masked {
    /// The umask is the whole process's, and so far it has one thread.
    fn all_but(mode: u32) -> Masked {
        Masked(umask(Mode::from_bits_truncate(!mode & 0o777)))
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        umask(self.0);
    }
}

/// A hidden file in the same directory.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Whether the file at a path is this one.
fn is_file(path: &Path, wanted: Identity) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == wanted)
}

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}
