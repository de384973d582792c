//! Looking again and again, where the system does not tell: which files there are, and when they were last changed.

use super::settle::Touch;
use super::tree::Tree;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is seen of a file: when it was changed, its length and its inode.
type Stamp = (i64, i64, u64, u64);

/// What was seen the last time.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<PathBuf, Stamp>);

impl Seen {
    /// Looks, and gives what is not as it was.
    pub(super) fn look(&mut self, tree: &mut Tree) -> Vec<(PathBuf, Touch)> {
        let gone: Vec<_> = tree.directories().map(Path::to_owned).collect();
        gone.iter().for_each(|name| drop(tree.forget(name)));
        let found = tree.take_in(Path::new(""), |_| Ok(())).unwrap_or_default();
        let stamped = found.files.into_iter().filter_map(|name| Some((stamp(&tree.path(&name))?, name)));
        let now: BTreeMap<_, _> = stamped.map(|(stamp, name)| (name, stamp)).collect();
        let mut changes = Vec::new();
        for (name, stamp) in &now {
            match self.0.get(name) {
                None => changes.push((name.clone(), Touch::Made)),
                Some(before) if before != stamp => changes.push((name.clone(), Touch::Changed)),
                Some(_) => {}
            }
        }
        changes
            .extend(self.0.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), Touch::Changed)));
        self.0 = now;
        changes
    }
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
}
