//! What is loaded from files, and loaded anew when they have changed.
//!
//! The new replaces the old only if it is valid as a whole. Key and certificate are two files, written one after the
//! other, so a look may find a new one beside an old one: then what was loaded serves on, and a later look finds both.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::certificate::Moment;
use super::error::{LoadError, Remark};
use super::{pem, roots};

/// What a look at the files has brought.
#[derive(Debug)]
pub enum Refresh {
    /// The files are as they were, or are being written at this moment.
    Unchanged,
    /// New connections get what the files now have.
    Swapped {
        /// The end of the new certificate's time, if there is one.
        expires: Option<Moment>,
        /// What to warn of.
        remarks: Vec<Arc<Remark>>,
    },
    /// The files have changed and cannot be used; what was loaded before stays.
    Kept(LoadError),
}

/// A value with the files that it was loaded from. Readers never wait for a file.
#[derive(Debug)]
pub(super) struct Rotating<T> {
    current: RwLock<Arc<T>>,
    /// Files and folders.
    paths: Vec<PathBuf>,
    last: Mutex<Last>,
}

/// The last load.
#[derive(Debug, Default)]
struct Last {
    /// The files as they were then.
    seen: Stamp,
    /// Why it failed, if it did. It is tried again at each look: a certificate whose time has not come yet needs no other
    /// file to be valid one day.
    failure: Option<String>,
}

impl<T> Rotating<T> {
    /// Loads it for the first time.
    pub(super) fn load(paths: Vec<PathBuf>, load: impl Fn() -> Result<T, LoadError>) -> Result<Self, LoadError> {
        // Before reading: what changes meanwhile is seen at the next look.
        let seen = Stamp::of(&paths, &Stamp::default());
        let current = RwLock::new(Arc::new(load()?));
        Ok(Self { current, paths, last: Mutex::new(Last { seen, failure: None }) })
    }

    /// What new connections get.
    pub(super) fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads it again if the files have changed, or could not be used; `None` if there is nothing new to tell.
    pub(super) fn refresh(&self, load: impl Fn() -> Result<T, LoadError>) -> Option<Result<Arc<T>, LoadError>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Stamp::of(&self.paths, &last.seen);
        let changed = last.seen != before;
        if !changed && last.failure.is_none() {
            last.seen = before;
            return None;
        }
        let loaded = load();
        // Written meanwhile: what was read may be of both. The next look sees it whole.
        if Stamp::of(&self.paths, &before) != before {
            return None;
        }
        let failure = loaded.as_ref().err().map(|error| crate::chain(error));
        let former = std::mem::replace(&mut *last, Last { seen: before, failure });
        if !changed && last.failure.is_some() && last.failure == former.failure {
            return None;
        }
        Some(loaded.map(|new| {
            let new = Arc::new(new);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
            new
        }))
    }
}

/// What the files have, by path. A file that looks as before is not read again.
#[derive(Debug, Default)]
struct Stamp(BTreeMap<PathBuf, Seen>);

#[derive(Debug, Clone)]
struct Seen {
    look: Look,
    /// The file had not changed for a while when it was read, so whatever changes it changes its look too.
    settled: bool,
    content: Option<u64>,
}

/// What changes when a file is written or replaced. A symbolic link counts as what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds since 1970, and nanoseconds.
    changed: (i64, i64),
}

/// Files that were written longer ago have a look of their own, also where a file system's clock is coarse.
const SETTLED: Duration = Duration::from_secs(3);

impl Stamp {
    fn of(paths: &[PathBuf], former: &Self) -> Self {
        let mut all = BTreeMap::new();
        for path in paths {
            if path.is_dir() {
                // One that cannot be read is a change as well, which the load then explains.
                let files = roots::files(path).unwrap_or_default();
                all.extend(files.into_iter().filter_map(|file| former.see(file)));
            } else {
                all.extend(former.see(path.clone()));
            }
        }
        Self(all)
    }

    fn see(&self, path: PathBuf) -> Option<(PathBuf, Seen)> {
        let look = Look::from(&std::fs::metadata(&path).ok()?);
        let former = self.0.get(&path).filter(|former| former.settled && former.look == look);
        let seen =
            former.cloned().unwrap_or_else(|| Seen { look, settled: look.is_settled(), content: content(&path) });
        Some((path, seen))
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        let contents =
            |stamp: &Self| stamp.0.iter().map(|(path, seen)| (path.clone(), seen.content)).collect::<Vec<_>>();
        contents(self) == contents(other)
    }
}

/// A number for the file's content, which is secret. It never leaves this process.
fn content(path: &Path) -> Option<u64> {
    let text = pem::text(path).ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}

impl Look {
    fn is_settled(&self) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or(0);
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(changed));
        age.is_ok_and(|age| age > SETTLED)
    }
}

impl From<&Metadata> for Look {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
