//! The git repository that a directory is in: where its working tree begins, and where git keeps what is its own. That is
//! `.git` at the top, or what a file of this name leads to: in a further working tree (git-worktree(1)) and in a submodule.
//! See gitrepository-layout(5).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// More than any path that such a file may name.
const LONGEST: u64 = 8192;

/// A repository, as one of its working trees has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// Where the working tree begins.
    pub(super) top: PathBuf,
    /// What belongs to this working tree: its index.
    own: PathBuf,
    /// What all working trees share.
    common: PathBuf,
}

impl Repository {
    /// The one that a directory is in.
    pub(super) fn of(root: &Path) -> Option<Repository> {
        let top = root.ancestors().find(|directory| directory.join(".git").exists())?;
        let git = top.join(".git");
        let own = match first_line(&git) {
            Ok(line) => top.join(path(line.strip_prefix(b"gitdir: ").unwrap_or(&line))),
            Err(_) => git,
        };
        let common = first_line(&own.join("commondir")).map(|line| own.join(path(&line)));
        let [own, common] = [own.clone(), common.unwrap_or(own)].map(|path| fs::canonicalize(&path).unwrap_or(path));
        Some(Repository { top: top.to_owned(), own, common })
    }

    /// Where git says that it is at work on this working tree.
    pub(super) fn lock(&self) -> PathBuf {
        self.own.join("index.lock")
    }

    /// What the user has said is ignored in this repository.
    pub(super) fn exclude(&self) -> PathBuf {
        self.common.join("info/exclude")
    }

    /// The directories of git, as far as they are below this one, relative to it.
    pub(super) fn inside(&self, root: &Path) -> Vec<PathBuf> {
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let inside = |path: &PathBuf| path.strip_prefix(&root).ok().map(Path::to_owned);
        [&self.own, &self.common].into_iter().filter_map(inside).filter(|path| !path.as_os_str().is_empty()).collect()
    }
}

fn first_line(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(LONGEST).read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    Ok(bytes)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes.trim_ascii_end()))
}

#[cfg(test)]
mod tests {
    use super::Repository;
    use std::fs;
    use std::path::{Path, PathBuf};

    #[test]
    fn what_is_git_s_own_is_found_in_every_kind_of_working_tree() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let path = |name: &str| root.join(name);
        for directory in ["main/.git/worktrees/far", "main/.git/modules/sub", "main/sub/deep", "far/src", "apart/data"]
        {
            fs::create_dir_all(path(directory)).unwrap();
        }
        fs::write(path("main/sub/.git"), "gitdir: ../.git/modules/sub\n").unwrap();
        fs::write(path("far/.git"), format!("gitdir: {}\n", path("main/.git/worktrees/far").display())).unwrap();
        fs::write(path("main/.git/worktrees/far/commondir"), "../..\n").unwrap();
        fs::write(path("apart/.git"), "gitdir: data").unwrap();
        let of = |name: &str| Repository::of(&path(name)).unwrap();
        let main = of("main");
        assert_eq!((main.lock(), main.exclude()), (path("main/.git/index.lock"), path("main/.git/info/exclude")));
        assert_eq!(main.inside(&path("main")), [Path::new(".git"); 2]);
        let sub = of("main/sub/deep");
        assert_eq!(sub.top, path("main/sub"));
        assert_eq!(sub.lock(), path("main/.git/modules/sub/index.lock"));
        assert_eq!(sub.exclude(), path("main/.git/modules/sub/info/exclude"));
        let far = of("far/src");
        assert_eq!(far.lock(), path("main/.git/worktrees/far/index.lock"));
        assert_eq!(far.exclude(), path("main/.git/info/exclude"));
        assert_eq!(far.inside(&path("far/src")), Vec::<PathBuf>::new());
        assert_eq!(of("apart").inside(&path("apart")), [Path::new("data"); 2]);
    }
}
