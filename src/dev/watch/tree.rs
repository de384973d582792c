//! The directories that are watched: every one below the root in which anything may matter, each by itself, so that what is
//! ignored costs nothing.

use super::rules::Rules;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What identifies a directory, whatever its names are.
type Identity = (u64, u64);

/// The tree. Paths are relative to the root.
pub(super) struct Tree {
    root: PathBuf,
    pub(super) rules: Rules,
    directories: BTreeMap<PathBuf, Identity>,
    first_names: HashMap<Identity, PathBuf>,
    /// Further names of directories that have one already, by symbolic links: what they lead to, and they.
    aliases: Vec<(PathBuf, PathBuf)>,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Directories that were not known.
    pub(super) directories: Vec<PathBuf>,
    /// The files in them that count.
    pub(super) files: Vec<PathBuf>,
}

impl Tree {
    pub(super) fn new(root: &Path, rules: Rules) -> Tree {
        let (directories, first_names) = (BTreeMap::new(), HashMap::new());
        Tree { root: root.to_owned(), rules, directories, first_names, aliases: Vec::new() }
    }

    /// The path of a name.
    pub(super) fn path(&self, name: &Path) -> PathBuf {
        self.root.join(name)
    }

    /// The name of a path.
    pub(super) fn name<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.root).ok()
    }

    /// All directories.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.keys().map(PathBuf::as_path)
    }

    pub(super) fn has(&self, name: &Path) -> bool {
        self.directories.contains_key(name)
    }

    /// Whether a change of a file counts, under any of its names.
    pub(super) fn counts(&mut self, name: &Path) -> bool {
        if self.rules.count(name) {
            return true;
        }
        let others = self.aliases.iter().filter_map(|(first, alias)| Some(alias.join(name.strip_prefix(first).ok()?)));
        others.collect::<Vec<_>>().iter().any(|other| self.rules.count(other))
    }

    /// Takes in a directory and all below it that are not known. `watch` is called with each before it is read, so that
    /// nothing is missed in between.
    ///
    /// # Errors
    /// Those of `watch`. What cannot be read is empty.
    pub(super) fn take_in(&mut self, name: &Path, mut watch: impl FnMut(&Path) -> io::Result<()>) -> io::Result<Found> {
        let (mut found, mut left) = (Found::default(), vec![name.to_owned()]);
        while let Some(name) = left.pop() {
            if !self.rules.enter(&name) || !self.add(&name) {
                continue;
            }
            watch(&self.path(&name))?;
            for entry in fs::read_dir(self.path(&name)).into_iter().flatten().flatten() {
                let inner = name.join(entry.file_name());
                match entry.path().metadata() {
                    Ok(metadata) if metadata.is_dir() => left.push(inner),
                    Ok(_) | Err(_) if self.counts(&inner) => found.files.push(inner),
                    Ok(_) | Err(_) => {}
                }
            }
            found.directories.push(name);
        }
        Ok(found)
    }

    /// Whether a directory is new under every name. Below one that is known nothing is new, so a link to what is above it
    /// leads nowhere.
    fn add(&mut self, name: &Path) -> bool {
        let Ok(metadata) = fs::metadata(self.path(name)) else { return false };
        let identity = (metadata.dev(), metadata.ino());
        match self.first_names.get(&identity) {
            Some(first) if first == name => false,
            Some(first) => {
                let alias = (first.clone(), name.to_owned());
                if !self.aliases.contains(&alias) {
                    self.aliases.push(alias);
                }
                false
            }
            None => {
                self.forget(name);
                self.first_names.insert(identity, name.to_owned());
                self.directories.insert(name.to_owned(), identity);
                true
            }
        }
    }

    /// Forgets a directory that is gone, and all below it; gives them.
    pub(super) fn forget(&mut self, name: &Path) -> Vec<PathBuf> {
        let gone: Vec<_> = self.directories.keys().filter(|other| other.starts_with(name)).cloned().collect();
        for directory in &gone {
            if let Some(identity) = self.directories.remove(directory) {
                self.first_names.remove(&identity);
            }
        }
        self.aliases.retain(|(first, alias)| !first.starts_with(name) && !alias.starts_with(name));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::{Rules, Tree};
    use crate::dev::settings::Files;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    fn names(paths: &[PathBuf]) -> Vec<&str> {
        let mut names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_tree_is_walked_without_what_is_ignored_and_without_loops() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for directory in [".git/objects", "src/deep", "node_modules/a/b", "real"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in
            ["src/a.py", "src/deep/b.py", "node_modules/a/b/c.py", ".git/objects/x.py", "src/a.txt", "real/r.py"]
        {
            fs::write(root.join(file), "").unwrap();
        }
        fs::write(root.join(".gitignore"), "node_modules\n").unwrap();
        symlink("..", root.join("src/loop")).unwrap();
        symlink("../real", root.join("src/linked")).unwrap();
        symlink("nowhere", root.join("src/dangling.py")).unwrap();
        let files = Files { patterns: vec!["src/**/*.py".into()], excludes: vec![], ignore_files: true };
        let mut tree = Tree::new(root, Rules::new(root, &files).unwrap());
        let mut watched = Vec::new();
        let watch = |path: &Path| {
            watched.push(path.to_owned());
            Ok(())
        };
        let found = tree.take_in(Path::new(""), watch).unwrap();
        assert_eq!(watched.len(), found.directories.len());
        let directories = names(&found.directories);
        assert!(directories == ["", "real", "src", "src/deep"] || directories == ["", "src", "src/deep", "src/linked"]);
        assert!(names(&found.files).starts_with(&["src/a.py", "src/dangling.py", "src/deep/b.py"]));
        // By whichever of its names the directory is watched.
        let watched_by = if tree.has(Path::new("real")) { "real/r.py" } else { "src/linked/r.py" };
        assert!(tree.counts(Path::new(watched_by)));
        assert!(!tree.counts(Path::new("src/a.txt")));
        assert_eq!(names(&tree.forget(Path::new("src/deep"))), ["src/deep"]);
        let again = tree.take_in(Path::new("src/deep"), |_| Ok(())).unwrap();
        assert_eq!(names(&again.files), ["src/deep/b.py"]);
        assert!(tree.take_in(Path::new("src"), |_| Ok(())).unwrap().directories.is_empty(), "all is known");
    }

    #[test]
    fn a_directory_that_was_made_anew_under_its_name_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("a")).unwrap();
        let mut tree = Tree::new(root, Rules::new(root, &Files::default()).unwrap());
        tree.take_in(Path::new(""), |_| Ok(())).unwrap();
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::create_dir(root.join("a")).unwrap();
        assert_eq!(names(&tree.take_in(Path::new("a"), |_| Ok(())).unwrap().directories), ["a"]);
    }
}
