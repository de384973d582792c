//! A log file that can be rotated under us.

use super::{Dropped, LogError, open_append};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    file: std::fs::File,
    dropped: Dropped,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let file = open_append(path)?;
        // Kept as an absolute path: a reopen means the same file wherever we are by then.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(File { path, file, dropped: Dropped::default() })
    }

    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        self.file = open_append(&self.path)?;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) {
        // One write for one line, so that lines of several writers do not mix.
        match self.file.write_all(&self.dropped.note_before(line)) {
            Ok(_) => self.dropped.forget(),
            Err(_) => self.dropped.note(),
        }
    }
}

pub(super) struct Shared(pub(super) Arc<Mutex<File>>);

impl Write for Shared {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
