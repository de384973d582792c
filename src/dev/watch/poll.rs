//! Looking again and again, where the system does not tell: which files there are, and when they were last changed.

use super::settle::Touch;
use super::tree::Tree;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is not ignored any more has changed if it was written so short a time ago: both may be one step of another program.
pub(super) const JUST_NOW: Duration = Duration::from_secs(2);

/// What is seen of a file: when it was changed, its length and its inode.
type Stamp = (i64, i64, u64, u64);

/// What was seen the last time.
#[derive(Debug, Default)]
pub(super) struct Seen {
    files: BTreeMap<PathBuf, Stamp>,
    ignore_files: BTreeMap<PathBuf, Stamp>,
}

impl Seen {
    /// Whether nothing has been looked at yet, or there was nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.ignore_files.is_empty()
    }

    /// The files that count.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Looks, and gives what is not as it was.
    pub(super) fn look(&mut self, tree: &mut Tree) -> Vec<(PathBuf, Touch)> {
        let (mut now, mut rules) = (tree.look(), true);
        let ignore_files = stamps(tree, std::mem::take(&mut now.ignore_files));
        if ignore_files != self.ignore_files {
            let mut all = ignore_files.keys().chain(self.ignore_files.keys());
            rules = !all.any(|file| tree.rules.learn(file));
            now = tree.look();
            self.ignore_files = stamps(tree, now.ignore_files);
        }
        let now = stamps(tree, now.files);
        let mut changes = Vec::new();
        for (name, stamp) in &now {
            match self.files.get(name) {
                // What is not ignored any more has not changed by that.
                None if rules || just_now(stamp) => changes.push((name.clone(), Touch::Made)),
                Some(before) if before != stamp => changes.push((name.clone(), Touch::Changed)),
                None | Some(_) => {}
            }
        }
        let gone = self.files.keys().filter(|name| !now.contains_key(*name));
        let gone = gone.filter(|name| rules || fs::symlink_metadata(tree.path(name)).is_err());
        changes.extend(gone.map(|name| (name.clone(), Touch::Changed)));
        self.files = now;
        changes
    }
}

fn stamps(tree: &Tree, files: Vec<PathBuf>) -> BTreeMap<PathBuf, Stamp> {
    files.into_iter().filter_map(|name| Some((name.clone(), stamp(&tree.path(&name))?))).collect()
}

fn just_now((seconds, ..): &Stamp) -> bool {
    let then = SystemTime::now() - JUST_NOW;
    then.duration_since(UNIX_EPOCH).is_ok_and(|then| u64::try_from(*seconds).is_ok_and(|at| at >= then.as_secs()))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).or_else(|_| fs::symlink_metadata(path)).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::{Seen, Touch};
    use crate::dev::settings::Files;
    use crate::dev::watch::rules::Rules;
    use crate::dev::watch::tree::Tree;
    use std::fs;

    #[test]
    fn what_is_made_changed_replaced_and_removed_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in ["a.py", "b.py", "c.py", "d.txt"] {
            fs::write(root.join(file), "1").unwrap();
        }
        let files = Files { patterns: vec!["*.py".into()], ..Files::default() };
        let mut tree = Tree::new(root, Rules::new(root, &files).unwrap());
        let mut seen = Seen::default();
        assert_eq!(seen.look(&mut tree).len(), 3);
        assert_eq!(seen.look(&mut tree), []);
        fs::write(root.join("a.py"), "longer").unwrap();
        fs::write(root.join("tmp"), "2").unwrap();
        fs::rename(root.join("tmp"), root.join("b.py")).unwrap();
        fs::remove_file(root.join("c.py")).unwrap();
        fs::write(root.join("d.txt"), "2").unwrap();
        fs::create_dir_all(root.join("new/deep")).unwrap();
        fs::write(root.join("new/deep/e.py"), "").unwrap();
        let mut changes = seen.look(&mut tree);
        changes.sort_by_key(|(path, _)| path.clone());
        let expected = [
            ("a.py", Touch::Changed),
            ("b.py", Touch::Changed),
            ("c.py", Touch::Changed),
            ("new/deep/e.py", Touch::Made),
        ];
        assert_eq!(changes, expected.map(|(path, touch)| (path.into(), touch)));
        fs::remove_dir_all(root.join("new")).unwrap();
        assert_eq!(seen.look(&mut tree), [("new/deep/e.py".into(), Touch::Changed)]);
        fs::create_dir(root.join("new")).unwrap();
        fs::write(root.join("new/f.py"), "").unwrap();
        assert_eq!(seen.look(&mut tree), [("new/f.py".into(), Touch::Made)]);
    }

    #[test]
    fn what_ignore_files_say_is_read_again_whether_or_not_they_count() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        let write = |name: &str| {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            let file = fs::File::create(root.join(name)).unwrap();
            file.set_modified(old).unwrap();
        };
        ["a.py", "out/b.py", "lib/c.py"].iter().for_each(|name| write(name));
        fs::write(root.join(".gitignore"), "out\n").unwrap();
        let files = Files { patterns: vec!["*.py".into()], ignore_files: true, ..Files::default() };
        let mut tree = Tree::new(root, Rules::new(root, &files).unwrap());
        let mut seen = Seen::default();
        seen.look(&mut tree);
        assert_eq!(seen.files().count(), 2);
        fs::write(root.join(".gitignore"), "libx\nlib\n").unwrap();
        assert_eq!(seen.look(&mut tree), [], "neither what is ignored now nor what is no more has changed");
        fs::write(root.join("out/b.py"), "1").unwrap();
        fs::write(root.join("lib/c.py"), "1").unwrap();
        assert_eq!(seen.look(&mut tree), [("out/b.py".into(), Touch::Changed)]);
        fs::remove_file(root.join(".gitignore")).unwrap();
        assert_eq!(seen.look(&mut tree), [("lib/c.py".into(), Touch::Made)], "it was written just now");
    }
}
