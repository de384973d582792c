//! What lets the system tell of changes, and what it has told.

use super::queue::{Next, Queue, Told};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) struct Ears {
    watcher: RecommendedWatcher,
    pub(super) queue: Queue,
}

impl Ears {
    /// # Errors
    /// The system allows no more of them.
    pub(super) fn new() -> io::Result<Ears> {
        let queue = Queue::default();
        let watcher = RecommendedWatcher::new(queue.teller(), notify::Config::default()).map_err(io_error)?;
        Ok(Ears { watcher, queue })
    }

    /// # Errors
    /// The system watches no more directories.
    pub(super) fn watch(&mut self, path: &Path) -> io::Result<()> {
        match self.watcher.watch(path, RecursiveMode::NonRecursive) {
            Err(error) if is_limit(&error) => Err(io_error(error)),
            // One that has gone, or that we may not read, has nothing for us.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn unwatch(&mut self, paths: &[PathBuf]) {
        for path in paths {
            // Of one that is gone the system has forgotten it as well.
            let _ = self.watcher.unwatch(path);
        }
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
