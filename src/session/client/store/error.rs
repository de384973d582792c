//! Why a state file cannot be used.

use super::text::Fault;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a state file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Two clients with one file would spoil each other's session.
    #[error("the state file {} is used by another client", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is there, and cannot be opened or read.
    #[error("cannot read the state file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("cannot create the state file {}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It cannot be locked, for another reason than a lock.
    #[error("cannot lock the state file {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It cannot be replaced; what was in it before is in it still.
    #[error("cannot write the state file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// It cannot be taken away.
    #[error("cannot remove the state file {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A directory, a device, or a symbolic link that leads somewhere else.
    #[error("the state file {} is not a regular file", path.display())]
    Irregular {
        /// What is at the path.
        path: PathBuf,
    },
    /// Somebody else could change it.
    #[error("the state file {} belongs to uid {owner}, and we are uid {user}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others could have read the secret.
    #[error("the state file {} is open to others (mode {mode:04o}, expected 0600)", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It was not written by a client, or something has happened to it since.
    #[error("the state file {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: Fault,
    },
}

impl StoreError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            StoreError::InUse { .. } => Some("--state FILE names another one, and --observe only looks on"),
            StoreError::Readable { .. } => Some("if nobody has read it: chmod 600"),
            StoreError::Damaged { .. } => Some("--new starts another session in its place"),
            StoreError::Open { .. }
            | StoreError::Make { .. }
            | StoreError::Lock { .. }
            | StoreError::Write { .. }
            | StoreError::Remove { .. }
            | StoreError::Irregular { .. }
            | StoreError::Foreign { .. } => None,
        }
    }
}
