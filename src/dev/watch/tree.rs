//! The directories that are watched: every one below the root in which anything may matter, each by itself, so that what is
//! ignored costs nothing.
//!
//! By symbolic links a directory may have several names, each with rules of its own. It is watched once, by one path, and what
//! is told of that path is about all of its names.

mod gone;

use super::ears::{Nobody, Watches};
use super::links::{Links, Place};
use super::rules::Rules;
pub(super) use gone::Lost;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What identifies a directory, whatever its names are.
pub(super) type Identity = (u64, u64);

/// So many names of a directory are known.
const MOST_NAMES: usize = 8;

pub(super) fn identity(path: &Path) -> Option<Identity> {
    known(path).map(|known| known.identity)
}

/// What is to be known of a directory that nothing has been seen of yet.
fn known(path: &Path) -> Option<Directory> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    Some(Directory { identity: (metadata.dev(), metadata.ino()), born: metadata.created().ok(), counts: false })
}

/// The tree. Names are relative to the root; paths are whole.
pub(super) struct Tree {
    root: PathBuf,
    /// The directories that the root is in. A link to one leads to far more than anybody means.
    around: Vec<Identity>,
    pub(super) rules: Rules,
    names: BTreeMap<PathBuf, Directory>,
    names_of: HashMap<Identity, Vec<PathBuf>>,
    /// The paths by which directories are watched, those that only links lead into as well.
    watched: BTreeMap<PathBuf, Identity>,
    path_of: HashMap<Identity, PathBuf>,
    /// The directories above the root whose ignore files matter.
    above: HashSet<Identity>,
    links: Links,
}

/// A directory by one of its names.
#[derive(Clone, Copy, Debug)]
struct Directory {
    identity: Identity,
    /// Where it can be told, since the number of one that is gone may be another's.
    born: Option<SystemTime>,
    /// A file in it counts, or has counted.
    counts: bool,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The files that count, by a name for which they do.
    pub(super) files: Vec<PathBuf>,
    /// The files that say what is ignored.
    pub(super) ignore_files: Vec<PathBuf>,
    /// What was there before by the same names.
    pub(super) lost: Lost,
}

/// What has come of taking in everything anew.
#[derive(Debug, Default)]
pub(super) struct Again {
    pub(super) found: Found,
    /// The files that count in directories that were not known.
    pub(super) fresh: Vec<PathBuf>,
}

impl Tree {
    pub(super) fn new(root: &Path, rules: Rules) -> Tree {
        Tree {
            root: root.to_owned(),
            around: Vec::new(),
            rules,
            names: BTreeMap::new(),
            names_of: HashMap::new(),
            watched: BTreeMap::new(),
            path_of: HashMap::new(),
            above: HashSet::new(),
            links: Links::default(),
        }
    }

    /// The path of a name.
    pub(super) fn path(&self, name: &Path) -> PathBuf {
        if name.as_os_str().is_empty() { self.root.clone() } else { self.root.join(name) }
    }

    /// How many directories are watched.
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    /// The names of what is at a path of which something is told; none if it is not part of the tree.
    pub(super) fn names_at(&self, path: &Path) -> Vec<PathBuf> {
        // Its parent may be watched as well, for an ignore file; the root has no name there.
        if path == self.root {
            return vec![PathBuf::new()];
        }
        match self.place(path) {
            Some((directory, last)) => {
                let led = self.links.to(directory, last).iter().cloned();
                self.names_of(directory).iter().map(|name| name.join(last)).chain(led).collect()
            }
            None => self.watched.get(path).map(|directory| self.names_of(*directory)).unwrap_or_default().to_vec(),
        }
    }

    /// The watched directory in which something is told to be, and its name there.
    fn place<'a>(&self, path: &'a Path) -> Option<(Identity, &'a OsStr)> {
        Some((*self.watched.get(path.parent()?)?, path.file_name()?))
    }

    fn names_of(&self, directory: Identity) -> &[PathBuf] {
        self.names_of.get(&directory).map_or(&[], Vec::as_slice)
    }

    /// Whether a link that is followed is, or was, at a path: itself, not what one leads to.
    pub(super) fn has_link_at(&self, path: &Path) -> bool {
        self.place(path).is_some_and(|(directory, last)| {
            self.names_of(directory).iter().any(|name| self.links.place(&name.join(last)).is_some())
        })
    }

    /// The first of these names of a file for which it counts.
    pub(super) fn counts<'a>(&mut self, names: &'a [PathBuf]) -> Option<&'a PathBuf> {
        let name = names.iter().find(|name| self.rules.count(name))?;
        if let Some(directory) = name.parent().and_then(|parent| self.names.get_mut(parent)) {
            directory.counts = true;
        }
        Some(name)
    }

    /// Whether any of these is the name of a directory that was taken in.
    pub(super) fn knows(&self, names: &[PathBuf]) -> bool {
        names.iter().any(|name| self.names.contains_key(name))
    }

    /// Whether the directory that is at a path now is the one that is known by one of these names.
    pub(super) fn has_taken_in(&self, path: &Path, names: &[PathBuf]) -> bool {
        let is = |now: Directory, known: &Directory| (known.identity, known.born) == (now.identity, now.born);
        known(path).is_some_and(|now| names.iter().filter_map(|name| self.names.get(name)).any(|known| is(now, known)))
    }

    /// Whether this path is watched.
    pub(super) fn watches(&self, path: &Path) -> bool {
        self.watched.contains_key(path)
    }

    /// Whether a link leads elsewhere than it did.
    pub(super) fn leads_elsewhere(&self, name: &Path, before: &Place) -> bool {
        self.links.place(name) != Some(before)
    }

    /// Takes in a directory and all below it that are not known by these names, or a link to a file. Each is watched before it
    /// is read, so that nothing is missed in between.
    ///
    /// # Errors
    /// The system watches no more. What cannot be read is empty.
    pub(super) fn take_in(&mut self, name: &Path, ears: &mut impl Watches) -> io::Result<Found> {
        self.follow_links(&[name.to_owned()], ears)?;
        let (mut found, mut left) = (Found::default(), vec![name.to_owned()]);
        while let Some(name) = left.pop() {
            if !self.rules.enter(&name) || !self.add(&name, &mut found.lost, ears)? {
                continue;
            }
            for entry in fs::read_dir(self.path(&name)).into_iter().flatten().flatten() {
                left.extend(self.see(&name, &entry, &mut found, ears)?);
            }
        }
        if self.path(name).is_file() && self.counts(&[name.to_owned()]).is_some() {
            found.files.push(name.to_owned());
        }
        Ok(found)
    }

    /// Takes account of one entry of a directory; gives its name if it is one itself.
    fn see(
        &mut self,
        directory: &Path,
        entry: &fs::DirEntry,
        found: &mut Found,
        ears: &mut impl Watches,
    ) -> io::Result<Option<PathBuf>> {
        let name = directory.join(entry.file_name());
        let is_directory = entry.path().metadata().is_ok_and(|metadata| metadata.is_dir());
        let counts = !is_directory && self.counts(std::slice::from_ref(&name)).is_some();
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            self.follow_links(std::slice::from_ref(&name), ears)?;
        }
        if is_directory {
            return Ok(Some(name));
        }
        if self.rules.is_ignore_file(&name) {
            found.ignore_files.push(name.clone());
        }
        if counts && !self.counts_before(directory, &name) {
            found.files.push(name);
        }
        Ok(None)
    }

    /// What was told is about these names of a file. Those that are links may lead elsewhere now.
    ///
    /// # Errors
    /// The system watches no more.
    pub(super) fn follow_links(&mut self, names: &[PathBuf], ears: &mut impl Watches) -> io::Result<()> {
        for name in names {
            if self.is_to_follow(name) {
                self.follow(name, ears)?;
            }
        }
        Ok(())
    }

    /// Whether it is a link, and what it leads to may matter. What is not there may turn out to be a directory.
    fn is_to_follow(&mut self, name: &Path) -> bool {
        let path = self.path(name);
        is_link(&path)
            && match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.rules.enter(name),
                Ok(_) => self.rules.count(name),
                Err(_) => self.rules.count(name) || self.rules.enter(name),
            }
    }

    /// Watches where a link leads to, and no longer where it led before.
    fn follow(&mut self, name: &Path, ears: &mut impl Watches) -> io::Result<()> {
        let before = self.links.remove(name);
        if let Some((target, identity)) = self.links.add(&self.root, name, &self.path(name))
            && !self.path_of.contains_key(&identity)
        {
            self.watch(&target, identity, ears)?;
        }
        if let Some(before) = before {
            self.release(before, ears);
        }
        Ok(())
    }

    /// Whether a file counts by a name that its directory had before this one.
    fn counts_before(&mut self, directory: &Path, name: &Path) -> bool {
        let names = self.names.get(directory).and_then(|known| self.names_of.get(&known.identity));
        let others = names.into_iter().flatten().take_while(|other| *other != directory);
        let others: Vec<_> = others.filter_map(|other| Some(other.join(name.file_name()?))).collect();
        self.counts(&others).is_some()
    }

    /// Whether a directory is not known by this name. One whose own parents it leads back to is not taken in, nor one that the
    /// root is in. What was there
    /// before is lost.
    fn add(&mut self, name: &Path, lost: &mut Lost, ears: &mut impl Watches) -> io::Result<bool> {
        let path = self.path(name);
        let Some(directory) = known(&path) else { return Ok(false) };
        let identity = directory.identity;
        let known = |name: &Path| self.names.get(name).map(|known| known.identity);
        if name.ancestors().any(|above| known(above) == Some(identity)) || self.around.contains(&identity) {
            return Ok(false);
        }
        if name.as_os_str().is_empty() {
            self.around = self.root.ancestors().skip(1).filter_map(self::identity).collect();
        }
        if self.names.contains_key(name) {
            // The path is watched anew below, so it has to be free before.
            lost.add(self.forget(&path, &[name.to_owned()], ears));
        }
        let names = self.names_of.entry(identity).or_default();
        if names.len() >= MOST_NAMES {
            return Ok(false);
        }
        names.push(name.to_owned());
        self.names.insert(name.to_owned(), directory);
        if !self.path_of.contains_key(&identity) {
            self.watch(&path, identity, ears)?;
        }
        Ok(true)
    }

    fn watch(&mut self, path: &Path, identity: Identity, ears: &mut impl Watches) -> io::Result<()> {
        ears.watch(path, identity.0)?;
        if let Some(before) = self.watched.insert(path.to_owned(), identity) {
            self.path_of.remove(&before);
        }
        self.path_of.insert(identity, path.to_owned());
        Ok(())
    }

    /// Watches the directories above the root whose ignore files matter.
    ///
    /// # Errors
    /// The system watches no more.
    pub(super) fn watch_above(&mut self, ears: &mut impl Watches) -> io::Result<()> {
        self.above.clear();
        for path in self.rules.above() {
            let Some(identity) = identity(&path) else { continue };
            self.above.insert(identity);
            if !self.path_of.contains_key(&identity) {
                self.watch(&path, identity, ears)?;
            }
        }
        Ok(())
    }

    /// Takes in everything anew, since the rules are others or something has been missed. What is watched stays watched
    /// meanwhile, by the same path, and is watched again all the same, in case it is another by now.
    ///
    /// # Errors
    /// The system watches no more.
    pub(super) fn take_in_again(&mut self, ears: &mut impl Watches) -> io::Result<Again> {
        let (before, known) = (std::mem::take(&mut self.watched), std::mem::take(&mut self.names));
        self.path_of.clear();
        self.names_of.clear();
        self.links = Links::default();
        let (same, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|(path, directory)| identity(path) == Some(*directory));
        // One that was moved is still watched by its old path. Were that ended once it is watched by the new one, neither would be.
        other.keys().for_each(|path| ears.unwatch(path));
        for (path, directory) in &same {
            self.watch(path, *directory, ears)?;
        }
        let found = self.take_in(Path::new(""), ears)?;
        self.watch_above(ears)?;
        self.drop_needless();
        let is_fresh = |file: &&PathBuf| file.parent().is_some_and(|directory| !known.contains_key(directory));
        let fresh = found.files.iter().filter(is_fresh).cloned().collect();
        same.into_keys().filter(|path| !self.watched.contains_key(path)).for_each(|path| ears.unwatch(&path));
        Ok(Again { found, fresh })
    }

    /// Counts those as not watched any more that nothing is known of.
    fn drop_needless(&mut self) {
        let (names_of, links, above) = (&self.names_of, &self.links, &self.above);
        self.watched.retain(|_, directory| {
            names_of.contains_key(directory) || links.lead_into(*directory) || above.contains(directory)
        });
        let watched = &self.watched;
        self.path_of.retain(|_, path| watched.contains_key(path));
    }

    /// Takes in everything anew, and watches nothing.
    pub(super) fn look(&mut self) -> Found {
        self.take_in_again(&mut Nobody).map(|again| again.found).unwrap_or_default()
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

#[cfg(test)]
mod tests;
