//! The state file of a client: what it takes to go on with its session, in another process or after a fall.
//!
//! It holds a secret, so nobody else may read it, and one that others could have read or written is refused. It is
//! replaced as a whole: whoever finds it finds a complete one. One client at a time uses it, which a lock of the file
//! at the path says, as with pid files: the next file is locked before it comes to the path.

mod error;
#[cfg(test)]
mod tests;
mod text;

pub use self::error::StoreError;

use crate::session::client_state::{Progress, Ticket};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::Uid;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Another client came or went in between. Nobody meets that many.
const ATTEMPTS: usize = 1000;
/// Longer than any that was written here.
const LONGEST: u64 = 2 * 1024 * 1024;
/// What the names of files that clients choose by themselves end with.
pub const SUFFIX: &str = ".session";
/// Most bytes of such a name.
const LONGEST_NAME: usize = 200;

/// What is kept of a session.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its server, as an endpoint.
    pub server: String,
    /// What it takes to resume.
    pub ticket: Ticket,
    /// How far it has come.
    pub progress: Progress,
    /// The destination echoes or hides what is typed, as far as the client knows.
    pub remote_echo: bool,
}

/// The state file, locked while this lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: Flock<File>,
    /// There is a session in it.
    filled: bool,
}

/// The file's name for the server at this endpoint.
pub fn default_name(server: &str) -> String {
    let mut name = String::new();
    for letter in server.chars() {
        match letter {
            '/' | '%' | '\0'..=' ' | '\x7f' => name.push_str(&format!("%{:02x}", u32::from(letter))),
            letter => name.push(letter),
        }
    }
    if name.len() > LONGEST_NAME || name.starts_with('.') {
        name = Sha256::digest(server.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    }
    name + SUFFIX
}

impl Store {
    /// Takes the file at the path for this client, and makes an empty one if there is none; what is kept in it, if it
    /// holds a session. `anew`: whatever it holds is of no interest.
    ///
    /// # Errors
    /// Another client uses it, it is damaged or others' to read, or cannot be read or made.
    pub fn open(path: &Path, anew: bool) -> Result<(Store, Option<Kept>), StoreError> {
        let path = std::path::absolute(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        for _ in 0..ATTEMPTS {
            let Some(file) = open_or_make(&path)? else { continue };
            examine(&path, &file)?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Err(StoreError::InUse { path }),
                Err((_, errno)) => return Err(StoreError::Lock { path, source: errno.into() }),
            };
            if !leads_to(&path, &file) {
                continue;
            }
            let kept = if anew { None } else { read(&path, &mut file)? };
            let filled = kept.is_some() || anew && file.metadata().is_ok_and(|metadata| metadata.len() > 0);
            return Ok((Store { path, file, filled }, kept));
        }
        Err(StoreError::InUse { path })
    }

    /// What is kept in a file at this moment, whoever uses it; `None`: there is no file, or no session in it.
    ///
    /// # Errors
    /// It is damaged or others' to read, or cannot be read.
    pub fn look(path: &Path) -> Result<Option<Kept>, StoreError> {
        match options().open(path) {
            Ok(mut file) => {
                examine(path, &file)?;
                read(path, &mut file)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(not_opened(path, error)),
        }
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file by one that holds this. When it returns, that is on the disk.
    ///
    /// # Errors
    /// What was in the file before is in it still.
    pub fn save(&mut self, kept: &Kept) -> Result<(), StoreError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let saved = self.replace(&new, &text::write(kept));
        if saved.is_err() {
            // What was to be written is told; what is left of it is overwritten by the next attempt.
            let _ = fs::remove_file(&new);
        }
        self.filled |= saved.is_ok();
        saved.map_err(|source| StoreError::Write { path: self.path.clone(), source })
    }

    fn replace(&mut self, new: &Path, text: &[u8]) -> io::Result<()> {
        // Only the holder of the lock makes one, so what is there is from one who was killed.
        match fs::remove_file(new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = options().write(true).create_new(true).mode(0o600).open(new)?;
        file.write_all(text)?;
        file.sync_all()?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| io::Error::from(errno))?;
        fs::rename(new, &self.path)?;
        // The old one's lock ends here; whoever waited for it looks at the path again.
        self.file = file;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// There is no session any more: takes the file away.
    ///
    /// # Errors
    /// Those of unlink(2).
    pub fn remove(mut self) -> Result<(), StoreError> {
        self.filled = true;
        if leads_to(&self.path, &self.file) {
            let removed = fs::remove_file(&self.path);
            removed.map_err(|source| StoreError::Remove { path: self.path.clone(), source })?;
        }
        Ok(())
    }
}

impl Drop for Store {
    /// An empty one was made to be locked, and is of no use to anybody.
    fn drop(&mut self) {
        if !self.filled && leads_to(&self.path, &self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// For reading; nothing else than a file is waited for or followed.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    options
}

/// `None`: somebody else has just made it.
fn open_or_make(path: &Path) -> Result<Option<File>, StoreError> {
    match options().open(path) {
        Ok(file) => return Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(not_opened(path, error)),
    }
    match options().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(source) => Err(StoreError::Make { path: path.to_owned(), source }),
    }
}

fn not_opened(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    // open(2): with O_NOFOLLOW, for a symbolic link.
    match source.raw_os_error() {
        Some(number) if number == Errno::ELOOP as i32 => StoreError::Irregular { path },
        _ => StoreError::Open { path, source },
    }
}

fn examine(path: &Path, file: &File) -> Result<(), StoreError> {
    let path = path.to_owned();
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(source) => return Err(StoreError::Open { path, source }),
    };
    let (owner, user, mode) = (metadata.uid(), Uid::effective().as_raw(), metadata.mode() & 0o7777);
    if !metadata.is_file() {
        Err(StoreError::Irregular { path })
    } else if owner != user {
        Err(StoreError::Foreign { path, owner, user })
    } else if mode & 0o077 != 0 {
        Err(StoreError::Readable { path, mode })
    } else {
        Ok(())
    }
}

/// Whether the path leads to this file.
fn leads_to(path: &Path, file: &File) -> bool {
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => place(there) == place(ours),
        _ => false,
    }
}

fn read(path: &Path, file: &mut File) -> Result<Option<Kept>, StoreError> {
    let damaged = |why| StoreError::Damaged { path: path.to_owned(), why };
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let length = file.metadata().map_err(failed)?.len();
    match length {
        0 => return Ok(None),
        1..=LONGEST => {}
        _ => return Err(damaged(text::Fault::Length)),
    }
    // Room for all of it, so that no copy of a secret stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    text::read(&bytes).map(Some).map_err(damaged)
}
