//! Taking over: another process of ours goes on with everything that this one has, by words and descriptors on a socket
//! pair. What the roles that do so have in common is here; what there is to be handed over is each role's own.
//!
//! [`protocol`] decides what follows what. [`exchange`] is the stream with its words, [`descriptors`] what goes with them.
//! [`leaving`] is the old process' side, [`arriving`] the new one's. docs/forward.md has the words, byte by
//! byte.

pub mod arriving;
pub mod descriptors;
pub mod exchange;
pub mod leaving;
pub mod protocol;

pub use exchange::{Exchange, ExchangeError, LIMIT, Word};

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The path that we were started from: a symbolic link in it may lead elsewhere by the next time. Where it does not lead
/// to us now, what the system says.
pub fn program() -> PathBuf {
    let ours = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let same = |path: &PathBuf| match (std::fs::metadata(path), std::fs::metadata("/proc/self/exe")) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
        _ => false,
    };
    let Some(name) = std::env::args_os().next().map(PathBuf::from) else {
        return ours;
    };
    let named = if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        std::path::absolute(&name).ok()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(&name)).find(same)
    };
    named.filter(same).unwrap_or(ours)
}
