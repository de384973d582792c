//! The number of open files: ours as high as allowed, the children's as our caller had it; and a few in reserve.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::OwnedFd;

/// The soft and the hard limit of open files.
pub type OpenFiles = (u64, u64);

/// Raises the soft limit to the hard one and gives the limits that were.
///
/// # Errors
/// Those of getrlimit(2) and setrlimit(2).
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok((soft, hard))
}

/// As many as one record of the channel carries, and as a start takes at the most, and a request that comes meanwhile.
const RESERVED: usize = 24;

/// Descriptors kept for what must work when clients have taken all the others: starting a child, being asked.
#[derive(Debug)]
pub struct Reserve {
    null: OwnedFd,
    kept: Vec<OwnedFd>,
}

impl Reserve {
    /// Takes the reserve.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn new() -> io::Result<Self> {
        let mut reserve = Reserve { null: super::spawn::null_device()?, kept: Vec::new() };
        reserve.refill();
        Ok(reserve)
    }

    /// Frees the reserve: the caller is about to need it.
    pub fn release(&mut self) {
        self.kept.clear();
    }

    /// Takes back as much of the reserve as there is.
    pub fn refill(&mut self) {
        while self.kept.len() < RESERVED {
            match self.null.try_clone() {
                Ok(descriptor) => self.kept.push(descriptor),
                Err(_) => break,
            }
        }
    }

    /// Whether nothing of the reserve is missing.
    pub fn is_full(&self) -> bool {
        self.kept.len() == RESERVED
    }
}
