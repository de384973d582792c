//! The directory where instances are found: which one it is, that it is safe, and what lies in it under which name.
//!
//! Whoever may write to the directory could put their own socket in place of an instance's, so one that others may write
//! to, or that is not ours, is refused and not repaired: it was made by somebody with other intentions.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, User};
use thiserror::Error;

use super::instance_name::InstanceName;

/// What `sockaddr_un` holds, less the NUL at the end.
const SOCKET_PATH_MAX: usize = 107;

/// The directory of the control sockets, not necessarily there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// Why a directory cannot be used for control sockets.
#[derive(Debug, Error)]
pub enum RunDirError {
    /// Nothing says where the directory is to be.
    #[error(
        "there is no run directory: neither SOCKET_PROTECTOR_RUN_DIR nor XDG_RUNTIME_DIR is set, nor is a home known"
    )]
    Nowhere,
    /// The working directory, where a relative path begins, is not known.
    #[error("cannot find the run directory {}", path.display())]
    Find {
        /// The path as given.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It or one of its parents could not be made.
    #[error("cannot create the run directory {}", path.display())]
    Create {
        /// The directory that was to be made.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Its owner and mode could not be read.
    #[error("cannot examine the run directory {}", path.display())]
    Examine {
        /// The run directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Something else is there; a symbolic link to a directory is something else, too.
    #[error("the run directory {} is not a directory", path.display())]
    NotADirectory {
        /// The run directory.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("the run directory {} belongs to uid {owner}, and we are uid {user}", path.display())]
    Foreign {
        /// The run directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others could put their sockets there.
    #[error("the run directory {} may be written by others (mode {mode:04o}, expected 0700)", path.display())]
    Writable {
        /// The run directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A socket's path has a narrow limit.
    #[error("the socket path {} is {} bytes long; at most {SOCKET_PATH_MAX} are possible", path.display(), path.as_os_str().len())]
    TooLong {
        /// The path of the socket.
        path: PathBuf,
    },
}

impl RunDir {
    /// The directory by the first of: the option, `$SOCKET_PROTECTOR_RUN_DIR`, `/run/socket-protector` for root,
    /// `$XDG_RUNTIME_DIR/socket-protector`, `~/.socket-protector`. An empty variable is as good as none.
    ///
    /// # Errors
    /// When there is nothing to go by.
    pub fn choose(
        option: Option<&Path>,
        user: Uid,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, RunDirError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = if let Some(option) = option {
            option.to_owned()
        } else if let Some(path) = variable("SOCKET_PROTECTOR_RUN_DIR") {
            path
        } else if user.is_root() {
            PathBuf::from("/run/socket-protector")
        // By its specification, a relative one is to be ignored.
        } else if let Some(path) = variable("XDG_RUNTIME_DIR").filter(|path| path.is_absolute()) {
            path.join("socket-protector")
        } else {
            let home = variable("HOME").or_else(|| User::from_uid(user).ok().flatten().map(|user| user.dir));
            home.ok_or(RunDirError::Nowhere)?.join(".socket-protector")
        };
        // The caller's, even once we have changed the working directory.
        match std::path::absolute(&path) {
            Ok(path) => Ok(Self(path)),
            Err(source) => Err(RunDirError::Find { path, source }),
        }
    }

    /// The directory of an instance that runs, by its absolute path.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory, with its parents, or sees that the existing one is safe.
    ///
    /// # Errors
    /// When it cannot be made, or is another's.
    pub fn prepare(&self) -> Result<(), RunDirError> {
        let user = Uid::effective();
        // Root's children may be of other users and have directories of their own in it, which they must reach.
        make(&self.0, if user.is_root() { 0o711 } else { 0o700 })?;
        self.examine(user)
    }

    /// Sees that the existing directory is still safe; nothing is made.
    ///
    /// # Errors
    /// When it is gone, is no directory, is another's, or may be written by others.
    pub fn see_that_it_is_safe(&self) -> Result<(), RunDirError> {
        self.examine(Uid::effective())
    }

    fn examine(&self, user: Uid) -> Result<(), RunDirError> {
        let path = || self.0.clone();
        let metadata = fs::symlink_metadata(&self.0).map_err(|source| RunDirError::Examine { path: path(), source })?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if !metadata.is_dir() {
            Err(RunDirError::NotADirectory { path: path() })
        } else if owner != user.as_raw() {
            Err(RunDirError::Foreign { path: path(), owner, user: user.as_raw() })
        } else if mode & 0o022 != 0 {
            Err(RunDirError::Writable { path: path(), mode })
        } else {
            Ok(())
        }
    }

    /// The path of an instance's control socket.
    ///
    /// # Errors
    /// When it is longer than a socket's path can be.
    pub fn socket_path(&self, name: &InstanceName) -> Result<PathBuf, RunDirError> {
        fitting(self.0.join(format!("{name}.sock")))
    }

    /// The path of the forwarder's control socket.
    ///
    /// # Errors
    /// When it is longer than a socket's path can be.
    pub fn forwarder_socket(&self) -> Result<PathBuf, RunDirError> {
        fitting(self.0.join("forward.sock"))
    }

    /// The path of a socket that an instance's children are told of, in a directory of theirs.
    ///
    /// # Errors
    /// When it is longer than a socket's path can be.
    pub fn child_socket_path(&self, name: &InstanceName, socket: &str) -> Result<PathBuf, RunDirError> {
        fitting(self.0.join(format!("{name}.child")).join(socket))
    }
}

fn fitting(path: PathBuf) -> Result<PathBuf, RunDirError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX { Err(RunDirError::TooLong { path }) } else { Ok(path) }
}

/// One directory after the other, so that each has the mode asked for.
fn make(path: &Path, mode: u32) -> Result<(), RunDirError> {
    let failed = |source| RunDirError::Create { path: path.to_owned(), source };
    match (make_one(path, mode), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
            make(parent, mode)?;
            make_one(path, mode).map_err(failed)
        }
        (done, _) => done.map_err(failed),
    }
}

fn make_one(path: &Path, mode: u32) -> io::Result<()> {
    // The mode from birth, whatever the umask: a chmod by path could be led elsewhere.
    let before = umask(Mode::empty());
    let made = DirBuilder::new().mode(mode).create(path);
    umask(before);
    match made {
        Ok(()) => Ok(()),
        // Whose it is comes later; another instance may be making it at this moment.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
