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

/// How many files we may have open.
///
/// # Errors
/// Those of getrlimit(2).
pub fn open_files() -> io::Result<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(soft).unwrap_or(usize::MAX))
}

/// A start takes fewer.
const FOR_A_START: usize = 16;
/// As many as one record of the channel carries.
const FOR_A_RECORD: usize = 16;
/// Requests that come meanwhile.
const FOR_REQUESTS: usize = 4;
const RESERVED: usize = FOR_A_START + FOR_A_RECORD + FOR_REQUESTS;

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

    /// Frees what one record takes, unless a start would lack its part then; true when it is free. What is received
    /// may stay.
    pub fn lend_record(&mut self) -> bool {
        self.refill();
        let enough = self.kept.len() >= FOR_A_START + FOR_A_RECORD;
        if enough {
            self.kept.truncate(self.kept.len() - FOR_A_RECORD);
        }
        enough
    }

    /// The same though a start would lack its part: where nothing else brings descriptors back.
    pub fn lend_last_record(&mut self) -> bool {
        self.refill();
        let enough = self.kept.len() >= FOR_A_RECORD;
        if enough {
            self.kept.truncate(self.kept.len() - FOR_A_RECORD);
        }
        enough
    }

    /// Frees one if nothing of the reserve is missing; true when it is free.
    pub fn lend_one_of_all(&mut self) -> bool {
        self.refill();
        self.kept.len() == RESERVED && self.kept.pop().is_some()
    }

    /// Frees what a start and requests leave. What is received may stay.
    pub fn lend_rest(&mut self) {
        self.refill();
        self.kept.truncate(FOR_A_START + FOR_REQUESTS);
    }

    /// Frees one for a request, unless it is needed otherwise; true when it is free.
    pub fn lend_spare(&mut self) -> bool {
        self.kept.len() > FOR_A_START + FOR_A_RECORD && self.kept.pop().is_some()
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

#[cfg(test)]
mod tests {
    use super::{FOR_A_RECORD, FOR_REQUESTS, RESERVED, Reserve};

    #[test]
    fn each_purpose_has_its_part_of_the_reserve() {
        assert_eq!(FOR_A_RECORD, socket_protector_client::wire::MAX_CONNECTIONS);
        let mut reserve = Reserve::new().unwrap();
        assert_eq!(reserve.kept.len(), RESERVED);
        for _ in 0..FOR_REQUESTS {
            assert!(reserve.lend_spare());
        }
        assert!(!reserve.lend_spare(), "the rest is for others");
        assert!(reserve.lend_one_of_all(), "there are more descriptors here");
        assert_eq!(reserve.kept.len(), RESERVED - 1);
        assert!(reserve.lend_record(), "there are more descriptors here");
        assert_eq!(reserve.kept.len(), RESERVED - FOR_A_RECORD);
        reserve.lend_rest();
        assert_eq!(reserve.kept.len(), RESERVED - FOR_A_RECORD);
        assert!(reserve.lend_last_record(), "there are more descriptors here");
        assert_eq!(reserve.kept.len(), RESERVED - FOR_A_RECORD, "refilled before");
        reserve.release();
        assert!(reserve.kept.is_empty());
        reserve.refill();
        assert_eq!(reserve.kept.len(), RESERVED);
    }
}
