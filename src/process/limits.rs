//! The number of open files: ours as high as allowed, the children's as our caller had it; and a few in reserve.

use log::warn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::OwnedFd;

/// The soft and the hard limit of open files.
pub type OpenFiles = (u64, u64);

/// Raises the soft limit to the hard one and gives the limits that were.
///
/// # Errors
/// Those of getrlimit(2).
pub fn raise_open_files() -> io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        // A hard limit above fs.nr_open cannot be reached. The soft one is no reason not to serve.
        warn!("cannot raise the limit of open files from {soft} to {hard}: {error}");
    }
    Ok((soft, hard))
}

/// As many as one record of the channel carries; a start takes fewer.
const NEEDED: usize = 16;
/// And some for requests that come meanwhile.
const RESERVED: usize = NEEDED + 8;

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

    /// Frees so many for certain, or none; true when they are free.
    pub fn lend(&mut self, count: usize) -> bool {
        self.refill();
        let lent = self.kept.len() >= count;
        if lent {
            self.kept.truncate(self.kept.len() - count);
        }
        lent
    }

    /// Frees one, unless those are needed that one record of a channel takes; true when it is free.
    pub fn lend_spare(&mut self) -> bool {
        self.kept.len() > NEEDED && self.kept.pop().is_some()
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
}
