//! The files: a thread watches those that matter and says when they have changed and settled.
//!
//! `rules`, `ignored` and `repository` say which matter, `never` which never do, `settle` when they have settled, `tree` which directories
//! are watched and by which names, `links` what symbolic links lead to, `ears` and `queue` let the system tell, `told`
//! is what follows from that. Where it does not tell, as on some `mounts`, `poll` looks again and again.

mod below;
mod ears;
mod ignored;
mod links;
mod mounts;
mod never;
mod poll;
mod queue;
mod repository;
mod rules;
mod settle;
mod told;
mod tree;

use super::DevError;
use super::event::{Event, Inbox};
use super::gate::Change;
use super::settings::Files;
use ears::Remote;
use log::warn;
use poll::Seen;
use rules::Rules;
use settle::Settling;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use told::Stale;
use tree::Tree;

/// How often it is looked where the system does not tell; less often if a look takes long.
const POLL: Duration = Duration::from_millis(300);
/// A look may take this part of the time.
const SHARE: u32 = 10;
/// A lock of git's that is older than this is not waited for.
const OLD_LOCK: Duration = Duration::from_secs(60);

/// Begins to watch the files below a directory.
///
/// # Errors
/// A pattern that means nothing, or a directory that cannot be read.
pub(super) fn start(root: &Path, files: &Files, inbox: Inbox) -> Result<(), DevError> {
    let failed = |source| DevError::Watch { path: root.to_owned(), source };
    fs::read_dir(root).map_err(failed)?;
    let tree = Tree::new(root, Rules::new(root, files)?);
    // A server that starts while we begin to watch may have read what is written meanwhile.
    let unwatched_since = Some(SystemTime::now());
    let watch = Watch { unwatched_since, ..Watch::new(tree, inbox, mounts::remote) };
    std::thread::Builder::new().name("files".into()).spawn(move || watch.run()).map_err(failed)?;
    Ok(())
}

struct Watch {
    tree: Tree,
    settling: Settling,
    inbox: Inbox,
    remote: Remote,
    /// The beginning, until all has been watched or seen once.
    unwatched_since: Option<SystemTime>,
    git_was_at_work: bool,
    stale: Option<Stale>,
}

impl Watch {
    fn new(tree: Tree, inbox: Inbox, remote: Remote) -> Watch {
        let settling = Settling::default();
        Watch { tree, settling, inbox, remote, unwatched_since: None, git_was_at_work: false, stale: None }
    }

    fn run(mut self) {
        if let Err(deaf) = self.listen() {
            warn!("{}", deaf.why());
            let seen = self.catch_up(deaf);
            self.poll(seen);
        }
    }

    /// Looks again and again, from what has been seen already.
    fn poll(&mut self, mut seen: Seen) {
        if seen.is_empty() {
            seen.look(&mut self.tree);
            self.touch_unwatched(seen.files());
        }
        let mut pause = POLL;
        while !self.inbox.is_closed() {
            let settled_at = self.settling.deadline().map_or(pause, |deadline| deadline - Instant::now());
            std::thread::sleep(settled_at.min(pause));
            let begin = Instant::now();
            for (name, touch) in seen.look(&mut self.tree) {
                self.settling.touch(begin, &name, touch);
            }
            pause = POLL.max(begin.elapsed() * SHARE);
            self.settle();
        }
    }

    fn settle(&mut self) {
        let now = Instant::now();
        if self.settling.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        // What it did last may not have been heard yet.
        let is_at_work = self.git_is_at_work();
        if std::mem::replace(&mut self.git_was_at_work, is_at_work) || is_at_work {
            self.settling.go_on(now);
        }
        let Some(settled) = self.settling.settled(now) else { return };
        let Some(settled) = settled.lasting(|name| fs::symlink_metadata(self.tree.path(name)).is_ok()) else { return };
        let change = if settled.is_styles() { Change::Styles } else { Change::Files };
        let paths = settled.files.iter().map(|(path, _)| path.display().to_string()).collect();
        let _ = self.inbox.send(Event::Changed(change, settled.words(), paths));
    }
}

impl Watch {
    /// Whether git changes the files, as at a checkout: it has its lock then. One that is old has been left behind.
    fn git_is_at_work(&self) -> bool {
        let age = self.tree.rules.lock().and_then(|lock| fs::metadata(lock).ok()?.modified().ok()?.elapsed().ok());
        age.is_some_and(|age| age < OLD_LOCK)
    }
}

/// Whether a file has been changed since then, in whatever way.
fn changed_since(path: &Path, then: SystemTime) -> bool {
    let Ok(metadata) = fs::metadata(path).or_else(|_| fs::symlink_metadata(path)) else { return false };
    let (seconds, nanoseconds) = (u64::try_from(metadata.ctime()), u32::try_from(metadata.ctime_nsec()));
    let age = Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0));
    UNIX_EPOCH + age > then
}
