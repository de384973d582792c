//! The pid file: says which process runs, and by its lock that it still does.
//!
//! Whoever holds the lock of the file *at the path* is the running instance; a number in a file without a lock means
//! nothing. So a file is locked before it comes to the path, it comes there complete, and only the holder of the file at
//! the path may put another one in its place:
//!
//! 1. Lock the file at the path, if there is one. If that fails, another process runs.
//! 2. Make a new file beside it, lock it and write it.
//! 3. Rename it over the old one. Without an old one, give it the path by link(2), which fails if another process was
//!    faster; then begin again.
//! 4. If the path does not lead to our file now, begin again.
//!
//! The lock is flock(2)'s: it belongs to the open file, so it needs no number to be believed, it ends with the process
//! however that ends, and two starts inside one process exclude each other as well.

#[cfg(test)]
mod tests;

use std::fs::{self, File, FileType, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::signal;
use nix::unistd::Pid;
use thiserror::Error;

/// To begin again means that another process came or went in between. Nobody meets that many.
const ATTEMPTS: usize = 1000;

/// How the names of files begin that are on their way.
const TEMPORARY: &str = ".pid-";

/// A pid file of this process, locked while it lives and removed with it.
///
/// To be made by the process whose number it shall hold, so after any change into the background: the copy in a forked
/// process would release the lock when it is dropped there.
#[derive(Debug)]
pub struct PidFile {
    /// Absolute, since the working directory may change.
    path: PathBuf,
    file: Flock<File>,
}

/// Why there is no pid file of this process.
#[derive(Debug, Error)]
pub enum PidFileError {
    /// Another instance runs; its file is untouched.
    #[error("the pid file {} is held by a running process{}", path.display(), named(*pid))]
    Held {
        /// The pid file.
        path: PathBuf,
        /// The process that the file names, unless no such process can be seen from here.
        pid: Option<i32>,
    },
    /// At the path is something that a pid file must not replace.
    #[error("the pid file {} is {kind}; expected a regular file or none", path.display())]
    Irregular {
        /// The path of the pid file.
        path: PathBuf,
        /// What is there instead.
        kind: &'static str,
    },
    /// What is at the path could not be read.
    #[error("cannot read the pid file {}", path.display())]
    Read {
        /// The pid file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The old or the new file could not be locked, for another reason than a lock.
    #[error("cannot lock the pid file {}", path.display())]
    Lock {
        /// The pid file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No new file could be made in the directory of the pid file.
    #[error("cannot create the pid file {}", path.display())]
    Create {
        /// The pid file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The new file could not be written.
    #[error("cannot write the pid file {}", path.display())]
    Write {
        /// The pid file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The new file could not be given the path.
    #[error("cannot put the pid file {} in its place", path.display())]
    Place {
        /// The pid file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Other processes put their files to the path and took them away again, time after time.
    #[error("the pid file {} is being changed all the time by other processes", path.display())]
    Contended {
        /// The pid file.
        path: PathBuf,
    },
}

impl PidFile {
    /// Claims `path` for this process. The file gets these permissions; who can read it can also lock it.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made there.
    pub fn create(path: &Path, mode: u32) -> Result<Self, PidFileError> {
        let path = std::path::absolute(path).map_err(|source| PidFileError::Read { path: path.to_owned(), source })?;
        for _ in 0..ATTEMPTS {
            if let Some(file) = claim(&path, mode)? {
                return Ok(Self { path, file });
            }
        }
        Err(PidFileError::Contended { path })
    }
}

impl PidFile {
    /// Makes the file again if somebody has removed it, or another process, which came to nothing, has put its own in its
    /// place; whether it was made again.
    ///
    /// # Errors
    /// Those of [`PidFile::create`].
    pub fn make_sure(&mut self, mode: u32) -> Result<bool, PidFileError> {
        let path = self.path.clone();
        let read = |source| PidFileError::Read { path: path.clone(), source };
        let ours = leads_to(&path, &self.file).map_err(read)?;
        if !ours {
            *self = Self::create(&path, mode)?;
        }
        Ok(!ours)
    }

    /// Another process has taken over: what is at the path is no longer ours.
    pub fn leave(self) {
        // With the lock: to drop it would also release that of the other process, until its own file is in place.
        std::mem::forget(self);
    }

    /// A process that was to take over, and has been killed, may have left what it had prepared; or another one that it
    /// had started. A file has a number in it only once it is locked, so what has one and is not locked is nobody's.
    pub fn clean_up_after(&self, pid: Pid) {
        remove_left(&temporary_name(&self.path, pid.as_raw().cast_unsigned(), 0));
        let folder = self.path.parent().and_then(|folder| fs::read_dir(folder).ok());
        for entry in folder.into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
                continue;
            }
            // Locked until its removal: it may be another's that is just about to be made.
            if let Ok(Some(_left)) = abandoned(&entry.path()) {
                remove_left(&entry.path());
            }
        }
    }
}

/// The locked file, for the process that takes over.
impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn remove_left(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            log::warn!("cannot remove the temporary file {}: {error}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// A pid file on its way whose maker has gone.
fn abandoned(path: &Path) -> Result<Option<Flock<File>>, PidFileError> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    // Its maker locks an empty one in a moment, and must not fail because we have.
    if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Ok(None);
    }
    let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok();
    Ok(file.filter(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0)))
}

/// A pid file of this process that is complete and locked, and not yet at its path: another process of ours is still the
/// running instance.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    name: Temporary,
    file: Flock<File>,
    held: File,
}

impl Prepared {
    /// Prepares to take over from the process whose locked file is `held`.
    ///
    /// # Errors
    /// When the file cannot be made there.
    pub fn new(path: &Path, mode: u32, held: OwnedFd) -> Result<Self, PidFileError> {
        let path = std::path::absolute(path).map_err(|source| PidFileError::Read { path: path.to_owned(), source })?;
        let (name, file) = write_beside(&path, mode)?;
        Ok(Self { path, name, file, held: File::from(held) })
    }

    /// From now on this process is the running instance. The lock of the file before is held until then, so there is no
    /// moment without one.
    ///
    /// # Errors
    /// It cannot be put in its place, or another instance has come there after somebody had removed the file.
    pub fn take(self) -> Result<PidFile, PidFileError> {
        let Prepared { path, name, file, held } = self;
        let ours = leads_to(&path, &held).map_err(|source| PidFileError::Read { path: path.clone(), source })?;
        if !name.become_file(&path, ours)? {
            return Err(PidFileError::Held { path, pid: None });
        }
        Ok(PidFile { path, file })
    }
}

/// While the file at the path is ours and locked, no other instance replaces it between the look and the removal.
impl Drop for PidFile {
    fn drop(&mut self) {
        let removed =
            leads_to(&self.path, &self.file).and_then(|ours| if ours { fs::remove_file(&self.path) } else { Ok(()) });
        if let Err(error) = removed {
            log::warn!("cannot remove the pid file {}: {error}", self.path.display());
        }
    }
}

/// One attempt; `None` when another process changed the path meanwhile.
fn claim(path: &Path, mode: u32) -> Result<Option<Flock<File>>, PidFileError> {
    let old = match open(path)? {
        Some(file) => Some(match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return held(path, &file),
            Err((_, errno)) => {
                return Err(PidFileError::Lock { path: path.to_owned(), source: errno.into() });
            }
        }),
        None => None,
    };
    let read = |source| PidFileError::Read { path: path.to_owned(), source };
    if let Some(old) = &old
        && !leads_to(path, old).map_err(read)?
    {
        return Ok(None);
    }
    let (name, file) = write_beside(path, mode)?;
    // The lock of the old file is held until the new one, locked as well, is in its place.
    if !name.become_file(path, old.is_some())? {
        return Ok(None);
    }
    Ok(leads_to(path, &file).map_err(read)?.then_some(file))
}

/// Another process has the lock of `file`; unless that has left the path meanwhile, it is the running instance.
fn held(path: &Path, file: &File) -> Result<Option<Flock<File>>, PidFileError> {
    let path = path.to_owned();
    match leads_to(&path, file) {
        Ok(true) => Err(PidFileError::Held { path, pid: read_pid(file) }),
        Ok(false) => Ok(None),
        Err(source) => Err(PidFileError::Read { path, source }),
    }
}

/// The file at the path, if there is one. Nothing else is opened: a pipe would make us wait, a link would make us replace
/// what somebody else pointed out.
fn open(path: &Path) -> Result<Option<File>, PidFileError> {
    let read = |source| PidFileError::Read { path: path.to_owned(), source };
    let regular = |kind: FileType| match irregular(kind) {
        Some(kind) => Err(PidFileError::Irregular { path: path.to_owned(), kind }),
        None => Ok(()),
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) => regular(metadata.file_type())?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    }
    // The flags are for what may have come to the path since that look.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => {
            regular(file.metadata().map_err(read)?.file_type())?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read(error)),
    }
}

fn irregular(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_symlink() => Some("a symbolic link"),
        _ if kind.is_fifo() => Some("a pipe"),
        _ if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

/// A new file in the directory of `path`, locked and complete.
fn write_beside(path: &Path, mode: u32) -> Result<(Temporary, Flock<File>), PidFileError> {
    let (name, file) = Temporary::create(path)?;
    // Until it is locked nobody else may open it, or they could lock it first.
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| PidFileError::Lock { path: path.to_owned(), source: errno.into() })?;
    writeln!(file, "{}", process::id())
        // Whatever the umask.
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .map_err(|source| PidFileError::Write { path: path.to_owned(), source })?;
    Ok((name, file))
}

fn temporary_name(path: &Path, pid: u32, number: u64) -> PathBuf {
    path.with_file_name(format!("{TEMPORARY}{pid}-{number}"))
}

/// The name of a file on its way, removed unless the file moves away from it.
#[derive(Debug)]
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn create(path: &Path) -> Result<(Self, File), PidFileError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..ATTEMPTS {
            // Short, so that it fits wherever a pid file's own name does.
            let name = temporary_name(path, process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name) {
                Ok(file) => return Ok((Self(Some(name)), file)),
                // Left behind by a killed process with our number, or in use by one in another pid namespace.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(PidFileError::Create { path: path.to_owned(), source });
                }
            }
        }
        Err(PidFileError::Contended { path: path.to_owned() })
    }

    /// Gives the file its final path; `false` when another file has come there where none was.
    fn become_file(mut self, path: &Path, replacing: bool) -> Result<bool, PidFileError> {
        let Some(name) = &self.0 else {
            return Ok(false);
        };
        let placed = if replacing { fs::rename(name, path) } else { fs::hard_link(name, path) };
        match placed {
            Ok(()) => {
                if replacing {
                    self.0 = None;
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && !replacing => Ok(false),
            Err(source) => Err(PidFileError::Place { path: path.to_owned(), source }),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.0
            && let Err(error) = fs::remove_file(name)
        {
            log::warn!("cannot remove the temporary file {}: {error}", name.display());
        }
    }
}

/// Whether the path is this file's.
fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let here = file.metadata()?;
    Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
}

/// The process that a held file names. A holder that is just replacing a stale file has not written its own number yet,
/// so a number without a process is not passed on.
fn read_pid(file: &File) -> Option<i32> {
    let mut text = String::new();
    // Longer than any number: the file may be anything.
    file.take(32).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0)?;
    (signal::kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)).then_some(pid)
}

fn named(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}
