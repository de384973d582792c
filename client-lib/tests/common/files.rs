//! Files that can be told apart, and a folder of a test's own.
#![allow(dead_code, reason = "every test file uses its part of it")]

use nix::sys::stat::fstat;
use std::fs::{self, File};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Open files with names 0, 1, … in a folder that is removed with them.
pub(crate) struct Files {
    folder: PathBuf,
    files: Vec<File>,
}

impl Files {
    pub(crate) fn new(count: usize) -> Files {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        // Not below the target directory, whose path may be too long for a socket.
        let folder = std::env::temp_dir().join(format!("handoff-{}-{number}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = |index: usize| File::create(folder.join(index.to_string())).unwrap();
        let files = (0..count).map(file).collect();
        Files { folder, files }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }
}

impl Deref for Files {
    type Target = [File];

    fn deref(&self) -> &[File] {
        &self.files
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What makes two descriptors the same file: device and inode.
pub(crate) fn identity(descriptor: impl AsFd) -> (u64, u64) {
    let found = fstat(descriptor.as_fd()).unwrap();
    (found.st_dev, found.st_ino)
}

/// Lets this process open as many descriptors as it may, which by default is few.
pub(crate) fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// How many descriptors this process has open.
pub(crate) fn census() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
