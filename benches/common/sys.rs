//! The one call of the measurement that the compiler cannot check.
#![allow(unsafe_code, reason = "inherited descriptors")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that this process inherited and that nothing else in it owns.
pub fn adopt(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the environment named this number as ours, and it is adopted once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
