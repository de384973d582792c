//! Descriptors that our caller left open: no child of ours shall get them.

use std::fs;
use std::os::fd::RawFd;

/// What is done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// We keep them, since our caller may watch them, but no child gets them.
    CloseOnExec,
    /// They are closed: whoever waits at the other end shall not wait for a daemon.
    Close,
}

/// Deals with every descriptor above the standard ones that came over our own exec.
///
/// Those that we made are close-on-exec from birth, so one that is not came from outside.
pub fn deal_with(stray: Stray) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        // Without /proc those that are ours cannot be told from the others; but this is right for both.
        let _ = crate::sys::close_on_exec_from(3);
        return;
    };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.collect::<Vec<_>>() {
        if number < 3 || crate::sys::survives_exec(number) != Some(true) {
            continue;
        }
        match stray {
            Stray::CloseOnExec => crate::sys::close_on_exec(number),
            Stray::Close => {
                let _ = nix::unistd::close(number);
            }
        }
    }
}
