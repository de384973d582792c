//! What `.gitignore` and `.ignore` files name, in the directory, below it, and above it as far as its repository reaches; see
//! gitignore(5). The ones that are nearer win, and nothing below an ignored directory comes back.

use super::repository::Repository;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The files, those that win last.
const FILES: [&str; 2] = [".gitignore", ".ignore"];

/// Whether a file of this name says what is ignored.
pub(super) fn is_ignore_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| FILES.iter().any(|file| name == *file))
}

/// The ignore files of a tree, read when they are needed.
pub(super) struct Ignored {
    root: PathBuf,
    /// The top of the repository, or the directory itself.
    top: PathBuf,
    of_repository: Gitignore,
    of_user: Gitignore,
    read: HashMap<PathBuf, Gitignore>,
}

impl Ignored {
    pub(super) fn new(root: &Path, repository: Option<&Repository>) -> Ignored {
        let top = repository.map_or(root, |repository| &repository.top).to_owned();
        let mut of_repository = GitignoreBuilder::new(&top);
        if let Some(repository) = repository {
            // A line that means nothing hides no other.
            let _ = of_repository.add(repository.exclude());
        }
        let of_repository = of_repository.build().unwrap_or_else(|_| Gitignore::empty());
        Ignored { root: root.to_owned(), top, of_repository, of_user: Gitignore::global().0, read: HashMap::new() }
    }

    /// Whether a path below the directory is ignored, by itself or by one above it.
    pub(super) fn has(&mut self, path: &Path, is_directory: bool) -> bool {
        let whole = self.root.join(path);
        let depth = path.iter().count();
        (0..depth).any(|above| {
            let Some(part) = whole.ancestors().nth(depth - 1 - above) else { return false };
            self.is_named(part, is_directory || part != whole)
        })
    }

    fn is_named(&mut self, path: &Path, is_directory: bool) -> bool {
        let top = self.top.clone();
        let directories = path.ancestors().skip(1).take_while(|directory| directory.starts_with(&top));
        for directory in directories.collect::<Vec<_>>() {
            match self.of(directory).matched(path, is_directory) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        match self.of_repository.matched(path, is_directory) {
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
            Match::None => self.of_user.matched(path, is_directory).is_ignore(),
        }
    }

    fn of(&mut self, directory: &Path) -> &Gitignore {
        self.read.entry(directory.to_owned()).or_insert_with(|| {
            let mut builder = GitignoreBuilder::new(directory);
            for name in FILES {
                let _ = builder.add(directory.join(name));
            }
            builder.build().unwrap_or_else(|_| Gitignore::empty())
        })
    }

    /// The directories above this one as far as its repository reaches.
    pub(super) fn above(&self) -> Vec<PathBuf> {
        let above = self.root.ancestors().skip(1).take_while(|directory| directory.starts_with(&self.top));
        above.map(Path::to_owned).collect()
    }

    /// A file has changed: if it is one that ignores, what it said is forgotten. Whether it is.
    pub(super) fn forget(&mut self, path: &Path) -> bool {
        let ignores = is_ignore_file(path);
        if ignores {
            self.read.clear();
        }
        ignores
    }
}

#[cfg(test)]
mod tests {
    use super::{Ignored, Repository};
    use std::fs;
    use std::path::Path;

    #[test]
    fn nearer_files_win_and_a_directory_hides_all_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("project");
        for directory in [".git/info", "project/sub/deep"] {
            fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).unwrap();
        write(".gitignore", "*.log\n/project/only-here\n");
        write(".git/info/exclude", "excluded\n");
        write("project/.gitignore", "build/\n*.tmp\n!keep.tmp\n");
        write("project/.ignore", "*.pyc\n");
        write("project/sub/.gitignore", "!*.log\nlocal\n");
        let mut ignored = Ignored::new(&root, Repository::of(&root).as_ref());
        let mut has = |path: &str| ignored.has(Path::new(path), false);
        for path in [
            "a.log",
            "only-here",
            "excluded",
            "build/x",
            "sub/build/deep/x",
            "x.tmp",
            "a.pyc",
            "sub/a.pyc",
            "sub/local",
        ] {
            assert!(has(path), "{path}");
        }
        for path in ["a.py", "keep.tmp", "build", "sub/a.log", "sub/deep/b.log", "local", "sub/only-here"] {
            assert!(!has(path), "{path}");
        }
        assert!(ignored.has(Path::new("build"), true));
        assert_eq!(ignored.above(), [folder.path()]);
        write("project/sub/.gitignore", "other\n");
        assert!(ignored.forget(Path::new("sub/.gitignore")) && !ignored.forget(Path::new("sub/x")));
        assert!(ignored.has(Path::new("sub/other"), false) && !ignored.has(Path::new("sub/local"), false));
    }
}
