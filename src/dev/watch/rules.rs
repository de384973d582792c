//! Which files matter: by the patterns of the command line, and by what the ignore files say.

use super::ignored::{Ignored, is_ignore_file};
use super::never::{is_of_editor, is_private};
use super::repository::Repository;
use crate::dev::DevError;
use crate::dev::settings::Files;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::{Path, PathBuf};

/// What matters below one directory. Paths are relative to it.
pub(super) struct Rules {
    patterns: Option<GlobSet>,
    excludes: GlobSet,
    ignored: Option<Ignored>,
    repository: Option<Repository>,
    /// What is git's own, under whatever names.
    of_git: Vec<PathBuf>,
}

impl Rules {
    /// # Errors
    /// A pattern that means nothing.
    pub(super) fn new(root: &Path, files: &Files) -> Result<Rules, DevError> {
        let patterns = if files.patterns.is_empty() { None } else { Some(set(root, &files.patterns)?) };
        let repository = Repository::of(root);
        let ignored = files.ignore_files.then(|| Ignored::new(root, repository.as_ref()));
        let of_git = repository.as_ref().map(|repository| repository.inside(root)).unwrap_or_default();
        Ok(Rules { patterns, excludes: set(root, &files.excludes)?, ignored, repository, of_git })
    }

    /// Whether a change of this file matters.
    pub(super) fn count(&mut self, file: &Path) -> bool {
        let wanted = self.patterns.as_ref().is_none_or(|patterns| patterns.is_match(file));
        wanted
            && !self.excludes.is_match(file)
            && !name(file).is_some_and(is_of_editor)
            && !self.is_private(file)
            && !self.is_ignored(file, false)
    }

    /// Whether anything in this directory may matter.
    pub(super) fn enter(&mut self, directory: &Path) -> bool {
        !self.is_private(directory) && !self.excludes.is_match(directory) && !self.is_ignored(directory, true)
    }

    /// Whether this file says what is ignored.
    pub(super) fn is_ignore_file(&self, file: &Path) -> bool {
        self.ignored.is_some() && is_ignore_file(file)
    }

    /// Where git says that it is at work on these files.
    pub(super) fn lock(&self) -> Option<PathBuf> {
        self.repository.as_ref().map(Repository::lock)
    }

    /// The directories above this one that may have ignore files.
    pub(super) fn above(&self) -> Vec<PathBuf> {
        self.ignored.as_ref().map(Ignored::above).unwrap_or_default()
    }

    /// A file has changed. Whether what matters may be something else from now on.
    pub(super) fn learn(&mut self, file: &Path) -> bool {
        self.ignored.as_mut().is_some_and(|ignored| ignored.forget(file))
    }

    /// Whether this is version control's own: what is in its directories, or the file that leads to them.
    fn is_private(&self, path: &Path) -> bool {
        has_private(path) || self.of_git.iter().any(|own| path.starts_with(own))
    }

    fn is_ignored(&mut self, path: &Path, is_directory: bool) -> bool {
        self.ignored.as_mut().is_some_and(|ignored| ignored.has(path, is_directory))
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn has_private(path: &Path) -> bool {
    path.iter().any(|part| part.to_str().is_some_and(is_private))
}

/// A pattern without a slash is about a name at any depth; one that names a directory is about all that is below it.
fn set(root: &Path, patterns: &[String]) -> Result<GlobSet, DevError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let failed = |source| DevError::Pattern { pattern: pattern.clone(), source };
        let inside = root.to_str().and_then(|root| pattern.strip_prefix(root)?.strip_prefix('/'));
        let path = inside.unwrap_or(pattern);
        let path = path.strip_prefix("./").unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let path = if path.contains('/') || inside.is_some() { path.to_owned() } else { format!("**/{path}") };
        for text in [path.clone(), format!("{path}/**")] {
            set.add(GlobBuilder::new(&text).literal_separator(true).build().map_err(failed)?);
        }
    }
    set.build().map_err(|source| DevError::Pattern { pattern: patterns.join(" "), source })
}

#[cfg(test)]
mod tests {
    use super::Rules;
    use crate::dev::settings::Files;
    use std::path::Path;

    fn rules(patterns: &[&str], excludes: &[&str]) -> Rules {
        let [patterns, excludes] = [patterns, excludes].map(|globs| globs.iter().map(|glob| (*glob).into()).collect());
        Rules::new(Path::new("/root/dir"), &Files { patterns, excludes, ignore_files: false }).unwrap()
    }

    #[track_caller]
    fn check(mut rules: Rules, yes: &[&str], no: &[&str]) {
        let counted: Vec<_> = yes.iter().chain(no).filter(|path| rules.count(Path::new(path))).copied().collect();
        assert_eq!(counted, yes);
    }

    #[test]
    fn patterns_are_relative_and_excludes_win() {
        let files = ["src/a.py", "src/b/c.py", "src/.env"];
        check(
            rules(&["src/**/*"], &["src/**/test_*"]),
            &files,
            &["src/test_a.py", "src/b/test_c.py", "a.py", "xsrc/a.py"],
        );
        check(rules(&["*.py", "*.html"], &[]), &["a.py", "src/b/c.py", "t.html"], &["a.pyc", "a.py.txt"]);
        check(rules(&["src/*.py"], &[]), &["src/a.py"], &["src/b/c.py", "lib/src/a.py"]);
        check(
            rules(&["./src/", "conf.{yml,toml}"], &[]),
            &["src/a", "src/b/c", "conf.yml", "x/conf.toml"],
            &["conf.json"],
        );
        check(rules(&["/root/dir/a"], &[]), &["a", "a/b"], &["b/a"]);
    }

    #[test]
    fn without_a_pattern_every_file_counts_but_for_those_of_editors() {
        let no =
            ["a.py~", ".a.py.swp", "4913", ".git/index", "sub/.git/x/y", "sub/.git", "build/out.js", "lib/build/x"];
        check(rules(&[], &["build"]), &["a", ".env", "src/.hidden/x", "rebuild/x"], &no);
        let mut rules = rules(&["*.py"], &["build", "*.tmp"]);
        assert!(rules.enter(Path::new("src")) && rules.enter(Path::new("")));
        assert!(!rules.enter(Path::new("src/build")) && !rules.enter(Path::new(".git")));
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        let files = Files { patterns: vec!["a[".into()], ..Files::default() };
        let error = Rules::new(Path::new("/"), &files).err().unwrap();
        assert!(crate::chain(&error).starts_with("not a pattern: 'a['"), "{error}");
    }
}
