//! What lets the system tell of changes, and what it has told.

use super::queue::{Next, Queue, Told};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What watches directories, each by itself.
pub(super) trait Watches {
    /// # Errors
    /// The system watches no more directories, or would not tell of all changes in one on this device.
    fn watch(&mut self, path: &Path, device: u64) -> io::Result<()>;

    /// Nothing more is told of the directory that was watched by this path.
    fn unwatch(&mut self, path: &Path);
}

/// What a directory is on, if it is on something on which others change files without our system knowing.
pub(super) type Remote = fn(&Path) -> Option<&'static str>;

/// A directory on something of that kind.
#[derive(Debug, thiserror::Error)]
#[error("no changes are told of files on {kind}, as those in {}: all are looked at again and again", path.display())]
pub(super) struct Unheard {
    path: PathBuf,
    kind: &'static str,
}

/// Watches nothing.
#[derive(Debug)]
pub(super) struct Nobody;

impl Watches for Nobody {
    fn watch(&mut self, _: &Path, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn unwatch(&mut self, _: &Path) {}
}

pub(super) struct Ears {
    watcher: RecommendedWatcher,
    remote: Remote,
    /// The devices whose changes the system tells of.
    local: HashSet<u64>,
    pub(super) queue: Queue,
}

impl Ears {
    /// # Errors
    /// The system allows no more of them.
    pub(super) fn new(remote: Remote) -> io::Result<Ears> {
        let queue = Queue::default();
        let watcher = RecommendedWatcher::new(queue.teller(), notify::Config::default()).map_err(io_error)?;
        Ok(Ears { watcher, remote, local: HashSet::new(), queue })
    }

    /// All that has happened up to now.
    pub(super) fn rest(&mut self) -> Vec<Told> {
        // The watcher's thread answers between two looks at what the kernel has for it. So its second answer comes after what
        // the kernel had when we asked for the first.
        for _ in 0..2 {
            let _ = self.watcher.unwatch(Path::new("/"));
        }
        let mut told = Vec::new();
        loop {
            match self.queue.next(Some(Instant::now())) {
                Next::Told(next) => told.push(next),
                Next::Overflow => told.push(Err(notify::Error::generic("too much at once"))),
                Next::Nothing | Next::End => return told,
            }
        }
    }
}

impl Watches for Ears {
    fn watch(&mut self, path: &Path, device: u64) -> io::Result<()> {
        if !self.local.contains(&device) {
            if let Some(kind) = (self.remote)(path) {
                return Err(io::Error::other(Unheard { path: path.to_owned(), kind }));
            }
            self.local.insert(device);
        }
        match self.watcher.watch(path, RecursiveMode::NonRecursive) {
            Err(error) if is_limit(&error) => Err(io_error(error)),
            // One that has gone, or that we may not read, has nothing for us.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn unwatch(&mut self, path: &Path) {
        // Of one that is gone the system has forgotten it as well.
        let _ = self.watcher.unwatch(path);
    }
}

fn is_limit(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EMFILE | libc::ENFILE))
        }
        _ => false,
    }
}

fn io_error(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        _ => io::Error::other(error),
    }
}
