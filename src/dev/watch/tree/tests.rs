//! Trees on a real file system, with nothing that tells of changes.

use super::{Found, Identity, Nobody, Rules, Tree, Watches, identity};
use crate::dev::settings::Files;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with these files, and the tree of it for these patterns; `root` is where it begins.
fn tree(files: &[&str], root: &str, patterns: &[&str], excludes: &[&str]) -> (TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
        fs::write(folder.path().join(file), "").unwrap();
    }
    let [patterns, excludes] = [patterns, excludes].map(|globs| globs.iter().map(|glob| (*glob).into()).collect());
    let root = fs::canonicalize(folder.path()).unwrap().join(root);
    let rules = Rules::new(&root, &Files { patterns, excludes, ignore_files: true }).unwrap();
    (folder, Tree::new(&root, rules))
}

/// Remembers what is watched.
#[derive(Default)]
struct Recorder(Vec<PathBuf>);

impl Watches for Recorder {
    fn watch(&mut self, path: &Path, _: u64) -> io::Result<()> {
        self.unwatch(path);
        self.0.push(path.to_owned());
        Ok(())
    }

    fn unwatch(&mut self, path: &Path) {
        self.0.retain(|watched| watched != path);
    }
}

/// Takes all in; the names of what counts, and the paths that are watched, relative to the root.
fn walk(tree: &mut Tree) -> (Vec<String>, Vec<String>) {
    let mut watched = Recorder::default();
    let found = tree.take_in(Path::new(""), &mut watched);
    let watched: Vec<_> =
        watched.0.iter().map(|path| path.strip_prefix(&tree.root).unwrap_or(path).to_owned()).collect();
    (names(&found.unwrap().files), names(&watched))
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

fn take_in(tree: &mut Tree, name: &str) -> Found {
    tree.take_in(Path::new(name), &mut Nobody).unwrap()
}

/// What a change at this path is called, if it counts.
fn called(tree: &mut Tree, path: &str) -> Option<String> {
    let names = tree.names_at(&tree.path(Path::new(path)));
    tree.counts(&names).map(|name| name.to_str().unwrap().to_owned())
}

#[test]
fn a_tree_is_walked_without_what_is_ignored_and_without_loops() {
    let files = ["src/a.py", "src/deep/b.py", "node_modules/a/c.py", ".git/objects/x.py", "src/a.txt"];
    let (folder, mut tree) = tree(&files, "", &["src/**/*.py"], &[]);
    fs::write(folder.path().join(".gitignore"), "node_modules\n").unwrap();
    symlink("..", folder.path().join("src/loop")).unwrap();
    symlink("nowhere", folder.path().join("src/dangling.py")).unwrap();
    let (found, watched) = walk(&mut tree);
    assert_eq!(found, ["src/a.py", "src/dangling.py", "src/deep/b.py"]);
    assert_eq!(watched, ["", "src", "src/deep"]);
    assert_eq!(called(&mut tree, "src/a.py").unwrap(), "src/a.py");
    assert_eq!(called(&mut tree, "src/a.txt"), None);
    assert_eq!(called(&mut tree, "elsewhere/a.py"), None);
    assert!(walk(&mut tree).0.is_empty(), "all is known");
}

#[test]
fn a_directory_counts_by_each_of_its_names_and_is_watched_once() {
    let (folder, mut tree) = tree(&["real/in/r.py", "zoo/z.py"], "", &["linked/**/*.py", "a/**"], &["real/in"]);
    symlink("real", folder.path().join("linked")).unwrap();
    symlink("zoo", folder.path().join("a")).unwrap();
    let (found, watched) = walk(&mut tree);
    assert_eq!(found, ["a/z.py", "linked/in/r.py"]);
    assert_eq!(watched.len(), 4, "each once: {watched:?}");
    let by = if watched.contains(&"real".into()) { "real/x.py" } else { "linked/x.py" };
    assert_eq!(called(&mut tree, by).unwrap(), "linked/x.py", "it is called by the name that matters");
    assert_eq!(
        called(&mut tree, "linked/in/r.py").unwrap(),
        "linked/in/r.py",
        "what is excluded by one name counts by the other"
    );
}

#[test]
fn a_link_that_leads_elsewhere_now_brings_what_is_there() {
    let (folder, mut tree) = tree(&["v1/a.py", "v2/a.py"], "", &["current/*.py"], &[]);
    let link = folder.path().join("current");
    symlink("v1", &link).unwrap();
    walk(&mut tree);
    fs::remove_file(&link).unwrap();
    symlink("v2", &link).unwrap();
    assert_eq!(names(&take_in(&mut tree, "current").files), ["current/a.py"]);
    let second = if tree.watched.contains_key(&tree.path(Path::new("v2"))) { "v2/a.py" } else { "current/a.py" };
    assert_eq!(called(&mut tree, second).unwrap(), "current/a.py");
}

#[test]
fn a_link_to_where_the_root_is_in_leads_to_nothing_new() {
    let (folder, mut tree) = tree(&["site/a.py", "site/sub/b.py", "beside/c.py"], "site", &[], &[]);
    for (link, target) in [("up", ".."), ("sub/top", "/"), ("here", ".")] {
        symlink(target, folder.path().join("site").join(link)).unwrap();
    }
    let (files, watched) = walk(&mut tree);
    assert_eq!(files, ["a.py", "sub/b.py"]);
    assert_eq!(watched, ["", "sub"]);
}

#[test]
fn links_that_lead_elsewhere_again_and_again_leave_nothing_watched() {
    let files = ["out/v1/in/a.py", "out/v2/in/a.py", "out/v3/in/a.py", "far/v4/a.py", "one/c.py", "two/c.py", "site/x"];
    let (folder, mut tree) = tree(&files, "site", &["*.py"], &[]);
    let site = folder.path().join("site");
    let lead = |to: &str, name: &str| {
        symlink(to, site.join("next")).unwrap();
        fs::rename(site.join("next"), site.join(name)).unwrap();
    };
    lead("../out/v1", "current");
    lead("../one/c.py", "c.py");
    let mut ears = Recorder::default();
    tree.take_in(Path::new(""), &mut ears).unwrap();
    let begin = ears.0.len();
    assert_eq!(begin, 5, "the root, where the links lead, what is in there, and its directories: {:?}", ears.0);
    for (to, other) in [("out/v2", "two"), ("out/v3", "one"), ("out/v1", "two"), ("far/v4", "one")] {
        lead(&format!("../{to}"), "current");
        lead(&format!("../{other}/c.py"), "c.py");
        let found = tree.take_in(Path::new("current"), &mut ears).unwrap();
        assert!(found.lost.counted && found.files.len() == 1);
        tree.follow_links(&["c.py".into()], &mut ears).unwrap();
        let far = usize::from(to.starts_with("far"));
        assert_eq!(ears.0.len(), begin - far, "{to}: {:?}", ears.0);
    }
    // The name of what it leads to is known as well: one that is made anew is the same link.
    let far = fs::canonicalize(folder.path().join("far")).unwrap();
    assert_eq!(names(&tree.names_at(&far.join("v4"))), ["current"]);
}

#[test]
fn what_a_link_leads_to_is_watched_wherever_it_is() {
    let (folder, mut tree) = tree(&["site/a.txt", "out/a.py", "out/b.py", "far/c.py"], "site", &["*.py"], &[]);
    let site = folder.path().join("site");
    symlink("../out/a.py", site.join("link.py")).unwrap();
    symlink("../far", site.join("far")).unwrap();
    let (found, _) = walk(&mut tree);
    assert_eq!(found, ["far/c.py", "link.py"]);
    assert_eq!(called(&mut tree, "../out/a.py"), None, "paths are as the system tells them");
    let out = fs::canonicalize(folder.path().join("out")).unwrap();
    let names = |tree: &Tree, path: &Path| names(&tree.names_at(path));
    assert_eq!(names(&tree, &out.join("a.py")), ["link.py"]);
    assert!(names(&tree, &out.join("b.py")).is_empty(), "its neighbours are nobody's");
    assert_eq!(names(&tree, &fs::canonicalize(folder.path().join("far")).unwrap()), ["far"], "one that is made anew");
}

#[test]
fn what_is_gone_is_forgotten_with_all_its_names() {
    let (folder, mut tree) = tree(&["src/deep/a.py", "src/none.txt", "empty/x.txt"], "", &["*.py"], &[]);
    symlink("src/deep", folder.path().join("linked")).unwrap();
    let mut ears = Recorder::default();
    tree.take_in(Path::new(""), &mut ears).unwrap();
    let mut forget = |tree: &mut Tree, name: &str| {
        let path = tree.path(Path::new(name));
        let names = tree.names_at(&path);
        tree.forget(&path, &names, &mut ears)
    };
    assert!(!forget(&mut tree, "empty").counted);
    fs::rename(folder.path().join("src"), folder.path().join("moved")).unwrap();
    let lost = forget(&mut tree, "src");
    assert!(lost.counted);
    assert_eq!(ears.0, [tree.path(Path::new(""))], "only the root is left");
    assert_eq!(names(&take_in(&mut tree, "moved").files), ["moved/deep/a.py"]);
    assert!(tree.watched.contains_key(&tree.path(Path::new("moved/deep"))), "it is watched where it is now");
    assert_eq!(called(&mut tree, "moved/deep/b.py").unwrap(), "moved/deep/b.py");
}

#[test]
fn a_directory_that_was_made_anew_under_its_name_is_another() {
    let (folder, mut tree) = tree(&["a/x.py"], "", &[], &[]);
    walk(&mut tree);
    fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/y.py"), "").unwrap();
    assert_eq!(names(&take_in(&mut tree, "a").files), ["a/y.py"]);
}

#[test]
fn all_is_taken_in_again_by_the_same_paths() {
    let (folder, mut tree) = tree(&["top/src/a.py", "top/out/b.py", "top/.git/x", ".git/y"], "top", &[], &[]);
    symlink("src", folder.path().join("top/linked")).unwrap();
    let (_, watched) = walk(&mut tree);
    let paths = |tree: &Tree| tree.watched.keys().cloned().collect::<Vec<_>>();
    let before = paths(&tree);
    assert_eq!(watched.len(), 3);
    let mut ears = Recorder(before.clone());
    let again = tree.take_in_again(&mut ears).unwrap();
    assert_eq!((again.found.files.len(), ears.0.len(), paths(&tree)), (2, before.len(), before.clone()));
    fs::write(folder.path().join("top/.gitignore"), "out\n").unwrap();
    tree.rules.learn(Path::new(".gitignore"));
    let again = tree.take_in_again(&mut ears).unwrap();
    assert_eq!(names(&again.found.ignore_files), [".gitignore"]);
    assert_eq!(ears.0.len(), before.len() - 1);
    assert!(!ears.0.contains(&tree.path(Path::new("out"))), "what is ignored now is left");
    fs::remove_file(folder.path().join("top/.gitignore")).unwrap();
    tree.rules.learn(Path::new(".gitignore"));
    let again = tree.take_in_again(&mut ears).unwrap();
    assert_eq!((names(&again.fresh), paths(&tree)), (vec!["out/b.py".to_owned()], before), "and taken in again");
}

/// Watches as the system does: a directory once, whatever the paths are that lead there.
#[derive(Default)]
struct System {
    paths: HashMap<PathBuf, Identity>,
    watched: HashSet<Identity>,
}

impl Watches for System {
    fn watch(&mut self, path: &Path, _: u64) -> io::Result<()> {
        let identity = identity(path).unwrap();
        self.paths.insert(path.to_owned(), identity);
        self.watched.insert(identity);
        Ok(())
    }

    fn unwatch(&mut self, path: &Path) {
        if let Some(identity) = self.paths.remove(path) {
            self.watched.remove(&identity);
        }
    }
}

#[test]
fn a_directory_whose_move_was_missed_is_watched_by_its_new_path() {
    let (_folder, mut tree) = tree(&["old/a.py", "stays/b.py"], "", &[], &[]);
    let [old, new, stays] = ["old", "new", "stays"].map(|name| tree.path(Path::new(name)));
    let mut ears = System::default();
    tree.take_in(Path::new(""), &mut ears).unwrap();
    fs::rename(&old, &new).unwrap();
    tree.take_in_again(&mut ears).unwrap();
    for path in [&new, &stays] {
        assert!(ears.watched.contains(&identity(path).unwrap()), "{}", path.display());
    }
    assert!(!ears.paths.contains_key(&old));
}
