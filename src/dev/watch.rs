//! The files: a thread watches those that matter and says when they have changed and settled.
//!
//! `rules` and `ignored` say which matter, `never` which never do, `settle` when they have settled, `tree` which directories
//! are watched. Where the system does not tell, `poll` looks again and again.

mod ignored;
mod never;
mod poll;
mod rules;
mod settle;
mod tree;

use super::DevError;
use super::event::{Event, Inbox};
use super::gate::Change;
use super::settings::Files;
use log::{debug, warn};
use nix::sys::statfs;
use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use poll::Seen;
use rules::Rules;
use settle::{Settling, Touch};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tree::Tree;

/// How often it is looked where the system does not tell; less often if a look takes long.
const POLL: Duration = Duration::from_millis(300);
/// A look may take this part of the time.
const SHARE: u32 = 10;

type Told = notify::Result<notify::Event>;

/// Begins to watch the files below a directory.
///
/// # Errors
/// A pattern that means nothing, or a directory that cannot be read.
pub(super) fn start(root: &Path, files: &Files, inbox: Inbox) -> Result<(), DevError> {
    let failed = |source| DevError::Watch { path: root.to_owned(), source };
    fs::read_dir(root).map_err(failed)?;
    let tree = Tree::new(root, Rules::new(root, files)?);
    let watch = Watch { tree, settling: Settling::default(), inbox };
    std::thread::Builder::new().name("files".into()).spawn(move || watch.run()).map_err(failed)?;
    Ok(())
}

struct Watch {
    tree: Tree,
    settling: Settling,
    inbox: Inbox,
}

impl Watch {
    fn run(mut self) {
        match remote(&self.tree.path(Path::new(""))) {
            Some(kind) => warn!("no changes are told of files on {kind}: they are looked at again and again"),
            None => match self.watch() {
                Ok(()) => return,
                Err(error) => {
                    warn!(
                        "cannot watch so many directories ({error}): they are looked at again and again; \
                         a larger fs.inotify.max_user_watches or max_user_instances is the remedy"
                    );
                }
            },
        }
        self.poll();
    }

    /// Lets the system tell, until nobody wants to know any more.
    ///
    /// # Errors
    /// It cannot watch all directories.
    fn watch(&mut self) -> io::Result<()> {
        let (sender, told) = mpsc::channel();
        let mut watcher = RecommendedWatcher::new(sender, notify::Config::default()).map_err(io_error)?;
        take_in(&mut self.tree, &mut watcher, Path::new(""))?;
        debug!("{} directories are watched", self.tree.directories().count());
        while !self.inbox.is_closed() {
            if let Some(event) = self.next(&told)? {
                self.hear(event, &mut watcher)?;
            }
            self.settle();
        }
        Ok(())
    }

    /// What is told next; nothing if what has changed has settled before.
    fn next(&self, told: &Receiver<Told>) -> io::Result<Option<Told>> {
        let ended = || io::Error::other("nothing is told any more");
        let wait = self.settling.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match wait {
            None => told.recv().map(Some).map_err(|_| ended()),
            Some(wait) => match told.recv_timeout(wait) {
                Ok(event) => Ok(Some(event)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(ended()),
            },
        }
    }

    fn hear(&mut self, told: Told, watcher: &mut RecommendedWatcher) -> io::Result<()> {
        let event = match told {
            Ok(event) => event,
            Err(error) => {
                warn!("a change may have been missed: {error}");
                return self.look_anew(watcher);
            }
        };
        if event.need_rescan() {
            return self.look_anew(watcher);
        }
        let gone = match event.kind {
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Ok(()),
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => true,
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other => false,
        };
        let made = matches!(event.kind, EventKind::Create(_));
        let moved = matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)));
        for path in event.paths {
            let Some(name) = self.tree.name(&path).map(Path::to_owned) else { continue };
            if gone {
                self.forget(&name, watcher);
            } else if fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                if made || moved {
                    self.discover(&name, watcher)?;
                }
            } else {
                self.touch(&name, if made { Touch::Made } else { Touch::Changed }, watcher)?;
            }
        }
        Ok(())
    }

    fn touch(&mut self, name: &Path, touch: Touch, watcher: &mut RecommendedWatcher) -> io::Result<()> {
        let learnt = self.tree.rules.learn(name);
        if self.tree.counts(name) {
            self.settling.touch(Instant::now(), name, touch);
        }
        // What was ignored may not be any more.
        if learnt { take_in_again(&mut self.tree, watcher) } else { Ok(()) }
    }

    /// A directory has come. Files may have been made in it before we have heard of it.
    fn discover(&mut self, name: &Path, watcher: &mut RecommendedWatcher) -> io::Result<()> {
        let found = take_in(&mut self.tree, watcher, name)?;
        for file in found.files {
            self.settling.touch(Instant::now(), &file, Touch::Made);
        }
        Ok(())
    }

    fn forget(&mut self, name: &Path, watcher: &mut RecommendedWatcher) {
        for directory in self.tree.forget(name) {
            // Of one that is gone the system has forgotten it as well.
            let _ = watcher.unwatch(&self.tree.path(&directory));
        }
        self.tree.rules.learn(name);
        if self.tree.counts(name) {
            self.settling.touch(Instant::now(), name, Touch::Changed);
        }
    }

    /// Something has been missed.
    fn look_anew(&mut self, watcher: &mut RecommendedWatcher) -> io::Result<()> {
        self.settling.overflow(Instant::now());
        take_in_again(&mut self.tree, watcher)
    }

    fn poll(&mut self) {
        let mut seen = Seen::default();
        seen.look(&mut self.tree);
        let mut pause = POLL;
        while !self.inbox.is_closed() {
            let settled_at = self.settling.deadline().map_or(pause, |deadline| deadline - Instant::now());
            std::thread::sleep(settled_at.min(pause));
            let begin = Instant::now();
            for (name, touch) in seen.look(&mut self.tree) {
                self.tree.rules.learn(&name);
                self.settling.touch(begin, &name, touch);
            }
            pause = POLL.max(begin.elapsed() * SHARE);
            self.settle();
        }
    }

    fn settle(&mut self) {
        let Some(settled) = self.settling.settled(Instant::now()) else { return };
        let Some(settled) = settled.lasting(|name| fs::symlink_metadata(self.tree.path(name)).is_ok()) else { return };
        let change = if settled.is_styles() { Change::Styles } else { Change::Files };
        let paths = settled.files.iter().map(|(path, _)| path.display().to_string()).collect();
        let _ = self.inbox.send(Event::Changed(change, settled.words(), paths));
    }
}

fn take_in(tree: &mut Tree, watcher: &mut RecommendedWatcher, name: &Path) -> io::Result<tree::Found> {
    tree.take_in(name, |path| match watcher.watch(path, RecursiveMode::NonRecursive) {
        Err(error) if is_limit(&error) => Err(io_error(error)),
        // One that has gone, or that we may not read, has nothing for us.
        Ok(()) | Err(_) => Ok(()),
    })
}

/// Takes in all that is not known, below every directory that is.
fn take_in_again(tree: &mut Tree, watcher: &mut RecommendedWatcher) -> io::Result<()> {
    let gone: Vec<PathBuf> = tree.directories().map(Path::to_owned).collect();
    for directory in gone {
        if let Some(path) = Some(tree.path(&directory)).filter(|_| tree.has(&directory)) {
            tree.forget(&directory);
            let _ = watcher.unwatch(&path);
        }
    }
    take_in(tree, watcher, Path::new("")).map(drop)
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

/// The kind of a file system on which others change files without our system knowing.
fn remote(root: &Path) -> Option<&'static str> {
    const CIFS: i64 = 0xFF53_4D42;
    const SMB2: i64 = 0xFE53_4D42;
    const P9: i64 = 0x0102_1997;
    const VBOX: i64 = 0x786f_4256;
    const NFS: i64 = statfs::NFS_SUPER_MAGIC.0;
    match statfs::statfs(root).ok()?.filesystem_type().0 {
        NFS => Some("NFS"),
        CIFS | SMB2 => Some("a share of SMB"),
        P9 => Some("a directory of the host of a virtual machine"),
        VBOX => Some("a shared folder of VirtualBox"),
        _ => None,
    }
}
